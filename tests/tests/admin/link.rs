//! What an agent's connection lives through: a coordinator that goes away, a stranger in its place, a token that was
//! used before, and its own damaged disk.

use std::sync::atomic::{AtomicUsize, Ordering};

use hostler_cli::node;
use hostler_proto::v1::TaskStatus;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The agent `s1` on a simulated machine, until it is stopped.
struct Agent {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<hostler_executor::Ended, NodeError>>,
}

impl Agent {
    fn start(folder: &Path, state: &str, join: &str) -> Self {
        Self::start_after(folder, state, join, Duration::ZERO)
    }

    /// The same on a machine that was switched off for so long.
    fn start_after(folder: &Path, state: &str, join: &str, off: Duration) -> Self {
        let name = NodeName::new("s1").unwrap();
        let join_file = folder.join(format!("join-{state}"));
        std::fs::write(&join_file, join).unwrap();
        let world = SharedWorld::later(World::new(1, [(name.clone(), Arch::Aarch64)]), 10.0, off);
        let host = Arc::new(SimHost::here(world, name.clone()).unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let node = Node::new(folder.join(state), join_file, name);
        Self { stop, running: tokio::spawn(node.run(host, shutdown)) }
    }

    async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
    }
}

async fn join_string(admin: &mut Admin) -> JoinString {
    let (role, approval) = (ClusterRole::Server, Approval::Automatic);
    let request = token::TokenRequest { uses: 1, lifetime: PATIENCE * 10, role, approval };
    token::create(admin, &request, now()).await.unwrap()
}

async fn enrol(admin: &mut Admin, folder: &Path) -> Agent {
    let agent = Agent::start(folder, "state", &join_string(admin).await.encode());
    all_enrolled(admin, 1).await;
    roster::list_automatic(admin, now()).await.unwrap();
    agent
}

async fn submit_check(admin: &mut Admin) -> (Seq, Signed) {
    let compiled = compile_check(admin).await;
    let mut signed = Signed { bytes: compiled.bytes, signatures: Vec::new() };
    sign(admin, &mut signed);
    (submit(admin, &signed).await.unwrap().seq, signed)
}

/// Waits until s1 has refused something for that reason; `document` is what it refused, empty for its own state.
async fn refused(admin: &mut Admin, document: &str, refusal: Refusal) {
    let name = NodeName::new("s1").unwrap();
    let wait = async {
        let said = |r: &hostler_proto::v1::ReportedRefusal| r.refusal() == refusal.into() && r.document == document;
        while !node::get(admin, &name).await.unwrap().refusals.iter().any(said) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("s1 refuses");
}

#[tokio::test]
async fn an_agent_whose_state_is_damaged_stays_in_sight_and_performs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    enrol(&mut admin, folder).await.stop().await;
    for slot in ["state.0", "state.1", "state.2"].map(|slot| format!("state/executor/{slot}")) {
        // The third one is not written before something is stored for the second time.
        let Ok(mut bytes) = std::fs::read(folder.join(&slot)) else { continue };
        // In the content, behind the 56 bytes of the head: what lies behind the content is no part of a slot.
        bytes[64] ^= 1;
        std::fs::write(folder.join(&slot), bytes).unwrap();
    }
    let agent = Agent::start(folder, "state", "");
    refused(&mut admin, "", Refusal::DamagedState).await;
    let (seq, signed) = submit_check(&mut admin).await;
    refused(&mut admin, &signed.digest().to_string(), Refusal::DamagedState).await;
    let detail = rollout::get(&mut admin, &seq.to_string()).await.unwrap();
    assert!(detail.tasks.iter().all(|task| task.status() != TaskStatus::Succeeded), "{detail:?}");
    agent.stop().await;
    coordinator.end().await;
}

#[tokio::test]
async fn an_agent_comes_back_to_a_coordinator_that_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let agent = enrol(&mut admin, folder).await;
    let ports = coordinator.end().await;
    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut admin = connect(&profile).await.unwrap();
    let (seq, _) = submit_check(&mut admin).await;
    assert_eq!(watch(&mut admin, seq).await.proved.len(), 1);
    agent.stop().await;
    coordinator.end().await;
}

#[tokio::test]
async fn a_token_that_was_used_admits_no_second_key() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let join = join_string(&mut admin).await.encode();
    let first = Agent::start(folder, "state", &join);
    all_enrolled(&mut admin, 1).await;
    let second = Agent::start(folder, "twin", &join);
    let alarm = async {
        loop {
            let mut lines = Vec::new();
            ledger::export(&mut admin, 0, &mut lines, "memory".as_ref()).await.unwrap();
            let report = ledger::verify(&lines, None).unwrap();
            if report.alarms > 0 {
                break report;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let report = tokio::time::timeout(PATIENCE, alarm).await.expect("the second key raises an alarm");
    assert_eq!(report.enrolments, 1);
    assert!(!folder.join("twin/agent/credentials.json").exists());
    first.stop().await;
    second.stop().await;
    coordinator.end().await;
}

#[tokio::test]
async fn an_agent_enrols_with_no_coordinator_but_the_one_that_its_join_string_pins() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let mut join = join_string(&mut admin).await;

    // A stranger with everything right but the CA, behind a door that counts.
    let stranger = Coordinator::start(&folder.join("stranger"), None).await;
    let (door, behind) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), stranger.ports.2);
    join.address = format!("localhost:{}", door.local_addr().unwrap().port());
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let relay = tokio::spawn(async move {
        while let Ok((mut agent, _)) = door.accept().await {
            let mut stranger = TcpStream::connect(behind).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut agent, &mut stranger).await;
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let agent = Agent::start(folder, "state", &join.encode());
    let tried = async {
        while attempts.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.expect("the agent tries");
    agent.stop().await;
    relay.abort();
    assert!(!folder.join("state/agent/credentials.json").exists());
    assert!(roster::pending(&mut admin).await.unwrap().0.is_empty());
    let ledger = std::fs::read(folder.join("stranger/ledger")).unwrap();
    assert!(ledger.is_empty(), "the stranger has heard of no key and no token");
    stranger.end().await;
    coordinator.end().await;
}

#[tokio::test]
async fn an_agent_that_was_off_for_a_month_comes_back_by_its_own_key_and_keeps_what_works_until_then() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    enrol(&mut admin, folder).await.stop().await;
    let ports = coordinator.end().await;
    let credentials = find(&folder.join("state"), "credentials.json");
    let before = std::fs::read(&credentials).unwrap();

    // Its certificate ran out, and nobody answers: what it has stays, to the byte.
    let month = Duration::from_secs(31 * 86_400);
    let door = TcpListener::bind(ports.2).await.unwrap();
    let agent = Agent::start_after(folder, "state", "", month);
    for _ in 0..2 {
        let knock = tokio::time::timeout(PATIENCE, door.accept()).await.expect("it asks for a new certificate");
        drop(knock);
    }
    assert_eq!(std::fs::read(&credentials).unwrap(), before, "a renewal that fails takes nothing away");
    drop(door);

    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut admin = connect(&profile).await.unwrap();
    let back = async {
        let s1 = NodeName::new("s1").unwrap();
        while !node::get(&mut admin, &s1).await.unwrap().summary.is_some_and(|s| s.connected) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("it comes back with no join string");
    assert_ne!(std::fs::read(&credentials).unwrap(), before);
    agent.stop().await;
    coordinator.end().await;
}

/// The file of that name, wherever below the folder it lies.
fn find(folder: &Path, name: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.file_name().is_some_and(|n| n == name) => return path,
                false => {}
            }
        }
    }
    panic!("no {name} below {}", folder.display());
}
