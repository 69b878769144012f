//! The fleet file: what the admin wants the fleet to be, kept in git.
//!
//! Three steps: fragments as they were written, one merged whole, and typed settings that are proof. The pages of the
//! handbook about it are in `docs/fleet-file.md`.

mod args;
mod artifact;
mod balancer;
mod check;
mod fragment;
mod keys;
mod kubeadm;
mod machine;
mod maintenance;
mod node;
mod problem;
mod reach;
mod registry;
mod snapshots;
mod version;

use std::{collections::BTreeMap, fmt, net::IpAddr};

pub use args::Args;
pub use artifact::{ArtifactKind, FleetArtifact, Source};
pub use balancer::Balancer;
pub use kubeadm::{Component, Dns, Etcd, Kubeadm, Kubelet, Patch, Proxy, Volume};
pub use machine::{
    ContainerRuntime, Journal, JournalStorage, Machine, MachineFile, Settings, StorageClient, Swap, UpdatedBy,
};
pub(crate) use machine::{args_over, put_over};
pub use maintenance::{Maintenance, WeeklyWindow};
pub use problem::{FleetError, Location, Problem};
pub use registry::Registry;
pub use snapshots::Snapshots;

use crate::{
    cluster::Taint,
    distribution::Distribution,
    document::Artifact,
    id::{Arch, NodeName},
    step::{ClusterRole, EmptyDirs, NewOwners, Reactions},
    version::Version,
};

/// A fleet as its file describes it; everything in it was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// 1 to 63 of a-z, 0-9 and '-'.
    pub name: String,
    pub distribution: Distribution,
    /// The version that new nodes get; an upgrade names its own.
    pub version: Version,
    pub api: ApiAddress,
    pub policy: FleetPolicy,
    /// At least one, and at least one server among them; in the file's order.
    pub nodes: Vec<FleetNode>,
    pub artifacts: Vec<FleetArtifact>,
    /// By name; every group that a node names is here.
    pub groups: BTreeMap<String, Group>,
    /// What every machine is made ready with; a group may say more, see [`Fleet::machine`].
    pub machine: Machine,
    /// How the cluster is made, where kubeadm makes it. Without it Hostler makes none and lets nobody in.
    pub kubeadm: Option<Kubeadm>,
    /// What becomes of snapshots of its etcd.
    pub snapshots: Snapshots,
    /// When nodes may be taken out of service for what can be planned; without it at any time.
    pub maintenance: Option<Maintenance>,
    /// The artifact that a new cluster is left to once it stands, such as what installs a GitOps operator: it is
    /// applied at the end of the bootstrap and never again.
    pub handover: Option<String>,
    /// What stands in front of its API servers, where Hostler brings it.
    pub balancer: Option<Balancer>,
    /// What machines ask registries with, sealed to each: none of it is in the file, which names where it lies. Who
    /// plans seals it.
    pub sealed: BTreeMap<NodeName, Artifact>,
}

impl Fleet {
    /// Reads a fleet from one or more files, later ones over earlier ones: single values replace, nodes and artifacts
    /// add up. `files` are names for messages and contents. Gives the fleet and what is allowed but unwise.
    ///
    /// Every problem is listed with its place, not only the first.
    pub fn from_toml(files: &[(&str, &str)]) -> Result<(Fleet, Vec<Problem>), FleetError> {
        check::fleet(fragment::read(files)?, check::Artifacts::Read)
    }

    /// The same of a fleet file and the lock beside it, which holds artifacts and nothing else.
    pub fn with_lock(file: (&str, &str), lock: (&str, &str)) -> Result<(Fleet, Vec<Problem>), FleetError> {
        check::fleet(fragment::read_with_lock(file, lock)?, check::Artifacts::Read)
    }

    /// The same while the lock is being filled: an artifact that something names may still be missing.
    pub fn with_unfinished_lock(file: (&str, &str), lock: (&str, &str)) -> Result<(Fleet, Vec<Problem>), FleetError> {
        check::fleet(fragment::read_with_lock(file, lock)?, check::Artifacts::Elsewhere)
    }

    /// The same of a fleet file alone, by who holds no lock and plans nothing: whether artifacts are there is not
    /// judged.
    pub fn without_lock(file: (&str, &str)) -> Result<(Fleet, Vec<Problem>), FleetError> {
        check::fleet(fragment::read(&[file])?, check::Artifacts::Elsewhere)
    }

    /// The artifact that the new cluster is left to, where the file names one and it is locked.
    pub fn handover(&self) -> Option<&FleetArtifact> {
        let name = self.handover.as_deref()?;
        self.artifacts.iter().find(|a| a.kind == ArtifactKind::Manifest && a.name.as_str() == name)
    }

    /// Manifests that the new cluster is to get and no artifact is.
    pub fn missing_manifests(&self) -> impl Iterator<Item = &str> {
        let named = self.kubeadm.iter().flat_map(|kubeadm| &kubeadm.manifests).chain(&self.handover);
        let is_there =
            |name: &str| self.artifacts.iter().any(|a| a.kind == ArtifactKind::Manifest && a.name.as_str() == name);
        named.map(String::as_str).filter(move |name| !is_there(name))
    }

