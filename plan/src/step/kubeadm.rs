//! Steps of a kubeadm cluster's life: bootstrap, admit, join, revoke, upgrade, the kubelet's restart, and what a node
//! leaves the cluster with: expel and reset.
//!
//! kubeadm's configuration stands whole in the signed plan, as it is written in
//! <https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/>; what is made on the spot (a token, the
//! cluster's CA) is all that a node adds to it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ClusterRole, Operation, host::shown};
use crate::{
    form::{self, Config},
    id::{Digest, NodeName, TaskId},
    version::Version,
};

/// Makes this node the first server of a kubeadm cluster: `kubeadm init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// What kubeadm on this node must be, and the cluster run.
    pub version: Version,
    /// kubeadm's configuration: InitConfiguration, ClusterConfiguration and those of the components.
    pub config: Config,
}

impl Operation for Bootstrap {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { version, config } = self;
        format!("the first server at {version}, by a configuration of {} bytes, {}", config.len(), digest(config))
    }
    fn more(&self) -> Vec<String> {
        shown(self.config.as_str())
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("starts the first server at {}", self.version)
    }
}

/// On a server: makes a short-lived bootstrap token for the task's subject and seals it, with what else lets the
/// subject in, to the subject's key. The ciphertext is the observation `sealed_join_secret` of the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admit {
    /// What the subject becomes: a server is given the keys of the cluster's certificate authorities too.
    pub role: ClusterRole,
    /// How long the token lets somebody in.
    #[serde(deserialize_with = "form::timeout_seconds")]
    pub lifetime_seconds: u64,
}

impl Operation for Admit {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn said(&self) -> String {
        let Self { role, lifetime_seconds } = self;
        match role {
            ClusterRole::Server => format!(
                "as SERVER: a join token for {lifetime_seconds} s, and the KEYS of the cluster's certificate \
                 authorities, sealed to it"
            ),
            ClusterRole::Worker => format!("as worker: a join token for {lifetime_seconds} s, sealed to it"),
            ClusterRole::Host => "as a machine OUTSIDE THE CLUSTER, which no node does".to_owned(),
        }
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("makes a join token for {subject}")
    }
}

/// Joins this node to the cluster with what the receipt of the task `admitted_by` holds: `kubeadm join`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// What kubeadm on this node must be, and the node run.
    pub version: Version,
    /// What the node becomes.
    pub role: ClusterRole,
    /// kubeadm's JoinConfiguration without its discovery, which the node adds from what it was given.
    pub config: Config,
    /// The task whose receipt holds the sealed token.
    pub admitted_by: TaskId,
}

impl Operation for Join {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn admitted_by(&self) -> Option<&TaskId> {
        Some(&self.admitted_by)
    }
    fn said(&self) -> String {
        let Self { version, role, config, admitted_by } = self;
        let role = match role {
            ClusterRole::Server => "SERVER",
            ClusterRole::Worker => "worker",
            ClusterRole::Host => "a machine OUTSIDE THE CLUSTER, which no node does",
        };
        format!(
            "as {role} at {version}, with the token of {admitted_by}, by a configuration of {} bytes, {}",
            config.len(),
            digest(config)
        )
    }
    fn more(&self) -> Vec<String> {
        shown(self.config.as_str())
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("joins the cluster at {}", self.version)
    }
}

/// On a server: the tokens that were made for the task's subject are gone from the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {}

impl Operation for Revoke {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn said(&self) -> String {
        let Self {} = self;
        "every join token that was made for it".to_owned()
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("revokes the join tokens of {subject}")
    }
}

/// Brings this node's part of the cluster to that version: `kubeadm upgrade apply` on the first server that gets there,
/// `kubeadm upgrade node` on every other node. The kubelet is a step of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// What kubeadm on this node must be, and the node's components run.
    pub version: Version,
    /// kubeadm's UpgradeConfiguration, for `apply` and for `node`: its time limits, and the checks that it passes over.
    pub config: Config,
}

impl Operation for Upgrade {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { version, config } = self;
        format!("to {version}, by a configuration of {} bytes, {}", config.len(), digest(config))
    }
    fn more(&self) -> Vec<String> {
        shown(self.config.as_str())
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("upgrades the node's components to {}", self.version)
    }
}

/// The running kubelet has that version: it is restarted where its program was replaced since it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsureKubelet {
    /// What the process must be, not the file.
    pub version: Version,
}

impl Operation for EnsureKubelet {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn upgrades_to(&self) -> Option<Version> {
        Some(self.version)
    }
    fn said(&self) -> String {
        let Self { version } = self;
        format!("running at {version}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("restarts the kubelet at {}", self.version)
    }
}

/// The certificates that kubeadm made on this server last for so long, and its static pods run by them: what ends
/// earlier is made anew, by the authorities that are there, and the static pods restart one by one. The kubelet
/// renews its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// What ends within so many days is renewed, and all others with it.
    #[serde(deserialize_with = "form::within_days")]
    pub within_days: u64,
}

impl Operation for Renew {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { within_days } = self;
        format!("every certificate of this server where one ends within {within_days} days; its static pods restart")
    }
    fn sentence(&self, _: &NodeName) -> String {
        "renews this server's certificates".to_owned()
    }
}

/// On a server: the task's subject is let in no more. No join token that was made for it is in the cluster, and it is
/// no member of etcd, which every other member agreed to: only then may anything on its machine be emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expel {
    /// What the subject is: a worker is no member of etcd.
    pub role: ClusterRole,
    /// Where its etcd is reached, by which a member is known that never started; none for a worker.
    pub address: Option<IpAddr>,
    /// Whether the machine is said to be dead: a member that still answers is not removed then.
    pub silent: bool,
}

impl Operation for Expel {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn said(&self) -> String {
        let Self { role, address, silent } = self;
        let member = match (role, address) {
            (ClusterRole::Worker | ClusterRole::Host, _) => return "its join tokens, as of a worker".to_owned(),
            (ClusterRole::Server, Some(address)) => format!("its MEMBER OF ETCD (at {address}) and its join tokens"),
            (ClusterRole::Server, None) => "its MEMBER OF ETCD and its join tokens".to_owned(),
        };
        if *silent { format!("{member}, where that member does not answer") } else { member }
    }
    fn sentence(&self, subject: &NodeName) -> String {
        match self.role {
            ClusterRole::Server => format!("removes {subject} from etcd"),
            ClusterRole::Worker | ClusterRole::Host => format!("revokes what lets {subject} in"),
        }
    }
}

/// Nothing of a cluster is on this node any more: `kubeadm reset`, and what that leaves. Pods on it end, and etcd's
/// data are gone. Never before another server has removed the node from the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// kubeadm's ResetConfiguration.
    pub config: Config,
    /// The task of a server that removed this node from the cluster's members.
    pub expelled_by: TaskId,
}

impl Operation for Reset {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn expelled_by(&self) -> Option<&TaskId> {
        Some(&self.expelled_by)
    }
    fn said(&self) -> String {
        let Self { config, expelled_by } = self;
        format!(
            "REMOVES all of the cluster from the machine after {expelled_by}, by a configuration of {} bytes, {}",
            config.len(),
            digest(config)
        )
    }
    fn more(&self) -> Vec<String> {
        shown(self.config.as_str())
    }
    fn sentence(&self, _: &NodeName) -> String {
        "removes everything of the cluster from this machine".to_owned()
    }
}

fn digest(config: &Config) -> Digest {
    Digest::of(config.as_str().as_bytes())
}
