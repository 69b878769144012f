//! What to know before nodes are taken out of service, and what forbids it.

use crate::{
    document::RosterStatus,
    health::{Level, Rule, blockers},
    id::NodeName,
    step::ClusterRole,
};

use super::{Draft, Effect, Note, Obstacle, Request};

/// What is done to servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Cordoned and emptied: their API server and etcd run on.
    Drained,
    /// Restarted one after the other: each is away for a while.
    Restarted,
    /// Not drained, and each of their components restarts.
    Reloaded,
}

/// What it means to take servers out of service.
pub(super) fn servers_out(
    request: Request<'_>,
    draft: &mut Draft,
    nodes: &[NodeName],
    accepted: &[NodeName],
    taken: Taken,
) {
    let mut quorum = request.quorum();
    let is_server = |n: &&NodeName| request.fleet.node(n).is_some_and(|n| n.role == ClusterRole::Server);
    let mut servers: Vec<&NodeName> = nodes.iter().filter(is_server).collect();
    // As in the plan: nothing is lost by taking one that is away, and it is back before the next one goes.
    servers.sort_by_key(|server| request.is_healthy(server));
    for server in servers {
        let is_healthy = request.is_healthy(server);
        let after = if is_healthy { quorum.less_one() } else { quorum };
        match (taken, quorum.members) {
            // Nobody could ask its API server, which is an obstacle of its own.
            (_, 0) => {}
            (Taken::Drained, 1) => draft.notes.push(Note::Warning(format!(
                "{server} is the only server: the drain leaves its API server running, and the cluster stands still \
                 while the machine is off"
            ))),
            (Taken::Reloaded, 1) => draft.notes.push(Note::Warning(format!(
                "{server} is the only server: the API does not answer while its components restart"
            ))),
            (Taken::Restarted, 1) => draft.notes.push(Note::Warning(format!(
                "{server} is the only server: it drains and watches itself, and the API does not answer while it \
                 restarts"
            ))),
            (Taken::Restarted | Taken::Reloaded, 2) if quorum.is_kept() && accepted.contains(server) => {
                draft.notes.push(Note::Warning(format!(
                    "{server} is one of two servers: the API does not answer while it is away, as accepted"
                )));
            }
            (Taken::Restarted | Taken::Reloaded, 2) if quorum.is_kept() => {
                draft.obstacles.push(Obstacle::Majority { node: server.clone() });
            }
            (Taken::Drained, _) if is_healthy && !after.is_kept() => draft.notes.push(Note::Warning(format!(
                "{}: the drain leaves its API server and etcd running, and the cluster stands still while the machine \
                 is off",
                quorum.without(server)
            ))),
            (Taken::Restarted | Taken::Reloaded, _) if is_healthy && !after.is_kept() => {
                draft.obstacles.push(Obstacle::Quorum { server: server.clone(), quorum });
            }
            (Taken::Drained | Taken::Restarted | Taken::Reloaded, _) => {}
        }
        quorum = match taken {
            Taken::Drained => after,
            Taken::Restarted | Taken::Reloaded if is_healthy => quorum,
            Taken::Restarted | Taken::Reloaded => quorum.one_more(),
        };
    }
}

/// What it means that the coordinator runs on one of the nodes, which is worked on in this order.
pub(super) fn coordinator_out(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName], taken: Taken) {
    let is_server = |n: &NodeName| request.fleet.node(n).is_some_and(|n| n.role == ClusterRole::Server);
    for (place, node) in nodes.iter().enumerate().filter(|(_, node)| request.earlier.coordinator_on.contains(*node)) {
        let (before, behind) = (&nodes[..place], &nodes[place + 1..]);
        let last = match (before.is_empty(), behind.is_empty()) {
            (false, true) => ", which therefore goes last",
            (false, false) if is_server(node) && !behind.iter().any(is_server) => {
                ", which therefore goes after the other servers"
            }
            (true, _) | (false, false) => "",
        };
        let text = match taken {
            // It runs on.
            Taken::Reloaded => continue,
            Taken::Drained => format!(
                "the coordinator runs on {node}, as {node} signed: a drain leaves a service of the machine as it is; \
                 before the machine is switched off, know that nothing new begins on any node until it is back"
            ),
            Taken::Restarted => format!(
                "the coordinator runs on {node}, as {node} signed{last}: while the coordinator is away every executor \
                 ends what it has begun and nothing new begins; the rollout goes on once the coordinator runs again, \
                 which has to start by itself"
            ),
        };
        draft.notes.push(Note::Warning(text));
    }
}

/// Says so when the rollout would stand still from its first moment, and what would help with so many that are away.
pub(super) fn note_unavailable(
    request: Request<'_>,
    draft: &mut Draft,
    nodes: &[NodeName],
    returned: &[NodeName],
    otherwise: impl Fn(usize) -> String,
) {
    let stays = |n: &&NodeName| request.is_unavailable(n) && !nodes.contains(n) && !returned.contains(n);
    let names = request.fleet.nodes.iter().map(|n| &n.name);
    let enrolled = names.filter(|n| request.roster.active(n).is_some());
    let others: Vec<&str> = enrolled.filter(stays).map(NodeName::as_str).collect();
    if others.len() >= draft.max_unavailable as usize {
        let (names, allowed) = (others.join(" "), draft.max_unavailable);
        draft.notes.push(Note::Warning(format!(
            "unavailable now: {names}; with {allowed} allowed, nothing starts until one is back{}",
            otherwise(others.len())
        )));
    }
}

/// Says of every node that is not well what it means for the rollout over `nodes`. What is optional and not known
/// weighs nothing, nor what the rollout `cures`.
pub(super) fn note_health(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName], cures: Option<Rule>) {
    for node in request.roster.nodes.iter().filter(|n| n.status == RosterStatus::Active).map(|n| &n.name) {
        let verdicts = &request.state(node).verdicts;
        let holding = blockers(verdicts);
        let is_target = nodes.contains(node);
        for verdict in verdicts.iter().filter(|verdict| Some(verdict.rule) != cures) {
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
