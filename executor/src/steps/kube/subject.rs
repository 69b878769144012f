//! The node object that a step is about, and how it is changed.

use std::time::Duration;

use hostler_plan::{
    document::NodeObject,
    refusal::{Refusal, Refused},
    step::Step,
    text::clean,
};

use crate::{
    control::POLL,
    host::{Cluster, ClusterError, CordonAnswer, Node},
    steps::action::{StepContext, StepError},
};

/// The node's status changes every few seconds, and each change makes an update look again.
pub(super) const ATTEMPTS: u32 = 20;

/// How long a silent API server is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// The subject's node object; waits for a silent API server.
pub(super) fn subject(context: &mut StepContext<'_>) -> Result<Node, StepError> {
    let name = context.subject().clone();
    let found = ask(context, |cluster| cluster.node(name.as_str()))?;
    let node = found.ok_or_else(|| StepError::Failed(format!("the cluster has no node {name}")))?;
    is_meant(&node, context)?;
    Ok(node)
}

/// Refuses a Node object that is not on the machine that the plan names, where it names one.
pub(super) fn is_meant(node: &Node, context: &StepContext<'_>) -> Result<(), StepError> {
    match context.plan.document().node_object(&context.task.subject) {
        Some(meant) if meant.machine_id.as_str() != node.machine_id => {
            let found = format!("the Node {} on machine {:?}", node.name, clean(&node.machine_id));
            Err(not_meant(meant, &found, context))
        }
        Some(_) | None => Ok(()),
    }
}

/// Before anything is touched: of all Node objects the one that the plan names is on that machine, and no other one.
pub(crate) fn check_machine(context: &mut StepContext<'_>) -> Result<(), StepError> {
    let plan = context.plan;
    let acts = context.task.steps.iter().any(Step::acts_on_subject);
    let Some(meant) = plan.document().node_object(&context.task.subject).filter(|_| acts) else { return Ok(()) };
    let nodes = ask(context, |cluster| cluster.nodes())?;
    let there = nodes.iter().filter(|node| node.machine_id == meant.machine_id.as_str());
    let names: Vec<&str> = there.map(|node| node.name.as_str()).collect();
    let found = match names.as_slice() {
        [name] if *name == meant.name.as_str() => return Ok(()),
        [] => "no Node on it".to_owned(),
        [other] => format!("{other} on it"),
        several => format!("{} on it; copied disks have one id, give each machine its own", several.join(", ")),
    };
    Err(not_meant(meant, &found, context))
}

fn not_meant(meant: &NodeObject, found: &str, context: &StepContext<'_>) -> StepError {
    let NodeObject { node, name, machine_id } = meant;
    let seq = context.plan.document().seq;
    StepError::Void(Refused::new(
        Refusal::NotATarget,
        format!(
            "plan {seq}: expected {node} to be the Node {name} and no other one on machine {machine_id}, found \
             {found}. Nothing was changed there; make the plan again"
        ),
    ))
}

/// Asks the cluster; waits for a silent API server.
pub(super) fn ask<T>(
    context: &mut StepContext<'_>,
    question: impl Fn(&dyn Cluster) -> Result<T, ClusterError>,
) -> Result<T, StepError> {
    let began = context.now();
    loop {
        match question(context.cluster()?) {
            Ok(answer) => return Ok(answer),
            Err(ClusterError::Silent(reason)) if context.now().since(began) < PATIENCE => {
                context.say(format!("waits: the API server does not answer ({reason})"));
                context.pause(POLL)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Looks and changes until the change is taken; `None` says that there is nothing to change any more.
pub(super) fn change(
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
