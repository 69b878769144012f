//! Two admins who type at the same time: both commands do what they say, and no document is lost.

use std::collections::BTreeSet;

use super::*;

/// Anna and Bert on two machines, each enough alone.
async fn two_admins(folder: &Path, data: &Path) -> (Coordinator, Profile, Profile) {
    let coordinator = Coordinator::start(data, None).await;
    let anna = set_up(folder, data, coordinator.ports.0, 1).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    (coordinator, anna, bert)
}

#[tokio::test]
async fn two_rosters_and_two_roots_at_once_are_both_taken_because_the_second_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let (coordinator, anna, bert) = two_admins(folder, &data).await;
    let run = async |who: &Profile, line: &[&str]| super::root::hostler(folder, who, line).await;
    let mut revoked = BTreeSet::new();
    for round in 1..4 {
        let (one, other) = (format!("{round:016x}"), format!("{:016x}", round + 100));
        let lines = [["token", "revoke", &one], ["token", "revoke", &other]];
        let both = tokio::join!(run(&anna, &lines[0]), run(&bert, &lines[1]));
        both.0.unwrap();
        both.1.unwrap();
        revoked.extend([one, other]);
        let (days, hours) = (format!("{}d", 100 + round), format!("{round}h"));
        let lines = [("--lifetime", &days), ("--max-token-lifetime", &hours)];
        let lines = lines.map(|(flag, time)| ["trust", "amend", flag, time.as_str(), "--yes"]);
        let both = tokio::join!(run(&anna, &lines[0]), run(&bert, &lines[1]));
        both.0.unwrap();
        both.1.unwrap();
    }
    let mut admin = connect(&anna).await.unwrap();
    let roster = admin.trust_store().roster().unwrap().document();
    assert_eq!(roster.revoked_tokens.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), revoked);
    assert_eq!((roster.version, roster.also.len()), (6, 0));
    let root = admin.trust_store().root();
    assert_eq!((root.version, root.policy.max_admission_lifetime_seconds), (7, 3 * 3600));
    assert!(root.expires > now().plus(Duration::from_secs(102 * 86_400)), "{}", root.expires);
    // It may name the one that lost its place to the one before it.
    assert!(root.prev.is_some() && root.also.len() <= 1, "{:?}", root.also);
    assert_eq!(admin.forks(), [], "it is no alarm");
    let mut lines = Vec::new();
    ledger::export(&mut admin, 0, &mut lines, "memory".as_ref()).await.unwrap();
    assert_eq!(ledger::verify(&lines, None).unwrap().alarms, 0);
    coordinator.end().await;
}

/// Each means one new epoch, and the second one would be another.
#[tokio::test]
async fn an_epoch_that_two_raise_at_once_is_raised_once() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let (coordinator, anna, bert) = two_admins(folder, &data).await;
    // For another time, so that they are two documents and not one.
    let run = async |who: &Profile, life: &str| {
        let line = ["trust", "amend", "--raise-epoch", "--lifetime", life, "--yes"];
        super::root::hostler(folder, who, &line).await
    };
    let both = tokio::join!(run(&anna, "100d"), run(&bert, "200d"));
    let epoch = connect(&anna).await.unwrap().trust_store().root().epoch.0;
    match [both.0, both.1] {
        [Ok(()), Err(error)] | [Err(error), Ok(())] => {
            assert_eq!((error.word(), error.exit_code(), epoch), ("overtaken", 23, 2), "{error}");
        }
        // One of them was done before the other began: then both were meant.
        [Ok(()), Ok(())] => assert_eq!(epoch, 3),
        [Err(one), Err(other)] => panic!("{one}; {other}"),
    }
    coordinator.end().await;
}

/// What is made from a roster that is not the newest, and then from the newest.
#[tokio::test]
async fn an_overtaken_roster_follows_what_came_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let (coordinator, anna, bert) = two_admins(folder, &data).await;
    let (mut anna, mut bert) = (connect(&anna).await.unwrap(), connect(&bert).await.unwrap());
    let token = |text: &str| hostler_plan::id::TokenId::new(text).unwrap();
    let (one, other) = (token("0000000000000001"), token("0000000000000002"));
    let of_anna = roster::revoking(&mut anna, std::slice::from_ref(&one), now()).await.unwrap().unwrap();
    let of_bert = roster::revoking(&mut bert, std::slice::from_ref(&other), now()).await.unwrap().unwrap();
    roster::submit(&mut anna, &of_anna, now()).await.unwrap();
    let Err(Error::Overtaken { winner, .. }) = roster::submit(&mut bert, &of_bert, now()).await else {
        panic!("expected it to be overtaken")
    };
    assert_eq!(winner.digest(), of_anna.digest());
    roster::follow_winner(&mut bert).await.unwrap();
    let anew = roster::revoking(&mut bert, std::slice::from_ref(&other), now()).await.unwrap().unwrap();
    assert_eq!((anew.roster.prev, &anew.roster.revoked_tokens), (Some(of_anna.digest()), &vec![one, other]));
    assert_eq!(roster::submit(&mut bert, &anew, now()).await.unwrap(), 2);
    coordinator.end().await;
}
