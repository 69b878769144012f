//! With which steps a distribution makes, grows and upgrades a cluster. Cordon, drain, uncordon, reboot and Ready are
//! the same for all and not here.

mod k3s;

use crate::{
    distribution::Distribution,
    fleet::{Fleet, FleetNode},
    id::{ArtifactName, NodeName, TaskId},
    step::Step,
    version::Version,
};

/// A distribution whose clusters Hostler makes, grows and upgrades itself. The others have to be told that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    K3s,
}

/// What a node becomes a member with.
#[derive(Debug, Clone)]
pub(super) struct Member<'a> {
    pub fleet: &'a Fleet,
    pub node: &'a FleetNode,
    /// What it runs, staged before; see [`Lifecycle::artifact`].
    pub artifact: ArtifactName,
    pub version: Version,
}

impl Lifecycle {
    /// The lifecycle of that distribution, if it is built.
    pub(super) fn of(distribution: Distribution) -> Option<Self> {
        match distribution {
            Distribution::K3s => Some(Lifecycle::K3s),
            Distribution::Kubeadm => None,
        }
    }

    /// The artifact of the fleet file that a member runs.
    pub(super) fn artifact(self) -> &'static str {
        match self {
            Lifecycle::K3s => k3s::ARTIFACT,
        }
    }

    /// Steps of the node that the cluster begins with.
    pub(super) fn bootstrap(self, member: Member<'_>) -> Vec<Step> {
        match self {
            Lifecycle::K3s => k3s::bootstrap(member),
        }
    }

    /// Steps of a server that lets a node in; the receipt holds what the node needs.
    pub(super) fn admit(self) -> Vec<Step> {
        match self {
            Lifecycle::K3s => k3s::admit(),
        }
    }

    /// What a joining server is given that does not end with the join, in a sentence; none where nothing is.
    pub(super) fn server_secret(self, server: &NodeName) -> Option<String> {
        match self {
            Lifecycle::K3s => Some(k3s::server_secret(server)),
        }
    }

    /// Steps of a node that the task `admitted_by` let in.
    pub(super) fn join(self, member: Member<'_>, admitted_by: TaskId) -> Vec<Step> {
        match self {
            Lifecycle::K3s => k3s::join(member, admitted_by),
        }
    }

    /// The step of a drained member that brings it to another version.
    pub(super) fn upgrade(self, artifact: ArtifactName, version: Version) -> Step {
        match self {
            Lifecycle::K3s => k3s::upgrade(artifact, version),
        }
    }
}
