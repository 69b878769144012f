//! Which nodes a plan is about, and what stands in the way of each.

use std::collections::BTreeSet;

use crate::{
    document::RosterStatus,
    fleet::FleetNode,
    health::{Level, Rule, Verdict},
    id::NodeName,
    quorum::Quorum,
    sequencer::Standing,
    step::ClusterRole,
};

use super::{Draft, InventoryNode, Obstacle, Request, Selection, object::ambiguous};

const UNSEEN: &InventoryNode = &InventoryNode::UNSEEN;

impl Request<'_> {
    pub(super) fn state(&self, node: &NodeName) -> &InventoryNode {
        self.inventory.nodes.get(node).unwrap_or(UNSEEN)
    }

    pub(super) fn is_member(&self, node: &NodeName) -> bool {
        matches!(self.state(node).condition.standing, Standing::Ready | Standing::NotReady)
    }

    /// Whether its etcd can be counted on: no cordon changes that.
    pub(super) fn is_healthy(&self, node: &NodeName) -> bool {
        self.state(node).condition.standing == Standing::Ready
    }

    /// The servers of the cluster as etcd counts them.
    pub(super) fn quorum(&self) -> Quorum {
        let servers = self.fleet.servers().into_iter().map(|n| &n.name);
        let members: Vec<&NodeName> =
            servers.filter(|n| self.roster.active(n).is_some() && self.is_member(n)).collect();
        Quorum { members: members.len(), healthy: members.iter().filter(|n| self.is_healthy(n)).count() }
    }

    /// Whether the budget counts it even without this plan.
    pub(super) fn is_unavailable(&self, node: &NodeName) -> bool {
        let state = self.state(node);
        let is_host = self.fleet.node(node).is_some_and(|n| n.role == ClusterRole::Host);
        state.hold.is_some()
            || !is_host
                && match state.condition.standing {
                    Standing::Ready => state.condition.cordon.is_some() || !state.connected,
                    Standing::NotReady | Standing::Unknown => true,
                    Standing::Outside => false,
                }
    }

    /// A connected server of the cluster that watches `subject`: another one when there is one, else itself.
    pub(super) fn observer(&self, subject: &NodeName) -> Option<NodeName> {
        let mut fit = self.observers();
        fit.sort_by_key(|n| *n == subject);
        fit.first().map(|n| (*n).clone())
    }

    /// Connected servers of the cluster; those in service first, because they are more likely to answer.
    pub(super) fn observers(&self) -> Vec<&NodeName> {
        let fit = |n: &&FleetNode| {
            self.state(&n.name).connected && self.roster.active(&n.name).is_some() && self.is_member(&n.name)
        };
        let mut fit: Vec<&NodeName> = self.fleet.servers().into_iter().filter(fit).map(|n| &n.name).collect();
        fit.sort_by_key(|n| self.is_unavailable(n));
        fit
    }
}

/// Resolves a selection against the fleet file; names that it does not have are obstacles.
pub(super) fn resolve<'a>(request: Request<'a>, draft: &mut Draft, selection: &Selection) -> Vec<&'a FleetNode> {
    let Selection::Named(names) = selection else { return request.fleet.nodes.iter().collect() };
    let mut seen = BTreeSet::new();
    let mut nodes = Vec::new();
    for name in names {
        match request.fleet.node(name) {
            _ if !seen.insert(name) => draft.obstacles.push(Obstacle::NamedTwice(name.clone())),
            Some(node) => nodes.push(node),
            None => draft.obstacles.push(Obstacle::UnknownNode { node: name.clone() }),
        }
    }
    // In the file's order, whatever order the names came in.
    nodes.sort_by_key(|n| request.fleet.nodes.iter().position(|f| f.name == n.name));
    nodes
}

/// The same of the cluster's nodes alone: a host that is named is an obstacle.
pub(super) fn of_cluster<'a>(request: Request<'a>, draft: &mut Draft, selection: &Selection) -> Vec<&'a FleetNode> {
    let (hosts, nodes): (Vec<_>, Vec<_>) =
        resolve(request, draft, selection).into_iter().partition(|node| node.role == ClusterRole::Host);
    for host in hosts {
        left_out(draft, *selection != Selection::All, &host.name, Obstacle::IsHost(host.name.clone()));
    }
    nodes
}

