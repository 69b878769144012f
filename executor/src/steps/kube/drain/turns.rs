//! Whose turn it is: as many pods at a time as their budget allows, or without one their controller's strength.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::{
    cluster::{Budget, Node, Owner, Pod, PodKey, Shared},
    drain::{Budgets, Keeper, NoPlace, Pace, Strength, budget_counts, budget_needs, fits_nowhere, pace},
    timestamp::Timestamp,
};

use super::state::{Charged, Drain, RETRY, Round, RoundError};
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
    nodes: &'a [Shared<Node>],
    drained: &'a str,
    budgets: Budgets<'a>,
    /// Evictions under each budget that its status does not show.
    taken: BTreeMap<(String, String), u32>,
    /// Controllers whose pods leave by their strength.
    by_strength: BTreeSet<(String, Owner)>,
    /// Pods that are going, whatever is seen of them.
    going: BTreeSet<PodKey>,
    /// Namespaces whose pods were looked at.
    looked: BTreeSet<String>,
    /// Ready pods of each controller there.
    ready: BTreeMap<(String, Owner), u32>,
    /// A pod there that waits for a node, and the scheduler's reason.
    unscheduled: Option<(String, String)>,
}

impl<'a> Turns<'a> {
    /// Of what was seen, while these are going.
    pub(super) fn new(round: &'a Round, budgets: &'a [Shared<Budget>], going: BTreeSet<PodKey>) -> Self {
        let budgets = Budgets::new(budgets.iter().map(Shared::as_ref));
        let by_strength = |pod: &&Shared<Pod>| {
            let is_counted = budget_counts(pod) && budgets.of(pod).next().is_some();
            pace(pod, is_counted) == Pace::Strength
        };
        let left = round.remaining.left().map(|(pod, _)| pod);
        Self {
            nodes: &round.nodes,
            drained: &round.node.name,
            by_strength: left.filter(by_strength).filter_map(|pod| pod.owner_id()).collect(),
            budgets,
            taken: BTreeMap::new(),
            going,
            looked: BTreeSet::new(),
            ready: BTreeMap::new(),
            unscheduled: None,
        }
    }

    /// An eviction of the pod is asked for; who comes after it reckons with that.
    pub(super) fn took(&mut self, pod: &Pod) {
        self.count(pod, |taken| taken.saturating_add(1), |ready| ready.saturating_sub(1));
    }

    /// It was refused.
    pub(super) fn gave_back(&mut self, pod: &Pod) {
        self.count(pod, |taken| taken.saturating_sub(1), |ready| ready.saturating_add(1));
    }

    fn count(&mut self, pod: &Pod, taken: fn(u32) -> u32, ready: fn(u32) -> u32) {
        if !pod.ready {
            return;
        }
        for budget in self.budgets.of(pod).filter(|_| budget_counts(pod)) {
            let known = self.taken.entry(id(budget)).or_default();
            *known = taken(*known);
        }
        if let Some(known) = pod.owner_id().and_then(|id| self.ready.get_mut(&id)) {
            *known = ready(*known);
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
        budget.disruptions_allowed <= self.under_way(budget)
    }

    /// Evictions under it that its status does not show.
    fn under_way(&self, budget: &Budget) -> u32 {
        self.taken.get(&id(budget)).copied().unwrap_or(0)
    }

    /// How many pods of a controller are Ready now.
    fn ready(&mut self, namespace: &str, owner: &Owner, cluster: &dyn Cluster) -> Result<u32, ClusterError> {
        if self.looked.insert(namespace.to_owned()) {
            for pod in cluster.pods(PodScope::InNamespace(namespace))? {
                if let (None, Some(why)) = (&self.unscheduled, &pod.unschedulable) {
                    self.unscheduled = Some((pod.key.to_string(), why.clone()));
                }
                let goes = pod.deletion.is_some() || self.going.contains(&pod.key);
                if let Some(id) = pod.owner_id().filter(|_| pod.ready && !goes) {
                    *self.ready.entry(id).or_default() += 1;
                }
            }
        }
        Ok(self.ready.get(&(namespace.to_owned(), owner.clone())).copied().unwrap_or(0))
    }
}

/// Namespace and name.
fn id(budget: &Budget) -> (String, String) {
    (budget.namespace.clone(), budget.name.clone())
}

impl Drain<'_> {
    /// Counts what was taken under a budget whose state does not show it yet.
    pub(super) fn count_charged(&mut self, turns: &mut Turns<'_>, budgets: &[Shared<Budget>], now: Timestamp) {
        for budget in budgets {
            let Some(charged) = self.charged.get(&id(budget)) else { continue };
            if charged.version == budget.resource_version && now < charged.until {
                turns.taken.insert(id(budget), charged.pods);
            } else {
                self.charged.remove(&id(budget));
            }
        }
    }

