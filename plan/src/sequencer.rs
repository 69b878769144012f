//! Decides which task may start, and says why the others wait.
//!
//! A deterministic state machine. Durable facts come in through [`Sequencer::apply`], in the order of the ledger and
//! again from its beginning after a restart; what is only true right now comes in through [`Sequencer::observe`].
//! [`Sequencer::decide`] returns ledger entries and changes nothing: a decision has effect only once it was appended,
//! applied, and then told to its node. So a crash between any two of these loses nothing and repeats nothing.
//!
//! ```text
//! loop {
//!     let entries = sequencer.decide(now);
//!     if entries.is_empty() { break }
//!     for entry in entries { ledger.append(&entry)?; sequencer.apply(now, &entry); }
//! }
//! // tell every node its open grants; sleep until sequencer.deadline(now) or the next input
//! ```

mod budget;
mod decide;
mod fold;
mod gate;
mod health;
mod observation;
mod rollout;
mod rollouts;
mod status;
#[cfg(test)]
mod tests;
mod view;
mod wait;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
};

pub use budget::Unavailable;
pub use gate::WINDOW_MARGIN;
pub use observation::{ClusterNode, Cordon, CordonOwner, Hold, NodeEvent, Standing};
pub use status::{RolloutAction, RolloutStatus, TaskStatus};
pub use view::{Grant, OpenGrant, Quarantine, RolloutState, RolloutView, TaskState, TaskView};
pub use wait::{Reason, Wait};

use crate::{
    document::{PlanKind, Roster, RosterNode, RosterStatus},
    entry::Entry,
    health::{Verdict, Vitals},
    id::{BootId, Digest, Epoch, Fingerprint, NodeName},
    timestamp::Timestamp,
    version::Version,
};
use rollouts::Rollouts;

/// What is the same for every rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Grants that one node holds at a time. A server drains and watches for others: a lane each and some staging.
    pub grants_per_node: usize,
    /// How long a node that Hostler made unschedulable must have been seen schedulable before the budget believes
    /// that a person undid it. Longer than the slowest reading of node conditions, which lag behind receipts.
    pub settle_seconds: u64,
    /// How long after its work a node may be worse than before until the rollout halts. A node that is well needs less:
    /// its clock is judged 17 minutes after a boot, and what was bad for a moment is good again after 15 minutes.
    pub recovery_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { grants_per_node: 16, settle_seconds: 60, recovery_seconds: 1800 }
    }
}

/// The state machine; see the module's page.
#[derive(Debug, Clone)]
pub struct Sequencer {
    settings: Settings,
    rollouts: Rollouts,
    roster: Option<Roster>,
    /// The keys of its active nodes.
    keys: BTreeMap<NodeName, Fingerprint>,
    /// Of its active nodes, those that have not reported since the start.
    unheard: BTreeSet<NodeName>,
    epoch: Epoch,
    last_grant: u64,
    /// Grants that may have been given in parts of the ledger that were lost.
    lost_grants: Vec<RangeInclusive<u64>>,
    /// A part of the ledger was lost, and what is left was not caught up with or adopted.
    is_restored: bool,
    quarantines: BTreeMap<(NodeName, Version), String>,
    /// Those of a node on which settings did not work: they end where other settings do.
    misconfigured: BTreeSet<(NodeName, Version)>,
    /// Failures that still need their quarantine entry.
    quarantine_due: BTreeMap<(NodeName, Version), String>,
    holds: BTreeMap<NodeName, (Hold, Timestamp)>,
    /// How long nodes were away for plans of that kind, the latest last.
    away: BTreeMap<(NodeName, PlanKind), VecDeque<u64>>,
    nodes: BTreeMap<NodeName, Seen>,
    /// Who is unavailable, but for the nodes in `unlooked`, of which something changed; empty between two calls.
    unavailable: BTreeMap<NodeName, Unavailable>,
    unlooked: BTreeSet<NodeName>,
    /// When this process first observed or decided: leases that were read from the ledger begin anew then, because
    /// nobody could renew them before.
    listening_since: Option<Timestamp>,
}

