//! API servers that are slow, broken, of another version, or have much to say.

use serde_json::{Value, json};

use super::{cluster, json as answer, node, nodes, status};
use crate::{
    host::{
        BudgetCondition, Cluster as _, ClusterError, NodeReady, Phase, PodScope,
        kube::{PAGE, error},
    },
    testing::{Answer, ApiServer},
};

/// What listing nodes leads to when this is answered.
fn listed(told: fn() -> Answer) -> ClusterError {
    let server = ApiServer::start(move |asked| match asked.path.as_str() {
        "/readyz" => Answer::Body(200, "ok".into()),
        _ => told(),
    });
    cluster(&server).nodes().unwrap_err()
}

#[test]
fn each_way_to_be_broken_is_named_and_only_what_passes_is_waited_for() {
    type Told = fn() -> Answer;
    let passes: [(Told, &str); 6] = [
        (|| status(500, "etcdserver: leader changed"), "500 etcdserver: leader changed"),
        (|| status(503, "apiserver not ready"), "503 apiserver not ready"),
        (|| status(429, "too many requests"), "429 too many requests"),
        (|| Answer::Body(502, "<html>bad gateway</html>".into()), "502"),
        (|| status(401, "Unauthorized"), "have expired if that lasts"),
        (|| Answer::HangUp, "does not answer"),
    ];
    for (told, says) in passes {
        let error = listed(told);
        assert!(matches!(error, ClusterError::Silent(_)) && error.to_string().contains(says), "{says}: {error}");
    }
    let broken = listed(|| Answer::Body(200, "{\"items\": [{\"metadata\"".into()));
    let says = "to list nodes: its answer cannot be read: EOF while parsing";
    assert!(matches!(broken, ClusterError::Refused { .. }) && broken.to_string().contains(says), "{broken}");
    let forbidden = listed(|| status(403, "User \"x\" cannot list resource \"nodes\""));
    let says = "does not allow to list nodes: User \"x\" cannot list resource";
    assert!(forbidden.to_string().contains(says), "{forbidden}");
}

#[test]
fn a_certificate_that_has_run_out_is_told_with_what_renews_it() {
    let expired = std::io::Error::other("invalid peer certificate: certificate expired: verification time 1795867200");
    let said = error(::kube::Error::Service(Box::new(expired)), "list nodes").to_string();
    assert!(said.contains("certificate expired") && said.contains("kubeadm certs renew apiserver"), "{said}");
}

#[test]
fn an_api_server_that_is_just_starting_forbids_nothing_for_good() {
    let server = ApiServer::start(|asked| match asked.path.as_str() {
        "/readyz" => Answer::Body(500, "[-]poststarthook/rbac/bootstrap-roles failed".into()),
        _ => status(403, "User \"x\" cannot list resource \"nodes\""),
    });
    let error = cluster(&server).nodes().unwrap_err();
    assert!(matches!(&error, ClusterError::Silent(why) if why.contains("still starting")), "{error}");
}

/// A pod of that number with what no version of today knows.
fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "tomorrow": { "deep": [1, 2] },
        "metadata": { "name": format!("p{number}"), "namespace": "shop", "uid": number.to_string() },
        "spec": { "nodeName": "w1", "containers": [], "mood": "cheerful",
            "tolerations": [{ "operator": "Rhymes", "effect": "Sings" }] },
        "status": { "phase": "Hovering", "conditions": [{ "type": "Levitates", "status": "True" }] },
    })
}

#[test]
fn five_thousand_pods_come_in_pages_and_what_a_later_version_says_does_no_harm() {
    let page = usize::try_from(PAGE).unwrap();
    let server = ApiServer::start(move |asked| {
        let from =
            asked.path.split("continue=").nth(1).map_or(0, |rest| rest.split('&').next().unwrap().parse().unwrap());
        let items: Vec<Value> = (from..(from + page).min(5000)).map(pod).collect();
        let more = if from + page < 5000 { (from + page).to_string() } else { String::new() };
        answer(&json!({ "apiVersion": "v1", "kind": "PodList", "items": items,
            "metadata": { "resourceVersion": "5", "continue": more } }))
    });
    let pods = cluster(&server).pods(PodScope::OnNode("w1")).unwrap();
    assert_eq!(pods.len(), 5000);
    let every_page = server.asked();
    assert_eq!(every_page.len(), 5000 / page);
    assert!(every_page.iter().all(|a| a.path.contains("fieldSelector=spec.nodeName")), "each page is of one node");
    assert!(pods.iter().all(|p| p.phase == Phase::Unknown && !p.ready));
}

#[test]
fn a_list_whose_moment_was_forgotten_begins_anew_and_not_for_ever() {
    let server = ApiServer::start(|asked| match asked.path.contains("continue=") {
        true => status(410, "The provided continue parameter is too old"),
        false => nodes(1, "more", &[node("w1", 1, "True")]),
    });
    let error = cluster(&server).nodes().unwrap_err();
    assert!(error.to_string().contains("too old"), "{error}");
    assert_eq!(server.count("GET", "continue="), 3);
}

#[test]
fn a_minor_older_leaves_fields_out_and_a_newer_one_has_words_of_its_own() {
    let server = ApiServer::start(|asked| match asked.path.split('?').next().unwrap() {
        "/api/v1/nodes" => {
            let mut newer = node("w2", 1, "Perhaps");
            newer["spec"] = json!({ "taints": [{ "key": "x", "effect": "PreferSomething" }, { "key": "y",
                "effect": "NoExecute" }] });
            nodes(1, "", &[json!({ "metadata": { "name": "w1" } }), newer])
        }
        "/apis/policy/v1/poddisruptionbudgets" => answer(&json!({ "metadata": {}, "items": [
            { "metadata": { "name": "old", "namespace": "shop" }, "spec": {} },
            { "metadata": { "name": "new", "namespace": "shop" },
              "spec": { "unhealthyPodEvictionPolicy": "Sometimes" },
              "status": { "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1,
                "conditions": [{ "type": "DisruptionAllowed", "status": "False", "reason": "Moonlight",
                  "lastTransitionTime": "2030-01-01T00:00:00Z", "message": "" }] } },
        ] })),
        other => panic!("asked for {other}"),
    });
    let cluster = cluster(&server);
    let found = cluster.nodes().unwrap();
    assert!(found.iter().all(|n| n.ready == NodeReady::NotReady), "not known to be Ready is not Ready: {found:?}");
    assert_eq!(found[1].taints.len(), 1, "a taint without an effect that is known has none");
    let budgets = cluster.budgets().unwrap();
    assert_eq!(budgets[0].condition, BudgetCondition::Missing);
    let careful = budgets[1].condition == BudgetCondition::InsufficientPods && !budgets[1].always_allow_unhealthy;
    assert!(careful, "what is not known holds: {:?}", budgets[1]);
}
