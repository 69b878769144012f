use std::collections::{BTreeMap, BTreeSet};

use crate::{
    document::{Outcome, Plan, PlanKind, PlanRef},
    health::Baseline,
    id::{Digest, Epoch, NodeName, Seq, TaskId},
    step::{AwaitReady, Step},
    timestamp::Timestamp,
    version::Version,
};

use super::view::{OpenGrant, RolloutState, RolloutView, TaskState, TaskView};

/// A plan and what became of its tasks.
#[derive(Debug, Clone)]
pub(super) struct Rollout {
    pub digest: Digest,
    pub plan: Plan,
    pub received: Timestamp,
    pub end: Option<End>,
    pub paused: Option<(String, String)>,
    pub tasks: Vec<TaskRecord>,
    /// Per task, the indices of the tasks that it comes after.
    pub after: Vec<Vec<usize>>,
    /// Per subject, the indices of the tasks about it, in the plan's order.
    pub subjects: BTreeMap<NodeName, Vec<usize>>,
    /// How every subject was before it was disrupted first.
    pub baselines: BTreeMap<NodeName, Baseline>,
    /// Of those, the ones that were found no worse after it, and stayed so for the soak.
    pub no_worse: BTreeSet<NodeName>,
    /// Of the others, those whose reports since they were disrupted say no worse: since when, and the last one.
    pub good: BTreeMap<NodeName, (Timestamp, Timestamp)>,
}

/// How a rollout came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Halted { by: String, reason: String },
    Superseded { by: Option<Seq> },
}

#[derive(Debug, Clone)]
pub(super) struct TaskRecord {
    pub state: TaskState,
    /// Whether it was granted at any time: its node may have begun, whatever became of the lease.
    pub was_granted: bool,
    pub progress: Option<String>,
}

impl TaskRecord {
    pub fn succeeded(&self) -> bool {
        matches!(&self.state, TaskState::Ended { outcome, .. } if outcome.is_success())
    }

    pub fn failure(&self) -> Option<&Outcome> {
        match &self.state {
            TaskState::Ended { outcome, .. } if !outcome.is_success() => Some(outcome),
            TaskState::Ended { .. } | TaskState::Waiting | TaskState::Granted { .. } | TaskState::Expired { .. } => {
                None
            }
        }
    }

    /// Whether its node may be at work: granted, or silent since its lease ran out.
    pub fn in_flight(&self) -> bool {
        matches!(self.state, TaskState::Granted { .. } | TaskState::Expired { .. })
    }
}

impl Rollout {
    pub fn new(digest: Digest, plan: Plan, received: Timestamp) -> Self {
        let index: BTreeMap<&TaskId, usize> = plan.tasks.iter().enumerate().map(|(i, t)| (&t.id, i)).collect();
        // A task that comes after one that is not in the plan never starts: it waits for itself.
        let after = plan
            .tasks
            .iter()
            .enumerate()
            .map(|(i, t)| t.after.iter().map(|a| index.get(a).copied().unwrap_or(i)).collect())
            .collect();
        let mut subjects: BTreeMap<NodeName, Vec<usize>> = BTreeMap::new();
        for (i, task) in plan.tasks.iter().enumerate() {
            subjects.entry(task.subject.clone()).or_default().push(i);
        }
        let fresh = TaskRecord { state: TaskState::Waiting, was_granted: false, progress: None };
        let tasks = vec![fresh; plan.tasks.len()];
        let (baselines, no_worse, good) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { digest, tasks, after, subjects, plan, received, end: None, paused: None, baselines, no_worse, good }
    }

    pub fn order(&self) -> (Epoch, Seq) {
        (self.plan.epoch, self.plan.seq)
    }

    pub fn is_over(&self) -> bool {
        self.end.is_some()
    }

    pub fn task_index(&self, id: &TaskId) -> Option<usize> {
        self.plan.tasks.iter().position(|t| t.id == *id)
    }

    pub fn lists_beside(&self, other: &Rollout) -> bool {
        self.plan.beside.contains(&PlanRef { seq: other.plan.seq, digest: other.digest })
    }

    /// Whether a responder's drain takes precedence over it.
    pub fn yields_to_drains(&self) -> bool {
        match self.plan.kind {
            PlanKind::Bootstrap | PlanKind::Join | PlanKind::Upgrade | PlanKind::Reboot => true,
            PlanKind::Check | PlanKind::Drain | PlanKind::Uncordon => false,
        }
    }

    /// Whether a disrupting task about `subject` may have begun and the subject is not done yet.
    pub fn disrupts_now(&self, subject: &NodeName) -> bool {
        let Some(tasks) = self.subjects.get(subject) else { return false };
        let begun = tasks.iter().any(|&i| self.plan.tasks[i].disrupts && self.tasks[i].was_granted);
        let flying = tasks.iter().any(|&i| self.tasks[i].in_flight());
        let done = tasks.last().is_some_and(|&i| self.tasks[i].succeeded());
        begun && if self.is_over() { flying } else { flying || !done }
    }

