//! What is only true right now: connections, conditions, reports.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    document::PlanKind,
    health::Vitals,
    id::{BootId, Digest, NodeName, TaskId},
    version::Version,
};

/// What the coordinator sees now and need not remember: lost at a restart and learned again from the nodes.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeEvent {
    /// The node's stream is open, in that boot.
    NodeConnected { node: NodeName, boot_id: BootId },
    /// The node's stream ended.
    NodeDisconnected { node: NodeName },
    /// The node works on that grant and asks for its lease to go on.
    LeaseRenewed { plan: Digest, task: TaskId, grant: u64, boot_id: BootId },
    /// What a control-plane node reads about that node, repeated with every reading even when nothing changed. When
    /// no control-plane node can read, send [`Standing::Unknown`] for every node.
    NodeCondition { node: NodeName, condition: ClusterNode },
    /// What the node's newest report means, told with every report: a node whose reports end is silent.
    NodeHealth { node: NodeName, vitals: Vitals },
    /// The node refuses a plan that it has work in, and says why. It counts until the node works on the plan, or is
    /// gone.
    PlanRefused { node: NodeName, plan: Digest, reason: String },
    /// The plan is offered to the node again, which says so if it still refuses it.
    PlanOffered { node: NodeName, plan: Digest },
    /// What a running task is doing, in one sentence for people.
    Progress { plan: Digest, task: TaskId, sentence: String },
}

/// A node as its cluster presents it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    pub standing: Standing,
    /// Set while the node is unschedulable.
    pub cordon: Option<Cordon>,
    /// The Kubernetes version that runs, as the kubelet reports it.
    pub version: Option<Version>,
    /// The name of its Node object, where the machine joined under another one than the fleet's. Several where machines
    /// have one id: nobody knows which is its own.
    pub other_names: Vec<NodeName>,
}

impl ClusterNode {
    /// Nothing is known.
    pub const UNKNOWN: ClusterNode =
        ClusterNode { standing: Standing::Unknown, cordon: None, version: None, other_names: Vec::new() };
}

/// What the cluster says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Ready is True.
    Ready,
    /// Ready is False or Unknown.
    NotReady,
    /// The cluster has no node of that name, and none on that machine; it cannot become unavailable.
    Outside,
    /// Nobody could ask. Counts as unavailable.
    Unknown,
}

/// Who made a node unschedulable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cordon {
    pub owner: CordonOwner,
    /// Why, where the owner wrote it down.
    pub reason: Option<String>,
}

/// Whose a cordon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CordonOwner {
    /// Hostler's own annotation and field manager are on it.
    Hostler,
    /// The node itself, because a required rule of its health is critical.
    Node,
    /// Another field manager such as `kubectl-cordon`; Hostler never undoes it.
    Other(String),
}

impl CordonOwner {
    /// The field manager of a plan's cordon.
    pub const HOSTLER: &str = "hostler";

    /// The field manager of a cordon that a node gave itself.
    pub const NODE: &str = "hostler-health";

    /// The name under which the owner stands in tables and metrics, and as a field manager in the cluster.
    pub fn name(&self) -> &str {
        match self {
            CordonOwner::Hostler => Self::HOSTLER,
            CordonOwner::Node => Self::NODE,
            CordonOwner::Other(name) => name,
        }
    }

    /// The name of an owner whose cordon a plan never undoes.
    pub fn foreign(&self) -> Option<&str> {
        match self {
            CordonOwner::Hostler => None,
            CordonOwner::Node | CordonOwner::Other(_) => Some(self.name()),
        }
    }
}

impl fmt::Display for CordonOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CordonOwner::Hostler => f.write_str("Hostler"),
            CordonOwner::Node | CordonOwner::Other(_) => f.write_str(self.name()),
        }
    }
}

/// A node that a task of Hostler made unschedulable and that no later task made schedulable again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub plan: Digest,
    pub seq: crate::id::Seq,
    /// One that [keeps nodes out](PlanKind::keeps_out) when a person wants that; else what a stopped rollout left.
    pub kind: PlanKind,
    /// The task that made it unschedulable succeeded; else it may be half drained, or not at all.
    pub complete: bool,
}
