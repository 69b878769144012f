//! The fleet in numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hostler_plan::{
    document::{PlanKind, RosterStatus},
    id::{NodeName, Seq},
    refusal::Refusal,
    sequencer::{CordonOwner, RolloutState, RolloutView},
    timestamp::Timestamp,
};

use crate::control::{Control, State};

/// Rollouts that are over and still counted, newest first.
const ENDED_ROLLOUTS: usize = 10;

/// What the coordinator counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Overview {
    /// Active nodes.
    pub nodes: BTreeSet<NodeName>,
    pub streams: usize,
    pub alarms: u64,
    /// Receipts that were not taken since the start.
    pub receipts_refused: u64,
    /// Documents that nodes hold and that the ledger neither has nor names.
    pub forks: usize,
    pub root_expires: Option<Timestamp>,
    pub pending: usize,
    pub quarantines: usize,
    pub cordoned: BTreeMap<NodeName, CordonOwner>,
    /// What nodes refused since the coordinator started.
    pub refusals: BTreeMap<(NodeName, Refusal), u64>,
    /// Those that are not over, and the newest of the others.
    pub rollouts: Vec<RolloutCounts>,
    /// Nodes of a rollout that are not done, by the word for why.
    pub waits: BTreeMap<(Seq, &'static str), u64>,
    pub needing_attention: usize,
    /// How far the coordinator's clock is at least behind; zero when it can be right.
    pub clock_behind: Duration,
    /// The last write to the ledger failed.
    pub ledger_stuck: bool,
}

/// One rollout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RolloutCounts {
    pub seq: Seq,
    pub kind: PlanKind,
    pub state: RolloutState,
    /// Tasks by the word for their state.
    pub tasks: BTreeMap<&'static str, usize>,
}

/// Counts everything.
pub(crate) fn overview(control: &Control, now: Timestamp) -> Overview {
    let state = control.state();
    let roster = state.roster.iter().flat_map(|r| &r.document().nodes);
    let active = roster.filter(|n| n.status == RosterStatus::Active);
    let readings = control.node_readings().iter();
    let mut waits: BTreeMap<(Seq, &'static str), u64> = BTreeMap::new();
    for wait in state.sequencer.waits(now).iter().filter(|w| w.node.is_some()) {
        *waits.entry((wait.seq, wait.reason.word())).or_default() += 1;
    }
    let in_memory = state.sequencer.rollouts();
    let attention = in_memory
        .iter()
        .filter(|r| matches!(r.state, RolloutState::NeedsAttention { .. } | RolloutState::Asks { .. }))
        .count();
    Overview {
        nodes: active.map(|n| n.name.clone()).collect(),
        streams: control.stream_count(),
        alarms: control.alarms_seen(),
        receipts_refused: control.receipts_refused(),
        forks: control.forks().count(),
        root_expires: state.root().map(|root| root.root().expires),
        pending: state.pending().count(),
        quarantines: state.sequencer.quarantines().len(),
        cordoned: readings.filter_map(|(n, r)| Some((n.clone(), r.cordoned_by.clone()?))).collect(),
        refusals: control.refusals_seen().clone(),
        rollouts: counts(state, &in_memory),
        waits,
        needing_attention: attention,
        clock_behind: control.clock_behind(now).map(|behind| behind.by()).unwrap_or_default(),
        ledger_stuck: control.ledger_trouble().is_some(),
    }
}

/// Those that are not over, and the newest of the others, oldest first.
fn counts(state: &State, in_memory: &[RolloutView]) -> Vec<RolloutCounts> {
    let mut all: Vec<(Option<u64>, RolloutCounts)> = Vec::new();
    for view in in_memory {
        let mut tasks: BTreeMap<&'static str, usize> = BTreeMap::new();
        for task in &view.tasks {
            *tasks.entry(task.state.word()).or_default() += 1;
        }
        let counts = RolloutCounts { seq: view.seq, kind: view.kind, state: view.state.clone(), tasks };
        all.push((state.record_of(&view.plan), counts));
    }
    for ended in state.all_ended().rev().take(ENDED_ROLLOUTS) {
        let tasks = ended.tasks.clone();
        let counts = RolloutCounts { seq: ended.seq, kind: ended.kind, state: ended.state.clone(), tasks };
        all.push((Some(*ended.records.start()), counts));
    }
    all.sort_by_key(|(record, _)| *record);
    let over = all.iter().filter(|(_, r)| r.state.is_over()).count();
    let mut skip = over.saturating_sub(ENDED_ROLLOUTS);
    let shown = all.into_iter().map(|(_, counts)| counts).filter(|r| {
        let old = r.state.is_over() && skip > 0;
        skip -= usize::from(old);
        !old
    });
    shown.collect()
}
