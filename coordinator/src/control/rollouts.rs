//! The sequencer's hands, and what people see of it.

use std::time::Duration;

use hostler_plan::{
    document::Outcome,
    entry::Entry,
    id::{Digest, NodeName, Seq, TaskId},
    sequencer::{RolloutState, RolloutView, TaskState, TaskView, Wait},
    timestamp::Timestamp,
    version::Version,
};
use hostler_proto::v1;

use super::{Desk, DeskError, at};

/// Decisions follow from each other (a receipt finishes a task, which finishes a rollout, which frees a budget); more
/// rounds than this at one time would be a fault, and the desk answers others in between.
const ROUNDS: usize = 64;
/// After a failed append the disk gets this long before the next try.
const RETRY: Duration = Duration::from_secs(1);
/// How many reasons of one task or person are kept.
const MAX_REASON_BYTES: usize = 512;

impl Desk {
    /// Lets the sequencer decide until it has nothing to say, then tells every node what it must know. A decision
    /// counts once it is in the ledger, and is told only then.
    pub(super) fn settle(&mut self) {
        self.is_due = false;
        for _ in 0..ROUNDS {
            let entries = self.state.sequencer.decide(at());
            if entries.is_empty() {
                break;
            }
            for entry in &entries {
                log(entry);
            }
            if let Err(error) = self.commit(entries) {
                tracing::error!(%error, "decisions wait");
                self.next_look = Some(at().plus(RETRY));
                break;
            }
        }
        self.is_due = false;
        self.tell_all();
        let now = at();
        let deadline = self.state.sequencer.deadline(now);
        self.next_look =
            [deadline, self.conditions_age_at, self.next_look.filter(|t| *t > now)].into_iter().flatten().min();
    }

    /// Pauses, resumes or halts a rollout, or releases a task whose lease ran out.
    pub fn control(&mut self, request: &v1::ControlRolloutRequest, by: &str) -> Result<(), DeskError> {
        let view = self.find(&request.rollout)?;
        let (plan, by, reason) = (view.plan, by.to_owned(), cut(&request.reason));
        let over = view.state.is_over();
        let entry = match request.action.as_str() {
            "pause" | "resume" | "halt" if over => {
                return Err(DeskError::Invalid(format!(
                    "expected a rollout that goes on, found plan {} {}; nothing to {}",
                    view.seq, view.state, request.action
                )));
            }
            "pause" if matches!(view.state, RolloutState::Paused { .. }) => return Ok(()),
            "pause" => Entry::Paused { plan, by, reason },
            "resume" if !matches!(view.state, RolloutState::Paused { .. }) => {
                return Err(DeskError::Invalid(format!(
                    "expected a paused rollout, found plan {} {}; nothing to resume",
                    view.seq, view.state
                )));
            }
            "resume" => Entry::Resumed { plan, by },
            "halt" => Entry::Halted { plan, by, reason },
            "release" => release(&view, &request.task, by)?,
            other => {
                return Err(DeskError::Invalid(format!(
                    "expected pause, resume, halt or release, found {:?}",
                    cut(other)
                )));
            }
        };
        log(&entry);
        self.commit(vec![entry])?;
        Ok(())
    }

    /// Lets plans try a version on a node again.
    pub fn release_quarantine(&mut self, node: &str, version: &str, by: &str) -> Result<(), DeskError> {
        let invalid = |e: hostler_plan::id::InvalidId| DeskError::Invalid(e.to_string());
        let node = NodeName::new(node).map_err(invalid)?;
        let version: Version = version.parse().map_err(invalid)?;
        if !self.state.sequencer.quarantines().iter().any(|q| q.node == node && q.version == version) {
            return Err(DeskError::NotFound(format!(
                "expected a quarantine of {version} on {node}, found none; see `hostler node show {node}`"
            )));
        }
        let entry = Entry::QuarantineReleased { node, version, by: by.to_owned() };
        log(&entry);
        self.commit(vec![entry])?;
        Ok(())
    }

    /// Plans that are not over.
    pub fn open_plans(&self) -> Vec<v1::OpenPlan> {
        let open = self.state.sequencer.rollouts().into_iter().filter(|r| !r.state.is_over());
        open.map(|r| v1::OpenPlan {
            seq: r.seq.0,
            digest: r.plan.to_string(),
            kind: r.kind.to_string(),
            state: r.state.word().to_owned(),
        })
        .collect()
    }

    /// Every rollout, oldest first.
    pub fn rollouts(&self) -> Vec<v1::RolloutSummary> {
        let waits = self.state.sequencer.waits(at());
        self.state.sequencer.rollouts().iter().map(|r| summary(r, &waits)).collect()
    }

