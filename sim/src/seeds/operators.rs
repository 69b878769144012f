//! Admins, operators and third parties with kubectl. They act on what the coordinator says: waits, holds and
//! quarantines.

use std::{collections::BTreeMap, sync::Arc};

use hostler_plan::{
    document::PlanKind,
    entry::Entry,
    id::{Epoch, NodeName, Seq},
    planner::{
        self, Accepted, Begins, Continues, Earlier, Intent, Inventory, Numbering, OpenPlan, Quarantined, Selection,
    },
    sequencer::{Reason, RolloutState, TaskState},
};

use super::{
    Millis,
    coordinator::{KnownPlan, timestamp},
    machine::{Owner, TaskKey},
    run::{Event, World},
};

/// How long a person looks at a silent node before the lease is released; longer than any message is under way.
const LOOKS_FOR: Millis = 40_000;

/// When nothing was written for so long, somebody reads why and does what the sentence says.
const NOBODY_MOVES: Millis = 150_000;

/// What the operators remember.
#[derive(Debug, Default)]
pub(super) struct Operators {
    pub last_entry: Millis,
    expired_seen: BTreeMap<TaskKey, Millis>,
}

impl World {
    pub(super) fn operators_tick(&mut self) -> Result<(), String> {
        self.third_party();
        if !self.coordinator.up {
            return Ok(());
        }
        self.release_leases()?;
        self.release_quarantines()?;
        let stormy = self.now < self.storm_ends;
        let stuck = self.now - self.operators.last_entry > NOBODY_MOVES;
        if self.random.chance(self.profile.operators) {
            self.operate()?;
        }
        if !stormy || self.random.chance(100) {
            self.put_back_drained()?;
            self.resume()?;
        }
        if stuck && !stormy {
            self.operators.last_entry = self.now;
            self.put_back_everything()?;
        }
        self.upgrade()
    }

    fn third_party(&mut self) {
        if !self.random.chance(self.profile.third_party) {
            return;
        }
        let node = self.random.index(self.machines.len());
        match self.machines[node].cordon {
            None => self.third_party_cordons(node),
            // kubectl uncordon undoes anybody's.
            Some(Owner::Hostler) => self.machines[node].cordon = None,
            Some(Owner::ThirdParty) => {}
        }
    }

    /// A third party makes a node unschedulable for a while.
    fn third_party_cordons(&mut self, node: usize) {
        self.machines[node].cordon = Some(Owner::ThirdParty);
        self.after(30_000, 200_000, Event::ThirdPartyLeaves(node));
    }

    /// Looks at every node whose lease ran out, and releases the lease once the node is not at it any more.
    fn release_leases(&mut self) -> Result<(), String> {
        let mut expired = BTreeMap::new();
        for wait in self.coordinator.sequencer.waits(timestamp(self.now)) {
            if let Reason::LeaseExpired { task, node, .. } = wait.reason {
                let plan = self.by_digest[&wait.plan];
                expired.insert((plan, self.plans[plan].index[&task]), node);
            }
        }
        self.operators.expired_seen.retain(|key, _| expired.contains_key(key));
        for (key, node) in expired {
            let since = *self.operators.expired_seen.entry(key).or_insert(self.now);
            let Some(machine) = self.machines.iter().find(|m| m.name == node) else { continue };
            let at_it = machine.performing.contains_key(&key)
                || machine.rebooting.contains_key(&key)
                || machine.receipts.contains_key(&key);
            if self.now - since < LOOKS_FOR || !machine.up || at_it {
                continue;
            }
            let known = &self.plans[key.0];
            let task = known.plan.tasks[key.1].id.clone();
            let Some(grant) = self.grant_of(key) else { continue };
            self.append(Entry::LeaseReleased { plan: known.digest, task, grant, by: "ana".to_owned() })?;
        }
        Ok(())
    }

    fn grant_of(&self, key: TaskKey) -> Option<u64> {
        let known = &self.plans[key.0];
        let rollouts = self.coordinator.sequencer.rollouts();
        let rollout = rollouts.iter().find(|r| r.plan == known.digest)?;
        match &rollout.tasks[key.1].state {
            TaskState::Expired { grant } => Some(grant.number),
            TaskState::Waiting | TaskState::Granted { .. } | TaskState::Ended { .. } => None,
        }
    }

    fn release_quarantines(&mut self) -> Result<(), String> {
        for quarantine in self.coordinator.sequencer.quarantines() {
            if self.now >= self.storm_ends || self.random.chance(30) {
                let (node, version) = (quarantine.node, quarantine.version);
                self.append(Entry::QuarantineReleased { node, version, by: "ana".to_owned() })?;
            }
        }
        Ok(())
    }

