//! Steps that bring etcd back from a snapshot, on every server at once: each takes the snapshot in, all stop, each
//! restores its data, all start. Nothing is stopped before every server has proved that it can restore.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    form::{ClusterName, RestoreName, SnapshotName},
    id::{ArtifactName, NodeName},
    text::count,
    timestamp::Timestamp,
    version::Version,
};

/// The etcd that a restore begins: one of its own, which no member of another takes for its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restored {
    /// No other restore has it. It is the token of the new etcd, and says in its data that they came from this restore.
    pub name: RestoreName,
    /// Every member, in the order in which each of them is told of all.
    pub members: Vec<Member>,
}

/// A snapshot as its own note and its receipt name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotOf {
    pub name: SnapshotName,
    /// Every change in etcd has one.
    pub revision: u64,
    /// Of the cluster when it was taken.
    pub kubernetes: Version,
    /// The version of etcd that took it.
    pub etcd: ClusterName,
}

impl SnapshotOf {
    fn said(&self) -> String {
        let Self { name, revision, kubernetes, etcd } = self;
        format!("{name}, revision {revision}, of Kubernetes {kubernetes} and etcd {etcd}")
    }
}

/// A member of etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// As etcd calls it; kubeadm gives it the Node's.
    pub name: NodeName,
    /// Where the others reach it, at kubeadm's port 2380.
    pub address: IpAddr,
}

impl Restored {
    fn said(&self) -> String {
        let members: Vec<String> =
            self.members.iter().map(|Member { name, address }| format!("{name} {address}")).collect();
        format!("restore {} of {}: {}", self.name, count(members.len(), "member"), members.join(", "))
    }
}

/// Opens the sealed snapshot, proves that it is the one that is named, whole, of this machine's cluster and fit for
/// what runs here, and keeps etcd's data for the restore, for root alone. Changes nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receive {
    /// The snapshot, sealed to this server among others.
    pub artifact: ArtifactName,
    pub snapshot: SnapshotOf,
    pub restored: Restored,
}

impl Operation for Receive {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { artifact, snapshot, restored } = self;
        format!("snapshot {} from {artifact}, for {}", snapshot.said(), restored.said())
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("opens snapshot {} and proves that it can be restored here", self.snapshot.name)
    }
}

/// etcd and the API server of this server do not run, and their manifests lie aside until they start again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    pub restored: Restored,
}

impl Operation for Stop {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        format!("STOPS etcd and the API server of this server, for {}", self.restored.said())
    }
    fn sentence(&self, _: &NodeName) -> String {
        "stops etcd and the API server".to_owned()
    }
}

/// The data of this server's etcd are those of the snapshot that [`Receive`] kept; what was there before lies aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    pub restored: Restored,
    /// Added to the snapshot's revision, so that none that anybody saw comes again: whoever watches asks anew.
    pub bump_revision: u64,
}

impl Operation for Restore {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { restored, bump_revision } = self;
        format!(
            "REPLACES etcd's data by the snapshot's, revisions {bump_revision} further on; the data before stay aside. \
             {}",
            restored.said()
        )
    }
    fn sentence(&self, _: &NodeName) -> String {
        "restores etcd's data from the snapshot".to_owned()
    }
}

/// etcd and the API server of this server run by the restored data, and every member votes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    pub restored: Restored,
}

impl Operation for Start {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        format!("starts etcd and the API server of this server again, for {}", self.restored.said())
    }
    fn sentence(&self, _: &NodeName) -> String {
        "starts etcd and the API server by the restored data".to_owned()
    }
}

/// On a machine with nothing of a cluster: the cluster's authorities and etcd's data out of the snapshot, for the first
/// server that kubeadm makes by them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// The snapshot, sealed to this machine.
    pub artifact: ArtifactName,
    pub snapshot: SnapshotOf,
    /// With this machine as the only member.
    pub restored: Restored,
    /// As of [`Restore`].
    pub bump_revision: u64,
}

impl Operation for Seed {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { artifact, snapshot, restored, bump_revision } = self;
        format!(
            "the KEYS of the cluster's certificate authorities and etcd's data of snapshot {} from {artifact}, \
             revisions {bump_revision} further on. {}",
            snapshot.said(),
            restored.said()
        )
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("brings back the cluster of snapshot {}", self.snapshot.name)
    }
}

/// On a server: every Node that was made until then is gone from the cluster, but for this server's own. They are of
/// machines that a snapshot knew and that are no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forget {
    pub made_until: Timestamp,
}

impl Operation for Forget {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        format!("REMOVES every other Node that was made until {}", self.made_until)
    }
    fn sentence(&self, _: &NodeName) -> String {
        "removes the Nodes of machines that are no more".to_owned()
    }
}

/// Nothing of a cluster is on this machine. Changes nothing: what is found is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bare {}

impl Operation for Bare {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self {} = self;
        "refuses where anything of a cluster is on the machine".to_owned()
    }
    fn sentence(&self, _: &NodeName) -> String {
        "looks whether anything of a cluster is on the machine".to_owned()
    }
}
