//! How long a drain should take: the turns in which pods leave, each with the time to stop and, between two turns, the
//! time until what takes their place is Ready.

use std::{collections::BTreeMap, time::Duration};

use super::turn::MAX_GOING;
use crate::{
    document::{Expected, Turn},
    form::Reason,
    text::age,
};

/// From the start of a container to its first good probe, where nothing is known of it.
const ASSUMED_START: Duration = Duration::from_secs(10);

/// Pods that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queue {
    /// Who they are, for people.
    pub(super) name: String,
    pub(super) pods: u32,
    /// How many of them may be away at a time, at least one.
    pub(super) at_once: u32,
    /// The longest that one may take to stop.
    pub(super) grace: Duration,
    /// How long the slowest took in the last drain, where that is known of all of them.
    pub(super) stopped_in: Option<Duration>,
    /// How fast one was Ready before, where that is known.
    pub(super) started_in: Option<Duration>,
    /// Whether the next wait until what takes the place of the last is Ready.
    pub(super) comes_back: bool,
}

impl Queue {
    fn rounds(&self) -> u32 {
        if self.comes_back { self.pods.div_ceil(self.at_once.max(1)).max(1) } else { 1 }
    }

    /// How long one takes to stop: as it did before, and no longer than it may.
    fn stops(&self) -> Duration {
        self.stopped_in.map_or(self.grace, |before| before.min(self.grace))
    }

    fn takes(&self) -> Duration {
        let starts = self.started_in.unwrap_or(ASSUMED_START).saturating_mul(self.rounds() - 1);
        self.stops().saturating_mul(self.rounds()).saturating_add(starts)
    }

    fn sentence(&self) -> String {
        let stop = whole_seconds(self.stops());
        if self.rounds() == 1 {
            let takes = if self.stopped_in.is_some() { "took" } else { "may take" };
            let before = if self.stopped_in.is_some() { " in the last drain" } else { "" };
            return format!("{} {takes} {stop} to stop{before}", self.name);
        }
        let start = match self.started_in {
            Some(known) => format!("the {} that one took to start before", age(known.as_secs())),
            None => format!("{} to start, which is a guess", age(ASSUMED_START.as_secs())),
        };
        let rounds = self.rounds();
        let before = if self.stopped_in.is_some() { ", as in the last drain," } else { "," };
        format!("{} leaves {} at a time: {rounds} times {stop} to stop{before} and {start}", self.name, self.at_once)
    }
}

/// One that is gone at once takes a second for people.
fn whole_seconds(takes: Duration) -> String {
    age(takes.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

/// What the queues of each turn take, all of one turn at the same time; none where nothing leaves.
pub(super) fn expected(turns: &BTreeMap<Turn, Vec<Queue>>) -> Option<Expected> {
    let longest = |queues: &Vec<Queue>| {
        let most = queues.iter().max_by_key(|queue| queue.takes())?.clone();
        let pods: u32 = queues.iter().map(|queue| queue.pods).sum();
        // No more than these go at a time.
        let rounds = pods.div_ceil(MAX_GOING);
        let stops = queues.iter().map(Queue::stops).max().unwrap_or_default();
        Some((most.takes().max(stops.saturating_mul(rounds)), most))
    };
    let rows: Vec<(Duration, Queue)> = turns.values().filter_map(longest).collect();
    let (_, slowest) = rows.iter().max_by_key(|(takes, _)| *takes)?;
    let seconds = |takes: &Duration| takes.as_secs().saturating_add(u64::from(takes.subsec_nanos() > 0));
    let all_known = turns.values().flatten().all(|queue| queue.stopped_in.is_some());
    let most = if all_known { "" } else { "at most: " };
    Some(Expected {
        seconds: rows.iter().map(|(takes, _)| seconds(takes)).fold(0, u64::saturating_add),
        rests_on: Reason::of(&format!("{most}{}", slowest.sentence())),
    })
}