    fn operate(&mut self) -> Result<(), String> {
        let nodes = vec![self.machines[self.random.index(self.machines.len())].name.clone()];
        match self.random.index(8) {
            0..=2 => self.make(&Intent::Drain { nodes, max_unavailable: None, continues: Continues::IfOpen }),
            3 | 4 => self.make(&Intent::Reboot { nodes: Selection::Named(nodes.clone()), accept_outage: nodes }),
            5 | 6 => {
                let running =
                    self.coordinator.sequencer.rollouts().into_iter().find(|r| r.state == RolloutState::Running);
                let Some(running) = running else { return Ok(()) };
                let (by, reason) = ("olga".to_owned(), "the phone rings".to_owned());
                self.append(Entry::Paused { plan: running.plan, by, reason })
            }
            _ => {
                let running = self.coordinator.sequencer.rollouts().into_iter().rfind(|r| !r.state.is_over());
                let Some(running) = running else { return Ok(()) };
                let (by, reason) = ("olga".to_owned(), "smoke".to_owned());
                self.append(Entry::Halted { plan: running.plan, by, reason })
            }
        }
    }

    fn resume(&mut self) -> Result<(), String> {
        for rollout in self.coordinator.sequencer.rollouts() {
            if matches!(rollout.state, RolloutState::Paused { .. }) {
                self.append(Entry::Resumed { plan: rollout.plan, by: "olga".to_owned() })?;
            }
        }
        Ok(())
    }

    fn put_back_drained(&mut self) -> Result<(), String> {
        let drained = self.coordinator.sequencer.holds().into_iter().filter(|(_, h)| h.kind == PlanKind::Drain);
        let nodes: Vec<NodeName> = drained.map(|(n, _)| n).collect();
        self.uncordon(nodes)
    }

    fn put_back_everything(&mut self) -> Result<(), String> {
        let nodes = self.coordinator.sequencer.holds().into_keys().collect();
        self.uncordon(nodes)
    }

    fn uncordon(&mut self, nodes: Vec<NodeName>) -> Result<(), String> {
        let underway = |k: &PlanKind| *k == PlanKind::Uncordon;
        let rollouts = self.coordinator.sequencer.rollouts();
        if nodes.is_empty() || rollouts.iter().any(|r| underway(&r.kind) && !r.state.is_over()) {
            return Ok(());
        }
        self.make(&Intent::Uncordon { nodes })
    }

    /// Keeps an upgrade going until every node is at the version.
    fn upgrade(&mut self) -> Result<(), String> {
        let rollouts = self.coordinator.sequencer.rollouts();
        let running = rollouts.iter().any(|r| r.kind == PlanKind::Upgrade && !r.state.is_over());
        let first = rollouts.is_empty();
        let to = self.versions.new;
        let in_service = self.machines.iter().all(|m| m.version == to && !m.is_out());
        if running || in_service || !(first || self.random.chance(300)) {
            return Ok(());
        }
        let accept_outage = self.machines.iter().filter(|m| m.is_server).map(|m| m.name.clone()).collect();
        let intent = Intent::Upgrade {
            to,
            nodes: Selection::All,
            quarantined: Quarantined::Skip,
            accepted: Accepted { outage: accept_outage, ..Accepted::default() },
        };
        self.make(&intent)
    }

    /// Compiles, signs and submits; an obstacle means to try again later.
    fn make(&mut self, intent: &Intent) -> Result<(), String> {
        let numbering = Numbering {
            epoch: Epoch(1),
            seq: Seq(self.plans.len() as u64 + 1),
            prev: self.plans.last().map(|known| known.digest),
            also: Vec::new(),
            root_version: 1,
            roster: hostler_plan::id::Digest::of(b"roster"),
            created: timestamp(self.now),
            lifetime_seconds: self.fleet.policy.plan_lifetime_seconds,
            begins: Begins::InWindows { most_seconds: self.fleet.policy.plan_lifetime_seconds },
        };
        let inventory = Inventory::of(&self.coordinator.sequencer, timestamp(self.now));
        let known = |plan: &&Arc<KnownPlan>| inventory.running.iter().any(|r| r.plan.digest == plan.digest);
        let open = self.plans.iter().filter(known).map(|k| OpenPlan::of(&k.plan, k.digest, Vec::new()));
        let earlier = Earlier { open: open.collect(), ..Earlier::default() };
        match planner::plan(&self.fleet, &self.roster, &inventory, &earlier, intent, &numbering) {
            Ok((plan, _)) => self.submit(plan),
            // Nothing that passes is in the way where nothing goes wrong.
            Err(error) if self.storm_ends == 0 => Err(format!("{intent:?} cannot be planned: {error}")),
            Err(_) => Ok(()),
        }
    }
}
