//! Stops and what nodes prove: a signed stop reaches every node, whoever holds the coordinator, and a coordinator that
//! was put back shows.

use hostler_cli::{
    delivery::{self, Delivery, Wanted},
    stop::{self, Which},
};
use hostler_executor::host::{Host as _, HostFile};
use hostler_plan::{
    document::{Holding, Plan, PlanRef, RosterStatus},
    json,
    trust::Verified,
};
use hostler_sim::host::COORDINATOR;

use super::*;

/// An agent on a simulated machine, until it is stopped. The coordinator runs on `s1`.
pub(super) struct Agent {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<hostler_executor::Ended, NodeError>>,
}

impl Agent {
    fn start(folder: &Path, name: &str) -> Self {
        let name = NodeName::new(name).unwrap();
        let world = SharedWorld::new(World::new(1, [(name.clone(), Arch::Aarch64)]), 10.0);
        let host = Arc::new(SimHost::here(world, name.clone()).unwrap());
        if name.as_str() == "s1" {
            let settings = HostFile { content: Vec::new(), mode: 0o600, uid: 0, gid: 0 };
            host.write_file(Path::new(COORDINATOR), &settings).unwrap();
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let node = Node::new(folder.join(format!("state-{name}")), folder.join(format!("join-{name}")), name);
        Self { stop, running: tokio::spawn(node.run(host, shutdown)) }
    }

    pub(super) async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
    }
}

/// `s1` and `w1`, listed in the roster.
async fn two_nodes(folder: &Path, admin: &mut Admin) -> [Agent; 2] {
    for (name, role) in [("s1", ClusterRole::Server), ("w1", ClusterRole::Worker)] {
        let request = token::TokenRequest { uses: 1, lifetime: PATIENCE * 10, role, approval: Approval::Automatic };
        let join = token::create(admin, &request, now()).await.unwrap();
        std::fs::write(folder.join(format!("join-{name}")), join.encode()).unwrap();
    }
    let agents = [Agent::start(folder, "s1"), Agent::start(folder, "w1")];
    all_enrolled(admin, 2).await;
    let (waiting, _) = roster::pending(admin).await.unwrap();
    roster::list(admin, &waiting, now()).await.unwrap();
    let active = |n: &&document::RosterNode| n.status == RosterStatus::Active;
    assert_eq!(admin.trust_store().roster().unwrap().document().nodes.iter().filter(active).count(), 2);
    agents
}

