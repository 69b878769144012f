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
    write_document(&path(store, draft.document().seq), signed)
}

/// The plans whose numbers are kept: of this epoch, in time, and signed by at least one key that counts.
pub fn all(store: &TrustStore, now: Timestamp) -> Result<Vec<Reserved>, Error> {
    let folder = folder(store);
    let files = match fs::read_dir(&folder) {
        Ok(files) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::file("read", &folder, e)),
    };
    let mut found = Vec::new();
    for file in files {
        let path = file.map_err(|e| Error::file("read", &folder, e))?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let draft = Draft::plan(read_document(DocumentKind::Plan, &path)?)?;
        let plan = draft.document();
        let stands = plan.epoch == store.root().epoch && now < plan.expires && !signing(store, &draft).by.is_empty();
        if stands {
            found.push(Reserved(draft));
        } else {
            remove(&path)?;
        }
    }
    found.sort_by_key(|kept| kept.plan().seq);
    Ok(found)
}

/// Gives a plan's number up: later plans keep it no more. False when none was kept.
pub fn release(store: &TrustStore, seq: Seq) -> Result<bool, Error> {
    let path = path(store, seq);
    let kept = path.exists();
    if kept {
        remove(&path)?;
    }
    Ok(kept)
}

fn remove(path: &Path) -> Result<(), Error> {
    let signatures = (1..=MAX_SIGNATURES).map(|n| signature_path(path, n)).filter(|p| p.exists());
    for path in signatures.chain([path.to_owned()]) {
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
