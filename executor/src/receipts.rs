//! The receipts that this node signed: kept until the coordinator has them and their plan is void.
//!
//! The newest one lies in the slots, beside the state that counts it, until it is filed: written to a file of its own,
//! when the executor has nothing else to do and at the latest before the slots are written over.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{Receipt, Signed},
    entry::StoredDocument,
    id::{Digest, TaskId},
    json,
    refusal::Refused,
    trust::SignedReceipt,
};

use crate::{
    disk::{Disk, DiskError},
    state_file::{StateFileError, damaged},
};

const DIRECTORY: &str = "receipts";

/// Receipts of tasks with many observations have some KiB; sealed secrets a few more.
const MAX_BYTES: u64 = 256 << 10;

/// One receipt of this node.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub signed: Signed,
    pub receipt: Receipt,
    /// Whether the coordinator said that it has it.
    pub acknowledged: bool,
    /// Whether it has a file.
    filed: bool,
}

/// Receipts by number.
#[derive(Debug, Default)]
pub(crate) struct Receipts(BTreeMap<u64, Kept>);

impl Receipts {
    /// Reads every receipt that is kept. A broken one below `next`, the number of the next receipt, is as good as lost:
    /// the state counts those. One above is newer than the state.
    pub(crate) fn load(disk: &Disk, next: u64) -> Result<Self, StateFileError> {
        let mut kept = BTreeMap::new();
        for file in disk.list(DIRECTORY)? {
            let Some((number, state)) = file.split_once('.') else { continue };
            let acknowledged = match state {
                "receipt" => false,
                "acknowledged" => true,
                _ => continue,
            };
            // One that cannot be read is a broken one.
            let bytes = disk.read(&format!("{DIRECTORY}/{file}"), MAX_BYTES).ok().flatten().unwrap_or_default();
            match read(number, &bytes).map_err(|found| format!("in {DIRECTORY}/{file} {found}")) {
                Ok((signed, receipt)) => {
                    kept.insert(receipt.counter, Kept { signed, receipt, acknowledged, filed: true });
                }
                Err(found) if number.parse().is_ok_and(|number: u64| number < next) => tracing::warn!("{found}"),
                Err(found) => return Err(damaged(&found).into()),
            }
        }
        Ok(Self(kept))
    }

    /// Which of these are not here as they were signed. What stands in the place of one is forgotten.
    pub(crate) fn lost(&mut self, listed: &[SignedReceipt]) -> Vec<SignedReceipt> {
        let is_here =
            |signed: &SignedReceipt| self.0.get(&signed.counter).is_some_and(|k| k.signed.digest() == signed.digest);
        let lost: Vec<SignedReceipt> = listed.iter().filter(|signed| !is_here(signed)).cloned().collect();
        lost.iter().for_each(|lost| drop(self.0.remove(&lost.counter)));
        lost
    }

    /// Takes a receipt back that the coordinator has.
    pub(crate) fn restore(&mut self, disk: &Disk, signed: Signed, receipt: Receipt) -> Result<(), DiskError> {
        let counter = receipt.counter;
        let mut kept = Kept { signed, receipt, acknowledged: true, filed: false };
        kept.file(disk)?;
        // A broken file of the same number that was never acknowledged.
        disk.remove(&name(counter, false))?;
        self.0.insert(counter, kept);
        Ok(())
    }

    /// The receipt of that number.
    pub(crate) fn number(&self, counter: u64) -> Option<&Kept> {
        self.0.get(&counter)
    }

    /// The newest receipt of a task.
    pub(crate) fn of_task(&self, plan: &Digest, task: &TaskId) -> Option<&Kept> {
        self.0.values().rev().find(|k| k.receipt.plan == *plan && k.receipt.task == *task)
    }

    /// Those that the coordinator may not have.
    pub(crate) fn unacknowledged(&self) -> impl Iterator<Item = &Kept> {
        self.0.values().filter(|k| !k.acknowledged)
    }

    /// The first of those.
    pub(crate) fn oldest_unacknowledged(&self) -> Option<u64> {
        self.unacknowledged().map(|k| k.receipt.counter).next()
    }

    /// Takes a receipt that is durable in the slots. One that is here already stays as it is.
    pub(crate) fn add(&mut self, signed: Signed, receipt: Receipt) {
        let kept = Kept { signed, receipt, acknowledged: false, filed: false };
        self.0.entry(kept.receipt.counter).or_insert(kept);
    }

    /// Takes the receipt that was found in the slots.
    pub(crate) fn add_unread(&mut self, signed: Signed) -> Result<(), Refused> {
        let receipt = json::parse(&signed.bytes).map_err(|e| damaged(&format!("the newest receipt broken ({e})")))?;
        self.add(signed, receipt);
        Ok(())
    }

    /// Gives every receipt its file.
    pub(crate) fn file(&mut self, disk: &Disk) -> Result<(), DiskError> {
        self.0.values_mut().filter(|k| !k.filed).try_for_each(|kept| kept.file(disk))
    }

    /// Whether the newest lies in the slots alone.
    pub(crate) fn is_unfiled(&self) -> bool {
        self.0.values().any(|k| !k.filed)
    }

    /// The coordinator has this one; says whether that is new. One without a file is handed in once more after a
    /// restart.
    pub(crate) fn acknowledge(&mut self, disk: &Disk, digest: &Digest) -> Result<bool, DiskError> {
        let found = self.0.values_mut().find(|k| !k.acknowledged && k.signed.digest() == *digest);
        let Some(kept) = found else { return Ok(false) };
        if kept.filed {
            disk.rename(&name(kept.receipt.counter, false), &name(kept.receipt.counter, true))?;
        }
        kept.acknowledged = true;
        Ok(true)
    }

    /// Forgets what the coordinator has and the state does not list any more.
    pub(crate) fn prune(&mut self, disk: &Disk, listed: &[SignedReceipt]) -> Result<(), DiskError> {
        let is_listed = |counter: u64| listed.binary_search_by_key(&counter, |signed| signed.counter).is_ok();
        let old: Vec<u64> =
            self.0.values().filter(|k| k.acknowledged).map(|k| k.receipt.counter).filter(|c| !is_listed(*c)).collect();
        for counter in old {
            disk.remove(&name(counter, true))?;
            self.0.remove(&counter);
        }
        Ok(())
    }
}

fn read(number: &str, bytes: &[u8]) -> Result<(Signed, Receipt), String> {
    let broken = |e: &dyn std::fmt::Display| format!("receipt {number} broken ({e})");
    let stored: StoredDocument = serde_json::from_slice(bytes).map_err(|e| broken(&e))?;
    let receipt: Receipt = json::parse(&stored.0.bytes).map_err(|e| broken(&e))?;
    if number.parse() != Ok(receipt.counter) {
        return Err(format!("receipt {} under number {number}", receipt.counter));
    }
    Ok((stored.0, receipt))
}

impl Kept {
    fn file(&mut self, disk: &Disk) -> Result<(), DiskError> {
        let stored = serde_json::to_vec(&StoredDocument(self.signed.clone())).expect("documents can be written");
        disk.replace(&name(self.receipt.counter, self.acknowledged), &stored)?;
        self.filed = true;
        Ok(())
    }
}

/// The file of a receipt, acknowledged or not.
pub(crate) fn name(counter: u64, acknowledged: bool) -> String {
    let state = if acknowledged { "acknowledged" } else { "receipt" };
    format!("{DIRECTORY}/{counter:012}.{state}")
}
