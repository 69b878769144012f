//! A verdict is accepted, gets worse and is withdrawn, with the programs as they are: what is signed reaches the node's
//! executor, outlives it, and counts at the coordinator.

use std::time::Duration;

use hostler_cli::{
    acceptance::{Known, Proof},
    error::Error,
    fleet,
};
use hostler_plan::{document::NodeMatter, health::Level, refusal::Refusal, timestamp::Timestamp};
use hostler_proto::v1::{NodeDetail, Verdict};

use super::*;

/// Any use of the root file system beyond that is a verdict at once, so that every machine has one to accept.
fn fleet_that_finds_it_full() -> String {
    let limit = "raise = 0.00001\nclear = 0.000001\nhold_seconds = 0\n";
    format!("{FLEET}group = \"full\"\n[groups.full.health.limits.disk_used]\n{limit}")
}

async fn detail(node: &mut Node) -> NodeDetail {
    hostler_cli::node::get(&mut node.stand.admin, &"w1".parse().unwrap()).await.unwrap()
}

/// The verdict about `/` once it stands like that.
async fn full(node: &mut Node, accepted: bool) -> Verdict {
    until(&format!("disk_space / is accepted: {accepted}"), async || {
        let found = detail(node).await.standing.into_iter().find(|v| v.rule == "disk_space" && v.subject == "/");
        found.filter(|v| v.accepted.is_some() == accepted)
    })
    .await
}

fn in_days(days: u64) -> Timestamp {
    now().plus(Duration::from_secs(days * 86_400))
}

async fn accept(node: &mut Node, verdict: &str, until: Timestamp) -> Result<bool, Error> {
    let admin = &mut node.stand.admin;
    let known = Known::ask(admin, &"w1".parse().unwrap()).await?;
    let matter = known.accept(verdict, until, "it is meant to be full".parse().unwrap())?;
    Ok(known.decide(admin, matter).await?.proof == Proof::Held)
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (Refusal, String) {
    match result {
        Err(Error::Refused(refused)) => (refused.refusal, refused.reason),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[tokio::test]
async fn an_accepted_verdict_is_held_by_the_node_and_shown_until_it_is_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path()).await;
    fleet::put(&mut node.stand.admin, fleet_that_finds_it_full().into_bytes()).await.unwrap();
    let found = full(&mut node, false).await;
    assert_eq!(found.level(), Level::Degraded.into());
    // What cannot be, with the way out.
    let (refusal, reason) = refused(accept(&mut node, "nvme_wear", in_days(1)).await);
    assert_eq!((refusal, reason.contains("disk_space /")), (Refusal::NotATarget, true), "{reason}");
    assert_eq!(refused(accept(&mut node, "disk_space /", in_days(91)).await).0, Refusal::Malformed);
    assert_eq!(refused(accept(&mut node, "disk_space /", Timestamp::from_unix_seconds(1)).await).0, Refusal::Malformed);
    // What can.
    assert!(accept(&mut node, "disk_space /", in_days(30)).await.unwrap(), "the node signed that it holds it");
    let shown = full(&mut node, true).await;
    assert_eq!(shown.accepted.unwrap().reason, "it is meant to be full");
    let of_it = detail(&mut node).await.verdicts.into_iter().find(|v| v.accepted.is_some()).unwrap();
    assert!(of_it.sentence.contains("; accepted until"), "{}", of_it.sentence);
    for half in [Half::Executor, Half::Agent] {
        node.kill(half);
        node.begin(half);
    }
    let admin = &mut node.stand.admin;
    let w1 = "w1".parse().unwrap();
    until("the node still holds it", async || {
        let held = hostler_cli::acceptance::held_by(admin, &w1).await.unwrap();
        held.filter(|held| held.version == 1)
    })
    .await;
    let known = Known::ask(admin, &w1).await.unwrap();
    let matter = known.withdraw("disk_space /").unwrap();
    assert!(matches!(matter, NodeMatter::Withdraw { .. }));
    known.decide(admin, matter).await.unwrap();
    full(&mut node, false).await;
}
