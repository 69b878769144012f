//! The next root: typed changes to the one that is held, what an admin must not sign by mistake, and what it all means.

use std::collections::BTreeSet;

use crate::{
    document::{PlanKind, Policy, Recipient, RecoveryKey, Root, SignatureThresholds, Signer},
    id::{Digest, Epoch, Fingerprint},
    refusal::{Refusal, Refused},
    text::{clean, span},
    timestamp::Timestamp,
    trust::{
        Duty,
        root::{check_content, check_revocations},
    },
};

/// One thing that the next root says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amendment {
    /// A further key counts.
    AddSigner(Signer),
    /// A key counts no more, and may come back with a later root.
    RemoveSigner(Fingerprint),
    /// A key counts never again. Its signer stays listed, so that people see whose it was.
    Revoke(Fingerprint),
    Thresholds(SignatureThresholds),
    Policy(Policy),
    AddCoordinatorCa(Digest),
    RemoveCoordinatorCa(Digest),
    /// Snapshots are sealed to it too.
    AddRecoveryKey(RecoveryKey),
    /// No snapshot is sealed to it any more; those that are can still be opened with it.
    RemoveRecoveryKey(Recipient),
    Expires(Timestamp),
    /// The next epoch: everything that was signed before is void.
    RaiseEpoch,
}

/// The root after `held` with these changes, made in the order in which they stand; which root it follows, and which
/// forks it closes, is for whoever holds the bytes to say. Whether a person should sign it is asked of [`check_next`].
pub fn amend(held: &Root, changes: &[Amendment], created: Timestamp) -> Result<Root, Refused> {
    let version = held.version.saturating_add(1);
    let mut next = Root { version, prev: None, also: Vec::new(), created, ..held.clone() };
    for change in changes {
        apply(&mut next, change)?;
    }
    Ok(next)
}

fn apply(next: &mut Root, change: &Amendment) -> Result<(), Refused> {
    let version = next.version;
    let refused = |refusal, reason: String| Err(Refused::new(refusal, format!("root {version}: {reason}")));
    match change {
        Amendment::AddSigner(signer) => {
            let (name, key) = (clean(&signer.name), signer.key.fingerprint());
            if next.revoked.contains(&key) {
                let reason = format!("expected a key that is not revoked, found {key} for {name}; make a new key");
                return refused(Refusal::Revoked, reason);
            }
            next.signers.push(signer.clone());
        }
        Amendment::RemoveSigner(key) => {
            let before = next.signers.len();
            next.signers.retain(|s| s.key.fingerprint() != *key);
            if next.signers.len() == before {
                let reason =
                    format!("expected a signer with key {key}, found none; `hostler trust show` lists the signers");
                return refused(Refusal::Malformed, reason);
            }
        }
        Amendment::Revoke(key) if next.revoked.contains(key) => {
            return refused(Refusal::Malformed, format!("key {key} is revoked already; leave it out"));
        }
        Amendment::Revoke(key) => next.revoked.push(key.clone()),
        Amendment::Thresholds(thresholds) => next.thresholds.clone_from(thresholds),
        Amendment::Policy(policy) => next.policy = policy.clone(),
        Amendment::AddCoordinatorCa(pin) if next.coordinator_ca.contains(pin) => {
            return refused(Refusal::Malformed, format!("coordinator CA {pin} is pinned already; leave it out"));
        }
        Amendment::AddCoordinatorCa(pin) => next.coordinator_ca.push(*pin),
        Amendment::RemoveCoordinatorCa(pin) => {
            if !next.coordinator_ca.contains(pin) {
                let reason =
                    format!("expected to find coordinator CA {pin}, found it is not pinned; see `hostler trust show`");
                return refused(Refusal::Malformed, reason);
            }
            next.coordinator_ca.retain(|p| p != pin);
        }
        Amendment::AddRecoveryKey(key) => next.recovery.push(key.clone()),
        Amendment::RemoveRecoveryKey(key) => {
            if !next.recovery.iter().any(|k| k.key == *key) {
                let reason = format!("expected recovery key {key}, found none; `hostler trust show` lists them");
                return refused(Refusal::Malformed, reason);
            }
            next.recovery.retain(|k| k.key != *key);
        }
        Amendment::Expires(at) => next.expires = *at,
        Amendment::RaiseEpoch => next.epoch = Epoch(next.epoch.0.saturating_add(1)),
    }
    Ok(())
}

