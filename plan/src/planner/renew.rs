//! Plans that renew what servers prove themselves by, one server after the other.

use crate::{
    health::Rule,
    id::{NodeName, TaskId},
    step::ClusterRole,
    text::count,
};

use super::{
    Draft, Note, Request, Selection,
    caution::{Taken, note_health, note_unavailable, servers_out},
    distribution::Lifecycle,
    order::{phases, predecessors},
    select::workable,
    task::{await_ready, disrupting, finishing, observer, task, task_id},
};

pub(super) fn renew(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    selection: &Selection,
    within_days: u64,
    accepted: &[NodeName],
) {
    let steps = match lifecycle.renew(within_days) {
        Ok(steps) => steps,
        Err(obstacle) => return draft.obstacles.push(obstacle),
    };
    // One that has nothing else but a certificate that ends is worked on for just that.
    let cures = Some(Rule::Certificate);
    let is_server = |n: &NodeName| request.fleet.node(n).is_some_and(|n| n.role == ClusterRole::Server);
    let (servers, workers): (Vec<NodeName>, Vec<NodeName>) =
        workable(request, draft, selection, cures).into_iter().partition(is_server);
    let why = "is a worker: its kubelet renews its certificate itself";
    draft.skipped.extend(workers.into_iter().map(|worker| (worker, why.to_owned())));
    servers_out(request, draft, &servers, accepted, Taken::Reloaded);
    note_unavailable(request, draft, &servers, &[], |_| String::new());
    note_health(request, draft, &servers, cures);
    draft.title =
        format!("Renew certificates of {} that end within {within_days} days", count(servers.len(), "server"));
    let is_away = |n: &NodeName| request.is_unavailable(n);
    draft.phases = phases(request.fleet, &servers, &is_away, &request.earlier.coordinator_on, true);
    let before = predecessors(&draft.phases);
    for node in draft.phases.iter().flat_map(|phase| phase.nodes.clone()).collect::<Vec<_>>() {
        let Some(server) = observer(request, draft, &node) else { continue };
        let after: Vec<TaskId> = before[&node].iter().map(|n| task_id(n, "ready")).collect();
        let renew = disrupting(task("renew", &node, &node, after, steps.clone()));
        let ready = vec![await_ready(&request.fleet.policy, None)];
        let ready = finishing(task("ready", &server, &node, vec![renew.id.clone()], ready));
        draft.tasks.extend([renew, ready]);
    }
    if !draft.tasks.is_empty() {
        let text = "nothing is drained: on a server where a certificate ends in that time its components restart one \
                    by one, on every other nothing is touched";
        draft.notes.push(Note::Info(text.to_owned()));
    }
}
