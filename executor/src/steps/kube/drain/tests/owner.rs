//! Whose a cordon is: taken over from somebody, given away, and never lifted by who does not have it.

use hostler_plan::{
    sequencer::CordonOwner,
    step::{AdoptCordon, ReleaseCordon},
    timestamp::Timestamp,
};

use super::*;
use crate::{conditions::tidy, host::Node};

fn s1(lab: &Lab) -> Node {
    lab.cluster().node("s1").unwrap().unwrap()
}

/// A person's cordon of that moment.
fn kubectl_cordons(lab: &Lab, at: Timestamp) {
    let mut state = lab.cluster().state();
    let node = &mut state.nodes[0];
    (node.unschedulable, node.unschedulable_since) = (true, Some(at));
    node.unschedulable_by = Some("kubectl-cordon".into());
}

fn kubectl_uncordons(lab: &Lab) {
    let mut state = lab.cluster().state();
    let node = &mut state.nodes[0];
    (node.unschedulable, node.unschedulable_by, node.unschedulable_since) = (false, None, None);
}

fn run(lab: &Lab, seq: u64, kind: PlanKind, step: Step) -> Receipt {
    let plan = lab.fleet.plan(seq, vec![], |p| {
        (p.kind, p.tasks) = (kind, vec![task("w1.work", "w1", "s1", &[], vec![step])]);
    });
    lab.run(&plan).0
}

fn adopt(lab: &Lab, seq: u64) -> Receipt {
    run(lab, seq, PlanKind::Drain, Step::AdoptCordon(AdoptCordon { reason: "Kim is away".parse().unwrap() }))
}

fn release(lab: &Lab, seq: u64) -> Receipt {
    run(lab, seq, PlanKind::Uncordon, Step::ReleaseCordon(ReleaseCordon { reason: "the lab has it".parse().unwrap() }))
}

fn uncordon(lab: &Lab, seq: u64) -> Receipt {
    run(lab, seq, PlanKind::Uncordon, Step::Uncordon(Uncordon {}))
}

#[test]
fn a_cordon_that_was_taken_over_is_hostlers_to_lift_and_says_whose_it_was() {
    let lab = Lab::new();
    kubectl_cordons(&lab, lab.fleet.now);
    for seq in 1..3 {
        let receipt = adopt(&lab, seq);
        assert_eq!(receipt.outcome, Outcome::Succeeded {}, "twice is as good as once");
        assert!(receipt.steps[0].detail.contains("by kubectl-cordon is Hostler's"), "{}", receipt.steps[0].detail);
    }
    let node = s1(&lab);
    assert_eq!((node.cordoned_by(), node.cordoned_since()), (Some(CordonOwner::Hostler), Some(lab.fleet.now)));
    assert_eq!(node.unschedulable_by.as_deref(), Some("kubectl-cordon"), "as in managedFields: nothing changed");
    let note = node.cordon.unwrap();
    assert_eq!((note.signed_by, note.reason.as_str()), (vec!["ada".to_owned()], "Kim is away"));
    assert_eq!(note.adopted.unwrap().from, "kubectl-cordon");
    // A drain finds it, and leaves it where it fails.
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    lab.cluster().state().answers.insert("web-0".into(), vec![Eviction::Forbidden("no role".into())]);
    let tasks = lab.tasks(EmptyDirs::None, false);
    let (failed, _) = lab.run(&lab.fleet.plan(3, vec![], |p| (p.kind, p.tasks) = (PlanKind::Drain, tasks)));
    assert!(!failed.outcome.is_success() && lab.is_cordoned(), "{}", failed.outcome);
    assert_eq!(uncordon(&lab, 4).outcome, Outcome::Succeeded {});
    assert!(!lab.is_cordoned() && s1(&lab).cordon.is_none());
}

#[test]
fn whoever_lifts_a_cordon_that_was_taken_over_and_cordons_anew_has_one_of_their_own() {
    let lab = Lab::new();
    kubectl_cordons(&lab, lab.fleet.now);
    adopt(&lab, 1);
    kubectl_uncordons(&lab);
    tidy("s1", lab.cluster(), lab.fleet.now, |_| false);
    assert!(s1(&lab).cordon.is_none(), "the note says what is not true any more");
    adopt(&lab, 2);
    kubectl_cordons(&lab, lab.fleet.now);
    adopt(&lab, 3);
    kubectl_cordons(&lab, lab.fleet.now.plus(Duration::from_secs(60)));
    assert_eq!(s1(&lab).cordoned_by(), Some(CordonOwner::Other("kubectl-cordon".into())));
    let refused = uncordon(&lab, 4).outcome.to_string();
    assert!(refused.contains("hostler node adopt-cordon s1") && lab.is_cordoned(), "{refused}");
}

