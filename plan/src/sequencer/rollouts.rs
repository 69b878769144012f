//! The rollouts in the order in which they were received, and what is asked of them at every look.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Digest, NodeName};

use super::{
    rollout::{End, Rollout},
    view::TaskState,
};

/// Which plan it was that the ledger took in: 1 for the first.
pub(super) type Arrival = u64;

/// Every rollout. What is counted here is kept up with each change, so that no question walks through all of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Rollouts {
    all: BTreeMap<Arrival, Rollout>,
    by_plan: BTreeMap<Digest, Arrival>,
    last: Arrival,
    /// Those that are not over, and those that are and whose nodes may still be at work or have to finish something.
    active: BTreeSet<Arrival>,
    /// By performing node, the tasks that it may be at.
    in_flight: BTreeMap<NodeName, BTreeSet<(Arrival, usize)>>,
    /// Plans whose rollouts were let go.
    forgotten: BTreeSet<Digest>,
}

impl Rollouts {
    /// Whether that plan was ever taken in.
    pub(super) fn knows(&self, plan: &Digest) -> bool {
        self.by_plan.contains_key(plan) || self.forgotten.contains(plan)
    }

    pub(super) fn add(&mut self, rollout: Rollout) {
        self.last += 1;
        self.by_plan.insert(rollout.digest, self.last);
        self.all.insert(self.last, rollout);
        self.note_activity(self.last);
    }

    /// Lets go of a rollout that nothing can change any more; false when something can.
    pub(super) fn forget(&mut self, plan: &Digest) -> bool {
        let Some(arrival) = self.find(plan).filter(|&a| self.all[&a].is_settled()) else { return false };
        self.all.remove(&arrival);
        self.by_plan.remove(plan);
        self.forgotten.insert(*plan);
        true
    }

    pub(super) fn find(&self, plan: &Digest) -> Option<Arrival> {
        self.by_plan.get(plan).copied()
    }

    pub(super) fn get(&self, plan: &Digest) -> Option<&Rollout> {
        self.all.get(self.by_plan.get(plan)?)
    }

    /// To change what nothing is counted of: neither the state of a task nor the end.
    pub(super) fn get_mut(&mut self, plan: &Digest) -> Option<&mut Rollout> {
        self.all.get_mut(self.by_plan.get(plan)?)
    }

    pub(super) fn at(&self, arrival: Arrival) -> &Rollout {
        &self.all[&arrival]
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rollout> {
        self.all.values()
    }

    /// Those that are not over, and those whose nodes may still be at work or have to finish something, oldest first.
    pub(super) fn active(&self) -> impl Iterator<Item = (Arrival, &Rollout)> {
        self.active.iter().map(|&arrival| (arrival, self.at(arrival)))
    }

    pub(super) fn open(&self) -> impl Iterator<Item = (Arrival, &Rollout)> {
        self.active().filter(|(_, r)| !r.is_over())
    }

    /// Those of which something may be granted: that are not over, or have to finish something all the same.
    pub(super) fn going_on(&self) -> impl Iterator<Item = (Arrival, &Rollout)> {
        self.active().filter(|(_, r)| !r.is_over() || r.has_to_finish())
    }

    /// As [`get_mut`](Self::get_mut), of those that are active.
    pub(super) fn active_mut(&mut self) -> impl Iterator<Item = &mut Rollout> {
        let active = &self.active;
        // Rollouts that are over for good are few: the coordinator lets go of them.
        self.all.iter_mut().filter(|(arrival, _)| active.contains(arrival)).map(|(_, rollout)| rollout)
    }

    /// The tasks that a node may be performing.
    pub(super) fn in_flight(&self, node: &NodeName) -> impl Iterator<Item = (&Rollout, usize)> {
        self.in_flight.get(node).into_iter().flatten().map(|&(arrival, task)| (self.at(arrival), task))
    }

    /// How many tasks a node may be performing.
    pub(super) fn count_in_flight(&self, node: &NodeName) -> usize {
        self.in_flight.get(node).map_or(0, BTreeSet::len)
    }

    pub(super) fn set_state(&mut self, arrival: Arrival, task: usize, state: TaskState) {
        let Some(rollout) = self.all.get_mut(&arrival) else { return };
        rollout.set_state(task, state);
        let node = &rollout.plan.tasks[task].node;
        if rollout.tasks()[task].in_flight() {
            self.in_flight.entry(node.clone()).or_default().insert((arrival, task));
        } else if let Some(tasks) = self.in_flight.get_mut(node) {
            tasks.remove(&(arrival, task));
            if tasks.is_empty() {
                self.in_flight.remove(node);
            }
        }
        self.note_activity(arrival);
    }

    pub(super) fn end(&mut self, arrival: Arrival, end: End) {
        if let Some(rollout) = self.all.get_mut(&arrival) {
            rollout.end = Some(end);
            rollout.good.clear();
            self.note_activity(arrival);
        }
    }

    fn note_activity(&mut self, arrival: Arrival) {
        let rollout = &self.all[&arrival];
        if !rollout.is_over() || !rollout.in_flight().is_empty() || rollout.has_to_finish() {
            self.active.insert(arrival);
        } else {
            self.active.remove(&arrival);
        }
    }
}
