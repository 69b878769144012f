//! What of the cluster a drain of a node is judged by, read through its API server.

use hostler_plan::{
    document::NodeView,
    drain::{Look, view_of},
    id::NodeName,
};

use crate::host::{Cluster, ClusterError, PodScope};

/// Reads all of it.
pub(crate) fn look(cluster: &dyn Cluster, node: &str) -> Result<Look, ClusterError> {
    let (pods, nodes, budgets) = (cluster.pods(PodScope::OnNode(node))?, cluster.nodes()?, cluster.budgets()?);
    let mut look = Look { node: node.to_owned(), nodes, pods, budgets, ..Look::default() };
    let namespaces = look.namespaces_to_read().into_iter();
    let siblings = namespaces.map(|name| Ok((name.to_owned(), cluster.pods(PodScope::InNamespace(name))?)));
    look.siblings = siblings.collect::<Result<_, ClusterError>>()?;
    for (namespace, owner) in look.owners_to_read() {
        if let Some(scale) = cluster.scale(&namespace, &owner)? {
            look.scales.insert((namespace, owner), scale);
        }
    }
    Ok(look)
}

/// What a drain of the node would find now, whatever a plan allows.
pub(crate) fn node_view(cluster: &dyn Cluster, node: &NodeName) -> Result<NodeView, ClusterError> {
    Ok(view_of(node, &look(cluster, node.as_str())?))
}