    /// Remembers for the next round what was taken in this one.
    pub(super) fn note_charged(&mut self, turns: &Turns<'_>, budgets: &[Shared<Budget>], now: Timestamp) {
        for budget in budgets.iter().filter(|budget| !budget.resource_version.is_empty()) {
            let Some(pods) = turns.taken.get(&id(budget)).copied().filter(|pods| *pods > 0) else { continue };
            let known = self.charged.get(&id(budget));
            if known.is_none_or(|charged| charged.pods != pods) {
                let (version, until) = (budget.resource_version.clone(), now.plus(RETRY));
                self.charged.insert(id(budget), Charged { version, pods, until });
            }
        }
    }

    /// Whether the pod's turn has come.
    pub(super) fn may_go(
        &mut self,
        pod: &Pod,
        turns: &mut Turns<'_>,
        context: &StepContext<'_>,
    ) -> Result<May, RoundError> {
        let counting = turns.budget_of(pod);
        let pace = pace(pod, counting.is_some());
        let Some(owner) = pod.owner.as_deref().filter(|_| !pod.is_finished()) else { return Ok(May::Go) };
        // Whether one that is not Ready may go is the server's to say, and some have to be asked before they open it.
        let asks = !pod.ready || Keeper::of(pod).is_some_and(Keeper::has_to_be_asked);
        if let Some(counting) = counting.filter(|budget| !asks && turns.is_closed(budget)) {
            return Ok(May::Held(counting.full_name(), budget_needs(counting, turns.under_way(counting))));
        }
        let one_by_one = match pace {
            Pace::Free | Pace::Budget => return Ok(May::Go),
            Pace::OneByOne => true,
            Pace::Strength => false,
        };
        let cluster = self.cluster(context)?;
        let ready = turns.ready(&pod.key.namespace, owner, cluster)?;
        let id = (pod.key.namespace.clone(), owner.clone());
        let before = *self.before.entry(id.clone()).or_insert(ready);
        // Every controller lets one be away; whether more is asked for once it matters.
        let mut is_strong = Strength { before, at_once: 1 }.allows_another(ready);
        if !is_strong && !one_by_one {
            let at_once = self.at_once(id, turns, context)?;
            is_strong = Strength { before, at_once }.allows_another(ready);
        }
        let comes_back = || turns.no_place(pod).is_none();
        Ok(if is_strong || !comes_back() { May::Go } else { May::NotYet })
    }

    /// How many pods of the controller may be away by its own word. All whose pods leave by their strength are asked
    /// together.
    fn at_once(
        &mut self,
        id: (String, Owner),
        turns: &Turns<'_>,
        context: &StepContext<'_>,
    ) -> Result<u32, RoundError> {
        if let Some(known) = self.at_once.get(&id) {
            return Ok(*known);
        }
        let unknown = turns.by_strength.iter().filter(|id| !self.at_once.contains_key(id)).cloned();
        let asked: BTreeSet<(String, Owner)> = unknown.chain([id.clone()]).collect();
        let mut found = context.cluster()?.controllers(&asked)?;
        for id in asked {
            let scale = found.remove(&id).and_then(|controller| controller.scale);
            self.at_once.insert(id, scale.map_or(1, |scale| scale.at_once));
        }
        Ok(self.at_once.get(&id).copied().unwrap_or(1))
    }
}
