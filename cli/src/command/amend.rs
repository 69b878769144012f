//! `hostler trust amend`, and what `sign` and `submit` do with a root.

use std::path::PathBuf;

use hostler_plan::{
    document::{DocumentKind, Policy, Root, Signed, Signer, Thresholds},
    id::{Fingerprint, NodeName},
    timestamp::Timestamp,
    trust::{Change, Duty, SignedBy, differences, threshold},
};
use serde_json::json;

use super::Context;
use crate::{
    Admin,
    admin::now,
    args::{AmendArgs, SignArgs, SubmitArgs},
    ask::confirm,
    error::Error,
    file::{add_signature, read_document, write_document},
    held::Held,
    key::{self, read_public_key},
    output::{clean, note, print},
    root::{self, Count, Signing},
    roster,
};

/// `hostler trust amend`
pub async fn amend(context: &Context, args: AmendArgs) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let changes = changes(admin.held().root(), &args, now())?;
    let amended = root::amend(&admin, &changes, now())?;
    let mut signed = Signed { bytes: amended.bytes, signatures: Vec::new() };
    let said = differences(admin.held().root(), &amended.root);
    note(&summary(admin.held(), &amended.root, &signed)?);
    let version = amended.root.version;
    let own = admin.signer().public_key().fingerprint();
    if args.out.is_none() && root::is_enough_alone(admin.held(), &amended.root, &own) {
        confirm(&format!("sign and submit root {version}?"), args.yes)?;
        let (armour, _) = root::sign(admin.held(), admin.signer(), &signed, now())?;
        signed.signatures.push(armour);
        // The summary named the nodes of a roster that has to be signed again.
        return hand_in(context, &mut admin, &signed, said, true).await;
    }
    let path = args.out.unwrap_or_else(|| PathBuf::from(format!("root-{version}.json")));
    write_document(&path, &signed)?;
    let file = path.display().to_string();
    print(
        context.output,
        || json!({ "root": version, "digest": signed.digest(), "file": file, "changes": said }),
        || format!("wrote {file}\nnext: hostler sign {file}, by everybody who must; then hostler submit {file}"),
    )
}

/// `hostler sign` of a root.
pub async fn sign(context: &Context, args: SignArgs) -> Result<(), Error> {
    let signed = read_document(DocumentKind::Root, &args.document)?;
    let next = root::read(&signed)?;
    let held = Held::require(&context.profile.home)?;
    let signer = key::Signer::find(&context.profile.key, &held.counting_keys())?;
    let (held, signer) = match held.root().version.checked_add(1) == Some(next.version) {
        true => (held, signer),
        // Made on top of a root that is not here: ask for it, with proof.
        false => Admin::connect(&context.profile, signer).await?.into_parts(),
    };
    note(&summary(&held, &next, &signed)?);
    confirm(&format!("sign it with {}?", signer.public_key().fingerprint()), args.yes)?;
    let (armour, signing) = root::sign(&held, &signer, &signed, now())?;
    let path = add_signature(&args.document, &armour)?;
    let file = args.document.display();
    print(
        context.output,
        || {
            json!({ "root": next.version, "digest": signed.digest(), "signature": path.display().to_string(),
                "signed_by": signing.own.by, "needed": signing.own.needed,
                "signed_by_before": signing.before.by, "needed_before": signing.before.needed })
        },
        || {
            let step = match signing.is_enough() {
                true => format!("next: hostler submit {file}"),
                false => format!("{}\nnext: hostler sign {file}, by others", standing(&held, &next, &signing)),
            };
            format!("wrote {}\n{step}", path.display())
        },
    )
}

/// `hostler submit` of a root.
pub async fn submit(context: &Context, args: SubmitArgs) -> Result<(), Error> {
    let signed = read_document(DocumentKind::Root, &args.document)?;
    let next = root::read(&signed)?;
    let mut admin = context.admin().await?;
    let said = match admin.held().trusted().digest() == signed.digest() {
        true => Vec::new(),
        false => {
            note(&summary(admin.held(), &next, &signed)?);
            differences(admin.held().root(), &next)
        }
    };
    hand_in(context, &mut admin, &signed, said, args.yes).await
}

/// Hands a root in, and signs the roster again where it does not count under it any more.
async fn hand_in(
    context: &Context,
    admin: &mut Admin,
    signed: &Signed,
    said: Vec<String>,
    yes: bool,
) -> Result<(), Error> {
    let is_new = root::submit(admin, signed).await?;
    let version = admin.held().root().version;
    let again = if is_new { "" } else { " (it had it already)" };
    note(&format!("root {version} is in the coordinator's ledger{again}; nodes follow it when they are connected"));
    let roster = match admin.held().lapsed().map(|r| (r.document().version, names(r.document()))) {
        None => None,
        Some((lapsed, nodes)) => {
            let file = admin.held().newest_root_file();
            note(&format!("roster {lapsed} does not count under root {version}; its nodes are {nodes}"));
            confirm("sign it again with these nodes?", yes).inspect_err(|_| {
                note(&format!("no plan can be made until an admin signs it again: hostler submit {}", file.display()));
            })?;
            let renewed = roster::renew(admin, now()).await?;
            note(&format!("roster {renewed} is signed, with the same nodes"));
            Some(renewed)
        }
    };
    let digest = signed.digest();
    print(
        context.output,
        || json!({ "root": version, "digest": digest, "is_new": is_new, "roster": roster, "changes": said }),
        || format!("root {version} holds ({digest})"),
    )
}

