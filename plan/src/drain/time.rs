//! How long a drain should take: the turns in which pods leave, each with the time to stop and, between two turns, the
//! time until what takes their place is Ready.

use std::{collections::BTreeMap, time::Duration};

use super::turn::MAX_GOING;
use crate::{
    document::{Expected, Turn},
    form::Reason,
    text::{age, count},
};

/// An earlier drain of the same node: what it really took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Pods that left.
    pub pods: u32,
    pub seconds: u64,
}

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
    /// How fast one was Ready before, where that is known.
    pub(super) started_in: Option<Duration>,
    /// Whether the next wait until what takes the place of the last is Ready.
    pub(super) comes_back: bool,
}

impl Queue {
    fn rounds(&self) -> u32 {
        if self.comes_back { self.pods.div_ceil(self.at_once.max(1)).max(1) } else { 1 }
    }

    fn takes(&self) -> Duration {
        let starts = self.started_in.unwrap_or(ASSUMED_START).saturating_mul(self.rounds() - 1);
        self.grace.saturating_mul(self.rounds()).saturating_add(starts)
    }

    fn sentence(&self) -> String {
        let grace = age(self.grace.as_secs());
        if self.rounds() == 1 {
            return format!("{} may take {grace} to stop", self.name);
        }
        let start = match self.started_in {
            Some(known) => format!("the {} that one took to start before", age(known.as_secs())),
            None => format!("{} to start, which is a guess", age(ASSUMED_START.as_secs())),
        };
        let rounds = self.rounds();
        format!("{} leaves {} at a time: {rounds} times {grace} to stop, and {start}", self.name, self.at_once)
    }
}

/// What the queues of each turn take, all of one turn at the same time; none where nothing leaves.
pub(super) fn expected(turns: &BTreeMap<Turn, Vec<Queue>>, past: Option<Past>) -> Option<Expected> {
    let longest = |queues: &Vec<Queue>| {
        let most = queues.iter().max_by_key(|queue| queue.takes())?.clone();
        let pods: u32 = queues.iter().map(|queue| queue.pods).sum();
        // No more than these go at a time.
        let rounds = pods.div_ceil(MAX_GOING);
        let grace = queues.iter().map(|queue| queue.grace).max().unwrap_or_default();
        Some((most.takes().max(grace.saturating_mul(rounds)), pods, most))
    };
    let turns: Vec<(Duration, u32, Queue)> = turns.values().filter_map(longest).collect();
    let (_, _, slowest) = turns.iter().max_by_key(|(takes, ..)| *takes)?;
    let at_most = turns.iter().map(|(takes, ..)| takes.as_secs()).fold(0, u64::saturating_add);
    let pods: u32 = turns.iter().map(|(_, pods, _)| pods).sum();
    let scaled = |past: Past| past.seconds.saturating_mul(pods.into()).div_ceil(past.pods.into());
    Some(match past.filter(|past| past.pods > 0 && scaled(*past) < at_most) {
        Some(past) => Expected {
            seconds: scaled(past),
            rests_on: Reason::of(&format!(
                "the last drain of it took {} for {}",
                age(past.seconds),
                count(past.pods, "pod")
            )),
        },
        None => Expected { seconds: at_most, rests_on: Reason::of(&format!("at most: {}", slowest.sentence())) },
    })
}
