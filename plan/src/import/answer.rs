//! What a server says of its cluster, in named fields alone: what has no field here is not read, so that no secret can
//! come along with what surrounds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    id::{FleetId, NodeName},
    timestamp::Timestamp,
};

/// An answer as JSON at most, in bytes; one of 1,000 nodes with a dozen labels each has 0.7 MiB.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The observation of a receipt that holds the sealed answer, in base64.
pub const READ_SEALED: &str = "cluster_read";

/// The observation that holds the digest of the answer itself.
pub const READ_DIGEST: &str = "cluster_read_digest";

/// How a cluster is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Always `hostler-cluster/v1`.
    #[serde(rename = "_type")]
    pub document_type: AnswerType,
    pub fleet_id: FleetId,
    /// Who read it.
    pub node: NodeName,
    pub read: Timestamp,
    /// What its API server says that it runs.
    pub version: String,
    pub nodes: Vec<AnswerNode>,
    pub made: Made,
    /// The machine that read it.
    pub machine: MachineFacts,
    pub addons: Vec<Addon>,
    /// Pods that a kubelet runs from files and that the cluster's own tool did not write, as `namespace/name`.
    pub static_pods: Vec<String>,
    /// Values that may be secrets and were left out, by where they stand.
    pub masked: Vec<String>,
    /// Settings that have no field here, by their names.
    pub left_out: Vec<String>,
}

/// The type field of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerType {
    #[serde(rename = "hostler-cluster/v1")]
    V1,
}

/// What made it, and with which settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "distribution", rename_all = "snake_case", deny_unknown_fields)]
pub enum Made {
    Kubeadm(Box<Settings>),
}

/// A Node object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerNode {
    pub name: String,
    pub is_server: bool,
    /// As Kubernetes writes it: `arm64`, `amd64`.
    pub arch: String,
    /// Its internal addresses.
    pub addresses: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// As `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
    pub taints: Vec<String>,
    /// Of its kubelet.
    pub version: String,
    /// Such as `containerd://2.1.4`.
    pub runtime: String,
}

/// The programs whose settings an answer has beside etcd's.
pub const COMPONENTS: [&str; 3] = ["api_server", "controller_manager", "scheduler"];

/// The settings of a cluster that kubeadm made, from its own ConfigMaps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub name: String,
    /// Which the settings name.
    pub version: String,
    /// Empty where the cluster has none but its only server.
    pub endpoint: String,
    pub pod_network: String,
    pub service_network: String,
    pub dns_domain: String,
    pub cert_sans: Vec<String>,
    pub image_repository: String,
    pub feature_gates: BTreeMap<String, bool>,
    /// By the names of [`COMPONENTS`].
    pub programs: BTreeMap<String, Program>,
    pub etcd: Etcd,
    /// Whether CoreDNS is there.
    pub has_dns: bool,
    pub dns_image: Image,
    /// Whether kube-proxy is there.
    pub has_proxy: bool,
    /// Where the API server of the one who reads listens; 0 where that is not known.
    pub bind_port: u16,
    /// Further keys of ClusterConfiguration that are single texts.
    pub further: BTreeMap<String, String>,
    /// Of KubeletConfiguration.
    pub kubelet: BTreeMap<String, Value>,
    /// Of KubeProxyConfiguration.
    pub proxy: BTreeMap<String, Value>,
    /// What the kubelet of the one who reads is started with.
    pub kubelet_args: Vec<(String, String)>,
}

/// Another image than the default's; empty where it is not said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub repository: String,
    pub tag: String,
}

/// A program of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    pub args: Vec<(String, String)>,
    pub volumes: Vec<Volume>,
    pub envs: BTreeMap<String, String>,
}

/// A path of the machine that such a program sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    pub name: String,
    pub host_path: String,
    pub mount_path: String,
    pub read_only: bool,
    /// Empty where it is not said.
    pub path_type: String,
}

/// The cluster's database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Etcd {
    pub program: Program,
    pub image: Image,
    pub server_cert_sans: Vec<String>,
    pub peer_cert_sans: Vec<String>,
    pub data_dir: String,
    /// Where it is, when it does not run on the servers.
    pub external: Vec<String>,
}

/// What can be read of the machine that read the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFacts {
    /// Packages of Kubernetes and its runtime, with their versions.
    pub packages: BTreeMap<String, String>,
    /// The image that holds a pod's namespaces, by containerd's settings; empty where they do not say it.
    pub sandbox_image: String,
    /// Registries with settings of their own.
    pub registries: Vec<String>,
}

/// Something that runs in the cluster and that another tool put there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addon {
    /// `DaemonSet` or `Deployment`.
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// Of its first container.
    pub image: String,
}

impl Answer {
    /// The settings of the cluster.
    pub fn settings(&self) -> &Settings {
        match &self.made {
            Made::Kubeadm(settings) => settings,
        }
    }
}
