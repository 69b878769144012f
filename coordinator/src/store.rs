//! What stands on the disk: the ledger, the index of what can be lost, artifacts, and the folder of all of it.

pub(crate) mod artifact;
pub mod data_dir;
pub(crate) mod index;
pub(crate) mod ledger;
