//! Who belongs to the fleet, when somebody else holds the coordinator.

use std::sync::atomic::{AtomicUsize, Ordering};

use hostler_plan::trust::Amendment;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A door before an enrolment listener that counts who came; what is behind it can be changed.
struct Door {
    port: u16,
    attempts: Arc<AtomicUsize>,
    relay: JoinHandle<()>,
}

impl Door {
    async fn before(behind: SocketAddr) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = door.local_addr().unwrap().port();
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = attempts.clone();
        let relay = tokio::spawn(async move {
            while let Ok((mut agent, _)) = door.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let Ok(mut coordinator) = TcpStream::connect(behind).await else { continue };
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut agent, &mut coordinator).await;
                });
            }
        });
        Self { port, attempts, relay }
    }
}

#[tokio::test]
async fn a_new_node_is_not_kept_on_a_root_from_before_a_revocation() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna_profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert_profile = profile(folder, "bert", coordinator.ports.0);
    import(&anna_profile, &bert_profile);
    let mut anna = connect(&anna_profile).await.unwrap();
    let request = token::TokenRequest {
        uses: 1,
        lifetime: PATIENCE * 10,
        role: ClusterRole::Worker,
        approval: Approval::Automatic,
    };
    let old = token::create(&mut anna, &request, now()).await.unwrap();
    // The coordinator as it was before root 2.
    let ports = coordinator.end().await;
    copy(&data, &folder.join("yesterday"));
    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut anna = connect(&anna_profile).await.unwrap();
    let bert = read_public_key(&folder.join("bert.pub")).unwrap().fingerprint();
    root::amend_and_submit(&mut anna, &[Amendment::Revoke(bert)]).await;
    let pinned = token::create(&mut anna, &request, now()).await.unwrap();
    assert_eq!(pinned.root, anna.trust_store().trusted().digest(), "the newest root");
    assert_ne!(pinned.root, old.root);
    coordinator.end().await;

    // It serves root 1 and what bert signs, to a node whose string was made under root 2. Its token is one that this
    // coordinator knows, so that nothing but the root stands in the way.
    let coordinator = Coordinator::start(&folder.join("yesterday"), Some(ports)).await;
    let door = Door::before(ports.2).await;
    let address = format!("localhost:{}", door.port);
    let join = JoinString { token: old.token.clone(), token_key: old.token_key.clone(), address, ..pinned };
    start_agents(folder, &[("w1", join.encode())]);
    let mut bert = connect(&bert_profile).await.unwrap();
    all_enrolled(&mut bert, 1).await;
    let (waiting, _) = roster::pending(&mut bert).await.unwrap();
    roster::list(&mut bert, &waiting, now()).await.unwrap();
    // The executor removes it when it took the answer.
    let string = folder.join("join-w1");
    let tried = async {
        // It comes back because it refused the answer before.
        while door.attempts.load(Ordering::SeqCst) < 3 && string.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.expect("the agent tries again");
    assert!(string.exists(), "it took a chain that ends before the root that its string pins");
    coordinator.end().await;

    // With root 2 the very same string works.
    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut anna = connect(&anna_profile).await.unwrap();
    all_enrolled(&mut anna, 1).await;
    let enrolled = async {
        while string.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, enrolled).await.expect("the agent enrols under root 2");
    door.relay.abort();
    coordinator.end().await;
}

/// The command as a person types it; its answer goes to standard output.
pub(super) async fn hostler(folder: &Path, who: &Profile, line: &[&str]) -> Result<(), Error> {
    super::root::hostler(folder, who, line).await
}

fn held(of: &Profile) -> hostler_cli::trust_store::TrustStore {
    hostler_cli::trust_store::TrustStore::require(&of.home).unwrap()
}

fn names(of: &Profile) -> Vec<String> {
    let nodes = held(of).roster().map(|r| r.document().nodes.clone()).unwrap_or_default();
    nodes.into_iter().map(|n| n.name.to_string()).collect()
}

async fn token_for(admin: &mut Admin, uses: u32, role: ClusterRole, approval: Approval) -> JoinString {
    let request = token::TokenRequest { uses, lifetime: PATIENCE * 10, role, approval };
    token::create(admin, &request, now()).await.unwrap()
}

