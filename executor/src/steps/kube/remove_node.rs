//! `kube.remove_node`: the cluster forgets a node, once its kubelet is silent.

use std::time::Duration;

use hostler_plan::{step::RemoveNode, text::clean, trust};
use serde_json::Value;

use super::subject::PATIENCE;
use crate::{
    control::POLL,
    host::ClusterError,
    steps::{
        action::{Action, Check, StepContext, StepError},
        membership::MACHINE_ID,
    },
};

/// A node is Ready for 50 s after its kubelet fell silent (`node-monitor-grace-period`), and some more where the
/// controller manager has just moved to another server.
const STILL_READY: Duration = Duration::from_secs(180);

impl Action for RemoveNode {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        Ok(match node(context)? {
            None => Check::Done(format!("the cluster has no Node {}", context.subject())),
            Some(_) => Check::Ready,
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let began = context.now();
        while let Some(node) = node(context)? {
            let name = context.subject().clone();
            is_meant(&node, context)?;
            if !is_ready(&node) {
                context.await_act()?;
                return Ok(context.administrator()?.delete(&format!("/api/v1/nodes/{name}"))?);
            }
            if context.now().since(began) >= STILL_READY {
                return Err(StepError::Failed(format!(
                    "{name} is still Ready: its kubelet runs, and would come back; stop it (systemctl disable --now \
                     kubelet), then plan again. Its Node was not removed"
                )));
            }
            context.say(format!("waits until the cluster notices that the kubelet of {name} has ended"));
            context.pause(POLL)?;
        }
        Ok(())
    }
}

/// The subject's Node object; waits for a silent API server.
fn node(context: &mut StepContext<'_>) -> Result<Option<Value>, StepError> {
    let path = format!("/api/v1/nodes/{}", context.subject());
    let began = context.now();
    loop {
        match context.administrator()?.get(&path) {
            Ok(None) => return Ok(None),
            Ok(Some(text)) => {
                let read = serde_json::from_str(&text);
                return read.map(Some).map_err(|e| StepError::Failed(format!("{path} cannot be read: {e}")));
            }
            Err(ClusterError::Silent(reason)) if context.now().since(began) < PATIENCE => {
                context.say(format!("waits: the API server does not answer ({reason})"));
                context.pause(POLL)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_ready(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The machine that a task before this one emptied, by the receipt of its node.
fn emptied(context: &StepContext<'_>) -> Option<String> {
    let receipts = context.receipts().iter().filter_map(|stored| trust::receipt(&context.roster, &stored.0).ok());
    let mut of_subject = receipts.filter(|r| r.document().node == context.task.subject);
    of_subject.find_map(|r| r.document().observation(MACHINE_ID).map(str::to_owned))
}

/// Refuses a Node object that is not on the machine that the plan names, where it names one, or on that which was
/// emptied.
fn is_meant(node: &Value, context: &StepContext<'_>) -> Result<(), StepError> {
    let found = node["status"]["nodeInfo"]["machineID"].as_str().unwrap_or_default();
    let subject = &context.task.subject;
    if let Some(emptied) = emptied(context).filter(|emptied| emptied != found) {
        return Err(StepError::Failed(format!(
            "the machine that was emptied is {:?}, and the Node {subject} is on {:?}: another machine had that name \
             before. Prove that its power is off and remove it so (`hostler node remove {subject} --power-off-proof`, \
             while the new one is not connected, or `hostler node replace {subject}`). Its Node was not removed",
            clean(&emptied),
            clean(found)
        )));
    }
    match context.plan.document().node_object(&context.task.subject) {
        Some(meant) if meant.machine_id.as_str() != found => Err(StepError::Failed(format!(
            "expected the Node {} on machine {}, found it on {:?}; make the plan again. Its Node was not removed",
            meant.name,
            meant.machine_id,
            clean(found)
        ))),
        Some(_) | None => Ok(()),
    }
}
