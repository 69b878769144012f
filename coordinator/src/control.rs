//! The desk: the one owner of the ledger and of what it amounts to.
//!
//! Every request is put on the desk, one after another: decide, append, apply, and only then reply. It is a thread of
//! its own because an append waits for the disk. Receipts that wait at the same time share one append: they come in
//! crowds, when a wave of nodes is done.

mod enrol;
mod nodes;
mod reports;
mod rollouts;
pub mod state;
mod streams;
mod submit;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use hostler_plan::{
    document::{DocumentKind, RosterStatus, Signed, Signer},
    entry::{Entry, StoredDocument},
    id::{Digest, Fingerprint, NodeName, TaskId},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::TrustedRoot,
};
use hostler_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

pub use enrol::{Admitted, EnrolAsk};
pub use streams::Attaching;
pub use submit::Submitted;

use crate::{
    clock::{Moment, now},
    control::state::{Membership, State},
    limits::{COUNTED_ADDRESSES, QUEUE, REFUSAL_BURST, SECONDS_PER_REFUSAL},
    rate::RateLimit,
    store::index::{Index, Write},
    store::ledger::{Ledger, LedgerError},
};

/// Alarms about one thing at once, and milliseconds until one more: somebody who knocks all night must not fill the
/// ledger.
const ALARM_BURST: u32 = 5;
const MILLISECONDS_PER_ALARM: u64 = 60_000;
/// Things with alarms that are counted at a time.
const ALARM_KEYS: usize = 1024;

/// What a clock is set by without a step: time services slew less than this.
const CLOCK_STEP_MS: u64 = 2_000;

/// How long the desk rests when nothing happens and nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// Why the desk did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The document or the request does not count.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nothing was written, so nothing happened. Shared by all whose entries stood in that append.
    #[error(transparent)]
    Ledger(#[from] Arc<LedgerError>),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts itself or the state.
    #[error("{0}")]
    Invalid(String),
}

/// Who belongs to the fleet, as every listener needs to know it on every call.
#[derive(Debug, Default)]
pub struct Fleet {
    pub root: Option<TrustedRoot>,
    members: BTreeMap<NodeName, Vec<(Fingerprint, Membership)>>,
}

impl Fleet {
    /// How the holder of that key stands under that name.
    pub fn membership(&self, node: &NodeName, key: &Fingerprint) -> Membership {
        let known = self.members.get(node).into_iter().flatten().find(|(k, _)| k == key);
        known.map_or(Membership::Unknown, |(_, membership)| *membership)
    }

    /// The signer of the present root with that key, unless it is revoked.
    pub fn signer(&self, key: &Fingerprint) -> Option<&Signer> {
        let root = self.root.as_ref()?.root();
        root.signers.iter().find(|s| s.key.fingerprint() == *key && !root.revoked.contains(key))
    }
}

type Work = Box<dyn FnOnce(&mut Desk) + Send>;

/// What lies on the desk.
enum Job {
    Work(Work),
    Receipt(reports::HandedIn),
}

/// How everybody else asks the desk.
#[derive(Debug, Clone)]
pub struct DeskHandle {
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    fleet: watch::Receiver<Arc<Fleet>>,
    changes: watch::Receiver<u64>,
    endings: watch::Receiver<u64>,
}

/// The desk does not answer any more.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator is stopping; try again in a moment")]
pub struct Stopping;

impl DeskHandle {
    /// Lets the desk do `work` and waits for what comes of it. At most [`QUEUE`] wait at a time; others wait for that.
    pub async fn ask<R, F>(&self, work: F) -> Result<R, Stopping>
    where
        R: Send + 'static,
        F: FnOnce(&mut Desk) -> R + Send + 'static,
    {
        let permit: OwnedSemaphorePermit = self.permits.clone().acquire_owned().await.map_err(|_| Stopping)?;
        let (sender, receiver) = oneshot::channel();
        let job: Work = Box::new(move |desk| {
            let result = work(desk);
            drop(permit);
            // Whoever asked may have gone; what was done stays done.
            let _ = sender.send(result);
        });
        self.jobs.send(Job::Work(job)).map_err(|_| Stopping)?;
        receiver.await.map_err(|_| Stopping)
    }

    /// Hands in a receipt on that node's stream, and waits until it is durable and acknowledged, or refused.
    pub async fn receipt(&self, node: NodeName, signed: Signed) -> Result<Result<(), DeskError>, Stopping> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Stopping)?;
        let (reply, receiver) = oneshot::channel();
        let handed_in = reports::HandedIn { node, signed, reply, _permit: permit };
        self.jobs.send(Job::Receipt(handed_in)).map_err(|_| Stopping)?;
        receiver.await.map_err(|_| Stopping)
    }

    /// Who belongs to the fleet now.
    pub fn fleet(&self) -> Arc<Fleet> {
        self.fleet.borrow().clone()
    }

    /// Counts up whenever something that is shown to people may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Counts up whenever tasks ended: what people wait for, and are told at once.
    pub fn endings(&self) -> watch::Receiver<u64> {
        self.endings.clone()
    }

    /// Ends the desk after what is on it already.
    pub fn stop(&self) {
        let _ = self.jobs.send(Job::Work(Box::new(|desk| desk.stopping = true)));
    }
}

