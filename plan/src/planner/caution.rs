//! What to know before nodes are taken out of service, and what forbids it.

use crate::{
    document::RosterStatus,
    health::{Level, blockers},
    id::NodeName,
    step::ClusterRole,
};

use super::{Draft, Effect, Note, Obstacle, Request};

/// What it means to take servers out of service.
pub(super) fn servers_out(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName], accepted: &[NodeName]) {
    let members = request.fleet.servers().into_iter().filter(|n| request.is_member(&n.name)).count();
    for node in nodes.iter().filter(|n| request.fleet.node(n).is_some_and(|n| n.role == ClusterRole::Server)) {
        match members {
            0 | 1 => draft.notes.push(Note::Warning(format!(
                "{node} is the only server: it drains and watches itself, and the API does not answer while it restarts"
            ))),
            2 if accepted.contains(node) => draft.notes.push(Note::Warning(format!(
                "{node} is one of two servers: the API does not answer while it is away, as accepted"
            ))),
            2 => draft.obstacles.push(Obstacle::Majority { node: node.clone() }),
            _ => {}
        }
    }
}

/// Says so when the rollout would stand still from its first moment.
pub(super) fn note_unavailable(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName], returned: &[NodeName]) {
    let stays = |n: &&NodeName| request.is_unavailable(n) && !nodes.contains(n) && !returned.contains(n);
    let names = request.fleet.nodes.iter().map(|n| &n.name);
    let enrolled = names.filter(|n| request.roster.active(n).is_some());
    let others: Vec<&str> = enrolled.filter(stays).map(NodeName::as_str).collect();
    if others.len() >= draft.max_unavailable as usize {
        let text = format!(
            "unavailable now: {}; with {} allowed, nothing starts until one is back",
            others.join(" "),
            draft.max_unavailable
        );
        draft.notes.push(Note::Warning(text));
    }
}

/// Says of every node that is not well what it means for the rollout over `nodes`. What is optional and not known
/// weighs nothing.
pub(super) fn note_health(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName]) {
    for node in request.roster.nodes.iter().filter(|n| n.status == RosterStatus::Active).map(|n| &n.name) {
        let verdicts = &request.state(node).verdicts;
        let holding = blockers(verdicts);
        let is_target = nodes.contains(node);
        for verdict in verdicts {
            let effect = match verdict.counts_as() {
                Level::Ok if verdict.accepted.is_some() => Effect::Accepted,
                Level::Critical if !is_target => Effect::LeftOut,
                Level::Critical | Level::Degraded | Level::Unknown if is_target && holding.contains(&verdict) => {
                    Effect::Waits
                }
                Level::Degraded if is_target => Effect::Tolerated,
                Level::Critical | Level::Degraded | Level::Unknown | Level::Ok => continue,
            };
            draft.notes.push(Note::Verdict { node: node.clone(), verdict: Box::new(verdict.clone()), effect });
        }
    }
}
