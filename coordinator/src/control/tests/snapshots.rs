//! Which snapshots a node may hand in: those that its own receipts name, of tasks that were to take them, and that
//! stay.

use hostler_plan::{
    document::{PlanKind, SealedSnapshot, TakenSnapshot},
    step::{Step, etcd},
};

use super::*;

/// `a-3` with a whole time for its number.
fn in_full(snapshot: &str) -> String {
    let (node, second) = snapshot.split_once('-').unwrap();
    format!("{node}-20261128T20150{second}Z")
}

/// A receipt of `name` that names a snapshot.
fn named(
    plan: &Plan,
    name: &str,
    (grant, previous): (u64, Option<Digest>),
    snapshot: &str,
    sealed: bool,
) -> (NodeName, Signed) {
    let content = SealedSnapshot { digest: Digest::of(snapshot.as_bytes()), size: 7 };
    let taken = TakenSnapshot {
        name: in_full(snapshot),
        cluster_id: "ab".to_owned(),
        revision: 12,
        kubernetes: "v1.36.3".to_owned(),
        sealed: sealed.then_some(content),
    };
    let receipt = made::receipt(plan, &format!("{name}.check"));
    let counter = plan.seq.0;
    let ended = at(counter * 86_400);
    let receipt = Receipt { grant, counter, previous, ended, observations: taken.observations(), ..receipt };
    (node(name), signed(DocumentKind::Receipt, &receipt, &[&key(seed(name))]))
}

/// Plan `seq`, in which `a` takes a snapshot and `b` does nothing, granted to both.
fn granted(fleet: &mut Fleet, seq: u64, keep: u32) -> Plan {
    let mut plan = fleet.plan(seq);
    plan.kind = PlanKind::Snapshot;
    plan.tasks[0].steps = vec![Step::SnapshotEtcd(etcd::Snapshot { keep, days: 30, to: Vec::new() })];
    assert_eq!(plan.tasks[0].node, node("a"));
    fleet.submit(at(2), &plan).unwrap();
    fleet.look(at(2));
    plan
}

#[test]
fn only_what_a_receipt_of_the_node_names_is_taken_and_only_as_many_as_stay() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    fleet.attach(at(1), "b").unwrap();
    let (mut grant, mut before) = (1, [None, None]);
    for seq in 1..=3 {
        let plan = granted(&mut fleet, seq, 2);
        let taken = named(&plan, "a", (grant, before[0]), &format!("a-{seq}"), true);
        // No step of b's takes a snapshot.
        let claimed = named(&plan, "b", (grant + 1, before[1]), &format!("b-{seq}"), true);
        before = [Some(taken.1.digest()), Some(claimed.1.digest())];
        let answers = fleet.control.receipts(at(3), vec![taken, claimed]);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        fleet.look(at(3));
        grant += 2;
    }
    let snapshots = &fleet.control.state().snapshots;
    let may = |name: &str, snapshot: &str| snapshots.of_node(&node(name), &in_full(snapshot), at(4 * 86_400)).is_some();
    assert_eq!([may("a", "a-3"), may("a", "a-2"), may("a", "a-1")], [true, true, false], "two stay");
    assert!(!may("b", "a-3") && !may("b", "b-3") && !may("a", "a-4"));
    assert_eq!(snapshots.all().count(), 3);
    assert_eq!(snapshots.stay(at(365 * 86_400)).len(), 1, "the newest stays whatever its age");
}

#[test]
fn a_name_of_another_node_and_a_plain_snapshot_are_nothing_to_hand_in() {
    for (snapshot, sealed) in [("b-1", true), ("a-1", false)] {
        let mut fleet = Fleet::new();
        fleet.attach(at(1), "a").unwrap();
        let plan = granted(&mut fleet, 1, 7);
        assert!(fleet.control.receipts(at(3), vec![named(&plan, "a", (1, None), snapshot, sealed)])[0].is_ok());
        let snapshots = &fleet.control.state().snapshots;
        assert!(snapshots.of_node(&node("a"), &in_full(snapshot), at(4)).is_none(), "{snapshot}");
    }
}
