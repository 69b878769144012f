//! Plans that take nodes out of the cluster for good.
//!
//! A node is drained, a living server removes it from the cluster's members, and only then its machine is emptied. Of a
//! machine that nobody reaches the cluster forgets the node, once it was proved that its power is off.

use crate::{
    document::Task,
    fleet::FleetNode,
    form::Reason,
    id::{NodeName, Seq, TaskId},
    quorum::Quorum,
    sequencer::Standing,
    step::{ClusterRole, Cordon, OutOfService, RemoveNode, Step},
};

use super::{
    Draft, Note, Obstacle, Phase, PhaseName, Request, Selection, balancers,
    caution::{Taken, coordinator_out},
    distribution::Lifecycle,
    object::ambiguous,
    select::{of_cluster, performs},
    task::{disrupting, drain_steps, list, task},
};

/// What can still be done with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found<'a> {
    /// Ready and reached.
    Alive,
    /// Its kubelet is silent, its machine is reached: what runs there ends with it.
    Broken,
    /// Nobody reaches it, and this proves that its power is off.
    Off(&'a Reason),
    /// The cluster has no Node of it: what a join left is removed, on its machine where that is `reached`.
    Outside { reached: bool },
}

pub(super) fn remove(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    names: &[NodeName],
    proof: Option<&Reason>,
) {
    draft.title = format!("Remove {} from the cluster", list(names));
    if let Some(obstacle) = lifecycle.keeps_members() {
        draft.obstacles.push(obstacle);
        return;
    }
    let mut leaving = Vec::new();
    for node in of_cluster(request, draft, &Selection::Named(names.to_vec())) {
        match found(request, node, proof) {
            Err(obstacle) => draft.obstacles.push(obstacle),
            Ok(Found::Alive | Found::Broken | Found::Outside { reached: true }) if !performs(request, draft, node) => {}
            Ok(found) => leaving.push((node, found)),
        }
    }
    // Nothing is lost by those that are away, and the others are counted without them.
    leaving.sort_by_key(|(node, found)| (*found == Found::Alive, node.role == ClusterRole::Worker));
    let mut quorum = request.quorum();
    for (node, _) in &leaving {
        draft.obstacles.extend(hinders_server(request, node, &mut quorum));
    }
    let order: Vec<NodeName> = leaving.iter().map(|(node, _)| node.name.clone()).collect();
    coordinator_out(request, draft, &order, Taken::Restarted);
    let observers = request.observers();
    let Some(server) = observers.into_iter().find(|server| !order.contains(server)).cloned() else {
        // Of a server that is the last one, that is told.
        if draft.obstacles.is_empty() {
            draft.obstacles.push(Obstacle::NoServer {});
        }
        return;
    };
    for (node, found) in &leaving {
        what_happens(draft, node, *found, &server);
    }
    note_servers(draft, request.quorum(), quorum);
    draft.phases = phases(&leaving);
    let mut after = Vec::new();
    let takes_servers = leaving.iter().any(|(node, _)| node.role == ClusterRole::Server);
    for (node, found) in leaving {
        after = one(request, draft, lifecycle, (node, found), &server, after);
    }
    if takes_servers {
        let mut left = request.fleet.clone();
        left.nodes.retain(|node| !order.contains(&node.name));
        balancers::follow(request, draft, lifecycle, (&left, &[]), after);
    }
}

