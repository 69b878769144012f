//! What is read of a pod.

use crate::host::{EmptyDirMedia, kube::read};

fn pod(spec: serde_json::Value, status: serde_json::Value) -> crate::host::Pod {
    let metadata = serde_json::json!({ "name": "web-0", "namespace": "shop", "uid": "u" });
    read::pod(
        serde_json::from_value(serde_json::json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap(),
    )
}

#[test]
fn data_in_huge_pages_is_data_in_memory() {
    let of = |medium: &str| {
        let volumes = serde_json::json!([{ "name": "a", "emptyDir": { "medium": medium } }]);
        pod(serde_json::json!({ "containers": [], "volumes": volumes }), serde_json::json!({})).empty_dirs
    };
    for medium in ["Memory", "HugePages", "HugePages-2Mi"] {
        assert_eq!(of(medium), EmptyDirMedia { disk: false, memory: true }, "{medium}");
    }
    assert_eq!(of(""), EmptyDirMedia { disk: true, memory: false });
}

#[test]
fn a_volume_that_goes_with_its_pod_is_told_from_one_that_lasts() {
    let volumes = serde_json::json!([
        { "name": "scratch", "ephemeral": { "volumeClaimTemplate": { "spec": {} } } },
        { "name": "data", "persistentVolumeClaim": { "claimName": "data-0" } },
    ]);
    let found = pod(serde_json::json!({ "containers": [], "volumes": volumes }), serde_json::json!({})).volumes;
    let found: Vec<(&str, bool)> = found.iter().map(|volume| (volume.claim.as_str(), volume.ephemeral)).collect();
    assert_eq!(found, [("web-0-scratch", true), ("data-0", false)]);
}

#[test]
fn it_is_known_since_when_one_is_not_ready() {
    let since = |ready: &str| {
        let condition =
            serde_json::json!({ "type": "Ready", "status": ready, "lastTransitionTime": "2026-11-28T10:00:00Z" });
        let status = serde_json::json!({ "phase": "Running", "conditions": [condition] });
        pod(serde_json::json!({ "containers": [] }), status).unready_since.map(|at| at.to_string())
    };
    assert_eq!(since("True"), None);
    assert_eq!(since("False").as_deref(), Some("2026-11-28T10:00:00Z"));
}