#[test]
fn nothing_is_taken_over_that_is_not_there_or_the_nodes_own() {
    let lab = Lab::new();
    let nothing = adopt(&lab, 1).outcome.to_string();
    assert!(nothing.contains("expected s1 cordoned by somebody else, found no cordon"), "{nothing}");
    let nothing = release(&lab, 2).outcome.to_string();
    assert!(nothing.contains("found no cordon; there is nothing to give away"), "{nothing}");
    let note = SelfCordon {
        rule: Rule::DiskSpace,
        reason: "the disk is full".into(),
        since: lab.fleet.now,
        was_unschedulable: false,
    };
    lab.cluster().cordon_itself(&s1(&lab), &note).unwrap();
    for receipt in [adopt(&lab, 3), release(&lab, 4)] {
        assert!(receipt.outcome.to_string().contains("takes back when it is well again"), "{}", receipt.outcome);
    }
    assert!(lab.is_cordoned() && s1(&lab).cordon.is_none());
}

#[test]
fn a_cordon_that_was_given_away_is_its_signers_until_it_is_taken_over_again() {
    let lab = Lab::new();
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
    for seq in 2..4 {
        let receipt = release(&lab, seq);
        assert_eq!(receipt.outcome, Outcome::Succeeded {}, "twice is as good as once");
        assert!(receipt.steps[0].detail.contains("stays cordoned by ada"), "{}", receipt.steps[0].detail);
    }
    let node = s1(&lab);
    assert!(node.shows.is_empty(), "Hostler's conditions go with its cordon: {:?}", node.shows);
    assert_eq!(node.cordoned_by(), Some(CordonOwner::Other("ada".into())));
    assert_eq!(node.cordon.unwrap().reason, "the lab has it");
    let refused = uncordon(&lab, 4).outcome.to_string();
    assert!(refused.contains("a cordon by ada") && lab.is_cordoned(), "{refused}");
    adopt(&lab, 5);
    assert_eq!(s1(&lab).cordon.unwrap().adopted.unwrap().from, "ada");
    assert_eq!(uncordon(&lab, 6).outcome, Outcome::Succeeded {});
    assert!(!lab.is_cordoned());
    // Somebody else's that was taken over and given away too.
    kubectl_cordons(&lab, lab.fleet.now);
    adopt(&lab, 7);
    release(&lab, 8);
    assert_eq!(s1(&lab).cordoned_by(), Some(CordonOwner::Other("ada".into())));
    adopt(&lab, 9);
    assert_eq!(s1(&lab).cordoned_by(), Some(CordonOwner::Hostler));
    kubectl_uncordons(&lab);
    tidy("s1", lab.cluster(), lab.fleet.now, |_| false);
    assert!(s1(&lab).cordon.is_none());
}

#[test]
fn a_drain_that_continues_passes_a_cordon_on_that_was_taken_over() {
    let lab = Lab::new();
    kubectl_cordons(&lab, lab.fleet.now);
    let adopts = lab.fleet.plan(1, vec![], |p| {
        let step = Step::AdoptCordon(AdoptCordon { reason: "Kim is away".parse().unwrap() });
        (p.kind, p.tasks) = (PlanKind::Drain, vec![task("w1.work", "w1", "s1", &[], vec![step])]);
    });
    assert_eq!(lab.run(&adopts).0.outcome, Outcome::Succeeded {});
    let tasks = lab.tasks(EmptyDirs::None, false);
    let drains = lab.fleet.plan(2, vec![], |p| {
        (p.kind, p.tasks, p.continues) = (PlanKind::Drain, tasks, Some(adopts.digest()));
    });
    assert_eq!(lab.run(&drains).0.outcome, Outcome::Succeeded {});
    let node = s1(&lab);
    assert_eq!(node.cordoned_by(), Some(CordonOwner::Hostler));
    assert_eq!(node.cordon.map(|note| note.plan), Some(drains.digest().to_string()));
    assert_eq!(uncordon(&lab, 3).outcome, Outcome::Succeeded {});
}
