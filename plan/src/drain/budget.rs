//! The arithmetic of disruption budgets: which of them can never allow what the drain needs, however long one waits.

use std::collections::BTreeMap;

use super::placement::holds;
use crate::cluster::{Budget, BudgetCondition, BudgetLimit, Owner, Pod, Scale, Selector};

/// `namespace/name`.
pub fn name(budget: &Budget) -> String {
    format!("{}/{}", budget.namespace, budget.name)
}

/// Whether the budget counts the pod.
pub fn matches(budget: &Budget, pod: &Pod) -> bool {
    budget.namespace == pod.key.namespace
        && match &budget.selector {
            Selector::Nothing => false,
            Selector::All(requirements) => requirements.iter().all(|r| holds(r, |key| pod.labels.get(key))),
        }
}

/// What the pods of a budget's controllers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// Pods in full strength; with an autoscaler the most that it may make.
    pub pods: u32,
    /// Whether a controller asked for them; a percentage needs one.
    pub by_controller: bool,
    /// Whether an autoscaler may raise the number later.
    pub scales: bool,
}

/// Adds up the controllers of the pods that a budget counts. `pods` are those of its namespace; `scale` says what a
/// controller asks for, where it has a scale.
pub(super) fn asked(budget: &Budget, pods: &[Pod], scale: impl Fn(&Owner) -> Option<Scale>) -> Asked {
    let mut owners: BTreeMap<&Owner, u32> = BTreeMap::new();
    let mut loose = 0;
    for pod in pods.iter().filter(|p| counts(budget, p)) {
        match &pod.owner {
            Some(owner) => *owners.entry(owner).or_default() += 1,
            None => loose += 1,
        }
    }
    let mut asked = Asked { pods: loose, by_controller: false, scales: false };
    for (owner, running) in owners {
        match scale(owner) {
            Some(scale) => {
                asked.by_controller = true;
                asked.scales |= scale.max_replicas.is_some_and(|most| most > scale.replicas);
                asked.pods += scale.replicas.max(scale.max_replicas.unwrap_or(0));
            }
            None => asked.pods += running,
        }
    }
    asked
}

/// Whether the budget's arithmetic is about the pod.
pub(super) fn counts(budget: &Budget, pod: &Pod) -> bool {
    pod.deletion.is_none() && matches(budget, pod)
}

/// How many of the asked-for pods must be healthy. Percentages round up.
pub(super) fn desired(limit: BudgetLimit, asked: u32) -> u32 {
    let part = |percent: u32| u32::try_from((u64::from(percent) * u64::from(asked)).div_ceil(100)).unwrap_or(u32::MAX);
    match limit {
        BudgetLimit::MinAvailable(pods) => pods,
        BudgetLimit::MinAvailablePercent(percent) => part(percent),
        BudgetLimit::MaxUnavailable(pods) => asked.saturating_sub(pods),
        BudgetLimit::MaxUnavailablePercent(percent) => asked.saturating_sub(part(percent)),
    }
}

/// Why this budget will never let this pod go, and what to do about it.
pub(super) fn never(budget: &Budget, asked: Asked, pod: &Pod) -> Option<String> {
    let name = name(budget);
    if let BudgetCondition::SyncFailed(message) = &budget.condition {
        return Some(format!("budget {name} cannot be worked out ({message}). Repair or delete it"));
    }
    if !pod.ready && budget.always_allow_unhealthy {
        return None;
    }
    match budget.limit {
        BudgetLimit::MaxUnavailable(0) | BudgetLimit::MaxUnavailablePercent(0) => {
            return Some(format!("budget {name} allows 0 pods to be unavailable. Set maxUnavailable 1"));
        }
        BudgetLimit::MaxUnavailable(_)
        | BudgetLimit::MaxUnavailablePercent(_)
        | BudgetLimit::MinAvailable(_)
        | BudgetLimit::MinAvailablePercent(_) => {}
    }
    let number = matches!(budget.limit, BudgetLimit::MinAvailable(_));
    if !number && !asked.by_controller {
        return Some(format!("budget {name} counts only pods without a controller. Use minAvailable with a number"));
    }
    let desired = desired(budget.limit, asked.pods);
    if desired > 0 && desired >= asked.pods {
        let until = if asked.scales { ", even scaled to its most" } else { "" };
        let more = desired.saturating_add(1);
        return Some(format!(
            "budget {name} needs {desired} of {} pods{until}. Run {more} replicas or set maxUnavailable 1",
            asked.pods
        ));
    }
    if !pod.ready && desired == 0 {
        return Some(format!(
            "budget {name} needs 0 healthy pods, and so never lets one go that is not Ready. Repair the pod or set \
             unhealthyPodEvictionPolicy AlwaysAllow"
        ));
    }
    None
}
