//! What can be known before the first eviction: consent that is missing, budgets that can never allow it, replacements
//! that fit nowhere.

use hostler_plan::{
    document::NodeView,
    drain::{Asks, Past, blockers, view_of},
    id::NodeName,
    step::{self, Reaction},
    text::and_more,
    timestamp::Timestamp,
};

use crate::{
    host::{Cluster, ClusterError, Node, NodeReady, PodScope},
    steps::{
        action::{StepContext, StepError},
        kube::subject::{ask, subject},
    },
};

/// Ends the task before anything was touched when the drain cannot work.
pub(super) fn preflight(step: &step::Drain, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let node = subject(context)?;
    if let NodeReady::Unknown { since } = node.ready
        && step.reactions.unreachable != Reaction::Wait
    {
        return Err(silent(&node, since, context));
    }
    let missing = ask(context, |cluster| cluster.missing_rights())?;
    if let Some(right) = missing.first() {
        return Err(StepError::Blocked {
            reason: format!(
                "{} cannot be drained: Hostler's account in the cluster may not {right}{}. Give it that right; \
                 `hostler cluster access` prints all of them. Nothing was touched",
                node.name,
                and_more(missing.len() - 1)
            ),
            blockers: Vec::new(),
        });
    }
    // What is waited for or asked about is not known to stay so.
    if step.reactions.never != Reaction::Stop {
        return Ok(());
    }
    let (name, now) = (context.subject().clone(), context.now());
    let view = ask(context, |cluster| view_now(cluster, &name, now))?;
    let blockers = blockers(&view, &step.into());
    match blockers.first() {
        None => Ok(()),
        Some(first) => Err(StepError::Blocked {
            reason: format!(
                "{} cannot be drained: {} ({}){}. Nothing was touched",
                node.name,
                first.reason,
                first.pod,
                and_more(blockers.len() - 1)
            ),
            blockers,
        }),
    }
}

/// The outcome for a node whose kubelet does not report.
pub(super) fn silent(node: &Node, since: Timestamp, context: &StepContext<'_>) -> StepError {
    let running = context
        .cluster()
        .ok()
        .and_then(|c| c.pods(PodScope::OnNode(&node.name)).ok())
        .map_or_else(String::new, |pods| format!("; {} pods may still run there", pods.len()));
    StepError::Unreachable(format!(
        "{} has been silent since {since}{running}. Check its power; where that is proved to be off, `hostler drain \
         {} --dead` gives it up",
        node.name, context.task.subject
    ))
}

/// What holds a drain of the node, as it is seen now.
pub(super) fn view_now(cluster: &dyn Cluster, node: &NodeName, now: Timestamp) -> Result<NodeView, ClusterError> {
    Ok(view_of(node, &cluster.look(&[node.as_str()], Asks::WhatHolds)?, now, &Past::default()))
}
