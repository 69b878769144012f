//! Plans that read how a cluster is made, for who has no fleet file yet.

use std::collections::BTreeMap;

use crate::{
    distribution::Distribution,
    document::{Recipient, Roster, RosterStatus},
    fleet::{ApiAddress, Fleet, FleetNode, FleetPolicy, Machine, Snapshots},
    id::NodeName,
    step::{Step, cluster},
    version::{Stage, Version},
};

use super::{
    Draft, Note, Request, Selection,
    select::{of_cluster, performs},
    task::{task, together},
};

/// The server says what it finds; what it finds it with, its own credentials, it has already.
pub(super) fn read(request: Request<'_>, draft: &mut Draft, server: &NodeName, to: Recipient) {
    let found = of_cluster(request, draft, &Selection::Named(vec![server.clone()]));
    let nodes: Vec<NodeName> =
        found.into_iter().filter(|node| performs(request, draft, node)).map(|node| node.name.clone()).collect();
    draft.title = format!("Read how the cluster of {server} is made");
    let steps = || vec![Step::ReadCluster(cluster::Read { to })];
    draft.tasks = nodes.iter().map(|node| task("read", node, node, Vec::new(), steps())).collect();
    draft.notes.push(Note::Info(
        "nothing is changed; the answer holds no secret, and only the one who asks can open it".to_owned(),
    ));
    together(draft, nodes);
}

/// A fleet of what the roster lists and nothing else: enough to ask its nodes. No node is made or changed by it.
pub fn listed(roster: &Roster) -> Fleet {
    let active = roster.nodes.iter().filter(|node| node.status == RosterStatus::Active);
    let node = |node: &crate::document::RosterNode| FleetNode {
        name: node.name.clone(),
        role: node.role,
        arch: node.arch,
        first: false,
        address: None,
        labels: BTreeMap::new(),
        taints: None,
        kubelet_args: Vec::new(),
        group: None,
    };
    Fleet {
        name: "listed".to_owned(),
        distribution: Distribution::Kubeadm,
        version: Version { major: 1, minor: 0, patch: 0, stage: Stage::Release, build: None },
        api: ApiAddress { host: String::new(), port: 0 },
        policy: FleetPolicy::default(),
        nodes: active.map(node).collect(),
        artifacts: Vec::new(),
        groups: BTreeMap::new(),
        machine: Machine::default(),
        kubeadm: None,
        snapshots: Snapshots::default(),
        maintenance: None,
        handover: None,
        balancer: None,
        sealed: BTreeMap::new(),
    }
}
