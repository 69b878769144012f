//! The loop of events, and what machines and the coordinator do at each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hostler_plan::{
    document::{DocumentKind, Plan, Receipt, ReceiptType, Roster, RosterNode, RosterStatus, RosterType, StepResult},
    entry::Entry,
    fleet::Fleet,
    health::{Level, Rule, Vitals},
    id::{Arch, Digest, Epoch, FleetId, NodeName},
    json,
    sequencer::{Condition, Observation, Sequencer},
    signature::PublicKey,
    step::ClusterRole,
    timestamp::Timestamp,
    version::Version,
};

use super::{
    Millis, Profile, Random, Violation,
    coordinator::{Coordinator, KnownPlan, document, timestamp},
    invariants::Laws,
    machine::{Ended, Machine, Owner, TaskKey},
    operators::People,
};

pub(super) const OLD: Version = Version { major: 1, minor: 34, patch: 2, k3s: Some(1) };
pub(super) const NEW: Version = Version { major: 1, minor: 34, patch: 3, k3s: Some(1) };

/// What a node does by itself: renew, send again, read conditions.
pub(super) const NODE_TICK: Millis = 10_000;
const COORDINATOR_TICK: Millis = 10_000;
const PEOPLE_TICK: Millis = 10_000;

/// Without a reading for so long, the coordinator knows no node's condition.
const READINGS_LAST: Millis = 40_000;

/// Longer than any world needs that comes to an end at all: the longest of the first 200 needs 3260 s.
const END: Millis = 15_000_000;

/// How a world went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub seconds: u64,
    pub events: u64,
    pub entries: usize,
    pub plans: usize,
    pub grants: usize,
    pub halts: usize,
    pub expired_leases: usize,
    pub quarantines: usize,
    pub coordinator_restarts: u64,
    pub power_losses: u64,
    pub illnesses: u64,
    /// Nodes that were proved to be no worse after their work.
    pub no_worse: usize,
}

#[derive(Debug)]
pub(super) enum Event {
    NodeTick(usize),
    CoordinatorTick,
    PeopleTick,
    Wake,
    ToNode { node: usize, connection: u64, message: ToNode },
    ToCoordinator { node: usize, connection: u64, message: FromNode },
    BreakSeen { node: usize, connection: u64 },
    PowerBack(usize),
    CoordinatorBack,
    Work { node: usize, boot: u64, key: TaskKey, step: usize, begun: Millis },
    Repaired(usize),
    Recovered(usize),
    StrangerLeaves(usize),
}

#[derive(Debug, Clone)]
pub(super) enum ToNode {
    Grant { key: TaskKey, grant: u64 },
    Acknowledged { key: TaskKey },
}

#[derive(Debug, Clone)]
pub(super) enum FromNode {
    Receipt { key: TaskKey, ended: Ended },
    Renew { key: TaskKey, grant: u64, boot: u64 },
    Readings(Vec<Condition>),
    Health(Vitals),
}

/// One world.
#[derive(Debug)]
pub(super) struct World {
    pub random: Random,
    pub profile: Profile,
    pub now: Millis,
    pub storm_ends: Millis,
    pub machines: Vec<Machine>,
    pub coordinator: Coordinator,
    pub laws: Laws,
    pub plans: Vec<Arc<KnownPlan>>,
    pub by_digest: BTreeMap<Digest, usize>,
    pub fleet: Fleet,
    pub roster: Roster,
    pub people: People,
    pub summary: Summary,
    queue: BTreeMap<(Millis, u64), Event>,
    events: u64,
    connections: u64,
    next_wake: Option<Millis>,
    /// Receipts that are in the ledger.
    filed: BTreeSet<TaskKey>,
    max: u32,
}

