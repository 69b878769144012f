//! In which order pods leave, and how many of one controller at a time.

use std::{cmp::Reverse, collections::BTreeMap};

use super::pods::Fate;
use crate::cluster::{Pod, Shared};

/// Pods that go at the same time: what one look lists and one journal entry tells.
pub const MAX_GOING: u32 = 64;

/// How strong a controller was before, and how much of that may be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strength {
    /// Its Ready pods before the first of them went.
    pub before: u32,
    pub at_once: u32,
}

impl Strength {
    /// Whether one more may go while so many are Ready.
    pub fn allows_another(self, ready: u32) -> bool {
        self.before.saturating_sub(ready) < self.at_once
    }
}

/// What limits how many pods of a controller go at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Nothing: nobody counts on it.
    Free,
    /// Its budget alone.
    Budget,
    /// The controller's strength: as many as it lets be away itself.
    Strength,
    /// The controller's strength, one at a time from its highest number.
    OneByOne,
}

/// What limits the pod's controller, where a budget counts the pod or none does.
pub fn pace(pod: &Pod, is_counted: bool) -> Pace {
    let Some(owner) = pod.owner.as_ref().filter(|_| !pod.is_finished()) else { return Pace::Free };
    match owner.kind.as_str() {
        "StatefulSet" => Pace::OneByOne,
        _ if is_counted => Pace::Budget,
        // A Job starts its pods again, and nobody is served by them meanwhile.
        "Job" => Pace::Free,
        _ => Pace::Strength,
    }
}

/// A StatefulSet's pods leave as it would take them down itself: the highest number first. Controllers take turns: an
/// eviction right behind another one of its budget takes half a second, because the API server and the budget's
/// controller write the budget's status at the same time.
pub fn in_order<'p>(left: impl Iterator<Item = &'p (Shared<Pod>, Fate)>) -> Vec<&'p (Shared<Pod>, Fate)> {
    let mut left: Vec<&(Shared<Pod>, Fate)> = left.collect();
    left.sort_by_key(|(pod, _)| Reverse(number(pod)));
    let mut counts = BTreeMap::new();
    let turn = |one: &'p (Shared<Pod>, Fate)| {
        let turn: &mut u32 = counts.entry((&one.0.key.namespace, &one.0.owner)).or_default();
        *turn += 1;
        (*turn, one)
    };
    let mut turns: Vec<(u32, &(Shared<Pod>, Fate))> = left.into_iter().map(turn).collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, one)| one).collect()
}

/// The number of a StatefulSet's pod.
pub(super) fn number(pod: &Pod) -> Option<u64> {
    let owner = pod.owner.as_ref().filter(|owner| owner.kind == "StatefulSet")?;
    pod.key.name.strip_prefix(owner.name.as_str())?.strip_prefix('-')?.parse::<u64>().ok()
}
