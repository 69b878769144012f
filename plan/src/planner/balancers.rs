//! Machines in front of the API servers, in plans that make, grow and shrink what is behind them.

use crate::{
    fleet::{Fleet, FleetNode},
    id::{NodeName, TaskId},
    step::ClusterRole,
};

use super::{
    Draft, Note, Request, baseline,
    distribution::{Lifecycle, Member},
    select::performs,
    task::task,
};

/// The balancers outside the cluster are made ready before its first server is, which is found through them. The tasks
/// that it waits for.
pub(super) fn before_first(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle) -> Vec<TaskId> {
    let machines = request.fleet.balancers();
    let hosts: Vec<&FleetNode> = machines.into_iter().filter(|node| node.role == ClusterRole::Host).collect();
    let mut after = Vec::new();
    for host in hosts {
        if performs(request, draft, host) {
            after = baseline::one(request, draft, lifecycle, host, after);
        }
    }
    after
}

/// Every balancer but those of `but` leads to the servers of `fleet`, one machine after another because each restarts.
/// The tasks that are last, else `after`.
pub(super) fn follow(
    request: Request<'_>,
    draft: &mut Draft,
    lifecycle: Lifecycle,
    (fleet, but): (&Fleet, &[NodeName]),
    mut after: Vec<TaskId>,
) -> Vec<TaskId> {
    for node in fleet.balancers().into_iter().filter(|node| !but.contains(&node.name)) {
        let name = &node.name;
        let inside = request.is_member(name);
        if request.roster.active(name).is_none() || (node.role == ClusterRole::Server && !inside) {
            continue;
        }
        let steps = lifecycle.balance(&Member { fleet, node, version: fleet.version, artifacts: Vec::new(), inside });
        if !request.state(name).connected {
            draft.notes.push(Note::Warning(format!(
                "{name} is a balancer and not connected: it leads to the servers of before until `hostler plan \
                 baseline {name}`"
            )));
        } else if !steps.is_empty() {
            let balance = task("balance", name, name, after, steps);
            after = vec![balance.id.clone()];
            draft.tasks.push(balance);
        }
    }
    after
}
