//! `kube.cordon`. A cordon carries its owner; nobody else's is undone.

use hostler_plan::{document::Outcome, sequencer::CordonOwner, step::Cordon};

use super::subject::{ATTEMPTS, change, subject};
use crate::{
    host::{CordonAnswer, CordonNote},
    steps::action::{Action, Check, StepContext, StepError},
};

impl Action for Cordon {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let node = subject(context)?;
        Ok(match node.cordoned_by() {
            // Beside its self cordon, so that it stays out of service when the node is well again.
            None | Some(CordonOwner::Node) => Check::Ready,
            Some(CordonOwner::Hostler) => Check::Done(format!("{} is cordoned", node.name)),
            Some(CordonOwner::Other(who)) => {
                Check::Done(format!("{} was cordoned by {who} before and stays theirs", node.name))
            }
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let document = context.plan.document();
        let note = CordonNote {
            plan: context.plan.digest().to_string(),
            reason: self.reason.to_string(),
            epoch: document.epoch.0,
            was_unschedulable: false,
        };
        change(context, |node, context| match node.cordoned_by() {
            None | Some(CordonOwner::Node) => Ok(Some(context.cluster()?.cordon(node, &note))),
            Some(CordonOwner::Hostler | CordonOwner::Other(_)) => Ok(None),
        })
    }

    /// Takes this plan's own cordon back after a task that did not succeed, and says what became of it. A node that is
    /// silent stays cordoned: nothing should be sent there.
    fn undo(&self, outcome: &Outcome, context: &mut StepContext<'_>) -> Option<String> {
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
                Ok(CordonAnswer::Done) if node.self_cordon.is_some() => return stays(" by itself"),
                Ok(CordonAnswer::Done) => return Some(format!("{subject} is schedulable again")),
                Ok(CordonAnswer::Gone) => return None,
                Ok(CordonAnswer::Changed) => {}
                Err(error) => return stays(&format!(": {error}")),
            }
        }
        stays(": it kept changing")
    }
}
