//! Making a fleet's first root, and taking one over on another admin's machine.

use std::{collections::BTreeMap, path::Path, time::Duration};

use hostler_plan::{
    document::{DocumentKind, PlanKind, Policy, Root, RootType, SignatureThresholds, Signed, Signer, SignerRole},
    id::{Digest, Epoch, FleetId},
    json,
    refusal::{Refusal, Refused},
    text::hex,
    timestamp::Timestamp,
    trust::TrustedRoot,
};
use hostler_proto::{join::SetupCode, v1};
use rand_core::{OsRng, RngCore as _};
use tonic::Code;

use crate::{
    admin::{client, dial, login},
    error::Error,
    file::{read_document, signature_path, write_document},
    key,
    profile::Profile,
    trust_store::TrustStore,
};

/// What the first root says.
#[derive(Debug, Clone)]
pub struct FirstRoot {
    /// The name of the key that signs it, for people.
    pub name: String,
    /// Further signers.
    pub signers: Vec<Signer>,
    /// Different keys that must sign a plan.
    pub threshold_plan: u32,
    /// How long it lives; a new root must be signed before.
    pub lifetime: Duration,
    pub policy: Policy,
}

/// A root is renewed once a year, with the certificates and the holidays.
pub const DEFAULT_ROOT_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// A plan that nobody began within a week was made for a fleet that has changed since; a token that lies around for a
/// month has been forgotten.
pub const DEFAULT_POLICY: Policy = Policy {
    max_plan_lifetime_seconds: 7 * 24 * 3600,
    max_admission_lifetime_seconds: 30 * 24 * 3600,
    cordon_when_critical: false,
};

/// Makes root 1 with the coordinator's CA from its set-up code, signs it, installs it and keeps it in the profile.
/// Run again after a lost answer it offers the same root again.
pub async fn init(
    profile: &Profile,
    signer: &key::SigningKey,
    setup: &SetupCode,
    first: &FirstRoot,
    now: Timestamp,
) -> Result<TrustStore, Error> {
    init_with(profile, signer, setup, (first, &BTreeMap::new()), now).await
}

/// The same with thresholds of single kinds of plans.
pub async fn init_with(
    profile: &Profile,
    signer: &key::SigningKey,
    setup: &SetupCode,
    first: (&FirstRoot, &BTreeMap<PlanKind, u32>),
    now: Timestamp,
) -> Result<TrustStore, Error> {
    if let Some(store) = TrustStore::load(&profile.home)? {
        return Err(Error::Usage(format!(
            "{} already holds the trust root of fleet {}; use --home DIR for another fleet",
            profile.home.display(),
            store.root().fleet_id
        )));
    }
    let pending = profile.home.join("trust").join("pending-root-1.json");
    let earlier = earlier_root(&pending, setup)?;
    let signed = match &earlier {
        Some(signed) => signed.clone(),
        None => {
            let signed = sign_first(signer, setup, first, now)?;
            write_document(&pending, &signed)?;
            signed
        }
    };
    let channel = dial(profile.coordinator()?, &[setup.ca_pin], now).await?;
    let request = v1::InstallRootRequest { root: Some(signed.clone().into()), setup_code: setup.code.clone() };
    match client(&channel).install_root(request).await {
        Ok(_) => {}
        // The answer to the first try may have been lost: it is ours if it lets us in and shows this very root.
        Err(status) if status.code() == Code::Unauthenticated => {
            if earlier.is_none() || !is_installed(profile, signer, &signed).await? {
                remove_pending(&pending)?;
                return Err(Error::Failed(format!(
                    "the coordinator at {} has a trust root already; take it over with `hostler trust import`, or \
                     begin with an empty coordinator",
                    profile.coordinator()?
                )));
            }
        }
        Err(status) => return Err(status.into()),
    }
    let store = TrustStore::begin(&profile.home, &signed, &signed.digest())?;
    remove_pending(&pending)?;
    Ok(store)
}

