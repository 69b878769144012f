//! kubeadm: what is different about it as a word.

use super::KnownArtifact;

pub(super) const NAME: &str = "kubeadm";

pub(super) const EXAMPLE_VERSION: &str = "v1.36.3";

/// Of the kubelet and of the container runtimes that it may use.
pub(super) const UNITS: &[&str] = &["kubelet.service", "containerd.service", "crio.service"];

/// Packages of <https://pkgs.k8s.io> that go with a version of Kubernetes.
pub(super) const PACKAGES: &[&str] = &["kubeadm", "kubelet", "kubectl", "kubernetes-cni", "cri-tools"];

/// Where programs go that no package brings; Kubernetes' own documentation puts them there.
const BIN: &str = "/usr/local/bin";

/// Where a kubelet's runtime looks for network plugins unless it is told otherwise.
const CNI: &str = "/opt/cni/bin";

/// Kubernetes' own (<https://kubernetes.io/releases/download/>), etcd's tools, containerd's, runc's and
/// <https://github.com/containernetworking/plugins>, with the images that `kubeadm config images list` names.
pub(super) const ARTIFACTS: &[KnownArtifact] = &[
    KnownArtifact::program("kubeadm", BIN).of_kubernetes(),
    KnownArtifact::program("kubelet", BIN).of_kubernetes(),
    KnownArtifact::program("kubectl", BIN).of_kubernetes(),
    KnownArtifact::image("kube-apiserver").of_kubernetes(),
    KnownArtifact::image("kube-controller-manager").of_kubernetes(),
    KnownArtifact::image("kube-scheduler").of_kubernetes(),
    KnownArtifact::image("kube-proxy").of_kubernetes(),
    KnownArtifact::image("coredns"),
    KnownArtifact::image("pause"),
    KnownArtifact::image("etcd"),
    KnownArtifact::program("etcdctl", BIN),
    KnownArtifact::program("etcdutl", BIN),
    KnownArtifact::program("crictl", BIN),
    KnownArtifact::program("containerd", BIN),
    KnownArtifact::program("containerd-shim-runc-v2", BIN),
    KnownArtifact::program("ctr", BIN),
    KnownArtifact::program("runc", "/usr/local/sbin"),
    KnownArtifact::program("bandwidth", CNI),
    KnownArtifact::program("bridge", CNI),
    KnownArtifact::program("dhcp", CNI),
    KnownArtifact::program("dummy", CNI),
    KnownArtifact::program("firewall", CNI),
    KnownArtifact::program("host-device", CNI),
    KnownArtifact::program("host-local", CNI),
    KnownArtifact::program("ipvlan", CNI),
    KnownArtifact::program("loopback", CNI),
    KnownArtifact::program("macvlan", CNI),
    KnownArtifact::program("portmap", CNI),
    KnownArtifact::program("ptp", CNI),
    KnownArtifact::program("sbr", CNI),
    KnownArtifact::program("static", CNI),
    KnownArtifact::program("tap", CNI),
    KnownArtifact::program("tuning", CNI),
    KnownArtifact::program("vlan", CNI),
    KnownArtifact::program("vrf", CNI),
];
