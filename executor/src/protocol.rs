//! What the network side and the executor say to each other over a Unix socket.
//!
//! Each message is one line of JSON ([`lines`]). Towards the executor go requests, which wait in a bounded queue, and
//! questions about the node ([`node`]). The other way go answers, facts, and the status whenever it changes: the newest
//! progress, the receipts that are not acknowledged, the refusals. The executor never waits for the network side, and
//! believes nothing of what it says: documents prove themselves by their exact bytes.

pub mod lines;
pub mod node;

use hostler_plan::{
    document::Signed,
    id::{Digest, TaskId},
    ledger::Head,
    refusal::Refused,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};

use self::node::{Answer, Question, Report};

/// Where the executor listens unless told otherwise.
pub const SOCKET: &str = "/run/hostler-executor/socket";

/// Reports are not taken more often than this, whatever is asked.
pub const SHORTEST_REPORT_INTERVAL_MS: u64 = 100;

/// When this program was built. A clock that shows less is wrong.
pub fn build_time() -> Timestamp {
    Timestamp::from_unix_seconds(hostler_daemon::built_at_seconds())
}

/// A message to the executor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToExecutor {
    /// Tell this connection the status from now on, and no longer the one that said so before.
    Watch,
    /// Take this to heart.
    Request(Request),
    /// Answer this under its number.
    Ask { number: u64, question: Question },
    /// Report facts at once and then at an interval; a later wish replaces an earlier one.
    Reports { every_ms: u64 },
    /// Nothing has happened for a while.
    Idle,
}

/// A message of the executor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromExecutor {
    /// What it shows, whole, whenever that changed.
    Status(Box<Status>),
    /// A receipt that the next status lists; each once on a connection.
    Receipt(Signed),
    /// Something was refused. Told once.
    Refused(RefusedInput),
    /// The answer to the question of that number.
    Answer { number: u64, answer: Box<Answer> },
    /// Facts.
    Report(Report),
}

/// What the network side brings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Roots in order and the newest roster.
    Trust { roots: Vec<Signed>, roster: Option<Signed> },
    /// A plan that this node should hold.
    Plan(Signed),
    /// A decision about this node's health.
    Decision(Signed),
    /// Permission to start a task.
    Grant(Box<Grant>),
    /// The coordinator renewed a lease.
    LeaseRenewed { grant: u64, lease_seconds: u64 },
    /// Start nothing more of this plan.
    Stop { plan: Digest, reason: String },
    /// The coordinator took the stream.
    Welcome {
        /// This node's own receipts that the coordinator has and the node does not; none when it misses none.
        own_receipts: Vec<Signed>,
        head: Option<Head>,
    },
    /// The coordinator has this receipt.
    ReceiptAcknowledged(Digest),
    /// A fetch ended: the bytes lie in the network side's folder, or a reason why not.
    Fetched { digest: Digest, result: Result<(), String> },
}

/// Permission to start a task now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub plan: Digest,
    pub task: TaskId,
    pub grant: u64,
    pub lease_seconds: u64,
    /// Receipts of the tasks that it comes after.
    pub receipts: Vec<Signed>,
    /// Where the coordinator's ledger stood.
    pub head: Option<Head>,
}

/// What the executor shows to the network side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub holding: Holding,
    /// The same signed, for people who do not believe the coordinator; none while the node belongs to no roster.
    pub holding_document: Option<Signed>,
    /// Requests that were dropped since the executor's start because more waited than may: they are asked for again.
    pub dropped: u64,
    /// Whether an API server can be asked on this machine.
    pub serves: bool,
    pub running: Option<RunningTask>,
    /// The newest; told once.
    pub progress: Option<Progress>,
    /// Not acknowledged, oldest first.
    pub receipts: Vec<Digest>,
    pub fetch: Option<Fetch>,
}

/// What the node holds, so that the coordinator sends only what is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    pub root_version: u64,
    pub roster_version: u64,
    pub epoch: u64,
    pub seq: u64,
    pub receipt_counter: u64,
    /// Its own receipts that it signed and does not find on its disk.
    pub lost_receipts: Vec<Digest>,
    /// SPKI digests of the coordinators that the root names.
    pub coordinator_ca: Vec<Digest>,
}

/// The task that the node is in the middle of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningTask {
    pub plan: Digest,
    pub task: TaskId,
    pub grant: u64,
    pub lease_seconds: u64,
}

/// What a task is doing, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    pub plan: Digest,
    pub task: TaskId,
    /// From 0.
    pub step: usize,
    pub steps: usize,
    pub sentence: String,
}

/// Something was refused; nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedInput {
    pub document: Option<Digest>,
    pub refused: Refused,
}

/// Bytes that the executor needs, in a file of the network side's own folder that is named by the digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    pub digest: Digest,
    /// Never store more than this.
    pub size: u64,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// What lies there is wrong; else it is continued.
    pub afresh: bool,
}
