//! One plan under way: its tasks, what came of them, and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    document::{Outcome, Plan, PlanKind, PlanRef, Task},
    health::Baseline,
    id::{Digest, Epoch, Fingerprint, NodeName, Seq, TaskId},
    step::Step,
    timestamp::Timestamp,
    version::Version,
};

use super::view::{Grant, OpenGrant, RolloutState, RolloutView, TaskState, TaskView};

/// A plan and what became of its tasks.
#[derive(Debug, Clone)]
pub(super) struct Rollout {
    pub digest: Digest,
    pub plan: Plan,
    pub received: Timestamp,
    pub end: Option<End>,
    /// The plan that it continues, and those which that one continued.
    pub goes_on_with: Vec<Digest>,
    pub paused: Option<(String, String)>,
    /// In the plan's order, as everything else that speaks of tasks by index.
    tasks: Vec<TaskRecord>,
    index: BTreeMap<TaskId, usize>,
    /// The key under which each target's receipts count.
    target_keys: BTreeMap<NodeName, Fingerprint>,
    order: Order,
    counts: Counts,
    /// Per subject, the indices of the tasks about it, in the plan's order.
    pub subjects: BTreeMap<NodeName, Vec<usize>>,
    /// When the first disrupting task about each subject was granted first.
    pub began: BTreeMap<NodeName, Timestamp>,
    /// The nodes that refuse it now, and why.
    pub refused: BTreeMap<NodeName, String>,
    /// How every subject was before it was disrupted first.
    pub baselines: BTreeMap<NodeName, Baseline>,
    /// Of those, the ones that were found no worse after it, and stayed so for the soak.
    pub recovered: BTreeSet<NodeName>,
    /// Of those, the others.
    pub unproved: BTreeSet<NodeName>,
    /// Of these, those whose reports since they were disrupted say no worse: since when, and the last one.
    pub good: BTreeMap<NodeName, (Timestamp, Timestamp)>,
}

/// Which tasks come after which.
#[derive(Debug, Clone)]
struct Order {
    /// Per task, those that it comes after.
    after: Vec<Vec<usize>>,
    /// Per task, those that come after it.
    before: Vec<Vec<usize>>,
    /// Per task, how many of those that it comes after have not succeeded.
    missing: Vec<usize>,
}

/// What the states of all tasks amount to.
#[derive(Debug, Clone, Default)]
struct Counts {
    /// Waiting tasks that come after nothing that has not succeeded.
    ready: BTreeSet<usize>,
    in_flight: BTreeSet<usize>,
    expired: BTreeSet<usize>,
    failed: BTreeSet<usize>,
    succeeded: usize,
}

