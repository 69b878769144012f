//! Whose turn it is: as many pods at a time as their budget allows, or without one their controller's strength.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::{
    cluster::{Budget, Node, Owner, Pod},
    drain::{Budgets, NoPlace, Pace, Strength, budget_counts, budget_needs, fits_nowhere, pace},
};

use super::state::{Drain, RoundError};
use crate::{
    host::{Cluster, ClusterError, PodScope},
    steps::action::StepContext,
};

/// Whether a pod may be asked to go.
pub(super) enum May {
    Go,
    /// Others of its controller go first.
    NotYet,
    /// A budget says no for now; its name and sentence.
    Held(String, String),
}

/// What one round knows of budgets and of the pods of each namespace.
pub(super) struct Turns<'a> {
    nodes: &'a [Node],
    drained: &'a str,
    budgets: Budgets<'a>,
    /// Evictions of this round under each budget.
    taken: BTreeMap<&'a str, BTreeMap<&'a str, u32>>,
    /// Namespaces whose pods were looked at.
    looked: BTreeSet<String>,
    /// Ready pods of each controller there.
    ready: BTreeMap<(String, Owner), u32>,
    /// A pod there that waits for a node, and the scheduler's reason.
    unscheduled: Option<(String, String)>,
}

impl<'a> Turns<'a> {
    pub(super) fn new(nodes: &'a [Node], drained: &'a str, budgets: &'a [Budget]) -> Self {
        Self {
            nodes,
            drained,
            budgets: Budgets::new(budgets),
            taken: BTreeMap::new(),
            looked: BTreeSet::new(),
            ready: BTreeMap::new(),
            unscheduled: None,
        }
    }

    /// An eviction of the pod was accepted.
    pub(super) fn took(&mut self, pod: &Pod) {
        for budget in self.budgets.of(pod) {
            *self.taken.entry(&budget.namespace).or_default().entry(&budget.name).or_default() += 1;
        }
        let owner = pod.owner.as_ref().filter(|_| pod.ready);
        let id = owner.map(|owner| (pod.key.namespace.clone(), owner.clone()));
        if let Some(ready) = id.and_then(|id| self.ready.get_mut(&id)) {
            *ready = ready.saturating_sub(1);
        }
    }

    /// A pod of a controller that waits for a node, with the scheduler's reason, among those that were looked at.
    pub(super) fn unscheduled(&self) -> Option<(&str, &str)> {
        self.unscheduled.as_ref().map(|(pod, why)| (pod.as_str(), why.as_str()))
    }

    /// Why what takes the pod's place can run on no other node, where that is certain.
    pub(super) fn no_place(&self, pod: &Pod) -> Option<NoPlace> {
        fits_nowhere(pod, self.nodes, self.drained)
    }

    /// The budget whose selector has the pod.
    pub(super) fn budget_over(&self, pod: &Pod) -> Option<&'a Budget> {
        self.budgets.of(pod).next()
    }

    /// The budget that has a say in an eviction of the pod, where there is one.
    fn budget_of(&self, pod: &Pod) -> Option<&'a Budget> {
        self.budget_over(pod).filter(|_| budget_counts(pod))
    }

    /// Whether the budget's status lets no more go in this round.
    pub(super) fn is_closed(&self, budget: &Budget) -> bool {
        let taken = self.taken.get(budget.namespace.as_str()).and_then(|taken| taken.get(budget.name.as_str()));
        budget.disruptions_allowed <= taken.copied().unwrap_or(0)
    }

    /// How many pods of a controller are Ready now.
    fn ready(&mut self, namespace: &str, owner: &Owner, cluster: &dyn Cluster) -> Result<u32, ClusterError> {
        if self.looked.insert(namespace.to_owned()) {
            for pod in cluster.pods(PodScope::InNamespace(namespace))? {
                if let (None, Some(why)) = (&self.unscheduled, &pod.unschedulable) {
                    self.unscheduled = Some((pod.key.to_string(), why.clone()));
                }
                if let Some(owner) = pod.owner.filter(|_| pod.ready && pod.deletion.is_none()) {
                    *self.ready.entry((namespace.to_owned(), owner)).or_default() += 1;
                }
            }
        }
        Ok(self.ready.get(&(namespace.to_owned(), owner.clone())).copied().unwrap_or(0))
    }
}

impl Drain<'_> {
    /// Whether the pod's turn has come.
    pub(super) fn may_go(
        &mut self,
        pod: &Pod,
        turns: &mut Turns<'_>,
        context: &StepContext<'_>,
    ) -> Result<May, RoundError> {
        let counting = turns.budget_of(pod);
        let pace = pace(pod, counting.is_some());
        let Some(owner) = pod.owner.as_ref().filter(|_| !pod.is_finished()) else { return Ok(May::Go) };
        // Whether one that is not Ready may go is the server's to say.
        if let Some(counting) = counting.filter(|budget| pod.ready && turns.is_closed(budget)) {
            return Ok(May::Held(counting.full_name(), budget_needs(counting)));
        }
        let one_by_one = match pace {
            Pace::Free | Pace::Budget => return Ok(May::Go),
            Pace::OneByOne => true,
            Pace::Strength => false,
        };
        let cluster = context.cluster()?;
        let ready = turns.ready(&pod.key.namespace, owner, cluster)?;
        let id = (pod.key.namespace.clone(), owner.clone());
        let strength = match self.controllers.get(&id) {
            Some(known) => *known,
            None => {
                let asked = if one_by_one { BTreeSet::new() } else { BTreeSet::from([id.clone()]) };
                let scale = cluster.controllers(&asked)?.remove(&id).and_then(|controller| controller.scale);
                let strength = Strength { before: ready, at_once: scale.map_or(1, |scale| scale.at_once) };
                self.controllers.insert(id, strength);
                strength
            }
        };
        let is_strong = strength.allows_another(ready);
        let comes_back = || turns.no_place(pod).is_none();
        Ok(if is_strong || !comes_back() { May::Go } else { May::NotYet })
    }
}
