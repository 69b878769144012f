//! Rollouts that nothing changes any more. What is said about them in a line stays in memory; the rest is in the
//! ledger, in the records between their plan's and their end's.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
};

use hostler_plan::{
    document::PlanKind,
    id::{Digest, Epoch, Seq},
    sequencer::{RolloutState, RolloutView, Sequencer, TaskState},
    timestamp::Timestamp,
};

/// Rollouts that are over and stay in memory: who watched one looks at it once more.
const KEPT: usize = 1;

/// What is remembered of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EndedRollout {
    pub plan: Digest,
    pub epoch: Epoch,
    pub seq: Seq,
    pub kind: PlanKind,
    pub title: String,
    pub received: Timestamp,
    pub state: RolloutState,
    /// Tasks by the word for their state.
    pub tasks: BTreeMap<&'static str, usize>,
    pub succeeded: usize,
    /// The ledger's records from the plan to the end: all that it amounted to is their fold.
    pub records: RangeInclusive<u64>,
}

/// The rollouts as the ledger brought them.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// The records of the plans that are in memory.
    in_memory: BTreeMap<Digest, u64>,
    /// Those in memory that are over, in the order in which they ended.
    over: VecDeque<Digest>,
    /// Those that left memory, by the record of their plan.
    ended: BTreeMap<u64, EndedRollout>,
    ended_by_plan: BTreeMap<Digest, u64>,
}

impl Arrivals {
    /// A plan came with that record.
    pub(super) fn add(&mut self, plan: Digest, record: u64) {
        self.in_memory.insert(plan, record);
    }

    /// A rollout is over.
    pub(super) fn end(&mut self, plan: Digest) {
        self.over.push_back(plan);
    }

    /// Lets the rollouts go that nothing changes any more, but for the newest. `now` is the ledger's last record. Gives
    /// their plans.
    pub(super) fn forget(&mut self, sequencer: &mut Sequencer, now: u64) -> Vec<Digest> {
        let old: Vec<Digest> = self.over.iter().take(self.over.len().saturating_sub(KEPT)).copied().collect();
        let mut gone = Vec::new();
        for plan in old {
            let view = sequencer.rollout(&plan);
            if sequencer.forget(&plan)
                && let Some((view, first)) = view.zip(self.in_memory.remove(&plan))
            {
                self.ended.insert(first, EndedRollout::of(view, first..=now));
                self.ended_by_plan.insert(plan, first);
                gone.push(plan);
            }
        }
        self.over.retain(|plan| !gone.contains(plan));
        gone
    }

    /// What is remembered of a rollout that left memory.
    pub(super) fn ended(&self, plan: &Digest) -> Option<&EndedRollout> {
        self.ended.get(self.ended_by_plan.get(plan)?)
    }

    /// All of those, oldest first.
    pub(super) fn all_ended(&self) -> impl DoubleEndedIterator<Item = &EndedRollout> {
        self.ended.values()
    }

    /// The record of a plan that is in memory.
    pub(super) fn record_of(&self, plan: &Digest) -> Option<u64> {
        self.in_memory.get(plan).copied()
    }
}

impl EndedRollout {
    fn of(view: RolloutView, records: RangeInclusive<u64>) -> Self {
        let mut tasks = BTreeMap::new();
        for task in &view.tasks {
            *tasks.entry(task.state.word()).or_default() += 1;
        }
        let success = |state: &TaskState| matches!(state, TaskState::Ended { outcome, .. } if outcome.is_success());
        Self {
            succeeded: view.tasks.iter().filter(|t| success(&t.state)).count(),
            plan: view.plan,
            epoch: view.epoch,
            seq: view.seq,
            kind: view.kind,
            title: view.title,
            received: view.received,
            state: view.state,
            tasks,
            records,
        }
    }
}
