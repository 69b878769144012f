//! What stands on the disk: the ledger, the index of what can be lost, artifacts, the fleet file, and the folder of all
//! of it.

pub(crate) mod artifact;
pub(crate) mod copy;
pub mod data_dir;
pub(crate) mod fleet_file;
pub(crate) mod head;
pub(crate) mod index;
pub(crate) mod ledger;
pub(crate) mod recover;
pub(crate) mod snapshots;
#[cfg(test)]
mod tests;
