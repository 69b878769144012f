//! A receipt: what came of a task, signed by the node that did it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    document::{Holds, PodReport},
    id::{BootId, Digest, Epoch, FleetId, NodeName, Seq, TaskId},
    refusal::Refusal,
    timestamp::Timestamp,
};

/// What a node signs when a task ended. Each names the one before it, so that a gap shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Always `hostler-receipt/v1`.
    #[serde(rename = "_type")]
    pub document_type: ReceiptType,
    pub fleet_id: FleetId,
    pub node: NodeName,
    /// The plan's digest.
    pub plan: Digest,
    pub epoch: Epoch,
    pub seq: Seq,
    pub task: TaskId,
    /// The number of the grant under which it ran.
    pub grant: u64,
    pub outcome: Outcome,
    /// One per step that was begun, in order.
    pub steps: Vec<StepResult>,
    /// What later tasks and people need to know, such as the version that runs now.
    pub observations: Vec<Observation>,
    /// What became of the subject's pods, where the task drained it; at most [`MAX_PODS`](super::MAX_PODS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodReport>,
    /// The boot in which the task ended.
    pub boot_id: BootId,
    /// 1 for the node's first receipt, then one more each; a repeated number with other content is a cloned node.
    pub counter: u64,
    /// The digest of the node's receipt before this one; none for the first.
    pub previous: Option<Digest>,
    /// The receipts that were checked before the task started.
    pub relied_on: Vec<Digest>,
    /// What the node held when it signed.
    pub holds: Holds,
    pub started: Timestamp,
    pub ended: Timestamp,
}

/// The type field of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiptType {
    #[serde(rename = "hostler-receipt/v1")]
    V1,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Every step is verified.
    Succeeded {},
    /// A step did not lead to what it should; `reason` is one sentence.
    Failed { reason: String },
    /// A drain that cannot go on: who holds which pod, and what a person can do.
    Blocked { reason: String, blockers: Vec<Blocker> },
    /// The step's time was up; waiting longer might have helped.
    TimedOut { reason: String },
    /// The subject did not answer.
    Unreachable { reason: String },
    /// Somebody else took the subject over, so that the task gave way; `by` is their field manager, where it is known.
    TakenOver { reason: String, by: Option<String> },
    /// The node refused the task; nothing was touched.
    Refused { refusal: Refusal, reason: String },
}

impl Outcome {
    /// Whether tasks that come after may start.
    pub fn is_success(&self) -> bool {
        match self {
            Outcome::Succeeded {} => true,
            Outcome::Failed { .. }
            | Outcome::Blocked { .. }
            | Outcome::TimedOut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::TakenOver { .. }
            | Outcome::Refused { .. } => false,
        }
    }

    /// One word, for counting.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Succeeded {} => "succeeded",
            Outcome::Failed { .. } => "failed",
            Outcome::Blocked { .. } => "blocked",
            Outcome::TimedOut { .. } => "timed_out",
            Outcome::Unreachable { .. } => "unreachable",
            Outcome::TakenOver { .. } => "taken_over",
            Outcome::Refused { .. } => "refused",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Succeeded {} => f.write_str("succeeded"),
            Outcome::Failed { reason } => write!(f, "failed: {reason}"),
            Outcome::Blocked { reason, .. } => write!(f, "blocked: {reason}"),
            Outcome::TimedOut { reason } => write!(f, "timed out: {reason}"),
            Outcome::Unreachable { reason } => write!(f, "unreachable: {reason}"),
            Outcome::TakenOver { reason, .. } => write!(f, "taken over: {reason}"),
            Outcome::Refused { refusal, reason } => write!(f, "refused ({refusal}): {reason}"),
        }
    }
}

/// A pod that stays and what holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocker {
    /// `namespace/name`.
    pub pod: String,
    /// `namespace/name` of the disruption budget, where it is one.
    pub budget: Option<String>,
    /// One sentence.
    pub reason: String,
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepResult {
    /// The step's operation.
    pub op: String,
    /// Whether the node had to change something.
    pub changed: bool,
    /// What was observed, in one sentence.
    pub detail: String,
}

/// The observation of an inspection that says in what the machine is not as a step wants it: the operation, and the
/// difference in a sentence.
pub const DIFFERS: &str = "differs";

/// The observation that names a machine to targets of iSCSI: no two machines have the same.
pub const ISCSI_INITIATOR: &str = "iscsi_initiator";

/// A named fact that the task learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    pub name: String,
    pub value: String,
}

impl Receipt {
    /// The value of the observation of that name.
    pub fn observation(&self, name: &str) -> Option<&str> {
        self.observations.iter().find(|o| o.name == name).map(|o| o.value.as_str())
    }
}
