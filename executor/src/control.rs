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
    host::Host,
    protocol::{ExecutorStatus, Progress, Request, RequestReceiver, RunningTask, Waiting},
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
    receiver: RequestReceiver,
    deferred: VecDeque<Waiting>,
    running: Option<RunningTask>,
    lease_ends: Instant,
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
    pub(crate) fn new(host: Arc<dyn Host>, status: Arc<ExecutorStatus>, receiver: RequestReceiver) -> Self {
        Self {
            host,
            status,
            receiver,
            deferred: VecDeque::new(),
            running: None,
            lease_ends: Instant::now(),
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

    /// A task begins; its lease runs from now. After a restart it has none until it is renewed.
    pub(crate) fn begin(&mut self, task: RunningTask, granted_now: bool) {
        let lease =
            if granted_now { Duration::from_secs(task.lease_seconds.min(MAX_LEASE_SECONDS)) } else { Duration::ZERO };
        self.lease_ends = Instant::now() + lease;
        self.stopped = None;
        self.fetched = None;
        self.running = Some(task.clone());
        self.status.change(|content| content.running = Some(task));
    }

    /// The task is over.
    pub(crate) fn end(&mut self) {
        self.running = None;
        self.status.change(|content| {
            content.running = None;
            content.progress = None;
            content.fetch = None;
        });
    }

    /// Blocks for at most that much of the host's time.
    pub(crate) fn pause(&mut self, at_most: Duration) -> Result<(), Interruption> {
        self.drain_requests()?;
        self.host.wait(&self.receiver.waker, at_most);
        self.drain_requests()
    }

    /// Whether something new may start under the task's lease.
    pub(crate) fn lease_holds(&mut self) -> Result<bool, Interruption> {
        self.drain_requests()?;
        Ok(Instant::now() < self.lease_ends)
    }

    /// Whether the process ends, and every program that it started with it.
    pub(crate) fn is_ending(&mut self) -> bool {
        let _ = self.drain_requests();
        self.ending
    }

    /// Blocks for a moment of real time: leases are the coordinator's, and it has no part in simulated time.
    pub(crate) fn await_lease(&mut self) -> Result<(), Interruption> {
        self.receiver.waker.wait(Duration::from_millis(500));
        self.drain_requests()
    }

    /// The answer to a fetch of these bytes, once.
    pub(crate) fn take_fetched(&mut self, digest: &Digest) -> Option<Result<(), String>> {
        self.fetched.take_if(|(of, _)| of == digest).map(|(_, result)| result)
    }

    /// Requests that a task may see between two of its steps: new documents, but no grants.
    pub(crate) fn take_documents(&mut self) -> Vec<Request> {
        let (documents, others): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.deferred).into_iter().partition(|waiting| match waiting.request() {
                Request::Trust { .. } | Request::Plan(_) | Request::ReceiptAcknowledged(_) => true,
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
        let running = self.running.as_ref();
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
            Request::Plan(_) | Request::Grant(_) | Request::Stop { .. } | Request::ReceiptAcknowledged(_) => {
                self.defer(waiting);
            }
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

    fn renew(&mut self, grant: u64, lease_seconds: u64) {
        if self.running.as_ref().is_some_and(|r| r.grant == grant) {
            self.lease_ends = Instant::now() + Duration::from_secs(lease_seconds.min(MAX_LEASE_SECONDS));
        }
    }
}

/// A longer lease would not be one.
pub(crate) const MAX_LEASE_SECONDS: u64 = 3600;

/// Where a check asks for patience it asks this often.
pub(crate) const POLL: Duration = Duration::from_secs(2);

/// How long something took, for sentences: `12 s`, `3 min`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.since(from).as_secs();
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}
