//! Who may bring a node in, and whether it came with what the admission says.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    document::{Admission, DocumentKind, Enrolment, Roster, RosterStatus, Signed},
    id::Fingerprint,
    refusal::{Refusal, Refused},
    text::count,
    timestamp::Timestamp,
    trust::{CLOCK_SKEW, Duty, Purpose, SignedBy, TrustedRoot, Verified, parse, roster::is_seal_key, threshold},
};

/// Verifies an admission under `root`: signed by those who may admit, of this fleet and epoch, under a root that the
/// chain came by, alive, and living no longer than the policy allows.
pub fn admission(root: &TrustedRoot, signed: &Signed, purpose: Purpose) -> Result<Verified<Admission>, Refused> {
    let by = SignedBy::of(DocumentKind::Admission, signed)?;
    let trusted = root.root();
    let admission: Admission = parse(DocumentKind::Admission, Some(&trusted.fleet_id), &signed.bytes)?;
    threshold(trusted, Duty::Admission, &by)?;
    let token = &admission.token;
    if admission.epoch < trusted.epoch {
        return Err(Refused::new(
            Refusal::Replay,
            format!(
                "expected a token of epoch {}, found token {token} of epoch {}; make a new token",
                trusted.epoch, admission.epoch
            ),
        ));
    }
    if admission.epoch > trusted.epoch {
        return Err(Refused::new(
            Refusal::RootChain,
            format!(
                "token {token} is of epoch {}, found a root of epoch {} here; offer the newer roots first",
                admission.epoch, trusted.epoch
            ),
        ));
    }
    if admission.created >= admission.expires {
        return Err(Refused::new(
            Refusal::Malformed,
            format!("token {token}: expected it to expire after {}, found {}", admission.created, admission.expires),
        ));
    }
    let (lifetime, most) = (admission.expires.since(admission.created), trusted.policy.max_admission_lifetime_seconds);
    if lifetime > Duration::from_secs(most) {
        return Err(Refused::new(
            Refusal::Expired,
            format!(
                "token {token}: expected a lifetime of at most {most} s by the root's policy, found {} s; make a \
                    shorter one",
                lifetime.as_secs()
            ),
        ));
    }
    match purpose {
        Purpose::Submitting(now) | Purpose::Starting(now) => {
            root.check_expiry(now)?;
            check_alive(&admission, now)?;
        }
        Purpose::Begun => {}
    }
    if admission.uses == 0 {
        return Err(Refused::new(Refusal::Malformed, format!("token {token}: expected at least one use, found 0")));
    }
    let key = admission.token_key.fingerprint();
    if !admission.token_key.can_sign_documents() || trusted.signers.iter().any(|s| s.key.fingerprint() == key) {
        return Err(Refused::new(
            Refusal::Malformed,
            format!("token {token}: expected an ed25519 key made for this token, found {key}; make a new token"),
        ));
    }
    root.check_passed(&format!("token {token}"), admission.root_version, &admission.root)?;
    Ok(Verified::new(admission, signed))
}

fn check_alive(admission: &Admission, now: Timestamp) -> Result<(), Refused> {
    let token = &admission.token;
    if now >= admission.expires {
        return Err(Refused::new(
            Refusal::Expired,
            format!("token {token} expired at {} and it is {now}; make a new token", admission.expires),
        ));
    }
    if admission.created > now.plus(CLOCK_SKEW) {
        return Err(Refused::new(
            Refusal::Expired,
            format!(
                "token {token} was made at {}, and it is only {now} by the clock of whoever judges it; compare `date` \
                 on both machines",
                admission.created
            ),
        ));
    }
    Ok(())
}

/// Whether the roster leaves that token open for a node with this key: it does not revoke it, and fewer other keys came
/// in with it than it admits, together with those that `wait` and are in no roster yet. Who is in stays in.
///
/// The new node, the coordinator and the admin's command ask this alike. What the coordinator counted and revoked is
/// its word until a roster says it.
pub fn check_token(
    admission: &Admission,
    roster: Option<&Roster>,
    key: &Fingerprint,
    wait: &BTreeSet<Fingerprint>,
) -> Result<(), Refused> {
    let token = &admission.token;
    let nodes = roster.map(|r| r.nodes.as_slice()).unwrap_or_default();
    if nodes.iter().any(|n| n.status == RosterStatus::Active && n.key.fingerprint() == *key) {
        return Ok(());
    }
    if let Some(roster) = roster.filter(|r| r.revoked_tokens.contains(token)) {
        let reason = format!("token {token} was revoked by roster {}; make a new token", roster.version);
        return Err(Refused::new(Refusal::Revoked, reason));
    }
    let listed = roster.into_iter().flat_map(|r| r.admitted_by(token)).map(|n| n.key.fingerprint());
    let others: BTreeSet<Fingerprint> = listed.chain(wait.iter().cloned()).filter(|other| other != key).collect();
    if others.len() < admission.uses as usize {
        return Ok(());
    }
    Err(Refused::new(
        Refusal::NotAllowed,
        format!(
            "token {token} admits {}, and {} others came with it, found {key} as one more; make a new token, and find \
                out who holds this one",
            count(admission.uses, "node"),
            others.len()
        ),
    ))
}

/// Verifies an enrolment: one signature by the token's key (it was invited) and one by the node's own key (it holds
/// it), while the admission is alive. How often the token was used is for the caller to count.
pub fn enrolment(
    admission: &Verified<Admission>,
    signed: &Signed,
    purpose: Purpose,
) -> Result<Verified<Enrolment>, Refused> {
    let by = SignedBy::of(DocumentKind::Enrolment, signed)?;
    let invited = admission.document();
    let token = &invited.token;
    let token_key = invited.token_key.fingerprint();
    if !by.keys().contains(&token_key) {
        return Err(Refused::new(
            Refusal::BadSignature,
            format!(
                "expected an enrolment signed with the key of token {token}, found none by it; use the join string of \
                    this token"
            ),
        ));
    }
    let enrolment: Enrolment = parse(DocumentKind::Enrolment, Some(&invited.fleet_id), &signed.bytes)?;
    let node = &enrolment.node;
    if enrolment.token != *token {
        return Err(Refused::new(
            Refusal::NotAllowed,
            format!(
                "expected an enrolment with token {token}, found one with token {}; offer it with its own admission",
                enrolment.token
            ),
        ));
    }
    let key = enrolment.key.fingerprint();
    if key == token_key || !enrolment.key.can_sign_documents() {
        return Err(Refused::new(
            Refusal::Malformed,
            format!("expected node {node} to have an ed25519 key of its own, found {key}; let it make a new one"),
        ));
    }
    if !by.keys().contains(&key) || signed.signatures.len() != 2 {
        return Err(Refused::new(
            Refusal::BadSignature,
            format!(
                "expected two signatures, by the token's key and by node {node}'s own key {key}, found {} by other \
                    keys or too many; enrol again",
                signed.signatures.len()
            ),
        ));
    }
    match purpose {
        Purpose::Submitting(now) | Purpose::Starting(now) => check_alive(invited, now)?,
        Purpose::Begun => {}
    }
    if !is_seal_key(&enrolment.seal_key) {
        return Err(Refused::new(
            Refusal::Malformed,
            format!(
                "expected a seal key of 32 bytes in base64 for {node}, one that keeps a secret, found another; update \
                    hostler-agent"
            ),
        ));
    }
    Ok(Verified::new(enrolment, signed))
}
