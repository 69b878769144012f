//! Whose turn it is: as many pods at a time as their budget allows, or without one their controller's strength.

use std::collections::BTreeMap;

use hostler_plan::drain::{NoPlace, Strength, budget, budget_counts, fits_nowhere};

use super::state::{Drain, RoundError};
use crate::{
    host::{Budget, Cluster, ClusterError, Node, Owner, Pod, PodScope},
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
    budgets: Vec<Budget>,
    namespaces: BTreeMap<String, Vec<Pod>>,
}

impl<'a> Turns<'a> {
    pub(super) fn look(nodes: &'a [Node], drained: &'a str, cluster: &dyn Cluster) -> Result<Self, ClusterError> {
        Ok(Self { nodes, drained, budgets: cluster.budgets()?, namespaces: BTreeMap::new() })
    }

    /// An eviction under the pod's budget was accepted.
    pub(super) fn took(&mut self, pod: &Pod) {
        for counting in self.budgets.iter_mut().filter(|b| budget::matches(b, pod)) {
            counting.disruptions_allowed = counting.disruptions_allowed.saturating_sub(1);
        }
        let namespace = self.namespaces.get_mut(&pod.key.namespace).into_iter().flatten();
        namespace.filter(|known| known.key == pod.key).for_each(|known| known.ready = false);
    }

    /// A pod of a controller that waits for a node, with the scheduler's reason, among those that were looked at.
    pub(super) fn unscheduled(&self) -> Option<(&Pod, &str)> {
        self.namespaces.values().flatten().find_map(|pod| Some((pod, pod.unschedulable.as_deref()?)))
    }

    /// The budget that counts the pod, where there is one.
    fn budget_of(&self, pod: &Pod) -> Option<&Budget> {
        self.budgets.iter().find(|b| budget_counts(pod) && budget::matches(b, pod))
    }

    /// Why what takes the pod's place can run on no other node, where that is certain.
    pub(super) fn no_place(&self, pod: &Pod) -> Option<NoPlace> {
        fits_nowhere(pod, self.nodes, self.drained)
    }

    /// The budget whose selector has the pod, for people.
    pub(super) fn name_of_budget(&self, pod: &Pod) -> Option<String> {
        self.budgets.iter().find(|b| budget::matches(b, pod)).map(budget::name)
    }

    /// How many pods of a controller are Ready now.
    fn ready(&mut self, pod: &Pod, owner: &Owner, cluster: &dyn Cluster) -> Result<u32, ClusterError> {
        let namespace = &pod.key.namespace;
        if !self.namespaces.contains_key(namespace) {
            let pods = cluster.pods(PodScope::InNamespace(namespace))?;
            self.namespaces.insert(namespace.clone(), pods);
        }
        let siblings = self.namespaces.get(namespace).into_iter().flatten();
        let ready = siblings.filter(|p| p.owner.as_ref() == Some(owner) && p.ready && p.deletion.is_none()).count();
        Ok(u32::try_from(ready).unwrap_or(u32::MAX))
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
        let Some(owner) = pod.owner.as_ref().filter(|_| !pod.is_finished()) else { return Ok(May::Go) };
        let counting = turns.budget_of(pod);
        // Whether one that is not Ready may go is the server's to say.
        if let Some(counting) = counting.filter(|b| pod.ready && b.disruptions_allowed == 0) {
            let (needs, has) = (counting.desired_healthy, counting.current_healthy);
            let sentence = format!("it needs {needs} healthy pods and has {has}");
            return Ok(May::Held(budget::name(counting), sentence));
        }
        let in_order = owner.kind == "StatefulSet";
        if owner.kind == "Job" || (counting.is_some() && !in_order) {
            return Ok(May::Go);
        }
        let cluster = context.cluster()?;
        let ready = turns.ready(pod, owner, cluster)?;
        let id = (pod.key.namespace.clone(), owner.clone());
        let strength = match self.controllers.get(&id) {
            Some(known) => *known,
            None => {
                let scale = if in_order { None } else { cluster.scale(&pod.key.namespace, owner)? };
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
