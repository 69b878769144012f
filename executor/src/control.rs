//! What reaches a task while it runs: stops, leases, bytes that were fetched. Everything else waits its turn.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use hostler_plan::{id::Digest, timestamp::Timestamp};

use crate::{
    artifacts::Downloads,
    host::{Host, Waker},
    inbox::{RequestReceiver, Waiting},
    protocol::{Progress, Request, RunningTask},
    status::ExecutorStatus,
};

/// Requests that wait until the task ended; their bytes are counted by the queue. More than that is a coordinator gone
/// mad; the newest are dropped, and an honest one offers them again.
const MAX_DEFERRED: usize = 256;

/// Why a task does not go on here and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// Somebody stopped the plan.
    Stopped(String),
    /// The process ends; another one goes on with the task.
    Ending,
}

/// The executor's end of the queue, while a task runs and between tasks.
pub(crate) struct Control {
    pub host: Arc<dyn Host>,
    pub status: Arc<ExecutorStatus>,
    /// Where fetched bytes lie.
    pub downloads: Downloads,
    receiver: RequestReceiver,
    deferred: VecDeque<Waiting>,
    running: Option<(RunningTask, Lease)>,
    /// What the status shows of a task that waits for its turn.
    shown: Option<(RunningTask, Progress)>,
    stopped: Option<String>,
    fetched: Option<(Digest, Result<(), String>)>,
    ending: bool,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Control {
    pub(crate) fn new(
        host: Arc<dyn Host>,
        status: Arc<ExecutorStatus>,
        receiver: RequestReceiver,
        downloads: Downloads,
    ) -> Self {
        Self {
            host,
            status,
            downloads,
            receiver,
            deferred: VecDeque::new(),
            running: None,
            shown: None,
            stopped: None,
            fetched: None,
            ending: false,
        }
    }

    /// The next request, however long it takes, or none after `at_most`. `Err` when the process ends.
    pub(crate) fn next(&mut self, at_most: Option<Duration>) -> Result<Option<Request>, Interruption> {
        if let Some(waiting) = self.deferred.pop_front() {
            return Ok(Some(waiting.take()));
        }
        let received = match at_most {
            Some(at_most) => self.receiver.requests.recv_timeout(at_most),
            None => self.receiver.requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(waiting) => Ok(Some(waiting.take())),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Interruption::Ending),
        }
    }

    /// A task begins.
    pub(crate) fn begin(&mut self, task: RunningTask, lease: Lease) {
        self.stopped = None;
        self.fetched = None;
        self.shown = None;
        self.running = Some((task.clone(), lease));
        self.status.change(|content| content.running = Some(task));
    }

    /// Shows a task that waits for its turn, so that the network side renews its lease.
    pub(crate) fn show(&mut self, waits: Option<(RunningTask, Progress)>) {
        if waits == self.shown {
            return;
        }
        if let Some((_, progress)) = &waits {
            tracing::info!("{}", progress.sentence);
        }
        self.shown.clone_from(&waits);
        let (task, progress) = waits.unzip();
        self.status.change(|content| (content.running, content.progress) = (task, progress));
    }

    /// The task is over, or waits again; with its lease, and why it was stopped if it was.
    pub(crate) fn end(&mut self) -> (Option<Lease>, Option<String>) {
        let lease = self.running.take().map(|(_, lease)| lease);
        self.status.change(|content| {
            content.running = None;
            content.progress = None;
            content.fetch = None;
        });
        (lease, self.stopped.take())
    }

    /// Blocks for at most that much of the host's time.
    pub(crate) fn pause(&mut self, at_most: Duration) -> Result<(), Interruption> {
        self.drain_requests()?;
        self.host.wait(&self.receiver.waker, at_most);
        self.drain_requests()
    }

    /// The same for a task that was stopped and has to leave in order; false when the process ends.
    pub(crate) fn pause_though_stopped(&mut self, at_most: Duration) -> bool {
        if self.is_ending() {
            return false;
        }
        self.host.wait(&self.receiver.waker, at_most);
        !self.is_ending()
    }

    /// What ends a pause before its time.
    pub(crate) fn waker(&self) -> &Waker {
        &self.receiver.waker
    }

    /// Whether something new may start under the task's lease.
    pub(crate) fn lease_holds(&self) -> bool {
        self.running.as_ref().is_some_and(|(_, lease)| lease.holds())
    }

    /// Looks at what arrived: a stop, or the end of the process, ends the task.
    pub(crate) fn listen(&mut self) -> Result<(), Interruption> {
        self.drain_requests()
    }

