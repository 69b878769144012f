//! Whether a person is to decide after a task that did not end well.

use super::{Outcome, Task};
use crate::step::{Reaction, Reactions, Step};

impl Task {
    /// Whether a person is to decide after it ended so, with the cordon kept.
    pub fn asks_after(&self, outcome: &Outcome) -> bool {
        let reaction = |reactions: &Reactions| match outcome {
            Outcome::Blocked { .. } => Some(reactions.never),
            Outcome::TimedOut { .. } => Some(reactions.slow),
            Outcome::Unreachable { .. } => Some(reactions.unreachable),
            Outcome::TakenOver { .. } => Some(reactions.taken_over),
            Outcome::Succeeded {} | Outcome::Failed { .. } | Outcome::Refused { .. } => None,
        };
        self.steps.iter().any(|step| matches!(step, Step::Drain(d) if reaction(&d.reactions) == Some(Reaction::Ask)))
    }
}
