//! What decides: every request and every report comes in with `now`, entries go to the ledger, and what must be said to
//! whom comes out as [`Effect`]s. No clock, no file, no network and no wire's message is in here.
//!
//! Decide, append, apply, and only then reply. [`crate::control_loop`] is the thread that brings the time and carries
//! the effects out.

mod append;
mod chain;
mod clock;
mod cluster;
mod commit;
mod doubles;
mod effect;
mod ended;
mod enrol;
mod holdings;
mod members;
mod offers;
mod receipts;
mod reports;
mod reserved;
mod schedule;
mod snapshots;
mod state;
mod streams;
mod submit;
#[cfg(test)]
mod tests;
mod twins;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use hostler_plan::{
    document::Signed,
    entry::Entry,
    id::{BootId, Digest, NodeName, TaskId},
    refusal::{Refusal, Refused},
    sequencer::NodeEvent,
    timestamp::Timestamp,
};

pub(crate) use append::{Append, AppendError, Written};
pub(crate) use chain::Stranger;
pub(crate) use cluster::NodeReading;
pub(crate) use commit::Proven;
pub(crate) use doubles::Double;
pub(crate) use effect::{Closing, Effect, ToNode, ViewQuestion};
pub(crate) use ended::EndedRollout;
pub(crate) use enrol::{Admitted, EnrolRequest};
pub(crate) use members::Members;
pub(crate) use reports::{Progress, Renewal};
pub(crate) use schedule::Found;
pub(crate) use state::{Membership, NodeRefusal, State, Token};
pub(crate) use streams::{Attach, Attached, RunningTask};
pub(crate) use submit::Submitted;

use crate::{
    limits::{
        COUNTED_ADDRESSES, MILLISECONDS_PER_RECEIPT, MILLISECONDS_PER_RECEIPT_KIB, RECEIPT_BURST, RECEIPT_KIB_BURST,
        REFUSAL_BURST, SECONDS_PER_REFUSAL,
    },
    rate::RateLimit,
};
pub(crate) use clock::ClockBehind;
use clock::ClockSeen;
use cluster::Cluster;
use doubles::{Beside, Doubles};
use holdings::Holdings;
use offers::Offers;
use reserved::Reserved;
use streams::{Push, Streams};
use twins::{Boot, Twins};

/// Alarms about one thing at once, and milliseconds until one more: somebody who tries all night must not fill the
/// ledger.
const ALARM_BURST: u32 = 5;
const MILLISECONDS_PER_ALARM: u64 = 60_000;
/// A clock that goes back by no more is being slewed, or was read by another thread: not worth a record.
const CLOCK_JITTER: Duration = Duration::from_secs(1);
/// Things with alarms that are counted at a time.
const ALARM_KEYS: usize = 1024;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The document or the request does not count.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nothing was written, so nothing happened.
    #[error(transparent)]
    Ledger(#[from] AppendError),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts itself or the state.
    #[error("{0}")]
    Invalid(String),
    /// Nobody decides any more.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// The coordinator ends.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator is stopping; try again in a moment")]
pub struct Stopping;

/// What is set once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ControlConfig {
    /// How often nodes are asked to report.
    pub report_interval: Duration,
    /// How long a server's reading of its cluster counts.
    pub conditions_fresh_for: Duration,
}

/// The state machine; see the module's page.
#[derive(Debug)]
pub(crate) struct Control {
    state: State,
    ledger: Box<dyn Append>,
    config: ControlConfig,
    /// What is to be carried out, in this order.
    effects: Vec<Effect>,
    members: Arc<Members>,
    /// Count up whenever something that is shown to people may have changed, and whenever tasks ended.
    changes: u64,
    endings: u64,
    alarms: RateLimit<String>,
    /// Alarms since the start, also those that were not written.
    alarms_seen: u64,
    refusals: RateLimit<NodeName>,
    receipts: RateLimit<NodeName>,
    receipt_kib: RateLimit<NodeName>,
    /// Receipts that were not taken since the start.
    receipts_refused: u64,
    /// Refusals that nodes reported since the start, also those that were not written.
    refusals_seen: BTreeMap<(NodeName, Refusal), u64>,
    /// The root or roster that a node refused last, and why.
    trust_refused: BTreeMap<NodeName, (Digest, String)>,
    /// Where nodes enrolled from; for people, and no loss after a restart.
    addresses: BTreeMap<NodeName, IpAddr>,
    doubles: Doubles,
    twins: Twins,
    offers: Offers,
    clock: ClockSeen,
    streams: Streams,
    holdings: Holdings,
    reserved: Reserved,
    /// What the nodes must be told.
    push: Push,
    /// Which step of how many a task is at.
    progress: BTreeMap<(Digest, TaskId), (u32, u32)>,
    cluster: Cluster,
    /// Something changed that the sequencer has not looked at.
    is_due: bool,
    /// When to look even if nothing happens.
    next_look: Option<Timestamp>,
    /// When it was looked last whether the root expires soon.
    expiry_said: Option<Timestamp>,
    /// When the last write to the ledger failed, and why; none once one succeeded.
    not_written: Option<(Timestamp, String)>,
}

