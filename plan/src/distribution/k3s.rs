//! K3s: what is different about it as a word.

use super::KnownArtifact;

pub(super) const NAME: &str = "k3s";

pub(super) const EXAMPLE_VERSION: &str = "v1.34.3+k3s1";

/// <https://docs.k3s.io/release-notes/>: every Kubernetes version gets builds `+k3s1`, `+k3s2` and so on.
pub(super) const BUILD_TAG: &str = "k3s";

/// Of a server and of an agent; both hold the kubelet and containerd in one process.
pub(super) const UNITS: &[&str] = &["k3s.service", "k3s-agent.service"];

/// One program for all; it carries its images.
pub(super) const ARTIFACTS: &[KnownArtifact] = &[KnownArtifact::program("k3s", "/usr/local/bin").of_kubernetes()];
