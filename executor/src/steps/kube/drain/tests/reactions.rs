//! What a drain does about trouble, as its plan has it: it waits, stops, or keeps the cordon and asks.

use super::*;

fn with(lab: &Lab, timeout: u64, reactions: Reactions) -> Signed {
    let mut tasks = lab.tasks(EmptyDirs::None, false);
    tasks[0].steps[1] = Step::Drain(Drain { reactions, ..drain(timeout, EmptyDirs::None, false) });
    lab.fleet.plan(1, vec![], |p| (p.kind, p.tasks) = (PlanKind::Drain, tasks))
}

fn usual() -> Reactions {
    Reactions::default()
}

fn asks(receipt: &Receipt, lab: &Lab) -> bool {
    receipt.outcome.to_string().contains("until a person decides: `hostler drain s1 --continue`") && lab.is_cordoned()
}

#[test]
fn a_never_stops_before_anything_is_touched_asks_with_the_cordon_or_waits_until_the_time_is_up() {
    for never in Reaction::ALL {
        let lab = Lab::new();
        lab.cluster().state().deploy("cart", &["s1"]);
        lab.cluster().state().protect("cart", BudgetLimit::MinAvailable(1));
        let (receipt, _) = lab.run(&with(&lab, 30, Reactions { never, ..usual() }));
        let (reason, _) = blocked(&receipt);
        match never {
            Reaction::Stop => assert!(reason.contains("Nothing was touched") && receipt.steps.is_empty(), "{reason}"),
            Reaction::Ask => assert!(asks(&receipt, &lab), "{reason}"),
            Reaction::Wait => assert!(reason.contains("s1 is schedulable again") && !lab.is_cordoned(), "{reason}"),
        }
        let waited = receipt.ended.since(receipt.started) >= Duration::from_secs(30);
        assert_eq!(waited, never == Reaction::Wait, "{reason}");
        assert!(lab.cluster().state().evicted.is_empty());
    }
}

#[test]
fn a_slow_one_stops_or_asks_when_its_time_is_up_and_waits_on_where_that_is_the_policy() {
    for slow in Reaction::ALL {
        let lab = Lab::new();
        lab.cluster().state().deploy("db", &["s1", "w1"]);
        lab.cluster().state().pods[0].grace = Duration::from_secs(300);
        let (receipt, _) = lab.run(&with(&lab, 60, Reactions { slow, ..usual() }));
        match slow {
            Reaction::Stop => assert!(matches!(receipt.outcome, Outcome::TimedOut { .. }) && !lab.is_cordoned()),
            Reaction::Ask => {
                assert!(matches!(receipt.outcome, Outcome::TimedOut { .. }) && asks(&receipt, &lab));
            }
            Reaction::Wait => assert_eq!(receipt.outcome, Outcome::Succeeded {}),
        }
    }
}

#[test]
fn a_silent_node_is_waited_for_where_that_is_the_policy() {
    for (unreachable, comes_back) in [(Reaction::Stop, false), (Reaction::Wait, false), (Reaction::Wait, true)] {
        let lab = Lab::new();
        lab.cluster().state().deploy("web", &["s1", "w1"]);
        lab.cluster().state().nodes[0].ready = NodeReady::Unknown { since: lab.fleet.now };
        lab.cluster().state().next = comes_back.then_some(|state| state.nodes[0].ready = NodeReady::Ready);
        let (receipt, _) = lab.run(&with(&lab, 30, Reactions { unreachable, ..usual() }));
        match (unreachable, comes_back) {
            (_, true) => assert_eq!(receipt.outcome, Outcome::Succeeded {}),
            (Reaction::Wait, false) => {
                let said = receipt.outcome.to_string();
                assert!(said.contains("waits for s1, which has been silent since") && lab.is_cordoned(), "{said}");
            }
            (Reaction::Stop | Reaction::Ask, false) => {
                assert!(matches!(receipt.outcome, Outcome::Unreachable { .. }), "{}", receipt.outcome);
            }
        }
    }
}

#[test]
fn who_uncordons_is_waited_for_where_that_is_the_policy_and_nothing_leaves_meanwhile() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    lab.cluster().state().deploy("cart", &["s1", "w1"]);
    lab.cluster().state().next =
        Some(|state| (state.nodes[0].unschedulable, state.nodes[0].unschedulable_by) = (false, None));
    let (receipt, _) = lab.run(&with(&lab, 30, Reactions { taken_over: Reaction::Wait, ..usual() }));
    let said = receipt.outcome.to_string();
    assert!(matches!(receipt.outcome, Outcome::TimedOut { .. }) && said.contains("uncordoned s1"), "{said}");
    assert!(lab.cluster().node("s1").unwrap().unwrap().cordon.is_none(), "our note does not stay");
}
