//! Steps of a K3s cluster's life: bootstrap, admit, join, upgrade.

use serde::{Deserialize, Serialize};

use super::{ClusterRole, Operation};
use crate::{
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
    fn choice(&self) -> String {
        self.version.to_string()
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
    pub lifetime_seconds: u64,
}

impl Operation for Admit {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn choice(&self) -> String {
        String::new()
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
    pub server_url: String,
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
    fn choice(&self) -> String {
        self.version.to_string()
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
    fn choice(&self) -> String {
        self.version.to_string()
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("upgrades K3s to {}", self.version)
    }
}
