//! A subject that the cluster knows under another name: steps act on the Node object that the plan names, while it is
//! on the machine that enrolled, and on no other one.

use hostler_plan::document::NodeObject;
use hostler_plan::refusal::Refusal;

use super::*;
use crate::testing::State;

const NAME: &str = "s1.rack-4.example.org";
/// What a shortened name would meet.
const SHORT: &str = "s1";

fn machine_id(digit: &str) -> String {
    digit.repeat(32)
}

/// A cluster that knows s1 as [`NAME`], where another machine is called s1.
fn lab() -> Lab {
    let lab = Lab::new();
    let mut state = lab.cluster().state();
    for (node, (name, digit)) in state.nodes.iter_mut().zip([(NAME, "a"), (SHORT, "b"), ("w1", "c")]) {
        (node.name, node.machine_id) = (name.to_owned(), machine_id(digit));
    }
    state.deploy("web", &[NAME, SHORT, "w1"]);
    drop(state);
    lab
}

fn plan(lab: &Lab, kind: PlanKind, steps: Vec<Step>) -> Signed {
    let seq = lab.fleet.executor(&lab.machine).unwrap().2.content().receipts.len() as u64 + 1;
    lab.fleet.plan(seq, vec![], |p| {
        (p.kind, p.tasks) = (kind, vec![task("w1.work", "w1", "s1", &[], steps)]);
        let machine_id = machine_id("a").parse().unwrap();
        p.node_objects = vec![NodeObject { node: "s1".parse().unwrap(), name: NAME.parse().unwrap(), machine_id }];
    })
}

fn drained(lab: &Lab) -> Receipt {
    let steps = lab.tasks(EmptyDirs::None, false).remove(0).steps;
    lab.run(&plan(lab, PlanKind::Drain, steps)).0
}

/// Of each Node object, whether it is cordoned and how many pods it has.
fn seen(lab: &Lab) -> Vec<(String, bool, usize)> {
    let state = lab.cluster().state();
    let on = |name: &String| state.pods.iter().filter(|pod| pod.node.as_ref() == Some(name)).count();
    state.nodes.iter().map(|node| (node.name.clone(), node.unschedulable, on(&node.name))).collect()
}

#[test]
fn it_is_drained_awaited_and_put_back_under_its_name_in_the_cluster() {
    let lab = lab();
    let receipt = drained(&lab);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    let [own, short, _] = &seen(&lab)[..] else { panic!("three nodes") };
    assert_eq!((own, short.1), (&(NAME.to_owned(), true, 0), false));
    assert!(short.2 >= 1, "the pod of the node that a shortened name is stays: {short:?}");
    let wait = step::AwaitReady { version: None, for_seconds: 10, timeout_seconds: 60 };
    let steps = vec![Step::AwaitReady(wait), Step::Uncordon(Uncordon {})];
    let (receipt, _) = lab.run(&plan(&lab, PlanKind::Uncordon, steps));
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert!(seen(&lab).iter().all(|(_, cordoned, _)| !cordoned), "{:?}", seen(&lab));
}

#[test]
fn nothing_is_touched_where_its_node_is_on_another_machine_gone_or_one_of_two() {
    let refused = |change: fn(&mut State)| {
        let lab = lab();
        change(&mut lab.cluster().state());
        let before = seen(&lab);
        let receipt = drained(&lab);
        assert_eq!(seen(&lab), before, "nothing is touched");
        let Outcome::Refused { refusal: Refusal::NotATarget, reason } = receipt.outcome else {
            panic!("expected refused, found {}", receipt.outcome)
        };
        reason
    };
    let other = refused(|state| state.nodes[0].machine_id = machine_id("d"));
    assert!(other.contains(&format!("expected s1 to be the Node {NAME}")), "{other}");
    assert!(other.contains("found no Node on it"), "{other}");
    let moved = refused(|state| {
        state.nodes[0].machine_id = machine_id("b");
        state.nodes[1].machine_id = machine_id("a");
    });
    assert!(moved.contains("found s1 on it"), "{moved}");
    let copied = refused(|state| state.nodes[2].machine_id = machine_id("a"));
    assert!(copied.contains(&format!("found {NAME}, w1 on it; copied disks have one id")), "{copied}");
}

#[test]
fn a_node_that_another_machine_takes_over_during_the_drain_is_left_alone() {
    let lab = lab();
    // When time passes for the first time, after the first eviction.
    lab.cluster().state().next = Some(|state| state.nodes[0].machine_id = machine_id("d"));
    let said = drained(&lab).outcome.to_string();
    assert!(
        said.contains("found the Node s1.rack-4.example.org on machine") && said.contains("stays cordoned"),
        "{said}"
    );
}
