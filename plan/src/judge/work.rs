//! What plans allow: grants against the state of their rollouts.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judge, check_place, expect};
use crate::{
    document::{Plan, PlanKind, PlanRef, Task},
    entry::Entry,
    id::{Digest, NodeName, Seq, TaskId},
    refusal::{Refusal, Refused},
    step::Step,
    timestamp::Timestamp,
    trust::{CLOCK_SKEW, Verified, check_jump},
};

/// A plan and what became of it.
#[derive(Debug)]
pub(super) struct Rollout {
    pub plan: Verified<Plan>,
    pub end: Option<End>,
    pub is_paused: bool,
    /// Of the tasks that were granted.
    tasks: BTreeMap<TaskId, Standing>,
    /// The receipts of tasks that succeeded.
    pub succeeded: BTreeMap<TaskId, BTreeSet<Digest>>,
    /// The subjects whose state was taken down before they were disrupted.
    pub baselines: BTreeSet<NodeName>,
}

/// How a rollout came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Halted,
    /// A newer plan or epoch does not keep it.
    Void,
}

/// Where a task stands that was granted at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Granted(u64),
    Expired(u64),
    /// Its lease was given up: it may be granted again.
    Released,
    Ended,
}

/// A grant for which no receipt came yet.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub plan: Digest,
    pub task: TaskId,
    pub node: NodeName,
}

impl Rollout {
    fn new(plan: Verified<Plan>) -> Self {
        let (tasks, succeeded, baselines) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { plan, end: None, is_paused: false, tasks, succeeded, baselines }
    }

    pub(super) fn seq(&self) -> Seq {
        self.plan.document().seq
    }

    fn task(&self, id: &TaskId) -> Result<&Task, Refused> {
        self.plan.document().task(id).ok_or_else(|| {
            Refused::new(Refusal::OrderNotMet, format!("expected a task of plan {}, found {id}", self.seq()))
        })
    }

    /// Of the tasks before it, one that has not succeeded.
    fn comes_after<'t>(&self, task: &'t Task) -> Option<&'t TaskId> {
        task.after.iter().find(|before| !self.succeeded.contains_key(*before))
    }

    pub(super) fn note_end(&mut self, task: &TaskId, success: Option<Digest>) {
        self.tasks.insert(task.clone(), Standing::Ended);
        if let Some(receipt) = success {
            self.succeeded.entry(task.clone()).or_default().insert(receipt);
        }
    }
}

impl Judge {
    /// Of one epoch each plan follows the one before it, with a higher number and not a much higher one; but for a plan
    /// whose number was kept for it, because every plan since lists it.
    pub(super) fn check_plan(&self, plan: &Plan, digest: Digest) -> Result<(), Refused> {
        if self.awaited.contains(&PlanRef { seq: plan.seq, digest }) {
            return Ok(());
        }
        if plan.seq > self.highest_seq {
            check_place(&format!("plan {}", plan.seq), self.newest_plan, plan.prev, &plan.also)?;
            return check_jump(plan.epoch, self.highest_seq, self.roster.as_ref().map(Verified::document), plan.seq);
        }
        let (highest, seq) = (self.highest_seq, plan.seq);
        Err(Refused::new(Refusal::Replay, format!("expected a plan number above {highest}, found {seq}")))
    }

    /// A newer plan voids what it does not keep.
    pub(super) fn apply_plan(&mut self, plan: &Verified<Plan>) {
        let (document, digest) = (plan.document(), plan.digest());
        let keeps = |r: &Rollout| document.keeps_valid.contains(&PlanRef { seq: r.seq(), digest: r.plan.digest() });
        let older = self.rollouts.values().filter(|r| r.end.is_none() && r.seq() < document.seq);
        let void: Vec<Digest> = older.filter(|r| !keeps(r)).map(|r| r.plan.digest()).collect();
        let stops = document.kind == PlanKind::Stop;
        for plan in void {
            self.end(&plan, End::Void);
        }
        if stops {
            self.signed_by_stop(document);
        }
        if document.seq > self.highest_seq {
            let missing = document.keeps_valid.iter().filter(|kept| !self.documents.contains(&kept.digest));
            let still = missing.filter(|kept| kept.seq > self.highest_seq || self.awaited.contains(kept));
            self.awaited = still.copied().collect();
            (self.highest_seq, self.newest_plan) = (document.seq, Some(digest));
        }
        self.rollouts.insert(digest, Rollout::new(plan.clone()));
        if stops {
            // It has no work: what it ends has ended.
            self.end(&digest, End::Finished);
        }
    }

