//! How many pods leave at a time, and in which order.

use super::*;

/// The seconds from the first eviction to each.
fn at(lab: &Lab) -> Vec<(String, u64)> {
    let state = lab.cluster().state();
    let first = state.evicted[0].1;
    state.evicted.iter().map(|(name, at)| (name.clone(), at.since(first).as_secs())).collect()
}

#[test]
fn without_a_budget_a_quarter_of_a_deployment_is_away_at_a_time() {
    let lab = Lab::new();
    let mut nodes = vec!["s1"; 8];
    nodes.extend(["w1"; 4]);
    lab.cluster().state().deploy("web", &nodes);
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
    let at = at(&lab);
    assert_eq!(at.iter().filter(|(_, seconds)| *seconds == 0).count(), 3, "{at:?}");
    assert_eq!(lab.cluster().state().fewest_ready["web"], 9, "3 of 12");
    assert!(at[7].1 < 60, "three rounds of 10 s of grace and 5 s of start: {at:?}");
}

#[test]
fn with_a_budget_as_many_go_as_it_allows_and_nobody_asks_in_vain() {
    let lab = Lab::new();
    let mut nodes = vec!["s1"; 6];
    nodes.extend(["w1"; 4]);
    lab.cluster().state().deploy("web", &nodes);
    lab.cluster().state().protect("web", BudgetLimit::MaxUnavailable(4));
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
    let at = at(&lab);
    assert_eq!(at.iter().filter(|(_, seconds)| *seconds == 0).count(), 4, "{at:?}");
    assert_eq!(lab.cluster().state().refused, 0, "a budget that says no is not asked");
}

#[test]
fn a_stateful_set_leaves_one_by_one_from_its_highest_number() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("db", &["s1"; 11]);
        for pod in &mut state.pods {
            pod.owner.as_mut().unwrap().kind = "StatefulSet".into();
        }
        state.protect("db", BudgetLimit::MaxUnavailable(5));
    }
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
    let at = at(&lab);
    let names: Vec<&str> = at.iter().map(|(name, _)| name.as_str()).take(3).collect();
    assert_eq!(names, ["db-10", "db-9", "db-8"], "{at:?}");
    assert_eq!(lab.cluster().state().fewest_ready["db"], 10);
}

/// KubeVirt's webhook denies the first eviction and moves the machine; its budget opens when that is done.
#[test]
fn a_machine_that_moves_once_it_is_asked_is_asked_though_its_budget_is_closed() {
    fn moves_once_asked(state: &mut crate::testing::State) {
        if state.answers["vm-0"].is_empty() {
            state.budgets.clear();
        } else {
            state.next = Some(moves_once_asked);
        }
    }
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("vm", &["s1"]);
        let owner = state.pods[0].owner.as_mut().unwrap();
        (owner.kind, owner.api_version) = ("VirtualMachineInstance".into(), "kubevirt.io/v1".into());
        state.protect("vm", BudgetLimit::MinAvailable(1));
        state.answers.insert("vm-0".into(), vec![Eviction::Busy { retry_after: None }]);
        state.next = Some(moves_once_asked);
    }
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
    assert_eq!(lab.cluster().state().evicted.len(), 1);
}
