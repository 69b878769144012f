//! Steps of a K3s cluster's life: bootstrap, admit, join, upgrade.

use serde::{Deserialize, Serialize};

use super::{ClusterRole, Operation};
use crate::{
    form::{self, ServerUrl},
    id::{ArtifactName, NodeName, TaskId},
    version::Version,
};

/// Makes this node the first server of a K3s cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The K3s binary.
    pub artifact: ArtifactName,
    /// What the binary must be, and run as.
    pub version: Version,
}

impl Operation for Bootstrap {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { artifact, version } = self;
        format!("the first server at {version}, runs {artifact}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("starts the first K3s server at {}", self.version)
    }
}

/// On a server: makes a short-lived join secret for the task's subject and seals it to the subject's key. The
/// ciphertext is the observation `sealed_join_secret` of the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admit {
    /// How long the secret lets somebody in.
    #[serde(deserialize_with = "form::timeout_seconds")]
    pub lifetime_seconds: u64,
}

impl Operation for Admit {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn said(&self) -> String {
        let Self { lifetime_seconds } = self;
        format!(
            "with a join secret for {lifetime_seconds} s; what lets a server in is the cluster's own token for ever"
        )
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("makes a join secret for {subject}")
    }
}

/// Joins this node to the cluster with the secret from the receipt of the task `admitted_by`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The K3s binary.
    pub artifact: ArtifactName,
    /// What the binary must be, and run as.
    pub version: Version,
    /// What the node becomes.
    pub role: ClusterRole,
    /// Where the cluster's servers are reached, with scheme and port.
    pub server_url: ServerUrl,
    /// The task whose receipt holds the sealed secret.
    pub admitted_by: TaskId,
}

impl Operation for Join {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn admitted_by(&self) -> Option<&TaskId> {
        Some(&self.admitted_by)
    }
    fn said(&self) -> String {
        let Self { artifact, version, role, server_url, admitted_by } = self;
        let role = match role {
            ClusterRole::Server => "SERVER",
            ClusterRole::Worker => "worker",
            ClusterRole::Host => "a machine OUTSIDE THE CLUSTER, which no node does",
        };
        format!("as {role} of {server_url} at {version}, runs {artifact}, with the secret of {admitted_by}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("joins the cluster with K3s {}", self.version)
    }
}

/// Replaces the K3s binary, restarts K3s and verifies that the running version is `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// The K3s binary.
    pub artifact: ArtifactName,
    /// What the binary must be, and run as.
    pub version: Version,
}

impl Operation for Upgrade {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn upgrades_to(&self) -> Option<Version> {
        Some(self.version)
    }
    fn said(&self) -> String {
        let Self { artifact, version } = self;
        format!("to {version}, runs {artifact}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("upgrades K3s to {}", self.version)
    }
}
