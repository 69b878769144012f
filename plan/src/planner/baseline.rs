//! Plans that make machines ready, members and others alike, without taking any out of service.

use std::collections::BTreeMap;

use crate::{
    document::Task,
    fleet::{FleetArtifact, FleetNode},
    id::{NodeName, TaskId},
    step::{ClusterRole, Step, machine::LastingNetwork},
    text::count,
};

use super::{
    Draft, Note, Phase, PhaseName, Request, Selection, configure,
    distribution::{Becomes, Lifecycle, Member},
    object::ambiguous,
    order::{phases, predecessors},
    select::{left_out, performs, resolve},
    task::{await_ready, carry, observer, prepare, stage, task, task_id, together},
};

pub(super) fn baseline(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, selection: &Selection) {
    let named = *selection != Selection::All;
    let mut members: Vec<&FleetNode> = Vec::new();
    let mut others: Vec<&FleetNode> = Vec::new();
    let mut hosts: Vec<&FleetNode> = Vec::new();
    for node in resolve(request, draft, selection) {
        if !named && request.roster.active(&node.name).is_none() {
            draft.skipped.push((node.name.clone(), "is not enrolled".to_owned()));
            continue;
        }
        if let Some(obstacle) = ambiguous(&node.name, request.state(&node.name)) {
            left_out(draft, named, &node.name, obstacle);
            continue;
        }
        if !performs(request, draft, node) {
            continue;
        }
        if lifecycle.prepare(&member(request, lifecycle, node)).is_empty() {
            let why = "needs nothing: the fleet file says nothing of its machine";
            draft.skipped.push((node.name.clone(), why.to_owned()));
        } else if node.role == ClusterRole::Host {
            hosts.push(node);
        } else if request.is_member(&node.name) {
            members.push(node);
        } else {
            others.push(node);
        }
    }
    let name = |nodes: &[&FleetNode]| nodes.iter().map(|n| n.name.clone()).collect::<Vec<NodeName>>();
    draft.title =
        format!("Make {} ready as the fleet file says", count(members.len() + others.len() + hosts.len(), "machine"));
    if !others.is_empty() {
        draft.phases.push(Phase { name: PhaseName::Together, nodes: name(&others), at_once: others.len() });
    }
    for node in others {
        one(request, draft, lifecycle, node, Vec::new());
    }
    if !hosts.is_empty() {
        draft.phases.push(Phase { name: PhaseName::Hosts, nodes: name(&hosts), at_once: 1 });
    }
    let mut after = Vec::new();
    for node in hosts {
        after = one(request, draft, lifecycle, node, after);
    }
    // What harms a node is to show on the first one.
    let is_away = |node: &NodeName| request.is_unavailable(node);
    let order = phases(request.fleet, &name(&members), &is_away, &request.earlier.coordinator_on, false);
    let before = predecessors(&order);
    let by_name: BTreeMap<&NodeName, &FleetNode> = members.iter().map(|node| (&node.name, *node)).collect();
    for node in order.iter().flat_map(|phase| &phase.nodes) {
        let after = before[node].iter().map(|n| task_id(n, "ready")).collect();
        one(request, draft, lifecycle, by_name[node], after);
    }
    if !members.is_empty() {
        let text =
            "nothing is drained: a container runtime whose program or settings are new is restarted, and pods run on";
        draft.notes.push(Note::Info(text.to_owned()));
    }
    if draft.tasks.iter().flat_map(|task| &task.steps).any(|step| matches!(step, Step::KernelArguments(_))) {
        let text = "no machine is rebooted: kernel arguments count from its next boot on, and `hostler fleet diff` \
                    says which ones wait for it; `hostler reboot` takes nodes out of service one by one";
        draft.notes.push(Note::Info(text.to_owned()));
    }
    draft.phases.extend(order);
}

