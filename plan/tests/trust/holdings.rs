//! What a node signs about what it holds: by its own key only.

use hostler_fixtures as made;
use hostler_plan::{
    document::{DocumentKind, Holding, PlanRef, RosterStatus},
    id::{Digest, Seq},
    refusal::Refusal,
    trust,
};

use crate::fleet::*;

fn of_w1() -> Holding {
    made::holding(&root(), &roster(), "w1", &[&plan()])
}

fn refusal(holding: &Holding, kind: DocumentKind, seeds: &[u8]) -> Refusal {
    let signed = signed(kind, holding, seeds);
    trust::holding(&verified_roster(&roster()), &signed).expect_err("refused").refusal
}

#[test]
fn a_holding_counts_under_the_key_of_the_node_that_it_names() {
    let signed = signed(DocumentKind::Holding, &of_w1(), &[W1]);
    let holding = trust::holding(&verified_roster(&roster()), &signed).unwrap();
    assert_eq!((holding.document().holds.plan.unwrap().seq, holding.digest()), (Seq(42), signed.digest()));
}

#[test]
fn nobody_says_for_a_node_what_it_holds() {
    use DocumentKind::{Holding as Own, Receipt};
    assert_eq!(refusal(&of_w1(), Own, &[W2]), Refusal::BadSignature);
    assert_eq!(refusal(&of_w1(), Own, &[ADA]), Refusal::BadSignature, "an admin neither");
    assert_eq!(refusal(&of_w1(), Own, &[W1, W2]), Refusal::BadSignature);
    assert_eq!(refusal(&of_w1(), Own, &[]), Refusal::BadSignature);
    assert_eq!(refusal(&of_w1(), Receipt, &[W1]), Refusal::BadSignature, "another namespace");
    assert_eq!(refusal(&Holding { node: name("w9"), ..of_w1() }, Own, &[W1]), Refusal::BadSignature);
    assert_eq!(refusal(&Holding { fleet_id: other_fleet(), ..of_w1() }, Own, &[W1]), Refusal::WrongFleet);
    let mut contradiction = of_w1();
    contradiction.open.push(PlanRef { seq: Seq(43), digest: Digest::of(b"43") });
    assert_eq!(refusal(&contradiction, Own, &[W1]), Refusal::Malformed);
}

#[test]
fn a_retired_nodes_word_counts_no_more() {
    let mut retired = roster();
    retired.nodes[1].status = RosterStatus::Retired;
    let signed = signed(DocumentKind::Holding, &of_w1(), &[W1]);
    let refused = trust::holding(&verified_roster(&retired), &signed).expect_err("retired");
    assert_eq!(refused.refusal, Refusal::Revoked);
}
