//! Plans that take node after node out of service, work on it, wait for its health and put it back: upgrade and reboot.

use std::collections::BTreeMap;

use crate::{
    document::Task,
    fleet::FleetNode,
    id::{NodeName, TaskId},
    sequencer::Standing,
    step::{ClusterRole, Reboot, Step, Uncordon},
    text::count,
    version::Version,
};

use super::{
    Accepted, Draft, Note, Obstacle, Phase, PhaseName, Quarantined, Request, Selection,
    caution::{Taken, coordinator_out, note_health, note_unavailable, servers_out},
    distribution::{Becomes, Lifecycle},
    order::{phases, predecessors},
    select::{critical, performs, resolve, workable, workable_of},
    skew,
    task::{await_ready, disrupting, drain_steps, finishing, member, observer, prepare, stage, task, task_id},
};

pub(super) fn upgrade(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    (to, quarantined): (Version, Quarantined),
    selection: &Selection,
    accepted: &Accepted,
) {
    let candidates = workable(request, draft, selection, None);
    let nodes = upgradable(request, draft, candidates.clone(), to, quarantined);
    servers_out(request, draft, &nodes, &accepted.outage, Taken::Restarted);
    let asks = asks(request, draft, lifecycle, &nodes, to, accepted);
    let work = Work { what: "upgrade", version: Some((lifecycle, to)), reason: format!("upgrade to {to}"), asks };
    // What a stopped rollout left out of service and this plan does not work on goes back on its old version.
    let left: Vec<NodeName> = candidates.into_iter().filter(|n| !nodes.contains(n)).collect();
    if rolling(request, draft, &nodes, &left, &work, true) {
        draft.title = match nodes.len() {
            0 => format!("Put back into service what an upgrade to {to} left out of it"),
            nodes => format!("Upgrade {} to {to}", count(nodes, "node")),
        };
        let server = |n: &NodeName| request.fleet.node(n).is_some_and(|n| n.role == ClusterRole::Server);
        if nodes.iter().any(server) {
            draft.notes.push(Note::Warning(lifecycle.database_backup().to_owned()));
        }
    }
}

pub(super) fn reboot(request: Request<'_>, draft: &mut Draft, selection: &Selection, accepted: &[NodeName]) {
    let (hosts, nodes): (Vec<_>, Vec<_>) =
        resolve(request, draft, selection).into_iter().partition(|node| node.role == ClusterRole::Host);
    let named = *selection != Selection::All;
    let nodes = workable_of(request, draft, nodes, named, None);
    servers_out(request, draft, &nodes, accepted, Taken::Restarted);
    let work = Work { what: "reboot", version: None, reason: "reboot".to_owned(), asks: None };
    let rolls = rolling(request, draft, &nodes, &[], &work, false);
    let hosts = reboot_hosts(request, draft, hosts, named);
    if rolls || hosts > 0 {
        draft.title = format!("Reboot {}", count(nodes.len() + hosts, "node"));
    }
}

/// Hosts restart one after another, after the cluster's nodes; nothing is drained, and nobody but the machine itself
/// has to see that it is back. How many there are.
fn reboot_hosts(request: Request<'_>, draft: &mut Draft, hosts: Vec<&FleetNode>, named: bool) -> usize {
    let mut names = Vec::new();
    for host in hosts {
        let name = &host.name;
        if !named && request.roster.active(name).is_none() {
            draft.skipped.push((name.clone(), "is not enrolled".to_owned()));
        } else if let Some(obstacle) = critical(name, request.state(name), None) {
            draft.obstacles.push(obstacle);
        } else if performs(request, draft, host) {
            names.push(name.clone());
        }
    }
    names.sort_by_key(|name| request.earlier.coordinator_on.contains(name));
    coordinator_out(request, draft, &names, Taken::Restarted);
    let last = draft.phases.last().map(|phase| phase.nodes.clone()).unwrap_or_default();
    let ends = |what: &str, nodes: &[NodeName]| nodes.iter().map(|n| task_id(n, what)).collect::<Vec<TaskId>>();
    let is_back_in_place = draft.phases.last().is_some_and(|phase| phase.name == PhaseName::PutBack);
    let mut after = ends(if is_back_in_place { "return" } else { "ready" }, &last);
    for name in &names {
        let reboot = task("reboot", name, name, after, vec![Step::Reboot(Reboot {})]);
        after = vec![reboot.id.clone()];
        draft.tasks.push(disrupting(reboot));
    }
    if !names.is_empty() {
        draft.phases.push(Phase { name: PhaseName::Hosts, nodes: names.clone(), at_once: 1 });
    }
    names.len()
}

