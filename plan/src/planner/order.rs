//! Who goes when: phases of nodes, and which node waits for which.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    fleet::{Canary, Fleet},
    id::NodeName,
    step::ClusterRole,
};

use super::{Phase, PhaseName};

/// Puts nodes that are taken out of service into phases. Those on which the `coordinator` runs go last, but for the
/// canary, and for a server that is away: it goes first, because no other may go before it is back. `servers_lead`
/// where workers may never be ahead of servers.
pub(super) fn phases(
    fleet: &Fleet,
    nodes: &[NodeName],
    unavailable: &dyn Fn(&NodeName) -> bool,
    coordinator: &BTreeSet<NodeName>,
    servers_lead: bool,
) -> Vec<Phase> {
    let is_server = |n: &NodeName| fleet.node(n).is_some_and(|n| n.role == ClusterRole::Server);
    let is_canary = |n: &NodeName| matches!(&fleet.policy.canary, Canary::Node(name) if name == n);
    let (mut servers, mut workers): (Vec<NodeName>, Vec<NodeName>) = nodes.iter().cloned().partition(is_server);
    let goes_last = |n: &NodeName| coordinator.contains(n) && !is_canary(n) && !(is_server(n) && unavailable(n));
    let mut last = take(&mut workers, goes_last);
    let last_servers = take(&mut servers, goes_last);
    servers.sort_by_key(|n| !unavailable(n));
    let gone = take(&mut workers, |n| unavailable(n));
    let mut canaries = match &fleet.policy.canary {
        // A canary among the servers only decides which server is first.
        Canary::Node(name) => {
            servers.sort_by_key(|n| (!unavailable(n), n != name));
            take(&mut workers, |n| n == name)
        }
        Canary::Count(0) => Vec::new(),
        Canary::Count(count) => {
            let canaries = *count as usize;
            // One alone of one is no canary; there is nobody that it could protect.
            if workers.len() > canaries { workers.drain(..canaries).collect() } else { Vec::new() }
        }
    };
    let lanes = fleet.policy.max_unavailable as usize;
    if servers_lead {
        servers.extend(last_servers);
    } else {
        last.extend(last_servers);
    }
    let phase = |name, nodes: Vec<NodeName>, at_once: usize| Phase { name, at_once: at_once.min(nodes.len()), nodes };
    let servers = phase(PhaseName::Servers, servers, 1);
    let canary = phase(PhaseName::Canary, std::mem::take(&mut canaries), 1);
    let gone = phase(PhaseName::Unavailable, gone, lanes);
    let workers = phase(PhaseName::Workers, workers, lanes);
    let last = phase(PhaseName::Coordinator, last, 1);
    let order =
        if servers_lead { [servers, gone, canary, workers, last] } else { [gone, canary, servers, workers, last] };
    order.into_iter().filter(|p| !p.nodes.is_empty()).collect()
}

fn take(from: &mut Vec<NodeName>, which: impl Fn(&NodeName) -> bool) -> Vec<NodeName> {
    let (taken, left) = std::mem::take(from).into_iter().partition(|n| which(n));
    *from = left;
    taken
}

/// For every node, the nodes that must be healthy before it begins: the one before in its lane, or, for the first of a
/// phase, the last of every lane of the phase before.
pub(super) fn predecessors(phases: &[Phase]) -> BTreeMap<NodeName, Vec<NodeName>> {
    let mut before = BTreeMap::new();
    let mut tails: Vec<NodeName> = Vec::new();
    for phase in phases {
        for (i, node) in phase.nodes.iter().enumerate() {
            let waits_for =
                if i < phase.at_once { tails.clone() } else { vec![phase.nodes[i - phase.at_once].clone()] };
            before.insert(node.clone(), waits_for);
        }
        tails = phase.nodes[phase.nodes.len() - phase.at_once..].to_vec();
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<NodeName> {
        texts.iter().map(|t| NodeName::new(*t).unwrap()).collect()
    }

    #[test]
    fn lanes_are_chains_and_phases_wait_for_every_lane() {
        let phases = [
            Phase { name: PhaseName::Canary, nodes: names(&["a"]), at_once: 1 },
            Phase { name: PhaseName::Workers, nodes: names(&["b", "c", "d", "e", "f"]), at_once: 2 },
            Phase { name: PhaseName::Together, nodes: names(&["g"]), at_once: 1 },
        ];
        let before = predecessors(&phases);
        let of = |n: &str| before[&NodeName::new(n).unwrap()].iter().map(NodeName::as_str).collect::<Vec<_>>();
        assert_eq!(of("a"), [""; 0]);
        assert_eq!((of("b"), of("c")), (vec!["a"], vec!["a"]));
        assert_eq!((of("d"), of("e"), of("f")), (vec!["b"], vec!["c"], vec!["d"]));
        assert_eq!(of("g"), ["e", "f"]);
    }
}
