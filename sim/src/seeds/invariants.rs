//! What must be true after every event, judged from the ledger and from the machines themselves, not from the
//! sequencer's own view.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hostler_plan::{
    document::{PlanKind, Windows},
    entry::Entry,
    health::Vitals,
    id::{Digest, NodeName},
    step::Step,
    version::Version,
};

use super::{
    Millis,
    coordinator::{KnownPlan, timestamp},
    health::HealthInvariants,
    machine::{Machine, TaskKey},
};

/// A disruption that has lasted this long is known to a coordinator that listens: readings come every 10 s, are under
/// way for up to 15 s, and count for 40 s, which is looked at every 10 s.
const KNOWN_AFTER: Millis = 80_000;

/// What the checks remember; kept apart from the sequencer's own view.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    plans: Vec<Arc<KnownPlan>>,
    by_digest: BTreeMap<Digest, usize>,
    /// Tasks with a success receipt in the ledger.
    receipted: BTreeSet<TaskKey>,
    /// Tasks that any receipt of the ledger ended.
    ended: BTreeSet<TaskKey>,
    /// Tasks that succeeded on their machine.
    succeeded: BTreeSet<TaskKey>,
    grants: BTreeMap<(TaskKey, u64), ()>,
    last_grant: u64,
    over: BTreeSet<usize>,
    paused: BTreeSet<usize>,
    expired: BTreeMap<usize, BTreeSet<usize>>,
    quarantined: BTreeSet<(NodeName, Version)>,
    performing: BTreeSet<TaskKey>,
    /// Since when each machine has been out of service, for whatever reason.
    out_since: Vec<Option<Millis>>,
    health: HealthInvariants,
}

impl Invariants {
    pub(super) fn plan(&mut self, plan: Arc<KnownPlan>) {
        self.by_digest.insert(plan.digest, self.plans.len());
        let this = self.plans.len();
        for (i, old) in self.plans.iter().enumerate() {
            if !plan.plan.keeps_valid.iter().any(|b| b.digest == old.digest) {
                self.over.insert(i);
            }
        }
        self.over.remove(&this);
        self.plans.push(plan);
    }

    fn key(&self, plan: &Digest, task: &hostler_plan::id::TaskId) -> TaskKey {
        let p = self.by_digest[plan];
        (p, self.plans[p].index[task])
    }

    /// A node's stream is open, in that boot.
    pub(super) fn connected(&mut self, node: &NodeName, boot: u64) {
        self.health.connected(node, boot);
    }

    /// A report reached the coordinator.
    pub(super) fn reported(&mut self, now: Millis, node: &NodeName, vitals: &Vitals) {
        self.health.reported(now, node, vitals);
    }

    /// The coordinator died, and with it what it knew of reports.
    pub(super) fn forget_reports(&mut self) {
        self.health.forget_reports();
    }

    /// A receipt that is durable now.
    pub(super) fn receipt(&mut self, key: TaskKey, success: bool) {
        if self.ended.insert(key) && success {
            self.receipted.insert(key);
            let plan = Arc::clone(&self.plans[key.0]);
            let subject = &plan.plan.tasks[key.1].subject;
            let about = || (0..plan.plan.tasks.len()).filter(|i| plan.plan.tasks[*i].subject == *subject);
            let undisturbed = about().all(|i| !plan.plan.tasks[i].disrupts || self.receipted.contains(&(key.0, i)));
            let done = about().all(|i| self.receipted.contains(&(key.0, i)));
            self.health.receipted(key.0, subject, plan.plan.tasks[key.1].disrupts, undisturbed, done);
        }
        if let Some(expired) = self.expired.get_mut(&key.0) {
            expired.remove(&key.1);
        }
    }