/// Whether a machine had the name, and none has now.
pub(super) fn is_retired(request: Request<'_>, node: &NodeName) -> bool {
    let mut named = request.roster.nodes.iter().filter(|listed| listed.name == *node);
    request.roster.active(node).is_none() && named.any(|listed| listed.status == RosterStatus::Retired)
}

/// Whether the node can perform tasks: enrolled as the file says, and connected.
pub(super) fn performs(request: Request<'_>, draft: &mut Draft, node: &FleetNode) -> bool {
    let Some(enrolled) = request.roster.active(&node.name) else {
        draft.obstacles.push(Obstacle::NotEnrolled { node: node.name.clone() });
        return false;
    };
    let mut differs = |what, file: String, roster: String| {
        draft.obstacles.push(Obstacle::RosterDiffers { node: node.name.clone(), what, file, roster });
    };
    if enrolled.role != node.role {
        differs("role", node.role.to_string(), enrolled.role.to_string());
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
/// for which it makes no sense are left out; a named one is an obstacle then. What the work `cures` is no hindrance.
pub(super) fn workable(
    request: Request<'_>,
    draft: &mut Draft,
    selection: &Selection,
    cures: Option<Rule>,
) -> Vec<NodeName> {
    let candidates = of_cluster(request, draft, selection);
    let named = matches!(selection, Selection::Named(_));
    workable_of(request, draft, candidates, named, cures)
}

/// The same of these nodes of the cluster, `named` or all of them.
pub(super) fn workable_of(
    request: Request<'_>,
    draft: &mut Draft,
    candidates: Vec<&FleetNode>,
    named: bool,
    cures: Option<Rule>,
) -> Vec<NodeName> {
    let mut nodes = Vec::new();
    for node in candidates {
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
        if let Some(obstacle) = ambiguous(name, state) {
            left_out(draft, named, name, obstacle);
            continue;
        }
        if let Some(why) = out_of_service(state, named) {
            draft.skipped.push((name.clone(), why));
            continue;
        }
        if let Some(owner) = state.condition.cordon.as_ref().and_then(|c| c.owner.foreign()) {
            draft.obstacles.push(Obstacle::CordonedByOther { node: name.clone(), owner: owner.to_owned() });
            continue;
        }
        if let Some(obstacle) = critical(name, state, cures) {
            draft.obstacles.push(obstacle);
            continue;
        }
        if performs(request, draft, node) {
            nodes.push(name.clone());
        }
    }
    nodes
}

/// A verdict over its machine for which nobody disrupts it.
pub(super) fn critical(node: &NodeName, state: &InventoryNode, cures: Option<Rule>) -> Option<Obstacle> {
    // Of one that is silent because it is not connected, that is told.
    let critical = |v: &&Verdict| {
        let is_told = state.connected || v.rule != Rule::Report;
        v.counts_as() == Level::Critical && is_told && Some(v.rule) != cures
    };
    let verdict = state.verdicts.iter().find(critical)?;
    Some(Obstacle::Critical { node: node.clone(), why: verdict.sentence() })
}

/// What stands in the way of one node: of the plan, where it was named.
pub(super) fn left_out(draft: &mut Draft, named: bool, node: &NodeName, obstacle: Obstacle) {
    if named {
        draft.obstacles.push(obstacle);
    } else {
        let why = obstacle.to_string();
        let why = why.strip_prefix(&format!("{node} ")).unwrap_or(&why).to_owned();
        draft.skipped.push((node.clone(), why));
    }
}

/// Why a node stays as it is unless it is named: a person has it out of service.
fn out_of_service(state: &InventoryNode, named: bool) -> Option<String> {
    if named {
        return None;
    }
    match (&state.hold, state.condition.cordon.as_ref().map(|c| &c.owner)) {
        (Some(hold), _) if hold.kind.keeps_out() => {
            Some(format!("was taken out of service by plan {}; uncordon it or name it", hold.seq))
        }
        (Some(_), _) | (None, None) => None,
        (None, Some(owner)) => Some(format!("is cordoned by {owner}; uncordon it or name it")),
    }
}