/// What is done to each node between its drain and its return.
struct Work {
    what: &'static str,
    /// What it is brought to; none for a reboot.
    version: Option<(Lifecycle, Version)>,
    reason: String,
    /// What is asked before the first node is taken out of service.
    asks: Option<Task>,
}

/// Before servers go to another minor version, one asks what that has no more and is still asked for.
fn asks(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    nodes: &[NodeName],
    to: Version,
    accepted: &Accepted,
) -> Option<Task> {
    let is_server = |n: &&NodeName| request.fleet.node(n).is_some_and(|n| n.role == ClusterRole::Server);
    let is_older =
        |n: &&NodeName| request.state(n).condition.version.is_some_and(|v| (v.major, v.minor) < (to.major, to.minor));
    let first = nodes.iter().filter(is_server).find(is_older)?;
    let steps = lifecycle.asks_before(to, &accepted.removed_apis);
    if steps.is_empty() {
        return None;
    }
    let server = observer(request, draft, first)?;
    let text = "before the first node is touched, the API servers are asked which APIs somebody still uses that";
    draft.notes.push(Note::Info(format!("{text} {to} has no more; the plan stops there if there are some")));
    Some(task("apis", &server, &server, Vec::new(), steps))
}

/// The steps of one node for it.
struct WorkSteps {
    /// In service still.
    prepare: Vec<Step>,
    /// Drained.
    act: Vec<Step>,
}

/// Drain, work, wait for health, put back: node after node. False when there is nothing to do.
fn rolling(
    request: Request<'_>,
    draft: &mut Draft,
    nodes: &[NodeName],
    left: &[NodeName],
    work: &Work,
    servers_lead: bool,
) -> bool {
    let policy = &request.fleet.policy;
    let held =
        |n: &&NodeName| request.state(n).hold.is_some() && request.state(n).condition.standing == Standing::Ready;
    let returned: Vec<NodeName> = nodes.iter().chain(left).filter(held).cloned().collect();
    if nodes.is_empty() && returned.is_empty() {
        return false;
    }
    note_unavailable(request, draft, nodes, &returned, |_| String::new());
    note_health(request, draft, nodes, None);
    let mut order = Vec::new();
    if !returned.is_empty() {
        let at_once = returned.len();
        order.push(Phase { name: PhaseName::PutBack, nodes: returned.clone(), at_once });
    }
    let unavailable = |n: &NodeName| request.is_unavailable(n) && !returned.contains(n);
    order.extend(phases(request.fleet, nodes, &unavailable, &request.earlier.coordinator_on, servers_lead));
    note_canary(draft, &order, servers_lead);
    let in_order: Vec<NodeName> = order.iter().flat_map(|phase| phase.nodes.clone()).collect();
    coordinator_out(request, draft, &in_order, Taken::Restarted);
    let ends: Vec<TaskId> = returned.iter().map(|n| task_id(n, "return")).collect();
    let before = predecessors(&order[usize::from(!returned.is_empty())..]);
    let (mut members, ahead) = stage_all(request, draft, nodes, work);
    for node in &returned {
        let Some(server) = observer(request, draft, node) else { continue };
        let steps = vec![await_ready(policy, None), Step::Uncordon(Uncordon {})];
        draft.tasks.push(task("return", &server, node, Vec::new(), steps));
    }
    for node in order[usize::from(!returned.is_empty())..].iter().flat_map(|p| &p.nodes) {
        let mut after: Vec<TaskId> = before[node].iter().map(|n| task_id(n, "ready")).collect();
        if after.is_empty() {
            after.clone_from(&ends);
            after.extend(ahead.iter().filter(|id| **id != task_id(node, "stage")).cloned());
        }
        match (work.version, members.remove(node)) {
            (None, _) => {
                let steps = WorkSteps { prepare: Vec::new(), act: vec![Step::Reboot(Reboot {})] };
                roll_one(request, draft, node, after, work, steps);
            }
            (Some(_), Some(steps)) => roll_one(request, draft, node, after, work, steps),
            (Some(_), None) => {}
        }
    }
    draft.phases = order;
    true
}