/// A check that may begin in an hour: it is open and nothing of it is granted.
pub(super) async fn submit_for_later(admin: &mut Admin, only: Option<&str>) -> Verified<Plan> {
    // A node that is not connected yet is left out of a check of all.
    let mut plan = loop {
        let plan = compile_check(admin).await.plan;
        if only.is_none_or(|only| plan.tasks.iter().any(|task| task.node.as_str() == only)) {
            break plan;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    if let Some(only) = only {
        plan.targets.retain(|target| target.node.as_str() == only);
        plan.tasks.retain(|task| task.node.as_str() == only);
        plan.tasks.iter_mut().for_each(|task| task.after.clear());
    }
    plan.not_before = plan.created.plus(Duration::from_secs(3600));
    let mut signed = Signed { bytes: json::write(&plan), signatures: Vec::new() };
    sign(admin, &mut signed);
    let verified = plan::verify(admin.trust_store(), &signed, now()).unwrap();
    plan::submit(admin, &verified).await.unwrap();
    verified
}

async fn submit_stop(admin: &mut Admin, which: Which) -> Verified<Plan> {
    let stop = stop::compile(admin, &which, now()).await.unwrap();
    let plan = stop.sign(admin.trust_store(), admin.signer(), now()).expect("one key is enough");
    plan::submit(admin, &plan).await.unwrap();
    plan
}

async fn delivered(admin: &mut Admin, plan: &Verified<Plan>) -> Delivery {
    delivery::wait(admin, Wanted::plan(plan), PATIENCE).await.unwrap()
}

/// What a node signed last, as the command verifies it.
async fn word_of(admin: &mut Admin, node: &str) -> Holding {
    let request = admin.with_session(hostler_proto::v1::Empty {});
    let said = admin.client().list_holdings(request).await.unwrap().into_inner().nodes;
    let holding = said.into_iter().find(|n| n.node == node).and_then(|n| n.holding).expect("it signed one");
    let roster = admin.trust_store().roster().unwrap();
    hostler_plan::trust::holding(roster, &holding.into()).unwrap().document().clone()
}

fn reference(plan: &Verified<Plan>) -> PlanRef {
    PlanRef { seq: plan.document().seq, digest: plan.digest() }
}

/// A coordinator, its first admin and two nodes.
pub(super) async fn with_two_nodes(folder: &Path) -> (Coordinator, Profile, Admin, [Agent; 2]) {
    let data = folder.join("data");
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let agents = two_nodes(folder, &mut admin).await;
    (coordinator, profile, admin, agents)
}

#[tokio::test]
async fn a_node_that_is_no_target_of_a_newer_plan_ends_the_work_of_the_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, _, mut admin, agents) = with_two_nodes(folder).await;

    let older = submit_for_later(&mut admin, None).await;
    assert!(delivered(&mut admin, &older).await.is_complete());
    assert!(word_of(&mut admin, "w1").await.open.contains(&reference(&older)));
    let stopped = submit_stop(&mut admin, Which::One(older.document().seq.to_string())).await;
    let newer = submit_for_later(&mut admin, Some("s1")).await;
    assert_eq!(newer.document().keeps_valid, [], "a stop is no work that goes on");
    assert!(delivered(&mut admin, &newer).await.is_complete(), "w1 holds it too");
    for node in ["s1", "w1"] {
        let open = word_of(&mut admin, node).await.open;
        assert!(!open.contains(&reference(&older)) && !open.contains(&reference(&stopped)), "{node}: {open:?}");
    }
    for agent in agents {
        agent.stop().await;
    }
    coordinator.end().await;
}

#[tokio::test]
async fn a_node_that_was_away_during_a_stop_hears_of_it_and_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, _, mut admin, [s1, w1]) = with_two_nodes(folder).await;
    let kept = submit_for_later(&mut admin, Some("s1")).await;
    let ended = submit_for_later(&mut admin, None).await;
    assert!(delivered(&mut admin, &ended).await.is_complete());
    w1.stop().await;

    let seq = ended.document().seq.to_string();
    rollout::control(&mut admin, &seq, &hostler_plan::sequencer::RolloutAction::Halt, "smoke").await.unwrap();
    let stopped = submit_stop(&mut admin, Which::One(seq)).await;
    assert_eq!(stopped.document().keeps_valid, [reference(&kept)], "the others go on");
    let wait = async {
        loop {
            let delivered = delivery::of(&mut admin, Wanted::plan(&stopped)).await.unwrap();
            if !delivered.proved.is_empty() {
                break delivered;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let partly = tokio::time::timeout(PATIENCE, wait).await.expect("s1 proves it");
    let missing = partly.missing.first().expect("w1 is away");
    assert_eq!((missing.node.as_str(), missing.since), ("w1", stopped.document().created));
    assert!(missing.last_word.is_some() && partly.text().contains("not proved since"), "{}", partly.text());

    let w1 = Agent::start(folder, "w1");
    assert!(delivered(&mut admin, &stopped).await.is_complete());
    assert_eq!(word_of(&mut admin, "w1").await.open, [reference(&stopped), reference(&kept)]);
    s1.stop().await;
    w1.stop().await;
    coordinator.end().await;
}

#[tokio::test]
async fn a_stop_is_signed_under_an_expired_root() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, _, mut admin, _agents) = with_two_nodes(folder).await;
    let plan = submit_for_later(&mut admin, None).await;
    let late = admin.trust_store().root().expires.plus(Duration::from_secs(1));
    let stop = stop::compile(&mut admin, &Which::All, late).await.unwrap();
    assert_eq!((stop.ended.len(), stop.kept.len()), (1, 0));
    let signed = stop.sign(admin.trust_store(), admin.signer(), late);
    let stopped = signed.expect("an expired root is no hindrance");
    assert_eq!(refusal(plan::verify(admin.trust_store(), plan.signed(), late)), Refusal::Expired);
    plan::submit(&mut admin, &stopped).await.unwrap();
    assert!(delivered(&mut admin, &stopped).await.is_complete());
    coordinator.end().await;
}

