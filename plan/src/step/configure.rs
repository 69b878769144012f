//! Steps that bring changed settings of a fleet file to a running kubeadm cluster. Its configuration stands whole in
//! the plan, as that of a bootstrap does; kubeadm's own phases write what follows of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Operation, host::shown};
use crate::{
    form::{Config, ServerUrl},
    id::{Digest, NodeName},
    version::Version,
};

/// From this node the API server answers at that address, by the cluster's own certificate authority. Nothing is
/// changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// Where all nodes are to reach the API server.
    pub endpoint: ServerUrl,
}

impl Operation for Reach {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { endpoint } = self;
        format!("the API server answers at {endpoint}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("looks whether the API server answers at {}", self.endpoint)
    }
}

/// The certificate of this server's API server has every name that the configuration wants; one that is made again
/// keeps the names that it had, and the old one stays beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certify {
    /// What kubeadm on this node must be.
    pub version: Version,
    /// kubeadm's configuration as of a bootstrap.
    pub config: Config,
}

impl Operation for Certify {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { version, config } = self;
        format!("the API server's certificate at {version}, by a configuration of {}", size(config))
    }
    fn more(&self) -> Vec<String> {
        shown(self.config.as_str())
    }
    fn sentence(&self, _: &NodeName) -> String {
        "makes the API server's certificate with every name".to_owned()
    }
}

/// This server's static pods, and what the cluster notes of itself, are those of the configuration. A component that
/// does not start gets its old manifest back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    /// What kubeadm on this node must be, and the cluster runs.
    pub version: Version,
    /// kubeadm's configuration as of a bootstrap.
    pub config: Config,
}

impl Operation for Configure {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { version, config } = self;
        format!("the control plane at {version}, by a configuration of {}", size(config))
    }
    fn more(&self) -> Vec<String> {
        shown(self.config.as_str())
    }
    fn sentence(&self, _: &NodeName) -> String {
        "configures this server's part of the control plane".to_owned()
    }
}

/// This node's kubelet runs by the configuration, and its kubeconfigs lead to the cluster's endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigureKubelet {
    /// What kubeadm and the kubelet on this node must be.
    pub version: Version,
    /// kubeadm's configuration as of a bootstrap.
    pub config: Config,
    /// Whether the plan drains the node before: some settings turn away pods that run.
    pub drained: bool,
}

impl Operation for ConfigureKubelet {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { version, config, drained } = self;
        let how = if *drained { "drained" } else { "while its pods run" };
        format!("the kubelet at {version}, {how}, by a configuration of {}", size(config))
    }
    fn more(&self) -> Vec<String> {
        shown(self.config.as_str())
    }
    fn sentence(&self, _: &NodeName) -> String {
        "configures the kubelet".to_owned()
    }
}

/// The subject's Node has these labels and taints. What others put there stays; what an earlier one of these steps put
/// there and this one does not name goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Describe {
    pub labels: BTreeMap<String, String>,
    /// Each as `KEY=VALUE:EFFECT`; none where taints are left alone.
    pub taints: Option<Vec<String>>,
}

impl Operation for Describe {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn said(&self) -> String {
        let Self { labels, taints } = self;
        let list = |texts: Vec<String>| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
        let labels = list(labels.iter().map(|(key, value)| format!("{key}={value}")).collect());
        match taints {
            Some(taints) => format!("labels {labels}; taints {}", list(taints.clone())),
            None => format!("labels {labels}; taints as they are"),
        }
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("labels and taints {subject}")
    }
}

fn size(config: &Config) -> String {
    format!("{} bytes, {}", config.len(), Digest::of(config.as_str().as_bytes()))
}
