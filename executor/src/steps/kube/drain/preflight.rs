//! What can be known before the first eviction: consent that is missing, budgets that can never allow it, replacements
//! that fit nowhere.

use std::collections::BTreeMap;

use hostler_plan::{document::Blocker, text::and_more};

use super::{
    Options, budget,
    placement::fits_nowhere,
    pods::{Fate, Turn, budget_counts, evaluate},
};
use crate::{
    host::{Budget, Cluster, ClusterError, Node, NodeReady, Pod, PodScope},
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
    let blockers = ask(context, |cluster| blockers(cluster, &node.name, options))?;
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

/// Every pod that will never go, with the reason.
pub(super) fn blockers(cluster: &dyn Cluster, node: &str, options: &Options<'_>) -> Result<Vec<Blocker>, ClusterError> {
    let pods = cluster.pods(PodScope::OnNode(node))?;
    let nodes = cluster.nodes()?;
    let budgets = cluster.budgets()?;
    let mut namespaces: BTreeMap<&str, Vec<Pod>> = BTreeMap::new();
    let mut blockers = Vec::new();
    // Under one budget: pods that leave and have nowhere to come back to.
    let mut lost: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for pod in &pods {
        match evaluate(pod, options) {
            Fate::Stays | Fate::Going | Fate::Finalizer(_) | Fate::Evict(Turn::Storage) => continue,
            Fate::NeedsConsent(consent) => blockers.push(blocker(pod, None, &consent.sentence(pod))),
            Fate::Evict(Turn::Ordinary | Turn::SystemCritical) => {}
        }
        if !budget_counts(pod) {
            continue;
        }
        let counting: Vec<&Budget> = budgets.iter().filter(|b| budget::matches(b, pod)).collect();
        if counting.len() > 1 {
            let names: Vec<String> = counting.iter().map(|b| budget::name(b)).collect();
            let reason =
                format!("two budgets count it ({}), which the API refuses for ever. Delete one", names.join(", "));
            blockers.push(blocker(pod, counting.first().copied(), &reason));
            continue;
        }
        let Some(counted) = counting.first() else { continue };
        let namespace = match namespaces.entry(&pod.key.namespace) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(cluster.pods(PodScope::InNamespace(&pod.key.namespace))?)
            }
        };
        let asked = budget::asked(cluster, counted, namespace)?;
        if let Some(reason) = budget::never(counted, asked, pod) {
            blockers.push(blocker(pod, Some(counted), &reason));
            continue;
        }
        if let Some(place) = fits_nowhere(pod, &nodes, node) {
            let may_go = asked.pods.saturating_sub(budget::desired(counted.limit, asked.pods));
            let (gone, _) = lost.entry(budget::name(counted)).or_insert((0, may_go));
            *gone += 1;
            if *gone > may_go {
                let reason = format!(
                    "budget {} lets only {may_go} of its pods be away, and {place}. {}",
                    budget::name(counted),
                    place.advice()
                );
                blockers.push(blocker(pod, Some(counted), &reason));
            }
        }
    }
    Ok(blockers)
}

fn blocker(pod: &Pod, budget: Option<&Budget>, reason: &str) -> Blocker {
    Blocker { pod: pod.key.to_string(), budget: budget.map(budget::name), reason: reason.to_owned() }
}