/// What the desk must know of the place it stands in.
#[derive(Debug)]
pub struct Place {
    /// Where addresses are kept.
    pub index: Arc<Index>,
    /// How often nodes are asked to report.
    pub report_interval: Duration,
    /// How long a server's reading of its cluster counts.
    pub conditions_fresh_for: Duration,
}

/// See the module's page.
#[derive(Debug)]
pub struct Desk {
    pub(crate) state: State,
    ledger: Ledger,
    place: Place,
    fleet: watch::Sender<Arc<Fleet>>,
    changes: watch::Sender<u64>,
    endings: watch::Sender<u64>,
    alarms: RateLimit<String>,
    /// Where nodes enrolled from; for people, and no loss after a restart.
    addresses: BTreeMap<NodeName, IpAddr>,
    /// Alarms since the start, also those that were not written.
    pub(crate) alarms_seen: u64,
    streams: BTreeMap<NodeName, streams::Stream>,
    last_stream: u64,
    /// Which step of how many a task is at.
    progress: BTreeMap<(Digest, TaskId), (u32, u32)>,
    refusals: RateLimit<NodeName>,
    /// Refusals that nodes reported since the start, also those that were not written.
    pub(crate) refusals_seen: BTreeMap<(NodeName, Refusal), u64>,
    cluster: BTreeMap<NodeName, reports::ClusterReading>,
    pub(crate) shown_conditions: BTreeMap<NodeName, v1::NodeCondition>,
    conditions_age_at: Option<Timestamp>,
    /// How far the machine's clock was ahead of the steady one when it was looked at last.
    wall_ahead_ms: i64,
    /// Something changed that the sequencer has not looked at.
    is_due: bool,
    /// When to look even if nothing happens.
    next_look: Option<Timestamp>,
    stopping: bool,
}

/// A desk with its thread.
#[derive(Debug)]
pub struct Running {
    pub handle: DeskHandle,
    thread: JoinHandle<()>,
}

impl Running {
    /// Stops the desk and waits until its last append is done.
    pub fn stop(self) {
        self.handle.stop();
        if self.thread.join().is_err() {
            tracing::error!("the desk ended in a panic; the ledger holds everything that was acknowledged");
        }
    }
}

impl Desk {
    /// Sits down with a ledger that was folded into `state`.
    pub fn start(
        ledger: Ledger,
        state: State,
        place: Place,
        addresses: BTreeMap<NodeName, IpAddr>,
    ) -> std::io::Result<Running> {
        let (jobs, inbox) = mpsc::channel();
        let (fleet, fleet_seen) = watch::channel(Arc::new(Fleet::default()));
        let (changes, changes_seen) = watch::channel(0);
        let (endings, endings_seen) = watch::channel(0);
        let handle = DeskHandle {
            jobs,
            permits: Arc::new(Semaphore::new(QUEUE)),
            fleet: fleet_seen,
            changes: changes_seen,
            endings: endings_seen,
        };
        let alarms = RateLimit::new(ALARM_BURST, MILLISECONDS_PER_ALARM, ALARM_KEYS);
        let mut desk = Self {
            state,
            ledger,
            place,
            fleet,
            changes,
            endings,
            alarms,
            addresses,
            alarms_seen: 0,
            streams: BTreeMap::new(),
            last_stream: 0,
            progress: BTreeMap::new(),
            refusals: RateLimit::new(REFUSAL_BURST, u64::from(SECONDS_PER_REFUSAL) * 1000, COUNTED_ADDRESSES),
            refusals_seen: BTreeMap::new(),
            cluster: BTreeMap::new(),
            shown_conditions: BTreeMap::new(),
            conditions_age_at: None,
            wall_ahead_ms: Moment::now().wall_ahead_ms(),
            is_due: true,
            next_look: None,
            stopping: false,
        };
        desk.publish_fleet();
        let thread = std::thread::Builder::new().name("desk".into()).spawn(move || desk.run(&inbox))?;
        Ok(Running { handle, thread })
    }

