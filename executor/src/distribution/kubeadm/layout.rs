//! Where kubeadm keeps what.

use std::time::Duration;

/// The administrator's.
pub(crate) const ADMIN_KUBECONFIG: &str = "/etc/kubernetes/admin.conf";

/// The kubelet's own.
pub(crate) const KUBELET_KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";

/// The kubelet's before it has a certificate: it holds the join token.
pub(crate) const BOOTSTRAP_KUBECONFIG: &str = "/etc/kubernetes/bootstrap-kubelet.conf";

/// Static pods.
pub(crate) const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// Certificates and their keys.
pub(crate) const PKI: &str = "/etc/kubernetes/pki";

/// The data of a stacked etcd.
pub(crate) const ETCD_DATA: &str = "/var/lib/etcd";

/// Where kubeadm puts what it replaces, whole data directories of etcd among it, and never looks again.
pub(crate) const BACKUPS: &str = "/etc/kubernetes/tmp";

/// How pods are connected: by files of the network add-on, which a later cluster would believe.
pub(crate) const CNI_CONFIG: &str = "/etc/cni/net.d";

/// What the kubelet runs by.
pub(crate) const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";

/// The kubelet's certificates; [`KUBELET_CERTIFICATE`] among them leads to the newest.
pub(crate) const KUBELET_PKI: &str = "/var/lib/kubelet/pki";
pub(crate) const KUBELET_CERTIFICATE: &str = "kubelet-client-current.pem";

pub(crate) const KUBELET_UNIT: &str = "kubelet.service";

/// As which a run of kubeadm goes on without this process; one at a time.
pub(crate) const KUBEADM_UNIT: &str = "hostler-kubeadm.service";

/// By which configuration of a plan this machine was made a node, or was begun to be: kubeadm itself keeps no such
/// thing. Without a secret.
pub(crate) const MARKER: &str = "/etc/kubernetes/hostler-kubeadm.yaml";

/// Since when this server's components restart for new certificates; gone once each of them runs by them.
pub(crate) const RENEWING: &str = "/etc/kubernetes/hostler-renewing";

/// What a change of settings replaces stays here: manifests and files of the kubelet until what is new has proved
/// itself, the API server's certificate until the next one is made.
pub(crate) const ASIDE: &str = "/etc/kubernetes/hostler-before";

/// The digest of the plan that changes this server's static pods and what the cluster notes, until the last change has
/// proved itself or the old manifest is back.
pub(crate) const CONFIGURING: &str = "/etc/kubernetes/hostler-configuring";

/// What of a join is secret lies in memory alone, and only while it is needed.
pub(crate) const RUN_CONFIG: &str = "/run/hostler/kubeadm.yaml";
pub(crate) const RUN_DISCOVERY: &str = "/run/hostler/kubeadm-discovery.conf";

/// The files of a cluster's certificate authorities and of its service accounts, below [`PKI`]: what another server
/// needs, and nobody else.
pub(crate) const SERVER_FILES: [&str; 8] =
    ["ca.crt", "ca.key", "etcd/ca.crt", "etcd/ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"];

/// `--version` answers at once; a Pi under load gets this long.
pub(crate) const QUICK: Duration = Duration::from_secs(60);
