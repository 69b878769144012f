//! What became of a node's pods, as the receipt of a drain tells it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One pod that was on the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodReport {
    /// `namespace/name`.
    pub pod: String,
    pub fate: PodFate,
    /// Why, where there is something to know; one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What became of a pod, the most pressing first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodFate {
    /// It is still there and should not be.
    Left,
    /// It went, and nothing can take its place before the subject is schedulable again.
    Down,
    /// It went, and what takes its place waits for a node.
    Pending,
    /// It went and does not come back: it had finished, or nobody starts it again.
    Ended,
    /// It belongs to the subject and hinders nobody.
    Stays,
    /// It went, and its controller starts another one elsewhere.
    Moved,
}

impl PodFate {
    /// Whether it is not on the subject any more.
    pub fn has_gone(self) -> bool {
        match self {
            PodFate::Down | PodFate::Pending | PodFate::Ended | PodFate::Moved => true,
            PodFate::Left | PodFate::Stays => false,
        }
    }

    /// What became of the pod, to be read behind its name.
    pub fn sentence(self) -> &'static str {
        match self {
            PodFate::Left => "is still there",
            PodFate::Down => "is down until its node is schedulable again",
            PodFate::Pending => "went, and its replacement waits for a node",
            PodFate::Ended => "went and does not come back",
            PodFate::Stays => "stays on its node",
            PodFate::Moved => "went, and its controller starts another one elsewhere",
        }
    }

    /// The word for tables.
    pub fn word(self) -> &'static str {
        match self {
            PodFate::Left => "left",
            PodFate::Down => "down",
            PodFate::Pending => "pending",
            PodFate::Ended => "ended",
            PodFate::Stays => "stays",
            PodFate::Moved => "moved",
        }
    }
}

impl fmt::Display for PodFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The most that one receipt tells of: some 100 KiB. What is less pressing is left out, and the step's sentence counts
/// all.
pub const MAX_PODS: usize = 512;