    /// Judges an entry that was appended.
    pub(super) fn entry(&mut self, now: Millis, entry: &Entry, machines: &[Machine]) -> Result<(), String> {
        match entry {
            Entry::Granted { plan, task, grant, node, baseline, .. } => {
                let key = self.key(plan, task);
                self.granted(now, key, *grant, node, machines)?;
                self.health.granted(now, key.0, &self.plans[key.0].plan, key.1, baseline.as_deref())?;
            }
            Entry::Recovered { plan, node } => {
                let p = self.by_digest[plan];
                self.health.recovered(now, p, self.plans[p].plan.strategy.soak_seconds * 1000, node)?;
            }
            Entry::LeaseExpired { plan, task, .. } => {
                let key = self.key(plan, task);
                self.expired.entry(key.0).or_default().insert(key.1);
            }
            Entry::LeaseReleased { plan, task, .. } => {
                let key = self.key(plan, task);
                self.expired.entry(key.0).or_default().remove(&key.1);
            }
            Entry::Paused { plan, .. } => {
                self.paused.insert(self.by_digest[plan]);
            }
            Entry::Resumed { plan, .. } => {
                self.paused.remove(&self.by_digest[plan]);
            }
            Entry::Halted { plan, .. } => {
                self.over.insert(self.by_digest[plan]);
            }
            Entry::Finished { plan } => {
                let p = self.by_digest[plan];
                if let Some(task) = (0..self.plans[p].plan.tasks.len()).find(|i| !self.receipted.contains(&(p, *i))) {
                    return Err(format!("plan {} finished without {}", p + 1, self.plans[p].plan.tasks[task].id));
                }
                self.health.finished(p)?;
                self.over.insert(p);
            }
            Entry::Quarantined { node, version, .. } => {
                self.quarantined.insert((node.clone(), *version));
            }
            Entry::QuarantineReleased { node, version, .. } => {
                self.quarantined.remove(&(node.clone(), *version));
            }
            Entry::Document { .. }
            | Entry::NodeRefused { .. }
            | Entry::Alarm { .. }
            | Entry::TokenRevoked { .. }
            | Entry::ClockSetBack { .. }
            | Entry::Restored { .. }
            | Entry::CaughtUp { .. } => {}
        }
        Ok(())
    }

    fn granted(
        &mut self,
        now: Millis,
        key: TaskKey,
        grant: u64,
        node: &NodeName,
        machines: &[Machine],
    ) -> Result<(), String> {
        let plan = &self.plans[key.0];
        let task = &plan.plan.tasks[key.1];
        let what = format!("grant {grant} of {} in plan {}", task.id, plan.plan.seq);
        let fail = |why: &str| Err(format!("{what}: {why}"));
        if grant <= self.last_grant {
            return fail("its number is not higher than every one before");
        }
        if task.node != *node {
            return fail("it went to another node than the plan says");
        }
        if self.over.contains(&key.0) {
            return fail("its rollout is over");
        }
        if self.paused.contains(&key.0) {
            return fail("its rollout is paused");
        }
        if self.expired.get(&key.0).is_some_and(|e| !e.is_empty()) {
            return fail("a lease of its rollout ran out and nobody released it");
        }
        if self.ended.contains(&key) {
            return fail("it ended before");
        }
        if let Some(&before) = plan.after[key.1].iter().find(|a| !self.receipted.contains(&(key.0, **a))) {
            return fail(&format!("no success receipt of {}", plan.plan.tasks[before].id));
        }
        if let Some(version) = task.steps.iter().find_map(Step::upgrades_to)
            && self.quarantined.contains(&(task.subject.clone(), version))
        {
            return fail("the version is quarantined there");
        }
        // The first disrupting task of a subject takes it out of service; the ones after it find it so.
        // A drain that goes on with another one may find it so too.
        let subject = &task.subject;
        let is_out = machines.iter().any(|m| m.name == *subject && m.is_out_by_us());
        let goes_on = plan.plan.continues.is_some() && is_out;
        if task.disrupts && !goes_on && task.steps.iter().any(|s| matches!(s, Step::Cordon(_))) {
            let known = |(machine, since): &(&Machine, &Option<Millis>)| {
                machine.name != *subject && since.is_some_and(|since| now - since >= KNOWN_AFTER)
            };
            let out: Vec<String> =
                machines.iter().zip(&self.out_since).filter(known).map(|(m, s)| m.say_out(*s)).collect();
            if out.len() >= plan.plan.strategy.max_unavailable as usize {
                return fail(&format!("others have been out of service for long: {}", out.join(", ")));
            }
        }
        if plan.plan.kind != PlanKind::Drain {
            self.drain_goes_first(key)?;
        }
        self.in_its_window(now, key)?;
        self.last_grant = grant;
        self.grants.insert((key, grant), ());
        Ok(())
    }

