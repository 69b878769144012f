//! `kube.uncordon`: ends Hostler's cordon, and nobody else's.

use hostler_plan::{document::PlanKind, sequencer::CordonOwner, step::Uncordon};

use super::subject::{change, subject};
use crate::steps::action::{Action, Check, StepContext, StepError};

impl Action for Uncordon {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let node = subject(context)?;
        Ok(match node.cordoned_by() {
            None if node.cordon.is_none() => Check::Done(format!("{} is schedulable", node.name)),
            None | Some(CordonOwner::Hostler) => Check::Ready,
            Some(CordonOwner::Node) => Check::Done(format!(
                "{} stays unschedulable: it cordoned itself{}",
                node.name,
                node.self_cordon.map(|own| format!(" ({})", own.reason)).unwrap_or_default()
            )),
            Some(CordonOwner::Other(who)) if context.plan.document().kind == PlanKind::Uncordon => Check::Mismatch {
                expected: format!("{} cordoned by Hostler", node.name),
                found: format!(
                    "a cordon by {who}; ask them, then `kubectl uncordon {0}`, or take it over with `hostler node \
                     adopt-cordon {0}`",
                    node.name
                ),
            },
            Some(CordonOwner::Other(who)) => {
                Check::Done(format!("{} stays unschedulable: {who} cordoned it, not Hostler", node.name))
            }
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        change(context, |node, context| match node.cordoned_by() {
            None if node.cordon.is_none() => Ok(None),
            None | Some(CordonOwner::Hostler) => Ok(Some(context.cluster()?.uncordon(node))),
            Some(CordonOwner::Node | CordonOwner::Other(_)) => Ok(None),
        })
    }
}
