//! How long a drain should take, and on what that rests.

use std::time::Duration;

use hostler_plan::{
    cluster::BudgetLimit,
    document::Expected,
    drain::{MAX_WORKLOADS, Past, Workload},
};

use crate::made::*;

fn expected(look: &hostler_plan::drain::Look, past: &Past) -> Expected {
    look.view_after(past).expected.unwrap_or_else(|| panic!("nothing is expected"))
}

#[test]
fn a_drain_takes_as_long_as_its_longest_row_of_pods() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "s1", "s1", "w1"]);
    // One at a time: three times 30 s to stop, and twice 10 s to start, which nobody has seen yet.
    let found = expected(&look, &Past::default());
    assert_eq!(found.seconds, 110, "{found:?}");
    assert!(
        found.rests_on.as_str().contains("shop/web leaves 1 at a time") && found.rests_on.as_str().contains("a guess"),
        "{found:?}"
    );
    look.pod("web-3").started_in = Some(Duration::from_secs(4));
    let found = expected(&look, &Past::default());
    assert_eq!(found.seconds, 98, "{found:?}");
    assert!(found.rests_on.as_str().contains("4 s that one took to start before"), "{found:?}");
    look.scale("web", |scale| scale.at_once = 3);
    assert_eq!(expected(&look, &Past::default()).seconds, 30);
    // With a budget it is the budget that says how many.
    look.protect("web", BudgetLimit::MaxUnavailable(2));
    assert_eq!(expected(&look, &Past::default()).seconds, 64);
    // Others leave at the same time, and those of the system behind them.
    look.deploy("db", &["s1"]);
    look.pod("db-0").grace = Duration::from_secs(200);
    look.deploy("dns", &["s1"]);
    look.pod("dns-0").priority_class = Some("system-cluster-critical".into());
    let found = expected(&look, &Past::default());
    assert_eq!(found.seconds, 230, "{found:?}");
    assert!(
        found.rests_on.as_str().contains("shop/db leaves") || found.rests_on.as_str().contains("shop/db may take"),
        "{found:?}"
    );
}

#[test]
fn what_the_last_drain_took_counts_more_than_what_this_one_may() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "s1", "s1", "w1"]);
    let web = Workload::of(look.pod("web-0")).unwrap();
    let mut past = Past::default();
    past.stopped(web.clone(), Duration::from_millis(1500), now());
    past.stopped(web.clone(), Duration::from_millis(1200), now());
    let found = expected(&look, &past);
    // Three times 1.5 s, and twice the 10 s that nobody has seen.
    assert_eq!(found.seconds, 25, "{found:?}");
    past.started(web, Duration::from_secs(3), now());
    let found = expected(&look, &past);
    let says = "Deployment shop/web leaves 1 at a time: 3 times 2 s to stop, as in the last drain, and the 3 s that \
                one took to start before";
    assert_eq!((found.seconds, found.rests_on.as_str()), (11, says));
    look.deploy("db", &["s1"]);
    let found = expected(&look, &past);
    assert!(
        found.seconds == 30 && found.rests_on.as_str().starts_with("at most: "),
        "of db nothing is known: {found:?}"
    );
    let db = Workload::of(look.pod("db-0")).unwrap();
    past.stopped(db, Duration::from_secs(3600), now());
    assert_eq!(expected(&look, &past).seconds, 30, "its grace was longer then");
}

#[test]
fn what_was_seen_is_remembered_by_what_lasts_and_the_oldest_goes() {
    let mut web = pod("web-6d4c-x", "web-6d4c", "s1");
    let known = |pod: &hostler_plan::cluster::Pod| Workload::of(pod).map(|of| format!("{} {}", of.kind, of.name));
    assert_eq!(known(&web).as_deref(), Some("ReplicaSet web-6d4c"), "it has nobody above it");
    web.labels.insert("pod-template-hash".into(), "6d4c".into());
    assert_eq!(known(&web).as_deref(), Some("Deployment web"));
    web.owner.as_mut().unwrap().kind = "Job".into();
    assert_eq!(known(&web), None);
    let of =
        |number: usize| Workload { namespace: "shop".into(), kind: "StatefulSet".into(), name: number.to_string() };
    let mut past = Past::default();
    for number in 0..=MAX_WORKLOADS {
        let mut later = Past::default();
        later.stopped(of(number), Duration::from_secs(1), now().plus(Duration::from_secs(number as u64)));
        past.learn(later);
    }
    let mut later = Past::default();
    later.started(of(7), Duration::from_secs(2), now().plus(Duration::from_secs(4000)));
    past.learn(later);
    let took = |number: usize| {
        let mut pod = pod("it", &number.to_string(), "s1");
        pod.owner.as_mut().unwrap().kind = "StatefulSet".into();
        let took = past.took(&pod);
        (took.to_stop.map(|took| took.as_secs()), took.to_start.map(|took| took.as_secs()))
    };
    assert_eq!((took(0), took(1), took(7)), ((None, None), (Some(1), None), (Some(1), Some(2))));
    let written = serde_json::to_string(&past).unwrap();
    assert_eq!(serde_json::from_str::<Past>(&written).unwrap(), past);
}

#[test]
fn nothing_is_expected_where_nothing_leaves_or_something_never_does() {
    let mut look = cluster(&["s1", "w1"]);
    assert_eq!(look.view().expected, None);
    look.deploy("web", &["s1"]);
    look.protect("web", BudgetLimit::MinAvailable(1));
    assert_eq!(look.view().expected, None);
}

#[test]
fn amounts_and_times_without_end_are_no_trouble() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "s1", "w1"]);
    look.deploy("dns", &["s1", "s1"]);
    look.pod("dns-0").priority_class = Some("system-cluster-critical".into());
    for node in &mut look.nodes {
        node.allocatable = [("cpu".to_owned(), 1), ("memory".to_owned(), 1)].into();
    }
    for pod in &mut look.pods {
        pod.grace = Duration::from_secs(u64::MAX);
        pod.placement.requests = [("cpu".to_owned(), u64::MAX), ("memory".to_owned(), u64::MAX)].into();
    }
    for limit in [BudgetLimit::MinAvailable(u32::MAX), BudgetLimit::MaxUnavailablePercent(u32::MAX)] {
        look.scale("web", |scale| (scale.replicas, scale.max_replicas) = (u32::MAX, Some(u32::MAX)));
        look.protect("web", limit);
        assert_eq!(look.view().pods.len(), 4);
        look.budgets.clear();
    }
    assert_eq!(expected(&look, &Past::default()).seconds, u64::MAX);
}

#[test]
fn a_deployment_and_a_set_of_one_name_do_not_wait_for_each_other() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1"]);
    look.deploy("db", &["s1"]);
    for controller in look.controllers.values_mut().filter(|found| found.name == "db") {
        (controller.name, controller.kind) = ("web".into(), "StatefulSet".into());
    }
    assert_eq!(expected(&look, &Past::default()).seconds, 30);
}
