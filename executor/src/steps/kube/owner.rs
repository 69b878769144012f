//! `kube.adopt_cordon` and `kube.release_cordon`: whose a cordon is changes, and the node stays unschedulable.

use hostler_plan::{
    document::Outcome,
    sequencer::CordonOwner,
    step::{AdoptCordon, ReleaseCordon},
};

use super::{
    cordon::signers,
    subject::{change, subject},
};
use crate::{
    host::{Adopted, CordonNote, FIELD_MANAGER, Node},
    steps::action::{Action, Check, StepContext, StepError, Undone},
};

impl Action for AdoptCordon {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let node = subject(context)?;
        let expected = || format!("{} cordoned by somebody else", node.name);
        Ok(match node.cordoned_by() {
            Some(CordonOwner::Other(_)) => Check::Ready,
            Some(CordonOwner::Hostler) => Check::Done(match adopted(&node) {
                Some(Adopted { from, .. }) => format!("the cordon of {} by {from} is Hostler's", node.name),
                None => format!("{} is cordoned by Hostler", node.name),
            }),
            Some(CordonOwner::Node) => Check::Mismatch {
                expected: expected(),
                found: "a cordon of its own, which it takes back when it is well again".to_owned(),
            },
            None => Check::Mismatch {
                expected: expected(),
                found: format!("no cordon; `hostler drain {}` takes it out of service", node.name),
            },
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let note = |node: &Node, context: &StepContext<'_>, from: String| CordonNote {
            plan: context.plan.digest().to_string(),
            seq: Some(context.plan.document().seq),
            reason: self.reason.to_string(),
            epoch: context.plan.document().epoch.0,
            signed_by: signers(context),
            since: node.unschedulable_since.or(Some(context.now())),
            until: None,
            was_unschedulable: false,
            awaits: None,
            adopted: Some(Adopted {
                // Of a cordon that was Hostler's and given away the manager says nothing.
                from: node.unschedulable_by.clone().filter(|by| by != FIELD_MANAGER).unwrap_or(from),
                since: node.unschedulable_since,
            }),
            released_to: None,
        };
        change(context, |node, context| match node.cordoned_by() {
            Some(CordonOwner::Other(from)) => Ok(Some(context.cluster()?.cordon(node, &note(node, context, from)))),
            None | Some(CordonOwner::Hostler | CordonOwner::Node) => Ok(None),
        })
    }

    /// Leaves the cordon to whom it was of.
    fn undo(&self, _: &Outcome, context: &mut StepContext<'_>) -> Undone {
        let this = context.plan.digest().to_string();
        let given_back = change(context, |node, context| match &node.cordon {
            Some(note) if note.plan == this && note.adopted.is_some() => {
                Ok(Some(context.cluster()?.release(node, None)))
            }
            Some(_) | None => Ok(None),
        });
        match given_back {
            Ok(()) => Undone::Nothing,
            Err(_) => Undone::Said(format!("the cordon of {} is Hostler's now", context.subject())),
        }
    }
}

impl Action for ReleaseCordon {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let node = subject(context)?;
        Ok(match node.cordoned_by() {
            Some(CordonOwner::Hostler) => Check::Ready,
            Some(CordonOwner::Other(who)) => {
                Check::Done(format!("{} stays cordoned by {who}: no plan lifts that", node.name))
            }
            Some(CordonOwner::Node) => Check::Mismatch {
                expected: format!("{} cordoned by Hostler", node.name),
                found: "a cordon of its own, which it takes back when it is well again".to_owned(),
            },
            None => Check::Mismatch {
                expected: format!("{} cordoned by Hostler", node.name),
                found: "no cordon; there is nothing to give away".to_owned(),
            },
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        change(context, |node, context| match (node.cordoned_by(), &node.cordon) {
            (Some(CordonOwner::Hostler), Some(before)) => {
                let note = CordonNote {
                    reason: self.reason.to_string(),
                    released_to: Some(signers(context).join(", ")),
                    until: None,
                    awaits: None,
                    ..before.clone()
                };
                Ok(Some(context.cluster()?.release(node, Some(&note))))
            }
            (None | Some(CordonOwner::Hostler | CordonOwner::Node | CordonOwner::Other(_)), _) => Ok(None),
        })
    }
}

fn adopted(node: &Node) -> Option<&Adopted> {
    node.cordon.as_ref()?.adopted.as_ref()
}
