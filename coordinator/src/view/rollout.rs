//! The rollouts as people see them.

use std::{collections::BTreeMap, sync::Arc};

use hostler_plan::{
    document::{Blocker, Outcome, Plan, PlanKind, Receipt},
    id::{Digest, Epoch, NodeName, Seq, TaskId},
    sequencer::{self, Reason, RolloutState, RolloutView, TaskState, Wait},
    timestamp::Timestamp,
    trust::Verified,
};

use crate::control::{Control, ControlError};

/// One line about a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutSummary {
    pub plan: Digest,
    pub epoch: Epoch,
    pub seq: Seq,
    pub kind: PlanKind,
    pub title: String,
    pub state: RolloutState,
    /// Why it is not running, or of a running one, which node is not well enough for it to go on.
    pub reason: String,
    pub tasks: usize,
    pub succeeded: usize,
    pub submitted: Timestamp,
}

/// Everything about a rollout but its receipts.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutDetail {
    pub summary: RolloutSummary,
    /// In the plan's order.
    pub tasks: Vec<TaskView>,
    pub waits: Vec<Wait>,
    pub plan: Option<Arc<Verified<Plan>>>,
    pub baselines: Vec<BaselineView>,
}

impl RolloutDetail {
    /// Whether nothing of it will change any more. A halted rollout goes on for as long as a node finishes what it began.
    pub fn is_settled(&self) -> bool {
        let granted = |t: &TaskView| matches!(t.state, Some(TaskState::Granted { .. }));
        self.summary.state.is_over() && !self.tasks.iter().any(granted)
    }
}

/// One task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    pub id: TaskId,
    pub node: NodeName,
    pub subject: NodeName,
    /// None when its rollout is over and it was never begun.
    pub state: Option<TaskState>,
    /// The reason it waits, what it does now, or how it ended.
    pub sentence: String,
    pub step: u32,
    pub steps: u32,
    /// Once there is one.
    pub receipt: Option<Digest>,
    pub blockers: Vec<Blocker>,
}

/// How a node was before the rollout disrupted it.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineView {
    pub node: NodeName,
    /// Unix milliseconds.
    pub taken_at_ms: u64,
    /// What was not ok, or that all was.
    pub sentence: String,
    /// It was found no worse after its work, and stayed so for the soak.
    pub no_worse: bool,
}

/// Every rollout, oldest first.
pub fn rollouts(control: &Control, now: Timestamp) -> Vec<RolloutSummary> {
    let sequencer = &control.state().sequencer;
    let waits = sequencer.waits(now);
    sequencer.rollouts().iter().map(|r| summary(r, &waits)).collect()
}

/// One of them: by its plan's digest, a unique beginning of its digits, or its number.
pub fn rollout(control: &Control, which: &str, now: Timestamp) -> Result<RolloutDetail, ControlError> {
    let view = control.find_rollout(which)?;
    let state = control.state();
    let waits: Vec<Wait> = state.sequencer.waits(now).into_iter().filter(|w| w.plan == view.plan).collect();
    let baselines = view.baselines.iter().map(|(node, baseline)| BaselineView {
        node: node.clone(),
        taken_at_ms: baseline.at_ms,
        sentence: baseline.sentence(),
        no_worse: view.no_worse.contains(node),
    });
    let reasons = Reasons::of(&waits);
    let plan = state.plans.get(&view.plan).cloned();
    let planned = plan.iter().flat_map(|p| &p.document().tasks).map(|t| t.steps.len()).chain(std::iter::repeat(0));
    let tasks = view.tasks.iter().zip(planned).map(|(t, steps)| task(control, &view, t, steps, &reasons)).collect();
    Ok(RolloutDetail { summary: summary(&view, &waits), tasks, plan, baselines: baselines.collect(), waits })
}

/// The receipts of a rollout's tasks, in their order.
pub fn receipts(control: &Control, detail: &RolloutDetail) -> Vec<Arc<Verified<Receipt>>> {
    let receipts = &control.state().receipts;
    detail.tasks.iter().flat_map(|t| receipts.of_task(&detail.summary.plan, &t.id)).cloned().collect()
}