    /// Where the fleet has maintenance windows, a node is taken out of service in one of them alone, with enough of it
    /// left: counted here from the plan's own numbers.
    fn in_its_window(&self, now: Millis, key: TaskKey) -> Result<(), String> {
        let plan = &self.plans[key.0].plan;
        let task = &plan.tasks[key.1];
        let retried = self.grants.range((key, 0)..=(key, u64::MAX)).next().is_some();
        let cordons = task.disrupts && task.steps.iter().any(|s| matches!(s, Step::Cordon(_)));
        let sets = match &plan.windows {
            Some(Windows::Within { sets }) if cordons && !retried => sets,
            Some(Windows::Within { .. } | Windows::AtOnce {}) | None => return Ok(()),
        };
        let now = timestamp(now);
        let open = sets.iter().any(|set| {
            let known = set.tasks.iter().find(|known| known.task == task.id);
            known.is_some_and(|known| {
                let ends = now.plus(std::time::Duration::from_secs(known.seconds));
                set.windows.iter().any(|window| window.from <= now && ends <= window.until)
            })
        });
        if open { Ok(()) } else { Err(format!("{} of plan {} was granted outside of its windows", task.id, plan.seq)) }
    }

    /// While a drain that lists a rollout runs, the rollout begins with no other node.
    fn drain_goes_first(&self, key: TaskKey) -> Result<(), String> {
        let plan = &self.plans[key.0];
        let task = &plan.plan.tasks[key.1];
        let yields = matches!(plan.plan.kind, PlanKind::Upgrade | PlanKind::Reboot);
        let begins = task.steps.iter().any(|s| matches!(s, Step::Cordon(_)));
        let drain = self.plans.iter().enumerate().find(|(i, p)| {
            p.plan.kind == PlanKind::Drain
                && !self.over.contains(i)
                && p.plan.keeps_valid.iter().any(|b| b.digest == plan.digest)
        });
        let retried = self.grants.range((key, 0)..=(key, u64::MAX)).next().is_some();
        match drain {
            Some((_, drain)) if yields && begins && !retried => {
                Err(format!("{} of plan {} was granted during the drain {}", task.id, plan.plan.seq, drain.plan.seq))
            }
            _ => Ok(()),
        }
    }

    /// A machine begins a task under a grant.
    pub(super) fn begin(&mut self, key: TaskKey, grant: u64) -> Result<(), String> {
        let task = &self.plans[key.0].plan.tasks[key.1];
        if !self.grants.contains_key(&(key, grant)) {
            return Err(format!("{} began under grant {grant}, which is not in the ledger", task.id));
        }
        if !self.performing.insert(key) {
            return Err(format!("{} is performed twice at the same time", task.id));
        }
        if self.succeeded.contains(&key) {
            return Err(format!("{} began again after it succeeded", task.id));
        }
        if let Some(&before) = self.plans[key.0].after[key.1].iter().find(|a| !self.succeeded.contains(&(key.0, **a))) {
            let before = &self.plans[key.0].plan.tasks[before].id;
            return Err(format!("{} began before {before} succeeded", task.id));
        }
        Ok(())
    }

    /// A machine ended a task, or was interrupted.
    pub(super) fn end(&mut self, key: TaskKey, success: bool) {
        self.performing.remove(&key);
        if success {
            self.succeeded.insert(key);
        }
    }

    /// Judges the machines after an event. `max` is the largest budget among the plans.
    pub(super) fn world(&mut self, now: Millis, machines: &[Machine], max: u32) -> Result<(), String> {
        self.out_since.resize(machines.len(), None);
        let mut ours = 0;
        let mut servers = 0;
        for (machine, since) in machines.iter().zip(&mut self.out_since) {
            if !machine.is_out() {
                *since = None;
                continue;
            }
            since.get_or_insert(now);
            if machine.is_out_by_us() {
                ours += 1;
                servers += usize::from(machine.is_server && machine.is_away_by_us());
            }
        }
        if ours > max as usize {
            let out = machines.iter().filter(|m| m.is_out_by_us()).map(|m| m.name.as_str()).collect::<Vec<_>>();
            return Err(format!(
                "{ours} nodes are out of service because of us, at most {max} may be: {}",
                out.join(" ")
            ));
        }
        let of = machines.iter().filter(|m| m.is_server).count();
        if of >= 3 && servers > 1 {
            return Err(format!("{servers} of {of} servers are away because of us"));
        }
        Ok(())
    }
}