/// Plays the world of that seed to its end: everything upgraded, in service, nothing open. Says which law was broken.
pub fn run(seed: u64) -> Result<Summary, Violation> {
    let mut random = Random::new(seed);
    let profile = Profile::of(seed, &mut random);
    let mut world = World::new(profile, random);
    world.play().map_err(|what| Violation { seed, at: world.now, what })?;
    Ok(world.summary)
}

impl World {
    fn new(profile: Profile, mut random: Random) -> Self {
        let fleet = fleet(&profile);
        let roster = roster(&fleet);
        let machines = fleet.nodes.iter().map(|n| Machine::new(n.name.clone(), n.role == ClusterRole::Server, OLD));
        let machines: Vec<Machine> = machines.collect();
        let storm_ends = if profile.is_calm() { 0 } else { random.between(300_000, 1_800_000) };
        let mut world = Self {
            now: 0,
            storm_ends,
            coordinator: Coordinator::new(machines.len()),
            machines,
            laws: Laws::default(),
            plans: Vec::new(),
            by_digest: BTreeMap::new(),
            people: People::default(),
            summary: Summary::default(),
            queue: BTreeMap::new(),
            events: 0,
            connections: 0,
            next_wake: None,
            filed: BTreeSet::new(),
            max: profile.max_unavailable,
            fleet,
            roster,
            profile,
            random,
        };
        let entry = document(DocumentKind::Roster, json::write(&world.roster));
        world.coordinator.append(0, entry);
        for node in 0..world.machines.len() {
            let first = world.random.between(0, NODE_TICK);
            world.at(first, Event::NodeTick(node));
        }
        world.at(COORDINATOR_TICK, Event::CoordinatorTick);
        world.at(2 * PEOPLE_TICK, Event::PeopleTick);
        world
    }

