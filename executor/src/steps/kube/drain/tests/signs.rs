//! What a drain shows on nodes, and that nothing of it is left.

use super::*;
use crate::host::{DrainCondition, Node, WAITING_TAINT, Waiting};

/// A plan that drains s1, then w1; w2 is not in it.
fn two_nodes(lab: &Lab, kind: PlanKind) -> Signed {
    let mut tasks = lab.tasks(EmptyDirs::None, false);
    let steps = tasks[0].steps.clone();
    tasks.push(task("w1.next", "w1", "w1", &["w1.work"], steps));
    lab.fleet.plan(1, vec![], |p| (p.kind, p.tasks) = (kind, tasks))
}

fn kept_off(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().filter(|n| n.waiting().is_some()).map(|n| n.name.as_str()).collect()
}

#[test]
fn pods_are_kept_off_the_nodes_that_come_next_for_as_long_as_the_drain_takes() {
    for blocks in [false, true] {
        let lab = Lab::new();
        lab.cluster().state().deploy("web", &["s1", "w1"]);
        if blocks {
            let told = vec![Eviction::Busy { retry_after: None }, Eviction::SeveralBudgets("two budgets".into())];
            lab.cluster().state().answers = [("web-0".to_owned(), told)].into();
        }
        lab.cluster().state().next = Some(|state| assert_eq!(kept_off(&state.nodes), ["w1"]));
        let (receipt, _) = lab.run(&two_nodes(&lab, PlanKind::Drain));
        assert_eq!(receipt.outcome == Outcome::Succeeded {}, !blocks, "{}", receipt.outcome);
        assert!(lab.cluster().state().next.is_none(), "it was looked at in between");
        assert!(kept_off(&lab.cluster().state().nodes).is_empty(), "blocks: {blocks}");
    }
}

#[test]
fn the_nodes_conditions_tell_of_the_drain_and_go_with_the_cordon() {
    use DrainCondition::{DrainInProgress, Drained, MaintenanceInProgress, MaintenancePlanned};
    for (kind, shown) in [
        (PlanKind::Drain, vec![vec![DrainInProgress], vec![Drained]]),
        (PlanKind::Reboot, vec![vec![DrainInProgress, MaintenancePlanned], vec![Drained, MaintenanceInProgress]]),
    ] {
        let lab = Lab::new();
        lab.cluster().state().deploy("web", &["s1", "w1"]);
        assert_eq!(lab.run(&two_nodes(&lab, kind)).0.outcome, Outcome::Succeeded {});
        let found: Vec<_> = shown.into_iter().map(|conditions| ("s1".to_owned(), conditions)).collect();
        assert_eq!(lab.cluster().state().shown, found);
        let back = vec![task("w1.work", "w1", "s1", &[], vec![Step::Uncordon(Uncordon {})])];
        let plan = lab.fleet.plan(2, vec![], |p| (p.kind, p.tasks) = (PlanKind::Uncordon, back));
        assert_eq!(lab.run(&plan).0.outcome, Outcome::Succeeded {});
        let node = lab.cluster().node("s1").unwrap().unwrap();
        assert!(!node.unschedulable && node.shows.is_empty() && node.cordon.is_none(), "{node:?}");
    }
}

#[test]
fn a_drain_that_fails_shows_nothing_afterwards() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    lab.cluster().state().deploy("cart", &["s1", "w1"]);
    lab.cluster().state().answers =
        [("web-0".to_owned(), vec![Eviction::SeveralBudgets("more than one".into())])].into();
    let (receipt, _) = lab.drain();
    assert!(matches!(receipt.outcome, Outcome::Blocked { .. }), "{}", receipt.outcome);
    let node = lab.cluster().node("s1").unwrap().unwrap();
    assert!(!node.unschedulable && node.shows.is_empty(), "{node:?}");
}

#[test]
fn the_taints_value_is_read_as_it_was_written() {
    let waiting =
        Waiting { seq: hostler_plan::id::Seq(12), until: hostler_plan::timestamp::Timestamp::from_unix_seconds(7) };
    assert_eq!(Waiting::read(&waiting.to_string()), Some(waiting));
    assert_eq!(Waiting::read("somebody's"), None);
    let taint = Taint { key: WAITING_TAINT.into(), value: "x".into(), effect: Effect::PreferNoSchedule };
    let node = Node { taints: vec![taint], ..crate::testing::node("w1") };
    assert!(node.waiting().unwrap().until < waiting.until, "one that cannot be read is over");
}