fn summary(view: &RolloutView, waits: &[Wait]) -> RolloutSummary {
    let succeeded =
        view.tasks.iter().filter(|t| matches!(&t.state, TaskState::Ended { outcome, .. } if outcome.is_success()));
    RolloutSummary {
        plan: view.plan,
        epoch: view.epoch,
        seq: view.seq,
        kind: view.kind,
        title: view.title.clone(),
        reason: match view.state {
            RolloutState::Running => {
                let unwell = waits.iter().find(|w| w.plan == view.plan && w.reason.is_unwell());
                unwell.map(|w| w.reason.to_string()).unwrap_or_default()
            }
            RolloutState::Finished => String::new(),
            RolloutState::Paused { .. }
            | RolloutState::Preempted { .. }
            | RolloutState::NeedsAttention { .. }
            | RolloutState::Halted { .. }
            | RolloutState::Superseded { .. } => view.state.to_string(),
        },
        state: view.state.clone(),
        tasks: view.tasks.len(),
        succeeded: succeeded.count(),
        submitted: view.received,
    }
}

/// The first reason of each task, each node and of the whole rollout.
struct Reasons<'w> {
    tasks: BTreeMap<&'w TaskId, &'w Reason>,
    nodes: BTreeMap<&'w NodeName, &'w Reason>,
    rollout: Option<&'w Reason>,
}

impl<'w> Reasons<'w> {
    fn of(waits: &'w [Wait]) -> Self {
        let mut reasons = Self { tasks: BTreeMap::new(), nodes: BTreeMap::new(), rollout: None };
        for Wait { task, node, reason, .. } in waits {
            if let Some(task) = task {
                reasons.tasks.entry(task).or_insert(reason);
            }
            match node {
                Some(node) => {
                    reasons.nodes.entry(node).or_insert(reason);
                }
                None => {
                    reasons.rollout.get_or_insert(reason);
                }
            }
        }
        reasons
    }
}

/// `planned`: how many steps the plan has for it.
fn task(
    control: &Control,
    view: &RolloutView,
    task: &sequencer::TaskView,
    planned: usize,
    reasons: &Reasons,
) -> TaskView {
    let state = control.state();
    let (step, steps) = control.progress_of(&view.plan, &task.task).unwrap_or((0, 0));
    let receipt = match &task.state {
        TaskState::Ended { .. } => state.receipts.of_task(&view.plan, &task.task).last(),
        TaskState::Waiting | TaskState::Granted { .. } | TaskState::Expired { .. } => None,
    };
    let never = view.state.is_over() && matches!(task.state, TaskState::Waiting);
    TaskView {
        id: task.task.clone(),
        node: task.node.clone(),
        subject: task.subject.clone(),
        state: (!never).then(|| task.state.clone()),
        sentence: if never { format!("not begun: {}", view.state) } else { sentence(task, reasons) },
        step,
        steps: if steps == 0 { u32::try_from(planned).unwrap_or(u32::MAX) } else { steps },
        receipt: receipt.map(|r| r.digest()),
        blockers: match &task.state {
            TaskState::Ended { outcome: Outcome::Blocked { blockers, .. }, .. } => blockers.clone(),
            TaskState::Ended { .. } | TaskState::Waiting | TaskState::Granted { .. } | TaskState::Expired { .. } => {
                Vec::new()
            }
        },
    }
}

fn sentence(task: &sequencer::TaskView, reasons: &Reasons) -> String {
    match &task.state {
        TaskState::Waiting => {
            let found = reasons.tasks.get(&task.task).or_else(|| reasons.nodes.get(&task.subject)).copied();
            found.or(reasons.rollout).map_or_else(|| "waits".to_owned(), ToString::to_string)
        }
        TaskState::Granted { grant } => match &task.progress {
            Some(progress) => progress.clone(),
            None => format!("granted to {} at {}", grant.node, grant.since),
        },
        TaskState::Expired { grant } => {
            format!(
                "{} was last heard at {}; look at it, then release the lease or halt the rollout",
                grant.node, grant.renewed
            )
        }
        TaskState::Ended { outcome, .. } => outcome.to_string(),
    }
}