/// Everything that can be done before the first node is taken out of service: the tasks, what is left to do of each
/// node, and the tasks that whoever goes first waits for.
fn stage_all<'a>(
    request: Request<'_>,
    draft: &mut Draft,
    nodes: &'a [NodeName],
    work: &Work,
) -> (BTreeMap<&'a NodeName, WorkSteps>, Vec<TaskId>) {
    let (mut members, mut waited_for) = (BTreeMap::new(), Vec::new());
    let Some((lifecycle, version)) = work.version else { return (members, waited_for) };
    waited_for.extend(work.asks.iter().map(|task| task.id.clone()));
    draft.tasks.extend(work.asks.clone());
    for (name, node) in nodes.iter().filter_map(|name| Some((name, request.fleet.node(name)?))) {
        let Some(member) = member(request, draft, lifecycle, node, (version, Becomes::Newer)) else { continue };
        let ahead = lifecycle.ahead(&member);
        if let Some(mut stage) = stage(name, &member.artifacts) {
            if !ahead.is_empty() {
                waited_for.push(stage.id.clone());
                stage.steps.extend(ahead);
            }
            draft.tasks.push(stage);
        }
        members.insert(name, WorkSteps { prepare: lifecycle.prepare(&member), act: lifecycle.upgrade(&member) });
    }
    (members, waited_for)
}

fn note_canary(draft: &mut Draft, order: &[Phase], servers_lead: bool) {
    let has = |name| order.iter().any(|p| p.name == name);
    if servers_lead && has(PhaseName::Canary) && has(PhaseName::Servers) {
        let text = "the canary goes after the servers, because a worker must never be newer than its server";
        draft.notes.push(Note::Info(text.to_owned()));
    }
}

fn roll_one(
    request: Request<'_>,
    draft: &mut Draft,
    node: &NodeName,
    mut after: Vec<TaskId>,
    work: &Work,
    steps: WorkSteps,
) {
    let Some(server) = observer(request, draft, node) else { return };
    let policy = &request.fleet.policy;
    if work.version.is_some() {
        after.push(task_id(node, "stage"));
    }
    // What is not as it should be is found out while the node still works.
    if let Some(prepare) = prepare(node, after.clone(), steps.prepare) {
        after = vec![prepare.id.clone()];
        draft.tasks.push(prepare);
    }
    let drain = task("drain", &server, node, after, drain_steps(request, work.reason.clone()));
    let act = task(work.what, node, node, vec![drain.id.clone()], steps.act);
    let ready = vec![await_ready(policy, work.version.map(|(_, version)| version)), Step::Uncordon(Uncordon {})];
    let ready = finishing(task("ready", &server, node, vec![act.id.clone()], ready));
    draft.tasks.extend([disrupting(drain), disrupting(act), ready]);
}

/// Of `nodes`, those that `to` can be brought to.
fn upgradable(
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
        // What does not work on the version that runs, or with its settings, is not made better by the next one.
        let quarantines = request.inventory.quarantines.iter().filter(|q| q.node == node);
        let quarantine =
            quarantines.clone().find(|q| q.version == to).or_else(|| quarantines.clone().find(|q| q.version == runs));
        let role = request.fleet.node(&node).map_or(ClusterRole::Server, |n| n.role);
        match quarantine {
            _ if runs == to => draft.skipped.push((node, format!("runs {to} already"))),
            _ if to < runs => draft.obstacles.push(Obstacle::Downgrade { node, runs, to }),
            _ if !skew::reaches(role, runs, to) => draft.obstacles.push(skew::beyond(node, role, runs, to)),
            Some(q) if quarantined == Quarantined::Refuse => {
                draft.obstacles.push(Obstacle::Quarantined { node, version: q.version, reason: q.reason.clone() });
            }
            Some(q) => {
                let failed = q.version;
                draft.skipped.push((node, format!("stays on {runs}: it failed on {failed} and is quarantined")));
            }
            None => upgradable.push(node),
        }
    }
    servers_lead(request, draft, &upgradable, to);
    skew::left_behind(request, draft, &upgradable, to);
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
