//! `hostler trust amend`, and what `sign` and `submit` do with a root.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hostler_plan::{
    document::{DocumentKind, Policy, Root, SignatureThresholds, Signed, Signer},
    id::{Digest, Fingerprint, NodeName},
    show,
    timestamp::Timestamp,
    trust::{Amendment, Draft, Duty, SignedBy, differences, threshold},
};
use serde_json::json;

use super::{
    Context,
    members::{self, Handed, next_signers},
};
use crate::{
    Admin,
    admin::now,
    args::{AmendArgs, SignArgs, SubmitArgs},
    ask::confirm,
    delivery::{self, Delivery, Wanted},
    error::Error,
    file::{add_signature, read_document, write_document},
    key::{self, read_public_key},
    output::{clean, note, print},
    root::{self, Count, RootSigning},
    roster,
    trust_store::TrustStore,
};

/// `hostler trust amend`
pub(super) async fn amend(context: &Context, args: AmendArgs) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let mut overtaken: Option<Overtaken> = None;
    let mut lost = Vec::new();
    // A lifetime counts from when it was asked for, however often the root is made.
    let asked = now();
    for _ in 0..OVERTAKEN_TRIES {
        let (mut draft, said) = compile(&admin, &args, asked)?;
        note(&summary(admin.trust_store(), &draft)?);
        let own = admin.signer().public_key().fingerprint();
        if args.out.is_some() || !root::is_enough_alone(admin.trust_store(), draft.document(), &own) {
            return write(context, &draft, args.out.as_deref(), &said);
        }
        // `--yes` was said of these changes, and not of what they have become.
        let meant = meant(admin.trust_store().root(), draft.document(), &lost);
        if let Some(Overtaken { error, .. }) = overtaken.take_if(|before| args.yes && before.meant != meant) {
            return Err(error);
        }
        confirm(&format!("sign and submit root {}?", draft.document().version), args.yes)?;
        root::sign(admin.trust_store(), admin.signer(), &mut draft, now())?;
        match root::submit(&mut admin, &draft).await {
            Err(error @ Error::Overtaken { .. }) => {
                note(&format!("{error}; it is made anew from the newest root"));
                admin.refresh().await?;
                lost.push(draft.signed().digest());
                overtaken = Some(Overtaken { meant, error });
            }
            // The summary named the nodes of a roster that has to be signed again.
            other => return installed(context, &mut admin, (&draft, other?), said, (true, args.wait)).await,
        }
    }
    Err(Error::Failed(format!(
        "the root was overtaken {OVERTAKEN_TRIES} times by those of others; agree with them, and try again"
    )))
}

/// How often a root is made anew because others handed in theirs meanwhile. Each time a person is asked.
const OVERTAKEN_TRIES: usize = 3;

/// A root that lost its place: what it would have changed, and how the command ends if that is not what it changes now.
struct Overtaken {
    meant: Vec<String>,
    error: Error,
}

/// What a root changes but for naming those that lost their place to the one before it.
fn meant(held: &Root, next: &Root, lost: &[Digest]) -> Vec<String> {
    let mut next = next.clone();
    next.also.retain(|other| !lost.contains(other));
    differences(held, &next)
}

/// The root after the newest one with the changes that the flags ask for, and what they mean.
fn compile(admin: &Admin, args: &AmendArgs, asked: Timestamp) -> Result<(Draft<Root>, Vec<String>), Error> {
    let held = admin.trust_store().root();
    let changes = changes(held, args, asked)?;
    // Closing a fork is a change too.
    if changes.is_empty() && admin.forks_of(DocumentKind::Root).is_empty() {
        return Err(Error::Usage(format!(
            "expected a change to root {}, found none; see `hostler trust amend --help` and `hostler trust show`",
            held.version
        )));
    }
    let amended = root::amend(admin, &changes, now())?;
    let said = differences(held, &amended.root);
    Ok((Draft::root(Signed { bytes: amended.bytes, signatures: Vec::new() })?, said))
}

/// Writes a root that others are to sign.
fn write(context: &Context, draft: &Draft<Root>, out: Option<&Path>, changes: &[String]) -> Result<(), Error> {
    let version = draft.document().version;
    let path = out.map_or_else(|| PathBuf::from(format!("root-{version}.json")), Path::to_owned);
    write_document(&path, draft.signed())?;
    let file = path.display().to_string();
    print(
        context.output,
        || json!({ "root": version, "digest": draft.signed().digest(), "file": file, "changes": changes }),
        || format!("wrote {file}\nnext: hostler sign {file}, by everybody who must; then hostler submit {file}"),
    )
}

