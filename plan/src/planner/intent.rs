//! What a person wants done, and the fleet as it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    document::{Artifact, PlanKind, PlanRef, Recipient},
    form::{ApiName, Reason},
    health::Verdict,
    id::{Digest, Epoch, NodeName, Seq},
    sequencer::{ClusterNode, Hold, Quarantine, Sequencer},
    step::restore::SnapshotOf,
    timestamp::Timestamp,
    update::Pending,
    version::Version,
};

/// What an admin or operator wants done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// Prove that plans arrive, verify and are receipted.
    Check { nodes: Selection },
    /// Make the first server of a cluster.
    Bootstrap {},
    /// Make the cluster anew on bare machines: the first server, from a snapshot where there is one.
    Rebuild { snapshot: Option<OpenedSnapshot> },
    /// Bring nodes into the cluster.
    Join { nodes: Selection },
    /// Bring nodes to a version.
    Upgrade { to: Version, nodes: Selection, quarantined: Quarantined, accepted: Accepted },
    /// Make machines ready as the fleet file says.
    Baseline { nodes: Selection },
    /// Say in what machines differ from that, and touch nothing.
    Inspect { nodes: Selection },
    /// Read how the cluster is made, by that server, for the holder of that key.
    Read { server: NodeName, to: Recipient },
    /// Read what waits to be updated on machines; `security_only` where nothing else is asked for.
    ReadUpdates { nodes: Selection, security_only: bool },
    /// Install what these lists name, and reboot where that is needed.
    Update { nodes: Selection, pending: Vec<Pending>, accept_outage: Vec<NodeName> },
    /// Take a snapshot of etcd on one server.
    Snapshot { nodes: Selection },
    /// Bring etcd back from a snapshot on every server.
    Restore { snapshot: OpenedSnapshot },
    /// Take nodes out of service. `max_unavailable` replaces the policy's, counting what is unavailable already.
    Drain { nodes: Vec<NodeName>, max_unavailable: Option<u32>, continues: Continues },
    /// Give up nodes whose machines are off, and how that was proved.
    Dead { nodes: Vec<NodeName>, power_off_proof: Reason },
    /// Take nodes out of the cluster for good; of those whose machines are off, how that was proved.
    Remove { nodes: Vec<NodeName>, power_off_proof: Option<Reason> },
    /// Remove a dead node from the cluster and let the machine in that enrolled under its name since.
    Replace { node: NodeName, power_off_proof: Option<Reason> },
    /// Renew what servers prove themselves by, where it ends within so many days.
    RenewCertificates { nodes: Selection, within_days: u64, accept_outage: Vec<NodeName> },
    /// Bring settings of the fleet file to the running cluster; `drains` where each node is drained for its kubelet's.
    Configure { nodes: Selection, drains: bool, accept_outage: Vec<NodeName> },
    /// Put nodes back into service.
    Uncordon { nodes: Vec<NodeName> },
    /// Make cordons Hostler's that others put on nodes.
    AdoptCordon { nodes: Vec<NodeName>, reason: Reason },
    /// Give Hostler's cordons of nodes to those who sign the plan.
    ReleaseCordon { nodes: Vec<NodeName>, reason: Reason },
    /// Reboot nodes, each drained before and put back after.
    Reboot { nodes: Selection, accept_outage: Vec<NodeName> },
}

/// A snapshot that was opened and proved by who asks for the plan, and is sealed to the servers now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedSnapshot {
    pub is: SnapshotOf,
    pub taken: Timestamp,
    /// The file that is sealed to the servers.
    pub artifact: Artifact,
}

/// What of an upgrade a person accepts by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Servers without which the cluster stands still for a while.
    pub outage: Vec<NodeName>,
    /// What the version has no more and is still asked for.
    pub removed_apis: BTreeSet<ApiName>,
}

/// Whether a drain goes on with an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Continues {
    /// With one of these nodes that is open, where there is one.
    #[default]
    IfOpen,
    /// With the one that is open.
    Open,
    /// With this one, by its number, its digest, or the beginning of that.
    Named(String),
}

impl Intent {
    /// A drain of these nodes as the policy has it, which goes on with one that is open.
    pub fn drain(nodes: Vec<NodeName>) -> Self {
        Intent::Drain { nodes, max_unavailable: None, continues: Continues::IfOpen }
    }

