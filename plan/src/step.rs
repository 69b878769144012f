//! What a node can be asked to do. A closed list of typed operations: there is no shell string anywhere.

use serde::{Deserialize, Serialize};

use crate::{
    id::{ArtifactName, TaskId},
    version::Version,
};

/// One typed, idempotent operation of a task: the node checks whether it is already so, applies it, and verifies by
/// asking the machine. `kube.*` steps act on the task's subject through the local API server of the task's node; all
/// others act on the task's node itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", deny_unknown_fields)]
pub enum Step {
    /// Does nothing and proves that plans arrive, verify and are receipted.
    #[serde(rename = "host.noop")]
    Noop {},
    /// Fetches an artifact of the plan and keeps it only if length and digest match.
    #[serde(rename = "artifact.stage")]
    StageArtifact { artifact: ArtifactName },
    /// Makes a file hold exactly `content`, owned by root, with `mode` (octal text such as `0644`).
    #[serde(rename = "file.ensure")]
    EnsureFile { path: String, mode: String, content: String },
    /// Loads a kernel module now and at every boot.
    #[serde(rename = "module.ensure")]
    EnsureModule { module: String },
    /// Sets a kernel parameter now and at every boot.
    #[serde(rename = "sysctl.ensure")]
    EnsureSysctl { key: String, value: String },
    /// Installs a Debian package at exactly `version`.
    #[serde(rename = "package.ensure")]
    EnsurePackage { package: String, version: String },
    /// Brings a systemd unit into a state and enables or disables it.
    #[serde(rename = "systemd.ensure")]
    EnsureUnit { unit: String, state: UnitState, enabled: bool },
    /// Makes this node the first server of a K3s cluster.
    #[serde(rename = "k3s.bootstrap")]
    BootstrapK3s { artifact: ArtifactName, version: Version },
    /// On a server: makes a short-lived join secret for the task's subject and seals it to the subject's key. The
    /// ciphertext is the observation `sealed_join_secret` of the receipt.
    #[serde(rename = "k3s.admit")]
    AdmitToK3s { lifetime_seconds: u64 },
    /// Joins this node to the cluster with the secret from the receipt of the task `admitted_by`.
    #[serde(rename = "k3s.join")]
    JoinK3s { artifact: ArtifactName, version: Version, role: ClusterRole, server_url: String, admitted_by: TaskId },
    /// Replaces the K3s binary, restarts K3s and verifies that the running version is `version`.
    #[serde(rename = "k3s.upgrade")]
    UpgradeK3s { artifact: ArtifactName, version: Version },
    /// Makes the subject unschedulable and notes owner, reason and the state before.
    #[serde(rename = "kube.cordon")]
    Cordon { reason: String },
    /// Evicts the subject's pods through the Eviction API, in a careful order, until none is left or the time is up.
    #[serde(rename = "kube.drain")]
    Drain { timeout_seconds: u64, delete_empty_dir_data: bool, force_unmanaged: bool },
    /// Makes the subject schedulable again, if the cordon is Hostler's own.
    #[serde(rename = "kube.uncordon")]
    Uncordon {},
    /// Waits until the subject has been Ready for `for_seconds` without a break, at `version` where one is given.
    #[serde(rename = "kube.await_ready")]
    AwaitReady { version: Option<Version>, for_seconds: u64, timeout_seconds: u64 },
    /// Reboots this node; a changed boot id proves it.
    #[serde(rename = "host.reboot")]
    Reboot {},
}

impl Step {
    /// The operation's name as documents write it.
    pub fn op(&self) -> &'static str {
        match self {
            Step::Noop {} => "host.noop",
            Step::StageArtifact { .. } => "artifact.stage",
            Step::EnsureFile { .. } => "file.ensure",
            Step::EnsureModule { .. } => "module.ensure",
            Step::EnsureSysctl { .. } => "sysctl.ensure",
            Step::EnsurePackage { .. } => "package.ensure",
            Step::EnsureUnit { .. } => "systemd.ensure",
            Step::BootstrapK3s { .. } => "k3s.bootstrap",
            Step::AdmitToK3s { .. } => "k3s.admit",
            Step::JoinK3s { .. } => "k3s.join",
            Step::UpgradeK3s { .. } => "k3s.upgrade",
            Step::Cordon { .. } => "kube.cordon",
            Step::Drain { .. } => "kube.drain",
            Step::Uncordon {} => "kube.uncordon",
            Step::AwaitReady { .. } => "kube.await_ready",
            Step::Reboot {} => "host.reboot",
        }
    }

    /// The artifact that must be in the plan for this step.
    pub fn artifact(&self) -> Option<&ArtifactName> {
        match self {
            Step::StageArtifact { artifact }
            | Step::BootstrapK3s { artifact, .. }
            | Step::JoinK3s { artifact, .. }
            | Step::UpgradeK3s { artifact, .. } => Some(artifact),
            Step::Noop {}
            | Step::EnsureFile { .. }
            | Step::EnsureModule { .. }
            | Step::EnsureSysctl { .. }
            | Step::EnsurePackage { .. }
            | Step::EnsureUnit { .. }
            | Step::AdmitToK3s { .. }
            | Step::Cordon { .. }
            | Step::Drain { .. }
            | Step::Uncordon {}
            | Step::AwaitReady { .. }
            | Step::Reboot {} => None,
        }
    }
}

/// The state a systemd unit should be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitState {
    /// Running.
    Started,
    /// Not running.
    Stopped,
}

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterRole {
    /// Runs the API server (K3s server, kubeadm control plane).
    Server,
    /// Runs pods only.
    Worker,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_with_an_unknown_key_is_refused() {
        assert!(crate::json::parse::<Step>(br#"{"op":"host.noop"}"#).is_ok());
        assert!(crate::json::parse::<Step>(br#"{"op":"host.noop","x":1}"#).is_err());
        assert!(crate::json::parse::<Step>(br#"{"op":"kube.cordon","reason":"r","force":true}"#).is_err());
        assert!(crate::json::parse::<Step>(br#"{"op":"shell","command":"id"}"#).is_err());
    }

    #[test]
    fn a_step_names_itself_as_documents_do() {
        let step = Step::Drain { timeout_seconds: 600, delete_empty_dir_data: true, force_unmanaged: false };
        let json = serde_json::to_value(&step).expect("serialisable");
        assert_eq!(json["op"], step.op());
    }
}