/// How a rollout came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Halted {
        by: String,
        reason: String,
    },
    Superseded {
        by: Option<Seq>,
        /// Whether what it left half done is brought to its end all the same, because nothing newer does that.
        finishes: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct TaskRecord {
    pub state: TaskState,
    /// Whether it was granted at any time: its node may have begun, whatever became of the lease.
    pub was_granted: bool,
    pub progress: Option<String>,
}

impl TaskRecord {
    pub(super) fn succeeded(&self) -> bool {
        matches!(&self.state, TaskState::Ended { outcome, .. } if outcome.is_success())
    }

    pub(super) fn failure(&self) -> Option<&Outcome> {
        match &self.state {
            TaskState::Ended { outcome, .. } if !outcome.is_success() => Some(outcome),
            TaskState::Ended { .. } | TaskState::Waiting | TaskState::Granted { .. } | TaskState::Expired { .. } => {
                None
            }
        }
    }

    fn grant_mut(&mut self) -> Option<&mut Grant> {
        match &mut self.state {
            TaskState::Granted { grant } => Some(grant),
            TaskState::Waiting | TaskState::Expired { .. } | TaskState::Ended { .. } => None,
        }
    }

    /// Whether its node may be at work: granted, or silent since its lease ran out.
    pub(super) fn in_flight(&self) -> bool {
        matches!(self.state, TaskState::Granted { .. } | TaskState::Expired { .. })
    }
}

impl Rollout {
    pub(super) fn new(digest: Digest, plan: Plan, received: Timestamp) -> Self {
        let index: BTreeMap<TaskId, usize> = plan.tasks.iter().enumerate().map(|(i, t)| (t.id.clone(), i)).collect();
        let mut subjects: BTreeMap<NodeName, Vec<usize>> = BTreeMap::new();
        for (i, task) in plan.tasks.iter().enumerate() {
            subjects.entry(task.subject.clone()).or_default().push(i);
        }
        let target_keys = plan.targets.iter().map(|t| (t.node.clone(), t.key.clone())).collect();
        let order = Order::of(&plan, &index);
        let ready = (0..plan.tasks.len()).filter(|&i| order.missing[i] == 0).collect();
        let waiting = TaskRecord { state: TaskState::Waiting, was_granted: false, progress: None };
        Self {
            digest,
            goes_on_with: plan.continues.into_iter().collect(),
            tasks: vec![waiting; plan.tasks.len()],
            index,
            target_keys,
            order,
            counts: Counts { ready, ..Counts::default() },
            subjects,
            plan,
            received,
            end: None,
            paused: None,
            began: BTreeMap::new(),
            refused: BTreeMap::new(),
            baselines: BTreeMap::new(),
            recovered: BTreeSet::new(),
            unproved: BTreeSet::new(),
            good: BTreeMap::new(),
        }
    }

    pub(super) fn tasks(&self) -> &[TaskRecord] {
        &self.tasks
    }

    /// Each task with its record.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Task, &TaskRecord)> {
        self.plan.tasks.iter().zip(&self.tasks)
    }

    pub(super) fn set_state(&mut self, task: usize, state: TaskState) {
        let record = &mut self.tasks[task];
        let had_succeeded = record.succeeded();
        record.was_granted |= matches!(state, TaskState::Granted { .. });
        record.state = state;
        let (succeeded, counts) = (record.succeeded(), &mut self.counts);
        put(&mut counts.in_flight, task, record.in_flight());
        put(&mut counts.expired, task, matches!(record.state, TaskState::Expired { .. }));
        put(&mut counts.failed, task, record.failure().is_some());
        // What ended stays so.
        if succeeded && !had_succeeded {
            counts.succeeded += 1;
            for later in std::mem::take(&mut self.order.before[task]) {
                self.order.missing[later] -= 1;
                self.note_ready(later);
            }
        }
        self.note_ready(task);
    }

    fn note_ready(&mut self, task: usize) {
        let ready = self.order.missing[task] == 0 && self.tasks[task].state == TaskState::Waiting;
        put(&mut self.counts.ready, task, ready);
    }

    pub(super) fn set_progress(&mut self, task: usize, progress: Option<String>) {
        self.tasks[task].progress = progress;
    }

    /// Waiting tasks that come after nothing that has not succeeded.
    pub(super) fn ready(&self) -> &BTreeSet<usize> {
        &self.counts.ready
    }

    /// The tasks of that node that did not end.
    pub(super) fn unended(&self, node: &NodeName) -> impl Iterator<Item = usize> {
        let open = move |(_, (task, record)): &(usize, (&Task, &TaskRecord))| {
            task.node == *node && !matches!(record.state, TaskState::Ended { .. })
        };
        self.each().enumerate().filter(open).map(|(i, _)| i)
    }

    /// Tasks whose nodes may be at work.
    pub(super) fn in_flight(&self) -> &BTreeSet<usize> {
        &self.counts.in_flight
    }

    /// The first task that failed.
    pub(super) fn failed(&self) -> Option<usize> {
        self.counts.failed.first().copied()
    }

    /// The first task that failed and that ends the rollout.
    pub(super) fn failed_for_good(&self) -> Option<usize> {
        self.counts.failed.iter().copied().find(|&task| !self.asks_after(task))
    }

    /// The task that failed and after which a person is to decide, where no other ends the rollout.
    pub(super) fn asks(&self) -> Option<usize> {
        self.failed().filter(|_| !self.is_over() && self.failed_for_good().is_none())
    }

    fn asks_after(&self, task: usize) -> bool {
        self.tasks[task].failure().is_some_and(|outcome| self.plan.tasks[task].asks_after(outcome))
    }

    pub(super) fn all_succeeded(&self) -> bool {
        self.counts.succeeded == self.tasks.len()
    }

    /// Of the tasks that this one comes after, the first one that has not succeeded.
    pub(super) fn comes_after(&self, task: usize) -> Option<usize> {
        self.order.after[task].iter().copied().find(|&earlier| !self.tasks[earlier].succeeded())
    }

    /// Whether nothing that the ledger may still hold can change it: it is over, and no node that was granted a task
    /// owes a receipt.
    pub(super) fn is_settled(&self) -> bool {
        let owes = |record: &TaskRecord| record.was_granted && !matches!(record.state, TaskState::Ended { .. });
        self.is_over() && !self.tasks.iter().any(owes) && !self.has_to_finish()
    }

    /// Whether a task that finishes may yet begin or is at work, whether the plan has ended or not: what it comes after
    /// succeeded or may be at work.
    ///
    /// Of restores alone, because a server whose etcd stopped starts by nothing else; a node that another plan left
    /// cordoned is put back by the next one.
    pub(super) fn has_to_finish(&self) -> bool {
        let is_hopeful = |&before: &usize| self.tasks[before].succeeded() || self.tasks[before].in_flight();
        let goes_on = |i: usize| {
            let (task, record) = (&self.plan.tasks[i], &self.tasks[i]);
            let is_open = !matches!(record.state, TaskState::Ended { .. });
            task.finishes && is_open && self.order.after[i].iter().all(is_hopeful)
        };
        self.plan.kind == PlanKind::Restore
            && matches!(self.end, None | Some(End::Superseded { finishes: true, .. }))
            && self.failed().is_none()
            && (0..self.tasks.len()).any(goes_on)
    }

    /// Whether that task may begin at that time, as far as the end of its plan is concerned.
    pub(super) fn is_in_time(&self, task: usize, now: Timestamp) -> bool {
        let has_ended = self.is_over() || self.plan.expires <= now;
        !has_ended || self.plan.tasks[task].finishes
    }

    pub(super) fn order(&self) -> (Epoch, Seq) {
        (self.plan.epoch, self.plan.seq)
    }

    pub(super) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn task_index(&self, id: &TaskId) -> Option<usize> {
        self.index.get(id).copied()
    }

    pub(super) fn target_key(&self, node: &NodeName) -> Option<&Fingerprint> {
        self.target_keys.get(node)
    }

    pub(super) fn lists_beside(&self, other: &Rollout) -> bool {
        self.plan.keeps_valid.contains(&PlanRef { seq: other.plan.seq, digest: other.digest })
    }

    /// Whether a disrupting task about `subject` may have begun and the subject is not done yet.
    pub(super) fn disrupts_now(&self, subject: &NodeName) -> bool {
        let Some(tasks) = self.subjects.get(subject) else { return false };
        let begun = tasks.iter().any(|&i| self.plan.tasks[i].disrupts && self.tasks[i].was_granted);
        let flying = tasks.iter().any(|&i| self.tasks[i].in_flight());
        let done = tasks.last().is_some_and(|&i| self.tasks[i].succeeded());
        // What failed is not gone on with, whether that ended the rollout or a person is to decide.
        let stands = self.is_over() || self.failed().is_some();
        begun && if stands { flying } else { flying || !done }
    }

    /// Whether the subject of that task is out of service by an earlier task. A task that is granted again, after its
    /// lease was released, may never have begun: it does not count as earlier than itself.
    pub(super) fn began_before(&self, task: usize) -> bool {
        let about = self.subjects.get(&self.plan.tasks[task].subject);
        about.is_some_and(|tasks| {
            tasks.iter().any(|&i| i < task && self.plan.tasks[i].disrupts && self.tasks[i].was_granted)
        })
    }

    /// Whether every task about `subject` succeeded.
    pub(super) fn is_done(&self, subject: &NodeName) -> bool {
        self.subjects.get(subject).is_some_and(|tasks| tasks.iter().all(|&i| self.tasks[i].succeeded()))
    }

    /// Whether every task that disrupts `subject` succeeded: its reports from now on tell how it is after them.
    pub(super) fn is_undisturbed(&self, subject: &NodeName) -> bool {
        let disrupting = self.subjects.get(subject).into_iter().flatten().filter(|&&i| self.plan.tasks[i].disrupts);
        disrupting.into_iter().all(|&i| self.tasks[i].succeeded())
    }

    /// When the last task about `subject` ended.
    pub(super) fn ended(&self, subject: &NodeName) -> Option<Timestamp> {
        let ended = |&i: &usize| match &self.tasks[i].state {
            TaskState::Ended { at, .. } => Some(*at),
            TaskState::Waiting | TaskState::Granted { .. } | TaskState::Expired { .. } => None,
        };
        self.subjects.get(subject)?.iter().filter_map(ended).max()
    }

    /// The task about `subject` that its node may be performing.
    pub(super) fn flying_task(&self, subject: &NodeName) -> Option<usize> {
        self.subjects.get(subject)?.iter().copied().find(|&i| self.tasks[i].in_flight())
    }

    pub(super) fn expired_task(&self) -> Option<usize> {
        self.counts.expired.first().copied()
    }

    pub(super) fn state(&self, preempted_by: Option<Seq>) -> RolloutState {
        match (&self.end, &self.paused, self.expired_task(), preempted_by) {
            (Some(End::Finished), ..) => RolloutState::Finished,
            (Some(End::Halted { by, reason }), ..) => RolloutState::Halted { by: by.clone(), reason: reason.clone() },
            (Some(End::Superseded { by, .. }), ..) => RolloutState::Superseded { by: *by },
            (None, Some((by, reason)), ..) => RolloutState::Paused { by: by.clone(), reason: reason.clone() },
            (None, None, Some(i), _) => {
                let task = &self.plan.tasks[i];
                RolloutState::NeedsAttention { task: task.id.clone(), node: task.node.clone() }
            }
            (None, None, None, by) => match (self.asks(), by) {
                (Some(i), _) => {
                    let task = &self.plan.tasks[i];
                    RolloutState::Asks { task: task.id.clone(), subject: task.subject.clone() }
                }
                (None, Some(by)) => RolloutState::Preempted { by },
                (None, None) => RolloutState::Running,
            },
        }
    }

    pub(super) fn view(&self, preempted_by: Option<Seq>) -> RolloutView {
        let tasks = self.each().map(|(task, record)| TaskView {
            task: task.id.clone(),
            node: task.node.clone(),
            subject: task.subject.clone(),
            state: record.state.clone(),
            progress: record.progress.clone(),
        });
        RolloutView {
            plan: self.digest,
            epoch: self.plan.epoch,
            seq: self.plan.seq,
            kind: self.plan.kind,
            title: self.plan.title.clone(),
            received: self.received,
            state: self.state(preempted_by),
            tasks: tasks.collect(),
            baselines: self.baselines.clone(),
            recovered: self.recovered.clone(),
        }
    }

    /// The grant that a task holds, if its lease did not run out.
    pub(super) fn open_grant(&self, task: usize) -> Option<OpenGrant> {
        match &self.tasks[task].state {
            TaskState::Granted { grant } => {
                Some(OpenGrant { plan: self.digest, task: self.plan.tasks[task].id.clone(), grant: grant.clone() })
            }
            TaskState::Waiting | TaskState::Expired { .. } | TaskState::Ended { .. } => None,
        }
    }

    /// The same, to note when its lease was renewed.
    pub(super) fn grant_mut(&mut self, task: usize) -> Option<&mut Grant> {
        self.tasks[task].grant_mut()
    }

    /// The grants of all tasks whose leases did not run out.
    pub(super) fn grants_mut(&mut self) -> impl Iterator<Item = &mut Grant> {
        self.tasks.iter_mut().filter_map(TaskRecord::grant_mut)
    }
}