    fn run(&mut self, inbox: &mpsc::Receiver<Job>) {
        let mut next = None;
        while !self.stopping {
            self.follow_clock();
            if self.is_due || self.next_look.is_some_and(|then| then <= now()) {
                if self.conditions_age_at.is_some_and(|then| then <= now()) {
                    self.look_at_conditions();
                }
                self.settle();
            }
            let rest = self.next_look.map_or(IDLE, |then| rollouts::until(then).min(IDLE));
            match next.take().map_or_else(|| inbox.recv_timeout(rest), Ok) {
                Ok(Job::Work(work)) => work(self),
                Ok(Job::Receipt(first)) => {
                    let (receipts, behind) = reports::crowd(first, inbox);
                    next = behind;
                    self.receipts(receipts);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Notices a step of the machine's clock before anything is told or decided by it: a Pi without a battery makes one
    /// when it finds a time server, and nobody fell silent by that.
    fn follow_clock(&mut self) {
        let ahead = Moment::now().wall_ahead_ms();
        let by_ms = ahead.saturating_sub(self.wall_ahead_ms);
        if by_ms.unsigned_abs() > CLOCK_STEP_MS {
            tracing::warn!(by_ms, "the clock stepped");
            self.wall_ahead_ms = ahead;
            self.state.sequencer.clock_stepped(by_ms);
            self.is_due = true;
        }
    }

    /// Appends durably, then takes into account. Whatever was verified before an entry was made counts here.
    fn commit(&mut self, entries: Vec<Entry>) -> Result<(), Arc<LedgerError>> {
        let about_members = entries.iter().any(changes_members);
        for record in self.ledger.append(now(), entries)? {
            if let Err(refused) = self.state.apply(&record) {
                // Every document is verified more strictly before it is appended than when it is read again.
                tracing::error!(index = record.index, %refused, "a record was appended that does not count");
            }
        }
        if about_members {
            self.publish_fleet();
            self.look_at_conditions();
        }
        self.is_due = true;
        self.changed();
        Ok(())
    }

    /// Tells everybody who watches to look again.
    fn changed(&mut self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Writes an alarm, unless there were many about the same thing. That the refusal itself stands does not depend
    /// on it.
    fn alarm(&mut self, about: &str, refused: &Refused) {
        tracing::warn!(about, refusal = refused.refusal.word(), reason = %refused.reason, "alarm");
        self.alarms_seen += 1;
        if !self.alarms.take(about.to_owned(), now()) {
            return;
        }
        let Refused { refusal, reason } = refused.clone();
        if let Err(error) = self.commit(vec![Entry::Alarm { about: about.to_owned(), refusal, reason }]) {
            tracing::error!(%error, "an alarm could not be written");
        }
    }

    /// Where a node enrolled from, if that is still known.
    pub fn address_of(&self, node: &NodeName) -> Option<IpAddr> {
        self.addresses.get(node).copied()
    }

    fn note_address(&mut self, node: &NodeName, address: IpAddr) {
        self.addresses.insert(node.clone(), address);
        self.place.index.keep(Write::Address(node.clone(), address));
    }

    /// Records and bytes of the ledger.
    pub fn ledger_size(&self) -> (u64, u64) {
        (self.ledger.records(), self.ledger.length())
    }

    /// How many nodes hold a stream.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    fn publish_fleet(&mut self) {
        let state = &self.state;
        let mut members: BTreeMap<NodeName, Vec<(Fingerprint, Membership)>> = BTreeMap::new();
        let listed = state.roster.iter().flat_map(|r| &r.document().nodes).map(|n| (&n.name, &n.key));
        let enrolled = state.enrolled.values().map(|e| (&e.enrolment.document().node, &e.enrolment.document().key));
        for (node, key) in listed.chain(enrolled) {
            let key = key.fingerprint();
            let membership = state.membership(node, &key);
            members.entry(node.clone()).or_default().push((key, membership));
        }
        self.fleet.send_replace(Arc::new(Fleet { root: state.root().cloned(), members }));
    }

    /// The roots after version `held`, and the roster.
    pub fn trust_chain(&self, held: u64) -> (Vec<Signed>, Option<Signed>) {
        let roots = self.state.roots.iter().filter(|r| r.root().version > held).map(|r| r.signed().clone()).collect();
        (roots, self.state.roster.as_ref().map(|r| r.signed().clone()))
    }

    /// A reader of the ledger's exact lines from record `index` on.
    pub fn ledger_lines(&self, index: u64) -> std::io::Result<std::io::Take<std::fs::File>> {
        self.ledger.lines_from(index)
    }
}

/// Whether who belongs to the fleet may be different after it.
fn changes_members(entry: &Entry) -> bool {
    match entry {
        Entry::Document { kind: DocumentKind::Root | DocumentKind::Roster | DocumentKind::Enrolment, .. } => true,
        Entry::TokenRevoked { .. } => true,
        Entry::Document { .. }
        | Entry::Granted { .. }
        | Entry::LeaseExpired { .. }
        | Entry::LeaseReleased { .. }
        | Entry::Paused { .. }
        | Entry::Resumed { .. }
        | Entry::Halted { .. }
        | Entry::NoWorse { .. }
        | Entry::Finished { .. }
        | Entry::Quarantined { .. }
        | Entry::QuarantineReleased { .. }
        | Entry::NodeRefused { .. }
        | Entry::Alarm { .. } => false,
    }
}

/// A document as an entry.
fn document(kind: DocumentKind, signed: &Signed) -> Entry {
    Entry::Document { kind, document: StoredDocument(signed.clone()) }
}

/// Whether a roster lists that name for somebody who still belongs to the fleet.
fn listed_active(state: &State, node: &NodeName) -> Option<Fingerprint> {
    let roster = state.roster.as_ref()?.document();
    let listed = roster.nodes.iter().find(|n| n.name == *node && n.status == RosterStatus::Active)?;
    Some(listed.key.fingerprint())
}

fn not_allowed(reason: String) -> Refused {
    Refused::new(Refusal::NotAllowed, reason)
}

/// The present time, for those who ask the desk.
fn at() -> Timestamp {
    now()
}
