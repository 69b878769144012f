//! Whether a pass logs somebody in: signed by a key that counts, for these coordinators, now, and not for long.

use std::time::Duration;

use crate::{
    document::{DocumentKind, Pass, Signed},
    id::Digest,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{CLOCK_SKEW, SignedBy, TrustedRoot, Verified, parse},
};

/// How long a pass may last: a working day, so that a hardware key is touched once on it, and what was stolen in the
/// evening is worth nothing in the morning.
pub const MAX_PASS_LIFETIME: Duration = Duration::from_secs(8 * 3600);

/// Verifies a pass under `root`: one signature, by the key that it names, which stands in the root and is not revoked;
/// for the coordinator with that `ca`; and in time by the clock of whoever asks.
pub fn pass(root: &TrustedRoot, signed: &Signed, ca: &Digest, now: Timestamp) -> Result<Verified<Pass>, Refused> {
    let refused = |refusal, reason| Err(Refused::new(refusal, reason));
    // Strangers hand passes in: more signatures are not even looked at.
    if signed.signatures.len() != 1 {
        let found = signed.signatures.len();
        let reason = format!("expected a pass with one signature, found {found}; log in again");
        return refused(Refusal::BadSignature, reason);
    }
    let by = SignedBy::of(DocumentKind::Pass, signed)?;
    let root = root.root();
    let pass: Pass = parse(DocumentKind::Pass, Some(&root.fleet_id), &signed.bytes)?;
    let signer = &pass.signer;
    if !by.keys().contains(signer) || !root.signers.iter().any(|s| s.key.fingerprint() == *signer) {
        let found = by.keys().first().map_or("none".to_owned(), ToString::to_string);
        let reason = format!(
            "expected a pass signed by the key that it names and that root {} lists, found {found}; log in with \
             another key, or have an admin sign a root with it",
            root.version
        );
        return refused(Refusal::BadSignature, reason);
    }
    if root.revoked.contains(signer) {
        let reason = format!("expected a pass by a key that counts, found {signer}, which is revoked; use another key");
        return refused(Refusal::Revoked, reason);
    }
    if !pass.coordinator_ca.contains(ca) {
        let reason =
            format!("expected a pass for the coordinator with the CA {ca}, found one for others; log in again");
        return refused(Refusal::WrongFleet, reason);
    }
    let (created, expires) = (pass.created, pass.expires);
    if expires <= created || expires.since(created) > MAX_PASS_LIFETIME {
        let hours = MAX_PASS_LIFETIME.as_secs() / 3600;
        let reason = format!(
            "expected a pass that lasts at most {hours} h, found one from {created} to {expires}; log in again"
        );
        return refused(Refusal::Expired, reason);
    }
    if expires <= now || created > now.plus(CLOCK_SKEW) {
        let reason = format!(
            "expected a pass that holds at {now}, found one from {created} to {expires}; log in again, or set the \
             clock that is wrong"
        );
        return refused(Refusal::Expired, reason);
    }
    Ok(Verified::new(pass, signed))
}
