//! The real client against an API server that a test plays.

mod account;
mod bad;
mod evictions;
mod follow;
mod mark;
mod pod;

use super::{Identity, KubeCluster};
use crate::testing::{Answer, ApiServer};

fn cluster(server: &ApiServer) -> KubeCluster {
    KubeCluster::new(server.kubeconfig(), Identity::OfTheFile).unwrap()
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

/// An answer with a code and a reason, in the API's form.
fn status(code: u16, message: &str) -> Answer {
    let reason = if code == 404 { "NotFound" } else { "Other" };
    let status = serde_json::json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": message, "reason": reason, "code": code });
    Answer::Body(code, status.to_string())
}
