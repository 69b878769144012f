//! A coordinator that shows another document than the one that was named, or the one that was handed in as its own
//! winner.

use hostler_plan::{id::TaskId, sequencer::RolloutAction};

use super::*;

async fn checked(admin: &mut Admin) -> Seq {
    let compiled = compile_check(admin).await;
    let mut signed = Signed { bytes: compiled.bytes, signatures: Vec::new() };
    sign(admin, &mut signed);
    submit(admin, &signed).await.unwrap();
    watch(admin, compiled.plan.seq).await;
    compiled.plan.seq
}

#[tokio::test]
async fn nothing_is_signed_or_asked_for_a_rollout_that_was_not_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    let (other, named) = (checked(&mut admin).await.to_string(), checked(&mut admin).await.to_string());
    let shown = rollout::get(&mut admin, &other).await.unwrap();
    let task = TaskId::new(&shown.tasks[0].id).unwrap();
    liar.lie(&[("GetRollout", Lie::Rollout(Box::new(shown)))]);
    for action in [RolloutAction::Pause, RolloutAction::Halt, RolloutAction::Resume, RolloutAction::Release(task)] {
        let ended = rollout::control(&mut admin, &named, &action, "a reason").await;
        assert_eq!(refusal(ended), Refusal::DigestMismatch, "{action:?}");
    }
    let error = hostler(folder, &anna, &["rollout", "show", &named]).await.expect_err("another rollout");
    assert!(error.to_string().contains("do not rely on what it says"), "{error}");
    hostler(folder, &anna, &["rollout", "show", &other]).await.unwrap();
    coordinator.end().await;
}