#[tokio::test]
async fn a_stop_waits_for_no_roster_to_be_signed_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, _, mut admin, _agents) = with_two_nodes(folder).await;
    super::root::amend_and_submit(&mut admin, &[hostler_plan::trust::Amendment::RaiseEpoch]).await;
    assert!(admin.trust_store().roster().is_none() && admin.trust_store().lapsed().is_some());
    submit_stop(&mut admin, Which::All).await;
    coordinator.end().await;
}

#[tokio::test]
async fn of_two_admins_at_once_one_is_overtaken_and_makes_the_plan_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    let mut anna = connect(&anna).await.unwrap();
    let _agents = two_nodes(folder, &mut anna).await;
    let mut bert = connect(&bert).await.unwrap();
    let stops = [
        stop::compile(&mut anna, &Which::All, now()).await.unwrap(),
        stop::compile(&mut bert, &Which::All, now()).await.unwrap(),
    ];
    let winner = stops[0].sign(anna.trust_store(), anna.signer(), now()).unwrap();
    let loser = stops[1].sign(bert.trust_store(), bert.signer(), now()).unwrap();
    assert_ne!(winner.digest(), loser.digest());
    plan::submit(&mut anna, &winner).await.unwrap();
    let error = plan::submit(&mut bert, &loser).await.expect_err("overtaken");
    assert_eq!((error.word(), error.exit_code()), ("overtaken", 23));
    let Error::Overtaken { winner: shown, .. } = error else { panic!("{error}") };
    assert_eq!(shown.digest(), winner.digest());
    let anew = submit_stop(&mut bert, Which::All).await;
    assert_eq!((anew.document().seq, anew.document().prev), (Seq(2), Some(winner.digest())));
    anna.refresh().await.unwrap();
    assert_eq!(anna.forks(), [], "it is no alarm");
    coordinator.end().await;
}

#[tokio::test]
async fn a_coordinator_that_shows_two_admins_two_plans_is_found_and_a_stop_names_both() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna_profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert_profile = profile(folder, "bert", coordinator.ports.0);
    import(&anna_profile, &bert_profile);
    let mut anna = connect(&anna_profile).await.unwrap();
    let _agents = two_nodes(folder, &mut anna).await;
    let ports = coordinator.end().await;
    copy(&data, &folder.join("before"));

    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut anna = connect(&anna_profile).await.unwrap();
    let of_anna = submit_for_later(&mut anna, None).await;
    assert!(delivered(&mut anna, &of_anna).await.is_complete());
    coordinator.end().await;

    let coordinator = Coordinator::start(&folder.join("before"), Some(ports)).await;
    let mut bert = connect(&bert_profile).await.unwrap();
    let of_bert = submit_for_later(&mut bert, Some("s1")).await;
    assert_eq!(of_bert.document().prev, of_anna.document().prev, "two plans after one");
    let mut anna = connect(&anna_profile).await.unwrap();
    let wait = async {
        while bert.forks().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            bert.refresh().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the nodes say so, also to bert");
    let fork = bert.forks().remove(0);
    assert_eq!(fork.other, of_anna.digest());
    assert!(fork.sentence().contains(&of_anna.digest().to_string()));

    let (fleet, _) = Fleet::from_toml(&[("fleet.toml", FLEET)]).unwrap();
    let check = Intent::Check { nodes: Selection::All };
    let refused = plan::compile(&mut anna, &fleet, &check, None, now()).await;
    assert_eq!(refusal(refused), Refusal::Forked, "anna's own memory knows her plan");
    let stopped = submit_stop(&mut anna, Which::All).await;
    assert_eq!(stopped.document().prev, Some(of_bert.digest()));
    assert_eq!(stopped.document().also, [of_anna.digest()]);
    bert.refresh().await.unwrap();
    assert_eq!(bert.forks(), []);
    assert!(delivered(&mut anna, &stopped).await.is_complete());
    plan::compile(&mut anna, &fleet, &check, None, now()).await.unwrap();
    coordinator.end().await;
}

