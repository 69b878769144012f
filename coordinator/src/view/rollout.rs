//! The rollouts as people see them.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{Blocker, DocumentKind, Outcome, Plan, PlanKind, Receipt, Signed},
    entry::{Entry, StoredDocument},
    id::{Digest, Epoch, NodeName, Seq, TaskId},
    ledger::Record,
    sequencer::{self, Reason, RolloutState, RolloutView, Sequencer, TaskState, Wait},
    timestamp::Timestamp,
};

use crate::control::{Control, ControlError, EndedRollout, Found};

/// One line about a rollout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RolloutSummary {
    pub plan: Digest,
    pub epoch: Epoch,
    pub seq: Seq,
    pub kind: PlanKind,
    pub title: String,
    pub state: RolloutState,
    /// Why it is not running, or of a running one, which node is not well enough for it to go on, or which window it
    /// waits for.
    pub reason: String,
    pub tasks: usize,
    pub succeeded: usize,
    pub submitted: Timestamp,
}

/// Everything about a rollout but its documents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RolloutDetail {
    pub summary: RolloutSummary,
    /// In the plan's order.
    pub tasks: Vec<TaskDetail>,
    pub waits: Vec<Wait>,
    pub baselines: Vec<BaselineView>,
}

impl RolloutDetail {
    /// Whether nothing of it will change any more. A halted rollout goes on for as long as a node finishes what it
    /// began.
    pub(crate) fn is_settled(&self) -> bool {
        let granted = |t: &TaskDetail| matches!(t.state, Some(TaskState::Granted { .. }));
        self.summary.state.is_over() && !self.tasks.iter().any(granted)
    }

    /// What is not as somebody was shown it before; none when all is. Its tasks stay those of its plan, and no baseline
    /// is taken back.
    pub(crate) fn since(&self, shown: &Self) -> Option<RolloutChange> {
        let differs = |(now, n): &(&TaskDetail, usize)| shown.tasks.get(*n) != Some(*now);
        (self != shown).then(|| RolloutChange {
            summary: self.summary.clone(),
            tasks: self.tasks.iter().zip(0..).filter(differs).map(|(task, _)| task.clone()).collect(),
            waits: self.waits.clone(),
            baselines: self.baselines.iter().filter(|b| !shown.baselines.contains(b)).cloned().collect(),
        })
    }
}

/// What of a rollout changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RolloutChange {
    pub summary: RolloutSummary,
    /// Those that differ, in the plan's order.
    pub tasks: Vec<TaskDetail>,
    /// All of them.
    pub waits: Vec<Wait>,
    /// Those that differ or are new.
    pub baselines: Vec<BaselineView>,
}

/// One task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskDetail {
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
pub(crate) struct BaselineView {
    pub node: NodeName,
    /// Unix milliseconds.
    pub taken_at_ms: u64,
    /// What was not ok, or that all was.
    pub sentence: String,
    /// It was found no worse after its work, and stayed so for the soak.
    pub recovered: bool,
}

/// The signed documents of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Documents {
    pub plan: Signed,
    /// Of its tasks that arrived, in the plan's order.
    pub receipts: Vec<Signed>,
}

/// A rollout that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shown {
    Detail(Box<RolloutDetail>),
    /// It left memory: [`ended`] makes its detail out of the ledger's records.
    Ended(Box<EndedRollout>),
}

/// Every rollout, oldest first.
pub(crate) fn rollouts(control: &Control, now: Timestamp) -> Vec<RolloutSummary> {
    let state = control.state();
    let waits = state.sequencer.waits(now);
    let ended = state.all_ended().map(|r| (Some(*r.records.start()), of_ended(r)));
    let in_memory = state.sequencer.rollouts();
    let in_memory = in_memory.iter().map(|r| (state.record_of(&r.plan), summary(r, &waits)));
    let mut all: Vec<_> = ended.chain(in_memory).collect();
    all.sort_by_key(|(record, _)| *record);
    all.into_iter().map(|(_, summary)| summary).collect()
}

/// One of them: by its plan's digest, a unique beginning of its digits, or its number.
pub(crate) fn rollout(control: &Control, which: &str, now: Timestamp) -> Result<Shown, ControlError> {
    let view = match control.find_rollout(which)? {
        Found::InMemory(view) => view,
        Found::Ended(ended) => return Ok(Shown::Ended(Box::new(ended))),
    };
    let state = control.state();
    let waits: Vec<Wait> = state.sequencer.waits(now).into_iter().filter(|w| w.plan == view.plan).collect();
    let tasks = state.plans.get(&view.plan).into_iter().flat_map(|p| &p.document().tasks);
    let known = Known {
        planned: tasks.map(|t| t.steps.len()).collect(),
        step: &|task| control.progress_of(&view.plan, task),
        receipt: &|task| state.receipts.of_task(&view.plan, task).last().map(|r| r.digest()),
    };
    Ok(Shown::Detail(Box::new(detail(&view, waits, &known))))
}

/// The documents of a rollout in memory.
pub(crate) fn documents(control: &Control, detail: &RolloutDetail) -> Option<Documents> {
    let (state, plan) = (control.state(), detail.summary.plan);
    let receipts = detail.tasks.iter().flat_map(|t| state.receipts.of_task(&plan, &t.id));
    let receipts = receipts.map(|r| r.signed().clone()).collect();
    Some(Documents { plan: state.plans.get(&plan)?.signed().clone(), receipts })
}