    fn play(&mut self) -> Result<(), String> {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            if at > END {
                return Err(format!("came to no end; it waits: {}", self.waits()));
            }
            let calm_after = self.storm_ends > 0 && at >= self.storm_ends;
            if calm_after && !self.profile.is_calm() {
                self.profile = self.profile.after_the_storm();
            }
            let done = matches!(event, Event::PeopleTick) && self.is_done();
            if done {
                break;
            }
            self.happen(event)?;
            self.laws.world(self.now, &self.machines, self.max)?;
        }
        if self.storm_ends == 0 && (self.summary.plans, self.summary.halts, self.summary.expired_leases) != (1, 0, 0) {
            return Err(format!("without faults one plan must do, without a halt: {:?}", self.summary));
        }
        self.summary.seconds = self.now / 1000;
        self.summary.events = self.events;
        self.summary.entries = self.coordinator.ledger.len();
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.now >= self.storm_ends
            && !self.plans.is_empty()
            && self.machines.iter().all(|m| m.version == NEW && !m.is_out() && m.performing.is_empty())
            && self.coordinator.sequencer.rollouts().iter().all(|r| r.state.is_over())
    }

    pub(super) fn waits(&self) -> String {
        let waits = self.coordinator.sequencer.waits(timestamp(self.now));
        waits.iter().take(20).map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
    }

    fn at(&mut self, at: Millis, event: Event) {
        self.events += 1;
        self.queue.insert((at, self.events), event);
    }

    pub(super) fn after(&mut self, low: Millis, high: Millis, event: Event) {
        let at = self.now + self.random.between(low, high);
        self.at(at, event);
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::NodeTick(node) => self.node_tick(node),
            Event::CoordinatorTick => self.coordinator_tick(),
            Event::PeopleTick => {
                self.people_tick()?;
                self.after(PEOPLE_TICK, PEOPLE_TICK, Event::PeopleTick);
                self.decide()
            }
            Event::Wake => {
                self.next_wake = None;
                self.decide()
            }
            Event::ToNode { node, connection, message } => self.hear(node, connection, message),
            Event::ToCoordinator { node, connection, message } => self.receive(node, connection, message),
            Event::BreakSeen { node, connection } => self.break_seen(node, connection),
            Event::PowerBack(node) => self.power_back(node),
            Event::CoordinatorBack => {
                self.summary.coordinator_restarts += 1;
                self.coordinator.restart(self.machines.len())?;
                self.laws.forget_reports();
                self.coordinator.last_reading = self.now;
                self.decide()
            }
            Event::Work { node, boot, key, step, begun } => self.work(node, boot, key, step, begun),
            Event::Repaired(node) => {
                self.machines[node].broken = false;
                self.machines[node].note_readiness(self.now);
                Ok(())
            }
            Event::Recovered(node) => {
                self.machines[node].sick = None;
                Ok(())
            }
            Event::StrangerLeaves(node) => {
                if self.machines[node].cordon == Some(Owner::Stranger) {
                    self.machines[node].cordon = None;
                }
                Ok(())
            }
        }
    }

    // The network.

    fn send(&mut self, make: impl Fn() -> Event) {
        let (lost, doubled, slowest) = (self.profile.lost, self.profile.doubled, self.profile.slowest);
        if !self.random.chance(lost) {
            self.after(1, slowest, make());
        }
        if self.random.chance(doubled) {
            self.after(1, slowest, make());
        }
    }

    fn send_to_node(&mut self, node: usize, message: &ToNode) {
        if let Some(connection) = self.coordinator.connections[node] {
            self.send(|| Event::ToNode { node, connection, message: message.clone() });
        }
    }

    pub(super) fn send_to_coordinator(&mut self, node: usize, message: &FromNode) {
        if let Some(connection) = self.machines[node].connection {
            self.send(|| Event::ToCoordinator { node, connection, message: message.clone() });
        }
    }

    pub(super) fn connect(&mut self, node: usize) -> Result<(), String> {
        self.connections += 1;
        self.machines[node].connection = Some(self.connections);
        self.coordinator.connections[node] = Some(self.connections);
        let machine = &self.machines[node];
        self.laws.connected(&machine.name, machine.boot);
        let observation = Observation::NodeConnected { node: machine.name.clone(), boot_id: machine.boot_id() };
        self.coordinator.sequencer.observe(timestamp(self.now), observation);
        self.tell_grants(node);
        self.decide()
    }

    pub(super) fn disconnect(&mut self, node: usize) {
        if let Some(connection) = self.machines[node].connection.take() {
            self.after(500, 15_000, Event::BreakSeen { node, connection });
        }
    }

    fn break_seen(&mut self, node: usize, connection: u64) -> Result<(), String> {
        if self.coordinator.up && self.coordinator.connections[node] == Some(connection) {
            self.coordinator.connections[node] = None;
            let name = self.machines[node].name.clone();
            self.coordinator.sequencer.observe(timestamp(self.now), Observation::NodeDisconnected { node: name });
            return self.decide();
        }
        Ok(())
    }

    // The coordinator.

    fn coordinator_tick(&mut self) -> Result<(), String> {
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
                let observation =
                    Observation::NodeCondition { node: machine.name.clone(), condition: Condition::UNKNOWN };
                self.coordinator.sequencer.observe(timestamp(self.now), observation);
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

    fn tell_grants(&mut self, node: usize) {
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
            Entry::NoWorse { .. } => self.summary.no_worse += 1,
            Entry::Granted { .. } => self.summary.grants += 1,
            Entry::LeaseExpired { .. } => self.summary.expired_leases += 1,
            Entry::Quarantined { .. } => self.summary.quarantines += 1,
            _ => {}
        }
        self.people.last_entry = self.now;
        self.laws.entry(self.now, &entry, &self.machines)?;
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
        self.laws.plan(known);
        self.summary.plans += 1;
        self.append(document(DocumentKind::Plan, bytes))
    }

    fn decide(&mut self) -> Result<(), String> {
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

    fn receive(&mut self, node: usize, connection: u64, message: FromNode) -> Result<(), String> {
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
                let observation = Observation::LeaseRenewed { plan: plan.digest, task, grant, boot_id };
                self.coordinator.sequencer.observe(now, observation);
                return Ok(());
            }
            FromNode::Readings(conditions) => {
                self.coordinator.last_reading = self.now;
                for (machine, condition) in self.machines.iter().zip(conditions) {
                    let observation = Observation::NodeCondition { node: machine.name.clone(), condition };
                    self.coordinator.sequencer.observe(now, observation);
                }
            }
            FromNode::Health(vitals) => {
                let name = self.machines[node].name.clone();
                self.laws.reported(self.now, &name, &vitals);
                // As the coordinator does: it looks again only when something may follow from the report.
                let sequencer = &mut self.coordinator.sequencer;
                let before = standings(sequencer, &name, now);
                sequencer.observe(now, Observation::NodeHealth { node: name.clone(), vitals });
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
            boot_id: self.machines[node].boot_id(),
            counter: ended.counter,
            previous: None,
            relied_on: Vec::new(),
            started: timestamp(self.now),
            ended: timestamp(self.now),
        };
        self.append(document(DocumentKind::Receipt, json::write(&receipt)))?;
        self.laws.receipt(key, ended.outcome.is_success());
        Ok(())
    }

    /// A stranger makes a node unschedulable for a while.
    pub(super) fn stranger_cordons(&mut self, node: usize) {
        self.machines[node].cordon = Some(Owner::Stranger);
        self.after(30_000, 200_000, Event::StrangerLeaves(node));
    }
}

