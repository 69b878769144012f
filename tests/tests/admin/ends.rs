//! Disks that end at any durable write while a coordinator begins, while a machine becomes a node, while a certificate
//! is renewed and while a machine is replaced: after a restart it is the same node, once, and what worked is there.

use hostler_agent::{AgentError, FolderError};
use hostler_cli::node;
use hostler_daemon::durable::end::EndOfDisk;
use hostler_executor::{DiskError, ExecutorError};

use super::*;

/// A machine whose folder may end.
struct Machine {
    folder: PathBuf,
    name: NodeName,
}

/// Its agent and its executor at work.
struct Works {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<hostler_executor::Ended, NodeError>>,
}

impl Machine {
    fn new(folder: &Path, number: usize, name: &str, join: &str) -> Self {
        let folder = folder.join(format!("m{number}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("join"), join).unwrap();
        Self { folder, name: NodeName::new(name).unwrap() }
    }

    /// Starts both on a machine that was switched off for so long.
    fn start(&self, off: Duration) -> Works {
        let world = SharedWorld::later(World::new(1, [(self.name.clone(), Arch::Aarch64)]), 10.0, off);
        let host = Arc::new(SimHost::here(world, self.name.clone()).unwrap());
        let (stop, mut stopped) = oneshot::channel::<()>();
        let (folder, name) = (self.folder.clone(), self.name.clone());
        let running = tokio::spawn(async move {
            loop {
                let node = Node::new(folder.clone(), folder.join("join"), name.clone());
                let shutdown = async {
                    let _ = (&mut stopped).await;
                };
                match node.run(host.clone(), shutdown).await {
                    // A thread of the one before is still in its last write; a process would have taken it along.
                    Err(
                        NodeError::Executor(ExecutorError::Disk(DiskError::InUse { .. }))
                        | NodeError::Agent(AgentError::Folder(FolderError::InUse { .. })),
                    ) => tokio::time::sleep(Duration::from_millis(20)).await,
                    ended => return ended,
                }
            }
        });
        Works { stop, running }
    }

    /// Starts both on a disk of which one folder takes so many writes; true when one failed before it was enrolled, or
    /// asked for a certificate, and what of it then lies on the disk is what the end of the process leaves.
    async fn start_and_end(&self, part: &str, writes: u64, through: impl Fn(&Self) -> bool, off: Duration) -> bool {
        let end = EndOfDisk::after(&self.folder.join(part), writes);
        let works = self.start(off);
        until("it ends or goes on", || end.has_failed() || through(self)).await;
        works.stop().await;
        end.has_failed()
    }

    /// Whether it has everything that an enrolment leaves.
    fn is_enrolled(&self) -> bool {
        self.folder.join("agent/credentials.json").exists() && !self.folder.join("join").exists()
    }

    /// Whether it is a node, by whichever of the two files it connects: one that ended before it gave the offered ones
    /// their name has them all the same.
    fn is_node(&self) -> bool {
        !self.folder.join("join").exists()
            && (self.is_enrolled() || self.folder.join("agent/credentials.offered").exists())
    }

    fn file(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join(name)).ok()
    }
}

impl Works {
    /// Whether it had to end by itself or not.
    async fn stop(self) {
        drop(self.stop);
        let _ = tokio::time::timeout(PATIENCE, self.running).await.expect("it ends").unwrap();
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    hostler_tests::stand::until(what, async || condition().then_some(())).await;
}

async fn connected(admin: &mut Admin, name: &NodeName) {
    let wait = async {
        while !node::get(admin, name).await.is_ok_and(|node| node.summary.is_some_and(|s| s.connected)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it is connected");
}

async fn join_string(admin: &mut Admin, uses: u32) -> String {
    let (role, approval) = (ClusterRole::Worker, Approval::Automatic);
    let request = token::TokenRequest { uses, lifetime: PATIENCE * 10, role, approval };
    token::create(admin, &request, now()).await.unwrap().encode()
}

async fn report(admin: &mut Admin) -> ledger::Report {
    let mut lines = Vec::new();
    ledger::export(admin, 0, &mut lines, "memory".as_ref()).await.unwrap();
    ledger::verify(&lines, None).unwrap()
}

#[tokio::test]
async fn an_enrolment_that_ends_at_any_write_of_agent_or_executor_goes_on_as_the_same_node() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let join = join_string(&mut admin, 64).await;
    let mut machines = Vec::new();
    for part in ["executor", "agent"] {
        for writes in 0.. {
            let number = machines.len();
            let machine = Machine::new(folder, number, &format!("n{number}"), &join);
            let ended = machine.start_and_end(part, writes, Machine::is_enrolled, Duration::ZERO).await;
            let keys = ["executor/node.key", "executor/seal.key"].map(|key| machine.file(key));
            let works = machine.start(Duration::ZERO);
            until("it is a node", || machine.is_node()).await;
            for (key, before) in ["executor/node.key", "executor/seal.key"].into_iter().zip(keys) {
                assert!(before.is_none() || machine.file(key) == before, "{part} {writes}: another {key}");
            }
            assert_eq!(roster::list_automatic(&mut admin, now()).await.unwrap(), std::slice::from_ref(&machine.name));
            connected(&mut admin, &machine.name).await;
            works.stop().await;
            machines.push(machine);
            if !ended {
                println!("{part}: ended at each of {writes} writes");
                assert!(writes > 3, "expected more writes");
                break;
            }
        }
    }
    let report = report(&mut admin).await;
    assert_eq!((report.enrolments, report.alarms), (machines.len() as u64, 0), "nobody came twice");
    coordinator.end().await;
}

#[tokio::test]
async fn a_coordinator_that_ends_at_any_write_begins_and_takes_a_root_and_a_node_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut points = 0;
    for writes in 0.. {
        let data = folder.join(format!("data-{writes}"));
        let end = EndOfDisk::after(&data, writes);
        let settings = Settings::on_loopback(&data);
        let listeners = Listeners::bind(&settings).await.unwrap();
        let addresses = data.join("addresses.json");
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(hostler_coordinator::run(settings, listeners, async {
            let _ = stopped.await;
        }));
        until("it ends or serves", || running.is_finished() || addresses.exists()).await;
        drop(stop);
        let ended = running.await.unwrap();
        assert!(end.has_failed() || ended.is_ok(), "{ended:?}");
        let (failed, pin) = (end.has_failed(), std::fs::read(data.join("ca.key")).ok());
        drop(end);
        let coordinator = Coordinator::start(&data, None).await;
        until("it serves", || addresses.exists()).await;
        assert!(pin.is_none() || std::fs::read(data.join("ca.key")).ok() == pin, "{writes}: another CA");
        coordinator.end().await;
        points = writes;
        if !failed {
            break;
        }
    }
    println!("first start: ended at each of {points} writes");
    assert!(points > 6, "expected more writes");

    // The same folder takes its first root, and then a node.
    let data = folder.join(format!("data-{points}"));
    make_key(folder, "anna");
    let first = || trust::FirstRoot {
        name: "anna".into(),
        signers: Vec::new(),
        threshold_plan: 1,
        lifetime: trust::DEFAULT_ROOT_LIFETIME,
        policy: trust::DEFAULT_POLICY,
    };
    let mut ports = None;
    for writes in 0.. {
        let end = EndOfDisk::after(&data.join("ledger"), writes);
        let coordinator = Coordinator::start(&data, ports).await;
        let profile = profile(folder, "anna", coordinator.ports.0);
        until("it serves", || data.join("addresses.json").exists()).await;
        let setup = SetupCode::parse(&std::fs::read_to_string(data.join("setup-code")).unwrap()).unwrap();
        let signer = SigningKey::find(&profile.key, &[]).unwrap();
        let installed = trust::init(&profile, &signer, &setup, &first(), now()).await;
        ports = Some(coordinator.end().await);
        let failed = end.has_failed();
        match installed {
            Ok(_) => break,
            Err(error) => assert!(failed && error.to_string().contains("try again"), "{error}"),
        }
    }
    let profile = profile(folder, "anna", ports.unwrap().0);
    let coordinator = Coordinator::start(&data, ports).await;
    let join = join_string(&mut connect(&profile).await.unwrap(), 1).await;
    coordinator.end().await;
    let machine = Machine::new(folder, 0, "w1", &join);
    for writes in 0.. {
        let coordinator = Coordinator::start(&data, ports).await;
        until("it serves", || data.join("addresses.json").exists()).await;
        let end = EndOfDisk::after(&data, writes);
        let works = machine.start(Duration::ZERO);
        until("it ends or is enrolled", || end.has_failed() || machine.is_node()).await;
        let failed = end.has_failed();
        works.stop().await;
        coordinator.end().await;
        drop(end);
        if !failed {
            break;
        }
    }
    let coordinator = Coordinator::start(&data, ports).await;
    let mut admin = connect(&profile).await.unwrap();
    let works = machine.start(Duration::ZERO);
    assert_eq!(roster::list_automatic(&mut admin, now()).await.unwrap(), std::slice::from_ref(&machine.name));
    connected(&mut admin, &machine.name).await;
    let report = report(&mut admin).await;
    assert_eq!((report.roots, report.enrolments, report.alarms), (1, 1, 0));
    works.stop().await;
    coordinator.end().await;
}

#[tokio::test]
async fn a_renewal_that_ends_at_any_write_takes_nothing_away_and_a_replaced_machine_comes_in_once() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    let join = join_string(&mut admin, 64).await;
    let machine = Machine::new(folder, 0, "w1", &join);
    let works = machine.start(Duration::ZERO);
    until("it is enrolled", || machine.is_enrolled()).await;
    roster::list_automatic(&mut admin, now()).await.unwrap();
    connected(&mut admin, &machine.name).await;
    works.stop().await;

