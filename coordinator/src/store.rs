//! What stands on the disk: the ledger, the index of what can be lost, artifacts, and the folder of all of it.

pub mod artifact;
pub mod data_dir;
pub mod index;
pub mod ledger;
