//! kubeadm: what is different about it as a word.

pub(super) const NAME: &str = "kubeadm";

pub(super) const EXAMPLE_VERSION: &str = "v1.36.3";

/// Of the kubelet and of the container runtimes that it may use.
pub(super) const UNITS: &[&str] = &["kubelet.service", "containerd.service", "crio.service"];
