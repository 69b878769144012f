//! What a drain has to see of a cluster before it can be judged.

use std::collections::{BTreeMap, BTreeSet};

use super::{budget, pods::budget_counts};
use crate::cluster::{Budget, Node, Owner, Pod, Scale};

/// What was seen of a cluster about one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The node that is to be drained.
    pub node: String,
    /// Every node.
    pub nodes: Vec<Node>,
    /// The pods on the node.
    pub pods: Vec<Pod>,
    /// Every budget.
    pub budgets: Vec<Budget>,
    /// All pods of the namespaces that [`Self::namespaces_to_read`] names.
    pub siblings: BTreeMap<String, Vec<Pod>>,
    /// What the controllers that [`Self::owners_to_read`] names ask for, by their namespace; one without a scale is
    /// left out.
    pub scales: BTreeMap<(String, Owner), Scale>,
}

impl Look {
    /// The namespaces in which a budget counts a pod of the node: the arithmetic is about all of its pods.
    pub fn namespaces_to_read(&self) -> BTreeSet<&str> {
        let counted = self.pods.iter().filter(|pod| !self.budgets_of(pod).is_empty());
        counted.map(|pod| pod.key.namespace.as_str()).collect()
    }

    /// The controllers whose pods are counted together with a pod of the node.
    pub fn owners_to_read(&self) -> BTreeSet<(String, Owner)> {
        let counting: BTreeSet<(&str, &str)> =
            self.pods.iter().flat_map(|pod| self.budgets_of(pod)).map(|b| (&*b.namespace, &*b.name)).collect();
        let counting = self.budgets.iter().filter(|b| counting.contains(&(&*b.namespace, &*b.name)));
        let counted = counting.flat_map(|budget| {
            let siblings = self.siblings.get(&budget.namespace).into_iter().flatten();
            siblings
                .filter(|pod| budget::counts(budget, pod))
                .filter_map(|pod| pod.owner.clone())
                .map(|owner| (budget.namespace.clone(), owner))
        });
        counted.collect()
    }

    /// The budgets that have a say in an eviction of the pod.
    pub fn budgets_of(&self, pod: &Pod) -> Vec<&Budget> {
        self.budgets.iter().filter(|b| budget_counts(pod) && budget::matches(b, pod)).collect()
    }
}
