//! Taints and conditions of a node: what others wrote there stays.

use serde_json::{Value, json};

use super::{cluster, json as answer};
use crate::{
    host::{Cluster as _, CordonAnswer, DrainCondition, Taint, Waiting},
    testing::{Answer, ApiServer},
};

/// One that holds this node, and takes every change.
fn holding(node: Value) -> ApiServer {
    ApiServer::start(move |asked| match asked.method.as_str() {
        "GET" | "PATCH" => answer(&node),
        _ => Answer::HangUp,
    })
}

fn changes(server: &ApiServer) -> Vec<Value> {
    let asked = server.asked();
    asked.iter().filter(|a| a.method == "PATCH").map(|a| serde_json::from_str(&a.body).unwrap()).collect()
}

#[test]
fn the_taint_of_a_waiting_node_stands_beside_others_and_goes_alone() {
    let at = "2030-01-01T00:00:00Z";
    let theirs = json!({ "key": "disk", "effect": "NoExecute", "timeAdded": at });
    let metadata = json!({ "name": "w2", "resourceVersion": "5" });
    let node = |taints: &[&Value]| json!({ "metadata": metadata, "spec": { "taints": taints } });
    let waiting = Waiting {
        seq: hostler_plan::id::Seq(12),
        until: hostler_plan::timestamp::Timestamp::from_unix_seconds(1_800_000_000),
    };
    let value = "plan-12.until-1800000000";
    let ours = json!({ "key": "hostler.dev/waiting", "value": value, "effect": "PreferNoSchedule" });
    let server = holding(node(&[&theirs]));
    assert_eq!(cluster(&server).keep_off("w2", Some(&waiting)).unwrap(), CordonAnswer::Done);
    let wanted = json!({ "metadata": { "resourceVersion": "5" }, "spec": { "taints": [theirs, ours] } });
    assert_eq!(changes(&server), [wanted]);
    let server = holding(node(&[&ours, &theirs]));
    cluster(&server).keep_off("w2", Some(&waiting)).unwrap();
    cluster(&server).keep_off("w2", None).unwrap();
    let wanted = json!({ "metadata": { "resourceVersion": "5" }, "spec": { "taints": [theirs] } });
    assert_eq!(changes(&server).last(), Some(&wanted));
    let alone = holding(node(&[&ours]));
    cluster(&alone).keep_off("w2", None).unwrap();
    assert_eq!(changes(&alone)[0]["spec"]["taints"], Value::Null);
}

#[test]
fn a_node_that_is_given_up_and_lives_again_keeps_the_taints_of_others() {
    let at = "2030-01-01T00:00:00Z";
    let silent = json!({ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": at });
    let metadata = json!({ "name": "w2", "resourceVersion": "5" });
    let ours = json!({ "key": Taint::OUT_OF_SERVICE, "value": Taint::OURS, "effect": "NoExecute" });
    for (taints, dead, wanted) in [
        (vec![&silent], true, json!([silent, ours])),
        (vec![&ours, &silent], false, json!([silent])),
        (vec![&ours], false, Value::Null),
    ] {
        let server = holding(json!({ "metadata": metadata, "spec": { "taints": taints } }));
        let cluster = cluster(&server);
        let node = cluster.node("w2").unwrap().unwrap();
        assert_eq!(cluster.give_up(&node, dead).unwrap(), CordonAnswer::Done);
        assert_eq!(changes(&server)[0]["spec"]["taints"], wanted);
        let older = crate::host::Node { resource_version: "4".into(), ..node };
        assert_eq!(cluster.give_up(&older, dead).unwrap(), CordonAnswer::Changed);
    }
}

#[test]
fn conditions_are_written_by_type_and_somebody_elses_are_left_alone() {
    let condition = |kind: &str, reason: &str| json!({ "type": kind, "status": "True", "reason": reason });
    let (drained, planned) = (condition("DrainInProgress", "Hostler"), condition("MaintenancePlanned", "Metal3"));
    let node = json!({ "metadata": { "name": "w1", "resourceVersion": "5" },
        "status": { "conditions": [condition("Ready", "KubeletReady"), drained, planned] } });
    let server = holding(node);
    let cluster = cluster(&server);
    let shows = cluster.node("w1").unwrap().unwrap().shows;
    assert_eq!(shows, [DrainCondition::DrainInProgress], "Metal3's is not ours");
    let now = [DrainCondition::Drained, DrainCondition::MaintenancePlanned];
    cluster.show("w1", &now, "plan 12: Drain w1").unwrap();
    let change = &changes(&server)[0]["status"]["conditions"];
    assert_eq!(change[0], json!({ "type": "DrainInProgress", "$patch": "delete" }));
    assert_eq!((&change[1]["type"], &change[1]["message"]), (&json!("Drained"), &json!("plan 12: Drain w1")));
    assert_eq!(change.as_array().unwrap().len(), 2);
    assert!(server.asked().iter().any(|a| a.method == "PATCH" && a.path.contains("/nodes/w1/status")));
}
