//! Which nodes a plan is about, and what stands in the way of each.

use std::collections::BTreeSet;

use crate::{
    document::{PlanKind, RosterStatus},
    fleet::FleetNode,
    health::{Level, Rule, Verdict, blockers},
    id::NodeName,
    sequencer::{Condition, CordonOwner, Standing},
    step::ClusterRole,
    version::Version,
};

use super::{Draft, Effect, NodeState, Note, Obstacle, Quarantined, Request, Selection};

/// The state of a node that nobody ever saw.
const UNSEEN: &NodeState =
    &NodeState { connected: false, condition: Condition::UNKNOWN, hold: None, verdicts: Vec::new() };

impl Request<'_> {
    pub(super) fn state(&self, node: &NodeName) -> &NodeState {
        self.inventory.nodes.get(node).unwrap_or(UNSEEN)
    }

    pub(super) fn is_member(&self, node: &NodeName) -> bool {
        matches!(self.state(node).condition.standing, Standing::Ready | Standing::NotReady)
    }

    /// Whether the budget counts it even without this plan.
    pub(super) fn is_unavailable(&self, node: &NodeName) -> bool {
        let state = self.state(node);
        state.hold.is_some()
            || match state.condition.standing {
                Standing::Ready => state.condition.cordon.is_some() || !state.connected,
                Standing::NotReady | Standing::Unknown => true,
                Standing::Outside => false,
            }
    }

    /// A connected server of the cluster that watches `subject`: another one when there is one, else itself.
    pub(super) fn observer(&self, subject: &NodeName) -> Option<NodeName> {
        let fit = |n: &&FleetNode| {
            self.state(&n.name).connected && self.roster.active(&n.name).is_some() && self.is_member(&n.name)
        };
        let servers = self.fleet.servers();
        let mut fit: Vec<&FleetNode> = servers.into_iter().filter(fit).collect();
        // One that is in service is more likely to answer.
        fit.sort_by_key(|n| (n.name == *subject, self.is_unavailable(&n.name)));
        fit.first().map(|n| n.name.clone())
    }
}

/// Resolves a selection against the fleet file; names that it does not have are obstacles.
pub(super) fn resolve<'a>(request: Request<'a>, draft: &mut Draft, selection: &Selection) -> Vec<&'a FleetNode> {
    let Selection::Named(names) = selection else { return request.fleet.nodes.iter().collect() };
    let mut seen = BTreeSet::new();
    let mut nodes = Vec::new();
    for name in names {
        match request.fleet.node(name) {
            _ if !seen.insert(name) => draft.obstacles.push(Obstacle::NamedTwice { node: name.clone() }),
            Some(node) => nodes.push(node),
            None => draft.obstacles.push(Obstacle::UnknownNode { node: name.clone() }),
        }
    }
    // In the file's order, whatever order the names came in.
    nodes.sort_by_key(|n| request.fleet.nodes.iter().position(|f| f.name == n.name));
    nodes
}

/// Whether the node can perform tasks: enrolled as the file says, and connected.
pub(super) fn performs(request: Request<'_>, draft: &mut Draft, node: &FleetNode) -> bool {
    let Some(enrolled) = request.roster.active(&node.name) else {
        draft.obstacles.push(Obstacle::NotEnrolled { node: node.name.clone() });
        return false;
    };
    let role = |r| if r == ClusterRole::Server { "server" } else { "worker" };
    let mut differs = |what, file: String, roster: String| {
        draft.obstacles.push(Obstacle::RosterDiffers { node: node.name.clone(), what, file, roster });
    };
    if enrolled.role != node.role {
        differs("role", role(node.role).to_owned(), role(enrolled.role).to_owned());
    }
    if enrolled.arch != node.arch {
        differs("arch", node.arch.to_string(), enrolled.arch.to_string());
    }
    if !request.state(&node.name).connected {
        draft.obstacles.push(Obstacle::NotConnected { node: node.name.clone() });
    }
    request.state(&node.name).connected && enrolled.role == node.role && enrolled.arch == node.arch
}

