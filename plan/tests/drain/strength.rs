//! How strong what a budget counts can be: rolling Deployments, autoscalers, pods without a controller, roles, and
//! systems that open their own budgets.

use std::time::Duration;

use hostler_plan::{
    cluster::{BudgetLimit, Controller, Owner, Phase, Requirement, Selector},
    document::Turn,
    drain::Look,
};

use crate::made::*;

use BudgetLimit::{MaxUnavailable, MaxUnavailablePercent, MinAvailable, MinAvailablePercent};

fn every() -> Selector {
    Selector::All(Vec::new())
}

fn never(look: &Look, pod: &str) -> String {
    look.leaving(pod).never.map(|never| never.reason.to_string()).unwrap_or_default()
}

fn slow(look: &Look, pod: &str) -> String {
    look.leaving(pod).slow.map(|slow| slow.to_string()).unwrap_or_default()
}

/// A Deployment of so many replicas that rolls: a pod of its old ReplicaSet on `s1`, and one of its new one on `w1`.
fn rolling(replicas: u32) -> Look {
    let mut look = cluster(&["s1", "w1", "w2"]);
    look.deploy("old", &["s1"]);
    look.deploy("new", &["w1"]);
    for set in ["old", "new"] {
        look.scale(set, |scale| scale.whole = replicas);
    }
    for controller in look.controllers.values_mut() {
        controller.name = "web".into();
    }
    look
}

#[test]
fn a_deployment_that_rolls_is_expected_once_and_as_strong_as_it_is() {
    let mut look = rolling(3);
    look.protect("old", MinAvailablePercent(67)).selector = every();
    assert!(never(&look, "old-0").contains("needs 3 of 3 pods"), "its two sets together ask for 3: {look:?}");
    look.budgets[0].limit = MinAvailablePercent(66);
    assert_eq!(never(&look, "old-0"), "");
    // One replica, and a second one while it rolls: just now one of them may go.
    let mut look = rolling(1);
    look.protect("old", MinAvailable(1)).selector = every();
    assert_eq!(never(&look, "old-0"), "");
    look.pods.pop();
    look.controllers.retain(|(_, owner), _| owner.name == "old");
    assert!(never(&look, "old-0").contains("needs 1 of 1 pods. Run 2 replicas"), "{}", never(&look, "old-0"));
    // An autoscaler means both sets together too.
    let mut look = rolling(2);
    for set in ["old", "new"] {
        look.scale(set, |scale| scale.max_replicas = Some(4));
    }
    look.protect("old", MinAvailable(4)).selector = every();
    let found = never(&look, "old-0");
    assert!(found.contains("4 of 4 pods, even scaled to its most. Let its autoscaler make 5"), "{found}");
}

#[test]
fn pods_without_a_controller_are_not_expected_and_help_all_the_same() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1"]);
    look.pods.push(pod("loose", "web", "w1").into());
    look.pod("loose").owner = None;
    for limit in [MinAvailablePercent(100), MaxUnavailable(0), MaxUnavailablePercent(0)] {
        look.budgets.clear();
        look.protect("web", limit);
        assert_eq!(never(&look, "web-0"), "", "{limit:?}: 1 is expected, and 2 are Ready");
        look.pod("loose").phase = Phase::Succeeded;
        assert_ne!(never(&look, "web-0"), "", "{limit:?}");
        look.pod("loose").phase = Phase::Running;
    }
}

#[test]
fn what_has_finished_strengthens_nobody() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "w1"]);
    for at in 0..3 {
        let mut done = pod(&format!("done-{at}"), "web", "w1");
        (done.phase, done.ready, done.owner.as_mut().unwrap().kind) = (Phase::Succeeded, false, "Job".into());
        look.pods.push(done.into());
    }
    look.protect("web", MinAvailable(2));
    assert!(never(&look, "web-0").contains("needs 2 of 2 pods"), "{}", never(&look, "web-0"));
}

