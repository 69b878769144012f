//! What can be known before the first eviction: consent that is missing, budgets that can never allow it, replacements
//! that fit nowhere.

use hostler_plan::{
    document::Blocker,
    drain::{Options, blockers},
    text::and_more,
};

use crate::{
    host::{Cluster, ClusterError, Node, NodeReady, PodScope},
    look::look,
    steps::{
        action::{StepContext, StepError},
        kube::subject::{ask, subject},
    },
};

/// Ends the task before anything was touched when the drain cannot work.
pub(super) fn preflight(options: &Options<'_>, context: &mut StepContext<'_>) -> Result<(), StepError> {
    let node = subject(context)?;
    if let NodeReady::Unknown { since } = node.ready {
        return Err(silent(&node, since, context));
    }
    let missing = ask(context, |cluster| cluster.missing_rights())?;
    if let Some(right) = missing.first() {
        return Err(StepError::Blocked {
            reason: format!(
                "{} cannot be drained: the account of this server's kubeconfig may not {right}{}. Give it that right. \
                 Nothing was touched",
                node.name,
                and_more(missing.len() - 1)
            ),
            blockers: Vec::new(),
        });
    }
    let blockers = ask(context, |cluster| blockers_now(cluster, &node.name, options))?;
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
pub(super) fn silent(node: &Node, since: hostler_plan::timestamp::Timestamp, context: &StepContext<'_>) -> StepError {
    let running = context
        .cluster()
        .ok()
        .and_then(|c| c.pods(PodScope::OnNode(&node.name)).ok())
        .map_or_else(String::new, |pods| format!("; {} pods may still run there", pods.len()));
    StepError::Unreachable(format!("{} has been silent since {since}{running}. Check its power", node.name))
}

/// Every pod that will never go, by a look at the cluster.
pub(super) fn blockers_now(
    cluster: &dyn Cluster,
    node: &str,
    options: &Options<'_>,
) -> Result<Vec<Blocker>, ClusterError> {
    Ok(blockers(&look(cluster, node)?, options))
}
