//! How long a drain should take, and on what that rests.

use std::time::Duration;

use hostler_plan::{cluster::BudgetLimit, document::Expected, drain::Past};

use crate::made::*;

fn expected(look: &hostler_plan::drain::Look, past: Option<Past>) -> Expected {
    look.view_after(past).expected.unwrap_or_else(|| panic!("nothing is expected"))
}

#[test]
fn a_drain_takes_as_long_as_its_longest_row_of_pods() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "s1", "s1", "w1"]);
    // One at a time: three times 30 s to stop, and twice 10 s to start, which nobody has seen yet.
    let found = expected(&look, None);
    assert_eq!(found.seconds, 110, "{found:?}");
    assert!(
        found.rests_on.as_str().contains("shop/web leaves 1 at a time") && found.rests_on.as_str().contains("a guess"),
        "{found:?}"
    );
    look.pod("web-3").started_in = Some(Duration::from_secs(4));
    let found = expected(&look, None);
    assert_eq!(found.seconds, 98, "{found:?}");
    assert!(found.rests_on.as_str().contains("4 s that one took to start before"), "{found:?}");
    look.scale("web", |scale| scale.at_once = 3);
    assert_eq!(expected(&look, None).seconds, 30);
    // With a budget it is the budget that says how many.
    look.protect("web", BudgetLimit::MaxUnavailable(2));
    assert_eq!(expected(&look, None).seconds, 64);
    // Others leave at the same time, and those of the system behind them.
    look.deploy("db", &["s1"]);
    look.pod("db-0").grace = Duration::from_secs(200);
    look.deploy("dns", &["s1"]);
    look.pod("dns-0").priority_class = Some("system-cluster-critical".into());
    let found = expected(&look, None);
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
    let found = expected(&look, Some(Past { pods: 6, seconds: 24 }));
    assert_eq!((found.seconds, found.rests_on.as_str()), (12, "the last drain of it took 24 s for 6 pods"));
    assert_eq!(expected(&look, Some(Past { pods: 0, seconds: 24 })).seconds, 110, "a drain of nothing tells nothing");
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
    assert_eq!(expected(&look, None).seconds, u64::MAX);
}

#[test]
fn a_deployment_and_a_set_of_one_name_do_not_wait_for_each_other() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1"]);
    look.deploy("db", &["s1"]);
    for controller in look.controllers.values_mut().filter(|found| found.name == "db") {
        (controller.name, controller.kind) = ("web".into(), "StatefulSet".into());
    }
    assert_eq!(expected(&look, None).seconds, 30);
}
