//! Plans that make machines ready, members and others alike, without taking any out of service.

use std::collections::BTreeMap;

use crate::{
    document::Task,
    fleet::FleetNode,
    id::{NodeName, TaskId},
    text::count,
};

use super::{
    Draft, Note, Phase, PhaseName, Request, Selection,
    distribution::{Lifecycle, Member},
    object::ambiguous,
    order::{phases, predecessors},
    select::{left_out, performs, resolve},
    task::{await_ready, carry, observer, prepare, stage, task, task_id},
};

pub(super) fn baseline(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, selection: &Selection) {
    let named = *selection != Selection::All;
    let mut members: Vec<&FleetNode> = Vec::new();
    let mut others: Vec<&FleetNode> = Vec::new();
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
        } else if request.is_member(&node.name) {
            members.push(node);
        } else {
            others.push(node);
        }
    }
    let name = |nodes: &[&FleetNode]| nodes.iter().map(|n| n.name.clone()).collect::<Vec<NodeName>>();
    draft.title = format!("Make {} ready as the fleet file says", count(members.len() + others.len(), "machine"));
    if !others.is_empty() {
        draft.phases.push(Phase { name: PhaseName::Together, nodes: name(&others), at_once: others.len() });
    }
    for node in others {
        one(request, draft, lifecycle, node, &[]);
    }
    // What harms a node is to show on the first one.
    let is_away = |node: &NodeName| request.is_unavailable(node);
    let order = phases(request.fleet, &name(&members), &is_away, &request.earlier.coordinator_on, false);
    let before = predecessors(&order);
    let by_name: BTreeMap<&NodeName, &FleetNode> = members.iter().map(|node| (&node.name, *node)).collect();
    for node in order.iter().flat_map(|phase| &phase.nodes) {
        one(request, draft, lifecycle, by_name[node], &before[node]);
    }
    if !members.is_empty() {
        let text = "nothing is drained and nothing restarts: a container runtime that runs keeps its program and \
                    settings until it is restarted";
        draft.notes.push(Note::Info(text.to_owned()));
    }
    draft.phases.extend(order);
}

/// What it is made ready with does not ask which version it runs.
fn member<'a>(request: Request<'a>, lifecycle: Lifecycle, node: &'a FleetNode) -> Member<'a> {
    let artifacts = lifecycle.baseline_artifacts(request.fleet, node);
    Member { fleet: request.fleet, node, version: request.fleet.version, artifacts }
}

fn one(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, node: &FleetNode, before: &[NodeName]) {
    let name = &node.name;
    let member = member(request, lifecycle, node);
    carry(draft, &member.artifacts);
    let stage: Option<Task> = stage(name, &member.artifacts);
    let mut after: Vec<TaskId> = stage.iter().map(|task| task.id.clone()).collect();
    after.extend(before.iter().map(|n| task_id(n, "ready")));
    let prepare = prepare(name, after, lifecycle.prepare(&member));
    let prepared: Vec<TaskId> = prepare.iter().map(|task| task.id.clone()).collect();
    draft.tasks.extend(stage.into_iter().chain(prepare));
    if request.is_member(name)
        && let Some(server) = observer(request, draft, name)
    {
        let steps = vec![await_ready(&request.fleet.policy, None)];
        draft.tasks.push(task("ready", &server, name, prepared, steps));
    }
}
