//! `kube.cordon` and `kube.uncordon`. A cordon carries its owner; nobody else's is undone.

use std::time::Duration;

use hostler_plan::{
    document::{Outcome, PlanKind},
    sequencer::CordonOwner,
};

use super::{Check, StepContext, StepError};
use crate::{
    control::POLL,
    host::{ClusterError, Cordon, CordonAnswer, Node},
};

/// The node's status changes every few seconds, and each change makes an update look again.
const ATTEMPTS: u32 = 20;

/// How long a silent API server is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn check(context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let node = subject(context)?;
    Ok(match node.cordoned_by() {
        // Beside its own cordon, so that it stays out of service when the node is well again.
        None | Some(CordonOwner::Node) => Check::Ready,
        Some(CordonOwner::Hostler) => Check::Done(format!("{} is cordoned", node.name)),
        Some(CordonOwner::Other(who)) => {
            Check::Done(format!("{} was cordoned by {who} before and stays theirs", node.name))
        }
    })
}

pub fn apply(reason: &str, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let document = context.plan.document();
    let note = Cordon {
        plan: context.plan.digest().to_string(),
        reason: reason.to_owned(),
        epoch: document.epoch.0,
        was_unschedulable: false,
    };
    change(context, |node, context| match node.cordoned_by() {
        None | Some(CordonOwner::Node) => Ok(Some(context.cluster()?.cordon(node, &note))),
        Some(CordonOwner::Hostler | CordonOwner::Other(_)) => Ok(None),
    })
}

pub fn check_uncordon(context: &mut StepContext<'_>) -> Result<Check, StepError> {
    let node = subject(context)?;
    Ok(match node.cordoned_by() {
        None if node.cordon.is_none() => Check::Done(format!("{} is schedulable", node.name)),
        None | Some(CordonOwner::Hostler) => Check::Ready,
        Some(CordonOwner::Node) => Check::Done(format!(
            "{} stays unschedulable: it cordoned itself{}",
            node.name,
            node.own_cordon.map(|own| format!(" ({})", own.reason)).unwrap_or_default()
        )),
        Some(CordonOwner::Other(who)) if context.plan.document().kind == PlanKind::Uncordon => Check::Mismatch {
            expected: format!("{} cordoned by Hostler", node.name),
            found: format!("a cordon by {who}; ask them, or use `kubectl uncordon {}`", node.name),
        },
        Some(CordonOwner::Other(who)) => {
            Check::Done(format!("{} stays unschedulable: {who} cordoned it, not Hostler", node.name))
        }
    })
}

pub fn apply_uncordon(context: &mut StepContext<'_>) -> Result<(), StepError> {
    change(context, |node, context| match node.cordoned_by() {
        None if node.cordon.is_none() => Ok(None),
        None | Some(CordonOwner::Hostler) => Ok(Some(context.cluster()?.uncordon(node))),
        Some(CordonOwner::Node | CordonOwner::Other(_)) => Ok(None),
    })
}

/// Takes this plan's own cordon back after a task that did not succeed, and says what became of it. A node that is silent
/// stays cordoned: nothing should be sent there.
pub fn undo(outcome: &Outcome, context: &mut StepContext<'_>) -> Option<String> {
    let subject = context.subject().to_owned();
    let stays = |why: &str| Some(format!("{subject} stays cordoned{why}"));
    if matches!(outcome, Outcome::Unreachable { .. }) {
        return stays("");
    }
    // One look and a few tries: whoever stopped the task should not wait long.
    for _ in 0..ATTEMPTS {
        let cluster = context.cluster().ok()?;
        let node = match cluster.nodes() {
            Ok(nodes) => nodes.into_iter().find(|n| n.name == subject)?,
            Err(error) => return stays(&format!(": {error}")),
        };
        let plan = context.plan.digest().to_string();
        match node.cordoned_by() {
            None => return None,
            Some(CordonOwner::Node) => return stays(" by itself"),
            Some(CordonOwner::Other(who)) => return stays(&format!(" by {who}")),
            Some(CordonOwner::Hostler) if node.cordon.as_ref().is_none_or(|c| c.plan != plan) => {
                return stays(" by an earlier plan");
            }
            Some(CordonOwner::Hostler) => {}
        }
        match cluster.uncordon(&node) {
            Ok(CordonAnswer::Done) if node.own_cordon.is_some() => return stays(" by itself"),
            Ok(CordonAnswer::Done) => return Some(format!("{subject} is schedulable again")),
            Ok(CordonAnswer::Gone) => return None,
            Ok(CordonAnswer::Changed) => {}
            Err(error) => return stays(&format!(": {error}")),
        }
    }
    stays(": it kept changing")
}

/// The subject's node object; waits for a silent API server.
pub fn subject(context: &mut StepContext<'_>) -> Result<Node, StepError> {
    let name = context.subject().to_owned();
    let began = context.now();
    loop {
        match context.cluster()?.nodes() {
            Ok(nodes) => {
                let found = nodes.into_iter().find(|n| n.name == name);
                return found.ok_or_else(|| StepError::Failed(format!("the cluster has no node {name}")));
            }
            Err(ClusterError::Silent(reason)) if context.now().since(began) < PATIENCE => {
                context.say(format!("waits: the API server does not answer ({reason})"));
                context.pause(POLL)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Looks and changes until the change is taken; `None` says that there is nothing to change any more.
fn change(
    context: &mut StepContext<'_>,
    attempt: impl Fn(&Node, &StepContext<'_>) -> Result<Option<Result<CordonAnswer, ClusterError>>, StepError>,
) -> Result<(), StepError> {
    for _ in 0..ATTEMPTS {
        let node = subject(context)?;
        match attempt(&node, context)? {
            None | Some(Ok(CordonAnswer::Done)) => return Ok(()),
            Some(Ok(CordonAnswer::Gone)) => {
                return Err(StepError::Failed(format!("the cluster has no node {} any more", node.name)));
            }
            // Another writer was faster, or nobody answered: look at what is there now.
            Some(Ok(CordonAnswer::Changed) | Err(ClusterError::Silent(_))) => context.pause(POLL / 4)?,
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Err(StepError::TimedOut(format!("{} kept changing; nothing was changed by Hostler", context.subject())))
}
