//! A coordinator that can die at any moment: what is in the ledger stays, everything else is lost.

use std::{collections::BTreeMap, sync::Arc};

use hostler_plan::{
    document::{DocumentKind, DocumentRef, Holds, Plan, PlanRef, Receipt, ReceiptType, Signed, StepResult},
    entry::{Entry, StoredDocument},
    health::{Level, Rule},
    id::{Digest, NodeName, TaskId},
    json,
    ledger::{self, Head},
    sequencer::{ClusterNode, NodeEvent, RolloutView, Sequencer, Settings, TaskState},
    timestamp::Timestamp,
};

use super::{
    Millis,
    machine::{Ended, TaskKey},
    network::{FromNode, ToNode},
    run::{COORDINATOR_TICK, END, Event, World},
};

/// Without a reading for so long, the coordinator knows no node's condition.
const READINGS_LAST: Millis = 40_000;

/// 2026-11-21T08:00:00Z in milliseconds.
const BEGIN: u64 = 1_795_248_000_000;

pub(super) fn timestamp(now: Millis) -> Timestamp {
    Timestamp::from_unix_milliseconds(BEGIN + now)
}

#[derive(Debug)]
pub(super) struct Coordinator {
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
pub(super) struct KnownPlan {
    pub digest: Digest,
    pub plan: Plan,
    pub index: BTreeMap<TaskId, usize>,
    pub after: Vec<Vec<usize>>,
}

impl KnownPlan {
    pub(super) fn new(digest: Digest, plan: Plan) -> Arc<Self> {
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
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            up: true,
            ledger: Vec::new(),
            sequencer: Sequencer::new(settings()),
            connections: vec![None; nodes],
            last_reading: 0,
        }
    }

    /// Durable first, then in memory.
    pub(super) fn append(&mut self, now: Millis, entry: Entry) {
        self.sequencer.apply(timestamp(now), &entry);
        self.ledger.push((now, entry));
    }

