//! A coordinator that keeps back what a server read of the pods, or hands on something else: the preview says so, and
//! nobody waits for it for long.

use std::time::Instant;

use hostler_cli::plan::pods;
use hostler_fixtures as made;
use hostler_plan::{
    document::{Plan, View},
    id::Nonce,
    step::Step,
};

use super::*;

/// A plan that drains s1.
fn drains(admin: &Admin) -> Plan {
    let roster = admin.trust_store().require_roster().unwrap().document();
    let mut plan = made::plan(roster, now(), 1);
    plan.tasks[0].steps = vec![Step::Drain(made::cluster::drain(600))];
    plan
}

/// Why the pods of s1 are not shown.
async fn not_shown(admin: &mut Admin) -> String {
    let plan = drains(admin);
    let began = Instant::now();
    let pods = pods::look_again(admin, &plan, now()).await.unwrap().expect("it drains something");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(pods.preview.views, [], "nothing of it is believed");
    pods.check().unwrap();
    let text = pods.preview.text(false);
    assert!(text.starts_with("pods are not shown: ") && text.lines().count() == 1, "{text}");
    text
}

#[tokio::test]
async fn no_view_but_a_servers_own_for_this_question_is_believed_and_none_is_waited_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    compile_check(&mut admin).await;
    assert!(not_shown(&mut admin).await.contains("s1: it has no credentials for an API server (s1)"));

    let key = std::fs::read(folder.join("state-s1/executor/node.key")).unwrap();
    let own = PrivateKey::from_openssh(key).unwrap();
    let roster = admin.trust_store().require_roster().unwrap().document().clone();
    let old: View = made::view(&roster, "s1", &Nonce::from_bytes([6; 32]));
    let by = |key: &PrivateKey| made::signed_bytes(DocumentKind::View, old.written(), &[key]);
    let mut altered = by(&own);
    altered.bytes[9] ^= 1;
    let lie = |signed: Signed| Lie::View(v1::GetViewReply { view: Some(signed.into()), not_shown: String::new() });
    for (lie, says) in [
        (lie(by(&own)), "expected s1's view for the question that was asked"),
        (lie(by(&made::fresh_key())), "expected one signature by s1's key"),
        (lie(altered), "counts for nothing"),
        (Lie::View(v1::GetViewReply { view: None, not_shown: "no\x1b[2J".into() }), "no\\u{1b}[2J"),
        (Lie::No(Code::Unimplemented), "(s1)"),
        (Lie::Mute, "has not answered in 8 s"),
    ] {
        liar.lie(&[("GetView", lie)]);
        let said = not_shown(&mut admin).await;
        assert!(said.contains(says), "{says}: {said}");
    }
    coordinator.end().await;
}
