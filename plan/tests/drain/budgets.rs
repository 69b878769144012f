//! The arithmetic of budgets: what will never open, what opens when something is repaired, and what is merely slow.

use hostler_plan::{
    cluster::{BudgetCondition, BudgetLimit, Operator, Phase, Requirement, Selector},
    drain::budget_needs,
};

use crate::made::*;

use BudgetLimit::{MaxUnavailable, MaxUnavailablePercent, MinAvailable, MinAvailablePercent};

#[test]
fn a_budget_that_needs_all_of_its_pods_never_opens() {
    // limit, replicas asked for, what an autoscaler may make of them: what the refusal says, if it is one
    let cases = [
        (MinAvailable(1), 1, None, Some("needs 1 of 1 pods. Run 2 replicas")),
        (MinAvailable(1), 2, None, None),
        (MinAvailable(2), 2, None, Some("needs 2 of 2 pods. Run 3 replicas")),
        (MinAvailable(3), 2, None, Some("needs 3 of 2 pods")),
        (MinAvailable(0), 1, None, None),
        (MinAvailablePercent(100), 3, None, Some("needs 3 of 3 pods")),
        (MinAvailablePercent(1), 1, None, Some("needs 1 of 1 pods")),
        (MinAvailablePercent(50), 2, None, None),
        (MinAvailablePercent(51), 2, None, Some("needs 2 of 2 pods")),
        (MinAvailablePercent(67), 3, None, Some("needs 3 of 3 pods")),
        (MinAvailablePercent(66), 3, None, None),
        (MaxUnavailable(0), 3, None, Some("allows 0 pods")),
        (MaxUnavailable(1), 1, None, None),
        (MaxUnavailablePercent(0), 3, None, Some("allows 0 pods")),
        (MaxUnavailablePercent(1), 3, None, None),
        (MinAvailable(1), 1, Some(3), None),
        (MinAvailable(3), 1, Some(3), Some("needs 3 of 3 pods, even scaled to its most")),
        (MinAvailablePercent(100), 1, Some(3), Some("even scaled to its most")),
    ];
    for (limit, replicas, most, expected) in cases {
        let mut look = cluster(&["s1", "w1", "w2"]);
        look.deploy("cart", &["s1", "w1", "w2"][..replicas]);
        look.scale("cart", |scale| scale.max_replicas = most);
        look.protect("cart", limit);
        let found = look.blocked();
        let name = format!("{limit:?} of {replicas}, at most {most:?}: {found:?}");
        match (expected, found.as_slice()) {
            (None, []) => {}
            (Some(text), [(pod, reason)]) => assert!(pod == "shop/cart-0" && reason.contains(text), "{name}"),
            (Some(_) | None, _) => panic!("{name}"),
        }
    }
}

#[test]
fn what_is_expected_is_what_the_distinct_controllers_ask_for() {
    // Two controllers under one selector: 3 + 2 asked for, of which one pod each runs.
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("a", &["s1"]);
    look.deploy("b", &["w1"]);
    look.scale("a", |scale| scale.replicas = 3);
    look.scale("b", |scale| scale.replicas = 2);
    look.protect("a", MinAvailablePercent(80)).selector = Selector::All(vec![is_in("app", &["a", "b"])]);
    assert_eq!(look.blocked(), [], "80 % of 5 are 4");
    look.budgets[0].limit = MinAvailablePercent(81);
    assert!(look.blocked()[0].1.contains("needs 5 of 5 pods"), "{:?}", look.blocked());
    // A plain minAvailable counts pods without a controller too.
    let loose = |name: &str| {
        let mut loose = pod(name, "a", "w1");
        loose.owner = None;
        loose
    };
    look.pods.push(loose("loose").into());
    look.budgets[0].limit = MinAvailable(5);
    assert_eq!(look.blocked(), [], "5 of 6");
}

#[test]
fn pods_without_a_controller_are_expected_by_a_plain_number_alone() {
    for (limit, text) in [
        (MaxUnavailable(1), Some("only pods without a controller")),
        (MinAvailablePercent(50), Some("only pods without a controller")),
        (MinAvailable(1), None),
        (MinAvailable(2), Some("needs 2 of 2 pods")),
    ] {
        let mut look = cluster(&["s1", "w1"]);
        look.deploy("tool", &["s1", "w1"]);
        look.pods.iter_mut().for_each(|pod| pod.owner = None);
        look.protect("tool", limit);
        let never = look.leaving("tool-0").never.map(|never| never.reason.to_string());
        match (text, &never) {
            (None, None) => {}
            (Some(text), Some(never)) => assert!(never.contains(text), "{limit:?}: {never}"),
            (Some(_) | None, _) => panic!("{limit:?}: {never:?}"),
        }
    }
}

