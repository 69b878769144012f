//! What makes a cluster out of machines: the closed list, and what is different about each as a word, a version or a
//! unit. Which steps each takes to make and to change a cluster is in `planner::distribution`.

mod k3s;
mod kubeadm;

use std::fmt;

/// The forms that a version may have, for people.
pub(crate) const VERSION_FORMS: &str =
    "the form v1.36.3 (kubeadm) or v1.34.3+k3s1 (K3s), before a release v1.37.0-rc.1 or v1.35.0-rc.1+k3s1";

/// What to do about a certificate of the cluster that is about to expire, whichever made it.
pub(crate) const RENEW_CERTIFICATES: &str =
    "renew it: hostler certificates renew (kubeadm), or restart k3s within 90 days of expiry";

/// What makes the cluster out of the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Distribution {
    /// One binary for all of Kubernetes; numbers its own builds of every version.
    K3s,
    /// Kubernetes' own releases, put together by its own tool.
    Kubeadm,
}

impl Distribution {
    /// Every distribution, in the order in which people are told of them.
    pub const ALL: [Distribution; 2] = [Distribution::K3s, Distribution::Kubeadm];

    /// Its name, as in the fleet file.
    pub fn name(self) -> &'static str {
        match self {
            Distribution::K3s => k3s::NAME,
            Distribution::Kubeadm => kubeadm::NAME,
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }

    /// A version as its releases write it.
    pub fn example_version(self) -> &'static str {
        match self {
            Distribution::K3s => k3s::EXAMPLE_VERSION,
            Distribution::Kubeadm => kubeadm::EXAMPLE_VERSION,
        }
    }

    /// What stands between the `+` and the revision in each of its versions; none for Kubernetes' own versions.
    pub fn build_tag(self) -> Option<&'static str> {
        match self {
            Distribution::K3s => Some(k3s::BUILD_TAG),
            Distribution::Kubeadm => None,
        }
    }

    /// What it knows of artifacts of that name; of others the fleet file has to say it.
    pub fn artifact(self, name: &str) -> Option<KnownArtifact> {
        let known = match self {
            Distribution::K3s => k3s::ARTIFACTS,
            Distribution::Kubeadm => kubeadm::ARTIFACTS,
        };
        known.iter().find(|a| a.name == name).copied()
    }

    /// The systemd units without which a node of it is no Kubernetes node.
    pub fn units(self) -> &'static [&'static str] {
        match self {
            Distribution::K3s => k3s::UNITS,
            Distribution::Kubeadm => kubeadm::UNITS,
        }
    }
}

/// Packages of container runtimes, as Debian, Ubuntu, Docker and the runtimes themselves name them.
const RUNTIMES: [&str; 9] =
    ["containerd", "containerd.io", "runc", "crun", "docker.io", "docker-ce", "moby-engine", "cri-o", "conmon"];

/// Whether that package is what a node's pods run in: its installation may stop or restart them.
pub fn runs_pods(package: &str) -> bool {
    RUNTIMES.contains(&package)
}

/// Whether that package is Kubernetes itself, which has upgrades of its own.
pub fn has_own_upgrade(package: &str) -> bool {
    kubeadm::PACKAGES.contains(&package)
}

/// What is known of an artifact by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownArtifact {
    pub name: &'static str,
    pub place: Place,
    /// Whether its version is Kubernetes' own.
    pub of_kubernetes: bool,
}

/// Where an artifact usually goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// That folder.
    Program(&'static str),
    /// The container runtime.
    Image,
}

impl KnownArtifact {
    const fn program(name: &'static str, folder: &'static str) -> Self {
        Self { name, place: Place::Program(folder), of_kubernetes: false }
    }

    const fn image(name: &'static str) -> Self {
        Self { name, place: Place::Image, of_kubernetes: false }
    }

    const fn of_kubernetes(self) -> Self {
        Self { of_kubernetes: true, ..self }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What `of` says of every distribution, for people.
pub(crate) fn any(of: impl Fn(Distribution) -> String) -> String {
    Distribution::ALL.map(of).join(" or ")
}