impl Order {
    fn of(plan: &Plan, index: &BTreeMap<TaskId, usize>) -> Self {
        // A task that comes after one that is not in the plan never starts: it waits for itself.
        let after: Vec<Vec<usize>> = plan
            .tasks
            .iter()
            .enumerate()
            .map(|(i, t)| t.after.iter().map(|a| index.get(a).copied().unwrap_or(i)).collect())
            .collect();
        let mut before = vec![Vec::new(); after.len()];
        for (task, earlier) in after.iter().enumerate() {
            earlier.iter().for_each(|&earlier| before[earlier].push(task));
        }
        let missing = after.iter().map(Vec::len).collect();
        Self { after, before, missing }
    }
}

/// Puts a task into a set, or takes it out.
fn put(set: &mut BTreeSet<usize>, task: usize, belongs: bool) {
    if belongs {
        set.insert(task);
    } else {
        set.remove(&task);
    }
}

/// The version that a task brings its node to.
pub(super) fn upgrades_to(steps: &[Step]) -> Option<Version> {
    steps.iter().find_map(Step::upgrades_to)
}

/// The version that a task expects its subject to run.
pub(super) fn awaits_version(steps: &[Step]) -> Option<Version> {
    steps.iter().find_map(Step::awaits_version)
}

/// Whether the steps leave their subject unschedulable (`Some(true)`), schedulable (`Some(false)`) or as it was.
pub(super) fn leaves_unschedulable(steps: &[Step]) -> Option<bool> {
    steps.iter().rev().find_map(Step::leaves_unschedulable)
}

/// Whether a grant's lease may be renewed from another boot than the one it was given in.
pub(super) fn reboots(steps: &[Step]) -> bool {
    steps.iter().any(Step::reboots)
}