/// The changes that the flags ask for: keys go before others come, so that one command can give a key another role.
fn changes(held: &Root, args: &AmendArgs, now: Timestamp) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    for who in &args.remove_signers {
        changes.push(Change::RemoveSigner(which(held, who)?));
    }
    for who in &args.revoke {
        changes.push(Change::Revoke(which(held, who)?));
    }
    for new in &args.add_signers {
        let (name, key) = (new.name.clone(), read_public_key(&new.key_file)?);
        changes.push(Change::AddSigner(Signer { name, key, role: new.role, plan_kinds: new.plan_kinds.clone() }));
    }
    let old = held.thresholds;
    let thresholds = Thresholds {
        root: args.threshold_root.unwrap_or(old.root),
        admission: args.threshold_admission.unwrap_or(old.admission),
        roster: args.threshold_roster.unwrap_or(old.roster),
        plan: args.threshold_plan.unwrap_or(old.plan),
    };
    if thresholds != old {
        changes.push(Change::Thresholds(thresholds));
    }
    let old = &held.policy;
    let policy = Policy {
        max_plan_lifetime_seconds: args.max_plan_lifetime.map_or(old.max_plan_lifetime_seconds, |d| d.as_secs()),
        max_admission_lifetime_seconds: args
            .max_token_lifetime
            .map_or(old.max_admission_lifetime_seconds, |d| d.as_secs()),
        cordon_when_critical: args.cordon_when_critical.map_or(old.cordon_when_critical, |s| s.is_on()),
    };
    if policy != *old {
        changes.push(Change::Policy(policy));
    }
    changes.extend(args.add_ca.iter().copied().map(Change::AddCoordinatorCa));
    changes.extend(args.remove_ca.iter().copied().map(Change::RemoveCoordinatorCa));
    changes.extend(args.lifetime.map(|life| Change::Expires(now.whole_seconds().plus(life))));
    changes.extend(args.raise_epoch.then_some(Change::RaiseEpoch));
    if changes.is_empty() {
        return Err(Error::Usage(format!(
            "expected a change to root {}, found none; see `hostler trust amend --help` and `hostler trust show`",
            held.version
        )));
    }
    Ok(changes)
}

/// The key of a signer by name, or the fingerprint as it was given.
fn which(held: &Root, who: &str) -> Result<Fingerprint, Error> {
    if let Ok(key) = who.parse() {
        return Ok(key);
    }
    let counts = |s: &&Signer| s.name == who && !held.revoked.contains(&s.key.fingerprint());
    let keys: Vec<Fingerprint> = held.signers.iter().filter(counts).map(|s| s.key.fingerprint()).collect();
    match keys.as_slice() {
        [key] => Ok(key.clone()),
        [] => Err(Error::Usage(format!(
            "expected the name of a signer whose key counts, or a fingerprint, found {who:?}; see `hostler trust show`"
        ))),
        several => Err(Error::Usage(format!(
            "{} signers are called {who:?}; name the key by its fingerprint, as `hostler trust show` prints it",
            several.len()
        ))),
    }
}

/// What a person reads before signing a root.
fn summary(held: &Held, next: &Root, signed: &Signed) -> Result<String, Error> {
    let mut text = format!("root {} of fleet {}\n  digest    {}\n", next.version, next.fleet_id, signed.digest());
    for said in differences(held.root(), next) {
        text.push_str(&format!("  change    {}\n", clean(&said)));
    }
    if let Some(held) = held.roster() {
        let by = SignedBy::of(DocumentKind::Roster, held.signed())?;
        if held.document().epoch < next.epoch || threshold(next, Duty::Roster, &by).is_err() {
            let nodes = names(held.document());
            text.push_str(&format!(
                "  roster    {} must be signed again; its nodes: {nodes}\n",
                held.document().version
            ));
        }
    }
    text.push_str(&standing(held, next, &root::signing(held, next, signed)?));
    Ok(text)
}

fn standing(held: &Held, next: &Root, signing: &Signing) -> String {
    let line = |version: u64, count: &Count| {
        let by = if count.by.is_empty() { "nobody yet".to_owned() } else { clean(&count.by.join(", ")) };
        format!("  root {version:<4} demands {} different key(s); signed by {by}", count.needed)
    };
    format!("{}\n{}", line(held.root().version, &signing.before), line(next.version, &signing.own))
}

fn names(roster: &hostler_plan::document::Roster) -> String {
    let names: Vec<&str> = roster.nodes.iter().map(|n| NodeName::as_str(&n.name)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
