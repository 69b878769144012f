//! Plans that give up dead nodes.

use std::time::Duration;

use crate::{
    fleet::FleetNode,
    form::Reason,
    health::Rule,
    id::NodeName,
    sequencer::Standing,
    step::{ClusterRole, Cordon, OutOfService, Step},
    timestamp::Timestamp,
};

use super::{
    Draft, InventoryNode, Note, Obstacle, Request, Selection,
    object::ambiguous,
    select::of_cluster,
    task::{list, observer, task, together},
};

pub(super) fn dead(request: Request<'_>, draft: &mut Draft, names: &[NodeName], proof: &Reason) {
    let mut nodes = Vec::new();
    for node in of_cluster(request, draft, &Selection::Named(names.to_vec())) {
        let name = &node.name;
        let state = request.state(name);
        let alive = |sign| Some(Obstacle::Alive { node: name.clone(), sign, instead: "drain it without --dead" });
        let obstacle = match state.condition.standing {
            _ if request.roster.active(name).is_none() => Some(Obstacle::NotEnrolled { node: name.clone() }),
            Standing::Outside => Some(Obstacle::NotAMember { node: name.clone() }),
            Standing::Ready => alive("its cluster says that it is Ready"),
            Standing::NotReady | Standing::Unknown if state.connected => alive("its agent is connected"),
            Standing::NotReady | Standing::Unknown => None,
        };
        match obstacle.or_else(|| ambiguous(name, state)) {
            Some(obstacle) => draft.obstacles.push(obstacle),
            None => nodes.push(name.clone()),
        }
    }
    draft.title = format!("Give up {}, which is dead", list(&nodes));
    for node in &nodes {
        if let Some(obstacle) = too_few_servers(request, node) {
            draft.obstacles.push(obstacle);
            continue;
        }
        what_happens(request, draft, node);
        let Some(server) = observer(request, draft, node) else { continue };
        let reason = Reason::new(format!("dead, plan {}", request.numbering.seq));
        let reason = reason.expect("the planner's own words and a number are a sentence");
        let steps =
            vec![Step::Cordon(Cordon { reason }), Step::OutOfService(OutOfService { power_off_proof: proof.clone() })];
        // It is unavailable already: nothing is lost that a budget counts.
        draft.tasks.push(task("give-up", &server, node, Vec::new(), steps));
    }
    if !nodes.is_empty() {
        draft.notes.push(Note::Warning(format!(
            "this rests on the proof that the power is off ({proof}); where the machine still runs, its pods run twice \
             and two of them write to one volume"
        )));
    }
    together(draft, nodes);
}

/// From a kubelet's silence to the mark on its pods: Kubernetes waits for it (`node-monitor-grace-period`, 50 s since
/// 1.32), then pods tolerate that it is unreachable (`DefaultTolerationSeconds`, 300 s).
const UNTIL_MARKED: Duration = Duration::from_secs(50 + 300);

/// What Kubernetes does by itself with a node that is silent, and when, as somebody reads it at `now`: what follows the
/// node's name in a sentence.
pub fn left_alone(state: &InventoryNode, now: Timestamp) -> String {
    let report = state.verdicts.iter().find(|verdict| verdict.rule == Rule::Report);
    let since = report.map(|verdict| Timestamp::from_unix_milliseconds(verdict.since_ms).whole_seconds());
    let (said, when) = match since {
        None => (String::new(), format!("{} s after its kubelet fell silent", UNTIL_MARKED.as_secs())),
        Some(since) => {
            let marks = since.plus(UNTIL_MARKED);
            let passed = if marks <= now { ", which has passed" } else { "" };
            (format!(" since {since}"), format!("about {marks}{passed}"))
        }
    };
    format!(
        "is silent{said}. By itself Kubernetes marks its pods for deletion {when}, or after their own toleration, \
         budgets unasked; a Deployment starts copies then, a StatefulSet waits until the kubelet answers or the node \
         is gone, and a volume stays attached until 6 minutes after its pod's object went"
    )
}

/// What is known of a silent node, what Kubernetes does by itself and when, and what this plan changes.
fn what_happens(request: Request<'_>, draft: &mut Draft, node: &NodeName) {
    draft.notes.push(Note::Info(format!("{node} {}", left_alone(request.state(node), request.numbering.created))));
    draft.notes.push(Note::Info(format!(
        "with this plan {node} is looked at once more and marked node.kubernetes.io/out-of-service if it is still not \
         Ready: its pods are removed at once, their volumes detached, and they start elsewhere; the mark goes when \
         {node} is Ready again, and it stays cordoned until `hostler uncordon {node}`"
    )));
    if is_server(request, node) {
        let quorum = request.quorum();
        let more = if quorum.less_one().is_kept() { "" } else { ", so that no other may go" };
        draft.notes.push(Note::Warning(format!(
            "{node} is a server: {quorum} and {} are needed{more}; a member that does not come back has to be removed \
             from etcd",
            quorum.needed()
        )));
    }
}

fn is_server(request: Request<'_>, node: &NodeName) -> bool {
    request.fleet.node(node).is_some_and(|n| n.role == ClusterRole::Server)
}

/// Why the servers that are left could not give this node up.
fn too_few_servers(request: Request<'_>, node: &NodeName) -> Option<Obstacle> {
    let is_other = |n: &&FleetNode| {
        n.name != *node
            && request.roster.active(&n.name).is_some()
            && request.state(&n.name).condition.standing != Standing::Outside
    };
    if is_server(request, node) && !request.fleet.servers().iter().any(is_other) {
        return Some(Obstacle::OnlyServer(node.clone()));
    }
    let quorum = request.quorum();
    // Without any, nobody could ask its API server: that is said of the server that is missing.
    (quorum.members > 0 && !quorum.is_kept()).then(|| Obstacle::NoMajority { node: node.clone(), quorum })
}