    /// One rollout as people see it.
    pub fn rollout(&self, which: &str) -> Result<v1::RolloutDetail, DeskError> {
        let view = self.find(which)?;
        let waits: Vec<Wait> = self.state.sequencer.waits(at()).into_iter().filter(|w| w.plan == view.plan).collect();
        let tasks = view.tasks.iter().map(|t| self.task(&view, t, &waits)).collect();
        let plan = self.state.plans.get(&view.plan).map(|p| p.signed().clone().into());
        let baselines = view.baselines.iter().map(|(node, baseline)| v1::BaselineView {
            node: node.to_string(),
            taken_at: baseline.at_ms,
            sentence: baseline.sentence(),
            no_worse: view.no_worse.contains(node),
        });
        Ok(v1::RolloutDetail {
            summary: Some(summary(&view, &waits)),
            tasks,
            waits: waits.iter().map(wait).collect(),
            plan,
            receipts: Vec::new(),
            baselines: baselines.collect(),
        })
    }

    /// The same with the receipts of its tasks, in the plan's order.
    pub fn rollout_with_receipts(&self, which: &str) -> Result<v1::RolloutDetail, DeskError> {
        let view = self.find(which)?;
        let tasks = view.tasks.iter().flat_map(|t| self.state.receipts.of_task(&view.plan, &t.task));
        let receipts = tasks.map(|r| r.signed().clone().into()).collect();
        Ok(v1::RolloutDetail { receipts, ..self.rollout(which)? })
    }

    /// The rollout of that plan: by its digest, a unique beginning of its digits, or its number.
    fn find(&self, which: &str) -> Result<RolloutView, DeskError> {
        let rollouts = self.state.sequencer.rollouts();
        let missing = || {
            DeskError::NotFound(format!(
                "expected the number or digest of a plan, found {:?}; see `hostler rollouts`",
                cut(which)
            ))
        };
        if let Some(found) = which.parse::<Digest>().ok().and_then(|d| rollouts.iter().find(|r| r.plan == d)) {
            return Ok(found.clone());
        }
        let epoch = self.state.root().map(|r| r.root().epoch);
        let by_number =
            which.parse().ok().and_then(|n| rollouts.iter().rev().find(|r| r.seq == Seq(n) && Some(r.epoch) == epoch));
        if let Some(found) = by_number {
            return Ok(found.clone());
        }
        let digits = which.strip_prefix("sha256:").unwrap_or(which);
        let mut beginning = rollouts.iter().filter(|r| digits.len() >= 4 && r.plan.hex().starts_with(digits));
        match (beginning.next(), beginning.next()) {
            (Some(found), None) => Ok(found.clone()),
            (Some(_), Some(_)) => Err(DeskError::Invalid(format!(
                "expected the beginning of one digest, found several with {digits}; give more digits"
            ))),
            (None, _) => Err(missing()),
        }
    }

    fn task(&self, view: &RolloutView, task: &TaskView, waits: &[Wait]) -> v1::TaskView {
        let (step, steps) = self.progress.get(&(view.plan, task.task.clone())).copied().unwrap_or((0, 0));
        let planned =
            self.state.plans.get(&view.plan).and_then(|p| p.document().task(&task.task)).map_or(0, |t| t.steps.len());
        let receipt = match &task.state {
            TaskState::Ended { .. } => self.state.receipts.of_task(&view.plan, &task.task).last(),
            TaskState::Waiting | TaskState::Granted { .. } | TaskState::Expired { .. } => None,
        };
        let never = view.state.is_over() && matches!(task.state, TaskState::Waiting);
        v1::TaskView {
            id: task.task.to_string(),
            node: task.node.to_string(),
            subject: task.subject.to_string(),
            state: if never { "never".to_owned() } else { task.state.word().to_owned() },
            sentence: if never { format!("not begun: {}", view.state) } else { sentence(task, waits) },
            step,
            steps: if steps == 0 { u32::try_from(planned).unwrap_or(u32::MAX) } else { steps },
            receipt: receipt.map(|r| r.digest().to_string()).unwrap_or_default(),
            blockers: match &task.state {
                TaskState::Ended { outcome: Outcome::Blocked { blockers, .. }, .. } => {
                    blockers.iter().map(blocker).collect()
                }
                TaskState::Ended { .. }
                | TaskState::Waiting
                | TaskState::Granted { .. }
                | TaskState::Expired { .. } => Vec::new(),
            },
        }
    }

