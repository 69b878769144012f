//! One world, and its loop of events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hostler_plan::{
    distribution::Distribution,
    document::{DocumentKind, Roster},
    fleet::Fleet,
    id::Digest,
    json,
    step::ClusterRole,
    version::{Build, Stage, Version},
};

use super::{
    Millis, Profile, Random, Violation,
    coordinator::{Coordinator, KnownPlan, document, timestamp},
    fleet::{fleet, roster},
    invariants::Invariants,
    machine::{Machine, Owner, TaskKey},
    network::{FromNode, ToNode},
    operators::Operators,
};

/// From which version to which every world goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versions {
    pub old: Version,
    pub new: Version,
}

impl Versions {
    fn of(distribution: Distribution) -> Self {
        let build = match distribution {
            Distribution::K3s => Some(Build { distribution, revision: 1 }),
            Distribution::Kubeadm => None,
        };
        let patch = |patch| Version { major: 1, minor: 34, patch, stage: Stage::Release, build };
        Self { old: patch(2), new: patch(3) }
    }
}

/// What a node does by itself: renew, send again, read conditions.
pub(super) const NODE_TICK: Millis = 10_000;
pub(super) const COORDINATOR_TICK: Millis = 10_000;
const OPERATORS_TICK: Millis = 10_000;

/// Longer than any world needs that comes to an end at all: the longest of the first 200 needs 3260 s.
pub(super) const END: Millis = 15_000_000;
/// The same where nodes begin within windows alone, in less than half of each hour at first.
const END_IN_WINDOWS: Millis = 4 * END;

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
    pub recovered: usize,
}

#[derive(Debug)]
pub(super) enum Event {
    NodeTick(usize),
    CoordinatorTick,
    OperatorsTick,
    Wake,
    ToNode { node: usize, connection: u64, message: ToNode },
    ToCoordinator { node: usize, connection: u64, message: FromNode },
    BreakSeen { node: usize, connection: u64 },
    PowerBack(usize),
    CoordinatorBack,
    Work { node: usize, boot: u64, key: TaskKey, step: usize, begun: Millis },
    Repaired(usize),
    Recovered(usize),
    ThirdPartyLeaves(usize),
}

/// One world.
#[derive(Debug)]
pub(super) struct World {
    pub random: Random,
    pub profile: Profile,
    pub versions: Versions,
    pub now: Millis,
    pub storm_ends: Millis,
    pub machines: Vec<Machine>,
    pub coordinator: Coordinator,
    pub invariants: Invariants,
    pub plans: Vec<Arc<KnownPlan>>,
    pub by_digest: BTreeMap<Digest, usize>,
    pub fleet: Fleet,
    pub roster: Roster,
    pub operators: Operators,
    pub summary: Summary,
    queue: BTreeMap<(Millis, u64), Event>,
    events: u64,
    pub connections: u64,
    pub next_wake: Option<Millis>,
    /// Receipts that are in the ledger.
    pub filed: BTreeSet<TaskKey>,
    pub max: u32,
}

/// Plays the world of that seed to its end: everything upgraded, in service, nothing open. Says which invariant was
/// broken.
pub fn run(seed: u64) -> Result<Summary, Violation> {
    let mut random = Random::new(seed);
    let profile = Profile::of(seed, &mut random);
    let mut world = World::new(profile, random);
    world.play().map_err(|what| Violation { seed, at: world.now, what })?;
    Ok(world.summary)
}

impl World {
    fn new(profile: Profile, mut random: Random) -> Self {
        let versions = Versions::of(profile.distribution);
        let fleet = fleet(&profile, versions);
        let roster = roster(&fleet);
        let machines =
            fleet.nodes.iter().map(|n| Machine::new(n.name.clone(), n.role == ClusterRole::Server, versions.old));
        let machines: Vec<Machine> = machines.collect();
        let storm_ends = if profile.has_no_faults() { 0 } else { random.between(300_000, 1_800_000) };
        let mut world = Self {
            now: 0,
            versions,
            storm_ends,
            coordinator: Coordinator::new(machines.len()),
            machines,
            invariants: Invariants::default(),
            plans: Vec::new(),
            by_digest: BTreeMap::new(),
            operators: Operators::default(),
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
        world.at(2 * OPERATORS_TICK, Event::OperatorsTick);
        world
    }

    fn play(&mut self) -> Result<(), String> {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            let end = if self.profile.windows { END_IN_WINDOWS } else { END };
            if at > end {
                return Err(format!("came to no end; it waits: {}", self.waits()));
            }
            let storm_is_over = self.storm_ends > 0 && at >= self.storm_ends;
            if storm_is_over && !self.profile.has_no_faults() {
                self.profile = self.profile.after_the_storm();
            }
            let done = matches!(event, Event::OperatorsTick) && self.is_done();
            if done {
                break;
            }
            self.happen(event)?;
            self.invariants.world(self.now, &self.machines, self.max)?;
            let Summary { plans, halts, expired_leases, .. } = self.summary;
            if self.storm_ends == 0 && (plans > 1 || halts + expired_leases > 0) {
                return Err(format!("without faults one plan must do, without a halt; {}", self.waits()));
            }
        }
        self.summary.seconds = self.now / 1000;
        self.summary.events = self.events;
        self.summary.entries = self.coordinator.ledger.len();
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.now >= self.storm_ends
            && !self.plans.is_empty()
            && self.machines.iter().all(|m| m.version == self.versions.new && !m.is_out() && m.performing.is_empty())
            && self.coordinator.sequencer.rollouts().iter().all(|r| r.state.is_over())
    }

    pub(super) fn waits(&self) -> String {
        let waits = self.coordinator.sequencer.waits(timestamp(self.now));
        waits.iter().take(20).map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
    }

    pub(super) fn at(&mut self, at: Millis, event: Event) {
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
            Event::OperatorsTick => {
                self.operators_tick()?;
                self.after(OPERATORS_TICK, OPERATORS_TICK, Event::OperatorsTick);
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
                self.invariants.forget_reports();
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
            Event::ThirdPartyLeaves(node) => {
                if self.machines[node].cordon == Some(Owner::ThirdParty) {
                    self.machines[node].cordon = None;
                }
                Ok(())
            }
        }
    }
}
