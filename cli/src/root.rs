//! The next root: made from the newest one that is held, signed by enough keys of both, and submitted.

use std::path::PathBuf;

use hostler_plan::{
    document::{DocumentKind, DocumentRef, MAX_SIGNATURES, Root, Signed},
    id::Fingerprint,
    json,
    timestamp::Timestamp,
    trust::{self, Amendment, Draft, Duty, SignedBy, check_next, counted},
};
use hostler_proto::v1;

use crate::{
    Admin,
    error::Error,
    file::{remove_document, write_document},
    floor::Floor,
    fork,
    hand_in::HandIn,
    key,
    output::note,
    place,
    trust_store::TrustStore,
};

/// The next root: exact bytes that nobody has signed yet.
#[derive(Debug, Clone)]
pub struct Amended {
    pub bytes: Vec<u8>,
    pub root: Root,
}

/// Makes the root after the newest one, and refuses what nobody should sign.
pub fn amend(admin: &Admin, changes: &[Amendment], now: Timestamp) -> Result<Amended, Error> {
    let held = admin.trust_store().root();
    let mut root = trust::amend(held, changes, now.whole_seconds())?;
    let prev = Some(admin.trust_store().trusted().digest());
    let mut sent = Floor::load(admin.trust_store().folder()).sent.roots;
    sent.retain(|sent| Some(sent.digest) != prev);
    // Nodes that were shown another one under the held one's number follow what names both.
    let kept_back = sent.iter().filter(|sent| sent.version == held.version).map(|sent| sent.digest);
    (root.prev, root.also) = (prev, fork::ends(prev, kept_back, &admin.forks_of(DocumentKind::Root)));
    for DocumentRef { version, digest } in sent.iter().filter(|sent| sent.version == root.version) {
        note(&format!(
            "root {version} ({digest}) was signed and handed in here and is not in the coordinator's ledger: it was \
             refused, did not arrive, or is kept back. A node that was shown it does not follow another root \
             {version}; the root after that one names both"
        ));
    }
    let in_use = admin.coordinator().ca_pin.parse().ok();
    check_next(held, &root, in_use.as_ref(), now)?;
    Ok(Amended { bytes: json::write(&root), root })
}

/// Whose signatures a root has, under the root before it and under itself. Each key counts once under each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSigning {
    pub before: Count,
    pub own: Count,
}

/// Signers that count, and how many must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub by: Vec<String>,
    pub needed: u32,
}

impl RootSigning {
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

/// Where the signatures of the next root stand.
pub fn signing(store: &TrustStore, next: &Draft<Root>) -> RootSigning {
    let count = |root: &Root| Count {
        by: counted(root, Duty::Root, next.signed_by()).into_iter().map(|s| s.name.clone()).collect(),
        needed: Duty::Root.needed(root),
    };
    RootSigning { before: count(store.root()), own: count(next.document()) }
}

/// Whether this key alone may sign `next` into being.
pub fn is_enough_alone(store: &TrustStore, next: &Root, key: &Fingerprint) -> bool {
    [store.root(), next].into_iter().all(|root| {
        let counts = |s: &&hostler_plan::document::Signer| {
            s.key.fingerprint() == *key && Duty::Root.allows(s) && !root.revoked.contains(key)
        };
        root.thresholds.root == 1 && root.signers.iter().any(|s| counts(&s))
    })
}

/// Signs a root and gives the armour, after everything but the number of signatures was checked against the newest root
/// that is held.
pub fn sign(
    store: &TrustStore,
    signer: &key::SigningKey,
    next: &mut Draft<Root>,
    now: Timestamp,
) -> Result<(String, RootSigning), Error> {
    check_place(store, next)?;
    check_next(store.root(), next.document(), None, now)?;
    let own = signer.public_key().fingerprint();
    if next.signed_by().keys().contains(&own) {
        return Err(Error::Usage(format!(
            "this root is signed with {own} already, and every key counts once; have another person sign it, or submit \
             it"
        )));
    }
    if next.signed().signatures.len() >= MAX_SIGNATURES {
        return Err(Error::Usage(format!("this root has {MAX_SIGNATURES} signatures already; submit it")));
    }
    let bytes = next.signed().bytes.clone();
    let armour = signer.sign(DocumentKind::Root, &bytes)?;
    let by = SignedBy::of(DocumentKind::Root, &Signed { bytes, signatures: vec![armour.clone()] })?;
    // A key may count under only one of the two: whoever comes is signed in by those who are there.
    if counted(store.root(), Duty::Root, &by).is_empty() && counted(next.document(), Duty::Root, &by).is_empty() {
        trust::threshold(next.document(), Duty::Root, &by)?;
    }
    next.add(armour.clone())?;
    Ok((armour, signing(store, next)))
}

/// Whether the root that this one follows was not amended meanwhile by somebody else. What says that it follows a root
/// of this chain need not be signed by enough yet.
fn check_place(store: &TrustStore, next: &Draft<Root>) -> Result<(), Error> {
    let chain = store.earlier().chain([store.trusted()]);
    let Root { version, prev, .. } = next.document();
    let mut winners = chain.clone().filter(|root| root.root().version == *version);
    let mut made_here = chain.clone().filter(|root| root.root().version.checked_add(1) == Some(*version));
    let is_ours = made_here.any(|before| Some(before.digest()) == *prev);
    let digest = next.signed().digest();
    let winner = winners.find(|root| is_ours && root.digest() != digest).or_else(|| next.overtaken_by(chain));
    match winner {
        Some(winner) => Err(place::overtaken(&format!("root {version}"), winner.signed().clone())),
        None => Ok(()),
    }
}

/// Checks the next root as the coordinator and every node will, submits it, and follows it. False when the coordinator
/// had it before.
pub async fn submit(admin: &mut Admin, next: &Draft<Root>) -> Result<bool, Error> {
    check_place(admin.trust_store(), next)?;
    let followed = next.follow(admin.trust_store().trusted())?;
    let sent = DocumentRef { version: followed.root().version, digest: followed.digest() };
    let kept = kept(admin.trust_store(), sent);
    HandIn::Root(sent).keep(admin.trust_store().folder())?;
    write_document(&kept, next.signed())?;
    let request = v1::InstallRootRequest { root: Some(next.signed().clone().into()), setup_code: String::new() };
    let message = admin.with_session(request);
    let reply = admin.client().install_root(message).await?.into_inner();
    let store = admin.trust_store();
    let counts = |winner: &Signed| store.trusted().advance(winner).is_ok();
    let is_new = place::taken(reply, &format!("root {}", sent.version), sent.digest, counts)?;
    admin.keep_root(followed)?;
    if let Err(error) = remove_document(&kept) {
        note(&format!("root {} was taken, and its copy was not removed: {error}", sent.version));
    }
    // Whoever signed away the own key is not let in any more.
    if admin.trust_store().counting_keys().contains(&admin.signer().public_key().fingerprint()) {
        admin.refresh().await?;
    }
    Ok(is_new)
}

/// Where a root lies from before it is handed in until it is taken.
fn kept(store: &TrustStore, sent: DocumentRef) -> PathBuf {
    let name = format!("{}-{}.{}.json", sent.version, sent.digest.short(), DocumentKind::Root.noun());
    store.home().join("roots").join(name)
}
