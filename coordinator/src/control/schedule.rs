//! Lets the sequencer decide, and takes what people decide about a rollout.

use std::time::Duration;

use hostler_plan::{
    entry::Entry,
    id::{Digest, Epoch, NodeName, Seq, TaskId},
    sequencer::{RolloutAction, RolloutState, RolloutView, TaskState},
    text::clean_to,
    timestamp::Timestamp,
    version::Version,
};

use super::{Control, ControlError, EndedRollout, Proven};
use crate::limits::REASON_BYTES;

/// Decisions follow from each other (a receipt finishes a task, which finishes a rollout, which frees a budget); more
/// rounds than this at one time would be a fault, and others are answered in between.
const ROUNDS: usize = 64;
const GOES_ON: &str = "a rollout that goes on";
/// After a failed append the disk gets this long before the next try.
const RETRY: Duration = Duration::from_secs(1);

impl Control {
    /// Looks if there is something to decide, and tells the nodes. Call it after every input, and at
    /// [`next_look`](Self::next_look).
    pub(crate) fn look(&mut self, now: Timestamp) {
        let is_time = |then: Timestamp| then <= now;
        if !self.is_due && !self.next_look.is_some_and(is_time) {
            return;
        }
        if self.cluster.ages_at.is_some_and(is_time) {
            self.look_at_cluster(now);
        }
        self.schedule(now);
    }

    /// When to look even if nothing happens.
    pub(crate) fn next_look(&self) -> Option<Timestamp> {
        self.next_look
    }

    /// Lets the sequencer decide until it has nothing to say, then tells every node what it must know. A decision
    /// counts once it is in the ledger, and is told only then.
    fn schedule(&mut self, now: Timestamp) {
        for _ in 0..ROUNDS {
            let entries = self.state.sequencer.decide(now);
            if entries.is_empty() {
                break;
            }
            entries.iter().for_each(log);
            if let Err(error) = self.commit(now, entries.into_iter().map(Proven::Decision).collect()) {
                tracing::error!(%error, "decisions wait");
                self.next_look = Some(now.plus(RETRY));
                break;
            }
        }
        self.is_due = false;
        self.push_due(now);
        let deadline = self.state.sequencer.deadline(now);
        self.next_look =
            [deadline, self.cluster.ages_at, self.next_look.filter(|t| *t > now)].into_iter().flatten().min();
    }

    /// Pauses, resumes or halts a rollout, or releases a task whose lease ran out.
    pub(crate) fn act(
        &mut self,
        now: Timestamp,
        which: &str,
        action: RolloutAction,
        by: &str,
        reason: &str,
    ) -> Result<(), ControlError> {
        let view = match self.find_rollout(which)? {
            Found::InMemory(view) => view,
            Found::Ended(EndedRollout { seq, state, .. }) => {
                let expected = match action {
                    RolloutAction::Release(_) => "a task whose lease ran out",
                    RolloutAction::Pause | RolloutAction::Resume | RolloutAction::Halt => GOES_ON,
                };
                let verb = action.word();
                let reason = format!("expected {expected}, found plan {seq} {state}; nothing to {verb}");
                return Err(ControlError::Invalid(reason));
            }
        };
        let (plan, by, reason) = (view.plan, by.to_owned(), clean_to(reason, REASON_BYTES).into_owned());
        let nothing = |expected: &str, verb: &str| {
            let reason = format!("expected {expected}, found plan {} {}; nothing to {verb}", view.seq, view.state);
            Err(ControlError::Invalid(reason))
        };
        let over = view.state.is_over();
        let entry = match action {
            RolloutAction::Pause | RolloutAction::Resume | RolloutAction::Halt if over => {
                return nothing(GOES_ON, action.word());
            }
            RolloutAction::Pause if matches!(view.state, RolloutState::Paused { .. }) => return Ok(()),
            RolloutAction::Pause => Entry::Paused { plan, by, reason },
            RolloutAction::Resume if !matches!(view.state, RolloutState::Paused { .. }) => {
                return nothing("a paused rollout", "resume");
            }
            RolloutAction::Resume => Entry::Resumed { plan, by },
            RolloutAction::Halt => Entry::Halted { plan, by, reason },
            RolloutAction::Release(task) => release(&view, task, by)?,
        };
        log(&entry);
        Ok(self.commit(now, vec![Proven::Decision(entry)])?)
    }