    /// The nodes that it names; empty for all.
    pub fn named(&self) -> &[NodeName] {
        match self {
            Intent::Check { nodes: Selection::Named(names) }
            | Intent::Join { nodes: Selection::Named(names) }
            | Intent::Baseline { nodes: Selection::Named(names) }
            | Intent::Inspect { nodes: Selection::Named(names) }
            | Intent::Snapshot { nodes: Selection::Named(names) }
            | Intent::ReadUpdates { nodes: Selection::Named(names), .. }
            | Intent::Update { nodes: Selection::Named(names), .. }
            | Intent::Upgrade { nodes: Selection::Named(names), .. }
            | Intent::RenewCertificates { nodes: Selection::Named(names), .. }
            | Intent::Configure { nodes: Selection::Named(names), .. }
            | Intent::Reboot { nodes: Selection::Named(names), .. } => names,
            Intent::Drain { nodes, .. }
            | Intent::Dead { nodes, .. }
            | Intent::Remove { nodes, .. }
            | Intent::Uncordon { nodes }
            | Intent::AdoptCordon { nodes, .. }
            | Intent::ReleaseCordon { nodes, .. } => nodes,
            Intent::Replace { node, .. } | Intent::Read { server: node, .. } => std::slice::from_ref(node),
            Intent::Bootstrap {}
            | Intent::Rebuild { .. }
            | Intent::Restore { .. }
            | Intent::Check { nodes: Selection::All }
            | Intent::Join { nodes: Selection::All }
            | Intent::Baseline { nodes: Selection::All }
            | Intent::Inspect { nodes: Selection::All }
            | Intent::Snapshot { nodes: Selection::All }
            | Intent::ReadUpdates { nodes: Selection::All, .. }
            | Intent::Update { nodes: Selection::All, .. }
            | Intent::Upgrade { nodes: Selection::All, .. }
            | Intent::RenewCertificates { nodes: Selection::All, .. }
            | Intent::Configure { nodes: Selection::All, .. }
            | Intent::Reboot { nodes: Selection::All, .. } => &[],
        }
    }

    /// Whether it takes nodes out of service.
    pub fn disrupts(&self) -> bool {
        match self {
            Intent::Upgrade { .. }
            | Intent::Drain { .. }
            | Intent::Reboot { .. }
            | Intent::Remove { .. }
            | Intent::Update { .. } => true,
            Intent::Configure { drains, .. } => *drains,
            Intent::Check { .. }
            | Intent::Bootstrap {}
            | Intent::Rebuild { .. }
            | Intent::Join { .. }
            | Intent::Baseline { .. }
            | Intent::Inspect { .. }
            | Intent::Read { .. }
            | Intent::ReadUpdates { .. }
            | Intent::Snapshot { .. }
            | Intent::Restore { .. }
            | Intent::Dead { .. }
            | Intent::Replace { .. }
            | Intent::RenewCertificates { .. }
            | Intent::AdoptCordon { .. }
            | Intent::ReleaseCordon { .. }
            | Intent::Uncordon { .. } => false,
        }
    }

    /// Whether machines are made ready on the way, or it is asked whether they are.
    pub fn readies_machines(&self) -> bool {
        match self {
            Intent::Bootstrap {}
            | Intent::Rebuild { .. }
            | Intent::Join { .. }
            | Intent::Upgrade { .. }
            | Intent::Baseline { .. }
            | Intent::Inspect { .. }
            | Intent::Replace { .. } => true,
            Intent::Check { .. }
            | Intent::Read { .. }
            | Intent::ReadUpdates { .. }
            | Intent::Update { .. }
            | Intent::Snapshot { .. }
            | Intent::Restore { .. }
            | Intent::Drain { .. }
            | Intent::Dead { .. }
            | Intent::Remove { .. }
            | Intent::RenewCertificates { .. }
            | Intent::Configure { .. }
            | Intent::Reboot { .. }
            | Intent::AdoptCordon { .. }
            | Intent::ReleaseCordon { .. }
            | Intent::Uncordon { .. } => false,
        }
    }

