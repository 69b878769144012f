//! With which steps a distribution makes, grows and upgrades a cluster. Cordon, drain, uncordon, reboot and Ready are
//! the same for all and not here.

mod k3s;
mod kubeadm;
mod machine;
mod services;

use std::collections::BTreeSet;

use crate::{
    distribution::Distribution,
    fleet::{ArtifactKind, Fleet, FleetArtifact, FleetNode},
    form::ApiName,
    id::{NodeName, TaskId},
    step::{EnsureProgram, HoldPackage, InstallPackage, NoRemovedApis, Step},
    version::Version,
};

use super::{Obstacle, seeding::Seeding};

/// How the clusters of a distribution are made, grown and upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    K3s,
    Kubeadm,
}

/// What a node becomes a member with, or is brought to another version with.
#[derive(Debug, Clone)]
pub(super) struct Member<'a> {
    pub fleet: &'a Fleet,
    pub node: &'a FleetNode,
    pub version: Version,
    /// What it needs for that, staged before; see [`Lifecycle::artifacts`].
    pub artifacts: Vec<&'a FleetArtifact>,
    /// Whether it belongs to the cluster already, so that what the cluster made lies on it.
    pub inside: bool,
}

/// What is made of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    /// The server that the cluster begins with.
    First,
    /// A member of a cluster that is there.
    Member,
    /// A member of another version.
    Newer,
}

impl Lifecycle {
    /// The lifecycle of that distribution.
    pub(super) fn of(distribution: Distribution) -> Self {
        match distribution {
            Distribution::K3s => Lifecycle::K3s,
            Distribution::Kubeadm => Lifecycle::Kubeadm,
        }
    }

