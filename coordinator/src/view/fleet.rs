//! The fleet in numbers.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::{
    document::{PlanKind, RosterStatus},
    id::{NodeName, Seq},
    refusal::Refusal,
    sequencer::{CordonOwner, RolloutState},
    timestamp::Timestamp,
};

use crate::control::Control;

/// Rollouts that are over and still counted, newest first.
const ENDED_ROLLOUTS: usize = 10;

/// What the coordinator counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Active nodes.
    pub nodes: BTreeSet<NodeName>,
    pub streams: usize,
    pub alarms: u64,
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
}

/// One rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutCounts {
    pub seq: Seq,
    pub kind: PlanKind,
    pub state: RolloutState,
    /// Tasks by the word for their state.
    pub tasks: BTreeMap<&'static str, u64>,
}

/// Counts everything.
pub fn overview(control: &Control, now: Timestamp) -> Overview {
    let state = control.state();
    let roster = state.roster.iter().flat_map(|r| &r.document().nodes);
    let active = roster.filter(|n| n.status == RosterStatus::Active);
    let readings = control.node_readings().iter();
    let mut waits: BTreeMap<(Seq, &'static str), u64> = BTreeMap::new();
    for wait in state.sequencer.waits(now).iter().filter(|w| w.node.is_some()) {
        *waits.entry((wait.seq, wait.reason.word())).or_default() += 1;
    }
    let all = state.sequencer.rollouts();
    let attention = all.iter().filter(|r| matches!(r.state, RolloutState::NeedsAttention { .. })).count();
    let ended = all.iter().filter(|r| r.state.is_over()).count();
    let mut skip = ended.saturating_sub(ENDED_ROLLOUTS);
    let shown = all.into_iter().filter(|r| {
        let old = r.state.is_over() && skip > 0;
        skip -= usize::from(old);
        !old
    });
    let rollouts = shown.map(|r| {
        let mut tasks: BTreeMap<&'static str, u64> = BTreeMap::new();
        for task in &r.tasks {
            *tasks.entry(task.state.word()).or_default() += 1;
        }
        RolloutCounts { seq: r.seq, kind: r.kind, state: r.state, tasks }
    });
    Overview {
        nodes: active.map(|n| n.name.clone()).collect(),
        streams: control.stream_count(),
        alarms: control.alarms_seen(),
        pending: state.pending().count(),
        quarantines: state.sequencer.quarantines().len(),
        cordoned: readings.filter_map(|(n, r)| Some((n.clone(), r.cordoned_by.clone()?))).collect(),
        refusals: control.refusals_seen().clone(),
        rollouts: rollouts.collect(),
        waits,
        needing_attention: attention,
    }
}
