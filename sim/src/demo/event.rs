//! What happens in the demo, for a program that reads along: one JSON object a line, the kind in `event`.

use std::collections::BTreeMap;

use hostler_plan::{
    refusal::Refusal,
    sequencer::{RolloutStatus, TaskStatus},
};
use serde::Serialize;

/// What is going on about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeMark {
    Working,
    Waiting,
    Done,
    /// The rollout is over, and it was left as it is.
    Stopped,
    /// A task about it ended badly.
    #[serde(untagged)]
    Failed(TaskStatus),
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line. `machines` says what is not real.
    DemoStarted {
        seed: u64,
        fleet: String,
        nodes: Vec<String>,
        machines: &'static str,
        shortened: Vec<String>,
    },
    /// A new part of the story.
    Chapter {
        title: String,
    },
    /// A process of the demo's own was started; `name` is `coordinator` or a node.
    ProcessStarted {
        name: String,
        pid: u32,
    },
    /// A process ended by itself or was killed from outside; it is started again.
    ProcessEnded {
        name: String,
        pid: u32,
        reason: String,
    },
    /// A machine went down under its agent.
    MachineDown {
        node: String,
        reason: String,
    },
    /// A machine is up again, in another boot.
    MachineUp {
        node: String,
        boot_id: String,
    },
    TrustRootInstalled {
        fleet_id: String,
        digest: String,
        signer: String,
    },
    /// The coordinator lists the node's enrolment.
    Enrolled {
        node: String,
        model: String,
    },
    RosterSigned {
        version: u64,
        nodes: usize,
    },
    FactsReported {
        node: String,
        series: usize,
    },
    PlanPreviewed {
        seq: u64,
        kind: String,
        text: String,
    },
    PlanSubmitted {
        seq: u64,
        kind: String,
        title: String,
        digest: String,
        tasks: usize,
        signed_by: String,
    },
    /// What a node does or waits for, whenever it changes. `done` of `tasks` about this node have ended well.
    NodeDoes {
        seq: u64,
        node: String,
        done: usize,
        tasks: usize,
        state: NodeMark,
        sentence: String,
    },
    TaskEnded {
        seq: u64,
        task: String,
        node: String,
        subject: String,
        outcome: TaskStatus,
        sentence: String,
    },
    RolloutWaits {
        seq: u64,
        sentence: String,
    },
    RolloutEnded {
        seq: u64,
        state: RolloutStatus,
        sentence: String,
        seconds: f64,
    },
    /// A simulated supply is too weak from now on, or good again.
    SupplyChanged {
        node: String,
        sentence: String,
    },
    QuarantineReleased {
        node: String,
        version: String,
    },
    /// Something a coordinator should not do, and did.
    Offered {
        what: String,
    },
    Refused {
        node: String,
        offer: String,
        refusal: Refusal,
        reason: String,
    },
    /// Every document of the ledger was checked again from its bytes.
    LedgerChecked {
        records: u64,
        documents: usize,
        receipts: usize,
    },
    DemoFinished(Counts),
}

/// What came of it all: the fields of the last line.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Counts {
    pub seed: u64,
    pub nodes: usize,
    /// Nodes that enrolled themselves.
    pub enrolled: usize,
    /// Nodes whose facts arrived.
    pub facts_reported: usize,
    /// Plans that were compiled, signed and submitted.
    pub plans: usize,
    /// Receipts of success, each verified against the roster's key of its node.
    pub tasks_verified: usize,
    /// Receipts by outcome, verified likewise.
    pub outcomes: BTreeMap<String, usize>,
    /// Rollouts by how they ended.
    pub rollouts: BTreeMap<String, usize>,
    /// Offers of the hostile coordinator that a node refused, one for each node and offer.
    pub refused: usize,
    /// The same by the word of the refusal.
    pub refusals: BTreeMap<Refusal, usize>,
    /// Tasks that a node began under the hostile coordinator: anything but 0 is a failure.
    pub obeyed: usize,
    /// Simulated machines that were rebooted.
    pub reboots: u32,
    /// Processes that ended unasked and were started again.
    pub restarts: u32,
    pub version_before: String,
    pub version_after: String,
    pub seconds: f64,
}