    /// Lets plans try a version on a node again.
    pub(crate) fn release_quarantine(
        &mut self,
        now: Timestamp,
        node: &str,
        version: &str,
        by: &str,
    ) -> Result<(), ControlError> {
        let invalid = |e: hostler_plan::id::InvalidId| ControlError::Invalid(e.to_string());
        let node = NodeName::new(node).map_err(invalid)?;
        let version: Version = version.parse().map_err(invalid)?;
        if !self.state.sequencer.quarantines().iter().any(|q| q.node == node && q.version == version) {
            return Err(ControlError::NotFound(format!(
                "expected a quarantine of {version} on {node}, found none; see `hostler node show {node}`"
            )));
        }
        let entry = Entry::QuarantineReleased { node, version, by: by.to_owned() };
        log(&entry);
        Ok(self.commit(now, vec![Proven::Decision(entry)])?)
    }

    /// The rollout of that plan: by its digest, a unique beginning of its digits, or its number.
    pub(crate) fn find_rollout(&self, which: &str) -> Result<Found, ControlError> {
        let plan = which.parse().ok().filter(|plan| self.state.knows_plan(plan));
        let plan = plan.map_or_else(|| self.find_plan(which), Ok)?;
        let ended = || self.state.ended(&plan).cloned().map(Found::Ended);
        let found = self.state.sequencer.rollout(&plan).map(Found::InMemory).or_else(ended);
        found.ok_or_else(|| no_rollout(which))
    }

    /// The plan with that number in this epoch, or with a digest that begins like that.
    fn find_plan(&self, which: &str) -> Result<Digest, ControlError> {
        let in_memory = self.state.plans.values().map(|p| (p.digest(), p.document().epoch, p.document().seq));
        let ended = self.state.all_ended().map(|r| (r.plan, r.epoch, r.seq));
        let all: Vec<(Digest, Epoch, Seq)> = in_memory.chain(ended).collect();
        let epoch = self.state.root().map(|r| r.root().epoch);
        let number = which.parse().ok().map(Seq);
        if let Some((plan, ..)) = all.iter().find(|(_, e, seq)| Some(*e) == epoch && Some(*seq) == number) {
            return Ok(*plan);
        }
        let digits = which.strip_prefix("sha256:").unwrap_or(which);
        let mut beginning = all.iter().filter(|(plan, ..)| digits.len() >= 4 && plan.hex().starts_with(digits));
        match (beginning.next(), beginning.next()) {
            (Some((plan, ..)), None) => Ok(*plan),
            (Some(_), Some(_)) => Err(ControlError::Invalid(format!(
                "expected the beginning of one digest, found several with {digits}; give more digits"
            ))),
            (None, _) => Err(no_rollout(which)),
        }
    }
}

/// A rollout that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    InMemory(RolloutView),
    Ended(EndedRollout),
}

fn no_rollout(which: &str) -> ControlError {
    ControlError::NotFound(format!(
        "expected the number or digest of a plan, found {}; see `hostler rollouts`",
        clean_to(which, REASON_BYTES)
    ))
}

fn release(view: &RolloutView, task: TaskId, by: String) -> Result<Entry, ControlError> {
    let found = view.tasks.iter().find(|t| t.task == task).map(|t| &t.state);
    match found {
        Some(TaskState::Expired { grant }) => {
            Ok(Entry::LeaseReleased { plan: view.plan, task, grant: grant.number, by })
        }
        Some(other) => Err(ControlError::Invalid(format!(
            "expected a task whose lease ran out, found {task} {}; nothing to release",
            other.word()
        ))),
        None => Err(ControlError::NotFound(format!(
            "expected a task of plan {}, found {task}; see `hostler rollout show {}`",
            view.seq, view.seq
        ))),
    }
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
        Entry::Recovered { plan, node } => tracing::info!(plan = %plan, node = %node, "node is no worse than before"),
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
