//! Pods that come back to the node as often as they leave it: their controller names the node itself, or they tolerate
//! its cordon and the scheduler finds it the emptiest of all.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    remaining::Remaining,
    state::{AtFirst, Drain},
};
use crate::host::{Node, Pod};

/// A controller's pods are sent away so often again, for each that was there at first: the scheduler may choose
/// another node.
const RETURNS: u32 = 3;

impl Drain<'_> {
    /// Remembers who was there before anybody left.
    pub(super) fn note_first(&mut self, remaining: &Remaining) {
        if self.at_first.is_some() {
            return;
        }
        let (mut uids, mut pods) = (BTreeSet::new(), BTreeMap::new());
        for (pod, _) in &remaining.judged {
            uids.insert(pod.key.uid.clone());
            if let Some(owner) = pod.owner_id() {
                *pods.entry(owner).or_default() += 1;
            }
        }
        self.at_first = Some(AtFirst { uids, pods });
    }

    /// Counts a pod that was evicted, where it had come back.
    pub(super) fn note_return(&mut self, pod: &Pod) {
        let came_later = self.at_first.as_ref().is_some_and(|first| !first.uids.contains(&pod.key.uid));
        if let Some(owner) = pod.owner_id().filter(|_| came_later) {
            *self.returned.entry(owner).or_default() += 1;
        }
    }

    /// Why it is in vain to evict the pod once more.
    pub(super) fn keeps_returning(&self, pod: &Pod, node: &Node) -> Option<String> {
        let owner = pod.owner_id()?;
        let returned = self.returned.get(&owner).copied()?;
        let at_first = self.at_first.as_ref().and_then(|first| first.pods.get(&owner)).copied().unwrap_or(1);
        if returned < at_first.saturating_mul(RETURNS) {
            return None;
        }
        let (kind, name) = (&owner.1.kind, &owner.1.name);
        let why = match hostler_plan::drain::may_come_back(pod, node) {
            true => "it tolerates a cordon. Take that toleration from it, or scale it down",
            false => "whoever makes it puts it on this node by its name. Stop that, or scale it down",
        };
        Some(format!("{kind} {name} came back to {} {returned} times after it had left: {why}", node.name))
    }
}