#[test]
fn a_controller_whose_scale_is_not_known_is_counted_as_the_cluster_counts_it() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("own", &["s1", "w1"]);
    look.pods.iter_mut().for_each(|pod| pod.owner.as_mut().unwrap().kind = "Rollout".into());
    look.protect("own", MaxUnavailable(1)).expected_pods = 2;
    assert_eq!(look.blocked(), []);
    look.budgets[0].limit = MinAvailablePercent(90);
    assert!(look.blocked()[0].1.contains("needs 2 of 2 pods"), "{:?}", look.blocked());
}

#[test]
fn a_budget_that_cannot_be_worked_out_and_two_of_them_never_open() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "w1"]);
    look.protect("web", MinAvailable(1)).condition = BudgetCondition::SyncFailed("no scale".into());
    let found = look.blocked();
    assert!(found[0].1.contains("(no scale). Repair or delete it"), "{found:?}");

    look.budgets[0].condition = BudgetCondition::SufficientPods;
    assert_eq!(look.blocked(), []);
    let again = look.budgets[0].clone();
    look.budgets.push(again);
    assert_eq!(look.blocked(), [], "one that was listed twice");
    look.budgets.pop();
    for name in ["b", "c"] {
        let mut more = look.budgets[0].clone();
        more.name = name.into();
        look.budgets.push(more);
    }
    let found = look.blocked();
    assert!(found[0].1.contains("(shop/web, shop/b)") && found[0].1.contains("Leave one"), "{found:?}");
    // Nobody asks a budget about a pod that has not started, has finished or is going.
    for change in [Phase::Pending, Phase::Succeeded, Phase::Failed] {
        look.pod("web-0").phase = change;
        assert_eq!(look.blocked(), [], "{change:?}");
    }
}

#[test]
fn a_selector_takes_what_kubernetes_takes() {
    let of = |operator: Operator, values: &[&str]| Requirement { operator, ..is_in("app", values) };
    let cases = [
        (Selector::Nothing, false),
        (Selector::All(vec![]), true),
        (Selector::All(vec![of(Operator::In, &["x", "web"])]), true),
        (Selector::All(vec![of(Operator::In, &["x"])]), false),
        (Selector::All(vec![of(Operator::NotIn, &["x"])]), true),
        (Selector::All(vec![of(Operator::NotIn, &["web"])]), false),
        (Selector::All(vec![of(Operator::Exists, &[])]), true),
        (Selector::All(vec![of(Operator::DoesNotExist, &[])]), false),
        (Selector::All(vec![Requirement { key: "tier".into(), ..of(Operator::NotIn, &["x"]) }]), true),
        (Selector::All(vec![Requirement { key: "tier".into(), ..of(Operator::Exists, &[]) }]), false),
        (Selector::All(vec![of(Operator::Exists, &[]), of(Operator::In, &["web", "web"])]), true),
        (Selector::All(vec![of(Operator::In, &["web"]), of(Operator::NotIn, &["web"])]), false),
    ];
    for (selector, takes) in cases {
        let mut look = cluster(&["s1", "w1"]);
        look.deploy("web", &["s1"]);
        look.protect("web", MaxUnavailable(0)).selector = selector.clone();
        assert_eq!(look.blocked().len(), usize::from(takes), "{selector:?}");
        look.budgets[0].namespace = "other".into();
        assert_eq!(look.blocked(), [], "another namespace: {selector:?}");
    }
}