#[tokio::test]
async fn only_commands_that_bring_nodes_in_sign_a_roster_and_only_after_they_showed_them() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let mut profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    std::fs::write(folder.join("fleet.toml"), FLEET).unwrap();
    profile.fleet = Some(folder.join("fleet.toml"));
    let mut admin = connect(&profile).await.unwrap();
    let server = token_for(&mut admin, 1, ClusterRole::Server, Approval::Automatic).await.encode();
    let worker = token_for(&mut admin, 1, ClusterRole::Worker, Approval::Automatic).await.encode();
    start_agents(folder, &[("s1", server), ("w1", worker)]);
    all_enrolled(&mut admin, 2).await;

    let fleet = ["--fleet", "FOLDER/fleet.toml"];
    let run = async |line: &[&str]| hostler(folder, &profile, &[line, &fleet].concat()).await;
    for line in [
        &["drain", "w1", "--yes"][..],
        &["uncordon", "w1", "--yes"],
        &["reboot", "w1", "--yes"],
        &["plan", "check", "--out", "FOLDER/check.plan.json"],
        &["upgrade", "--to", "v1.34.4+k3s1", "--yes"],
    ] {
        run(line).await.expect_err("nobody is listed");
        assert!(held(&profile).roster().is_none(), "{line:?} signed a roster");
    }
    // A plan that cannot be made (no artifact is there) leaves no roster behind, although the worker would be listed.
    let join = ["plan", "join", "--all", "--yes", "--out", "FOLDER/join.plan.json"];
    let refused = run(&join).await.expect_err("no artifacts");
    assert!(held(&profile).roster().is_none(), "an obstacle signed a roster: {refused}");
    // Nobody is asked who cannot answer.
    let asked = run(&join[..3]).await.expect_err("no terminal");
    assert!(asked.to_string().contains("list s1 with key SHA256:") && asked.to_string().contains("SERVER"), "{asked}");

    // By name alone --yes lists a worker and no server.
    hostler(folder, &profile, &["node", "list", "--pending"]).await.unwrap();
    let unnamed = hostler(folder, &profile, &["node", "approve", "s1", "w1", "--yes"]).await.expect_err("a server");
    assert!(unnamed.to_string().contains("name it s1=SHA256:"), "{unnamed}");
    assert!(held(&profile).roster().is_none());
    let (waiting, _) = roster::pending(&mut admin).await.unwrap();
    let key = |name: &str| {
        let of = |p: &&roster::Pending| p.enrolment.document().node.as_str() == name;
        waiting.iter().find(of).unwrap().enrolment.document().key.fingerprint()
    };
    let named = format!("s1={}", key("s1"));
    hostler(folder, &profile, &["node", "approve", &named, "w1", "--yes"]).await.unwrap();
    assert_eq!(names(&profile), ["s1", "w1"]);
    assert_eq!(held(&profile).roster().unwrap().document().version, 1, "one roster for both");
    coordinator.end().await;
}

#[tokio::test]
async fn a_revoked_token_is_signed_and_a_coordinator_that_forgets_it_admits_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let join = token_for(&mut admin, 1, ClusterRole::Worker, Approval::Automatic).await;
    // Unsigned it works at once, and is the coordinator's word.
    token::revoke(&mut admin, &join.token).await.unwrap();
    let [listed] = &token::list(&mut admin).await.unwrap()[..] else { panic!("one token") };
    assert!(listed.revoked && !listed.revocation_signed);
    hostler(folder, &profile, &["token", "revoke", join.token.as_str()]).await.unwrap();
    let roster = held(&profile).roster().unwrap().document().clone();
    assert_eq!((roster.version, &roster.revoked_tokens[..], roster.nodes.len()), (1, &[join.token.clone()][..], 0));
    hostler(folder, &profile, &["token", "revoke", join.token.as_str()]).await.unwrap();
    assert_eq!(held(&profile).roster().unwrap().document().version, 1, "twice is once");
    admin.refresh().await.unwrap();
    let [listed] = &token::list(&mut admin).await.unwrap()[..] else { panic!("one token") };
    assert!(listed.revocation_signed);
    start_agents(folder, &[("w1", join.encode())]);
    let alarm = async {
        loop {
            let mut lines = Vec::new();
            ledger::export(&mut admin, 0, &mut lines, "memory".as_ref()).await.unwrap();
            if String::from_utf8_lossy(&lines).contains("alarm") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, alarm).await.expect("an alarm");
    assert!(roster::pending(&mut admin).await.unwrap().0.is_empty());
    coordinator.end().await;
}

#[tokio::test]
async fn a_machine_with_a_name_that_is_taken_gets_another_one_by_a_signed_roster() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let join = token_for(&mut admin, 2, ClusterRole::Worker, Approval::Automatic).await.encode();
    start_agents(folder, &[("w1", join.clone())]);
    all_enrolled(&mut admin, 1).await;
    hostler(folder, &profile, &["node", "approve", "w1", "--yes"]).await.unwrap();
    // Another machine that calls itself w1.
    let twins = folder.join("twins");
    std::fs::create_dir(&twins).unwrap();
    start_agents(&twins, &[("w1", join)]);
    let double = async {
        loop {
            if let [double] = roster::doubles(&mut admin).await.unwrap().as_slice() {
                return double.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let double = tokio::time::timeout(PATIENCE, double).await.expect("it is shown");
    assert!(double.reason.contains("the name w1 belongs to key"), "{}", double.reason);
    assert!(double.beside.starts_with("w1 key SHA256:") && double.beside.ends_with("127.0.0.1"), "{}", double.beside);
    let key = double.pending.enrolment.document().key.fingerprint();
    hostler(folder, &profile, &["node", "list", "--pending"]).await.unwrap();
    let taken = hostler(folder, &profile, &["node", "rename", "w1", "w1", "--yes"]).await.expect_err("its own name");
    assert!(taken.to_string().contains("name it w1=SHA256:"), "{taken}");
    hostler(folder, &profile, &["node", "rename", &format!("w1={key}"), "w2", "--yes"]).await.unwrap();
    assert_eq!(names(&profile), ["w1", "w2"]);
    // Its next try brings it in, under the name of the roster.
    admin.refresh().await.unwrap();
    let connected = async {
        let w2 = "w2".parse().unwrap();
        while !hostler_cli::node::get(&mut admin, &w2).await.is_ok_and(|n| n.summary.is_some_and(|s| s.connected)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.expect("w2 connects");
    coordinator.end().await;
}