/// Whether a person should sign `next` on top of `held`. It refuses what nodes refuse too, and what they would follow
/// to a fleet that nobody can reach or amend. `ca_in_use` is the CA that the coordinator shows now, where that is
/// known.
pub fn check_next(held: &Root, next: &Root, ca_in_use: Option<&Digest>, now: Timestamp) -> Result<(), Refused> {
    let version = next.version;
    let refused = |refusal, reason: String| Err(Refused::new(refusal, format!("root {version}: {reason}")));
    if next.fleet_id != held.fleet_id {
        let reason = format!("expected one of fleet {}, found one of fleet {}", held.fleet_id, next.fleet_id);
        return refused(Refusal::WrongFleet, format!("{reason}; it belongs elsewhere"));
    }
    if held.version.checked_add(1) != Some(version) {
        let reason = format!("expected root {}, the one after root {}", held.version.saturating_add(1), held.version);
        return refused(Refusal::RootChain, format!("{reason}; amend the newest root with `hostler trust amend`"));
    }
    if next.epoch != held.epoch && held.epoch.0.checked_add(1) != Some(next.epoch.0) {
        let reason = format!("expected epoch {} or the next one, found epoch {}", held.epoch, next.epoch);
        return refused(Refusal::RootChain, format!("{reason}; an epoch never goes back and leaves none out"));
    }
    if next.expires <= now {
        let reason = format!("expected it to expire after {now}, found {}", next.expires);
        return refused(Refusal::Expired, format!("{reason}; give it a longer life with --lifetime"));
    }
    check_revocations(held, next)?;
    if able(next, Duty::Root) == 0 {
        let reason = "expected at least one admin whose key counts, found none; nobody could sign anything any more";
        return refused(Refusal::Malformed, reason.to_owned());
    }
    if let Some(pin) = ca_in_use
        && !next.coordinator_ca.contains(pin)
    {
        let reason = format!(
            "expected the coordinator CA {pin}, which is in use now, found it is not pinned; nobody could connect"
        );
        return refused(Refusal::RootChain, format!("{reason}: pin the new one first and move the coordinator to it"));
    }
    check_content(next)
}

/// What differs and what it means for the fleet, a sentence each; what goes first, then who comes.
pub fn differences(held: &Root, next: &Root) -> Vec<String> {
    let mut said = signers(held, next);
    thresholds(held, next, &mut said);
    policy(&held.policy, &next.policy, &mut said);
    for pin in next.coordinator_ca.iter().filter(|p| !held.coordinator_ca.contains(p)) {
        said.push(format!("a coordinator with CA {pin} is believed"));
    }
    for pin in held.coordinator_ca.iter().filter(|p| !next.coordinator_ca.contains(p)) {
        said.push(format!("a coordinator with CA {pin} is believed no more, and join strings with it end"));
    }
    recovery(held, next, &mut said);
    for other in &next.also {
        said.push(format!("it closes the fork with root {other}: nodes that hold that one follow it too"));
    }
    if next.expires != held.expires {
        said.push(format!("it expires at {} instead of {}", next.expires, held.expires));
    }
    if next.epoch != held.epoch {
        said.push(format!(
            "epoch {} begins: every plan, roster and token signed before becomes void, and plans count from 1 again",
            next.epoch
        ));
    }
    said
}

fn signers(held: &Root, next: &Root) -> Vec<String> {
    let mut said = Vec::new();
    let after: BTreeSet<Fingerprint> = next.signers.iter().map(|s| s.key.fingerprint()).collect();
    for gone in held.signers.iter().filter(|s| !after.contains(&s.key.fingerprint())) {
        let name = clean(&gone.name);
        said.push(format!("{name} is no signer any more: what only {name} signed becomes void"));
    }
    for key in next.revoked.iter().filter(|k| !held.revoked.contains(k)) {
        let of = held.signers.iter().find(|s| s.key.fingerprint() == *key).map(|s| clean(&s.name));
        said.push(match of {
            Some(name) => format!("the key {key} of {name} is revoked for ever: what only {name} signed becomes void"),
            None => format!("the key {key}, which no signer has, is revoked for ever"),
        });
    }
    for signer in &next.signers {
        let (name, key) = (clean(&signer.name), signer.key.fingerprint());
        let Some(old) = held.signers.iter().find(|s| s.key.fingerprint() == key) else {
            said.push(format!("{name} signs as {} with {key}", rights(signer)));
            continue;
        };
        if old.name != signer.name {
            said.push(format!("{} is now called {name}", clean(&old.name)));
        }
        if (old.role, &old.plan_kinds) != (signer.role, &signer.plan_kinds) {
            said.push(format!("{name} signs as {} instead of {}", rights(signer), rights(old)));
        }
    }
    said
}

