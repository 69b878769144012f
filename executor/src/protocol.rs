//! The small typed interface between the network side and the executor.
//!
//! Requests go one way through a bounded queue. The other way there is a status: the newest progress, the receipts that
//! are not acknowledged, the last refusals. The executor never waits for the network side, and nothing in the status
//! grows without end.

pub mod node;
mod waiting;

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
};

use hostler_plan::{
    document::Signed,
    id::{Digest, TaskId},
    refusal::Refused,
    timestamp::Timestamp,
};
use tokio::sync::Notify;

pub use self::waiting::{MAX_WAITING_BYTES, Waiting};
use crate::host::Waker;

/// When this program was built. A clock that shows less is wrong.
pub fn build_time() -> Timestamp {
    Timestamp::from_unix_seconds(env!("HOSTLER_BUILD_SECONDS").parse().unwrap_or(0))
}

/// Requests that wait while a task runs; the coordinator sends fewer.
const MAX_REQUESTS: usize = 64;

/// Refusals that wait for a connection. A flood of them says no more than the first few.
const MAX_REFUSALS: usize = 64;

/// What the network side brings.
#[derive(Debug, Clone)]
pub enum Request {
    /// Roots in order and the newest roster.
    Trust { roots: Vec<Signed>, roster: Option<Signed> },
    /// A plan that this node should hold.
    Plan(Signed),
    /// Permission to start a task.
    Grant(Grant),
    /// The coordinator renewed a lease.
    LeaseRenewed { grant: u64, lease_seconds: u64 },
    /// Start nothing more of this plan.
    Stop { plan: Digest, reason: String },
    /// The coordinator has this receipt.
    ReceiptAcknowledged(Digest),
    /// A fetch ended: the bytes lie in the file that was asked for, or a reason why not.
    Fetched { digest: Digest, result: Result<(), String> },
}

/// Permission to start a task now.
#[derive(Debug, Clone)]
pub struct Grant {
    pub plan: Digest,
    pub task: TaskId,
    pub grant: u64,
    pub lease_seconds: u64,
    /// Receipts of the tasks that it comes after.
    pub receipts: Vec<Signed>,
}

/// The network side's end of the queue.
#[derive(Debug, Clone)]
pub struct RequestSender {
    requests: SyncSender<Waiting>,
    waker: Waker,
    budget: waiting::Budget,
}

/// The executor's end of the queue.
#[derive(Debug)]
pub struct RequestReceiver {
    pub requests: Receiver<Waiting>,
    pub waker: Waker,
}

/// A new queue.
pub fn queue() -> (RequestSender, RequestReceiver) {
    let (sender, receiver) = mpsc::sync_channel(MAX_REQUESTS);
    let waker = Waker::new();
    (
        RequestSender { requests: sender, waker: waker.clone(), budget: waiting::Budget::default() },
        RequestReceiver { requests: receiver, waker },
    )
}

impl RequestSender {
    /// Hands a request over; gives it back while the queue is full, or the bytes of all that wait. `Ok` too when the
    /// executor has ended.
    pub fn offer(&self, request: Request) -> Result<(), Request> {
        let result = match self.requests.try_send(Waiting::hold(&self.budget, request)?) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(waiting)) => Err(waiting.take()),
        };
        self.waker.notify();
        result
    }
}

/// What the node holds, so that the coordinator sends only what is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    pub root_version: u64,
    pub roster_version: u64,
    pub epoch: u64,
    pub seq: u64,
    pub receipt_counter: u64,
    /// SPKI digests of the coordinators that the root names.
    pub coordinator_ca: Vec<Digest>,
}

/// The task that the node is in the middle of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningTask {
    pub plan: Digest,
    pub task: TaskId,
    pub grant: u64,
    pub lease_seconds: u64,
}

/// What a task is doing, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub plan: Digest,
    pub task: TaskId,
    /// From 0.
    pub step: usize,
    pub steps: usize,
    pub sentence: String,
}

/// Something was refused; nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedInput {
    pub document: Option<Digest>,
    pub refused: Refused,
}

/// Bytes that the executor needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    pub digest: Digest,
    /// Never store more than this.
    pub size: u64,
    /// What is there is kept and continued.
    pub into: std::path::PathBuf,
}

/// What the executor shows to the network side.
#[derive(Debug, Default)]
pub struct ExecutorStatus {
    content: Mutex<StatusContent>,
    /// Something changed.
    pub changed: Notify,
}

/// What the status shows.
#[derive(Debug, Default)]
pub struct StatusContent {
    pub holding: Holding,
    /// The same signed, for people who do not believe the coordinator; none while the node belongs to no roster.
    pub holding_document: Option<Signed>,
    pub running: Option<RunningTask>,
    /// The newest, taken when it is sent.
    pub progress: Option<Progress>,
    /// Not acknowledged, oldest first.
    pub receipts: Vec<Signed>,
    /// Taken when they are sent.
    pub refusals: VecDeque<RefusedInput>,
    /// Taken when it is begun.
    pub fetch: Option<Fetch>,
}

impl ExecutorStatus {
    /// Looks at the status, or takes from it.
    pub fn content(&self) -> MutexGuard<'_, StatusContent> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the status, and tells the network side.
    pub fn change(&self, change: impl FnOnce(&mut StatusContent)) {
        change(&mut self.content());
        self.changed.notify_one();
    }

    /// Puts a refusal in the status, once.
    pub fn refuse(&self, document: Option<Digest>, refused: Refused) {
        self.change(|content| {
            let refusal = RefusedInput { document, refused };
            if content.refusals.back() != Some(&refusal) {
                if content.refusals.len() == MAX_REFUSALS {
                    content.refusals.pop_front();
                }
                content.refusals.push_back(refusal);
            }
        });
    }
}
