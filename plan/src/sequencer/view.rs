//! What people and the coordinator's interfaces see of the sequencer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{RolloutStatus, TaskStatus};
use crate::{
    document::{Outcome, PlanKind},
    health::Baseline,
    id::{BootId, Digest, Epoch, NodeName, Seq, TaskId},
    timestamp::Timestamp,
    version::Version,
};

/// A plan on its way through the fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutView {
    pub plan: Digest,
    pub epoch: Epoch,
    pub seq: Seq,
    pub kind: PlanKind,
    pub title: String,
    pub received: Timestamp,
    pub state: RolloutState,
    /// In the plan's order.
    pub tasks: Vec<TaskView>,
    /// How every node was before it was disrupted first.
    pub baselines: BTreeMap<NodeName, Baseline>,
    /// Of those, the ones that were found no worse after it.
    pub recovered: BTreeSet<NodeName>,
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutState {
    /// Tasks are granted as their time comes; see the waits for why nothing happens.
    Running,
    /// A person stopped new grants until resumed.
    Paused { by: String, reason: String },
    /// A responder's drain goes first; begun nodes are finished, no other is begun.
    Preempted { by: Seq },
    /// A lease ran out; a person must look at the node and release the lease.
    NeedsAttention { task: TaskId, node: NodeName },
    /// A drain ended otherwise, with the cordon kept, and a person is to decide by a signed plan.
    Asks { task: TaskId, subject: NodeName },
    /// Every task succeeded.
    Finished,
    /// Nothing is granted ever again.
    Halted { by: String, reason: String },
    /// A later plan or epoch took its place.
    Superseded { by: Option<Seq> },
}

impl RolloutState {
    /// Whether nothing of this rollout will be granted any more.
    pub fn is_over(&self) -> bool {
        match self {
            RolloutState::Finished | RolloutState::Halted { .. } | RolloutState::Superseded { .. } => true,
            RolloutState::Running
            | RolloutState::Paused { .. }
            | RolloutState::Preempted { .. }
            | RolloutState::NeedsAttention { .. }
            | RolloutState::Asks { .. } => false,
        }
    }

    /// The state without who and why.
    pub fn status(&self) -> RolloutStatus {
        match self {
            RolloutState::Running => RolloutStatus::Running,
            RolloutState::Paused { .. } => RolloutStatus::Paused,
            RolloutState::Preempted { .. } => RolloutStatus::Preempted,
            RolloutState::NeedsAttention { .. } | RolloutState::Asks { .. } => RolloutStatus::NeedsAttention,
            RolloutState::Finished => RolloutStatus::Finished,
            RolloutState::Halted { .. } => RolloutStatus::Halted,
            RolloutState::Superseded { .. } => RolloutStatus::Superseded,
        }
    }

    /// One word, for tables and metrics.
    pub fn word(&self) -> &'static str {
        self.status().word()
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RolloutState::Running => f.write_str("running"),
            RolloutState::Paused { by, reason } => write!(f, "paused by {by}: {reason}"),
            RolloutState::Preempted { by } => write!(f, "waits for the drain of plan {by}"),
            RolloutState::NeedsAttention { task, node } => {
                write!(f, "needs attention: the lease of {task} on {node} ran out")
            }
            RolloutState::Asks { task, subject } => {
                write!(f, "asks: {task} did not end well, and a person decides about {subject}")
            }
            RolloutState::Finished => f.write_str("finished"),
            RolloutState::Halted { by, reason } => write!(f, "halted by {by}: {reason}"),
            RolloutState::Superseded { by: Some(seq) } => write!(f, "superseded by plan {seq}"),
            RolloutState::Superseded { by: None } => f.write_str("void: a new epoch began"),
        }
    }
}

/// One task of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    pub task: TaskId,
    /// Who performs it.
    pub node: NodeName,
    /// Which node it is about.
    pub subject: NodeName,
    pub state: TaskState,
    /// What it was doing last, in one sentence.
    pub progress: Option<String>,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Not granted, or its lease was released.
    Waiting,
    /// Its node may act.
    Granted { grant: Grant },
    /// Its node did not renew the lease in time.
    Expired { grant: Grant },
    /// Its node signed a receipt.
    Ended { grant: u64, at: Timestamp, outcome: Outcome },
}

impl TaskState {
    /// The state without who, when and why.
    pub fn status(&self) -> TaskStatus {
        match self {
            TaskState::Waiting => TaskStatus::Waiting,
            TaskState::Granted { .. } => TaskStatus::Granted,
            TaskState::Expired { .. } => TaskStatus::LeaseExpired,
            TaskState::Ended { outcome, .. } => match outcome {
                Outcome::Succeeded {} => TaskStatus::Succeeded,
                Outcome::Failed { .. } => TaskStatus::Failed,
                Outcome::Blocked { .. } => TaskStatus::Blocked,
                Outcome::TimedOut { .. } => TaskStatus::TimedOut,
                Outcome::Unreachable { .. } => TaskStatus::Unreachable,
                Outcome::TakenOver { .. } => TaskStatus::TakenOver,
                Outcome::Refused { .. } => TaskStatus::Refused,
            },
        }
    }

    /// One word, for tables and metrics.
    pub fn word(&self) -> &'static str {
        self.status().word()
    }
}

/// A node's right to perform one task, for as long as it renews the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Higher than every earlier grant of the ledger: the fencing number.
    pub number: u64,
    pub node: NodeName,
    /// The boot in which it was given.
    pub boot_id: BootId,
    pub since: Timestamp,
    /// When the lease was given or renewed last.
    pub renewed: Timestamp,
    pub lease_seconds: u64,
}

/// An open grant as its node must hear it, now and again after each reconnect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenGrant {
    pub plan: Digest,
    pub task: TaskId,
    pub grant: Grant,
}

/// A version that a node failed to come up on; no plan may try it there again until a person releases it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    pub node: NodeName,
    pub version: Version,
    pub reason: String,
}
