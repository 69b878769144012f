//! What a drain has to see of a cluster before it can be judged.

use std::collections::{BTreeMap, BTreeSet};

use super::{budget::Budgets, pods::losses};
use crate::cluster::{Attachment, Budget, Controller, EvictionRequest, Node, Owner, Pod, Shared};

/// What somebody wants to know of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// What becomes of every pod, whose it is and how long that takes.
    ForAll,
    /// What holds it: budgets, and what would be lost.
    WhatHolds,
}

/// What was seen of a cluster at one moment, for the nodes that somebody asks about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// Every node.
    pub nodes: Vec<Shared<Node>>,
    /// Every pod; the claims of those on the nodes that are asked about lead to their volumes.
    pub pods: Vec<Shared<Pod>>,
    /// Every budget.
    pub budgets: Vec<Shared<Budget>>,
    /// The controllers that [`Self::owners_to_read`] names, by their namespace; one that is gone is left out.
    pub controllers: BTreeMap<(String, Owner), Controller>,
    /// Every attached volume.
    pub attachments: Vec<Attachment>,
    /// What others asked for of pods and is still open.
    pub requests: Vec<EvictionRequest>,
}

impl Look {
    /// The controllers of the pods on these nodes, as far as they are to be known, and of all pods that a budget counts
    /// together with one of them.
    pub fn owners_to_read(&self, nodes: &[&str], asks: Asks) -> BTreeSet<(String, Owner)> {
        let here = |pod: &&Shared<Pod>| pod.node.as_ref().is_some_and(|node| nodes.contains(&node.as_str()));
        let budgets = Budgets::new(self.budgets.iter().map(AsRef::as_ref));
        let mut counting: Vec<&Budget> = Vec::new();
        let mut known: BTreeSet<(&str, &str)> = BTreeSet::new();
        for budget in self.pods.iter().filter(here).filter_map(|pod| budgets.only(pod)) {
            if known.insert((&budget.namespace, &budget.name)) {
                counting.push(budget);
            }
        }
        let counted = Budgets::new(counting);
        let is_asked = |pod: &&Shared<Pod>| match asks {
            Asks::ForAll => here(pod),
            Asks::WhatHolds => here(pod) && !losses(pod).is_empty(),
        };
        let owners = self.pods.iter().filter(|pod| is_asked(pod) || counted.of(pod).next().is_some());
        owners.filter_map(|pod| pod.owner_id()).collect()
    }
}
