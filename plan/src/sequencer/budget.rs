//! Who is unavailable, by whomever's doing.

use std::fmt;

use crate::{
    id::{NodeName, Seq, TaskId},
    step::ClusterRole,
};

use super::{CordonOwner, Sequencer, Standing};

/// Why a node counts as unavailable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// A rollout works on it; the task is the one in flight, where one is.
    Disrupted { seq: Seq, task: Option<TaskId> },
    /// A task of that plan made it unschedulable, and nobody made it schedulable again.
    Held { seq: Seq },
    /// Somebody made it unschedulable.
    Cordoned { owner: CordonOwner },
    /// The cluster says that it is not Ready.
    NotReady,
    /// Its agent is not connected.
    Unreachable,
    /// No control-plane node could say how it is.
    NotKnown,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::Disrupted { seq, task: Some(task) } => write!(f, "plan {seq} performs {task}"),
            Unavailable::Disrupted { seq, task: None } => write!(f, "plan {seq} is not done with it"),
            Unavailable::Held { seq } => write!(f, "cordoned by plan {seq}"),
            Unavailable::Cordoned { owner } => write!(f, "cordoned by {owner}"),
            Unavailable::NotReady => f.write_str("not Ready"),
            Unavailable::Unreachable => f.write_str("not connected"),
            Unavailable::NotKnown => f.write_str("its condition is not known"),
        }
    }
}

/// Looks again at every node of which something changed.
pub(super) fn look(s: &mut Sequencer) {
    while let Some(node) = s.unlooked.pop_first() {
        match why(s, &node) {
            Some(why) => s.unavailable.insert(node, why),
            None => s.unavailable.remove(&node),
        };
    }
}

/// Why a node is unavailable, if it is: by the ledger first, then by what was observed.
fn why(s: &Sequencer, node: &NodeName) -> Option<Unavailable> {
    let disrupted = s.rollouts.active().find(|(_, r)| r.disrupts_now(node)).map(|(_, r)| {
        let task = r.flying_task(node).map(|i| r.plan.tasks[i].id.clone());
        Unavailable::Disrupted { seq: r.plan.seq, task }
    });
    let held = || Some(Unavailable::Held { seq: s.holds.get(node).filter(|_| holds(s, node))?.0.seq });
    let observed = || observed(s, node).filter(|_| s.keys.contains_key(node));
    disrupted.or_else(held).or_else(observed)
}

pub(super) fn observed(s: &Sequencer, node: &NodeName) -> Option<Unavailable> {
    // No cluster says how a machine outside it is.
    if s.roster.as_ref().and_then(|roster| roster.active(node)).is_some_and(|n| n.role == ClusterRole::Host) {
        return None;
    }
    let Some(seen) = s.nodes.get(node) else { return Some(Unavailable::NotKnown) };
    let Some(condition) = &seen.condition else { return Some(Unavailable::NotKnown) };
    match (condition.standing, &condition.cordon) {
        (Standing::Outside, _) => None,
        (Standing::Unknown, _) => Some(Unavailable::NotKnown),
        (Standing::NotReady, _) => Some(Unavailable::NotReady),
        (Standing::Ready, Some(cordon)) => Some(Unavailable::Cordoned { owner: cordon.owner.clone() }),
        (Standing::Ready, None) if seen.connected.is_none() => Some(Unavailable::Unreachable),
        (Standing::Ready, None) => None,
    }
}

/// Whether a cordon that the ledger knows still counts: until readings said schedulable for the settle time, which
/// they do when a person undid it.
pub(super) fn holds(s: &Sequencer, node: &NodeName) -> bool {
    let Some((_, noted)) = s.holds.get(node) else { return false };
    let undone = s.nodes.get(node).and_then(|seen| seen.schedulable).is_some_and(|(since, last)| {
        last.since(since.max(*noted)) >= std::time::Duration::from_secs(s.settings.settle_seconds)
    });
    !undone
}