    /// Memory is lost. Fails when the ledger does not lead to the same state again.
    pub(super) fn restart(&mut self, nodes: usize) -> Result<(), String> {
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

/// What must survive a restart: every rollout's state and every task's, with the number of its grant, and how nodes
/// were before it.
fn durable(sequencer: &Sequencer) -> Vec<(u64, &'static str, Vec<String>, String)> {
    let task = |state: &TaskState| match state {
        TaskState::Waiting => "waiting".to_owned(),
        TaskState::Granted { grant } | TaskState::Expired { grant } => format!("{} {}", state.word(), grant.number),
        TaskState::Ended { grant, .. } => format!("{} {grant}", state.word()),
    };
    let rollouts = sequencer.rollouts();
    let health = |r: &RolloutView| format!("{:?} {:?}", r.baselines, r.recovered);
    let tasks = |r: &RolloutView| r.tasks.iter().map(|t| task(&t.state)).collect();
    rollouts.iter().map(|r| (r.seq.0, r.state.word(), tasks(r), health(r))).collect()
}

impl World {
    pub(super) fn coordinator_tick(&mut self) -> Result<(), String> {
        self.after(COORDINATOR_TICK, COORDINATOR_TICK, Event::CoordinatorTick);
        if !self.coordinator.up {
            return Ok(());
        }
        if self.random.chance(self.profile.coordinator_crashes) {
            self.crash_coordinator();
            return Ok(());
        }
        if self.now - self.coordinator.last_reading > READINGS_LAST {
            for machine in &self.machines {
                let event = NodeEvent::NodeCondition { node: machine.name.clone(), condition: ClusterNode::UNKNOWN };
                self.coordinator.sequencer.observe(timestamp(self.now), event);
            }
        }
        for node in 0..self.machines.len() {
            self.tell_grants(node);
        }
        self.decide()
    }

    fn crash_coordinator(&mut self) {
        self.coordinator.up = false;
        for machine in &mut self.machines {
            machine.connection = None;
        }
        self.after(1_000, 90_000, Event::CoordinatorBack);
    }

    pub(super) fn tell_grants(&mut self, node: usize) {
        if self.coordinator.connections[node].is_none() {
            return;
        }
        let sequencer = &self.coordinator.sequencer;
        let mut grants = sequencer.open_grants(&self.machines[node].name);
        grants.retain(|open| !sequencer.is_over(&open.plan));
        for open in grants {
            let plan = self.by_digest[&open.plan];
            let key = (plan, self.plans[plan].index[&open.task]);
            self.send_to_node(node, &ToNode::Grant { key, grant: open.grant.number });
        }
    }

    /// Writes an entry to the ledger and has it judged.
    pub(super) fn append(&mut self, entry: Entry) -> Result<(), String> {
        match &entry {
            Entry::Halted { .. } => self.summary.halts += 1,
            Entry::Recovered { .. } => self.summary.recovered += 1,
            Entry::Granted { .. } => self.summary.grants += 1,
            Entry::LeaseExpired { .. } => self.summary.expired_leases += 1,
            Entry::Quarantined { .. } => self.summary.quarantines += 1,
            Entry::Document { .. }
            | Entry::LeaseReleased { .. }
            | Entry::Paused { .. }
            | Entry::Resumed { .. }
            | Entry::Finished { .. }
            | Entry::QuarantineReleased { .. }
            | Entry::NodeRefused { .. }
            | Entry::Alarm { .. }
            | Entry::TokenRevoked { .. }
            | Entry::ClockSetBack { .. }
            | Entry::Restored { .. }
            | Entry::CaughtUp { .. } => {}
        }
        self.operators.last_entry = self.now;
        self.invariants.entry(self.now, &entry, &self.machines)?;
        self.coordinator.append(self.now, entry);
        Ok(())
    }

    /// A plan that was signed and verified.
    pub(super) fn submit(&mut self, plan: Plan) -> Result<(), String> {
        let bytes = json::write(&plan);
        let digest = Digest::of(&bytes);
        self.max = self.max.max(plan.strategy.max_unavailable);
        let known = KnownPlan::new(digest, plan);
        self.by_digest.insert(digest, self.plans.len());
        self.plans.push(Arc::clone(&known));
        self.invariants.plan(known);
        self.summary.plans += 1;
        self.append(document(DocumentKind::Plan, bytes))
    }

    pub(super) fn decide(&mut self) -> Result<(), String> {
        if !self.coordinator.up {
            return Ok(());
        }
        loop {
            let entries = self.coordinator.sequencer.decide(timestamp(self.now));
            if entries.is_empty() {
                break;
            }
            let dies = self.profile.coordinator_crashes > 0 && self.random.chance(10);
            let mut tell = Vec::new();
            for entry in entries {
                if let Entry::Granted { plan, task, grant, node, .. } = &entry {
                    let plan = self.by_digest[plan];
                    let node = self.machines.iter().position(|m| m.name == *node).ok_or("granted to nobody")?;
                    tell.push((node, ToNode::Grant { key: (plan, self.plans[plan].index[task]), grant: *grant }));
                }
                self.append(entry)?;
                // Some entries of a batch are durable, the others were never written.
                if dies && self.random.chance(500) {
                    break;
                }
            }
            if dies {
                self.crash_coordinator();
                return Ok(());
            }
            for (node, message) in tell {
                self.send_to_node(node, &message);
            }
        }
        let deadline = self.coordinator.sequencer.deadline(timestamp(self.now));
        let wake = deadline.map(|d| self.now + u64::try_from(d.since(timestamp(self.now)).as_millis()).unwrap_or(END));
        if let Some(wake) = wake
            && self.next_wake.is_none_or(|next| wake < next)
        {
            self.next_wake = Some(wake);
            self.at(wake, Event::Wake);
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, node: usize, connection: u64, message: FromNode) -> Result<(), String> {
        if !self.coordinator.up || self.coordinator.connections[node] != Some(connection) {
            return Ok(());
        }
        let now = timestamp(self.now);
        match message {
            FromNode::Receipt { key, ended } => {
                // A doubled receipt is written twice now and then, because a coordinator may not notice.
                if self.filed.insert(key) || self.random.chance(300) {
                    self.file(node, key, &ended)?;
                }
                self.send_to_node(node, &ToNode::Acknowledged { key });
            }
            FromNode::Renew { key, grant, boot } => {
                let plan = &self.plans[key.0];
                let boot_id = hostler_plan::id::BootId::new(format!("{boot:x}")).map_err(|e| e.to_string())?;
                let task = plan.plan.tasks[key.1].id.clone();
                let event = NodeEvent::LeaseRenewed { plan: plan.digest, task, grant, boot_id };
                self.coordinator.sequencer.observe(now, event);
                return Ok(());
            }
            FromNode::Readings(conditions) => {
                self.coordinator.last_reading = self.now;
                for (machine, condition) in self.machines.iter().zip(conditions) {
                    let event = NodeEvent::NodeCondition { node: machine.name.clone(), condition };
                    self.coordinator.sequencer.observe(now, event);
                }
            }
            FromNode::Health(vitals) => {
                let name = self.machines[node].name.clone();
                self.invariants.reported(self.now, &name, &vitals);
                // As the coordinator does: it looks again only when something may follow from the report.
                let sequencer = &mut self.coordinator.sequencer;
                let before = standings(sequencer, &name, now);
                sequencer.observe(now, NodeEvent::NodeHealth { node: name.clone(), vitals });
                if before == standings(sequencer, &name, now) && !sequencer.awaits_reports(&name) {
                    return Ok(());
                }
            }
        }
        self.decide()
    }

    fn file(&mut self, node: usize, key: TaskKey, ended: &Ended) -> Result<(), String> {
        let known = Arc::clone(&self.plans[key.0]);
        let step = |op: &&'static str| StepResult { op: (*op).to_owned(), changed: true, detail: String::new() };
        let receipt = Receipt {
            document_type: ReceiptType::V1,
            fleet_id: known.plan.fleet_id.clone(),
            node: self.machines[node].name.clone(),
            plan: known.digest,
            epoch: known.plan.epoch,
            seq: known.plan.seq,
            task: known.plan.tasks[key.1].id.clone(),
            grant: ended.grant,
            outcome: ended.outcome.clone(),
            steps: ended.begun.iter().map(step).collect(),
            observations: Vec::new(),
            pods: Vec::new(),
            boot_id: self.machines[node].boot_id(),
            counter: ended.counter,
            previous: None,
            relied_on: Vec::new(),
            holds: Holds {
                epoch: known.plan.epoch,
                root: DocumentRef { version: known.plan.root_version, digest: Digest::ZERO },
                roster: None,
                plan: Some(PlanRef { seq: known.plan.seq, digest: known.digest }),
                head: None,
            },
            started: timestamp(self.now),
            ended: timestamp(self.now),
        };
        self.append(document(DocumentKind::Receipt, json::write(&receipt)))?;
        self.invariants.receipt(key, ended.outcome.is_success());
        Ok(())
    }
}

fn standings(sequencer: &Sequencer, node: &NodeName, now: Timestamp) -> Vec<(Rule, Level)> {
    sequencer.verdicts(node, now).into_iter().map(|v| (v.rule, v.level)).collect()
}

pub(super) fn document(kind: DocumentKind, bytes: Vec<u8>) -> Entry {
    Entry::Document { kind, document: StoredDocument(Signed { bytes, signatures: Vec::new() }) }
}
