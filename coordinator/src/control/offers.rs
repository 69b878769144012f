//! Plans that a node refused and that may be right for it later: its clock was off, its disk was full, a root had not
//! come. They are offered again, because nobody tells when such a thing has passed.

use std::{collections::BTreeMap, time::Duration};

use hostler_plan::{
    id::{Digest, NodeName},
    sequencer::NodeEvent,
    timestamp::Timestamp,
};

use super::Control;

/// The longest time after a refusal: whoever set a clock right sees it go on while still there.
const OFFER_AGAIN: Duration = Duration::from_secs(30);
/// A refusal within the time of a lease keeps it, so that the plan is offered twice in it.
const OFFERS_PER_LEASE: u64 = 2;

/// When which plan is offered again to whom.
#[derive(Debug, Default)]
pub(super) struct Offers {
    at: BTreeMap<(NodeName, Digest), Timestamp>,
}

impl Offers {
    /// A node refused a plan that goes on, and whose leases are so long.
    pub(super) fn refused(&mut self, now: Timestamp, node: &NodeName, plan: Digest, lease_seconds: u64) {
        let after = Duration::from_secs(lease_seconds / OFFERS_PER_LEASE).min(OFFER_AGAIN);
        self.at.entry((node.clone(), plan)).or_insert(now.plus(after));
    }

    /// When to offer the next one.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.at.values().min().copied()
    }

    /// The clock stepped by so many milliseconds: none of them waits for longer because of it.
    pub(super) fn clock_stepped(&mut self, by_ms: i64) {
        self.at.values_mut().for_each(|at| *at = at.stepped(by_ms));
    }

    fn take_due(&mut self, now: Timestamp) -> Vec<(NodeName, Digest)> {
        let due: Vec<_> = self.at.iter().filter(|(_, at)| **at <= now).map(|(what, _)| what.clone()).collect();
        self.at.retain(|_, at| *at > now);
        due
    }
}

impl Control {
    /// Sends the plans again whose time has come, with what was granted of them.
    pub(super) fn offer_again(&mut self, now: Timestamp) {
        for (node, plan) in self.offers.take_due(now) {
            if self.state.is_open(&plan) && self.streams.by_node.contains_key(&node) {
                self.observe(now, NodeEvent::PlanOffered { node: node.clone(), plan });
                self.send_again(&node, &plan);
            }
        }
    }
}