/// Says in what machines differ from what a baseline would make of them: each on its own, at the same time.
pub(super) fn inspect(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, selection: &Selection) {
    let named = *selection != Selection::All;
    let mut nodes: Vec<NodeName> = Vec::new();
    for node in resolve(request, draft, selection) {
        let name = &node.name;
        if !named && request.roster.active(name).is_none() {
            draft.skipped.push((name.clone(), "is not enrolled".to_owned()));
            continue;
        }
        if !performs(request, draft, node) {
            continue;
        }
        let member = member(request, lifecycle, node);
        // What an archive of images holds is known where it lies, and nothing is brought there.
        let is_seen = |step: &Step| !matches!(step, Step::EnsureImages(_));
        let mut steps: Vec<Step> = lifecycle.prepare(&member).into_iter().filter(is_seen).collect();
        steps.extend(settings(request, lifecycle, node));
        if steps.is_empty() {
            let why = "needs nothing: the fleet file says nothing of its machine";
            draft.skipped.push((name.clone(), why.to_owned()));
            continue;
        }
        let is_server = node.role == ClusterRole::Server;
        steps.push(Step::LastingNetwork(LastingNetwork { address: node.address, is_server }));
        let is_named = |artifact: &&&FleetArtifact| {
            let name = artifact.plan_name();
            steps.iter().any(|step| step.artifact() == Some(&name))
        };
        let named: Vec<&FleetArtifact> = member.artifacts.iter().filter(is_named).copied().collect();
        carry(draft, &named);
        draft.tasks.push(task("inspect", name, name, Vec::new(), steps));
        nodes.push(name.clone());
    }
    draft.title = format!("Say in what {} differ from the fleet file", count(nodes.len(), "machine"));
    draft.notes.push(Note::Info("nothing is changed, and images are not looked at".to_owned()));
    together(draft, nodes);
}

/// The settings of a member that runs the fleet's version; nothing of it is asked for that is not a file.
fn settings(request: Request<'_>, lifecycle: Lifecycle, node: &FleetNode) -> Vec<Step> {
    let member = configure::member(request, node);
    let is_settled = lifecycle.keeps_settings().is_none() && configure::settles(request, &node.name).is_some();
    if !is_settled || !lifecycle.hinders(&member, Becomes::First).is_empty() {
        return Vec::new();
    }
    let mut steps = lifecycle.reach(&member);
    if node.role == ClusterRole::Server {
        steps.extend(lifecycle.certify(&member));
    }
    // Whether it had to be drained is said when it is to be.
    steps.extend(lifecycle.configure(&member, true));
    steps.retain(Step::configures);
    steps
}

/// What it is made ready with does not ask which version it runs.
fn member<'a>(request: Request<'a>, lifecycle: Lifecycle, node: &'a FleetNode) -> Member<'a> {
    let artifacts = lifecycle.baseline_artifacts(request.fleet, node);
    Member {
        fleet: request.fleet,
        node,
        version: request.fleet.version,
        artifacts,
        inside: request.is_member(&node.name),
    }
}

/// The tasks of one machine, after others; those that make it ready, else the others.
pub(super) fn one(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    node: &FleetNode,
    before: Vec<TaskId>,
) -> Vec<TaskId> {
    let name = &node.name;
    let member = member(request, lifecycle, node);
    carry(draft, &member.artifacts);
    let stage: Option<Task> = stage(name, &member.artifacts);
    let mut after: Vec<TaskId> = stage.iter().map(|task| task.id.clone()).collect();
    after.extend(before.iter().cloned());
    let prepare = prepare(name, after, lifecycle.prepare(&member));
    let prepared = prepare.as_ref().map_or(before, |task| vec![task.id.clone()]);
    draft.tasks.extend(stage.into_iter().chain(prepare));
    if request.is_member(name)
        && let Some(server) = observer(request, draft, name)
    {
        let steps = vec![await_ready(&request.fleet.policy, None)];
        draft.tasks.push(task("ready", &server, name, prepared.clone(), steps));
    }
    prepared
}
