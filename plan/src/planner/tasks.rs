//! The tasks of every kind of plan.

use crate::{
    document::{Artifact, PlanKind, Task},
    fleet::{FleetNode, FleetPolicy},
    id::{ArtifactName, NodeName, TaskId},
    sequencer::Standing,
    step::{AwaitReady, ClusterRole, Cordon, Drain, Noop, Reboot, StageArtifact, Step, Uncordon},
    version::Version,
};

use super::{
    Draft, Note, Obstacle, Phase, PhaseName, Quarantined, Request, Selection,
    distribution::{Lifecycle, Member},
    order::{phases, predecessors},
    select::{note_health, note_unavailable, performs, resolve, servers_out, upgradable, workable},
};

fn task_id(node: &NodeName, what: &str) -> TaskId {
    TaskId::new(format!("{node}.{what}")).expect("a node's name and a word are a task id")
}

fn task(what: &str, node: &NodeName, subject: &NodeName, after: Vec<TaskId>, steps: Vec<Step>) -> Task {
    Task { id: task_id(subject, what), node: node.clone(), subject: subject.clone(), after, disrupts: false, steps }
}

fn disrupting(task: Task) -> Task {
    Task { disrupts: true, ..task }
}

fn await_ready(policy: &FleetPolicy, version: Option<Version>) -> Step {
    Step::AwaitReady(AwaitReady {
        version,
        for_seconds: policy.soak_seconds,
        timeout_seconds: policy.ready_timeout_seconds.saturating_add(policy.soak_seconds),
    })
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

pub(super) fn check(request: Request<'_>, draft: &mut Draft, selection: &Selection) {
    let mut nodes = Vec::new();
    for node in resolve(request, draft, selection) {
        let all = *selection == Selection::All;
        if all && request.roster.active(&node.name).is_none() {
            draft.skipped.push((node.name.clone(), "is not enrolled".to_owned()));
        } else if all && !request.state(&node.name).connected {
            draft.skipped.push((node.name.clone(), "is not connected".to_owned()));
        } else if performs(request, draft, node) {
            nodes.push(node.name.clone());
        }
    }
    draft.title = format!("Check that plans reach {} and are verified", count(nodes.len()));
    draft.tasks = nodes.iter().map(|n| task("check", n, n, Vec::new(), vec![Step::Noop(Noop {})])).collect();
    together(draft, nodes);
}

fn together(draft: &mut Draft, nodes: Vec<NodeName>) {
    if !nodes.is_empty() {
        draft.phases.push(Phase { name: PhaseName::Together, at_once: nodes.len(), nodes });
    }
}

pub(super) fn bootstrap(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle) {
    let Some(first) = request.fleet.servers().first().copied() else { return };
    let name = &first.name;
    if let Some(member) = request.fleet.nodes.iter().find(|n| request.is_member(&n.name)) {
        draft.obstacles.push(Obstacle::AlreadyBootstrapped { node: member.name.clone() });
        return;
    }
    let version = request.fleet.version;
    let artifact = artifact(request, draft, lifecycle, first, version);
    if !performs(request, draft, first) {
        return;
    }
    let Some(artifact) = artifact else { return };
    draft.title = format!("Make {name} the first server of {} at {version}", request.fleet.name);
    let stage =
        task("stage", name, name, Vec::new(), vec![Step::StageArtifact(StageArtifact { artifact: artifact.clone() })]);
    let member = Member { fleet: request.fleet, node: first, artifact, version };
    let steps = lifecycle.bootstrap(member);
    let make = task("bootstrap", name, name, vec![stage.id.clone()], steps);
    let ready = vec![await_ready(&request.fleet.policy, Some(version))];
    let ready = task("ready", name, name, vec![make.id.clone()], ready);
    draft.tasks = vec![stage, make, ready];
    draft.phases = vec![Phase { name: PhaseName::Servers, nodes: vec![name.clone()], at_once: 1 }];
    draft.notes.push(Note::Info(format!("{name} is the only server so far and watches itself become Ready")));
}

/// Puts what a member runs, for that node's processor, into the plan.
fn artifact(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    node: &FleetNode,
    version: Version,
) -> Option<ArtifactName> {
    let name = lifecycle.artifact();
    let Some(found) = request.fleet.artifact(name, version, node.arch) else {
        let obstacle = Obstacle::NoArtifact { name, version, arch: node.arch };
        if !draft.obstacles.contains(&obstacle) {
            draft.obstacles.push(obstacle);
        }
        return None;
    };
    let name = found.plan_name();
    let artifact = Artifact { name: name.clone(), sha256: found.sha256, size: found.size, arch: Some(found.arch) };
    draft.artifacts.insert(name.clone(), artifact);
    Some(name)
}

pub(super) fn join(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, selection: &Selection) {
    let version = request.fleet.version;
    let mut servers = Vec::new();
    let mut workers = Vec::new();
    for node in resolve(request, draft, selection) {
        let named = *selection != Selection::All;
        match request.state(&node.name).condition.standing {
            Standing::Ready | Standing::NotReady if named => {
                draft.obstacles.push(Obstacle::AlreadyJoined { node: node.name.clone() });
            }
            Standing::Ready | Standing::NotReady => {
                draft.skipped.push((node.name.clone(), "is in the cluster already".to_owned()));
            }
            Standing::Outside | Standing::Unknown if !named && request.roster.active(&node.name).is_none() => {
                draft.skipped.push((node.name.clone(), "is not enrolled".to_owned()));
            }
            Standing::Outside | Standing::Unknown => {
                if performs(request, draft, node) {
                    if node.role == ClusterRole::Server { servers.push(node) } else { workers.push(node) }
                }
            }
        }
    }
    for server in request.fleet.servers() {
        if let Some(runs) = request.state(&server.name).condition.version
            && runs < version
            && request.is_member(&server.name)
        {
            draft.obstacles.push(Obstacle::ServerOlder { server: server.name.clone(), runs, to: version });
        }
    }
    let phase = |name, nodes: &[&FleetNode], at_once: usize| Phase {
        name,
        nodes: nodes.iter().map(|n| n.name.clone()).collect(),
        at_once: at_once.min(nodes.len()),
    };
    // A second server that joins while the first one is still a learner is turned away; workers do not disturb anyone.
    let order = [phase(PhaseName::Servers, &servers, 1), phase(PhaseName::Workers, &workers, workers.len())];
    draft.phases = order.into_iter().filter(|p| !p.nodes.is_empty()).collect();
    let before = predecessors(&draft.phases);
    draft.title = format!("Join {} at {version}", count(servers.len() + workers.len()));
    for node in servers.into_iter().chain(workers) {
        join_one(request, draft, lifecycle, node, &before[&node.name]);
    }
}

fn join_one(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, node: &FleetNode, before: &[NodeName]) {
    let name = &node.name;
    let version = request.fleet.version;
    let artifact = artifact(request, draft, lifecycle, node, version);
    let Some((server, artifact)) = observer(request, draft, name).zip(artifact) else { return };
    let stage =
        task("stage", name, name, Vec::new(), vec![Step::StageArtifact(StageArtifact { artifact: artifact.clone() })]);
    let mut after = vec![stage.id.clone()];
    after.extend(before.iter().map(|n| task_id(n, "ready")));
    let admit = task("admit", &server, name, after, lifecycle.admit());
    let member = Member { fleet: request.fleet, node, artifact, version };
    let join = task("join", name, name, vec![admit.id.clone()], lifecycle.join(member, admit.id.clone()));
    let ready = vec![await_ready(&request.fleet.policy, Some(version))];
    let ready = task("ready", &server, name, vec![join.id.clone()], ready);
    draft.tasks.extend([stage, admit, join, ready]);
}

fn observer(request: Request<'_>, draft: &mut Draft, subject: &NodeName) -> Option<NodeName> {
    let observer = request.observer(subject);
    if observer.is_none() && !draft.obstacles.contains(&Obstacle::NoServer {}) {
        draft.obstacles.push(Obstacle::NoServer {});
    }
    observer
}

pub(super) fn upgrade(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    (to, quarantined): (Version, Quarantined),
    selection: &Selection,
    accepted: &[NodeName],
) {
    let candidates = workable(request, draft, selection);
    let nodes = upgradable(request, draft, candidates.clone(), to, quarantined);
    servers_out(request, draft, &nodes, accepted);
    let work = Work { what: "upgrade", version: Some((lifecycle, to)), reason: format!("upgrade to {to}") };
    // What a stopped rollout left out of service and this plan does not work on goes back on its old version.
    let left: Vec<NodeName> = candidates.into_iter().filter(|n| !nodes.contains(n)).collect();
    if rolling(request, draft, &nodes, &left, &work, true) {
        draft.title = match nodes.len() {
            0 => format!("Put back into service what an upgrade to {to} left out of it"),
            nodes => format!("Upgrade {} to {to}", count(nodes)),
        };
        let server = |n: &NodeName| request.fleet.node(n).is_some_and(|n| n.role == ClusterRole::Server);
        if nodes.iter().any(server) {
            let text = "Hostler does not back up the cluster's database yet; take and copy a snapshot before you sign";
            draft.notes.push(Note::Warning(text.to_owned()));
        }
    }
}

pub(super) fn reboot(request: Request<'_>, draft: &mut Draft, selection: &Selection, accepted: &[NodeName]) {
    let nodes = workable(request, draft, selection);
    servers_out(request, draft, &nodes, accepted);
    let work = Work { what: "reboot", version: None, reason: "reboot".to_owned() };
    if rolling(request, draft, &nodes, &[], &work, false) {
        draft.title = format!("Reboot {}", count(nodes.len()));
    }
}

/// What is done to each node between its drain and its return.
struct Work {
    what: &'static str,
    /// What it is brought to; none for a reboot.
    version: Option<(Lifecycle, Version)>,
    reason: String,
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
    note_unavailable(request, draft, nodes, &returned);
    note_health(request, draft, nodes);
    let mut order = Vec::new();
    if !returned.is_empty() {
        let at_once = returned.len();
        order.push(Phase { name: PhaseName::PutBack, nodes: returned.clone(), at_once });
    }
    let unavailable = |n: &NodeName| request.is_unavailable(n) && !returned.contains(n);
    order.extend(phases(request.fleet, nodes, &unavailable, servers_lead));
    note_canary(draft, &order, servers_lead);
    let ends: Vec<TaskId> = returned.iter().map(|n| task_id(n, "return")).collect();
    let before = predecessors(&order[usize::from(!returned.is_empty())..]);
    if let Some((lifecycle, version)) = work.version {
        for node in nodes.iter().filter_map(|n| request.fleet.node(n)) {
            let Some(artifact) = artifact(request, draft, lifecycle, node, version) else { continue };
            let steps = vec![Step::StageArtifact(StageArtifact { artifact })];
            draft.tasks.push(task("stage", &node.name, &node.name, Vec::new(), steps));
        }
    }
    for node in &returned {
        let Some(server) = observer(request, draft, node) else { continue };
        let steps = vec![await_ready(policy, None), Step::Uncordon(Uncordon {})];
        draft.tasks.push(task("return", &server, node, Vec::new(), steps));
    }
    for node in order[usize::from(!returned.is_empty())..].iter().flat_map(|p| &p.nodes) {
        let mut after: Vec<TaskId> = before[node].iter().map(|n| task_id(n, "ready")).collect();
        if after.is_empty() {
            after.clone_from(&ends);
        }
        roll_one(request, draft, node, after, work);
    }
    draft.phases = order;
    true
}

fn note_canary(draft: &mut Draft, order: &[Phase], servers_lead: bool) {
    let has = |name| order.iter().any(|p| p.name == name);
    if servers_lead && has(PhaseName::Canary) && has(PhaseName::Servers) {
        let text = "the canary goes after the servers, because a worker must never be newer than its server";
        draft.notes.push(Note::Info(text.to_owned()));
    }
}

fn roll_one(request: Request<'_>, draft: &mut Draft, node: &NodeName, mut after: Vec<TaskId>, work: &Work) {
    let Some(server) = observer(request, draft, node) else { return };
    let policy = &request.fleet.policy;
    let step = match work.version {
        None => Step::Reboot(Reboot {}),
        Some((lifecycle, version)) => {
            let Some(arch) = request.fleet.node(node).map(|n| n.arch) else { return };
            let Some(artifact) = request.fleet.artifact(lifecycle.artifact(), version, arch) else { return };
            after.push(task_id(node, "stage"));
            lifecycle.upgrade(artifact.plan_name(), version)
        }
    };
    let drain = task("drain", &server, node, after, drain_steps(request, work.reason.clone()));
    let act = task(work.what, node, node, vec![drain.id.clone()], vec![step]);
    let ready = vec![await_ready(policy, work.version.map(|(_, version)| version)), Step::Uncordon(Uncordon {})];
    let ready = task("ready", &server, node, vec![act.id.clone()], ready);
    draft.tasks.extend([disrupting(drain), disrupting(act), ready]);
}

fn drain_steps(request: Request<'_>, reason: String) -> Vec<Step> {
    let policy = &request.fleet.policy;
    vec![
        Step::Cordon(Cordon { reason: format!("{reason}, plan {}", request.numbering.seq) }),
        Step::Drain(Drain {
            timeout_seconds: policy.drain_timeout_seconds,
            delete_empty_dir_data: policy.delete_empty_dir_data,
            force_unmanaged: policy.force_unmanaged,
        }),
    ]
}

pub(super) fn drain(
    request: Request<'_>,
    draft: &mut Draft,
    names: &[NodeName],
    max_unavailable: Option<u32>,
    accepted: &[NodeName],
) {
    let mut nodes = Vec::new();
    for node in resolve(request, draft, &Selection::Named(names.to_vec())) {
        let state = request.state(&node.name);
        if request.roster.active(&node.name).is_none() {
            draft.obstacles.push(Obstacle::NotEnrolled { node: node.name.clone() });
        } else if state.condition.standing == Standing::Outside {
            draft.obstacles.push(Obstacle::NotAMember { node: node.name.clone() });
        } else if let Some(hold) = state.hold.as_ref().filter(|h| h.kind == PlanKind::Drain && h.complete) {
            draft.skipped.push((node.name.clone(), format!("was drained by plan {} already", hold.seq)));
        } else {
            nodes.push(node.name.clone());
        }
    }
    servers_out(request, draft, &nodes, accepted);
    // Drained nodes stay out of service, so all of them must fit into the budget at the end.
    let least = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    draft.max_unavailable = max_unavailable.unwrap_or(draft.max_unavailable.max(least));
    note_unavailable(request, draft, &nodes, &[]);
    draft.title = format!("Drain {}", list(&nodes));
    for node in &nodes {
        let Some(server) = observer(request, draft, node) else { continue };
        if !request.state(node).connected {
            draft.notes.push(Note::Warning(format!("{node} is not connected: pods on it may not be able to stop")));
        }
        let drain = task("drain", &server, node, Vec::new(), drain_steps(request, "drain".to_owned()));
        draft.tasks.push(disrupting(drain));
    }
    together(draft, nodes);
}

pub(super) fn uncordon(request: Request<'_>, draft: &mut Draft, names: &[NodeName]) {
    let mut nodes = Vec::new();
    for node in resolve(request, draft, &Selection::Named(names.to_vec())) {
        let name = &node.name;
        let state = request.state(name);
        let owner = state.condition.cordon.as_ref().map(|c| &c.owner);
        match (owner, &state.hold) {
            _ if request.roster.active(name).is_none() => {
                draft.obstacles.push(Obstacle::NotEnrolled { node: name.clone() });
            }
            (Some(crate::sequencer::CordonOwner::Other(owner)), _) => {
                draft.obstacles.push(Obstacle::CordonedByOther { node: name.clone(), owner: owner.clone() });
            }
            (None, None) => draft.skipped.push((name.clone(), "is not cordoned".to_owned())),
            (Some(_), _) | (None, Some(_)) => nodes.push(name.clone()),
        }
    }
    draft.title = format!("Put {} back into service", list(&nodes));
    for node in &nodes {
        let Some(server) = observer(request, draft, node) else { continue };
        draft.tasks.push(task("uncordon", &server, node, Vec::new(), vec![Step::Uncordon(Uncordon {})]));
    }
    together(draft, nodes);
}

/// The names, or how many there are when nobody would read them.
fn list(nodes: &[NodeName]) -> String {
    if nodes.len() > 5 {
        return count(nodes.len());
    }
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}