#[test]
fn the_advice_would_help() {
    let told = |limit: BudgetLimit, replicas: usize, change: fn(&mut Look)| {
        let mut look = cluster(&["s1", "w1"]);
        look.deploy("web", &["s1", "w1", "w1", "w1"][..replicas]);
        change(&mut look);
        look.protect("web", limit);
        never(&look, "web-0").split_once(". ").unwrap_or_default().1.to_owned()
    };
    let loose: fn(&mut Look) = |look| look.pods.iter_mut().for_each(|pod| pod.owner = None);
    let no_scale: fn(&mut Look) = |look| look.controllers.values_mut().for_each(|found| found.scale = None);
    let two: fn(&mut Look) = |look| {
        look.deploy("api", &["w1"]);
        look.pod("api-0").labels.insert("app".into(), "web".into());
    };
    for (limit, replicas, change, advice) in [
        (MinAvailablePercent(100), 3, (|_| {}) as fn(&mut Look), "Set maxUnavailable 1"),
        (MinAvailablePercent(90), 2, |_| {}, "Run 10 replicas or set maxUnavailable 1"),
        (MinAvailablePercent(51), 2, |_| {}, "Run 3 replicas or set maxUnavailable 1"),
        (MinAvailable(2), 2, loose, "Run 1 more of them or set minAvailable 1"),
        (MinAvailable(1), 1, no_scale, "Run 2 replicas or set minAvailable 0"),
        (MinAvailable(4), 2, two, "Run 2 more of them or set maxUnavailable 1"),
    ] {
        assert_eq!(told(limit, replicas, change), advice, "{limit:?} of {replicas}");
    }
}

#[test]
fn one_that_is_not_ready_goes_where_the_budget_has_something_left() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "w1"]);
    look.pod("web-0").ready = false;
    for limit in [MaxUnavailable(2), MinAvailable(0)] {
        look.budgets.clear();
        look.protect("web", limit);
        assert_eq!((never(&look, "web-0"), slow(&look, "web-0")), Default::default(), "{limit:?}");
    }
    // Neither is Ready: the other one may be soon, unless it is broken.
    look.pod("web-1").ready = false;
    look.budgets.clear();
    look.protect("web", MaxUnavailable(2));
    assert_eq!(never(&look, "web-0"), "");
    assert!(slow(&look, "web-0").contains("it needs 0 healthy pods and has 0"), "{}", slow(&look, "web-0"));
    look.pod("web-1").broken = Some("ImagePullBackOff".into());
    assert!(never(&look, "web-0").contains("Repair the pod"), "{}", never(&look, "web-0"));
}

#[test]
fn one_that_is_starting_is_waited_for_and_one_that_never_gets_ready_is_not() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1"]);
    look.pod("web-0").ready = false;
    look.protect("web", MaxUnavailable(1));
    for (minutes, broken, is_never) in [(0, false, false), (4, false, false), (4, true, true), (6, false, true)] {
        look.pod("web-0").unready_since = Some(now().minus(Duration::from_secs(60 * minutes)));
        look.pod("web-0").broken = broken.then(|| "CrashLoopBackOff".into());
        assert_eq!(!never(&look, "web-0").is_empty(), is_never, "{minutes} min, broken {broken}");
        assert!(is_never || slow(&look, "web-0").contains("Repair shop/web-0, or wait until it is"));
    }
}

#[test]
fn a_budget_over_a_role_opens_when_the_role_moves_and_one_over_a_number_does_not() {
    let over = |label: &str, limit: BudgetLimit| {
        let mut look = cluster(&["s1", "w1", "w2"]);
        look.deploy("db", &["s1", "w1", "w2"]);
        look.pod("db-0").labels.insert(label.into(), "it".into());
        let budget = look.protect("db", limit);
        budget.selector = Selector::All(vec![Requirement { key: label.into(), ..is_in("", &["it"]) }]);
        (budget.current_healthy, budget.disruptions_allowed) = (1, 0);
        look
    };
    for limit in [MinAvailable(1), MaxUnavailable(1), MinAvailablePercent(50)] {
        let look = over("role", limit);
        assert_eq!(never(&look, "db-0"), "", "{limit:?}");
        let found = slow(&look, "db-0");
        assert!(found.contains("it counts 1 of the 3 pods of Deployment db") && found.contains("takes that role"));
        let look = over("apps.kubernetes.io/pod-index", limit);
        let found = never(&look, "db-0");
        assert!(found.contains("of 1 pods. Let its selector take all pods of Deployment db"), "{limit:?}: {found}");
    }
    // The only pod of its owner has no other to give its role to.
    let mut look = over("role", MinAvailable(1));
    look.pods.truncate(1);
    look.scale("db", |scale| scale.replicas = 1);
    assert!(never(&look, "db-0").contains("needs 1 of 1 pods. Run 2 replicas"), "{}", never(&look, "db-0"));
}