    // It was off until its certificate had run out, and asks for another one by its own key.
    let month = Duration::from_secs(31 * 86_400);
    for writes in 0.. {
        let before = machine.file("agent/credentials.json");
        let renewed = |machine: &Machine| machine.file("agent/credentials.json") != before;
        if !machine.start_and_end("agent", writes, renewed, month).await {
            println!("renewal: ended at each of {writes} writes");
            assert!(writes > 1, "expected more writes");
            break;
        }
        assert_eq!(machine.file("agent/credentials.json"), before, "a renewal that fails takes nothing away");
        let works = machine.start(month);
        until("it has another one", || renewed(&machine)).await;
        connected(&mut admin, &machine.name).await;
        works.stop().await;
    }

    // Made anew, again and again, and each time another of its writes is the last. Its keys lie there already.
    for (number, (part, writes)) in [("executor", 7), ("agent", 4)]
        .into_iter()
        .flat_map(|(part, writes)| (0..writes).map(move |write| (part, write)))
        .enumerate()
    {
        let anew = Machine::new(folder, number + 1, "w1", &join);
        let works = anew.start(Duration::ZERO);
        let shown = async {
            loop {
                let doubles = roster::doubles(&mut admin).await.unwrap();
                if let Some(double) = doubles.first() {
                    break double.pending.enrolment.document().key.fingerprint();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let shown = tokio::time::timeout(PATIENCE, shown).await.expect("it is shown as a double");
        works.stop().await;
        let which = format!("w1={shown}");
        super::root::hostler(folder, &profile, &["node", "replace", &which, "--yes"]).await.unwrap();
        let key = anew.file("executor/node.key");
        let ended = anew.start_and_end(part, writes, Machine::is_enrolled, Duration::ZERO).await;
        assert!(ended || writes > 2, "{part} {writes}: it has fewer writes than were to be tried");
        let works = anew.start(Duration::ZERO);
        until("it is a node", || anew.is_node()).await;
        connected(&mut admin, &anew.name).await;
        assert_eq!(anew.file("executor/node.key"), key, "{part} {writes}: the key that the roster lists");
        works.stop().await;
    }
    admin.refresh().await.unwrap();
    let roster = admin.trust_store().roster().unwrap().document().clone();
    assert_eq!(
        (roster.nodes.len(), roster.active(&machine.name).is_some()),
        (12, true),
        "one, and those that it replaced"
    );
    coordinator.end().await;
}

#[tokio::test]
async fn a_copy_of_the_ledger_is_not_replaced_by_a_part_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let copies = folder.join("copies");
    std::fs::create_dir(&copies).unwrap();
    let copy = copies.join("ledger");
    let export = async || {
        let to = ["ledger", "export", "--to", copy.to_str().unwrap()];
        super::root::hostler(folder, &profile, &to).await
    };
    export().await.unwrap();
    let whole = std::fs::read(&copy).unwrap();
    join_string(&mut connect(&profile).await.unwrap(), 1).await;
    let end = EndOfDisk::after(&copies, 0);
    let error = export().await.expect_err("the disk is full").to_string();
    assert!(error.contains("make room on the disk"), "{error}");
    assert_eq!(std::fs::read(&copy).unwrap(), whole);
    assert_eq!(std::fs::read_dir(&copies).unwrap().count(), 1, "no part of it is left");
    drop(end);
    export().await.unwrap();
    assert!(std::fs::read(&copy).unwrap().len() > whole.len());
    coordinator.end().await;
}
