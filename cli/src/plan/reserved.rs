//! Plans that are signed by some and wait for others: their numbers are kept for them, and later plans keep them valid.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hostler_plan::{
    document::{DocumentKind, MAX_SIGNATURES, Plan, Signed},
    id::{Digest, Seq},
    planner::OpenPlan,
    timestamp::Timestamp,
    trust::Draft,
};

use super::signing;
use crate::{
    error::Error,
    file::{read_document, signature_path, write_document},
    floor::{self, Floor},
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
    let folder = folder(store);
    let mut numbers = Floor::load(store.folder()).reserved;
    match fs::read_dir(&folder) {
        Ok(files) => numbers.extend(files.flatten().filter_map(|file| number(&file.path()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => {
            let (expected, way_out) = ("a folder of plans that wait", floor::way_out(store.folder()));
            return Err(floor::lost(&folder, expected, &e.to_string(), &way_out));
        }
    }
    let mut found = Vec::new();
    for seq in numbers {
        let path = path(store, seq);
        let lost = |what: &str| {
            let way_out = format!("restore it, or give its number up with `hostler plan give-up {seq}`");
            let expected = format!("plan {seq} with a signature in {}", signature_path(&path, 1).display());
            floor::lost(&path, &expected, what, &way_out)
        };
        let signed = read_document(DocumentKind::Plan, &path).map_err(|e| lost(&e.to_string()))?;
        let draft = Draft::plan(signed).map_err(|e| lost(&e.reason))?;
        let plan = draft.document();
        if plan.seq != seq || draft.signed_by().keys().is_empty() {
            let signers = draft.signed_by().keys().len();
            return Err(lost(&format!("plan {} with the signatures of {signers}", plan.seq)));
        }
        if plan.epoch == store.root().epoch && now < plan.expires && !signing(store, &draft).by.is_empty() {
            found.push(Reserved(draft));
        } else {
            release(store, seq)?;
        }
    }
    found.sort_by_key(|kept| kept.plan().seq);
    Ok(found)
}

/// Gives a plan's number up: later plans keep it no more. False when none was kept.
pub fn release(store: &TrustStore, seq: Seq) -> Result<bool, Error> {
    let path = path(store, seq);
    let kept = path.exists() || Floor::load(store.folder()).reserved.contains(&seq);
    if kept {
        remove(&path)?;
        Floor::change(store.folder(), |floor| {
            floor.reserved.remove(&seq);
        })?;
    }
    Ok(kept)
}

/// The number of the plan whose file, or signature, this is.
fn number(path: &Path) -> Option<Seq> {
    path.file_name()?.to_str()?.split_once(".plan.json")?.0.parse().ok().map(Seq)
}

fn remove(path: &Path) -> Result<(), Error> {
    let signatures = (1..=MAX_SIGNATURES).map(|n| signature_path(path, n));
    for path in signatures.chain([path.to_owned()]).filter(|p| p.symlink_metadata().is_ok()) {
        fs::remove_file(&path).map_err(|e| Error::file("remove", &path, e))?;
    }
    Ok(())
}

fn folder(store: &TrustStore) -> PathBuf {
    store.folder().join("reserved")
}

fn path(store: &TrustStore, seq: Seq) -> PathBuf {
    folder(store).join(format!("{seq}.plan.json"))
}
