//! The chain of roots: each signed by enough of the one before it and of itself.

use std::collections::BTreeSet;

use crate::{
    document::{DocumentKind, PlanKind, Root, Signed},
    id::Digest,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{Duty, SignedBy, Verified, parse, threshold},
};

/// The root that is held: the head of a chain that began with a digest from a join string, or with the admin's own
/// file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedRoot {
    root: Verified<Root>,
    by: SignedBy,
}

impl TrustedRoot {
    /// Begins a chain with the root whose digest is known from elsewhere (the join string). It must also carry its
    /// own threshold, so that nobody pins a root that its signers never agreed to. Its expiry is not looked at: a newer
    /// root may follow. [`check_expiry`](Self::check_expiry) and every document that is verified under it do.
    pub fn first(signed: &Signed, expected: &Digest) -> Result<Self, Refused> {
        let by = SignedBy::of(DocumentKind::Root, signed)?;
        if signed.digest() != *expected {
            return Err(Refused::new(
                Refusal::RootChain,
                format!(
                    "expected the trust root {expected} that the join string names, found {}; make a new join string",
                    signed.digest()
                ),
            ));
        }
        let root: Root = parse(DocumentKind::Root, None, &signed.bytes)?;
        check_content(&root)?;
        threshold(&root, Duty::Root, &by)?;
        Ok(Self { root: Verified::new(root, signed), by })
    }

    /// The next root: version exactly one more, signed by the thresholds of both, of the same fleet, epoch not lower.
    /// The held root itself, offered again, changes nothing. Whether it has expired is asked when something is verified
    /// under it, because a node that was off for a year must be able to follow roots that expired meanwhile.
    pub fn advance(&self, signed: &Signed) -> Result<Self, Refused> {
        self.advance_signed_by(signed, &SignedBy::of(DocumentKind::Root, signed)?)
    }

    /// The same of a root whose signatures were verified: `by` is of these very bytes and signatures.
    pub(super) fn advance_signed_by(&self, signed: &Signed, by: &SignedBy) -> Result<Self, Refused> {
        let held = self.root();
        if signed.digest() == self.digest() {
            return Ok(self.clone());
        }
        let next: Root = parse(DocumentKind::Root, Some(&held.fleet_id), &signed.bytes)?;
        let chain = |reason| Err(Refused::new(Refusal::RootChain, reason));
        if next.version == held.version {
            return chain(format!(
                "expected root {} to stay {}, found {} under the same version; compare the copies and find out who \
                    signed the other",
                held.version,
                self.digest(),
                signed.digest()
            ));
        }
        if Some(next.version) != held.version.checked_add(1) {
            return chain(format!(
                "expected root {}, which follows the held root {}, found root {}; offer the roots one after another",
                held.version.saturating_add(1),
                held.version,
                next.version
            ));
        }
        check_content(&next)?;
        if next.epoch < held.epoch {
            return chain(format!(
                "expected epoch {} or higher, found {}; an epoch never goes back",
                held.epoch, next.epoch
            ));
        }
        threshold(held, Duty::Root, by)?;
        threshold(&next, Duty::Root, by)?;
        Ok(Self { root: Verified::new(next, signed), by: by.clone() })
    }

    /// Reads back a root that this node itself accepted and stored.
    pub(super) fn restore(signed: &Signed) -> Result<Self, Refused> {
        Self::first(signed, &signed.digest())
    }

    /// Refuses when the root has expired: the fleet waits for a new one.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), Refused> {
        let root = self.root();
        if now < root.expires {
            return Ok(());
        }
        Err(Refused::new(
            Refusal::Expired,
            format!("root {} expired at {} and it is {now}; sign a new root", root.version, root.expires),
        ))
    }

    /// What it says.
    pub fn root(&self) -> &Root {
        self.root.document()
    }

    /// The digest of its exact bytes: what a join string pins.
    pub fn digest(&self) -> Digest {
        self.root.digest()
    }

    /// Its exact bytes and signatures.
    pub fn signed(&self) -> &Signed {
        self.root.signed()
    }

    /// The keys that signed it.
    pub fn signed_by(&self) -> &SignedBy {
        &self.by
    }
}

/// Whether a fleet could live under this root. Also for a root that is not signed yet.
pub(super) fn check_content(root: &Root) -> Result<(), Refused> {
    let malformed = |reason: String| Err(Refused::new(Refusal::Malformed, format!("root {}: {reason}", root.version)));
    if root.version == 0 {
        return malformed("expected a version of at least 1, found 0".to_owned());
    }
    if root.created >= root.expires {
        return malformed(format!("expected it to expire after {}, found {}", root.created, root.expires));
    }
    if root.coordinator_ca.is_empty() {
        return malformed("expected at least one coordinator CA, found none; no node could connect".to_owned());
    }
    let policy = &root.policy;
    if policy.max_plan_lifetime_seconds == 0 || policy.max_admission_lifetime_seconds == 0 {
        return malformed("expected lifetimes of more than 0 seconds in the policy, found 0".to_owned());
    }
    let mut keys = BTreeSet::new();
    for signer in &root.signers {
        let name = signer.name.escape_default();
        if signer.name.is_empty() || signer.name.len() > MAX_NAME_BYTES || signer.name.contains(char::is_control) {
            return malformed(format!(
                "expected signer names of 1 to {MAX_NAME_BYTES} bytes without control characters, found {name:?}"
            ));
        }
        if !signer.key.can_sign_documents() {
            return malformed(format!(
                "expected keys that can sign documents, found {} of {name}",
                signer.key.key_type()
            ));
        }
        if !keys.insert(signer.key.fingerprint()) {
            return malformed(format!("expected every key once, found {} again for {name}", signer.key.fingerprint()));
        }
    }
    check_thresholds(root)
}

/// The length of a signer's name: an e-mail address is at most 254 bytes, names of people are far shorter.
const MAX_NAME_BYTES: usize = 254;

/// Every duty must be doable by the signers that are not revoked. Plans must be possible for at least one kind.
fn check_thresholds(root: &Root) -> Result<(), Refused> {
    let able = |duty: Duty| {
        root.signers.iter().filter(|s| duty.allows(s) && !root.revoked.contains(&s.key.fingerprint())).count() as u64
    };
    // Of plans at least one kind that the common threshold is for, and each with a threshold of its own.
    let of_kinds = &root.thresholds.plan_kinds;
    let unnamed = |kind: &PlanKind| kind.own_threshold().is_none() && !of_kinds.contains_key(kind);
    let plans = PlanKind::ALL.into_iter().filter(unnamed).map(Duty::Plan).max_by_key(|d| able(*d)).into_iter();
    let named = of_kinds.keys().copied().map(Duty::Plan);
    for duty in [Duty::Root, Duty::Admission, Duty::Roster].into_iter().chain(plans).chain(named) {
        let (needed, able) = (duty.needed(root), able(duty));
        if needed == 0 || u64::from(needed) > able {
            let what = match duty {
                Duty::Plan(_) => "plan".to_owned(),
                Duty::Root | Duty::Admission | Duty::Roster => duty.to_string(),
            };
            return Err(Refused::new(
                Refusal::Malformed,
                format!(
                    "root {}: expected a threshold of 1 to {able} for signing a {what}, because {able} of its keys \
                        may sign one, found {needed}",
                    root.version
                ),
            ));
        }
    }
    Ok(())
}
