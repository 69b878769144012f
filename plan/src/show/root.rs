//! A root in words.

use super::{Page, key, list, predecessors};
use crate::{
    document::{PlanKind, Policy, RecoveryKey, Root, RootType, SignatureThresholds, Signer},
    id::Digest,
    text::span,
    trust::differences,
};

/// What differs from the root that is held today, then everything that the root says. `digest` is that of its bytes.
pub fn root(held: Option<&Root>, next: &Root, digest: &Digest) -> String {
    let Root {
        document_type: RootType::V1,
        fleet_id,
        version,
        prev,
        also,
        epoch,
        created,
        expires,
        signers,
        thresholds,
        revoked,
        coordinator_ca,
        policy,
        recovery,
    } = next;
    let mut page = Page::new(&format!("root {version} of fleet {fleet_id}"));
    page.line("digest", digest);
    for change in held.map(|held| differences(held, next)).unwrap_or_default() {
        page.line("change", change);
    }
    page.line("epoch", epoch);
    page.line("before it", predecessors(*prev, also));
    page.line("made", created);
    page.line("expires", expires);
    for Signer { name, key: theirs, role, plan_kinds } in signers {
        let kinds = list(plan_kinds, "every kind that the role allows");
        page.line("signer", format!("{name}: {role}, {}, plans: {kinds}", key(theirs)));
    }
    let SignatureThresholds { root, admission, roster, plan, plan_kinds } = thresholds;
    page.line("keys", format!("root {root}, admission {admission}, roster {roster}, plan {plan}"));
    for (kind, needed) in plan_kinds {
        page.line("keys", format!("plan of kind {kind} {needed}"));
    }
    let fewer = |kind: &PlanKind| kind.own_threshold().is_some() && !plan_kinds.contains_key(kind);
    let fewer: Vec<PlanKind> = PlanKind::ALL.into_iter().filter(fewer).collect();
    page.line("keys", format!("one for each of {}", list(&fewer, "none")));
    page.line("revoked", list(revoked, "no key"));
    for pin in coordinator_ca {
        page.line("believes", format!("coordinators with CA {pin}"));
    }
    for RecoveryKey { name, key } in recovery {
        page.line("recovery", format!("snapshots are sealed to {key}, which {name} keeps"));
    }
    let Policy { max_plan_lifetime_seconds, max_admission_lifetime_seconds, cordon_when_critical } = policy;
    page.line("plans", format!("live {} at most", span(*max_plan_lifetime_seconds)));
    page.line("tokens", format!("live {} at most", span(*max_admission_lifetime_seconds)));
    let cordons = if *cordon_when_critical { "cordon themselves" } else { "do not cordon themselves" };
    page.line("nodes", format!("{cordons} when a required rule is critical"));
    page.0
}