/// What was observed of a node since the start.
#[derive(Debug, Clone, Default)]
struct Seen {
    connected: Option<BootId>,
    disconnected_since: Option<Timestamp>,
    condition: Option<ClusterNode>,
    /// The boot of its last stream.
    boot: Option<BootId>,
    /// What its last report of this boot means.
    vitals: Option<Vitals>,
    /// When it reported last, in whatever boot.
    reported: Option<Timestamp>,
    /// Since when every reading said schedulable, and the last such reading.
    schedulable: Option<(Timestamp, Timestamp)>,
}

impl Sequencer {
    /// An empty one; replay the ledger into it.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            rollouts: Rollouts::default(),
            roster: None,
            keys: BTreeMap::new(),
            unheard: BTreeSet::new(),
            epoch: Epoch(0),
            last_grant: 0,
            lost_grants: Vec::new(),
            is_restored: false,
            quarantines: BTreeMap::new(),
            misconfigured: BTreeSet::new(),
            quarantine_due: BTreeMap::new(),
            holds: BTreeMap::new(),
            away: BTreeMap::new(),
            nodes: BTreeMap::new(),
            unavailable: BTreeMap::new(),
            unlooked: BTreeSet::new(),
            listening_since: None,
        }
    }

    /// Takes a ledger entry into account. `now` is the entry's time in the ledger. Documents in it were verified
    /// before they were written; entries about unknown plans, tasks or grants, and repeated ones, change nothing.
    pub fn apply(&mut self, now: Timestamp, entry: &Entry) {
        fold::apply(self, now, entry);
        budget::look(self);
    }

    /// Takes something volatile into account.
    pub fn observe(&mut self, now: Timestamp, event: NodeEvent) {
        self.listening_since.get_or_insert(now);
        fold::observe(self, now, event);
        budget::look(self);
    }

    /// The clock that `now` is read from stepped by so many milliseconds: whatever was observed is as old as it was,
    /// and no lease, silence or soak ends by it.
    pub fn clock_stepped(&mut self, by_ms: i64) {
        fold::clock_stepped(self, by_ms);
        budget::look(self);
    }

    /// What to append to the ledger now, in this order; empty when there is nothing. Changes nothing but the start
    /// of listening, so it returns the same again until the entries are applied. Call again after applying them.
    /// They are [`Entry::Granted`], [`Entry::LeaseExpired`], [`Entry::Recovered`], [`Entry::Halted`],
    /// [`Entry::Finished`] and [`Entry::Quarantined`]; none has an effect before it was appended to the ledger and
    /// applied.
    pub fn decide(&mut self, now: Timestamp) -> Vec<Entry> {
        self.listening_since.get_or_insert(now);
        decide::decide(self, now)
    }

    /// Why things wait at `now`: for every rollout that is not over, one reason per subject that is not done.
    pub fn waits(&self, now: Timestamp) -> Vec<Wait> {
        gate::waits(self, now)
    }

    /// When [`Sequencer::decide`] should be called even if nothing happens before.
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        decide::deadline(self, now)
    }

    /// Every plan the ledger knows and that was not forgotten, oldest first.
    pub fn rollouts(&self) -> Vec<RolloutView> {
        self.rollouts.iter().map(|r| r.view(self.preemption_of(r))).collect()
    }

    /// One of them.
    pub fn rollout(&self, plan: &Digest) -> Option<RolloutView> {
        self.rollouts.get(plan).map(|r| r.view(self.preemption_of(r)))
    }

    /// Where each of them stands, oldest first.
    pub fn standings(&self) -> impl Iterator<Item = (Digest, RolloutState)> {
        self.rollouts.iter().map(|r| (r.digest, r.state(self.preemption_of(r))))
    }

    /// Where one of them stands.
    pub fn standing(&self, plan: &Digest) -> Option<RolloutState> {
        self.rollouts.get(plan).map(|r| r.state(self.preemption_of(r)))
    }

    /// Lets go of a rollout that nothing can change any more, in the ledger or by any node: it is over, and no node
    /// owes a receipt. What it left behind (cordons, quarantines, its number) stays known. False, and nothing is done,
    /// when something can change it, or when it is not known.
    pub fn forget(&mut self, plan: &Digest) -> bool {
        self.rollouts.forget(plan)
    }

    /// The grants that a node holds, whose leases it may renew; expired ones are not among them. They are told again
    /// when it connects, but for those of a rollout that is over: what a node has begun it ends, but it begins nothing
    /// any more.
    pub fn open_grants(&self, node: &NodeName) -> Vec<OpenGrant> {
        self.rollouts.in_flight(node).filter_map(|(r, task)| r.open_grant(task)).collect()
    }

    /// Whether nothing of that plan will be granted any more; also true of a plan that is not known.
    pub fn is_over(&self, plan: &Digest) -> bool {
        self.rollouts.get(plan).is_none_or(|r| r.is_over())
    }

    /// Whether that plan has ended, or is about to, and what it left half done is granted all the same.
    pub fn has_to_finish(&self, plan: &Digest) -> bool {
        self.rollouts.get(plan).is_some_and(|r| r.has_to_finish())
    }

    /// The quarantines that no person released.
    pub fn quarantines(&self) -> Vec<Quarantine> {
        self.quarantines
            .iter()
            .map(|((node, version), reason)| Quarantine {
                node: node.clone(),
                version: *version,
                reason: reason.clone(),
            })
            .collect()
    }

    /// Every active node of the roster: whether it is connected, and its last condition.
    pub fn nodes(&self) -> BTreeMap<NodeName, (bool, ClusterNode)> {
        let node = |n: &RosterNode| {
            let seen = self.nodes.get(&n.name);
            let condition = seen.and_then(|s| s.condition.clone()).unwrap_or(ClusterNode::UNKNOWN);
            (n.name.clone(), (seen.is_some_and(|s| s.connected.is_some()), condition))
        };
        self.active().map(node).collect()
    }

    /// The active nodes of the roster, in its order.
    fn active(&self) -> impl Iterator<Item = &RosterNode> {
        self.roster.iter().flat_map(|r| &r.nodes).filter(|n| n.status == RosterStatus::Active)
    }

    /// Every verdict about a node that is not ok, the worst first, as of `now`. One that does not report, or never did,
    /// has the verdict that says so.
    pub fn verdicts(&self, node: &NodeName, now: Timestamp) -> Vec<Verdict> {
        health::verdicts(self, node, now)
    }

    /// Whether a rollout is done with that node and waits for its reports: each of them may let something start.
    pub fn awaits_reports(&self, node: &NodeName) -> bool {
        self.rollouts.open().any(|(_, r)| r.unproved.contains(node))
    }

    /// The nodes that count as unavailable now, each with its first reason.
    pub fn unavailable(&self) -> &BTreeMap<NodeName, Unavailable> {
        &self.unavailable
    }

    /// How long that node was away at most when plans of these kinds were at work on it lately, in seconds: from the
    /// grant that took it out of service to the receipt that it was back.
    pub fn away(&self, node: &NodeName) -> BTreeMap<PlanKind, u64> {
        let of_node = self.away.iter().filter(|((name, _), _)| name == node);
        of_node.filter_map(|((_, kind), away)| Some((*kind, away.iter().copied().max()?))).collect()
    }

    /// The nodes that Hostler made unschedulable and did not make schedulable again.
    pub fn holds(&self) -> BTreeMap<NodeName, Hold> {
        self.holds.iter().filter(|(n, _)| budget::holds(self, n)).map(|(n, (h, _))| (n.clone(), h.clone())).collect()
    }
}