impl Control {
    /// Goes on from a ledger that was folded into `state`.
    pub(crate) fn new(
        ledger: Box<dyn Append>,
        state: State,
        config: ControlConfig,
        addresses: BTreeMap<NodeName, IpAddr>,
    ) -> Self {
        let alarms = RateLimit::new(ALARM_BURST, MILLISECONDS_PER_ALARM, ALARM_KEYS);
        let refusals = RateLimit::new(REFUSAL_BURST, u64::from(SECONDS_PER_REFUSAL) * 1000, COUNTED_ADDRESSES);
        Self {
            members: Arc::new(Members::of(&state)),
            clock: ClockSeen::new(state.judge.last_at()),
            state,
            ledger,
            config,
            effects: Vec::new(),
            changes: 0,
            endings: 0,
            alarms,
            alarms_seen: 0,
            refusals,
            receipts: RateLimit::new(RECEIPT_BURST, MILLISECONDS_PER_RECEIPT, COUNTED_ADDRESSES),
            receipt_kib: RateLimit::new(RECEIPT_KIB_BURST, MILLISECONDS_PER_RECEIPT_KIB, COUNTED_ADDRESSES),
            receipts_refused: 0,
            refusals_seen: BTreeMap::new(),
            trust_refused: BTreeMap::new(),
            addresses,
            doubles: Doubles::default(),
            twins: Twins::default(),
            offers: Offers::default(),
            streams: Streams::default(),
            holdings: Holdings::new(),
            reserved: Reserved::default(),
            push: Push::default(),
            progress: BTreeMap::new(),
            cluster: Cluster::default(),
            is_due: true,
            next_look: None,
            expiry_said: None,
            not_written: None,
        }
    }

    /// What the ledger amounts to.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Who belongs to the fleet.
    pub(crate) fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// Counts up whenever something that is shown to people may have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Counts up whenever tasks ended: what people wait for, and are told at once.
    pub(crate) fn endings(&self) -> u64 {
        self.endings
    }

    /// What is to be carried out since this was asked last, in this order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Alarms since the start, also those that were not written.
    pub(crate) fn alarms_seen(&self) -> u64 {
        self.alarms_seen
    }

    /// Receipts that were not taken since the start.
    pub(crate) fn receipts_refused(&self) -> u64 {
        self.receipts_refused
    }

    /// Refusals that nodes reported since the start, also those that were not written.
    pub(crate) fn refusals_seen(&self) -> &BTreeMap<(NodeName, Refusal), u64> {
        &self.refusals_seen
    }

    /// Machines that were turned away lately as doubles of others, and the address of the one beside each.
    pub(crate) fn doubles(&self, now: Timestamp) -> Vec<(Double, Option<IpAddr>)> {
        let enrolling = self.doubles.lately(now).map(|double| (double.clone(), self.address_of(&double.beside.node)));
        let twins = self.twins.lately(now).filter_map(|twin| {
            self.check_member(&twin.node, &twin.key).ok()?;
            let reason = twin.reason();
            let (enrolment, admission) = self.state.enrolment_of(&twin.key)?;
            let beside = Beside { node: twin.node, key: twin.key };
            let Boot { address, at, .. } = twin.boot;
            Some((Double { enrolment, admission, address, reason, beside, at }, Some(twin.beside.address)))
        });
        enrolling.chain(twins).collect()
    }

    /// Where a node enrolled from, if that is still known.
    pub(crate) fn address_of(&self, node: &NodeName) -> Option<IpAddr> {
        self.addresses.get(node).copied()
    }

    /// The step that a task is at, and of how many, as its node said last.
    pub(crate) fn progress_of(&self, plan: &Digest, task: &TaskId) -> Option<(u32, u32)> {
        self.progress.get(&(*plan, task.clone())).copied()
    }

    /// What servers read of the nodes of their cluster and still counts.
    pub(crate) fn node_readings(&self) -> &BTreeMap<NodeName, NodeReading> {
        &self.cluster.shown
    }

    /// How many nodes hold a stream.
    pub(crate) fn stream_count(&self) -> usize {
        self.streams.by_node.len()
    }