/// `hostler sign` of a root.
pub(super) async fn sign(context: &Context, args: SignArgs) -> Result<(), Error> {
    let mut draft = Draft::root(read_document(DocumentKind::Root, &args.document)?)?;
    let version = draft.document().version;
    let store = TrustStore::require(&context.profile.home)?;
    let signer = key::SigningKey::find(&context.profile.key, &store.counting_keys())?;
    let (store, signer) = match store.root().version.checked_add(1) == Some(version) {
        true => (store, signer),
        // Made on top of a root that is not here: ask for it, with proof.
        false => Admin::connect_with(&context.profile, store, signer).await?.into_parts(),
    };
    note(&summary(&store, &draft)?);
    confirm(&format!("sign it with {}?", signer.public_key().fingerprint()), args.yes)?;
    let (armour, signing) = root::sign(&store, &signer, &mut draft, now())?;
    let path = add_signature(&args.document, &armour)?;
    let file = args.document.display();
    print(
        context.output,
        || {
            json!({ "root": version, "digest": draft.signed().digest(), "document": draft.document(),
                "signature": path.display().to_string(), "signed_by": signing.own.by, "needed": signing.own.needed,
                "signed_by_before": signing.before.by, "needed_before": signing.before.needed })
        },
        || {
            let step = match signing.is_enough() {
                true => format!("next: hostler submit {file}"),
                false => {
                    format!("{}\nnext: hostler sign {file}, by others", progress(&store, draft.document(), &signing))
                }
            };
            format!("wrote {}\n{step}", path.display())
        },
    )
}

/// `hostler submit` of a root.
pub(super) async fn submit(context: &Context, args: SubmitArgs) -> Result<(), Error> {
    let draft = Draft::root(read_document(DocumentKind::Root, &args.document)?)?;
    let mut admin = context.admin().await?;
    let changes = match admin.trust_store().trusted().digest() == draft.signed().digest() {
        true => Vec::new(),
        false => {
            note(&summary(admin.trust_store(), &draft)?);
            differences(admin.trust_store().root(), draft.document())
        }
    };
    let is_new = root::submit(&mut admin, &draft).await?;
    installed(context, &mut admin, (&draft, is_new), changes, (args.yes, args.wait)).await
}

/// Says that a root was taken, and signs the roster again where it does not count under it any more.
async fn installed(
    context: &Context,
    admin: &mut Admin,
    (draft, is_new): (&Draft<Root>, bool),
    changes: Vec<String>,
    (yes, wait): (bool, Option<Duration>),
) -> Result<(), Error> {
    let version = admin.trust_store().root().version;
    let again = if is_new { "" } else { " (it had it already)" };
    note(&format!("root {version} is in the coordinator's ledger{again}; nodes follow it when they are connected"));
    let roster = members::anew(admin, async |admin| renew_lapsed(admin, yes).await).await?;
    let digest = draft.signed().digest();
    // Whoever signed away the own key is not let in any more, and cannot ask.
    let own = admin.signer().public_key().fingerprint();
    let delivered = match admin.trust_store().counting_keys().contains(&own) {
        true => {
            let wanted = Wanted::newest_root(admin.trust_store());
            Some(delivery::wait(admin, wanted, wait.unwrap_or_default()).await?)
        }
        false => None,
    };
    print(
        context.output,
        || {
            json!({ "root": version, "digest": digest, "is_new": is_new, "roster": roster, "changes": changes,
                "delivery": delivered.as_ref().map(Delivery::json) })
        },
        || format!("root {version} holds ({digest})\n{}", delivered.as_ref().map(Delivery::text).unwrap_or_default()),
    )
}