    /// The node of that name.
    pub fn node(&self, name: &NodeName) -> Option<&FleetNode> {
        self.nodes.iter().find(|n| n.name == *name)
    }

    /// The servers, the first one first.
    pub fn servers(&self) -> Vec<&FleetNode> {
        let mut servers: Vec<&FleetNode> = self.nodes.iter().filter(|n| n.role == ClusterRole::Server).collect();
        servers.sort_by_key(|n| !n.first);
        servers
    }

    /// The machines in front of the API servers, in whose order they hold the address: those that the file names, else
    /// the servers. None where there is no `[balancer]`.
    pub fn balancers(&self) -> Vec<&FleetNode> {
        match &self.balancer {
            None => Vec::new(),
            Some(balancer) if balancer.nodes.is_empty() => self.servers(),
            Some(balancer) => balancer.nodes.iter().filter_map(|name| self.node(name)).collect(),
        }
    }

    /// Whether that machine is one of [`Fleet::balancers`].
    pub fn is_balancer(&self, node: &FleetNode) -> bool {
        self.balancers().iter().any(|machine| machine.name == node.name)
    }

    /// When that machine may be taken out of service for what can be planned: its group's windows, else the fleet's.
    pub fn maintenance(&self, node: &FleetNode) -> Option<&Maintenance> {
        let group = node.group.as_ref().and_then(|name| self.groups.get(name));
        group.and_then(|group| group.maintenance.as_ref()).or(self.maintenance.as_ref())
    }

    /// What that machine is made ready with: the fleet's, its group's over it.
    pub fn machine(&self, node: &FleetNode) -> Machine {
        let group = node.group.as_ref().and_then(|name| self.groups.get(name));
        group.map_or_else(|| self.machine.clone(), |group| self.machine.with(&group.machine))
    }
}

/// Where nodes reach the cluster's API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAddress {
    /// A host name or an IP address; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How careful rollouts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetPolicy {
    /// At least 1.
    pub max_unavailable: u32,
    pub canary: Canary,
    /// How long a node must be Ready before it counts as healthy and the next one starts.
    pub soak_seconds: u64,
    pub drain_timeout_seconds: u64,
    /// How long a node may take to become Ready, the soak not counted.
    pub ready_timeout_seconds: u64,
    pub lease_seconds: u64,
    /// How long a plan may be used after it was made.
    pub plan_lifetime_seconds: u64,
    /// Which emptyDir volumes a drain may throw away.
    pub delete_empty_dir_data: EmptyDirs,
    /// Whether a drain may evict pods that no controller brings back.
    pub force_unmanaged: bool,
    /// What a drain does when it does not go as it should.
    pub reactions: Reactions,
    /// Whether what a command's flags allow counts for owners that nobody saw when the plan was made.
    pub new_owners: NewOwners,
}

impl Default for FleetPolicy {
    fn default() -> Self {
        Self {
            max_unavailable: 1,
            canary: Canary::Count(1),
            // Longer than the 40 s after which Kubernetes calls a silent node not Ready.
            soak_seconds: 60,
            // Most workloads stop in 30 s and budgets wait for a replacement to start; 10 min is ten times that.
            drain_timeout_seconds: 600,
            // A first start on a Pi unpacks some 200 MB before it answers.
            ready_timeout_seconds: 600,
            // Renewed every third of it: survives two lost renewals and a switch that restarts.
            lease_seconds: 120,
            plan_lifetime_seconds: 86_400,
            // As kubectl: what is lost is lost by consent.
            delete_empty_dir_data: EmptyDirs::None,
            force_unmanaged: false,
            reactions: Reactions::default(),
            new_owners: NewOwners::Ask,
        }
    }
}

/// Who goes first, and alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Canary {
    /// That node.
    Node(NodeName),
    /// The first so many workers in the file's order; 0 for none.
    Count(u32),
}

/// A machine of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetNode {
    pub name: NodeName,
    pub role: ClusterRole,
    pub arch: Arch,
    /// Whether it is the server that the cluster begins with; true for exactly one node.
    pub first: bool,
    /// Where the other nodes reach it.
    pub address: Option<IpAddr>,
    /// Kubernetes labels that the node registers with.
    pub labels: BTreeMap<String, String>,
    /// What keeps pods off it from the beginning; none where the distribution's own habit counts.
    pub taints: Option<Vec<Taint>>,
    /// Arguments that its kubelet gets, over those of every machine.
    pub kubelet_args: Args,
    /// The group whose settings apply to it.
    pub group: Option<String>,
}

/// Settings for the nodes of a group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    /// Other thresholds for the verdicts over facts; read by `health`.
    pub health: Option<toml::Table>,
    /// Over what every machine is made ready with.
    pub machine: Machine,
    /// In place of the fleet's windows.
    pub maintenance: Option<Maintenance>,
}