    /// What a node does or waits for, in one sentence; empty when it is about nothing.
    pub(super) fn activity(node: &NodeName, rollouts: &[RolloutView], waits: &[Wait]) -> String {
        let at_work = rollouts
            .iter()
            .flat_map(|r| &r.tasks)
            .find(|t| t.node == *node && matches!(t.state, TaskState::Granted { .. }));
        if let Some(task) = at_work {
            return match &task.progress {
                Some(progress) => format!("{}: {progress}", task.task),
                None => format!("performs {}", task.task),
            };
        }
        waits.iter().find(|w| w.node.as_ref() == Some(node)).map(|w| w.reason.to_string()).unwrap_or_default()
    }
}

fn release(view: &RolloutView, task: &str, by: String) -> Result<Entry, DeskError> {
    let task = TaskId::new(task).map_err(|e| DeskError::Invalid(e.to_string()))?;
    let found = view.tasks.iter().find(|t| t.task == task).map(|t| &t.state);
    match found {
        Some(TaskState::Expired { grant }) => {
            Ok(Entry::LeaseReleased { plan: view.plan, task, grant: grant.number, by })
        }
        Some(other) => Err(DeskError::Invalid(format!(
            "expected a task whose lease ran out, found {task} {}; nothing to release",
            other.word()
        ))),
        None => Err(DeskError::NotFound(format!(
            "expected a task of plan {}, found {task}; see `hostler rollout show {}`",
            view.seq, view.seq
        ))),
    }
}

fn summary(view: &RolloutView, waits: &[Wait]) -> v1::RolloutSummary {
    let succeeded =
        view.tasks.iter().filter(|t| matches!(&t.state, TaskState::Ended { outcome, .. } if outcome.is_success()));
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    v1::RolloutSummary {
        plan: view.plan.to_string(),
        epoch: view.epoch.0,
        seq: view.seq.0,
        kind: view.kind.to_string(),
        title: view.title.clone(),
        state: view.state.word().to_owned(),
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
        tasks: count(view.tasks.len()),
        tasks_succeeded: count(succeeded.count()),
        submitted_at: view.received.unix_seconds(),
    }
}

fn sentence(task: &TaskView, waits: &[Wait]) -> String {
    match &task.state {
        TaskState::Waiting => {
            let own = waits.iter().find(|w| w.task.as_ref() == Some(&task.task));
            let wait = own.or_else(|| waits.iter().find(|w| w.node.as_ref() == Some(&task.subject)));
            wait.or_else(|| waits.iter().find(|w| w.node.is_none()))
                .map_or_else(|| "waits".to_owned(), |w| w.reason.to_string())
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

fn wait(wait: &Wait) -> v1::WaitView {
    v1::WaitView {
        node: wait.node.as_ref().map(ToString::to_string).unwrap_or_default(),
        task: wait.task.as_ref().map(ToString::to_string).unwrap_or_default(),
        sentence: wait.reason.to_string(),
    }
}

fn blocker(blocker: &hostler_plan::document::Blocker) -> v1::BlockerView {
    v1::BlockerView {
        pod: blocker.pod.clone(),
        budget: blocker.budget.clone().unwrap_or_default(),
        reason: blocker.reason.clone(),
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// What was decided, for the journal.
pub(super) fn log(entry: &Entry) {
    match entry {
        Entry::Granted { plan, task, grant, node, .. } => {
            tracing::info!(plan = %plan, task = %task, grant, node = %node, "task granted");
        }
        Entry::LeaseExpired { plan, task, grant } => {
            tracing::warn!(plan = %plan, task = %task, grant, "lease ran out: the rollout stops and asks");
        }
        Entry::LeaseReleased { plan, task, by, .. } => tracing::info!(plan = %plan, task = %task, by, "lease released"),
        Entry::Paused { plan, by, reason } => tracing::info!(plan = %plan, by, reason, "rollout paused"),
        Entry::Resumed { plan, by } => tracing::info!(plan = %plan, by, "rollout resumed"),
        Entry::Halted { plan, by, reason } => tracing::warn!(plan = %plan, by, reason, "rollout halted"),
        Entry::NoWorse { plan, node } => tracing::info!(plan = %plan, node = %node, "node is no worse than before"),
        Entry::Finished { plan } => tracing::info!(plan = %plan, "rollout finished"),
        Entry::Quarantined { node, version, reason } => {
            tracing::warn!(node = %node, version = %version, reason, "version quarantined");
        }
        Entry::QuarantineReleased { node, version, by } => {
            tracing::info!(node = %node, version = %version, by, "quarantine released");
        }
        Entry::Document { .. } | Entry::NodeRefused { .. } | Entry::Alarm { .. } | Entry::TokenRevoked { .. } => {}
    }
}

/// The time until `then`, or zero when it has passed.
pub(super) fn until(then: Timestamp) -> Duration {
    then.since(at())
}
