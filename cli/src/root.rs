//! The next root: made from the newest one that is held, signed by enough keys of both, and handed in.

use hostler_plan::{
    document::{DocumentKind, MAX_SIGNATURES, Root, Signed},
    id::Fingerprint,
    json,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Change, Duty, SignedBy, check_next, counted},
};
use hostler_proto::v1;

use crate::{Admin, error::Error, held::Held, key};

/// The next root: exact bytes that nobody has signed yet.
#[derive(Debug, Clone)]
pub struct Amended {
    pub bytes: Vec<u8>,
    pub root: Root,
}

/// Makes the root after the newest one, and refuses what nobody should sign.
pub fn amend(admin: &Admin, changes: &[Change], now: Timestamp) -> Result<Amended, Error> {
    let held = admin.held().root();
    let root = trust::amend(held, changes, now.whole_seconds())?;
    let in_use = admin.whereabouts().ca_pin.parse().ok();
    check_next(held, &root, in_use.as_ref(), now)?;
    Ok(Amended { bytes: json::write(&root), root })
}

/// Whose signatures a root has, under the root before it and under itself. Each key counts once under each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    pub before: Count,
    pub own: Count,
}

/// Signers that count, and how many must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub by: Vec<String>,
    pub needed: u32,
}

impl Signing {
    /// Whether nodes would follow it.
    pub fn is_enough(&self) -> bool {
        self.before.missing() == 0 && self.own.missing() == 0
    }
}

impl Count {
    /// Different keys that are still to sign.
    pub fn missing(&self) -> u64 {
        u64::from(self.needed).saturating_sub(self.by.len() as u64)
    }
}

/// Reads a root that may lack signatures: those that are there must verify, and its form must be strict.
pub fn read(signed: &Signed) -> Result<Root, Refused> {
    SignedBy::of(DocumentKind::Root, signed)?;
    json::parse(&signed.bytes).map_err(|e| Refused::new(Refusal::Malformed, format!("the root is {e}; make it again")))
}

/// Where the signatures of `next` stand.
pub fn signing(held: &Held, next: &Root, signed: &Signed) -> Result<Signing, Refused> {
    let by = SignedBy::of(DocumentKind::Root, signed)?;
    let count = |root: &Root| Count {
        by: counted(root, Duty::Root, &by).into_iter().map(|s| s.name.clone()).collect(),
        needed: Duty::Root.needed(root),
    };
    Ok(Signing { before: count(held.root()), own: count(next) })
}

/// Whether this key alone may sign `next` into being.
pub fn is_enough_alone(held: &Held, next: &Root, key: &Fingerprint) -> bool {
    [held.root(), next].into_iter().all(|root| {
        let counts = |s: &&hostler_plan::document::Signer| {
            s.key.fingerprint() == *key && Duty::Root.allows(s) && !root.revoked.contains(key)
        };
        root.thresholds.root == 1 && root.signers.iter().any(|s| counts(&s))
    })
}

/// Signs a root and gives the armour, after everything but the number of signatures was checked against the newest root
/// that is held.
pub fn sign(held: &Held, signer: &key::Signer, signed: &Signed, now: Timestamp) -> Result<(String, Signing), Error> {
    let next = read(signed)?;
    check_next(held.root(), &next, None, now)?;
    let own = signer.public_key().fingerprint();
    if SignedBy::of(DocumentKind::Root, signed)?.keys().contains(&own) {
        return Err(Error::Usage(format!(
            "this root is signed with {own} already, and every key counts once; have another person sign it, or submit it"
        )));
    }
    if signed.signatures.len() >= MAX_SIGNATURES {
        return Err(Error::Usage(format!("this root has {MAX_SIGNATURES} signatures already; submit it")));
    }
    let armour = signer.sign(DocumentKind::Root, &signed.bytes)?;
    let alone = Signed { bytes: signed.bytes.clone(), signatures: vec![armour.clone()] };
    let by = SignedBy::of(DocumentKind::Root, &alone)?;
    // A key may count under only one of the two: whoever comes is signed in by those who are there.
    if counted(held.root(), Duty::Root, &by).is_empty() && counted(&next, Duty::Root, &by).is_empty() {
        trust::threshold(&next, Duty::Root, &by)?;
    }
    let mut more = signed.clone();
    more.signatures.push(armour.clone());
    Ok((armour, signing(held, &next, &more)?))
}

/// Verifies the next root as the coordinator and every node will, hands it in, and follows it. False when the
/// coordinator had it before.
pub async fn submit(admin: &mut Admin, signed: &Signed) -> Result<bool, Error> {
    admin.held().trusted().advance(signed)?;
    let request = v1::InstallRootRequest { root: Some(signed.clone().into()), setup_code: String::new() };
    let message = admin.with_session(request);
    let reply = admin.client().install_root(message).await?.into_inner();
    admin.follow(v1::TrustChain { roots: vec![signed.clone().into()], roster: None })?;
    // Whoever signed away the own key is not let in any more.
    if admin.held().counting_keys().contains(&admin.signer().public_key().fingerprint()) {
        admin.refresh().await?;
    }
    Ok(reply.is_new)
}
