//! Whether a decision counts: signed by the person whom it names, of this fleet and epoch, and short-lived.

use std::time::Duration;

use crate::{
    document::{Decision, DocumentKind, NodeDecision, NodeMatter, Root, Signed, Signer, SignerRole},
    health::{Level, Rule},
    refusal::{Refusal, Refused},
    text::clean_to,
    trust::{SignedBy, TrustedRoot, Verified, parse, shape},
};

/// How long a decision may be handed in after it was made: it is signed and sent in one go, and an hour is time enough
/// to carry it to another machine.
pub const MAX_DECISION_LIFETIME: Duration = Duration::from_secs(3600);

/// How long a verdict can be accepted: a quarter of a year, after which a person looks at it again.
pub const MAX_ACCEPTANCE: Duration = Duration::from_secs(90 * 86_400);

/// Decisions about one node that count at a time. More warnings than that are no new normal.
pub const MAX_NODE_DECISIONS: usize = 16;

/// Verifies a decision under `root`: one signature, by the key of the signer whom it names, whose role allows it.
/// Whether it fits the ledger that it is handed to is the judge's question.
pub fn decision(root: &TrustedRoot, signed: &Signed) -> Result<Verified<Decision>, Refused> {
    let by = SignedBy::of(DocumentKind::Decision, signed)?;
    let root = root.root();
    let decision: Decision = parse(DocumentKind::Decision, Some(&root.fleet_id), &signed.bytes)?;
    let name = clean_to(&decision.by, 80);
    let alone = by.keys().first().filter(|_| signed.signatures.len() == 1);
    let signer = root.signers.iter().find(|s| s.name == decision.by && alone == Some(&s.key.fingerprint()));
    let signer = signer.ok_or_else(|| {
        Refused::new(
            Refusal::BadSignature,
            format!("expected one signature by a key of {name} in root {}, found another; sign it again", root.version),
        )
    })?;
    check_decision(root, &decision, signer)?;
    Ok(Verified::new(decision, signed))
}

/// Whether a decision would count if this signer of the root signed it: asked before a key is touched for nothing.
pub fn check_decision(root: &Root, decision: &Decision, signer: &Signer) -> Result<(), Refused> {
    let name = clean_to(&decision.by, 80);
    if root.revoked.contains(&signer.key.fingerprint()) {
        let reason = format!("expected a decision by a key that counts, found {name}'s, which is revoked");
        return Err(Refused::new(Refusal::Revoked, reason));
    }
    let allowed = match signer.role {
        SignerRole::Viewer => false,
        SignerRole::Operator => decision.decided.needs_only_operator(),
        SignerRole::Admin => true,
    };
    if !allowed {
        let (role, word) = (signer.role, decision.decided.word());
        let reason = format!("{name} has the role {role}, which does not allow a {word}; have another person sign it");
        return Err(Refused::new(Refusal::NotAllowed, reason));
    }
    if decision.epoch != root.epoch {
        let reason = format!(
            "expected a decision of epoch {}, found one of epoch {}; decide and sign again",
            root.epoch, decision.epoch
        );
        return Err(Refused::new(Refusal::Replay, reason));
    }
    let lifetime = decision.expires.since(decision.created);
    if decision.expires <= decision.created || lifetime > MAX_DECISION_LIFETIME {
        let reason = format!(
            "expected a decision that lives at most {} s, found one from {} to {}; decide and sign again",
            MAX_DECISION_LIFETIME.as_secs(),
            decision.created,
            decision.expires
        );
        return Err(Refused::new(Refusal::Malformed, reason));
    }
    decision.decided.about_node().map_or(Ok(()), |about| check_form(about, decision))
}

/// Whether a decision about a node could count at all.
fn check_form(about: &NodeDecision, decision: &Decision) -> Result<(), Refused> {
    let malformed = |reason: String| Err(Refused::new(Refusal::Malformed, reason));
    let NodeDecision { node, number, keeps, also, about, .. } = about;
    let mut once = keeps.clone();
    once.sort();
    once.dedup();
    if *number == 0 || keeps.len() >= MAX_NODE_DECISIONS || once.len() != keeps.len() {
        return malformed(format!(
            "expected decision 1 or a later one about {node} beside at most {} others, each once, found number \
             {number} beside {}; withdraw some and sign again",
            MAX_NODE_DECISIONS - 1,
            keeps.len()
        ));
    }
    if !shape::closes_well(None, also) {
        let (most, found) = (shape::MAX_CLOSED, also.len());
        return malformed(format!(
            "expected at most {most} others that end with it, each once, found {found}; sign again"
        ));
    }
    let (level, disk) = match about {
        NodeMatter::Withdraw { .. } => return Ok(()),
        NodeMatter::Release(release) => (release.level, &release.disk),
        NodeMatter::Accept(accepted) => {
            let (created, until) = (decision.created, accepted.until);
            if until <= created || until.since(created) > MAX_ACCEPTANCE {
                let days = MAX_ACCEPTANCE.as_secs() / 86_400;
                return malformed(format!(
                    "expected a verdict to be accepted for at most {days} days from {created} on, found until {until}; \
                     name another end with --until"
                ));
            }
            if accepted.rule == Rule::Report {
                return malformed(format!(
                    "expected a verdict over facts, found {}: a node that does not report is never well; {}",
                    accepted.rule,
                    accepted.rule.advice()
                ));
            }
            if accepted.values.is_empty() {
                return malformed(
                    "expected a number to compare with, found none; what is not known is never well".to_owned(),
                );
            }
            (accepted.level, &accepted.disk)
        }
    };
    if !matches!(level, Level::Degraded | Level::Critical) {
        return malformed(format!(
            "expected a verdict that is degraded or critical, found one that is {level}; what is not known is never \
             well: a rule can be optional in the fleet file"
        ));
    }
    if disk.as_ref().is_some_and(|disk| disk.is_empty()) {
        return malformed("expected a number of the disk or no disk, found none of it; sign again".to_owned());
    }
    Ok(())
}
