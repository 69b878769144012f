//! `kube.out_of_service`: gives a dead node up. Kubernetes removes its pods and detaches their volumes at once.
//!
//! The taint goes when the node is Ready again, by any server that sees it.

use hostler_plan::{cluster::Taint, step::OutOfService, text::count};

use super::subject::{ask, change, subject};
use crate::{
    host::{Node, NodeReady, PodScope},
    steps::action::{Action, Check, StepContext, StepError},
};

impl Action for OutOfService {
    fn preflight(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let node = subject(context)?;
        let foreign = node.taints.iter().find(|taint| taint.key == Taint::OUT_OF_SERVICE && !taint.gives_up());
        match foreign {
            Some(taint) => Err(StepError::Failed(format!(
                "{} is marked out of service by somebody else already ({:?}); ask them, or remove that taint with \
                 kubectl. Nothing was touched",
                node.name, taint.value
            ))),
            None => silent(&node, "Nothing was touched"),
        }
    }

    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let node = subject(context)?;
        if !node.is_given_up() {
            return Ok(Check::Ready);
        }
        let pods = ask(context, |cluster| cluster.pods(PodScope::OnNode(&node.name)))?.len();
        Ok(Check::Done(format!(
            "{} is marked out of service: Kubernetes removes its {} and detaches their volumes; the mark goes when it \
             is Ready again",
            node.name,
            count(pods, "pod")
        )))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        context.await_act()?;
        // Looked at again for each try: the change fails when the node changed since.
        change(context, |node, context| {
            silent(node, "Nothing was removed")?;
            if node.is_given_up() {
                return Ok(None);
            }
            Ok(Some(context.cluster()?.give_up(node, true)))
        })
    }
}

/// Refuses a node that lives.
fn silent(node: &Node, end: &str) -> Result<(), StepError> {
    match node.ready {
        NodeReady::NotReady | NodeReady::Unknown { .. } => Ok(()),
        NodeReady::Ready => Err(StepError::Failed(format!(
            "{} is Ready, so it is not dead: drain it, or switch it off and wait until it is not Ready. {end}",
            node.name
        ))),
    }
}
