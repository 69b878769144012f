//! Plans that make a cluster and bring nodes into it.

use crate::{
    document::Task,
    fleet::{FleetArtifact, FleetNode},
    id::{NodeName, TaskId},
    sequencer::Standing,
    step::{Apply, ClusterRole, Step},
    text::count,
};

use super::{
    Draft, Note, Obstacle, Phase, PhaseName, Request, Selection, balancers,
    distribution::{Becomes, Lifecycle},
    object::ambiguous,
    order::predecessors,
    seeding::Seeding,
    select::{is_retired, left_out, of_cluster, performs},
    skew,
    task::{await_ready, carry, member, observer, prepare, stage, task, task_id},
};

/// Why a node that was retired does not join.
const RETIRED: &str =
    "is retired: enrol and approve it anew (`hostler node approve`), or take it out of the fleet file";

/// From a snapshot where there is a `seed` out of one.
pub(super) fn bootstrap(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, seed: Option<&Seeding>) {
    let Some(first) = request.fleet.servers().first().copied() else { return };
    let name = &first.name;
    if let Some(member) = request.fleet.nodes.iter().find(|n| request.is_member(&n.name)) {
        draft.obstacles.push(Obstacle::AlreadyBootstrapped { node: member.name.clone() });
        return;
    }
    let version = request.fleet.version;
    let member = member(request, draft, lifecycle, first, (version, Becomes::First));
    if !performs(request, draft, first) {
        return;
    }
    let Some(member) = member else { return };
    draft.title = format!("Make {name} the first server of {} at {version}", request.fleet.name);
    draft.notes.extend(lifecycle.before_bootstrap(&member).map(Note::Warning));
    let manifests = lifecycle.manifests(request.fleet);
    // What comes out of a snapshot was handed over before.
    let handover: Vec<&FleetArtifact> = request.fleet.handover().into_iter().filter(|_| seed.is_none()).collect();
    carry(draft, &manifests);
    carry(draft, &handover);
    let staged: Vec<&FleetArtifact> = member.artifacts.iter().chain(&manifests).chain(&handover).copied().collect();
    let mut tasks: Vec<Task> = stage(name, &staged).into_iter().collect();
    tasks.extend(prepare(name, last(&tasks), lifecycle.prepare_new(&member)));
    let mut after = last(&tasks);
    draft.tasks.append(&mut tasks);
    after.extend(balancers::before_first(request, draft, lifecycle));
    tasks.push(task("bootstrap", name, name, after, lifecycle.bootstrap(&member, seed)));
    let apply = |manifest: &&FleetArtifact| Step::Apply(Apply { artifact: manifest.plan_name() });
    if !manifests.is_empty() {
        tasks.push(task("apply", name, name, last(&tasks), manifests.iter().map(apply).collect()));
    }
    let ready = vec![await_ready(&request.fleet.policy, Some(version))];
    tasks.push(task("ready", name, name, last(&tasks), ready));
    if let Some(manifest) = handover.first() {
        tasks.push(task("handover", name, name, last(&tasks), handover.iter().map(apply).collect()));
        let text = format!("{} is applied last, once; what it brings into the cluster is its own", manifest.name);
        draft.notes.push(Note::Info(text));
    }
    draft.tasks.extend(tasks);
    draft.phases = vec![Phase { name: PhaseName::Servers, nodes: vec![name.clone()], at_once: 1 }];
    draft.notes.push(Note::Info(format!("{name} is the only server so far and watches itself become Ready")));
}

/// The task that the next one comes after, where there is one.
fn last(tasks: &[Task]) -> Vec<TaskId> {
    tasks.last().map(|task| task.id.clone()).into_iter().collect()
}

