//! Whether a decision counts: signed by the person whom it names, of this fleet and epoch, and short-lived.

use std::time::Duration;

use crate::{
    document::{Decision, DocumentKind, Signed, SignerRole},
    refusal::{Refusal, Refused},
    text::clean_to,
    trust::{SignedBy, TrustedRoot, Verified, parse},
};

/// How long a decision may be handed in after it was made: it is signed and sent in one go, and an hour is time enough
/// to carry it to another machine.
pub const MAX_DECISION_LIFETIME: Duration = Duration::from_secs(3600);

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
    Ok(Verified::new(decision, signed))
}