    pub(super) fn void_all(&mut self) {
        let open: Vec<Digest> = self.rollouts.values().filter(|r| r.end.is_none()).map(|r| r.plan.digest()).collect();
        open.iter().for_each(|plan| self.end(plan, End::Void));
    }

    /// The rollout of a plan that is not over.
    pub(super) fn going_on(&self, plan: &Digest) -> Result<&Rollout, Refused> {
        let known = self.rollouts.get(plan);
        known.filter(|r| r.end.is_none()).ok_or_else(|| {
            let found = match known.and_then(|r| r.end) {
                Some(End::Finished) => "it finished",
                Some(End::Halted) => "it halted",
                Some(End::Void) => "a newer plan or epoch that voids it",
                None if self.knows(plan) => "it is over",
                None => "no such plan before it",
            };
            Refused::new(Refusal::OrderNotMet, format!("expected a rollout of plan {plan} that goes on, found {found}"))
        })
    }

    /// The rollout of a plan in which something may begin at that time: `finishes` is said of the task.
    fn allows_start(&self, at: Timestamp, plan: &Digest, finishes: bool) -> Result<&Rollout, Refused> {
        let rollout = match self.rollouts.get(plan) {
            Some(void) if finishes && void.end == Some(End::Void) => void,
            Some(_) | None => self.going_on(plan)?,
        };
        let (document, seq) = (rollout.plan.document(), rollout.seq());
        expect(!rollout.is_paused, || format!("no grant while plan {seq} is paused, found one"))?;
        let skew = if document.not_before == document.created { CLOCK_SKEW } else { std::time::Duration::ZERO };
        expect(at.plus(skew) >= document.not_before, || {
            format!("a grant of plan {seq} from {} on, found one of {at}", document.not_before)
        })?;
        let in_time = finishes || at < document.expires;
        let late = || format!("expected a grant of plan {seq} before {}, found one of {at}", document.expires);
        if in_time { Ok(rollout) } else { Err(Refused::new(Refusal::Expired, late())) }
    }

    pub(super) fn check_grant(&self, at: Timestamp, entry: &Entry, last: &mut u64) -> Result<(), Refused> {
        let Entry::Granted { plan, task, grant, node, lease_seconds, .. } = entry else { return Ok(()) };
        let known = self.rollouts.get(plan).map(|r| r.task(task)).transpose()?;
        let finishes = known.is_some_and(|task| task.finishes);
        let rollout = self.allows_start(at, plan, finishes)?;
        let (seq, found) = (rollout.seq(), rollout.task(task)?);
        expect(found.node == *node, || format!("task {task} granted to {}, found {node}", found.node))?;
        expect(*grant > *last, || format!("a grant above {last}, found {grant}"))?;
        let lease = rollout.plan.document().strategy.lease_seconds;
        expect(*lease_seconds == lease, || format!("the plan's lease of {lease} s, found {lease_seconds} s"))?;
        if let Some(before) = rollout.comes_after(found) {
            return expect(false, || format!("a success of {before} before the grant of {task}, found none"));
        }
        let free = matches!(rollout.tasks.get(task), None | Some(Standing::Released));
        expect(free, || format!("task {task} of plan {seq} to wait for a grant, found that it had one"))?;
        if let Some(drain) = self.goes_before(rollout, found) {
            return expect(false, || format!("no grant of plan {seq} while plan {drain}, a drain, is open, found one"));
        }
        let quarantined = found
            .steps
            .iter()
            .filter_map(Step::upgrades_to)
            .find(|version| self.quarantines.contains(&(found.subject.clone(), *version)));
        if let Some(version) = quarantined {
            let subject = &found.subject;
            return expect(false, || {
                format!("no upgrade of {subject} to {version}, which is in quarantine, found one")
            });
        }
        expect(!self.is_restored, || {
            "no grant after a part of the ledger was lost, until it has caught up or an admin adopted it".to_owned()
        })?;
        *last = *grant;
        Ok(())
    }

