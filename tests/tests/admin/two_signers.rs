//! docs/two-signers.md, word by word: its commands, in its order, on two machines, against a real coordinator.

use hostler_plan::id::TokenId;

use super::*;

/// Who types a command, and its words.
fn commands() -> Vec<(String, Vec<String>)> {
    let page = include_str!("../../../docs/two-signers.md");
    let mut commands = Vec::new();
    let mut who = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &who) {
            (Some(fence), None) => who = Some(fence.strip_prefix("sh ").expect("whose machine it is").to_owned()),
            (Some(_), Some(_)) => who = None,
            (None, Some(who)) => commands.push((who.clone(), line.split(' ').map(str::to_owned).collect())),
            (None, None) => {}
        }
    }
    commands
}

/// The machine that the page calls w1, with the join string that Anna's machine is about to print.
fn start_w1(folder: &Path, anna: &Profile, token: &TokenId, coordinator: &Coordinator) {
    let store = hostler_cli::trust_store::TrustStore::require(&anna.home).unwrap();
    let key = anna.home.join("tokens").join(token.as_str());
    let join = JoinString {
        fleet_id: store.root().fleet_id.clone(),
        address: format!("localhost:{}", coordinator.ports.2.port()),
        ca_pin: store.root().coordinator_ca[0],
        root: store.trusted().digest(),
        token: token.clone(),
        token_key: std::fs::read_to_string(key).unwrap(),
    };
    start_agents(folder, &[("w1", join.encode())]);
}

#[tokio::test]
async fn the_page_of_two_signers_is_followed_word_by_word() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    std::fs::write(folder.join("fleet.toml"), FLEET).unwrap();
    let held = |of: &Profile| hostler_cli::trust_store::TrustStore::require(&of.home).unwrap();
    let mut token = None;
    let commands = commands();
    assert!(commands.len() >= 14, "{commands:?}");
    for (who, words) in commands {
        let typed = words.join(" ");
        let profile = if who == "anna" { &anna } else { &bert };
        assert_eq!(words[0], "hostler");
        // In the folder that the two of them pass files through, and yes to every question.
        let in_folder = |w: &String| if w.ends_with(".json") { format!("FOLDER/{w}") } else { w.clone() };
        let mut line: Vec<String> = words[1..].iter().map(in_folder).collect();
        if words[1] == "sign" || words[2] == "approve" {
            line.push("--yes".to_owned());
        }
        line.extend(["--fleet".to_owned(), "FOLDER/fleet.toml".to_owned()]);
        if (who.as_str(), words[1].as_str()) == ("anna", "submit") {
            let waits: Vec<_> = std::fs::read_dir(anna.home.join("tokens")).unwrap().collect();
            let [Ok(waits)] = waits.as_slice() else { panic!("one private half, found {waits:?}") };
            let id = TokenId::new(waits.file_name().into_string().unwrap()).unwrap();
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(waits.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            start_w1(folder, &anna, &id, &coordinator);
            token = Some(id);
        }
        if words[1..3] == ["node".to_owned(), "list".to_owned()] {
            let mut admin = connect(&anna).await.unwrap();
            all_enrolled(&mut admin, 1).await;
        }
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        super::root::hostler(folder, profile, &line).await.unwrap_or_else(|e| panic!("{who}: {typed}: {e}"));
        match (who.as_str(), words[1].as_str()) {
            // What is signed once is nowhere in force.
            ("anna", "sign") if words[2] == "root.json" => assert_eq!(held(&anna).root().version, 1),
            ("anna", "node") if words[2] == "approve" => assert!(held(&anna).roster().is_none()),
            ("anna", "submit") => assert!(!anna.home.join("tokens").join(token.as_ref().unwrap().as_str()).exists()),
            _ => {}
        }
    }
    assert_eq!(held(&bert).root().thresholds.roster, 2);
    let roster = held(&bert).roster().unwrap().document().clone();
    assert_eq!((roster.nodes.len(), &roster.nodes[0].enrolled.token), (1, token.as_ref().unwrap()));
    // Bert's machine had no file of the first plan when it made the second one.
    let plan = |file: &str| std::fs::read(folder.join(file)).unwrap();
    let second: document::Plan = hostler_plan::json::parse(&plan("second.plan.json")).unwrap();
    let beside: Vec<Digest> = second.keeps_valid.iter().map(|kept| kept.digest).collect();
    assert!(beside.contains(&Digest::of(&plan("first.plan.json"))), "{beside:?}");
    coordinator.end().await;
}

#[tokio::test]
async fn one_of_two_signers_changes_nothing_and_an_overtaken_roster_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    let run = async |who: &Profile, line: &[&str]| super::root::hostler(folder, who, line).await;
    run(&anna, &["trust", "amend", "--threshold-admission", "2", "--threshold-roster", "2", "--yes"]).await.unwrap();
    run(&anna, &["token", "create", "--out", "FOLDER/token.json"]).await.unwrap();
    assert_eq!(refusal(run(&anna, &["submit", "FOLDER/token.json"]).await), Refusal::Threshold);
    let again = run(&anna, &["sign", "FOLDER/token.json", "--yes"]).await.expect_err("once a key");
    assert_eq!(again.exit_code(), 2, "{again}");
    let id = std::fs::read_dir(anna.home.join("tokens")).unwrap().next().unwrap().unwrap().file_name();
    let early = run(&anna, &["token", "join-string", id.to_str().unwrap()]).await.expect_err("not accepted yet");
    assert!(early.to_string().contains("not there yet"), "{early}");

    // Two rosters on one: the second one is overtaken, and says so before anybody touches a key for it.
    run(&anna, &["token", "revoke", "0123456789abcdef", "--out", "FOLDER/one.json"]).await.unwrap();
    run(&bert, &["token", "revoke", "fedcba9876543210", "--out", "FOLDER/two.json"]).await.unwrap();
    assert_eq!(refusal(run(&anna, &["submit", "FOLDER/one.json"]).await), Refusal::Threshold);
    run(&bert, &["sign", "FOLDER/one.json", "--yes"]).await.unwrap();
    run(&bert, &["submit", "FOLDER/one.json"]).await.unwrap();
    run(&anna, &["submit", "FOLDER/one.json"]).await.expect("twice is once");
    let overtaken = run(&anna, &["sign", "FOLDER/two.json", "--yes"]).await;
    assert_eq!(refusal(overtaken), Refusal::Overtaken);
    // So with roots: the second one is overtaken, and no alarm.
    for (who, life, file) in [(&anna, "100d", "FOLDER/one-root.json"), (&bert, "200d", "FOLDER/two-root.json")] {
        run(who, &["trust", "amend", "--lifetime", life, "--out", file]).await.unwrap();
        run(who, &["sign", file, "--yes"]).await.unwrap();
    }
    run(&anna, &["submit", "FOLDER/one-root.json"]).await.unwrap();
    for line in [["submit", "FOLDER/two-root.json", "--yes"], ["sign", "FOLDER/two-root.json", "--yes"]] {
        let overtaken = run(&bert, &line).await.expect_err("another one was taken");
        assert_eq!((overtaken.word(), overtaken.exit_code()), ("overtaken", 23), "{overtaken}");
    }
    coordinator.end().await;
}