    /// Whether every task that this one comes after succeeded.
    pub fn is_next(&self, task: usize) -> bool {
        self.after[task].iter().all(|&a| self.tasks[a].succeeded())
    }

    /// Whether the subject of that task is out of service by an earlier task. A task that is granted again, after its
    /// lease was released, may never have begun: it does not count as earlier than itself.
    pub fn began_before(&self, task: usize) -> bool {
        let about = self.subjects.get(&self.plan.tasks[task].subject);
        about.is_some_and(|tasks| {
            tasks.iter().any(|&i| i < task && self.plan.tasks[i].disrupts && self.tasks[i].was_granted)
        })
    }

    /// Whether every task about `subject` succeeded.
    pub fn is_done(&self, subject: &NodeName) -> bool {
        self.subjects.get(subject).is_some_and(|tasks| tasks.iter().all(|&i| self.tasks[i].succeeded()))
    }

    /// Whether every task that disrupts `subject` succeeded: its reports from now on tell how it is after them.
    pub fn is_undisturbed(&self, subject: &NodeName) -> bool {
        let disrupting = self.subjects.get(subject).into_iter().flatten().filter(|&&i| self.plan.tasks[i].disrupts);
        disrupting.into_iter().all(|&i| self.tasks[i].succeeded())
    }

    /// When the last task about `subject` ended.
    pub fn ended(&self, subject: &NodeName) -> Option<Timestamp> {
        let ended = |&i: &usize| match &self.tasks[i].state {
            TaskState::Ended { at, .. } => Some(*at),
            TaskState::Waiting | TaskState::Granted { .. } | TaskState::Expired { .. } => None,
        };
        self.subjects.get(subject)?.iter().filter_map(ended).max()
    }

    /// The task about `subject` that its node may be performing.
    pub fn flying_task(&self, subject: &NodeName) -> Option<usize> {
        self.subjects.get(subject)?.iter().copied().find(|&i| self.tasks[i].in_flight())
    }

    pub fn expired_task(&self) -> Option<usize> {
        self.tasks.iter().position(|t| matches!(t.state, TaskState::Expired { .. }))
    }

    pub fn state(&self, preempted_by: Option<Seq>) -> RolloutState {
        match (&self.end, &self.paused, self.expired_task(), preempted_by) {
            (Some(End::Finished), ..) => RolloutState::Finished,
            (Some(End::Halted { by, reason }), ..) => RolloutState::Halted { by: by.clone(), reason: reason.clone() },
            (Some(End::Superseded { by }), ..) => RolloutState::Superseded { by: *by },
            (None, Some((by, reason)), ..) => RolloutState::Paused { by: by.clone(), reason: reason.clone() },
            (None, None, Some(i), _) => {
                let task = &self.plan.tasks[i];
                RolloutState::NeedsAttention { task: task.id.clone(), node: task.node.clone() }
            }
            (None, None, None, Some(by)) => RolloutState::Preempted { by },
            (None, None, None, None) => RolloutState::Running,
        }
    }

    pub fn view(&self, preempted_by: Option<Seq>) -> RolloutView {
        let tasks = self.plan.tasks.iter().zip(&self.tasks).map(|(task, record)| TaskView {
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
            no_worse: self.no_worse.clone(),
        }
    }

    pub fn open_grants(&self, node: &NodeName) -> Vec<OpenGrant> {
        let granted = |(task, record): (&crate::document::Task, &TaskRecord)| match &record.state {
            TaskState::Granted { grant } if task.node == *node => {
                Some(OpenGrant { plan: self.digest, task: task.id.clone(), grant: grant.clone() })
            }
            TaskState::Granted { .. } | TaskState::Waiting | TaskState::Expired { .. } | TaskState::Ended { .. } => {
                None
            }
        };
        self.plan.tasks.iter().zip(&self.tasks).filter_map(granted).collect()
    }
}

/// The version that a task brings its node to.
pub(super) fn upgrades_to(steps: &[Step]) -> Option<Version> {
    steps.iter().find_map(Step::upgrades_to)
}

/// The version that a task expects its subject to run.
pub(super) fn awaits_version(steps: &[Step]) -> Option<Version> {
    steps.iter().find_map(|step| match step {
        Step::AwaitReady(AwaitReady { version, .. }) => *version,
        _ => None,
    })
}

/// Whether the steps leave their subject unschedulable (`Some(true)`), schedulable (`Some(false)`) or as it was.
pub(super) fn leaves_unschedulable(steps: &[Step]) -> Option<bool> {
    steps.iter().rev().find_map(|step| match step {
        Step::Cordon(_) => Some(true),
        Step::Uncordon(_) => Some(false),
        _ => None,
    })
}

/// Whether a grant's lease may be renewed from another boot than the one it was given in.
pub(super) fn reboots(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::Reboot(_)))
}
