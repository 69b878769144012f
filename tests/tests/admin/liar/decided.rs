//! A coordinator that keeps back what was decided about a node, or does not show what the node holds of it.

use hostler_cli::{
    acceptance::{self, Known, Proof},
    node,
};
use hostler_plan::{
    document::{Decision, DocumentRef, NodeDecision, NodeMatter},
    health::{Level, Release},
};

use super::*;

fn s1() -> NodeName {
    NodeName::new("s1").unwrap()
}

/// A disk is let go: that can be decided of any node.
async fn decide(admin: &mut Admin) -> Result<acceptance::Done, Error> {
    let (subject, reason) = ("sda".to_owned(), "taken out".parse().unwrap());
    let release = Release { subject, disk: None, level: Level::Degraded, required: false, reason };
    Known::ask(admin, &s1()).await?.decide(admin, NodeMatter::Release(release)).await
}

/// The newest decision about the node that the coordinator shows.
async fn newest(admin: &mut Admin) -> (Digest, NodeDecision) {
    let shown = node::get(admin, &s1()).await.unwrap().decisions;
    let signed = Signed::from(shown.last().unwrap().clone());
    let decision: Decision = hostler_plan::json::parse(&signed.bytes).unwrap();
    (signed.digest(), decision.decided.about_node().unwrap().clone())
}

#[tokio::test]
async fn whatever_a_coordinator_says_to_a_decision_about_a_node_no_other_one_gets_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    for code in [Code::Internal, Code::PermissionDenied] {
        liar.lie(&[("SubmitDecision", Lie::No(code))]);
        decide(&mut connect(&anna).await.unwrap()).await.expect_err("it was kept back");
    }
    liar.lie(&[]);
    let mut admin = connect(&anna).await.unwrap();
    let done = decide(&mut admin).await.unwrap();
    assert_eq!((done.number, done.proof), (3, Proof::Held));
    let (_, decision) = newest(&mut admin).await;
    assert_eq!((decision.number, decision.also.len()), (3, 1), "it names the last one that was kept back");
    // Nothing is left over for the one after it.
    assert_eq!(decide(&mut admin).await.unwrap().number, 4);
    assert_eq!(newest(&mut admin).await.1.also, []);
    coordinator.end().await;
}

#[tokio::test]
async fn a_decision_that_the_node_holds_and_nobody_shows_is_said_and_the_next_one_counts_on_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    assert_eq!(decide(&mut connect(&bert).await.unwrap()).await.unwrap().proof, Proof::Held);
    let mut admin = connect(&anna).await.unwrap();
    let honest = node::get(&mut admin, &s1()).await.unwrap();
    let (digest, _) = newest(&mut admin).await;
    let without = v1::NodeDetail { decisions: Vec::new(), decision_number: 0, ..honest.clone() };
    liar.lie(&[("GetNode", Lie::Node(Box::new(without.clone())))]);
    let held = acceptance::held_by(&mut admin, &s1()).await.unwrap();
    let shown = |detail: &v1::NodeDetail| {
        let shown = acceptance::decisions(admin.trust_store(), &s1(), &detail.decisions).unwrap();
        acceptance::not_shown(&shown, held)
    };
    assert_eq!((shown(&honest), shown(&without)), (None, Some(DocumentRef { version: 1, digest })));
    hostler(folder, &anna, &["node", "show", "s1"]).await.unwrap();
    // The true coordinator takes it: it has the first one.
    assert_eq!(decide(&mut admin).await.unwrap().number, 2);
    liar.lie(&[]);
    assert_eq!(newest(&mut admin).await.1.also, [digest]);
    for said in [u64::MAX, 20_000] {
        let far = v1::NodeDetail { decision_number: said, ..without.clone() };
        liar.lie(&[("GetNode", Lie::Node(Box::new(far)))]);
        assert_eq!(refusal(decide(&mut admin).await), Refusal::Replay);
    }
    coordinator.end().await;
}
