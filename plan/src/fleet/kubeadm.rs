//! `[kubeadm]` of the fleet file: what a cluster that kubeadm makes is made with. What Hostler has no word for is
//! passed through in kubeadm's own (<https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/>).

mod check;
mod patch;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::network::Network;

use super::args::Args;

pub(super) use check::kubeadm;
pub use patch::Patch;

/// How the cluster is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Kubeadm {
    /// Where pods get their addresses from: none where the network add-on gives them, one, or one of each family.
    pub pod_network: Vec<Network>,
    /// Where Services get theirs from: one, or one of each family.
    pub service_network: Vec<Network>,
    /// What the names of Services end with.
    pub dns_domain: String,
    /// Further names and addresses of the API server's certificate.
    pub cert_sans: Vec<String>,
    /// Where each API server listens; another port than the endpoint's where a balancer runs on the same machine.
    pub bind_port: u16,
    /// Where the images of Kubernetes are named; none for kubeadm's own.
    pub image_repository: Option<String>,
    /// Names of artifacts that are applied once the first server is there, in this order.
    pub manifests: Vec<String>,
    pub skip_phases: Vec<String>,
    pub feature_gates: BTreeMap<String, bool>,
    /// Checks before the start that may fail.
    pub ignore_preflight: Vec<String>,
    pub api_server: Component,
    pub controller_manager: Component,
    pub scheduler: Component,
    pub etcd: Etcd,
    pub kubelet: Kubelet,
    pub proxy: Proxy,
    pub dns: Dns,
    pub patches: Vec<Patch>,
    /// Further keys of ClusterConfiguration.
    pub cluster: toml::Table,
}

/// A program of the control plane.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Component {
    pub extra_args: Args,
    pub extra_volumes: Vec<Volume>,
    /// Of its environment.
    pub extra_envs: BTreeMap<String, String>,
}

/// A path of the machine that a program of the control plane sees.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    pub name: String,
    pub host_path: String,
    pub mount_path: String,
    #[serde(default)]
    pub read_only: bool,
    /// As Kubernetes' `HostPathType`.
    pub path_type: Option<String>,
}

/// The cluster's database on every server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Etcd {
    pub extra_args: Args,
    pub extra_envs: BTreeMap<String, String>,
    pub image_repository: Option<String>,
    pub image_tag: Option<String>,
    pub server_cert_sans: Vec<String>,
    pub peer_cert_sans: Vec<String>,
}

/// The kubelet of every node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kubelet {
    pub extra_args: Args,
    /// Of KubeletConfiguration.
    pub config: toml::Table,
}

/// kube-proxy.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Proxy {
    /// Another program does its work.
    pub disabled: bool,
    /// Of KubeProxyConfiguration.
    pub config: toml::Table,
}

/// CoreDNS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// Another program does its work.
    pub disabled: bool,
    pub image_repository: Option<String>,
    pub image_tag: Option<String>,
}

/// `[kubeadm]` as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KubeadmFragment {
    pod_network: Option<toml::Value>,
    service_network: Option<toml::Value>,
    dns_domain: Option<String>,
    cert_sans: Vec<String>,
    bind_port: Option<i64>,
    image_repository: Option<String>,
    manifests: Vec<String>,
    skip_phases: Vec<String>,
    feature_gates: BTreeMap<String, bool>,
    ignore_preflight: Vec<String>,
    api_server: ComponentFragment,
    controller_manager: ComponentFragment,
    scheduler: ComponentFragment,
    etcd: EtcdFragment,
    kubelet: KubeletFragment,
    proxy: ProxyFragment,
    dns: DnsFragment,
    patches: BTreeMap<String, toml::Value>,
    cluster: toml::Table,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ComponentFragment {
    extra_args: BTreeMap<String, toml::Value>,
    extra_volumes: Vec<Volume>,
    extra_envs: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EtcdFragment {
    extra_args: BTreeMap<String, toml::Value>,
    extra_envs: BTreeMap<String, String>,
    image_repository: Option<String>,
    image_tag: Option<String>,
    server_cert_sans: Vec<String>,
    peer_cert_sans: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KubeletFragment {
    extra_args: BTreeMap<String, toml::Value>,
    config: toml::Table,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProxyFragment {
    disabled: bool,
    config: toml::Table,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DnsFragment {
    disabled: bool,
    image_repository: Option<String>,
    image_tag: Option<String>,
}
