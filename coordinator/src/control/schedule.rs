//! Lets the sequencer decide, and takes what people decide about a rollout.

use std::time::Duration;

use hostler_plan::{
    document::{Decision, Signed},
    entry::Entry,
    id::{Digest, Epoch, Seq},
    sequencer::{RolloutAction, RolloutState, RolloutView},
    text::clean_to,
    timestamp::Timestamp,
    trust,
};

use super::{Control, ControlError, EndedRollout, Proven, Submitted};
use crate::limits::REASON_BYTES;

/// Decisions follow from each other (a receipt finishes a task, which finishes a rollout, which frees a budget); more
/// rounds than this at one time would be a fault, and others are answered in between.
const ROUNDS: usize = 64;
const GOES_ON: &str = "a rollout that goes on";
/// How often it is said that the root expires.
const EXPIRY_REPEAT: Duration = Duration::from_secs(86_400);
/// After a failed append the disk gets this long before the next try.
const RETRY: Duration = Duration::from_secs(1);

impl Control {
    /// Looks if there is something to decide, and tells the nodes. Call it after every input, and at
    /// [`next_look`](Self::next_look).
    pub(crate) fn look(&mut self, now: Timestamp) {
        self.notice_clock(now);
        self.notice_expiry(now);
        self.offer_again(now);
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

    /// Says once a day in the journal that the root expires, from 60 days before.
    fn notice_expiry(&mut self, now: Timestamp) {
        let said = |at: Timestamp| at <= now && now.since(at) < EXPIRY_REPEAT;
        if self.expiry_said.is_some_and(said) {
            return;
        }
        self.expiry_said = Some(now);
        if let Some(sentence) = self.state.root().and_then(|root| root.expiry_notice(now)) {
            tracing::warn!("{sentence}");
        }
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
        self.next_look = [deadline, self.cluster.ages_at, self.offers.next(), self.next_look.filter(|t| *t > now)]
            .into_iter()
            .flatten()
            .min();
    }

    /// Pauses or halts a rollout: at once, and unsigned. The signature of who did it follows as a decision.
    pub(crate) fn act(
        &mut self,
        now: Timestamp,
        which: &str,
        action: RolloutAction,
        by: &str,
        reason: &str,
    ) -> Result<(), ControlError> {
        let nothing = |seq: Seq, state: &RolloutState| {
            let verb = action.word();
            let reason = format!("expected {GOES_ON}, found plan {seq} {state}; nothing to {verb}");
            Err(ControlError::Invalid(reason))
        };
        let view = match self.find_rollout(which)? {
            Found::InMemory(view) if view.state.is_over() => return nothing(view.seq, &view.state),
            Found::InMemory(view) => view,
            Found::Ended(EndedRollout { seq, state, .. }) => return nothing(seq, &state),
        };
        let (plan, by, reason) = (view.plan, by.to_owned(), clean_to(reason, REASON_BYTES).into_owned());
        let entry = match action {
            RolloutAction::Pause if matches!(view.state, RolloutState::Paused { .. }) => return Ok(()),
            RolloutAction::Pause => Entry::Paused { plan, by, reason },
            RolloutAction::Halt => Entry::Halted { plan, by, reason },
            RolloutAction::Resume | RolloutAction::Release(_) => {
                let reason = format!("expected a signed decision to {}, found a call; update hostler", action.word());
                return Err(ControlError::Invalid(reason));
            }
        };
        log(&entry);
        Ok(self.commit(now, vec![Proven::Decision(entry)])?)
    }

    /// Takes what a person decided and signed.
    pub(crate) fn submit_decision(&mut self, now: Timestamp, signed: &Signed) -> Result<Submitted, ControlError> {
        let digest = signed.digest();
        if self.state.judge.knows(&digest) {
            return Ok(Submitted::known(digest));
        }
        let decision = trust::decision(self.state.require_root()?, signed)?;
        let Decision { decided, by, .. } = decision.document().clone();
        self.commit(now, vec![Proven::Signed(decision)])?;
        match Entry::of(&decided, &by) {
            Some(entry) => log(&entry),
            None => tracing::warn!(by, "ledger adopted"),
        }
        Ok(Submitted::taken(digest))
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
        Entry::TokenRevoked { token, by } => tracing::info!(token = %token, by, "token revoked"),
        Entry::Restored { generation, .. } => tracing::warn!(generation, "a part of the ledger was lost"),
        Entry::CaughtUp { generation } => tracing::info!(generation, "caught up with what nodes hold"),
        Entry::Document { .. } | Entry::NodeRefused { .. } | Entry::Alarm { .. } | Entry::ClockSetBack { .. } => {}
    }
}
