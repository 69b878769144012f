//! Plans that are signed by some and wait for others: their numbers are kept for them, and later plans keep them valid.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use hostler_plan::{
    document::{DocumentKind, Plan, PlanRef, Signed},
    id::{Digest, Seq},
    planner::OpenPlan,
    timestamp::Timestamp,
    trust::{self, Draft, Verified},
};
use hostler_proto::v1;
use tonic::Code;

use super::{PlanSigning, signing};
use crate::{
    Admin,
    error::Error,
    file::{read_document, remove_document, signature_path, write_document, write_whole},
    floor::{self, Floor},
    output::note,
    trust_store::TrustStore,
};

/// A plan that some signed.
#[derive(Debug, Clone)]
pub struct Reserved(Draft<Plan>);

impl Reserved {
    /// What it says.
    pub fn plan(&self) -> &Plan {
        self.0.document()
    }

    /// Its identity.
    pub fn digest(&self) -> Digest {
        self.0.signed().digest()
    }

    /// As the planner keeps it beside another.
    pub(super) fn open(&self, store: &TrustStore) -> OpenPlan {
        let by = signing(store, &self.0).by.into_iter().map(|signer| signer.name).collect();
        OpenPlan::of(self.plan(), self.digest(), by)
    }
}

/// Keeps a plan's number for it until it expires, is in the ledger, or is given up.
pub fn reserve(store: &TrustStore, signed: &Signed) -> Result<(), Error> {
    let draft = Draft::plan(signed.clone())?;
    let seq = draft.document().seq;
    write_document(&path(store, seq), signed)?;
    Floor::change(store.folder(), |floor| {
        floor.reserved.insert(seq);
    })
}

/// The plans whose numbers are kept: of this epoch, in time, and signed by at least one key that counts.
pub fn all(store: &TrustStore, now: Timestamp) -> Result<Vec<Reserved>, Error> {
    let mut found = Vec::new();
    for seq in numbers(store)? {
        let Some(draft) = store.rescue().pass_over(read(store, seq))? else { continue };
        let plan = draft.document();
        if plan.epoch == store.root().epoch && now < plan.expires && !signing(store, &draft).by.is_empty() {
            found.push(Reserved(draft));
        } else {
            store.rescue().pass_over(release(store, seq))?;
        }
    }
    found.sort_by_key(|kept| kept.plan().seq);
    Ok(found)
}

