//! What a profile keeps of the plans that it was shown and handed in, and what a coordinator says of them afterwards.

use super::*;

fn stop_by_hand(home: &Path) -> document::Plan {
    let plans = std::fs::read_dir(home.join("plans")).unwrap().flatten().map(|file| file.path());
    let stops = plans.filter(|path| path.extension().is_some_and(|e| e == "json"));
    let stops = stops.map(|path| hostler_plan::json::parse::<document::Plan>(&std::fs::read(path).unwrap()).unwrap());
    stops.max_by_key(|plan| plan.seq).expect("a stop lies there")
}

/// Anna hands in nothing; what others hand in, nodes hold.
#[tokio::test]
async fn a_stop_that_is_made_by_hand_is_above_every_plan_that_a_contact_showed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    let mut admin = connect(&bert).await.unwrap();
    let plan = document::Plan { seq: Seq(5_000), ..compile_check(&mut admin).await.plan };
    let of_bert = signed(&admin, &plan);
    submit(&mut admin, &of_bert).await.unwrap();
    hostler(folder, &anna, &["nodes"]).await.unwrap();
    // A number that somebody signed and nobody follows leads nowhere.
    let far = document::Plan { seq: Seq(50_000), ..plan };
    let far = signed(&admin, &far);
    let show_far = move |reply: &mut v1::TrustReply| {
        (reply.highest_seq, reply.newest_plan) = (50_000, Some(far.clone().into()));
    };
    liar.lie(&[("GetTrust", Lie::Trust(Arc::new(show_far)))]);
    hostler(folder, &anna, &["nodes"]).await.unwrap();
    liar.lie(&[("Challenge", Lie::No(Code::Unavailable))]);
    let ended = hostler(folder, &anna, &["stop", "--all", "--yes"]).await;
    assert!(ended.expect_err("nobody has it").to_string().contains("hostler-executor accept"));
    let stop = stop_by_hand(&anna.home);
    assert_eq!((stop.seq, stop.prev), (Seq(7_500), Some(of_bert.digest())));
    coordinator.end().await;
}

/// It was signed by enough, and whoever shows it with fewer signatures has it from here.
#[tokio::test]
async fn no_plan_that_was_handed_in_waits_for_signatures_again_and_none_below_the_last_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar_with(folder, 2).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    let bert = connect(&bert).await.unwrap();
    let mut admin = connect(&anna).await.unwrap();
    let mut handed_in = Vec::new();
    for _ in 0..3 {
        let compiled = compile_check(&mut admin).await;
        let mut one = Signed { bytes: compiled.bytes, signatures: Vec::new() };
        sign(&admin, &mut one);
        let mut both = one.clone();
        sign(&bert, &mut both);
        liar.lie(&[("SubmitPlan", Lie::No(Code::Internal))]);
        submit(&mut admin, &both).await.unwrap_err();
        handed_in.push(one);
        let plans = handed_in.iter().cloned().map(Into::into).collect();
        liar.lie(&[("ListReservedPlans", Lie::Reserved(v1::ReservedPlansReply { plans }))]);
        let next = compile_check(&mut admin).await.plan;
        assert_eq!(next.keeps_valid, [], "each of them ends, after {}", handed_in.len());
    }
    coordinator.end().await;
}

/// With fewer signatures than it was handed in with it is nothing that counts, and its number stays taken.
#[tokio::test]
async fn no_root_and_no_roster_that_was_handed_in_is_taken_from_a_coordinator_that_shows_it_unsigned() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    liar.lie(&[("SubmitRoster", Lie::No(Code::Internal)), ("InstallRoot", Lie::No(Code::Internal))]);
    let next = roster::same(&mut admin, now()).await.unwrap();
    roster::submit(&mut admin, &next, now()).await.unwrap_err();
    let (_, root) = shown::next_root(&admin, 100);
    hostler_cli::root::submit(&mut admin, &root).await.unwrap_err();
    let unsigned = |bytes: &[u8]| v1::SignedDocument { content: bytes.to_vec(), signatures: Vec::new() };
    let (roster_shown, root_shown) = (unsigned(&next.bytes), unsigned(&root.signed().bytes));
    let show_roster = move |reply: &mut v1::TrustReply| {
        reply.trust.as_mut().unwrap().roster = Some(roster_shown.clone());
    };
    let show_root = move |reply: &mut v1::TrustReply| {
        reply.trust.as_mut().unwrap().roots = vec![root_shown.clone()];
    };
    for lie in [Lie::Trust(Arc::new(show_roster)), Lie::Trust(Arc::new(show_root))] {
        liar.lie(&[("GetTrust", lie)]);
        assert_eq!(refusal(connect(&anna).await), Refusal::BadSignature);
        let held = hostler_cli::trust_store::TrustStore::require(&anna.home).unwrap();
        assert_eq!((held.root().version, held.roster().unwrap().document().version), (1, next.roster.version - 1));
    }
    liar.lie(&[]);
    let mut admin = connect(&anna).await.unwrap();
    let after = roster::same(&mut admin, now()).await.unwrap();
    assert_eq!((after.roster.version, after.roster.also), (next.roster.version + 1, vec![next.digest()]));
    let (made, _) = shown::next_root(&admin, 101);
    assert_eq!(made.version, 2);
    coordinator.end().await;
}

/// Nodes hold what others handed in, and refuse what is not above it.
#[tokio::test]
async fn a_stop_is_above_a_plan_that_was_only_seen_here_and_that_the_ledger_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    enrol_s1(folder, &mut connect(&anna).await.unwrap()).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    let ports = coordinator.end().await;
    copy(&data, &folder.join("before"));
    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut admin = connect(&bert).await.unwrap();
    let compiled = compile_check(&mut admin).await;
    let of_bert = signed(&admin, &document::Plan { seq: Seq(40), ..compiled.plan });
    submit(&mut admin, &of_bert).await.unwrap();
    hostler(folder, &anna, &["nodes"]).await.unwrap();
    coordinator.end().await;
    let coordinator = Coordinator::start(&folder.join("before"), Some(ports)).await;
    hostler(folder, &anna, &["stop", "--all", "--wait", "1s", "--yes"]).await.unwrap();
    let stop = stop_by_hand(&anna.home);
    assert_eq!((stop.seq, stop.prev, stop.also), (Seq(41), None, vec![of_bert.digest()]));
    coordinator.end().await;
}

#[tokio::test]
async fn of_two_plans_that_were_made_under_one_number_one_machine_hands_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    let mut both = Vec::new();
    for _ in 0..2 {
        let title = format!("the one with number {}", both.len());
        let plan = document::Plan { title, ..compile_check(&mut admin).await.plan };
        let signed = signed(&admin, &plan);
        both.push(signed);
    }
    liar.lie(&[("SubmitPlan", Lie::No(Code::Internal))]);
    submit(&mut admin, &both[0]).await.unwrap_err();
    liar.lie(&[]);
    assert_eq!(refusal(submit(&mut admin, &both[1]).await), Refusal::Overtaken);
    assert!(submit(&mut admin, &both[0]).await.unwrap().is_new, "the same one once more");
    coordinator.end().await;
}