fn standings(sequencer: &Sequencer, node: &NodeName, now: Timestamp) -> Vec<(Rule, Level)> {
    sequencer.verdicts(node, now).into_iter().map(|v| (v.rule, v.level)).collect()
}

fn fleet(profile: &Profile) -> Fleet {
    use std::fmt::Write as _;
    let mut text = format!(
        "name = \"seeds\"\ndistribution = \"k3s\"\nversion = \"{OLD}\"\napi = \"s1:6443\"\n[policy]\nmax_unavailable = {}\n\
         canary = {}\nsoak_seconds = 5\nready_timeout_seconds = 60\nlease_seconds = 60\nplan_lifetime_seconds = 2000000\n",
        profile.max_unavailable, profile.canary
    );
    for i in 0..profile.nodes {
        let (letter, number, role) = match i.checked_sub(profile.servers) {
            None => ("s", i + 1, "server"),
            Some(worker) => ("w", worker + 1, "worker"),
        };
        let node = write!(text, "[[nodes]]\nname = \"{letter}{number}\"\nrole = \"{role}\"\narch = \"aarch64\"\n");
        node.expect("writing to a String cannot fail");
    }
    let digest = Digest::of(b"k3s").hex();
    let artifact = format!(
        "[[artifacts]]\nname = \"k3s\"\nversion = \"{NEW}\"\narch = \"aarch64\"\npath = \"k3s\"\nsha256 = \"{digest}\"\nsize = 3\n"
    );
    text.push_str(&artifact);
    let (fleet, _) = Fleet::from_toml(&[("seeds.toml", &text)]).expect("the simulated fleet is valid");
    fleet
}

fn roster(fleet: &Fleet) -> Roster {
    // Nothing is signed in this world, so one key serves all; `plan::trust` would not have it.
    let key =
        PublicKey::from_openssh("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop")
            .expect("a public key");
    let node = |name: &NodeName, role| RosterNode {
        name: name.clone(),
        key: key.clone(),
        seal_key: String::new(),
        role,
        arch: Arch::Aarch64,
        status: RosterStatus::Active,
    };
    Roster {
        document_type: RosterType::V1,
        fleet_id: FleetId::new("5eed".repeat(8)).expect("32 hexadecimal digits"),
        epoch: Epoch(1),
        version: 1,
        root_version: 1,
        created: timestamp(0),
        nodes: fleet.nodes.iter().map(|n| node(&n.name, n.role)).collect(),
    }
}
