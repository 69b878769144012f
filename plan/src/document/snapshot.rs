//! A snapshot of etcd: what lies in its bundle, and what its receipt says of it.

use serde::{Deserialize, Serialize};

use super::{Observation, Receipt};
use crate::{
    id::{Digest, FleetId, NodeName},
    timestamp::Timestamp,
};

/// What a bundle says of itself: its first file, `snapshot.json`. Whoever opens a bundle judges all others by it, and
/// it by the digest of the whole, which stands in a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotNote {
    /// Always `hostler-snapshot/v1`.
    #[serde(rename = "_type")]
    pub document_type: SnapshotType,
    pub fleet_id: FleetId,
    /// As people call it: the server and the time.
    pub name: String,
    pub node: NodeName,
    pub taken: Timestamp,
    /// etcd's own number of the cluster, in hexadecimal digits.
    pub cluster_id: String,
    /// Every change in etcd has one.
    pub revision: u64,
    pub keys: u64,
    /// What `etcdutl snapshot status` calculates, in hexadecimal digits.
    pub hash: String,
    /// The version of etcd that took it.
    pub etcd: String,
    /// Of Kubernetes, by the tag of the server's API server.
    pub kubernetes: String,
    /// Every other file of the bundle.
    pub files: Vec<SnapshotFile>,
}

/// The type field of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotType {
    #[serde(rename = "hostler-snapshot/v1")]
    V1,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotFile {
    /// Its path in the bundle.
    pub name: String,
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

impl SnapshotNote {
    /// The note's name in a bundle.
    pub const NAME: &'static str = "snapshot.json";
    /// etcd's own file in a bundle.
    pub const DATA: &'static str = "etcd.db";
    /// A note is far shorter; bytes.
    pub const MAX_BYTES: u64 = 64 << 10;

    /// The name of a snapshot of that server and time, in whole seconds: `s1-20261128T201500Z`.
    pub fn name_of(node: &NodeName, taken: Timestamp) -> String {
        let time: String = taken.whole_seconds().to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        format!("{node}-{time}")
    }

    /// Whether [`name_of`](Self::name_of) makes such names of that node: no other node's begin so.
    pub fn is_name_of(node: &NodeName, name: &str) -> bool {
        let time = name.strip_prefix(node.as_str()).and_then(|rest| rest.strip_prefix('-'));
        let fits = |(at, found): (usize, u8)| match at {
            8 => found == b'T',
            15 => found == b'Z',
            _ => found.is_ascii_digit(),
        };
        time.is_some_and(|time| time.len() == 16 && time.bytes().enumerate().all(fits))
    }
}

/// What the receipt of the task that took it says: nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenSnapshot {
    pub name: String,
    pub cluster_id: String,
    pub revision: u64,
    pub kubernetes: String,
    /// Of the sealed bundle; none where the root had no recovery key.
    pub sealed: Option<SealedSnapshot>,
}

/// A sealed bundle by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedSnapshot {
    pub digest: Digest,
    /// Bytes; more than 0.
    pub size: u64,
}

const NAME: &str = "snapshot";
const CLUSTER: &str = "snapshot_cluster";
const REVISION: &str = "snapshot_revision";
const KUBERNETES: &str = "snapshot_kubernetes";
const SEALED: &str = "snapshot_sealed";

impl TakenSnapshot {
    /// As a receipt observes it.
    pub fn observations(&self) -> Vec<Observation> {
        let Self { name, cluster_id, revision, kubernetes, sealed } = self;
        let sealed = sealed.map(|SealedSnapshot { digest, size }| (SEALED, format!("{digest} {size}")));
        let always = [
            (NAME, name.clone()),
            (CLUSTER, cluster_id.clone()),
            (REVISION, revision.to_string()),
            (KUBERNETES, kubernetes.clone()),
        ];
        let all = always.into_iter().chain(sealed);
        all.map(|(name, value)| Observation { name: name.to_owned(), value }).collect()
    }

    /// What a receipt says; none where its task took none, says it otherwise, or names another node's.
    pub fn of(receipt: &Receipt) -> Option<Self> {
        let text = |name: &str| receipt.observation(name).map(str::to_owned);
        let sealed = match receipt.observation(SEALED) {
            Some(written) => {
                let (digest, size) = written.split_once(' ')?;
                Some(SealedSnapshot { digest: digest.parse().ok()?, size: size.parse().ok().filter(|size| *size > 0)? })
            }
            None => None,
        };
        let (cluster_id, revision) = (text(CLUSTER)?, text(REVISION)?.parse().ok()?);
        let name = text(NAME).filter(|name| SnapshotNote::is_name_of(&receipt.node, name))?;
        Some(Self { name, cluster_id, revision, kubernetes: text(KUBERNETES)?, sealed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_nodes_with_the_whole_time_and_nothing_else() {
        let node: NodeName = "s1".parse().unwrap();
        let name = SnapshotNote::name_of(&node, "2026-11-28T20:15:00Z".parse().unwrap());
        assert!(SnapshotNote::is_name_of(&node, &name), "{name}");
        // `s1-eu` is another node.
        for other in
            ["s1-eu-20261128T201500Z", "s1-", "s1-20261128T201500Z-2", "s1-20261128201500Z", "s2-20261128T201500Z"]
        {
            assert!(!SnapshotNote::is_name_of(&node, other), "{other}");
        }
    }
}
