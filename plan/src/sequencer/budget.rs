//! Who is unavailable, by whomever's doing.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    document::RosterStatus,
    id::{NodeName, Seq, TaskId},
};

use super::{CordonOwner, Sequencer, Standing};

/// Why a node counts as unavailable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
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

/// Every node that is unavailable now: by the ledger first, then by what was observed.
pub(super) fn unavailable(s: &Sequencer) -> BTreeMap<NodeName, Unavailable> {
    let mut all = BTreeMap::new();
    for r in &s.rollouts {
        for subject in r.subjects.keys().filter(|n| r.disrupts_now(n)) {
            let task = r.flying_task(subject).map(|i| r.plan.tasks[i].id.clone());
            all.entry(subject.clone()).or_insert(Unavailable::Disrupted { seq: r.plan.seq, task });
        }
    }
    for (node, (hold, _)) in s.holds.iter().filter(|(node, _)| holds(s, node)) {
        all.entry(node.clone()).or_insert(Unavailable::Held { seq: hold.seq });
    }
    let nodes = s.roster.iter().flat_map(|r| &r.nodes).filter(|n| n.status == RosterStatus::Active);
    for node in nodes {
        if !all.contains_key(&node.name)
            && let Some(why) = observed(s, &node.name)
        {
            all.insert(node.name.clone(), why);
        }
    }
    all
}

fn observed(s: &Sequencer, node: &NodeName) -> Option<Unavailable> {
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
