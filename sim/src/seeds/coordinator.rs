//! A coordinator that can die at any moment: what is in the ledger stays, everything else is lost.

use std::{collections::BTreeMap, sync::Arc};

use hostler_plan::{
    document::{DocumentKind, Plan, Signed},
    entry::{Entry, StoredDocument},
    id::{Digest, TaskId},
    ledger::{self, Head},
    sequencer::{RolloutView, Sequencer, Settings, TaskState},
    timestamp::Timestamp,
};

use super::Millis;

/// 2026-11-21T08:00:00Z in milliseconds.
const BEGIN: u64 = 1_795_248_000_000;

pub fn timestamp(now: Millis) -> Timestamp {
    Timestamp::from_unix_milliseconds(BEGIN + now)
}

#[derive(Debug)]
pub struct Coordinator {
    pub up: bool,
    /// Survives a crash.
    pub ledger: Vec<(Millis, Entry)>,
    pub sequencer: Sequencer,
    /// Per node, the stream that it believes to be open.
    pub connections: Vec<Option<u64>>,
    /// When a server's reading of node conditions arrived last.
    pub last_reading: Millis,
}

/// A plan of the ledger with what is looked up often.
#[derive(Debug)]
pub struct KnownPlan {
    pub digest: Digest,
    pub plan: Plan,
    pub index: BTreeMap<TaskId, usize>,
    pub after: Vec<Vec<usize>>,
}

impl KnownPlan {
    pub fn new(digest: Digest, plan: Plan) -> Arc<Self> {
        let index: BTreeMap<TaskId, usize> = plan.tasks.iter().enumerate().map(|(i, t)| (t.id.clone(), i)).collect();
        let after = plan.tasks.iter().map(|t| t.after.iter().map(|a| index[a]).collect()).collect();
        Arc::new(Self { digest, plan, index, after })
    }
}

fn settings() -> Settings {
    // As much longer than the readings here as the default is than real ones.
    // A node that is worse after its work halts the rollout before people lose patience.
    Settings { settle_seconds: 45, recovery_seconds: 300, ..Settings::default() }
}

impl Coordinator {
    pub fn new(nodes: usize) -> Self {
        Self {
            up: true,
            ledger: Vec::new(),
            sequencer: Sequencer::new(settings()),
            connections: vec![None; nodes],
            last_reading: 0,
        }
    }

    /// Durable first, then in memory.
    pub fn append(&mut self, now: Millis, entry: Entry) {
        self.sequencer.apply(timestamp(now), &entry);
        self.ledger.push((now, entry));
    }

    /// Memory is lost. Fails when the ledger does not lead to the same state again.
    pub fn restart(&mut self, nodes: usize) -> Result<(), String> {
        let before = durable(&self.sequencer);
        let mut sequencer = Sequencer::new(settings());
        // As it stands on the disk.
        let mut head = Head::EMPTY;
        for (at, entry) in &self.ledger {
            let (line, ..) = ledger::encode(head, timestamp(*at), entry.clone());
            let read = ledger::decode(head, 0, &line).map_err(|e| e.to_string())?;
            let (record, next, _) = read.ok_or("an empty line was written")?;
            sequencer.apply(record.at, &record.entry);
            head = next;
        }
        let after = durable(&sequencer);
        self.sequencer = sequencer;
        self.connections = vec![None; nodes];
        self.up = true;
        if before == after {
            Ok(())
        } else {
            Err(format!("the ledger was folded to another state: {before:?} became {after:?}"))
        }
    }
}

/// What must survive a restart: every rollout's state and every task's, with the number of its grant, and how nodes were
/// before it.
fn durable(sequencer: &Sequencer) -> Vec<(u64, &'static str, Vec<String>, String)> {
    let task = |state: &TaskState| match state {
        TaskState::Waiting => "waiting".to_owned(),
        TaskState::Granted { grant } | TaskState::Expired { grant } => format!("{} {}", state.word(), grant.number),
        TaskState::Ended { grant, .. } => format!("{} {grant}", state.word()),
    };
    let rollouts = sequencer.rollouts();
    let health = |r: &RolloutView| format!("{:?} {:?}", r.baselines, r.no_worse);
    let tasks = |r: &RolloutView| r.tasks.iter().map(|t| task(&t.state)).collect();
    rollouts.iter().map(|r| (r.seq.0, r.state.word(), tasks(r), health(r))).collect()
}

pub fn document(kind: DocumentKind, bytes: Vec<u8>) -> Entry {
    Entry::Document { kind, document: StoredDocument(Signed { bytes, signatures: Vec::new() }) }
}
