//! Plans that take snapshots of etcd.

use crate::{
    step::{ClusterRole, Step, etcd},
    text::count,
};

use super::{
    Draft, Note, Obstacle, Request, Selection,
    distribution::Lifecycle,
    select::{left_out, of_cluster, performs},
    task::{list, task, together},
};

/// One server is enough: each has all of etcd. Where none is named it is one that is in service.
pub(super) fn snapshot(request: Request<'_>, draft: &mut Draft, lifecycle: Lifecycle, selection: &Selection) {
    let fleet = request.fleet;
    if !lifecycle.has_snapshots() {
        draft.obstacles.push(Obstacle::NoSnapshots { distribution: fleet.distribution });
        return;
    }
    let named = *selection != Selection::All;
    let mut nodes = Vec::new();
    for node in of_cluster(request, draft, selection).into_iter().filter(|n| named || n.role == ClusterRole::Server) {
        if node.role != ClusterRole::Server || !request.is_member(&node.name) {
            left_out(draft, named, &node.name, Obstacle::NoEtcd(node.name.clone()));
        } else if !named && !request.state(&node.name).connected {
            left_out(draft, named, &node.name, Obstacle::NotConnected { node: node.name.clone() });
        } else if performs(request, draft, node) {
            nodes.push(node.name.clone());
        }
    }
    if !named {
        nodes.sort_by_key(|node| request.is_unavailable(node));
        nodes.truncate(1);
    }
    let settings = &fleet.snapshots;
    let step = etcd::Snapshot { keep: settings.keep, days: settings.days, to: settings.to.clone() };
    draft.title = format!("Take a snapshot of etcd on {}", list(&nodes));
    draft.tasks =
        nodes.iter().map(|n| task("snapshot", n, n, Vec::new(), vec![Step::SnapshotEtcd(step.clone())])).collect();
    draft.notes.push(Note::Info(match settings.to.len() {
        0 => "it is sealed to the root's recovery keys and copied to the coordinator".to_owned(),
        folders => format!(
            "it is sealed to the root's recovery keys and copied to the coordinator and to {} of the server",
            count(folders, "folder")
        ),
    }));
    together(draft, nodes);
}