    /// The kind of plan that it becomes.
    pub fn kind(&self) -> PlanKind {
        match self {
            Intent::Check { .. } => PlanKind::Check,
            Intent::Bootstrap {} | Intent::Rebuild { .. } => PlanKind::Bootstrap,
            Intent::Join { .. } => PlanKind::Join,
            Intent::Upgrade { .. } => PlanKind::Upgrade,
            Intent::Baseline { .. } => PlanKind::Baseline,
            Intent::Inspect { .. } | Intent::Read { .. } | Intent::ReadUpdates { .. } => PlanKind::Inspect,
            Intent::Update { .. } => PlanKind::Update,
            Intent::Snapshot { .. } => PlanKind::Snapshot,
            Intent::Restore { .. } => PlanKind::Restore,
            Intent::Drain { .. } | Intent::AdoptCordon { .. } => PlanKind::Drain,
            Intent::Dead { .. } => PlanKind::Dead,
            Intent::Remove { .. } => PlanKind::Remove,
            Intent::Replace { .. } => PlanKind::Replace,
            Intent::RenewCertificates { .. } | Intent::Configure { .. } => PlanKind::Configure,
            Intent::Uncordon { .. } | Intent::ReleaseCordon { .. } => PlanKind::Uncordon,
            Intent::Reboot { .. } => PlanKind::Reboot,
        }
    }
}

/// Which nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All that it makes sense for; the preview says which were left out and why.
    All,
    /// Exactly these; what stands in the way of one is an error.
    Named(Vec<NodeName>),
}

/// What to do about nodes that failed on the version before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quarantined {
    /// Make no plan.
    Refuse,
    /// Leave them on their version, and put them back into service where a stopped rollout left them out of it.
    Skip,
}

/// The fleet as it is, seen by the coordinator.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inventory {
    pub nodes: BTreeMap<NodeName, InventoryNode>,
    pub quarantines: Vec<Quarantine>,
    /// Every rollout that is not over.
    pub running: Vec<RunningPlan>,
}

impl Inventory {
    /// What the sequencer knows at `now`.
    pub fn of(sequencer: &Sequencer, now: Timestamp) -> Self {
        let holds = sequencer.holds();
        let node = |(node, (connected, condition))| {
            let hold = holds.get(&node).cloned();
            let (verdicts, away) = (sequencer.verdicts(&node, now), sequencer.away(&node));
            (node, InventoryNode { connected, condition, enrolment: Vec::new(), hold, verdicts, away })
        };
        let running = sequencer.rollouts().into_iter().filter(|r| !r.state.is_over()).map(|r| RunningPlan {
            plan: PlanRef { seq: r.seq, digest: r.plan },
            kind: r.kind,
            title: r.title,
        });
        Self {
            nodes: sequencer.nodes().into_iter().map(node).collect(),
            quarantines: sequencer.quarantines(),
            running: running.collect(),
        }
    }
}

/// A node as it is, seen by the coordinator.
#[derive(Debug, Clone, PartialEq)]
pub struct InventoryNode {
    pub connected: bool,
    pub condition: ClusterNode,
    /// The bytes of its enrolment, where the cluster knows it under another name.
    pub enrolment: Vec<u8>,
    /// Set while Hostler keeps it out of service.
    pub hold: Option<Hold>,
    /// Every verdict that is not ok, the worst first.
    pub verdicts: Vec<Verdict>,
    /// How long it was away at most when plans of these kinds were at work on it lately, in seconds.
    pub away: BTreeMap<PlanKind, u64>,
}

impl InventoryNode {
    /// What is known of a node that nobody ever saw.
    pub const UNSEEN: Self = Self {
        connected: false,
        condition: ClusterNode::UNKNOWN,
        enrolment: Vec::new(),
        hold: None,
        verdicts: Vec::new(),
        away: BTreeMap::new(),
    };
}

/// A rollout that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPlan {
    pub plan: PlanRef,
    pub kind: PlanKind,
    pub title: String,
}

/// What ties a plan to its place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbering {
    pub epoch: Epoch,
    /// Higher than every plan before.
    pub seq: Seq,
    /// The digest of the plan with the highest number before it.
    pub prev: Option<Digest>,
    /// Ends of a fork that the plan closes.
    pub also: Vec<Digest>,
    pub root_version: u64,
    /// The digest of the roster that is handed in.
    pub roster: Digest,
    pub created: Timestamp,
    /// From `created` to the plan's expiry; at most what the root's policy allows.
    pub lifetime_seconds: u64,
    pub begins: Begins,
}

/// What a plan of a kind that waits for maintenance windows does about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// Waits for them, where the fleet file has some; it lives as long as that needs, at most so many seconds.
    InWindows { most_seconds: u64 },
    /// Nothing: a person wants it now.
    AtOnce,
}