/// A rollout that left memory, out of the ledger's records that are named for it: what they amount to was verified when
/// they were written or read.
pub(crate) fn ended(ended: &EndedRollout, records: &[Record]) -> Option<(RolloutDetail, Documents)> {
    let mut sequencer = Sequencer::new(sequencer::Settings::default());
    let mut plan = None;
    let mut receipts: BTreeMap<TaskId, Vec<&Signed>> = BTreeMap::new();
    for record in records {
        sequencer.apply(record.at, &record.entry);
        let Entry::Document { kind, document: StoredDocument(signed) } = &record.entry else { continue };
        match kind {
            DocumentKind::Plan if signed.digest() == ended.plan => plan = Some(signed),
            DocumentKind::Receipt => {
                let receipt: Receipt = serde_json::from_slice(&signed.bytes).ok()?;
                if receipt.plan == ended.plan {
                    receipts.entry(receipt.task).or_default().push(signed);
                }
            }
            DocumentKind::Root
            | DocumentKind::Admission
            | DocumentKind::Enrolment
            | DocumentKind::Roster
            | DocumentKind::Plan
            | DocumentKind::Holding
            | DocumentKind::Decision
            | DocumentKind::Pass
            | DocumentKind::View
            | DocumentKind::Login => {}
        }
    }
    let view = sequencer.rollout(&ended.plan)?;
    let document: Plan = serde_json::from_slice(&plan?.bytes).ok()?;
    let known = Known {
        planned: document.tasks.iter().map(|t| t.steps.len()).collect(),
        step: &|_| None,
        receipt: &|task| Some(receipts.get(task)?.last()?.digest()),
    };
    let detail = detail(&view, Vec::new(), &known);
    let receipts = view.tasks.iter().flat_map(|t| receipts.get(&t.task)).flatten().map(|r| Signed::clone(r)).collect();
    Some((detail, Documents { plan: plan?.clone(), receipts }))
}

/// What the sequencer does not know of a rollout's tasks.
struct Known<'k> {
    /// How many steps each has in the plan, in its order.
    planned: Vec<usize>,
    /// The step that a task is at, and of how many.
    step: &'k dyn Fn(&TaskId) -> Option<(u32, u32)>,
    /// The newest receipt of a task.
    receipt: &'k dyn Fn(&TaskId) -> Option<Digest>,
}

fn detail(view: &RolloutView, waits: Vec<Wait>, known: &Known) -> RolloutDetail {
    let reasons = Reasons::of(&waits);
    let planned = known.planned.iter().copied().chain(std::iter::repeat(0));
    let tasks = view.tasks.iter().zip(planned).map(|(t, steps)| task(view, t, steps, known, &reasons)).collect();
    let baselines = view.baselines.iter().map(|(node, baseline)| BaselineView {
        node: node.clone(),
        taken_at_ms: baseline.at_ms,
        sentence: baseline.sentence(),
        recovered: view.recovered.contains(node),
    });
    RolloutDetail { summary: summary(view, &waits), tasks, baselines: baselines.collect(), waits }
}

fn of_ended(ended: &EndedRollout) -> RolloutSummary {
    RolloutSummary {
        plan: ended.plan,
        epoch: ended.epoch,
        seq: ended.seq,
        kind: ended.kind,
        title: ended.title.clone(),
        reason: reason(&ended.state).unwrap_or_default(),
        state: ended.state.clone(),
        tasks: ended.tasks.values().sum(),
        succeeded: ended.succeeded,
        submitted: ended.received,
    }
}

/// Why a rollout is not running; none for one that runs.
fn reason(state: &RolloutState) -> Option<String> {
    match state {
        RolloutState::Running => None,
        RolloutState::Finished => Some(String::new()),
        RolloutState::Paused { .. }
        | RolloutState::Preempted { .. }
        | RolloutState::NeedsAttention { .. }
        | RolloutState::Asks { .. }
        | RolloutState::Halted { .. }
        | RolloutState::Superseded { .. } => Some(state.to_string()),
    }
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
        reason: reason(&view.state).unwrap_or_else(|| {
            let own = || waits.iter().filter(|w| w.plan == view.plan);
            let is_at_work = view.tasks.iter().any(|t| matches!(t.state, TaskState::Granted { .. }));
            let trouble = own().find(|w| w.reason.is_trouble());
            let shut = || own().find(|w| matches!(w.reason, Reason::Window { .. })).filter(|_| !is_at_work);
            trouble.or_else(shut).map(|w| w.reason.to_string()).unwrap_or_default()
        }),
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
    view: &RolloutView,
    task: &sequencer::TaskView,
    planned: usize,
    known: &Known,
    reasons: &Reasons,
) -> TaskDetail {
    let (step, steps) = (known.step)(&task.task).unwrap_or((0, 0));
    let receipt = match &task.state {
        TaskState::Ended { .. } => (known.receipt)(&task.task),
        TaskState::Waiting | TaskState::Granted { .. } | TaskState::Expired { .. } => None,
    };
    let never = view.state.is_over() && matches!(task.state, TaskState::Waiting);
    TaskDetail {
        id: task.task.clone(),
        node: task.node.clone(),
        subject: task.subject.clone(),
        state: (!never).then(|| task.state.clone()),
        sentence: if never { format!("not begun: {}", view.state) } else { sentence(task, reasons) },
        step,
        steps: if steps == 0 { u32::try_from(planned).unwrap_or(u32::MAX) } else { steps },
        receipt,
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
        TaskState::Granted { grant } => match (reasons.tasks.get(&task.task), &task.progress) {
            (Some(refused @ Reason::Refused { .. }), _) => refused.to_string(),
            (_, Some(progress)) => progress.clone(),
            (_, None) => format!("granted to {} at {}", grant.node, grant.since),
        },
        TaskState::Expired { grant } => {
            format!(
                "{} has not renewed its lease since {}; look at it, then release the lease or halt the rollout",
                grant.node, grant.renewed
            )
        }
        TaskState::Ended { outcome, .. } => outcome.to_string(),
    }
}
