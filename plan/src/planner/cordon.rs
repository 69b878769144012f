//! Plans that change whose a cordon is, and leave the node unschedulable.

use crate::{
    form::Reason,
    id::NodeName,
    sequencer::CordonOwner,
    step::{AdoptCordon, ReleaseCordon, Step},
};

use super::{
    Draft, Obstacle, Request, Selection,
    object::ambiguous,
    select::of_cluster,
    task::{list, observer, task, together},
};

/// Makes the cordons of others Hostler's.
pub(super) fn adopt(request: Request<'_>, draft: &mut Draft, names: &[NodeName], reason: &Reason) {
    let to_adopt = |node: &NodeName, owner: Option<&CordonOwner>| match owner {
        Some(CordonOwner::Other(_)) => Ok(()),
        Some(CordonOwner::Hostler) => {
            Err(format!("is cordoned by Hostler already; `hostler uncordon {node}` lifts that"))
        }
        Some(CordonOwner::Node) => Err("cordoned itself, and takes that back when it is well again".to_owned()),
        None => Err(format!("is not cordoned; `hostler drain {node}` takes it out of service")),
    };
    let nodes = chosen(request, draft, names, to_adopt);
    draft.title = format!("Take over the cordon of {}", list(&nodes));
    let step = Step::AdoptCordon(AdoptCordon { reason: reason.clone() });
    tasks(request, draft, nodes, "adopt-cordon", &step);
}

/// Gives Hostler's cordons to those who sign the plan.
pub(super) fn release(request: Request<'_>, draft: &mut Draft, names: &[NodeName], reason: &Reason) {
    let to_release = |_: &NodeName, owner: Option<&CordonOwner>| match owner {
        Some(CordonOwner::Hostler) => Ok(()),
        Some(CordonOwner::Other(who)) => Err(format!("is cordoned by {who}, and no plan lifts that")),
        Some(CordonOwner::Node) => Err("cordoned itself, and takes that back when it is well again".to_owned()),
        None => Err("is not cordoned".to_owned()),
    };
    let nodes = chosen(request, draft, names, to_release);
    draft.title = format!("Give the cordon of {} away", list(&nodes));
    let step = Step::ReleaseCordon(ReleaseCordon { reason: reason.clone() });
    tasks(request, draft, nodes, "release-cordon", &step);
}

/// The nodes whose cordon is the right one, by the coordinator's word; the others are left out with the reason.
fn chosen(
    request: Request<'_>,
    draft: &mut Draft,
    names: &[NodeName],
    is_right: impl Fn(&NodeName, Option<&CordonOwner>) -> Result<(), String>,
) -> Vec<NodeName> {
    let mut nodes = Vec::new();
    for node in of_cluster(request, draft, &Selection::Named(names.to_vec())) {
        let (name, state) = (&node.name, request.state(&node.name));
        let owner = state.condition.cordon.as_ref().map(|cordon| &cordon.owner);
        match (is_right(name, owner), ambiguous(name, state)) {
            _ if request.roster.active(name).is_none() => {
                draft.obstacles.push(Obstacle::NotEnrolled { node: name.clone() });
            }
            (_, Some(obstacle)) => draft.obstacles.push(obstacle),
            (Ok(()), None) => nodes.push(name.clone()),
            (Err(why), None) => draft.skipped.push((name.clone(), why)),
        }
    }
    nodes
}

fn tasks(request: Request<'_>, draft: &mut Draft, nodes: Vec<NodeName>, operation: &str, step: &Step) {
    for node in &nodes {
        let Some(server) = observer(request, draft, node) else { continue };
        draft.tasks.push(task(operation, &server, node, Vec::new(), vec![step.clone()]));
    }
    together(draft, nodes);
}
