//! How far this profile had come, in a file of its own: what goes missing on this machine's disk, or goes back, is
//! noticed by it.
//!
//! It is written behind what it tells of, and it is a floor and no proof: where it is missing, what is held stands for
//! itself. It stands twice, because nothing else tells what was handed in: the newer one that can be read counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
};

use hostler_plan::{
    checked,
    document::{DocumentRef, PlanRef},
    id::{Epoch, Fingerprint, NodeName, Seq},
    json,
    refusal::{Refusal, Refused},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    file::{read_limited, write_whole},
    output::note,
};

const FILE_NAMES: [&str; 2] = ["floor.json", "floor.copy.json"];
/// A number of a plan that waits has at most 21 bytes and nobody keeps a thousand; the last decision about each of a
/// thousand nodes with the longest names has 500.
const MAX_BYTES: usize = 1 << 20;

/// What was held once, at least.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Floor {
    /// How often it was written: of two the newer one counts.
    #[serde(default)]
    pub writes: u64,
    /// The newest root's version.
    pub root: u64,
    /// The newest roster's epoch and version; none before the first.
    pub roster: Option<(Epoch, u64)>,
    /// Whether a head of the ledger was seen.
    pub head: bool,
    /// Whether a plan was submitted.
    pub plan: bool,
    /// Plans whose numbers are kept for them.
    pub reserved: BTreeSet<Seq>,
    /// The newest plan that a coordinator showed, signed by enough, whoever handed it in: a stop that is made without a
    /// coordinator is numbered above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<(Epoch, PlanRef)>,
    /// What was signed here and handed in last.
    #[serde(default, skip_serializing_if = "Sent::is_nothing")]
    pub sent: Sent,
}

/// What was signed here and handed in last, from before it was sent: whoever holds the coordinator may keep it back,
/// say no, and hand it to some nodes later. So no other document gets its number, and the next one names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    pub plan: Option<(Epoch, PlanRef)>,
    pub roster: Option<(Epoch, DocumentRef)>,
    /// Every one of the last version and of the one before: nodes that were shown one of them follow only what names
    /// it.
    #[serde(default)]
    pub roots: Vec<DocumentRef>,
    /// The last one about each node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decisions: BTreeMap<NodeName, SentDecision>,
}

/// A decision about a node: its place in the row of those about one machine of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SentDecision {
    pub epoch: Epoch,
    pub key: Fingerprint,
    pub decision: DocumentRef,
}

/// Both of its files, for whoever has to remove them.
pub(crate) fn names(folder: &Path) -> String {
    FILE_NAMES.map(|name| folder.join(name).display().to_string()).join(" and ")
}

impl Sent {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Floor {
    /// What is known of the profile with that folder of what it holds.
    pub(crate) fn load(folder: &Path) -> Self {
        let found = FILE_NAMES.map(|name| Self::read(&folder.join(name)));
        found.into_iter().flatten().max_by_key(|floor| floor.writes).unwrap_or_default()
    }

    fn read(path: &Path) -> Option<Self> {
        path.symlink_metadata().ok()?;
        let read = read_limited(path, MAX_BYTES).map_err(|e| e.to_string()).and_then(|bytes| {
            let json = checked::read(&bytes).map_err(str::to_owned)?;
            json::parse(json).map_err(|e| e.to_string())
        });
        read.inspect_err(|reason| {
            note(&format!("{}: {reason}; it is written anew with the next change", path.display()))
        })
        .ok()
    }

    /// Remembers more, durably. Of two commands at once on one profile each sees what the other wrote.
    pub(crate) fn change(folder: &Path, change: impl FnOnce(&mut Self)) -> Result<(), Error> {
        // Ends with this call, or with the process. What cannot be locked is changed all the same: on some network file
        // systems nothing can.
        let folder_of_one = File::open(folder);
        let _locked = folder_of_one.as_ref().map(File::lock);
        let before = Self::load(folder);
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        after.writes += 1;
        let bytes = checked::write(&json::write(&after));
        // Where one cannot be written the other is, all the same.
        let written = FILE_NAMES.map(|name| write_whole(&folder.join(name), &bytes, false));
        written.into_iter().collect()
    }
}

/// What was held once and is not there as it was; `way_out` says what to do.
pub(crate) fn lost(path: &Path, expected: &str, found: &str, way_out: &str) -> Error {
    let reason = format!("expected {expected} in {}, found {found}; {way_out}", path.display());
    Refused::new(Refusal::DamagedState, reason).into()
}

/// What to do about a file whose loss nothing else can make good.
pub(crate) fn way_out(folder: &Path) -> String {
    format!("restore it from a backup, or move {} away and begin again with `hostler trust import`", folder.display())
}

#[cfg(test)]
mod tests;