/// Signs a roster again that does not count under the newest root any more, and gives its version.
async fn renew_lapsed(admin: &mut Admin, yes: bool) -> Result<Option<u64>, Error> {
    let store = admin.trust_store();
    let Some(lapsed) = store.lapsed().map(|roster| roster.document()) else { return Ok(None) };
    let (file, version, nodes) = (store.newest_root_file(), store.root().version, names(lapsed));
    note(&format!("roster {} does not count under root {version}; its nodes are {nodes}", lapsed.version));
    confirm("sign it again with these nodes?", yes).inspect_err(|_| {
        note(&format!("no plan can be made until an admin signs it again: hostler submit {}", file.display()));
    })?;
    let next = roster::renewal(admin, now()).await?;
    match members::hand_on(admin, &next, None).await? {
        Handed::InForce(renewed) => {
            note(&format!("roster {renewed} is signed, with the same nodes"));
            Ok(Some(renewed))
        }
        Handed::Waits(path) => {
            note(&next_signers(&path));
            Ok(None)
        }
    }
}

/// The changes that the flags ask for, perhaps none: keys go before others come, so that one command can give a key
/// another role.
fn changes(held: &Root, args: &AmendArgs, now: Timestamp) -> Result<Vec<Amendment>, Error> {
    let mut changes = Vec::new();
    for who in &args.remove_signers {
        changes.push(Amendment::RemoveSigner(find_key(held, who)?));
    }
    for who in &args.revoke {
        changes.push(Amendment::Revoke(find_key(held, who)?));
    }
    for new in &args.add_signers {
        let (name, key) = (new.name.clone(), read_public_key(&new.key_file)?);
        changes.push(Amendment::AddSigner(Signer { name, key, role: new.role, plan_kinds: new.plan_kinds.clone() }));
    }
    let old = &held.thresholds;
    let thresholds = SignatureThresholds {
        root: args.threshold_root.unwrap_or(old.root),
        admission: args.threshold_admission.unwrap_or(old.admission),
        roster: args.threshold_roster.unwrap_or(old.roster),
        plan: args.threshold_plan.unwrap_or(old.plan),
        plan_kinds: {
            let named = args.threshold_kind.iter().map(|t| (t.kind, t.keys));
            old.plan_kinds.clone().into_iter().chain(named).collect()
        },
    };
    if thresholds != *old {
        changes.push(Amendment::Thresholds(thresholds));
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
        changes.push(Amendment::Policy(policy));
    }
    changes.extend(args.add_ca.iter().copied().map(Amendment::AddCoordinatorCa));
    changes.extend(args.remove_ca.iter().copied().map(Amendment::RemoveCoordinatorCa));
    changes.extend(args.remove_recovery_keys.iter().copied().map(Amendment::RemoveRecoveryKey));
    changes.extend(args.add_recovery_keys.iter().map(|new| Amendment::AddRecoveryKey(new.0.clone())));
    changes.extend(args.lifetime.map(|life| Amendment::Expires(now.whole_seconds().plus(life))));
    changes.extend(args.raise_epoch.then_some(Amendment::RaiseEpoch));
    Ok(changes)
}

/// The key of a signer by name, or the fingerprint as it was given.
fn find_key(held: &Root, who: &str) -> Result<Fingerprint, Error> {
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
fn summary(store: &TrustStore, draft: &Draft<Root>) -> Result<String, Error> {
    let (next, digest) = (draft.document(), draft.signed().digest());
    let mut text = show::root(Some(store.root()), next, &digest);
    if let Some(roster) = store.roster() {
        let by = SignedBy::of(DocumentKind::Roster, roster.signed())?;
        if roster.document().epoch < next.epoch || threshold(next, Duty::Roster, &by).is_err() {
            let nodes = names(roster.document());
            text.push_str(&format!(
                "  roster    {} must be signed again; its nodes: {nodes}\n",
                roster.document().version
            ));
        }
    }
    text.push_str(&progress(store, next, &root::signing(store, draft)));
    Ok(text)
}

/// Who signed, and how many must.
fn progress(store: &TrustStore, next: &Root, signing: &RootSigning) -> String {
    let line = |version: u64, count: &Count| {
        let by = if count.by.is_empty() { "nobody yet".to_owned() } else { clean(&count.by.join(", ")).into_owned() };
        format!(
            "  root {version:<4} demands {}; signed by {by}",
            hostler_plan::text::count(count.needed, "different key")
        )
    };
    format!("{}\n{}", line(store.root().version, &signing.before), line(next.version, &signing.own))
}

fn names(roster: &hostler_plan::document::Roster) -> String {
    let names: Vec<&str> = roster.nodes.iter().map(|n| NodeName::as_str(&n.name)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
