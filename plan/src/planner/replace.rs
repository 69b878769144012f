//! Plans that remove a dead node from the cluster and let the machine in that enrolled under its name since.

use crate::{
    form::Reason,
    id::NodeName,
    sequencer::Standing,
    step::{ClusterRole, RemoveNode, Step},
};

use super::{
    Draft, Obstacle, Phase, PhaseName, Request, Selection, balancers,
    distribution::Lifecycle,
    grow::{check_versions, join_one},
    object::ambiguous,
    remove::{give_up, hinders_server, what_is_left},
    select::{of_cluster, performs},
    task::{observer, task},
};

pub(super) fn replace(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    name: &NodeName,
    proof: Option<&Reason>,
) {
    draft.title = format!("Replace {name}, which is dead, by the machine that has its name now");
    if let Some(obstacle) = lifecycle.keeps_members() {
        draft.obstacles.push(obstacle);
        return;
    }
    let Some(node) = of_cluster(request, draft, &Selection::Named(vec![name.clone()])).pop() else { return };
    let state = request.state(name);
    let obstacle = match (state.condition.standing, proof) {
        (Standing::Outside, _) => Some(Obstacle::NothingToReplace { node: name.clone() }),
        (Standing::Ready, _) => Some(Obstacle::Alive {
            node: name.clone(),
            sign: "its cluster says that it is Ready",
            instead: "remove it first, which drains it",
        }),
        (Standing::NotReady | Standing::Unknown, None) => {
            Some(Obstacle::PowerNotProved { node: name.clone(), command: "replace" })
        }
        (Standing::NotReady | Standing::Unknown, Some(_)) => ambiguous(name, state),
    };
    let foreign = state.condition.cordon.as_ref().and_then(|c| c.owner.foreign());
    let cordoned = foreign.map(|owner| Obstacle::CordonedByOther { node: name.clone(), owner: owner.to_owned() });
    draft.obstacles.extend(obstacle.or(cordoned));
    draft.obstacles.extend(hinders_server(request, node, &mut request.quorum()));
    check_versions(request, draft, &[node.role]);
    if !performs(request, draft, node) || !draft.obstacles.is_empty() {
        return;
    }
    let (Some(server), Some(proof)) = (observer(request, draft, name), proof) else { return };
    what_is_left(draft, node, proof);
    let seq = request.numbering.seq;
    let given_up = task("give-up", &server, name, Vec::new(), give_up(seq, proof));
    let expelled = task("expel", &server, name, vec![given_up.id.clone()], lifecycle.expel(node, true));
    let removed = vec![Step::RemoveNode(RemoveNode {})];
    let forgotten = task("forget", &server, name, vec![expelled.id.clone()], removed);
    let mut before = vec![forgotten.id.clone()];
    draft.tasks.extend([given_up, expelled, forgotten]);
    if node.role == ClusterRole::Server {
        let but = std::slice::from_ref(name);
        before = balancers::follow(request, draft, lifecycle, (request.fleet, but), before);
    }
    let phase = if node.role == ClusterRole::Server { PhaseName::Servers } else { PhaseName::Workers };
    draft.phases = vec![Phase { name: phase, nodes: vec![name.clone()], at_once: 1 }];
    join_one(request, draft, lifecycle, node, before);
}
