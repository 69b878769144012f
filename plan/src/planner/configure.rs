//! Plans that bring changed settings of the fleet file to a running cluster, in the order of an upgrade: servers one by
//! one, then a canary, then workers in lanes.

use crate::{
    document::Task,
    fleet::FleetNode,
    id::{NodeName, TaskId},
    sequencer::Quarantine,
    step::{ClusterRole, Step, Uncordon, configure::Describe},
    text::count,
    version::Version,
};

use super::{
    Draft, Note, Obstacle, Request, Selection,
    caution::{Taken, coordinator_out, note_health, note_unavailable, servers_out},
    distribution::{Becomes, Lifecycle, Member},
    order::{phases, predecessors},
    select::workable,
    task::{await_ready, disrupting, drain_steps, finishing, observer, task, task_id},
};

/// What is configured, and how.
pub(super) struct How<'a> {
    pub selection: &'a Selection,
    /// Whether each node is drained before its kubelet changes.
    pub drains: bool,
    /// Servers whose outage a person accepted.
    pub accepted: &'a [NodeName],
}

pub(super) fn configure(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, how: &How<'_>) {
    if let Some(obstacle) = lifecycle.keeps_settings() {
        return draft.obstacles.push(obstacle);
    }
    let candidates = workable(request, draft, how.selection, None);
    let nodes: Vec<NodeName> = candidates.into_iter().filter(|node| is_fit(request, draft, lifecycle, node)).collect();
    servers_out(request, draft, &nodes, how.accepted, if how.drains { Taken::Restarted } else { Taken::Reloaded });
    note_unavailable(request, draft, &nodes, &[], |_| String::new());
    note_health(request, draft, &nodes, None);
    let is_away = |n: &NodeName| request.is_unavailable(n);
    draft.phases = phases(request.fleet, &nodes, &is_away, &request.earlier.coordinator_on, true);
    draft.title = format!("Configure {} as the fleet file says", count(nodes.len(), "node"));
    let order: Vec<NodeName> = draft.phases.iter().flat_map(|phase| phase.nodes.clone()).collect();
    if how.drains {
        coordinator_out(request, draft, &order, Taken::Restarted);
    }
    let before = predecessors(&draft.phases);
    let begin = ahead(request, draft, lifecycle, &order);
    for node in &order {
        let mut after: Vec<TaskId> = before[node].iter().map(|n| task_id(n, "ready")).collect();
        if after.is_empty() {
            after.clone_from(&begin);
        }
        one(request, draft, lifecycle, node, (after, how.drains));
    }
    if !draft.tasks.is_empty() {
        warn_of_quarantines(request, draft, &order);
        notes(request, draft, how);
    }
}

/// What did not work on these nodes before: the same settings would not work again.
fn warn_of_quarantines(request: Request<'_>, draft: &mut Draft, nodes: &[NodeName]) {
    let of_these = |q: &&Quarantine| nodes.contains(&q.node) && q.version == request.fleet.version;
    for Quarantine { node, version, reason } in request.inventory.quarantines.iter().filter(of_these) {
        draft.notes.push(Note::Warning(format!(
            "{node} is in quarantine: it failed on {version} before ({reason}); it ends where these settings work"
        )));
    }
}

fn notes(request: Request<'_>, draft: &mut Draft, how: &How<'_>) {
    let text = format!(
        "what is so already is left alone, and every node says what it changes; `hostler fleet diff --machines` shows \
         it before, old and new. Every node has to reach {} first",
        request.fleet.api
    );
    draft.notes.push(Note::Info(text));
    if !how.drains {
        let text = "nothing is drained: a kubelet restarts while its pods run; where a setting of it would turn pods \
                    away, its node refuses before anything changes there and asks for --drain";
        draft.notes.push(Note::Info(text.to_owned()));
    }
}

/// Whether its settings can be written.
fn is_fit(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, name: &NodeName) -> bool {
    let Some(node) = request.fleet.node(name) else { return false };
    let fleet = request.fleet.version;
    let mut obstacles = match request.state(name).condition.version {
        None => vec![Obstacle::VersionUnknown { node: name.clone() }],
        Some(runs) if runs != fleet => vec![Obstacle::RunsOther { node: name.clone(), runs, fleet }],
        Some(_) => Vec::new(),
    };
    obstacles.extend(lifecycle.hinders(&member(request, node), Becomes::First));
    obstacles.retain(|obstacle| !draft.obstacles.contains(obstacle));
    let is_fit = obstacles.is_empty();
    draft.obstacles.extend(obstacles);
    is_fit
}

/// Settings need nothing but what runs.
pub(super) fn member<'a>(request: Request<'a>, node: &'a FleetNode) -> Member<'a> {
    Member { fleet: request.fleet, node, version: request.fleet.version, artifacts: Vec::new(), inside: true }
}

/// The version that a node's settings are written for; none where its settings are not compared.
pub(super) fn settles(request: Request<'_>, name: &NodeName) -> Option<Version> {
    let runs = request.state(name).condition.version.filter(|runs| *runs == request.fleet.version);
    runs.filter(|_| request.is_member(name))
}

/// Before anything is changed every node reaches the endpoint; before the cluster notes another endpoint every server
/// has its name. Gives the tasks that whoever goes first waits for.
fn ahead(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, order: &[NodeName]) -> Vec<TaskId> {
    let mut last: Vec<TaskId> = Vec::new();
    for (name, node) in order.iter().filter_map(|name| Some((name, request.fleet.node(name)?))) {
        let reach = task("reach", name, name, Vec::new(), lifecycle.reach(&member(request, node)));
        last.push(reach.id.clone());
        draft.tasks.push(reach);
    }
    for name in order {
        let Some(node) = request.fleet.node(name).filter(|node| node.role == ClusterRole::Server) else { continue };
        let certify = task("certify", name, name, last, lifecycle.certify(&member(request, node)));
        last = vec![certify.id.clone()];
        draft.tasks.push(certify);
    }
    last
}

fn one(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    name: &NodeName,
    (mut after, drains): (Vec<TaskId>, bool),
) {
    let Some(server) = observer(request, draft, name) else { return };
    let Some(node) = request.fleet.node(name) else { return };
    let mut tasks: Vec<Task> = Vec::new();
    if drains {
        let drain = disrupting(task("drain", &server, name, after, drain_steps(request, "configure".to_owned())));
        after = vec![drain.id.clone()];
        tasks.push(drain);
    }
    let steps = lifecycle.configure(&member(request, node), drains);
    let act = disrupting(task("configure", name, name, after, steps));
    let mut ready = vec![await_ready(&request.fleet.policy, Some(request.fleet.version))];
    if drains {
        ready.push(Step::Uncordon(Uncordon {}));
    }
    let ready = finishing(task("ready", &server, name, vec![act.id.clone()], ready));
    let taint = |t: &crate::cluster::Taint| match t.value.as_str() {
        "" => format!("{}:{}", t.key, t.effect.word()),
        value => format!("{}={value}:{}", t.key, t.effect.word()),
    };
    let taints = node.taints.as_ref().map(|taints| taints.iter().map(taint).collect());
    let describe = Step::Describe(Describe { labels: node.labels.clone(), taints });
    let describe = task("describe", &server, name, vec![ready.id.clone()], vec![describe]);
    draft.tasks.extend(tasks);
    draft.tasks.extend([act, ready, describe]);
}
