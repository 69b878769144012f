//! What holds a node by itself: its health, its cordon, the plan that took it out of service.

use hostler_plan::{
    document::PlanKind,
    health::{Level, Rule, Verdict},
    id::NodeName,
    planner::{self, InventoryNode},
    sequencer::{CordonOwner, Standing},
    timestamp::Timestamp,
};
use hostler_proto::v1::{NodeSummary, ReportedRefusal};

use super::{Proof, Said, Weight};

/// A machine that no roster lists yet.
pub(super) fn waits_for_approval(node: &NodeSummary) -> Said {
    let name = &node.name;
    let sentence = format!("waits for a person; `hostler node approve {name}` lets it in");
    Said { weight: Weight::NeedsPerson, about: name.clone(), sentence, proof: Proof::Coordinator }
}

/// What it refused last.
pub(super) fn refused(name: &NodeName, refused: &ReportedRefusal) -> Said {
    let at = Timestamp::from_unix_seconds(refused.at);
    let sentence = format!("refused a document at {at} ({}): {}", refused.refusal(), refused.reason);
    said_of(name, Weight::Note, sentence)
}

/// Everything that holds it, as the coordinator says; but for its cordon where that was `seen` by a server itself.
pub(super) fn said(name: &NodeName, state: &InventoryNode, seen: bool) -> Vec<Said> {
    let mut said: Vec<Said> = state.verdicts.iter().filter_map(|verdict| judged(name, verdict)).collect();
    let mut say = |weight, sentence| said.push(said_of(name, weight, sentence));
    let is_silent = state.verdicts.iter().any(|verdict| verdict.rule == Rule::Report);
    if !state.connected && !is_silent {
        say(Weight::Trouble, "is not connected; check its power and network".to_owned());
    }
    match state.condition.standing {
        Standing::NotReady => say(Weight::Trouble, "is not Ready in its cluster; look at its kubelet".to_owned()),
        Standing::Unknown => {
            say(Weight::Note, "is not known to its cluster: no connected server could ask the API server".to_owned());
        }
        Standing::Ready | Standing::Outside => {}
    }
    match state.condition.other_names.as_slice() {
        [] => {}
        [other] => say(Weight::Note, format!("is the Node {other} of its cluster")),
        others => {
            let others = others.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
            let why = format!("has a machine id that others have too, and may be any of {others} in its cluster");
            say(Weight::Trouble, format!("{why}; give each machine an id of its own and enrol it again"));
        }
    }
    let cordon = state.condition.cordon.as_ref().filter(|_| !seen);
    let why = cordon.and_then(|cordon| cordon.reason.as_ref()).map(|why| format!(" ({why})")).unwrap_or_default();
    match (cordon.map(|cordon| &cordon.owner), &state.hold) {
        (Some(CordonOwner::Other(owner)), _) => say(
            Weight::Stands,
            format!(
                "is cordoned by {owner}{why}, and no plan undoes that; ask them, then `kubectl uncordon {name}`, or \
                 take it over with `hostler node adopt-cordon {name}`"
            ),
        ),
        (Some(CordonOwner::Node), _) => {
            say(Weight::Stands, format!("cordoned itself{why}; it takes that back when it is well again"));
        }
        (_, Some(hold)) if hold.complete => say(
            Weight::Stands,
            format!("is out of service by plan {} ({}); `hostler uncordon {name}` puts it back", hold.seq, hold.kind),
        ),
        (_, Some(hold)) => say(
            Weight::Stands,
            format!(
                "may be half out of service by plan {} ({}); `hostler drain {name}` goes on, `hostler uncordon {name}` \
                 puts it back",
                hold.seq, hold.kind
            ),
        ),
        (Some(CordonOwner::Hostler), None) => {
            say(Weight::Stands, format!("is cordoned by a plan{why}; `hostler uncordon {name}` puts it back"));
        }
        (None, None) => {}
    }
    said
}

/// What becomes of one that is dead or cut off, and what ends that; nothing where a plan gave it up already.
pub(super) fn left_alone(name: &NodeName, state: &InventoryNode, now: Timestamp) -> Option<Said> {
    let is_gone = state.condition.standing == Standing::NotReady && !state.connected;
    let is_given_up = state.hold.as_ref().is_some_and(|hold| hold.kind == PlanKind::Dead && hold.complete);
    let sentence = || {
        format!(
            "{}. Where its power is proved to be off, `hostler drain {name} --dead --power-off-proof TEXT` does not \
             wait for that",
            planner::left_alone(state, now)
        )
    };
    (is_gone && !is_given_up).then(|| said_of(name, Weight::Note, sentence()))
}

/// A verdict that counts. One that a person accepted, or an optional one of which nothing is known, holds nothing.
fn judged(name: &NodeName, verdict: &Verdict) -> Option<Said> {
    let level = verdict.counts_as();
    let weight = match level {
        Level::Critical | Level::Unknown => Weight::Trouble,
        Level::Degraded => Weight::Note,
        Level::Ok => return None,
    };
    let since = Timestamp::from_unix_milliseconds(verdict.since_ms).whole_seconds();
    Some(said_of(name, weight, format!("is {level} since {since}: {}", verdict.sentence())))
}

fn said_of(name: &NodeName, weight: Weight, sentence: String) -> Said {
    Said { weight, about: name.to_string(), sentence, proof: Proof::Coordinator }
}