pub(super) fn join(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, selection: &Selection) {
    let version = request.fleet.version;
    let mut servers = Vec::new();
    let mut workers = Vec::new();
    for node in of_cluster(request, draft, selection) {
        let named = *selection != Selection::All;
        let state = request.state(&node.name);
        if let Some(obstacle) = ambiguous(&node.name, state) {
            left_out(draft, named, &node.name, obstacle);
            continue;
        }
        match state.condition.standing {
            Standing::Ready | Standing::NotReady if named => {
                draft.obstacles.push(Obstacle::AlreadyJoined(node.name.clone()));
            }
            Standing::Ready | Standing::NotReady => {
                let names = state.condition.other_names.iter().map(|name| format!(", as {name}"));
                let why = format!("is in the cluster already{}", names.collect::<String>());
                draft.skipped.push((node.name.clone(), why));
            }
            Standing::Outside | Standing::Unknown if !named && request.roster.active(&node.name).is_none() => {
                let why = match is_retired(request, &node.name) {
                    true => RETIRED,
                    false => "is not enrolled",
                };
                draft.skipped.push((node.name.clone(), why.to_owned()));
            }
            Standing::Outside | Standing::Unknown => {
                if performs(request, draft, node) {
                    if node.role == ClusterRole::Server { servers.push(node) } else { workers.push(node) }
                }
            }
        }
    }
    let roles: Vec<ClusterRole> = servers.iter().chain(&workers).map(|node| node.role).collect();
    check_versions(request, draft, &roles);
    let phase = |name, nodes: &[&FleetNode], at_once: usize| Phase {
        name,
        nodes: nodes.iter().map(|n| n.name.clone()).collect(),
        at_once: at_once.min(nodes.len()),
    };
    // A second server that joins while the first one is still a learner is turned away; workers do not disturb anyone.
    let order = [phase(PhaseName::Servers, &servers, 1), phase(PhaseName::Workers, &workers, workers.len())];
    draft.phases = order.into_iter().filter(|p| !p.nodes.is_empty()).collect();
    let before = predecessors(&draft.phases);
    draft.title = format!("Join {} at {version}", count(servers.len() + workers.len(), "node"));
    let joining: Vec<NodeName> = servers.iter().map(|node| node.name.clone()).collect();
    let mut begin = Vec::new();
    if !joining.is_empty() {
        begin = balancers::follow(request, draft, lifecycle, (request.fleet, &joining), begin);
    }
    for node in servers.into_iter().chain(workers) {
        let mut before: Vec<TaskId> = before[&node.name].iter().map(|n| task_id(n, "ready")).collect();
        if before.is_empty() {
            before.clone_from(&begin);
        }
        join_one(request, draft, lifecycle, node, before);
    }
}

/// Whether what joins in these roles fits to the servers that are there.
pub(super) fn check_versions(request: Request<'_>, draft: &mut Draft, roles: &[ClusterRole]) {
    let version = request.fleet.version;
    for server in request.fleet.servers() {
        if let Some(runs) = request.state(&server.name).condition.version
            && runs < version
            && request.is_member(&server.name)
        {
            draft.obstacles.push(Obstacle::ServerOlder { server: server.name.clone(), runs, to: version });
        }
    }
    skew::joins(request, draft, roles, version);
}

/// The tasks of a node that joins; it is let in after those of `before`.
pub(super) fn join_one(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    node: &FleetNode,
    before: Vec<TaskId>,
) {
    let name = &node.name;
    let version = request.fleet.version;
    let member = member(request, draft, lifecycle, node, (version, Becomes::Member));
    let Some((server, member)) = observer(request, draft, name).zip(member) else { return };
    let mut tasks: Vec<Task> = stage(name, &member.artifacts).into_iter().collect();
    tasks.extend(prepare(name, last(&tasks), lifecycle.prepare_new(&member)));
    let mut after = last(&tasks);
    after.extend(before);
    let admit = task("admit", &server, name, after, lifecycle.admit(node));
    if node.role == ClusterRole::Server {
        draft.notes.push(Note::Warning(lifecycle.server_secret(name)));
    }
    let join = task("join", name, name, vec![admit.id.clone()], lifecycle.join(&member, admit.id.clone()));
    let mut ready = lifecycle.settle();
    ready.push(await_ready(&request.fleet.policy, Some(version)));
    let ready = task("ready", &server, name, vec![join.id.clone()], ready);
    draft.tasks.extend(tasks);
    draft.tasks.extend([admit, join, ready]);
}
