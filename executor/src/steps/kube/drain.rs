//! `kube.drain`: empties a node through the Eviction API, in a careful order, and always says what holds it.
//!
//! A drain ends as drained, blocked, timed out or unreachable. It never waits without an end, never shortens a grace
//! period and never deletes a pod.

mod budget;
mod conclusion;
mod engine;
mod placement;
mod pods;
mod preflight;
mod remaining;
mod state;
#[cfg(test)]
mod tests;
mod turns;

pub(super) use self::pods::is_leaving;

use std::time::Duration;

use hostler_plan::{
    document::PodFate,
    form::PodName,
    step::{Drain, EmptyDirs},
    text::count,
};

use self::{engine::taken_over, remaining::Remaining, state::moved};
use super::subject::{ask, subject};
use crate::{
    control::span,
    steps::action::{Action, Check, StepContext, StepError},
};

/// What the plan allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options<'a> {
    pub timeout: Duration,
    /// Whose data may be lost.
    pub delete_empty_dir_data: EmptyDirs,
    /// Pods without a controller may be lost.
    pub force_unmanaged: bool,
    /// Pods that may go whatever is lost with them.
    pub evict_anyway: &'a [PodName],
}

/// The options of a drain step.
fn options(step: &Drain) -> Options<'_> {
    Options {
        timeout: Duration::from_secs(step.timeout_seconds),
        delete_empty_dir_data: step.delete_empty_dir_data,
        force_unmanaged: step.force_unmanaged,
        evict_anyway: &step.evict_anyway,
    }
}

impl Action for Drain {
    fn preflight(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        preflight::preflight(&options(self), context)
    }

    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        check(&options(self), context)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        engine::apply(&options(self), context)
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        verify(&options(self), context)
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
        Check::Mismatch { expected, found } => {
            return Err(StepError::Failed(format!("expected {expected}, found {found}")));
        }
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
