//! Steps on the etcd of a server.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    form::{self, FilePath},
    id::NodeName,
    text::count,
};

/// Takes a snapshot of this server's etcd, verifies it, and seals it with what a restore needs to the recovery keys of
/// the root that the node holds. Without such a key it stays on the server, and the receipt says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// How many stay in each place; the oldest go.
    #[serde(deserialize_with = "form::snapshots_kept")]
    pub keep: u32,
    /// Those that are older go too, but for the newest.
    #[serde(deserialize_with = "form::snapshot_days")]
    pub days: u32,
    /// Folders of the server that get the sealed bundle as well, such as a mounted share. Each has to be there.
    pub to: Vec<FilePath>,
}

impl Operation for Snapshot {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { keep, days, to } = self;
        let kept = format!("sealed to the root's recovery keys, the newest {keep} of the last {days} days are kept");
        match to.as_slice() {
            [] => kept,
            folders => {
                let folders: Vec<&str> = folders.iter().map(FilePath::as_str).collect();
                format!("{kept}, also in {}: {}", count(folders.len(), "folder"), folders.join(", "))
            }
        }
    }
    fn sentence(&self, _: &NodeName) -> String {
        "takes a snapshot of etcd".to_owned()
    }
}
