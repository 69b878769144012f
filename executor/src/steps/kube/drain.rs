//! `kube.drain`: empties a node through the Eviction API, in a careful order, and always says what holds it.
//!
//! A drain ends as drained, blocked, timed out or unreachable. It never waits without an end, never shortens a grace
//! period and never deletes a pod.

mod conclusion;
mod engine;
mod evictions;
mod learning;
mod preflight;
mod remaining;
mod returns;
mod signs;
mod state;
#[cfg(test)]
mod tests;
mod turns;

use hostler_plan::{
    document::{Outcome, PodFate},
    drain::Options,
    step::Drain,
    text::count,
};

use self::{engine::taken_over, remaining::Remaining, state::moved};
use super::subject::{ask, subject};
use crate::{
    control::span,
    steps::action::{Action, Check, StepContext, StepError, Undone},
};

impl Action for Drain {
    fn preflight(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        preflight::preflight(self, context)
    }

    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        check(&self.into(), context)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        engine::apply(self, context)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        verify(&self.into(), context)
    }

    /// The process that kept pods off other nodes may have died.
    fn undo(&self, _: &Outcome, context: &mut StepContext<'_>) -> Undone {
        signs::let_pods_in(context);
        Undone::Nothing
    }
}

/// Drained is: cordoned now, no pod left that should go, and no volume attached for one that went.
fn check(options: &Options<'_>, context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let node = subject(context)?;
    if !node.unschedulable {
        return Err(taken_over(&node, moved(context)));
    }
    let remaining = ask(context, |cluster| Remaining::look(&node.name, options, cluster))?;
    Ok(if remaining.is_nothing() { Check::Done(format!("{} is drained", node.name)) } else { Check::Ready })
}

/// Looks once more, and tells how it went.
fn verify(options: &Options<'_>, context: &mut StepContext<'_>) -> Result<String, StepError> {
    let detail = match check(options, context)? {
        Check::Done(detail) => detail,
        Check::Ready => return Err(StepError::Failed(format!("{}: new pods came to it", context.subject()))),
        Check::Mismatch { expected, found } => return Err(StepError::mismatch(&expected, &found)),
    };
    let moved = count(moved(context), "pod");
    let mut sentence = format!("{detail}: {moved} moved in {}", span(context.began(), context.now()));
    for pod in context.running.pods.values() {
        match pod.fate {
            PodFate::Down => sentence.push_str(&format!("; {} stays down until uncordon: {}", pod.pod, pod.reason)),
            PodFate::Pending => sentence.push_str(&format!("; {}", pod.reason)),
            PodFate::Left | PodFate::Ended | PodFate::Stays | PodFate::Moved => {}
        }
    }
    Ok(sentence)
}
