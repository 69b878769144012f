//! A coordinator that shows another document than the one that was named, or the one that was handed in as its own
//! winner.

use hostler_cli::root;
use hostler_plan::{id::TaskId, sequencer::RolloutAction, trust::Amendment};

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
    let shown = rollout::get(&mut admin, &other).await.unwrap();
    liar.lie(&[("WatchRollout", Lie::Watched(Box::new(shown)))]);
    let mut seen = Vec::new();
    let mut see = |detail: &v1::RolloutDetail| {
        seen.push(detail.clone());
        Ok(())
    };
    assert_eq!(refusal(rollout::watch(&mut admin, &named, &mut see).await), Refusal::DigestMismatch);
    assert_eq!(seen, [], "nothing of another rollout is shown");
    liar.lie(&[("GetRollout", Lie::Rollout(Box::new(rollout::get(&mut admin, &other).await.unwrap())))]);
    let error = hostler(folder, &anna, &["rollout", "show", &named]).await.expect_err("another rollout");
    assert!(error.to_string().contains("do not rely on what it says"), "{error}");
    hostler(folder, &anna, &["rollout", "show", &other]).await.unwrap();
    coordinator.end().await;
}

fn overtaken(winner: &Signed) -> Lie {
    let reply = v1::DocumentReply { overtaken_by: Some(winner.clone().into()), ..v1::DocumentReply::default() };
    Lie::Document(reply)
}

/// The next root with another lifetime, by Anna.
pub(super) fn next_root(admin: &Admin, days: u64) -> (document::Root, Draft<document::Root>) {
    let expires = now().plus(Duration::from_secs(days * 86400)).whole_seconds();
    let made = root::amend(admin, &[Amendment::Expires(expires)], now()).unwrap();
    let mut draft = Draft::root(Signed { bytes: made.bytes, signatures: Vec::new() }).unwrap();
    root::sign(admin.trust_store(), admin.signer(), &mut draft, now()).unwrap();
    (made.root, draft)
}

/// Whether it was refused, said to have lost to itself, or to one of before: some nodes may have been shown it.
#[tokio::test]
async fn every_root_that_was_handed_in_is_named_by_those_of_the_next_number() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut kept_back: Vec<Signed> = Vec::new();
    for (days, refusal) in [(100, None), (101, Some(Refusal::Replay)), (102, Some(Refusal::Overtaken))] {
        let mut admin = connect(&anna).await.unwrap();
        let (_, draft) = next_root(&admin, days);
        let lie = match refusal {
            None => Lie::No(Code::Internal),
            Some(Refusal::Replay) => overtaken(draft.signed()),
            Some(_) => overtaken(&kept_back[0]),
        };
        liar.lie(&[("InstallRoot", lie)]);
        let error = root::submit(&mut admin, &draft).await.expect_err("a lie");
        assert_eq!(refusal.map(|r| r.word()), refusal.map(|_| error.word()), "{error}");
        kept_back.push(draft.signed().clone());
    }
    liar.lie(&[]);
    let mut admin = connect(&anna).await.unwrap();
    let (_, draft) = next_root(&admin, 103);
    root::submit(&mut admin, &draft).await.unwrap();
    let digests: Vec<Digest> = kept_back.iter().map(Signed::digest).collect();
    // Also after one of the next number was kept back.
    for lie in [Some(("InstallRoot", Lie::No(Code::Internal))), None] {
        liar.lie(&lie.clone().into_iter().collect::<Vec<_>>());
        let mut admin = connect(&anna).await.unwrap();
        let (made, draft) = next_root(&admin, 104);
        assert_eq!((made.version, &made.also), (3, &digests));
        assert_eq!(root::submit(&mut admin, &draft).await.is_err(), lie.is_some());
    }
    coordinator.end().await;
}

#[tokio::test]
async fn no_plan_and_no_roster_is_overtaken_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    let compiled = compile_check(&mut admin).await;
    let plan = signed(&admin, &compiled.plan);
    liar.lie(&[("SubmitPlan", overtaken(&plan))]);
    assert_eq!(refusal(submit(&mut admin, &plan).await), Refusal::Replay);
    let next = roster::same(&mut admin, now()).await.unwrap();
    let signature = admin.signer().sign(DocumentKind::Roster, &next.bytes).unwrap();
    liar.lie(&[("SubmitRoster", overtaken(&Signed { bytes: next.bytes.clone(), signatures: vec![signature] }))]);
    assert_eq!(refusal(roster::submit(&mut admin, &next, now()).await), Refusal::Replay);
    coordinator.end().await;
}

/// One that lay there since before, in the place of one that some nodes may have been shown.
#[tokio::test]
async fn no_roster_is_handed_in_below_one_that_was_but_for_the_one_that_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    liar.lie(&[("SubmitRoster", Lie::No(Code::Internal))]);
    let mut kept_back = Vec::new();
    for _ in 0..2 {
        let next = roster::same(&mut admin, now()).await.unwrap();
        roster::submit(&mut admin, &next, now()).await.unwrap_err();
        kept_back.push(next);
    }
    liar.lie(&[]);
    let low = document::Roster { also: vec![Digest::ZERO], ..kept_back[0].roster.clone() };
    let low = roster::Next { bytes: hostler_plan::json::write(&low), roster: low };
    assert_eq!(refusal(roster::submit(&mut admin, &low, now()).await.map(drop)), Refusal::Overtaken);
    let next = roster::same(&mut admin, now()).await.unwrap();
    assert_eq!(next.roster.version, kept_back[1].roster.version + 1);
    roster::submit(&mut admin, &next, now()).await.unwrap();
    liar.lie(&[("SubmitRoster", Lie::No(Code::Internal))]);
    let above = roster::same(&mut admin, now()).await.unwrap();
    roster::submit(&mut admin, &above, now()).await.unwrap_err();
    liar.lie(&[]);
    roster::submit(&mut admin, &next, now()).await.expect("the one that is held, once more");
    let after = roster::same(&mut admin, now()).await.unwrap();
    assert_eq!((after.roster.version, after.roster.also), (above.roster.version + 1, vec![above.digest()]));
    coordinator.end().await;
}

/// The root after them names eight at most; with any of them it goes on.
#[tokio::test]
async fn a_ninth_root_of_one_number_is_not_handed_in_and_one_of_the_eight_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    for days in 100..109 {
        liar.lie(&[("InstallRoot", Lie::No(Code::Internal))]);
        let (_, draft) = next_root(&admin, days);
        let refused = root::submit(&mut admin, &draft).await;
        if days < 108 {
            assert!(matches!(refused, Err(Error::Coordinator { .. })), "{refused:?}");
        } else {
            assert_eq!(refusal(refused), Refusal::Forked);
            assert_eq!(liar.told.load(Ordering::SeqCst), 0, "nobody was shown it");
        }
    }
    liar.lie(&[]);
    let kept = std::fs::read_dir(anna.home.join("roots")).unwrap().map(|file| file.unwrap().path());
    let kept: Vec<PathBuf> = kept.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert_eq!(kept.len(), 8);
    hostler(folder, &anna, &["submit", kept[3].to_str().unwrap(), "--yes"]).await.unwrap();
    let (made, _) = next_root(&connect(&anna).await.unwrap(), 110);
    assert_eq!((made.version, made.also.len()), (3, 7), "with the one that it follows all eight");
    coordinator.end().await;
}