    /// What of the fleet file keeps a node from becoming what it is to be. Asked before its steps are made.
    pub(super) fn hinders(self, member: &Member<'_>, becomes: Becomes) -> Vec<Obstacle> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::hinders(member, becomes),
        }
    }

    /// The artifacts of the fleet file that a member needs, or what is missing.
    pub(super) fn artifacts<'a>(
        self,
        fleet: &'a Fleet,
        node: &FleetNode,
        version: Version,
    ) -> Result<Vec<&'a FleetArtifact>, Vec<Obstacle>> {
        match self {
            Lifecycle::K3s => k3s::artifacts(fleet, node, version),
            Lifecycle::Kubeadm => kubeadm::artifacts(fleet, node, version),
        }
    }

    /// Those that a machine is made ready with, whatever the version of the cluster.
    pub(super) fn baseline_artifacts<'a>(self, fleet: &'a Fleet, node: &FleetNode) -> Vec<&'a FleetArtifact> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::baseline_artifacts(fleet, node),
        }
    }

    /// Steps that make the machine ready, before it becomes a member and at any time after; none where nothing is
    /// asked. Whatever is so already is left alone.
    pub(super) fn prepare(self, member: &Member<'_>) -> Vec<Step> {
        match self {
            Lifecycle::K3s => {
                let machine = member.fleet.machine(member.node);
                machine::prepare(&machine, Vec::new()).into_iter().chain(machine::clients(&machine)).collect()
            }
            Lifecycle::Kubeadm => kubeadm::prepare(member),
        }
    }

    /// The same for one that is about to become a member: no pod runs on it, so that it may be rebooted.
    pub(super) fn prepare_new(self, member: &Member<'_>) -> Vec<Step> {
        let boot = machine::boot(&member.fleet.machine(member.node));
        self.prepare(member).into_iter().chain(boot).collect()
    }

    /// Steps of a machine in front of the API servers, by which it leads to all of them.
    pub(super) fn balance(self, member: &Member<'_>) -> Vec<Step> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::balance(member),
        }
    }

    /// Steps of a server before another minor version comes, for what that has no more. K3s' API servers were never
    /// asked.
    pub(super) fn asks_before(self, version: Version, accepted: &BTreeSet<ApiName>) -> Vec<Step> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => {
                let accepted = accepted.iter().cloned().collect();
                vec![Step::NoRemovedApis(NoRemovedApis { version, accepted })]
            }
        }
    }

    /// Steps of a member that is staged for another version, which the upgrade of any other node may need: kubeadm
    /// tries out the new version's images in a pod on whichever node the scheduler takes.
    pub(super) fn ahead(self, member: &Member<'_>) -> Vec<Step> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::images(member),
        }
    }

    /// Steps of the node that the cluster begins with.
    pub(super) fn bootstrap(self, member: &Member<'_>, seed: Option<&Seeding>) -> Vec<Step> {
        match self {
            // What takes no snapshots has none to begin with.
            Lifecycle::K3s => k3s::bootstrap(member),
            Lifecycle::Kubeadm => kubeadm::bootstrap(member, seed),
        }
    }

    /// What is applied to the new cluster, before its first node can be Ready.
    pub(super) fn manifests(self, fleet: &Fleet) -> Vec<&FleetArtifact> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::manifests(fleet),
        }
    }

    /// Steps of a server that lets a node in; the receipt holds what the node needs.
    pub(super) fn admit(self, node: &FleetNode) -> Vec<Step> {
        match self {
            Lifecycle::K3s => k3s::admit(),
            Lifecycle::Kubeadm => kubeadm::admit(node),
        }
    }

    /// What a person has to see to before the cluster is made.
    pub(super) fn before_bootstrap(self, member: &Member<'_>) -> Option<String> {
        match self {
            Lifecycle::K3s => None,
            Lifecycle::Kubeadm => kubeadm::before_bootstrap(member),
        }
    }

    /// What becomes of the cluster's database when servers are upgraded, in a sentence.
    pub(super) fn database_backup(self) -> &'static str {
        match self {
            Lifecycle::K3s => k3s::DATABASE_BACKUP,
            Lifecycle::Kubeadm => kubeadm::DATABASE_BACKUP,
        }
    }

    /// Whether its servers have an etcd of their own that snapshots are taken of.
    pub(super) fn has_snapshots(self) -> bool {
        match self {
            Lifecycle::K3s => false,
            Lifecycle::Kubeadm => true,
        }
    }

    /// What a joining server is given that does not end with the join, in a sentence.
    pub(super) fn server_secret(self, server: &NodeName) -> String {
        match self {
            Lifecycle::K3s => k3s::server_secret(server),
            Lifecycle::Kubeadm => kubeadm::server_secret(server),
        }
    }

    /// Steps of a node that the task `admitted_by` let in.
    pub(super) fn join(self, member: &Member<'_>, admitted_by: TaskId) -> Vec<Step> {
        match self {
            Lifecycle::K3s => k3s::join(member, admitted_by),
            Lifecycle::Kubeadm => kubeadm::join(member, admitted_by),
        }
    }

    /// Steps of a server about a node that joined: what let it in lets nobody in any more.
    pub(super) fn settle(self) -> Vec<Step> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::settle(),
        }
    }

    /// Why a node cannot be removed or replaced by a plan, where it cannot.
    pub(super) fn keeps_members(self) -> Option<Obstacle> {
        match self {
            Lifecycle::K3s => Some(k3s::keeps_members()),
            Lifecycle::Kubeadm => None,
        }
    }

    /// Steps of another server: the node is let in no more, and is no member of what the servers have in common.
    /// `silent` where its machine is said to be off.
    pub(super) fn expel(self, node: &FleetNode, silent: bool) -> Vec<Step> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::expel(node, silent),
        }
    }

    /// Steps of the node that the task `expelled_by` removed: nothing of the cluster is left on it.
    pub(super) fn reset(self, fleet: &Fleet, node: &FleetNode, expelled_by: TaskId) -> Vec<Step> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::reset(fleet, node, expelled_by),
        }
    }

    /// Steps of a server that renew what it proves itself by, where that ends within so many days; or why not.
    pub(super) fn renew(self, within_days: u64) -> Result<Vec<Step>, Obstacle> {
        match self {
            Lifecycle::K3s => Err(k3s::renews_itself()),
            Lifecycle::Kubeadm => Ok(kubeadm::renew(within_days)),
        }
    }

    /// Why settings of a running cluster cannot be changed by a plan, where they cannot.
    pub(super) fn keeps_settings(self) -> Option<Obstacle> {
        match self {
            Lifecycle::K3s => Some(k3s::keeps_settings()),
            Lifecycle::Kubeadm => None,
        }
    }

    /// Steps of a node that prove that it reaches the cluster where the fleet file says, and its machine's own files.
    pub(super) fn reach(self, member: &Member<'_>) -> Vec<Step> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::reach(member),
        }
    }

    /// Steps of a server by which it is known under every name that the fleet file gives the cluster.
    pub(super) fn certify(self, member: &Member<'_>) -> Vec<Step> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::certify(member),
        }
    }

    /// Steps of a member by which it runs as the fleet file says; `drained` where the plan drains it before.
    pub(super) fn configure(self, member: &Member<'_>, drained: bool) -> Vec<Step> {
        match self {
            Lifecycle::K3s => Vec::new(),
            Lifecycle::Kubeadm => kubeadm::configure(member, drained),
        }
    }

    /// Steps of a drained member that bring it to another version.
    pub(super) fn upgrade(self, member: &Member<'_>) -> Vec<Step> {
        match self {
            Lifecycle::K3s => k3s::upgrade(member),
            Lifecycle::Kubeadm => kubeadm::upgrade(member),
        }
    }
}

/// Steps that put an artifact where its kind says; none for what is no part of the system.
fn install(artifact: &FleetArtifact) -> Vec<Step> {
    let name = artifact.plan_name();
    match &artifact.kind {
        ArtifactKind::Program { to } => vec![Step::EnsureProgram(EnsureProgram { artifact: name, path: to.clone() })],
        ArtifactKind::Package { package, version } => {
            let (package, version) = (package.clone(), version.clone());
            let install = InstallPackage { artifact: name, package: package.clone(), version };
            vec![Step::InstallPackage(install), Step::HoldPackage(HoldPackage { package })]
        }
        ArtifactKind::Image | ArtifactKind::Manifest | ArtifactKind::File => Vec::new(),
    }
}