#[test]
fn a_budget_that_an_autoscaler_or_a_free_node_opens_says_so() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1"]);
    look.scale("web", |scale| scale.max_replicas = Some(3));
    look.protect("web", MinAvailable(1));
    assert!(
        slow(&look, "web-0").contains("autoscaler runs one more. Raise its minReplicas"),
        "{}",
        slow(&look, "web-0")
    );
    look.deploy("web", &["s1", "w1"]);
    look.pods.remove(0);
    look.budgets.clear();
    look.protect("web", MinAvailable(1)).disruptions_allowed = 0;
    let waits = look.pod("web-1");
    (waits.ready, waits.node, waits.phase) = (false, None, Phase::Pending);
    waits.unschedulable = Some("0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 are of help.".into());
    let found = slow(&look, "web-0");
    let expected = "shop/web-1 finds no node (0/2 nodes are available: 2 Insufficient cpu). Make room for it";
    assert!(found.contains(expected), "{found}");
}

#[test]
fn systems_that_open_their_own_budgets_are_waited_for() {
    let owned = |kind: &str, api_version: &str| {
        let mut look = cluster(&["s1", "w1"]);
        look.deploy("it", &["s1"]);
        let owner =
            Owner { kind: kind.into(), api_version: api_version.into(), ..look.pod("it-0").owner_id().unwrap().1 };
        look.pod("it-0").owner = Some(owner.into());
        look.controllers.clear();
        look.protect("it", MinAvailable(1));
        look
    };
    for (kind, api, turn, why) in [
        ("InstanceManager", "longhorn.io/v1beta2", Turn::Storage, "healthy twin"),
        ("VirtualMachineInstance", "kubevirt.io/v1", Turn::Ordinary, "KubeVirt moves the machine"),
    ] {
        let look = owned(kind, api);
        assert_eq!((never(&look, "it-0").as_str(), seen(&look.view(), "it-0").turn), ("", turn), "{kind}");
        assert!(slow(&look, "it-0").contains(why), "{kind}: {}", slow(&look, "it-0"));
        assert_ne!(never(&owned(kind, "example.com/v1"), "it-0"), "", "another group's {kind}");
    }
    // Rook's OSDs are bound to their node, and its budget lets one of all be away.
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("rook-ceph-osd", &["s1", "s1", "w1"]);
    for pod in &mut look.pods {
        let node = pod.node.clone().unwrap();
        pod.placement.node_selector.insert("kubernetes.io/hostname".into(), node);
    }
    look.protect("rook-ceph-osd", MaxUnavailable(1));
    assert_eq!(look.blocked(), []);
    assert_eq!(
        (slow(&look, "rook-ceph-osd-0").as_str(), seen(&look.view(), "rook-ceph-osd-0").turn),
        ("", Turn::Storage)
    );
    assert!(slow(&look, "rook-ceph-osd-1").contains("after the first of this node's OSDs"));
    let controller = Controller { kind: "Deployment".into(), name: "x".into(), scale: None };
    look.controllers.values_mut().for_each(|found| *found = controller.clone());
    look.budgets[0].limit = MaxUnavailable(0);
    assert_eq!(look.blocked(), [], "Ceph mends itself after another node's drain");
}

#[test]
fn what_is_scaled_down_is_as_strong_as_it_still_is_and_leaves_by_itself_at_zero() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("db", &["s1", "w1"]);
    look.scale("db", |scale| scale.replicas = 1);
    look.protect("db", MinAvailable(1));
    assert_eq!(never(&look, "db-0"), "", "two are there");
    look.scale("db", |scale| scale.replicas = 0);
    look.pods.truncate(1);
    look.budgets[0].disruptions_allowed = 0;
    assert_eq!(never(&look, "db-0"), "");
    assert!(slow(&look, "db-0").contains("takes it away by itself"), "{}", slow(&look, "db-0"));
    assert_eq!(said(&look.leaving("db-0").place).0, "not needed");
}