/// The words of `hostler`, with anna's profile and key.
async fn hostler(profile: &Profile, words: &str) -> Result<(), Error> {
    let (home, key) = (profile.home.to_str().unwrap(), profile.key.path.as_ref().unwrap().to_str().unwrap());
    let fleet = profile.home.join("fleet.toml");
    let global = ["hostler", "--home", home, "--key", key, "--fleet", fleet.to_str().unwrap(), "--coordinator"];
    let address = profile.coordinator.as_deref().unwrap();
    let words = global.into_iter().chain([address]).chain(words.split(' '));
    let cli = <hostler_cli::args::Cli as clap::Parser>::try_parse_from(words).unwrap();
    hostler_cli::command::run(cli, &[]).await
}

/// Somebody on call has a disk that lost, or changed, what the profile goes by.
#[tokio::test]
async fn a_damaged_profile_stops_and_plans_drains_and_uncordons_and_does_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, profile, mut admin, _agents) = with_two_nodes(folder).await;
    submit_for_later(&mut admin, Some("w1")).await;
    std::fs::write(profile.home.join("fleet.toml"), FLEET).unwrap();
    let (trust, out) = (profile.home.join("trust"), folder.join("check.plan.json").display().to_string());
    for word in ["ledger", "highest-plan", "roster-", "floor", "config"] {
        for change in ["lost", "changed", "a folder"] {
            let entries = std::fs::read_dir(&trust).unwrap().chain(std::fs::read_dir(&profile.home).unwrap());
            let fits = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(word);
            let file = entries.map(|entry| entry.unwrap().path()).filter(fits).min();
            let file = file.unwrap_or_else(|| profile.home.join("config.toml"));
            let before = std::fs::read(&file).ok();
            drop(std::fs::remove_file(&file));
            match change {
                "lost" => {}
                "changed" => std::fs::write(&file, "{}").unwrap(),
                _ => std::fs::create_dir(&file).unwrap(),
            }
            // Without these two, what is held stands for itself.
            if !matches!((word, change), ("floor", _) | ("config", "lost")) {
                let refused = hostler(&profile, &format!("plan check --out {out}")).await;
                let said = refused.expect_err("what stops nothing waits for a person").to_string();
                assert!(said.contains(word) && said.contains("; "), "{word} {change}: {said}");
            }
            hostler(&profile, "stop --all --yes").await.unwrap_or_else(|e| panic!("{word} {change}: {e}"));
            // These machines have no cluster, which the planner is the first to see.
            for (rescue, expected) in [("drain", "no server of the cluster"), ("uncordon", "w1 is not cordoned")] {
                let said = hostler(&profile, &format!("{rescue} w1 --yes")).await.expect_err("no cluster").to_string();
                assert!(said.contains(expected), "{word} {change}: {rescue}: {said}");
            }
            match std::fs::symlink_metadata(&file) {
                Ok(found) if found.is_dir() => std::fs::remove_dir(&file).unwrap(),
                Ok(_) => std::fs::remove_file(&file).unwrap(),
                Err(_) => {}
            }
            before.into_iter().for_each(|before| std::fs::write(&file, before).unwrap());
        }
    }
    assert_eq!(admin.refresh().await.map(|()| admin.coordinator().highest_seq).unwrap(), 1 + 15);
    coordinator.end().await;
}
