//! The arithmetic of disruption budgets: which of them can never allow what the drain needs, however long one waits,
//! and why one says no just now.

use std::collections::BTreeMap;

use super::{pods::budget_counts, selectors::Selectors};
use crate::cluster::{Budget, BudgetCondition, BudgetLimit, Owner, Pod, Scale};

/// Finds the budgets that count a pod.
#[derive(Debug)]
pub struct Budgets<'a>(Selectors<'a, &'a Budget>);

impl<'a> Budgets<'a> {
    /// Over these budgets.
    pub fn new(budgets: impl IntoIterator<Item = &'a Budget>) -> Self {
        let mut selectors = Selectors::new();
        for budget in budgets {
            selectors.add(Some([budget.namespace.as_str()]), &budget.selector, budget);
        }
        Self(selectors)
    }

    /// Those whose selector takes the pod.
    pub fn of<'s>(&'s self, pod: &'s Pod) -> impl Iterator<Item = &'a Budget> + use<'s, 'a> {
        self.0.of(pod).copied()
    }

    /// Those that have a say in an eviction of the pod; of many the first two, because more than one is one too many.
    pub(super) fn asked_about(&self, pod: &Pod) -> Vec<&'a Budget> {
        if budget_counts(pod) { self.of(pod).take(2).collect() } else { Vec::new() }
    }

    /// The only one that has a say.
    pub(super) fn only(&self, pod: &Pod) -> Option<&'a Budget> {
        match self.asked_about(pod).as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// What the pods of a budget's controllers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// Pods in full strength; with an autoscaler the most that it may make.
    pub(super) pods: u32,
    /// Whether a controller asked for them; all but a plain `minAvailable` needs one.
    by_controller: bool,
    /// Whether an autoscaler may raise the number later.
    scales: bool,
}

impl Asked {
    /// Adds up the controllers of the pods that the budget counts; `scale` says what a controller asks for, where it
    /// has a scale that is known. A plain `minAvailable` counts pods, whoever made them; everything else counts what
    /// their controllers ask for.
    pub(super) fn of(budget: &Budget, counted: &[&Pod], scale: impl Fn(&Owner) -> Option<Scale>) -> Self {
        let mut owners: BTreeMap<&Owner, u32> = BTreeMap::new();
        let mut loose = 0;
        for pod in counted.iter().filter(|pod| pod.deletion.is_none()) {
            match &pod.owner {
                Some(owner) => *owners.entry(owner).or_default() += 1,
                None => loose += 1,
            }
        }
        let mut asked = Asked { pods: 0, by_controller: !owners.is_empty(), scales: false };
        let mut all_known = true;
        for (owner, running) in owners {
            let scale = scale(owner);
            all_known &= scale.is_some();
            let Scale { replicas, max_replicas, .. } =
                scale.unwrap_or(Scale { replicas: running, at_once: 1, max_replicas: None });
            asked.scales |= max_replicas.is_some_and(|most| most > replicas);
            asked.pods = asked.pods.saturating_add(replicas.max(max_replicas.unwrap_or(0)));
        }
        if budget.limit.counts_pods() {
            asked.pods = asked.pods.saturating_add(loose);
        } else if !all_known {
            // The cluster's own controller knows scales that are not known here.
            asked.pods = asked.pods.max(budget.expected_pods);
        }
        asked
    }

    /// How many of them may be away in full strength.
    pub(super) fn may_be_away(self, limit: BudgetLimit) -> u32 {
        self.pods.saturating_sub(limit.desired(self.pods))
    }
}

/// Why this budget will never let this pod go, and what to do about it.
pub(super) fn never(budget: &Budget, asked: Asked, pod: &Pod) -> Option<String> {
    let name = budget.full_name();
    if !pod.ready && budget.always_allow_unhealthy {
        return None;
    }
    if let BudgetCondition::SyncFailed(message) = &budget.condition {
        return Some(format!("budget {name} cannot be worked out ({message}). Repair or delete it"));
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
    if !budget.limit.counts_pods() && !asked.by_controller {
        return Some(format!("budget {name} counts only pods without a controller. Use minAvailable with a number"));
    }
    let desired = budget.limit.desired(asked.pods);
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

/// What a budget that says no needs and has.
pub fn budget_needs(budget: &Budget) -> String {
    format!("it needs {} healthy pods and has {}", budget.desired_healthy, budget.current_healthy)
}

/// Why the budget does not let the pod go just now, and what opens it, by all the pods that it counts.
pub(super) fn closed(budget: &Budget, pod: &Pod, counted: &[&Pod]) -> Option<String> {
    let is_healthy = budget.desired_healthy > 0 && budget.current_healthy >= budget.desired_healthy;
    let opens = if pod.ready { budget.disruptions_allowed > 0 } else { budget.always_allow_unhealthy || is_healthy };
    if opens {
        return None;
    }
    let name = budget.full_name();
    if budget.condition == BudgetCondition::Missing {
        return Some(format!("budget {name} has no status yet; if that lasts, the controller manager is down"));
    }
    let needs = budget_needs(budget);
    let unready = || counted.iter().filter(|other| !other.ready && !other.is_finished());
    let broken = unready().find_map(|other| Some((&other.key, other.broken.as_ref()?)));
    let starting = || unready().find(|other| other.deletion.is_none()).map(|other| &other.key);
    Some(match (broken, starting()) {
        (Some((other, why)), _) => {
            format!("budget {name}: {needs}, and {other} is not Ready ({why}). Repair it: waiting alone will not help")
        }
        (None, Some(other)) if *other == pod.key => {
            format!("budget {name}: {needs}, and lets no pod go that is not Ready. Repair {other}, or wait until it is")
        }
        (None, Some(other)) => format!("budget {name}: {needs}; it opens when {other} is Ready"),
        (None, None) => format!("budget {name}: {needs}; it opens when one more is Ready"),
    })
}
