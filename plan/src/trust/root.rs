//! The chain of roots: each signed by enough of the one before it and of itself.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    document::{DocumentKind, DocumentRef, PlanKind, Root, Signed},
    id::Digest,
    refusal::{Refusal, Refused},
    text::{self, count},
    timestamp::Timestamp,
    trust::{Duty, SignedBy, Verified, parse, shape, threshold},
};

/// How long before a root expires everybody is told: time to find all signers, holidays among them.
pub const EXPIRY_NOTICE: Duration = Duration::from_secs(60 * 86_400);

/// The root that is held: the head of a chain that began with a digest from a join string, or with the admin's own
/// file.
#[derive(Debug, Clone)]
pub struct TrustedRoot {
    root: Verified<Root>,
    by: SignedBy,
    /// The roots that the chain came by since it began here, oldest first; a restart begins it again.
    before: Vec<DocumentRef>,
}

/// The same head of a chain is the same root, wherever the chain began.
impl PartialEq for TrustedRoot {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root && self.by == other.by
    }
}

impl Eq for TrustedRoot {}

impl TrustedRoot {
    /// Begins a chain with the one of the served roots whose digest is known from elsewhere (the join string), and
    /// gives those that follow it. Those before it need not be served and are not looked at. A chain that does not
    /// come to that root is refused: it may be cut off where a key still counts that was revoked since.
    pub fn begin<'a>(roots: &'a [Signed], pinned: &Digest) -> Result<(Self, &'a [Signed]), Refused> {
        let Some(begin) = roots.iter().position(|root| root.digest() == *pinned) else {
            return Err(Refused::new(
                Refusal::RootChain,
                format!(
                    "expected the trust root {pinned} that the join string names, found {} without it; the coordinator \
                        is behind or hides newer roots, or the join string is another fleet's",
                    count(roots.len(), "root")
                ),
            ));
        };
        Ok((Self::first(&roots[begin], pinned)?, &roots[begin + 1..]))
    }

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
        Ok(Self { root: Verified::new(root, signed), by, before: Vec::new() })
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
        if let Some(prev) = next.prev.filter(|_| !self.is_named_by(&next)) {
            return chain(format!(
                "expected root {} to follow root {} ({}), found it follows {prev}; somebody was shown another chain: \
                    find out who signed that one, then amend a root that names both",
                next.version,
                held.version,
                self.digest()
            ));
        }
        check_revocations(held, &next)?;
        threshold(held, Duty::Root, by)?;
        threshold(&next, Duty::Root, by)?;
        let mut before = self.before.clone();
        before.push(DocumentRef { version: held.version, digest: self.digest() });
        Ok(Self { root: Verified::new(next, signed), by: by.clone(), before })
    }

    /// Whether a root names the held one as the one before it, or as an end of a fork that it closes.
    fn is_named_by(&self, next: &Root) -> bool {
        next.prev == Some(self.digest()) || next.also.contains(&self.digest())
    }

    /// Whether a root that was verified is the next one after this.
    pub(crate) fn is_followed_by(&self, next: &TrustedRoot) -> bool {
        let (held, next) = (self.root(), next.root());
        held.version.checked_add(1) == Some(next.version) && (next.prev.is_none() || self.is_named_by(next))
    }

    /// Whether this chain came by that root, which a document names as the newest that its signers knew. One before the
    /// chain began is not known here and proves nothing against it.
    pub fn check_passed(&self, what: &str, version: u64, digest: &Digest) -> Result<(), Refused> {
        let newest = self.root().version;
        if version > newest {
            return Err(Refused::new(
                Refusal::RootChain,
                format!(
                    "{what} was made under root {version}, found a chain that ends at root {newest}; offer the \
                    newer roots first"
                ),
            ));
        }
        let passed = match version == newest {
            true => Some(self.digest()),
            false => self.before.iter().find(|root| root.version == version).map(|root| root.digest),
        };
        match passed {
            Some(passed) if passed != *digest => Err(Refused::new(
                Refusal::RootChain,
                format!(
                    "expected {what} to name root {version} as {passed}, found {digest}; it was made under another \
                        chain: find out who signed it"
                ),
            )),
            Some(_) | None => Ok(()),
        }
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

    /// A sentence for people when the root expires soon, or has; none while there is time.
    pub fn expiry_notice(&self, now: Timestamp) -> Option<String> {
        let root = self.root();
        let (version, expires) = (root.version, root.expires);
        if expires <= now {
            return Some(format!(
                "root {version} expired at {expires}: nodes begin nothing new, and only a stop can be signed; make the \
                    next one with `hostler trust amend --lifetime 365d`"
            ));
        }
        let left = expires.since(now);
        (left <= EXPIRY_NOTICE).then(|| {
            let days = left.as_secs() / 86_400;
            format!(
                "root {version} expires at {expires}, in {days} days: nodes then begin nothing new; make the next one \
                    with `hostler trust amend --lifetime 365d`"
            )
        })
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

/// A revocation is for ever, whatever follows. A new epoch voids documents and not the theft of a key, nobody needs an
/// old key who can make a new one, and a list that may shrink is one that a thief shrinks. So a key that was revoked
/// stays on the list of every later root, and a mistake is mended with a new key.
pub(super) fn check_revocations(held: &Root, next: &Root) -> Result<(), Refused> {
    let Some(back) = held.revoked.iter().find(|key| !next.revoked.contains(key)) else { return Ok(()) };
    Err(Refused::new(
        Refusal::Revoked,
        format!(
            "root {}: key {back} was revoked and stays so, found it is not on the list; make a new key for its holder",
            next.version
        ),
    ))
}

/// Whether a fleet could live under this root. Also for a root that is not signed yet.
pub(super) fn check_content(root: &Root) -> Result<(), Refused> {
    let malformed = |reason: String| Err(Refused::new(Refusal::Malformed, format!("root {}: {reason}", root.version)));
    if root.version == 0 {
        return malformed("expected a version of at least 1, found 0".to_owned());
    }
    if !shape::closes_well(root.prev, &root.also) {
        let found = root.also.len();
        return malformed(format!(
            "expected at most {} other ends of a fork beside the root before it, each once, found {found}",
            shape::MAX_CLOSED
        ));
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
    if root.recovery.len() > MAX_RECOVERY_KEYS {
        let found = root.recovery.len();
        return malformed(format!("expected at most {MAX_RECOVERY_KEYS} recovery keys, found {found}"));
    }
    let named = root.signers.iter().map(|s| &s.name).chain(root.recovery.iter().map(|k| &k.name));
    for name in named {
        if name.trim() != name || !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.chars().all(text::is_visible) {
            let name = text::clean_to(name, MAX_NAME_BYTES);
            return malformed(format!(
                "expected names of signers and recovery keys of 1 to {MAX_NAME_BYTES} bytes that can be seen, found \
                    \"{name}\""
            ));
        }
    }
    let mut recipients = BTreeSet::new();
    if let Some(again) = root.recovery.iter().find(|k| !recipients.insert(k.key)) {
        return malformed(format!("expected every recovery key once, found {} again", again.key));
    }
    for signer in &root.signers {
        let name = &signer.name;
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

/// Recovery keys that one root may have: each adds 150 bytes to every snapshot, and a person keeps each of them safe.
const MAX_RECOVERY_KEYS: usize = 16;

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
