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

    /// The name of a snapshot of that server and time: `s1-20261128T201500.042Z`. A server takes one after the other,
    /// each longer than a millisecond.
    pub fn name_of(node: &NodeName, taken: Timestamp) -> String {
        format!("{node}-{}", Self::time_of(taken))
    }

    /// A time as it stands in names, to the millisecond; they sort as their times do.
    pub fn time_of(taken: Timestamp) -> String {
        let seconds: String = taken.whole_seconds().to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        format!("{}.{:03}Z", seconds.trim_end_matches('Z'), taken.unix_milliseconds() % 1000)
    }

    /// Whether that is such a time. Names once were of whole seconds (`20261128T201500Z`), and are read for ever.
    pub fn is_time(time: &str) -> bool {
        let fits = |(at, found): (usize, u8)| match at {
            8 => found == b'T',
            15 => found == b'Z' || found == b'.',
            19 => found == b'Z',
            _ => found.is_ascii_digit(),
        };
        let is_whole = time.len() == 16 && time.ends_with('Z');
        let has_milliseconds = time.len() == 20 && time.as_bytes()[15] == b'.';
        (is_whole || has_milliseconds) && time.bytes().enumerate().all(fits)
    }

    /// Whether [`name_of`](Self::name_of) makes such names of that node: no other node's begin so.
    pub fn is_name_of(node: &NodeName, name: &str) -> bool {
        let time = name.strip_prefix(node.as_str()).and_then(|rest| rest.strip_prefix('-'));
        time.is_some_and(Self::is_time)
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
        let at = |milliseconds: u64| Timestamp::from_unix_milliseconds(1_795_896_900_000 + milliseconds);
        let names = [0, 7, 42, 999].map(|of| SnapshotNote::name_of(&node, at(of)));
        assert_eq!((names[0].as_str(), names[2].as_str()), ("s1-20261128T201500.000Z", "s1-20261128T201500.042Z"));
        assert!(names.is_sorted() && names.iter().all(|name| SnapshotNote::is_name_of(&node, name)), "{names:?}");
        assert!(SnapshotNote::is_name_of(&node, "s1-20261128T201500Z"), "as older versions named them");
        // `s1-eu` is another node.
        let others = ["s1-eu-20261128T201500Z", "s1-", "s1-20261128T201500Z-2", "s1-20261128201500Z"];
        let more = ["s2-20261128T201500Z", "s1-20261128T201500Z042Z", "s1-20261128T201500.04Z", "s1-20261128T201500."];
        for other in others.into_iter().chain(more) {
            assert!(!SnapshotNote::is_name_of(&node, other), "{other}");
        }
    }
}