fn rights(signer: &Signer) -> String {
    match signer.plan_kinds.as_slice() {
        [] => signer.role.to_string(),
        kinds => {
            let kinds: Vec<String> = kinds.iter().map(PlanKind::to_string).collect();
            format!("{} (plans: {})", signer.role, kinds.join(", "))
        }
    }
}

fn thresholds(held: &Root, next: &Root, said: &mut Vec<String>) {
    // The kind that most keys may sign stands for plans, as in the check of a root's content.
    let (before, after) = (&held.thresholds.plan_kinds, &next.thresholds.plan_kinds);
    let named = |kind: &PlanKind| before.contains_key(kind) || after.contains_key(kind);
    let common = |kind: &PlanKind| kind.own_threshold().is_none() && !named(kind);
    let plan = PlanKind::ALL.into_iter().filter(common).max_by_key(|kind| able(next, Duty::Plan(*kind)));
    let duties = [Duty::Root, Duty::Admission, Duty::Roster].into_iter().chain(plan.map(Duty::Plan));
    for duty in duties.chain(PlanKind::ALL.into_iter().filter(named).map(Duty::Plan)) {
        let (before, needed) = (duty.needed(held), duty.needed(next));
        if before == needed {
            continue;
        }
        let (what, note) = match duty {
            Duty::Root => ("a root".to_owned(), ""),
            Duty::Admission => ("a token".to_owned(), ""),
            Duty::Roster => ("a roster".to_owned(), ""),
            Duty::Plan(kind) => (
                if named(&kind) { format!("a plan of kind {kind}") } else { "a plan".to_owned() },
                if needed > before { "; plans with fewer become void" } else { "" },
            ),
        };
        said.push(format!("{what} needs {needed} of {} keys instead of {before}{note}", able(next, duty)));
    }
}

fn policy(held: &Policy, next: &Policy, said: &mut Vec<String>) {
    let (old, new) = (held.max_plan_lifetime_seconds, next.max_plan_lifetime_seconds);
    if old != new {
        let void = if new < old { "; plans that live longer become void" } else { "" };
        said.push(format!("a plan lives {} at most instead of {}{void}", span(new), span(old)));
    }
    let (old, new) = (held.max_admission_lifetime_seconds, next.max_admission_lifetime_seconds);
    if old != new {
        let void = if new < old { "; tokens that live longer admit nobody any more" } else { "" };
        said.push(format!("a token lives {} at most instead of {}{void}", span(new), span(old)));
    }
    match (held.cordon_when_critical, next.cordon_when_critical) {
        (false, true) => {
            said.push("a node whose required rule is critical cordons itself until that is over".to_owned())
        }
        (true, false) => {
            said.push(
                "no node cordons itself any more, and cordons that nodes gave themselves are taken back".to_owned(),
            );
        }
        (false, false) | (true, true) => {}
    }
}

fn recovery(held: &Root, next: &Root, said: &mut Vec<String>) {
    for gone in held.recovery.iter().filter(|k| !next.recovery.contains(k)) {
        let (name, key) = (clean(&gone.name), gone.key);
        said.push(format!("no snapshot is sealed to the recovery key {key} of {name} any more; older ones stay so"));
    }
    for RecoveryKey { name, key } in next.recovery.iter().filter(|k| !held.recovery.contains(k)) {
        let name = clean(name);
        said.push(format!("snapshots, with every Secret of the cluster, are sealed to {key}, which {name} keeps"));
    }
}

/// How many keys of the root count for it.
fn able(root: &Root, duty: Duty) -> usize {
    root.signers.iter().filter(|s| duty.allows(s) && !root.revoked.contains(&s.key.fingerprint())).count()
}
