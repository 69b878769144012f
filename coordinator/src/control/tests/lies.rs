//! What one node says of others, and how much of it is remembered.

use hostler_plan::{
    document::{Holding, Holds, PlanRef},
    id::{Digest, TaskId},
};

use super::*;

#[test]
fn what_a_node_says_of_the_work_of_others_keeps_no_lease() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    let plan = fleet.plan(1);
    let digest = fleet.submit(at(2), &plan).unwrap().digest;
    assert_eq!(fleet.look(at(2)).iter().filter(|told| told.contains("grant")).count(), 2);
    let before = fleet.ledger.lock().records.len();
    let task = Some(TaskId::new("b.check").unwrap());
    let attach = Attach {
        node: node("a"),
        key: public(&key(seed("a"))).fingerprint(),
        boot_id: BootId::new("b1").unwrap(),
        address: "127.0.0.1".parse().unwrap(),
        root_version: 1,
        lost_receipts: Vec::new(),
        receipt_counter: 0,
        holding: None,
        running: Some(RunningTask { plan: digest, task, grant: 2 }),
    };
    fleet.control.attach(at(100), attach).unwrap();
    // Both leases began in second 2 and last for two minutes.
    fleet.control.look(at(200));
    assert_eq!(fleet.ledger.words_from(before), ["lease_expired", "lease_expired"]);
}

#[test]
fn a_node_that_lies_hides_no_fork_that_another_one_tells_of() {
    let mut fleet = Fleet::new();
    let plan = fleet.plan(1);
    fleet.submit(at(2), &plan).unwrap();
    let (root, roster) = (fleet.root.clone(), fleet.roster.clone());
    let holds = |name: &str, number: u32| {
        let other = |k: u32| PlanRef { seq: plan.seq, digest: Digest::of(format!("{name} {number} {k}").as_bytes()) };
        let open: Vec<PlanRef> = (0..16).map(other).collect();
        let held = made::holding(&root, &roster, name, &[&plan]);
        let held = Holding { holds: Holds { plan: open.first().copied(), ..held.holds }, open, ..held };
        signed(DocumentKind::Holding, &held, &[&key(seed(name))])
    };
    for number in 0..10 {
        fleet.control.holding(at(3), &node("a"), &holds("a", number)).unwrap();
    }
    fleet.control.holding(at(3), &node("b"), &holds("b", 0)).unwrap();
    let told_by = |name: &str| fleet.control.forks().filter(|(_, by, _)| **by == node(name)).count();
    assert!(told_by("a") < 20, "a node that lies fills nothing");
    assert!(told_by("b") > 0, "and hides nothing");
}

#[test]
fn nodes_that_lie_leave_room_in_the_answer_that_tells_of_their_forks() {
    let mut fleet = Fleet::new();
    let plan = fleet.plan(1);
    fleet.submit(at(2), &plan).unwrap();
    let (root, roster) = (fleet.root.clone(), fleet.roster.clone());
    for name in ["a", "b"] {
        let other = |k: u32| PlanRef { seq: plan.seq, digest: Digest::of(format!("{name} {k}").as_bytes()) };
        let open: Vec<PlanRef> = (0..100).map(other).collect();
        let held = made::holding(&root, &roster, name, &[&plan]);
        let held = Holding { holds: Holds { plan: open.first().copied(), ..held.holds }, open, ..held };
        let signed = signed(DocumentKind::Holding, &held, &[&key(seed(name))]);
        assert!(signed.bytes.len() > 10 << 10, "{}", signed.bytes.len());
        fleet.control.holding(at(3), &node(name), &signed).unwrap();
    }
    let told = fleet.control.told_forks();
    let bytes: usize = told.iter().map(|(_, _, holding)| holding.signed().bytes.len()).sum();
    assert!(told.len() < fleet.control.forks().count() && bytes <= 128 << 10, "{} of {bytes} bytes", told.len());
    for name in ["a", "b"] {
        assert!(told.iter().filter(|(_, by, _)| **by == node(name)).count() > 2, "{name} has its turns");
    }
}
