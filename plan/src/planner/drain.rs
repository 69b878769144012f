//! Plans that take nodes out of service and put them back, and do nothing else.

use crate::{
    document::PlanKind,
    id::NodeName,
    sequencer::Standing,
    step::{Step, Uncordon},
};

use super::{
    Draft, Note, Obstacle, Request, Selection,
    caution::{Taken, coordinator_out, note_unavailable, servers_out},
    object::ambiguous,
    select::of_cluster,
    task::{disrupting, drain_steps, list, observer, task, together},
};

pub(super) fn drain(request: Request<'_>, draft: &mut Draft, names: &[NodeName], max_unavailable: Option<u32>) {
    let mut nodes = Vec::new();
    for node in of_cluster(request, draft, &Selection::Named(names.to_vec())) {
        let state = request.state(&node.name);
        if request.roster.active(&node.name).is_none() {
            draft.obstacles.push(Obstacle::NotEnrolled { node: node.name.clone() });
        } else if state.condition.standing == Standing::Outside {
            draft.obstacles.push(Obstacle::NotAMember { node: node.name.clone() });
        } else if let Some(obstacle) = ambiguous(&node.name, state) {
            draft.obstacles.push(obstacle);
        } else {
            if let Some(hold) = state.hold.as_ref().filter(|hold| hold.kind == PlanKind::Drain && hold.complete) {
                draft.notes.push(Note::Info(format!(
                    "{} was drained by plan {}; it is looked at anew, and is done at once where nothing came back",
                    node.name, hold.seq
                )));
            }
            nodes.push(node.name.clone());
        }
    }
    servers_out(request, draft, &nodes, &[], Taken::Drained);
    coordinator_out(request, draft, &nodes, Taken::Drained);
    // Drained nodes stay out of service, so all of them must fit into the budget at the end.
    let least = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    draft.max_unavailable = max_unavailable.unwrap_or(draft.max_unavailable.max(least));
    // One that is out of service already takes nothing away.
    if nodes.iter().any(|node| !request.is_unavailable(node)) {
        let more = |away| format!("; `--max-unavailable {}` lets it start", away + 1);
        note_unavailable(request, draft, &nodes, &[], more);
    }
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
    for node in of_cluster(request, draft, &Selection::Named(names.to_vec())) {
        let name = &node.name;
        let state = request.state(name);
        let owner = state.condition.cordon.as_ref().map(|c| c.owner.foreign());
        match (owner, &state.hold) {
            _ if request.roster.active(name).is_none() => {
                draft.obstacles.push(Obstacle::NotEnrolled { node: name.clone() });
            }
            _ if state.condition.other_names.len() > 1 => draft.obstacles.extend(ambiguous(name, state)),
            (Some(Some(owner)), _) => {
                draft.obstacles.push(Obstacle::CordonedByOther { node: name.clone(), owner: owner.to_owned() });
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