/// How a node is, or why it cannot be removed.
fn found<'a>(request: Request<'_>, node: &FleetNode, proof: Option<&'a Reason>) -> Result<Found<'a>, Obstacle> {
    let name = &node.name;
    let state = request.state(name);
    if request.roster.active(name).is_none() {
        return Err(Obstacle::NotEnrolled { node: name.clone() });
    }
    if let Some(obstacle) = ambiguous(name, state) {
        return Err(obstacle);
    }
    if let Some(owner) = state.condition.cordon.as_ref().and_then(|c| c.owner.foreign()) {
        return Err(Obstacle::CordonedByOther { node: name.clone(), owner: owner.to_owned() });
    }
    let alive =
        |sign| Err(Obstacle::Alive { node: name.clone(), sign, instead: "remove it without --power-off-proof" });
    match (state.condition.standing, state.connected, proof) {
        (Standing::Outside, reached, None) => Ok(Found::Outside { reached }),
        (Standing::Outside, false, Some(_)) => Ok(Found::Outside { reached: false }),
        (Standing::Ready, _, Some(_)) => alive("its cluster says that it is Ready"),
        (_, true, Some(_)) => alive("its agent is connected"),
        (Standing::Ready, true, None) => Ok(Found::Alive),
        (Standing::Ready, false, None) => Err(Obstacle::NotConnected { node: name.clone() }),
        (Standing::NotReady | Standing::Unknown, true, None) => Ok(Found::Broken),
        (Standing::NotReady | Standing::Unknown, false, Some(proof)) => Ok(Found::Off(proof)),
        (Standing::NotReady | Standing::Unknown, false, None) => {
            Err(Obstacle::PowerNotProved { node: name.clone(), command: "remove" })
        }
    }
}

/// What keeps a server a member; else `quorum` is what is left without it.
pub(super) fn hinders_server(request: Request<'_>, node: &FleetNode, quorum: &mut Quorum) -> Option<Obstacle> {
    let name = node.name.clone();
    let host = request.fleet.api.host.as_str();
    let is_server = node.role == ClusterRole::Server;
    if is_server && (host == name.as_str() || node.address.is_some_and(|address| address.to_string() == host)) {
        return Some(Obstacle::EndpointThere { node: name, api: request.fleet.api.to_string() });
    }
    if !is_server || !request.is_member(&name) {
        return None;
    }
    if quorum.members <= 1 {
        return Some(Obstacle::LastServer { node: name });
    }
    if !quorum.is_kept() {
        return Some(Obstacle::NoMajority { node: name, quorum: *quorum });
    }
    let left = quorum.removed(request.is_healthy(&name));
    if !left.is_kept() {
        return Some(Obstacle::TooFewLeft { node: name, left });
    }
    *quorum = left;
    None
}

fn note_servers(draft: &mut Draft, before: Quorum, left: Quorum) {
    if before.members == left.members {
        return;
    }
    let bears = match left.members.saturating_sub(left.needed()) {
        0 => "none may fail then".to_owned(),
        1 => "one may fail then".to_owned(),
        more => format!("{more} may fail then"),
    };
    let text = format!("{} of {} servers stay members of etcd: {bears}", left.members, before.members);
    draft.notes.push(if left.members > 1 && left.members % 2 == 1 { Note::Info(text) } else { Note::Warning(text) });
}

/// What a person should know of it before signing, and has to do afterwards.
fn what_happens(draft: &mut Draft, node: &FleetNode, found: Found<'_>, server: &NodeName) {
    let name = &node.name;
    let is_server = node.role == ClusterRole::Server;
    let emptied = if is_server {
        "etcd's data, the cluster's certificates and keys, static pods"
    } else {
        "its certificate, its kubelet's files"
    };
    let emptied = format!(
        "{server} removes {name} from the cluster first; then everything of the cluster goes from its machine \
         ({emptied}, network plugins' files). Images and the pods' data on its disk stay"
    );
    match found {
        Found::Alive => draft.notes.push(Note::Info(emptied)),
        Found::Outside { reached: true } => {
            draft.notes.push(Note::Info(format!("{name} has no Node: what a join left is removed. {emptied}")));
        }
        Found::Outside { reached: false } => draft.notes.push(Note::Info(format!(
            "{name} has no Node, and its machine is not reached: {server} removes what a join left in the cluster"
        ))),
        Found::Broken => {
            draft.notes.push(Note::Info(emptied));
            draft.notes.push(Note::Warning(format!(
                "{name} is not Ready and cannot be drained: what still runs there ends with it, and no budget is asked"
            )));
        }
        Found::Off(proof) => what_is_left(draft, node, proof),
    }
    draft.notes.push(Note::Info(format!(
        "afterwards take {name} out of the roster (`hostler node retire {name}`) and out of the fleet file"
    )));
}