/// Whether the coordinator's root 1 is this one.
async fn is_installed(profile: &Profile, signer: &key::SigningKey, root: &Signed) -> Result<bool, Error> {
    let store = TrustStore::in_memory(&profile.home, root, &root.digest())?;
    let Ok((mut client, session)) = login(profile.coordinator()?, &store, signer).await else { return Ok(false) };
    let request = session.request(v1::GetTrustRequest { held_root_version: 0 });
    let reply = client.get_trust(request).await?.into_inner();
    let first = reply.trust.unwrap_or_default().roots.into_iter().next().map(Signed::from);
    Ok(first.is_some_and(|first| first.digest() == root.digest()))
}

/// Removes a root that waited for its answer.
fn remove_pending(pending: &Path) -> Result<(), Error> {
    for path in [pending.to_owned(), signature_path(pending, 1)] {
        std::fs::remove_file(&path).map_err(|e| Error::file("remove", &path, e))?;
    }
    Ok(())
}

/// The root of an earlier try with the same coordinator.
fn earlier_root(pending: &Path, setup: &SetupCode) -> Result<Option<Signed>, Error> {
    if !pending.exists() {
        return Ok(None);
    }
    let signed = read_document(DocumentKind::Root, pending)?;
    let usable = TrustedRoot::first(&signed, &signed.digest())
        .is_ok_and(|root| root.root().coordinator_ca.contains(&setup.ca_pin));
    Ok(usable.then_some(signed))
}

fn sign_first(
    signer: &key::SigningKey,
    setup: &SetupCode,
    (first, plan_kinds): (&FirstRoot, &BTreeMap<PlanKind, u32>),
    now: Timestamp,
) -> Result<Signed, Error> {
    let mut id = [0; 16];
    OsRng.fill_bytes(&mut id);
    let own =
        Signer { name: first.name.clone(), key: signer.public_key(), role: SignerRole::Admin, plan_kinds: Vec::new() };
    let created = now.whole_seconds();
    let root = Root {
        document_type: RootType::V1,
        fleet_id: FleetId::new(hex(&id)).expect("32 hexadecimal digits"),
        version: 1,
        prev: None,
        also: Vec::new(),
        epoch: Epoch(1),
        created,
        expires: created.plus(first.lifetime),
        signers: std::iter::once(own).chain(first.signers.iter().cloned()).collect(),
        thresholds: SignatureThresholds {
            root: 1,
            admission: 1,
            roster: 1,
            plan: first.threshold_plan,
            plan_kinds: plan_kinds.clone(),
        },
        revoked: Vec::new(),
        coordinator_ca: vec![setup.ca_pin],
        policy: first.policy.clone(),
        recovery: Vec::new(),
    };
    let bytes = json::write(&root);
    let signature = signer.sign(DocumentKind::Root, &bytes)?;
    let signed = Signed { bytes, signatures: vec![signature] };
    TrustedRoot::first(&signed, &signed.digest())?;
    Ok(signed)
}

/// Takes over a fleet's first root from a file, if its digest is the one that another admin read out.
pub fn import(profile: &Profile, file: &Path, digest: &Digest) -> Result<TrustStore, Error> {
    let signed = read_document(DocumentKind::Root, file)?;
    if signed.digest() != *digest {
        return Err(Refused::new(
            Refusal::DigestMismatch,
            format!(
                "expected root {digest}, found {} in {}; compare the digest with `hostler trust show` of another admin",
                signed.digest(),
                file.display()
            ),
        )
        .into());
    }
    if let Some(store) = TrustStore::load(&profile.home)? {
        if store.first_root() == *digest {
            return Ok(store);
        }
        return Err(Error::Usage(format!(
            "{} already holds the trust root of fleet {}; use --home DIR for another fleet",
            profile.home.display(),
            store.root().fleet_id
        )));
    }
    TrustStore::begin(&profile.home, &signed, digest)
}