#[test]
fn one_that_is_not_ready_goes_always_never_or_when_the_others_are_well() {
    // limit, AlwaysAllow, Ready pods besides: never, slow
    let cases = [
        (MaxUnavailable(1), false, 0, Some("never lets one go that is not Ready"), None),
        (MaxUnavailable(1), true, 0, None, None),
        (MaxUnavailable(0), true, 0, None, None),
        (MinAvailable(2), false, 2, None, None),
        (MinAvailable(2), false, 1, None, Some("lets no pod go that is not Ready. Repair shop/web-0")),
        (MinAvailable(2), true, 1, None, None),
    ];
    for (limit, always, others, never, slow) in cases {
        let mut look = cluster(&["s1", "w1"]);
        let nodes = if limit == MinAvailable(2) { vec!["s1", "w1", "w1"] } else { vec!["s1"] };
        look.deploy("web", &nodes);
        look.pod("web-0").ready = false;
        if others == 1 {
            look.pods.pop();
        }
        look.protect("web", limit).always_allow_unhealthy = always;
        let found = look.leaving("web-0");
        let case = format!("{limit:?}, always {always}, {others} others: {found:?}");
        let says = |found: Option<&str>, text: Option<&str>| match (found, text) {
            (None, None) => true,
            (Some(found), Some(text)) => found.contains(text),
            (Some(_) | None, _) => false,
        };
        assert!(says(found.never.as_ref().map(|never| never.reason.as_str()), never), "{case}");
        assert!(says(found.slow.as_ref().map(|slow| slow.as_str()), slow), "{case}");
    }
}

#[test]
fn what_holds_a_budget_closed_is_named_with_what_opens_it() {
    let mut look = cluster(&["s1", "w1", "w2"]);
    look.deploy("web", &["s1", "w1", "w2"]);
    look.pod("web-1").ready = false;
    look.protect("web", MinAvailable(2));
    let slow = |look: &hostler_plan::drain::Look| look.leaving("web-0").slow.map(|slow| slow.to_string());
    let starts = "budget shop/web: it needs 2 healthy pods and has 2; it opens when shop/web-1 is Ready";
    assert_eq!(slow(&look).as_deref(), Some(starts));
    look.pod("web-1").broken = Some("CrashLoopBackOff".into());
    let broken = slow(&look).unwrap();
    assert!(broken.contains("shop/web-1 is not Ready (CrashLoopBackOff). Repair it"), "{broken}");
    look.budgets[0].condition = BudgetCondition::Missing;
    assert!(slow(&look).unwrap().contains("no status yet"), "{:?}", slow(&look));
    assert_eq!(look.blocked(), [], "no wait is a never");
}

#[test]
fn under_one_budget_the_first_go_and_those_with_nowhere_to_go_never() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("ml", &["s1", "s1", "s1", "w1"]);
    for at in 0..3 {
        look.pod(&format!("ml-{at}")).placement.node_selector.insert("disk".into(), "nvme".into());
    }
    look.protect("ml", MinAvailable(2));
    let found = look.blocked();
    assert_eq!(found.len(), 1, "two of the three may be away: {found:?}");
    let (pod, reason) = &found[0];
    assert!(pod == "shop/ml-2" && reason.contains("lets only 2 of its pods be away"), "{found:?}");
    assert!(reason.contains("(disk=nvme). Label another node disk=nvme"), "{found:?}");
    look.pods.truncate(2);
    assert_eq!(look.blocked(), []);
}

#[test]
fn pods_that_nobody_starts_again_are_lost_to_their_budget() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("lone", &["s1", "s1"]);
    look.protect("lone", MinAvailable(1));
    look.pods.iter_mut().for_each(|pod| pod.owner = None);
    let never = |look: &hostler_plan::drain::Look, pod| look.leaving(pod).never.map(|never| never.reason.to_string());
    assert_eq!(never(&look, "lone-0"), None, "the first may go");
    let reason = never(&look, "lone-1").unwrap();
    assert!(reason.contains("lets only 1 of its pods be away, and nobody starts it again"), "{reason}");
}

#[test]
fn what_a_budget_has_counts_an_eviction_that_its_status_does_not_show_yet() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "w1"]);
    let mut budget = look.protect("web", MinAvailable(1)).clone();
    // The API server took the disruption from what is allowed; the controller has not counted again.
    budget.disruptions_allowed = 0;
    assert_eq!((budget.desired_healthy, budget.current_healthy), (1, 2));
    assert_eq!(budget_needs(&budget, 0), "it needs 1 healthy pods and has 1");
    // Nothing of it is shown yet.
    budget.disruptions_allowed = 1;
    assert_eq!(budget_needs(&budget, 1), "it needs 1 healthy pods and has 1");
    assert_eq!(budget_needs(&budget, 0), "it needs 1 healthy pods and has 2");
}
