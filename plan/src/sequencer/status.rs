//! Where rollouts and tasks stand in one word, and what a person can do to them.

use std::fmt;

use serde::Serialize;

use crate::id::TaskId;

/// Where a rollout stands: [`RolloutState`](super::RolloutState) without who and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutStatus {
    Running,
    Paused,
    Preempted,
    NeedsAttention,
    Finished,
    Halted,
    Superseded,
}

impl RolloutStatus {
    /// The word for tables and metrics.
    pub fn word(self) -> &'static str {
        match self {
            RolloutStatus::Running => "running",
            RolloutStatus::Paused => "paused",
            RolloutStatus::Preempted => "preempted",
            RolloutStatus::NeedsAttention => "needs_attention",
            RolloutStatus::Finished => "finished",
            RolloutStatus::Halted => "halted",
            RolloutStatus::Superseded => "superseded",
        }
    }

    /// Whether nothing of the rollout will be granted any more.
    pub fn is_over(self) -> bool {
        match self {
            RolloutStatus::Finished | RolloutStatus::Halted | RolloutStatus::Superseded => true,
            RolloutStatus::Running
            | RolloutStatus::Paused
            | RolloutStatus::Preempted
            | RolloutStatus::NeedsAttention => false,
        }
    }

    /// Whether nothing more happens without a person.
    pub fn stands_still(self) -> bool {
        self.is_over() || self == RolloutStatus::NeedsAttention
    }
}

impl fmt::Display for RolloutStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Where a task stands: [`TaskState`](super::TaskState) without who, when and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    Waiting,
    Granted,
    LeaseExpired,
    Succeeded,
    Failed,
    Blocked,
    TimedOut,
    Unreachable,
    TakenOver,
    Refused,
    /// Its rollout is over, and it was not begun.
    Never,
}

impl TaskStatus {
    /// The word for tables and metrics.
    pub fn word(self) -> &'static str {
        match self {
            TaskStatus::Waiting => "waiting",
            TaskStatus::Granted => "granted",
            TaskStatus::LeaseExpired => "lease_expired",
            TaskStatus::Succeeded => "succeeded",
            TaskStatus::Failed => "failed",
            TaskStatus::Blocked => "blocked",
            TaskStatus::TimedOut => "timed_out",
            TaskStatus::Unreachable => "unreachable",
            TaskStatus::TakenOver => "taken_over",
            TaskStatus::Refused => "refused",
            TaskStatus::Never => "never",
        }
    }

    /// Whether its node signed a receipt for it.
    pub fn is_ended(self) -> bool {
        match self {
            TaskStatus::Succeeded
            | TaskStatus::Failed
            | TaskStatus::Blocked
            | TaskStatus::TimedOut
            | TaskStatus::Unreachable
            | TaskStatus::TakenOver
            | TaskStatus::Refused => true,
            TaskStatus::Waiting | TaskStatus::Granted | TaskStatus::LeaseExpired | TaskStatus::Never => false,
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a person does to a rollout. None of it needs a signature: stopping is the safe side, and a signed plan cannot
/// do more because it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutAction {
    /// Nothing new is granted.
    Pause,
    /// A pause ends.
    Resume,
    /// Nothing is granted ever again.
    Halt,
    /// A task whose lease ran out may be granted again.
    Release(TaskId),
}

impl RolloutAction {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            RolloutAction::Pause => "pause",
            RolloutAction::Resume => "resume",
            RolloutAction::Halt => "halt",
            RolloutAction::Release(_) => "release",
        }
    }
}