/// Every number that is kept, for a plan that can be read or not.
pub(crate) fn numbers(store: &TrustStore) -> Result<BTreeSet<Seq>, Error> {
    let folder = folder(store);
    let mut numbers = Floor::load(store.folder()).reserved;
    match fs::read_dir(&folder) {
        Ok(files) => numbers.extend(files.flatten().filter_map(|file| number(&file.path()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => {
            let (expected, way_out) = ("a folder of plans that wait", floor::way_out(store.folder()));
            store.rescue().pass_over::<()>(Err(floor::lost(&folder, expected, &e.to_string(), &way_out)))?;
        }
    }
    Ok(numbers)
}

fn read(store: &TrustStore, seq: Seq) -> Result<Draft<Plan>, Error> {
    let path = path(store, seq);
    let lost = |what: &str| {
        let way_out = format!("restore it, or give its number up with `hostler plan give-up {seq}`");
        let expected = format!("plan {seq} with a signature in {}", signature_path(&path, 1).display());
        floor::lost(&path, &expected, what, &way_out)
    };
    let signed = read_document(DocumentKind::Plan, &path).map_err(|e| lost(&e.to_string()))?;
    let draft = Draft::plan(signed).map_err(|e| lost(&e.reason))?;
    let (found, signers) = (draft.document().seq, draft.signed_by().keys().len());
    if found != seq || signers == 0 {
        return Err(lost(&format!("plan {found} with the signatures of {signers}")));
    }
    Ok(draft)
}

/// Lets others find a plan that waits for them. Where the coordinator does not keep it, they need its file.
pub async fn offer(admin: &mut Admin, signed: &Signed) -> Result<(), Error> {
    let request = admin.with_session(signed.clone().into());
    match admin.client().reserve_plan(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::Unavailable => Err(status.into()),
        Err(status) => {
            let error = Error::from(status);
            note(&format!("the coordinator does not keep the plan for others, so hand them its file: {error}"));
            Ok(())
        }
    }
}

/// Whether a plan has some of its signatures and lacks others. One that has all was handed in, and whoever says that it
/// waits keeps it back: the next plan ends it.
fn waits(signing: &PlanSigning) -> bool {
    !signing.by.is_empty() && (signing.by.len() as u64) < u64::from(signing.needed)
}

/// Takes over the plans that the coordinator says wait for signatures: as signed bytes, of this epoch and in time, with
/// a number that others follow, and signed by some keys that count for it, but not by enough. Whatever is not all of
/// that is nothing. What is kept here is offered to others.
pub(super) async fn exchange(admin: &mut Admin, newest: Option<&Plan>, now: Timestamp) -> Result<(), Error> {
    for own in all(admin.trust_store(), now)? {
        let this = PlanRef { seq: own.plan().seq, digest: own.digest() };
        // What is in the ledger or void is offered to nobody any more.
        if newest.is_none_or(|newest| this.seq > newest.seq || newest.keeps_valid.contains(&this)) {
            offer(admin, own.0.signed()).await?;
        }
    }
    let request = admin.with_session(v1::Empty {});
    let said = admin.client().list_reserved_plans(request).await?.into_inner().plans;
    for signed in said.into_iter().map(Signed::from) {
        let Ok(draft) = Draft::plan(signed.clone()) else { continue };
        let (store, plan) = (admin.trust_store(), draft.document());
        let (epoch, roster) = (store.root().epoch, store.roster().map(Verified::document));
        let this = PlanRef { seq: plan.seq, digest: signed.digest() };
        let highest = newest.map_or(Seq(0), |newest| newest.seq);
        let sent = Floor::load(store.folder()).sent.plan.filter(|(of, _)| *of == epoch).map(|(_, sent)| sent);
        let was_sent = sent == Some(this);
        let is_kept = newest.is_some_and(|newest| newest.keeps_valid.contains(&this));
        // What was handed in last ends every one below it that is not kept here, also one that was handed in before.
        let is_ended = sent.is_some_and(|sent| sent.seq >= plan.seq);
        let has_place = is_kept || (!is_ended && trust::may_be_ahead(epoch, highest, roster, plan.seq));
        let counts = (plan.epoch, &plan.fleet_id) == (epoch, &store.root().fleet_id)
            && now < plan.expires
            && has_place
            && waits(&signing(store, &draft));
        if !counts || was_sent || given_up(store, &signed.digest()).exists() {
            continue;
        }
        let place = path(store, plan.seq);
        if !place.exists() {
            store.rescue().pass_over(reserve(store, &signed))?;
            continue;
        }
        let held = store.rescue().pass_over(read_document(DocumentKind::Plan, &place))?;
        if held.is_some_and(|held| held.bytes != signed.bytes) {
            note(&format!(
                "two plans wait for signatures as plan {}: {} as well; one of them will be made anew",
                plan.seq,
                signed.digest()
            ));
        }
    }
    Ok(())
}

/// Gives a plan's number up: later plans keep it no more, whoever says that it waits. Whether one was kept, and the
/// plan where its file is there.
pub fn give_up(store: &TrustStore, seq: Seq) -> Result<(bool, Option<Digest>), Error> {
    let plan = read_document(DocumentKind::Plan, &path(store, seq)).ok().map(|signed| signed.digest());
    if let Some(plan) = &plan {
        write_whole(&given_up(store, plan), b"", false)?;
    }
    Ok((release(store, seq)?, plan))
}

/// Tells the coordinator that a plan was given up.
pub async fn tell_given_up(admin: &mut Admin, plan: Digest) -> Result<(), Error> {
    let request = admin.with_session(v1::GiveUpPlanRequest { plan: plan.to_string() });
    admin.client().give_up_plan(request).await?;
    Ok(())
}

/// Lets go of a plan's number: it is in the ledger, or void. False when none was kept.
pub fn release(store: &TrustStore, seq: Seq) -> Result<bool, Error> {
    let path = path(store, seq);
    let kept = path.exists() || Floor::load(store.folder()).reserved.contains(&seq);
    if kept {
        remove_document(&path)?;
        Floor::change(store.folder(), |floor| {
            floor.reserved.remove(&seq);
        })?;
    }
    Ok(kept)
}

/// Lets go of the number of a plan that is handed in from here; another one with that number keeps it.
pub(super) fn release_sent(store: &TrustStore, sent: PlanRef) -> Result<(), Error> {
    let kept = read_document(DocumentKind::Plan, &path(store, sent.seq));
    if kept.is_ok_and(|kept| kept.digest() == sent.digest) {
        release(store, sent.seq)?;
    }
    Ok(())
}

fn given_up(store: &TrustStore, plan: &Digest) -> PathBuf {
    folder(store).join(format!("{}.given-up", plan.hex()))
}

/// The number of the plan whose file, or signature, this is.
fn number(path: &Path) -> Option<Seq> {
    path.file_name()?.to_str()?.split_once(".plan.json")?.0.parse().ok().map(Seq)
}

fn folder(store: &TrustStore) -> PathBuf {
    store.folder().join("reserved")
}

fn path(store: &TrustStore, seq: Seq) -> PathBuf {
    folder(store).join(format!("{seq}.plan.json"))
}