/// Members of the cluster that can be taken out of service, worked on and put back. With [`Selection::All`] the ones
/// for which it makes no sense are left out; a named one is an obstacle then.
pub(super) fn workable(request: Request<'_>, draft: &mut Draft, selection: &Selection) -> Vec<NodeName> {
    let named = matches!(selection, Selection::Named(_));
    let mut nodes = Vec::new();
    for node in resolve(request, draft, selection) {
        let name = &node.name;
        let state = request.state(name);
        if !named && (request.roster.active(name).is_none() || state.condition.standing == Standing::Outside) {
            draft.skipped.push((name.clone(), "is not in the cluster".to_owned()));
            continue;
        }
        if state.condition.standing == Standing::Outside {
            draft.obstacles.push(Obstacle::NotAMember { node: name.clone() });
            continue;
        }
        if let Some(why) = out_of_service(state, named) {
            draft.skipped.push((name.clone(), why));
            continue;
        }
        if let Some(CordonOwner::Other(owner)) = state.condition.cordon.as_ref().map(|c| &c.owner) {
            draft.obstacles.push(Obstacle::CordonedByOther { node: name.clone(), owner: owner.clone() });
            continue;
        }
        // Of one that is silent because it is not connected, that is told.
        let critical = |v: &&Verdict| v.level == Level::Critical && (state.connected || v.rule != Rule::Report);
        if let Some(verdict) = state.verdicts.iter().find(critical) {
            draft.obstacles.push(Obstacle::Critical { node: name.clone(), why: verdict.sentence() });
            continue;
        }
        if performs(request, draft, node) {
            nodes.push(name.clone());
        }
    }
    nodes
}

/// Why a node stays as it is unless it is named: a person has it out of service.
fn out_of_service(state: &NodeState, named: bool) -> Option<String> {
    if named {
        return None;
    }
    match (&state.hold, state.condition.cordon.as_ref().map(|c| &c.owner)) {
        (Some(hold), _) if hold.kind == PlanKind::Drain => {
            Some(format!("was drained by plan {}; uncordon it or name it", hold.seq))
        }
        (Some(_), _) | (None, None) => None,
        (None, Some(CordonOwner::Hostler)) => Some("is cordoned by Hostler; uncordon it or name it".to_owned()),
        (None, Some(CordonOwner::Other(owner))) => Some(format!("is cordoned by {owner}; uncordon it or name it")),
    }
}

/// Of `nodes`, those that `to` can be brought to.
pub(super) fn upgradable(
    request: Request<'_>,
    draft: &mut Draft,
    nodes: Vec<NodeName>,
    to: Version,
    quarantined: Quarantined,
) -> Vec<NodeName> {
    let distribution = request.fleet.distribution;
    if !to.is_of(distribution) {
        draft.obstacles.push(Obstacle::WrongForm { version: to, distribution });
        return Vec::new();
    }
    let mut upgradable = Vec::new();
    for node in nodes {
        let Some(runs) = request.state(&node).condition.version else {
            draft.obstacles.push(Obstacle::VersionUnknown { node });
            continue;
        };
        let quarantine = request.inventory.quarantines.iter().find(|q| q.node == node && q.version == to);
        match quarantine {
            _ if runs == to => draft.skipped.push((node, format!("runs {to} already"))),
            _ if to < runs => draft.obstacles.push(Obstacle::Downgrade { node, runs, to }),
            _ if to.major != runs.major || to.minor > runs.minor + 1 => {
                draft.obstacles.push(Obstacle::SkippedMinor { node, runs, to });
            }
            Some(q) if quarantined == Quarantined::Refuse => {
                draft.obstacles.push(Obstacle::Quarantined { node, version: to, reason: q.reason.clone() });
            }
            Some(_) => draft.skipped.push((node, format!("stays on {runs}: it failed on {to} and is quarantined"))),
            None => upgradable.push(node),
        }
    }
    servers_lead(request, draft, &upgradable, to);
    upgradable
}

/// Workers must not run a newer version than any server.
fn servers_lead(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName], to: Version) {
    let workers = nodes.iter().any(|n| request.fleet.node(n).is_some_and(|n| n.role == ClusterRole::Worker));
    if !workers {
        return;
    }
    for server in request.fleet.servers() {
        let name = &server.name;
        if let Some(runs) = request.state(name).condition.version
            && runs < to
            && request.is_member(name)
            && !nodes.contains(name)
        {
            draft.obstacles.push(Obstacle::ServerOlder { server: name.clone(), runs, to });
        }
    }
}

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

/// Says of every node that is not well what it means for the rollout over `nodes`. What is optional and not known weighs
/// nothing.
pub(super) fn note_health(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName]) {
    for node in request.roster.nodes.iter().filter(|n| n.status == RosterStatus::Active).map(|n| &n.name) {
        let verdicts = &request.state(node).verdicts;
        let holding = blockers(verdicts);
        let is_target = nodes.contains(node);
        for verdict in verdicts {
            let effect = match verdict.level {
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