    /// Whether the process ends, and every program that it started with it.
    pub(crate) fn is_ending(&mut self) -> bool {
        let _ = self.drain_requests();
        self.ending
    }

    /// The answer to a fetch of these bytes, once.
    pub(crate) fn take_fetched(&mut self, digest: &Digest) -> Option<Result<(), String>> {
        self.fetched.take_if(|(of, _)| of == digest).map(|(_, result)| result)
    }

    /// Requests that a task may see between two of its steps: new documents, but no grants.
    pub(crate) fn take_documents(&mut self) -> Vec<Request> {
        let (documents, others): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.deferred).into_iter().partition(|waiting| match waiting.request() {
                Request::Trust { .. }
                | Request::Plan(_)
                | Request::Decision(_)
                | Request::Welcome { .. }
                | Request::ReceiptAcknowledged(_) => true,
                Request::Grant(_) | Request::LeaseRenewed { .. } | Request::Stop { .. } | Request::Fetched { .. } => {
                    false
                }
            });
        self.deferred = others.into();
        documents.into_iter().map(Waiting::take).collect()
    }

    /// Says what the task does.
    pub(crate) fn say(&self, progress: Progress) {
        tracing::info!("{}", progress.sentence);
        self.status.change(|content| content.progress = Some(progress));
    }

    fn drain_requests(&mut self) -> Result<(), Interruption> {
        loop {
            match self.receiver.requests.try_recv() {
                Ok(waiting) => self.receive(waiting),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.ending = true;
                    break;
                }
            }
        }
        match (&self.stopped, self.ending) {
            (Some(reason), _) => Err(Interruption::Stopped(reason.clone())),
            (None, true) => Err(Interruption::Ending),
            (None, false) => Ok(()),
        }
    }

    fn receive(&mut self, waiting: Waiting) {
        let running = self.running.as_ref().map(|(task, _)| task);
        match waiting.request() {
            Request::Stop { plan, reason } if running.is_some_and(|r| r.plan == *plan) => {
                self.stopped = Some(reason.clone());
            }
            Request::LeaseRenewed { grant, lease_seconds } => self.renew(*grant, *lease_seconds),
            Request::Grant(again) if running.is_some_and(|r| r.plan == again.plan && r.task == again.task) => {
                self.renew(again.grant, again.lease_seconds);
            }
            Request::Fetched { digest, result } => self.fetched = Some((*digest, result.clone())),
            Request::Trust { .. } => self.defer_trust(waiting),
            Request::Plan(_)
            | Request::Decision(_)
            | Request::Grant(_)
            | Request::Stop { .. }
            | Request::Welcome { .. }
            | Request::ReceiptAcknowledged(_) => self.defer(waiting),
        }
    }

    /// Newer trust waits in the place of older: of many rosters the newest says everything.
    fn defer_trust(&mut self, newer: Waiting) {
        let mut unplaced = Some(newer);
        for older in &mut self.deferred {
            unplaced = unplaced.and_then(|newer| older.replace_trust(newer).err());
        }
        if let Some(newer) = unplaced {
            self.defer(newer);
        }
    }

    fn defer(&mut self, waiting: Waiting) {
        if self.deferred.len() < MAX_DEFERRED {
            self.deferred.push_back(waiting);
        }
    }

    fn renew(&mut self, grant: u64, seconds: u64) {
        if let Some((task, lease)) = &mut self.running
            && task.grant == grant
        {
            lease.renew(seconds);
        }
    }
}

/// A longer lease would not be one.
const MAX_LEASE_SECONDS: u64 = 3600;

/// For how long the coordinator gave leave to begin something new.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    /// What the plan allows.
    most_seconds: u64,
    seconds: u64,
    ends: Instant,
}

impl Lease {
    /// None yet, under a plan that allows so much. After a restart a task has none until it is renewed.
    pub(crate) fn none(most_seconds: u64) -> Self {
        Self { most_seconds, seconds: most_seconds, ends: Instant::now() }
    }

    /// It runs from now. A coordinator may give less than the plan allows, never more.
    pub(crate) fn renew(&mut self, seconds: u64) {
        self.seconds = seconds.min(self.most_seconds).min(MAX_LEASE_SECONDS);
        self.ends = Instant::now() + Duration::from_secs(self.seconds);
    }

    /// How long it lives from one renewal to the next.
    pub(crate) fn seconds(&self) -> u64 {
        self.seconds
    }

    pub(crate) fn holds(&self) -> bool {
        Instant::now() < self.ends
    }
}

/// Where a check asks for patience it asks this often.
pub(crate) const POLL: Duration = Duration::from_secs(2);

/// How long something took, for sentences: `12 s`, `3 min`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.since(from).as_secs();
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}
