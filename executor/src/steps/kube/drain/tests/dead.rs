//! A dead node that is given up: only while it is not Ready, and no longer than that.

use super::*;
use crate::conditions::tidy;

fn give_up(lab: &Lab, seq: u64) -> Signed {
    let steps = vec![
        Step::Cordon(step::Cordon { reason: "dead".parse().unwrap() }),
        Step::OutOfService(step::OutOfService { power_off_proof: "the plug is pulled".parse().unwrap() }),
    ];
    lab.fleet.plan(seq, vec![], |p| {
        (p.kind, p.tasks) = (PlanKind::Dead, vec![task("w1.work", "w1", "s1", &[], steps)]);
    })
}

fn node(lab: &Lab) -> crate::host::Node {
    lab.cluster().node("s1").unwrap().unwrap()
}

#[test]
fn a_silent_node_is_given_up_and_the_mark_goes_when_it_is_ready_again() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    let other = Taint { key: "gpu".into(), value: String::new(), effect: Effect::NoSchedule };
    {
        let mut state = lab.cluster().state();
        state.nodes[0].ready = NodeReady::Unknown { since: lab.fleet.now };
        state.nodes[0].taints.push(other.clone());
    }
    let (receipt, _) = lab.run(&give_up(&lab, 1));
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    assert!(receipt.steps[1].detail.contains("removes its 1 pod"), "{}", receipt.steps[1].detail);
    assert!(node(&lab).is_given_up() && lab.is_cordoned());
    assert!(lab.cluster().state().evicted.is_empty(), "nothing is evicted or deleted by us");
    // Twice is as good as once.
    assert_eq!(lab.run(&give_up(&lab, 2)).0.outcome, Outcome::Succeeded {});
    // While it is silent every server leaves the mark; once it is Ready it goes, and nothing else does.
    tidy("s1", lab.cluster(), lab.fleet.now, |_| false);
    assert!(node(&lab).is_given_up());
    lab.cluster().state().nodes[0].ready = NodeReady::Ready;
    tidy("s1", lab.cluster(), lab.fleet.now, |_| false);
    assert_eq!((node(&lab).taints, lab.is_cordoned()), (vec![other], true));
}

#[test]
fn a_node_that_is_ready_or_comes_back_before_the_mark_is_set_is_not_given_up() {
    let lab = Lab::new();
    let (receipt, _) = lab.run(&give_up(&lab, 1));
    let said = receipt.outcome.to_string();
    assert!(said.contains("s1 is Ready, so it is not dead") && said.contains("Nothing was touched"), "{said}");
    assert!(!lab.is_cordoned());
    // It comes back between the cordon and the mark.
    let mut state = lab.cluster().state();
    state.nodes[0].ready = NodeReady::NotReady;
    state.at_mark = Some(|state| state.nodes[0].ready = NodeReady::Ready);
    drop(state);
    let (receipt, _) = lab.run(&give_up(&lab, 2));
    let said = receipt.outcome.to_string();
    assert!(said.contains("Nothing was removed") && said.contains("s1 is schedulable again"), "{said}");
    assert!(!node(&lab).is_given_up() && !lab.is_cordoned());
}

#[test]
fn a_mark_of_somebody_else_is_left_and_named() {
    let lab = Lab::new();
    let theirs = Taint { key: Taint::OUT_OF_SERVICE.into(), value: "nodeshutdown".into(), effect: Effect::NoExecute };
    {
        let mut state = lab.cluster().state();
        state.nodes[0].ready = NodeReady::NotReady;
        state.nodes[0].taints.push(theirs.clone());
    }
    let (receipt, _) = lab.run(&give_up(&lab, 1));
    assert!(receipt.outcome.to_string().contains("nodeshutdown"), "{}", receipt.outcome);
    lab.cluster().state().nodes[0].ready = NodeReady::Ready;
    tidy("s1", lab.cluster(), lab.fleet.now, |_| false);
    assert_eq!(node(&lab).taints, [theirs]);
}