    /// Whether a node holds a stream.
    pub(crate) fn is_connected(&self, node: &NodeName) -> bool {
        self.streams.by_node.contains_key(node)
    }

    /// The roots after version `held`, and the roster.
    pub(crate) fn trust_chain(&self, held: u64) -> (Vec<Signed>, Option<Signed>) {
        let roots = self.state.roots.iter().filter(|r| r.root().version > held).map(|r| r.signed().clone()).collect();
        (roots, self.state.roster.as_ref().map(|r| r.signed().clone()))
    }

    /// The clock that `now` is read from stepped by so many milliseconds. Nothing is told or decided before that is
    /// known: a Pi without a battery makes such a step when it finds a time server, and nobody fell silent by that.
    pub(crate) fn clock_stepped(&mut self, by_ms: i64) {
        self.state.sequencer.clock_stepped(by_ms);
        self.offers.clock_stepped(by_ms);
        self.cluster.clock_stepped(by_ms);
        self.doubles.clock_stepped(by_ms);
        self.twins.clock_stepped(by_ms);
        self.is_due = true;
    }

    /// Judges, appends durably, then takes into account. A document comes with its proof and is not verified again.
    fn commit(&mut self, now: Timestamp, entries: Vec<Proven>) -> Result<(), AppendError> {
        let (at, entries) = self.dated(now, entries);
        self.state.judge.check(at, &entries)?;
        let written = self.ledger.append(at, entries.iter().map(Proven::entry).collect());
        self.not_written = written.as_ref().err().map(|error| (now, error.to_string()));
        let written = written?;
        let about_members = entries.iter().any(commit::changes_members);
        for (written, proven) in written.iter().zip(entries) {
            // What was judged together before it was written is judged one by one whenever it is read.
            debug_assert_eq!(self.state.judge.check(at, std::slice::from_ref(&proven)), Ok(()));
            self.push.after(&proven);
            self.state.apply(written, proven);
        }
        if about_members {
            self.members = Arc::new(Members::of(&self.state));
            self.look_at_cluster(now);
        }
        self.is_due = true;
        self.changes += 1;
        Ok(())
    }

    /// The time of the next record. Time in the ledger does not go back unmarked: where the clock did, that is a record
    /// of its own before these.
    fn dated(&mut self, now: Timestamp, mut entries: Vec<Proven>) -> (Timestamp, Vec<Proven>) {
        let last = self.state.judge.last_at();
        if last.since(now) <= CLOCK_JITTER {
            return (now.max(last), entries);
        }
        tracing::warn!(%last, %now, "the clock was set back; that is written into the ledger");
        self.clock.set_back(last);
        entries.insert(0, Proven::Decision(Entry::ClockSetBack { last }));
        (now, entries)
    }

    /// Writes an alarm, unless there were many about the same thing. That the refusal itself stands does not depend
    /// on it.
    fn alarm(&mut self, now: Timestamp, about: &str, refused: &Refused) {
        tracing::warn!(about, refusal = refused.refusal.word(), reason = %refused.reason, "alarm");
        self.alarms_seen += 1;
        if !self.alarms.take(about.to_owned(), now) {
            return;
        }
        let Refused { refusal, reason } = refused.clone();
        let entry = Entry::Alarm { about: about.to_owned(), refusal, reason };
        if let Err(error) = self.commit(now, vec![Proven::Decision(entry)]) {
            tracing::error!(%error, "an alarm could not be written");
        }
    }

    /// A sentence while the ledger takes nothing: nothing is granted, and nothing that is handed in counts.
    pub(crate) fn ledger_trouble(&self) -> Option<String> {
        let (at, reason) = self.not_written.as_ref()?;
        Some(format!("the coordinator could write nothing when it tried last, at {at}: {reason}"))
    }

    fn note_address(&mut self, node: &NodeName, address: IpAddr) {
        self.addresses.insert(node.clone(), address);
        self.effects.push(Effect::KeepAddress(node.clone(), address));
    }

    /// Takes something that is only true right now into account, and lets the sequencer look again.
    fn observe(&mut self, now: Timestamp, event: NodeEvent) {
        self.state.sequencer.observe(now, event);
        self.is_due = true;
        self.changes += 1;
    }

    /// Takes a sign of life of a running task into account. It moves ends of leases and what is shown, and lets nothing
    /// begin: the sequencer need not look.
    fn observe_task(&mut self, now: Timestamp, event: NodeEvent) {
        self.state.sequencer.observe(now, event);
        self.changes += 1;
    }

    /// The boot of a node's present stream.
    fn boot_of(&self, node: &NodeName) -> Option<BootId> {
        self.streams.by_node.get(node).map(|s| s.boot_id.clone())
    }
}