/// A machine that is not reached keeps what was on it.
pub(super) fn what_is_left(draft: &mut Draft, node: &FleetNode, proof: &Reason) {
    let name = &node.name;
    draft.notes.push(Note::Warning(format!(
        "this rests on the proof that the power is off ({proof}); where the machine of {name} still runs, its pods run \
         twice and two of them write to one volume"
    )));
    let holds = match node.role {
        ClusterRole::Server => "the keys of the cluster's certificate authorities and every Secret in etcd's data",
        ClusterRole::Worker | ClusterRole::Host => "its certificate and the data of its pods",
    };
    draft.notes.push(Note::Warning(format!(
        "the disk of {name} is not emptied and still holds {holds}: wipe it before the machine starts again, or its \
         kubelet comes back as {name}"
    )));
}

fn phases(leaving: &[(&FleetNode, Found<'_>)]) -> Vec<Phase> {
    let name = |(node, found): &(&FleetNode, Found<'_>)| match (found, node.role) {
        (Found::Alive, ClusterRole::Server) => PhaseName::Servers,
        (Found::Alive, ClusterRole::Worker | ClusterRole::Host) => PhaseName::Workers,
        (Found::Broken | Found::Off(_) | Found::Outside { .. }, _) => PhaseName::Unavailable,
    };
    let mut phases: Vec<Phase> = Vec::new();
    for one in leaving {
        let (name, node) = (name(one), one.0.name.clone());
        match phases.last_mut() {
            Some(phase) if phase.name == name => phase.nodes.push(node),
            Some(_) | None => phases.push(Phase { name, nodes: vec![node], at_once: 1 }),
        }
    }
    phases
}

/// The tasks of one node, after others; the last of them.
fn one(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    (node, found): (&FleetNode, Found<'_>),
    server: &NodeName,
    mut after: Vec<TaskId>,
) -> Vec<TaskId> {
    let name = &node.name;
    let seq = request.numbering.seq;
    let mut push = |draft: &mut Draft, task: Task| {
        let made = Task { after: std::mem::take(&mut after), ..task };
        after = vec![made.id.clone()];
        draft.tasks.push(made);
    };
    let on = |node: &NodeName, what: &str, steps: Vec<Step>| task(what, node, name, Vec::new(), steps);
    match found {
        Found::Alive => {
            push(draft, disrupting(on(server, "drain", drain_steps(request, "removal".to_owned()))));
        }
        Found::Broken => {
            let cordon = Step::Cordon(Cordon { reason: reason("removal", seq) });
            push(draft, on(server, "cordon", vec![cordon]));
        }
        Found::Off(proof) => push(draft, on(server, "give-up", give_up(seq, proof))),
        Found::Outside { .. } => {}
    }
    let expel = on(server, "expel", lifecycle.expel(node, matches!(found, Found::Off(_))));
    let expelled = expel.id.clone();
    push(draft, expel);
    if matches!(found, Found::Alive | Found::Broken | Found::Outside { reached: true }) {
        push(draft, on(name, "reset", lifecycle.reset(request.fleet, node, expelled)));
    }
    if !matches!(found, Found::Outside { .. }) {
        push(draft, on(server, "forget", vec![Step::RemoveNode(RemoveNode {})]));
    }
    after
}

/// Steps by which a server gives a dead node up.
pub(super) fn give_up(seq: Seq, proof: &Reason) -> Vec<Step> {
    vec![
        Step::Cordon(Cordon { reason: reason("dead", seq) }),
        Step::OutOfService(OutOfService { power_off_proof: proof.clone() }),
    ]
}

fn reason(why: &str, seq: Seq) -> Reason {
    Reason::new(format!("{why}, plan {seq}")).expect("the planner's own words and a number are a sentence")
}
