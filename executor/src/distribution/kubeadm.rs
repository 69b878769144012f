//! kubeadm: only where its files lie. Its clusters are tended, but not made, joined or upgraded yet.

/// The administrator's.
pub(super) const ADMIN_KUBECONFIG: &str = "/etc/kubernetes/admin.conf";

/// The kubelet's own.
pub(super) const KUBELET_KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";
