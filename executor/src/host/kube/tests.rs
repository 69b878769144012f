//! The real client against an API server that a test plays.

mod follow;

use super::KubeCluster;
use crate::testing::{Answer, ApiServer};

fn cluster(server: &ApiServer) -> KubeCluster {
    KubeCluster::new(server.kubeconfig()).unwrap()
}

fn json(value: &serde_json::Value) -> Answer {
    Answer::Body(200, value.to_string())
}

/// A node object.
fn node(name: &str, version: u32, ready: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "resourceVersion": version.to_string() },
        "spec": {},
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    })
}

/// One page of nodes.
fn nodes(version: u32, more: &str, items: &[serde_json::Value]) -> Answer {
    let metadata = serde_json::json!({ "resourceVersion": version.to_string(), "continue": more });
    json(&serde_json::json!({ "apiVersion": "v1", "kind": "NodeList", "metadata": metadata, "items": items }))
}