    /// An open drain that goes before that task: it keeps the task's plan beside itself, and of the task's subject
    /// nothing was begun that would have to be finished first.
    fn goes_before(&self, rollout: &Rollout, task: &Task) -> Option<Seq> {
        let plan = rollout.plan.document();
        let mut about = plan.tasks.iter().filter(|t| t.subject == task.subject && t.disrupts);
        if !plan.kind.yields_to_drains() || about.any(|t| rollout.tasks.contains_key(&t.id)) {
            return None;
        }
        let this = PlanRef { seq: rollout.seq(), digest: rollout.plan.digest() };
        let drains = self.rollouts.values().filter(|r| r.end.is_none()).map(|r| r.plan.document());
        let mut before = drains.filter(|drain| drain.kind == PlanKind::Drain && drain.keeps_valid.contains(&this));
        before.next().map(|drain| drain.seq)
    }

    pub(super) fn apply_grant(&mut self, entry: &Entry) {
        let Entry::Granted { plan, task, grant, node, baseline, .. } = entry else { return };
        self.last_grant = self.last_grant.max(*grant);
        let Some(rollout) = self.rollouts.get_mut(plan) else { return };
        rollout.tasks.insert(task.clone(), Standing::Granted(*grant));
        if let (Some(_), Ok(found)) = (baseline, rollout.task(task)) {
            let subject = found.subject.clone();
            rollout.baselines.insert(subject);
        }
        self.grants.insert(*grant, Grant { plan: *plan, task: task.clone(), node: node.clone() });
    }

    fn standing(&self, plan: &Digest, task: &TaskId) -> Option<Standing> {
        self.rollouts.get(plan)?.tasks.get(task).copied()
    }

    pub(super) fn check_expired(&self, plan: &Digest, task: &TaskId, grant: u64) -> Result<(), Refused> {
        let held = self.standing(plan, task) == Some(Standing::Granted(grant));
        expect(held, || format!("grant {grant} of task {task} to be held, found it is not"))
    }

    pub(super) fn check_released(&self, plan: &Digest, task: &TaskId, grant: u64) -> Result<(), Refused> {
        let expired = self.standing(plan, task) == Some(Standing::Expired(grant));
        expect(expired, || format!("grant {grant} of task {task} to have run out, found it has not"))
    }

    pub(super) fn apply_expired(&mut self, plan: &Digest, task: &TaskId, grant: u64) {
        self.set_standing(plan, task, Standing::Expired(grant));
    }

    pub(super) fn apply_released(&mut self, plan: &Digest, task: &TaskId, _grant: u64) {
        self.set_standing(plan, task, Standing::Released);
    }

    fn set_standing(&mut self, plan: &Digest, task: &TaskId, standing: Standing) {
        if let Some(rollout) = self.rollouts.get_mut(plan) {
            rollout.tasks.insert(task.clone(), standing);
        }
    }

    pub(super) fn check_finished(&self, plan: &Digest) -> Result<(), Refused> {
        let rollout = self.going_on(plan)?;
        let tasks = &rollout.plan.document().tasks;
        match tasks.iter().find(|t| !rollout.succeeded.contains_key(&t.id)) {
            None => Ok(()),
            Some(task) => expect(false, || {
                format!("a success of {} before plan {} is called finished, found none", task.id, rollout.seq())
            }),
        }
    }

    pub(super) fn set_paused(&mut self, plan: &Digest, is_paused: bool) {
        if let Some(rollout) = self.rollouts.get_mut(plan) {
            rollout.is_paused = is_paused;
        }
    }

    pub(super) fn end(&mut self, plan: &Digest, end: End) {
        if let Some(rollout) = self.rollouts.get_mut(plan) {
            rollout.end.get_or_insert(end);
            self.forget_settled(plan);
        }
    }

    /// Lets go of a rollout that is over when no node owes a receipt for it, and none of its tasks may still begin.
    pub(super) fn forget_settled(&mut self, plan: &Digest) {
        let Some(rollout) = self.rollouts.get(plan) else { return };
        let is_hopeful = |before: &TaskId| match rollout.tasks.get(before) {
            Some(Standing::Ended) => rollout.succeeded.contains_key(before),
            Some(Standing::Granted(_) | Standing::Expired(_) | Standing::Released) => true,
            None => false,
        };
        let may_finish = |t: &Task| t.finishes && !rollout.tasks.contains_key(&t.id) && t.after.iter().all(is_hopeful);
        let may_begin = rollout.end == Some(End::Void) && rollout.plan.document().tasks.iter().any(may_finish);
        let owes = self.grants.values().any(|grant| grant.plan == *plan);
        if rollout.end.is_some() && !owes && !may_begin {
            self.rollouts.remove(plan);
        }
    }
}
