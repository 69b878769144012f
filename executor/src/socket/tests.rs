//! The socket of a whole executor on a machine in memory: who is heard, and what never reaches an act.

use std::{collections::BTreeMap, io::Write, os::unix::net::UnixStream, path::Path, sync::Arc, time::Instant};

use hostler_plan::{
    document::{DocumentKind, NodeState, Outcome, View},
    id::{Digest, Nonce},
    json,
    step::{EnsureFile, Step},
    timestamp::Timestamp,
};
use proptest::prelude::*;

use super::*;
use crate::{
    Ended, ExecutorError, Settings, Stop,
    disk::Disk,
    enrolment::keep_membership,
    host::{Cluster as _, DrainCondition, FollowedNode, Host as _, Waiting},
    protocol::{
        FromExecutor, Status,
        lines::tests::to_executor,
        node::{Answer, Conditions, Membership, NodeError, Question},
    },
    run,
    testing::{Fleet, Machine, TestCluster},
};

/// The node `w1`, enrolled and running.
struct Running {
    fleet: Fleet,
    machine: Arc<Machine>,
    settings: Settings,
    stop: Stop,
    thread: Option<thread::JoinHandle<Result<Ended, ExecutorError>>>,
}

/// One end of a connection.
struct Agent {
    stream: UnixStream,
    from: BufReader<UnixStream>,
}

impl Running {
    fn new(change: impl FnOnce(Machine) -> Machine) -> Self {
        let fleet = Fleet::new();
        let machine = Arc::new(change(Machine::new(fleet.now.plus(Duration::from_secs(60)))));
        let member = Membership {
            fleet_id: json::parse::<hostler_plan::document::Root>(&fleet.root.bytes).unwrap().fleet_id,
            node: "w1".parse().unwrap(),
            enrolment_address: "c:1".into(),
        };
        keep_membership(&Disk::beside(fleet.directory.path()), &member).unwrap();
        let settings = Settings {
            socket: fleet.directory.path().join("socket"),
            state_dir: fleet.directory.path().to_owned(),
            downloads: fleet.downloads().folder,
            ..Settings::default()
        };
        let mut running = Self { fleet, machine, settings, stop: Stop::default(), thread: None };
        running.start();
        running
    }

    fn start(&mut self) {
        self.stop = Stop::default();
        let (settings, machine, stop) = (self.settings.clone(), self.machine.clone(), self.stop.clone());
        self.thread = Some(thread::spawn(move || run(&settings, machine, &stop)));
    }

    fn end(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }

    fn connect(&self) -> Agent {
        loop {
            assert!(self.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "the executor has ended");
            // It is starting.
            if let Ok(stream) = UnixStream::connect(&self.settings.socket) {
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                return Agent { from: BufReader::new(stream.try_clone().unwrap()), stream };
            }
            thread::yield_now();
        }
    }
}

impl Agent {
    fn say(&mut self, message: &ToExecutor) {
        self.stream.write_all(&lines::encode(message).unwrap()).unwrap();
    }

    fn hear(&mut self) -> Option<FromExecutor> {
        lines::read(&mut self.from).unwrap_or(None)
    }

    fn ask(&mut self, question: Question) -> Answer {
        self.say(&ToExecutor::Ask { number: 7, question });
        loop {
            if let FromExecutor::Answer { number: 7, answer } = self.hear().expect("an answer") {
                return *answer;
            }
        }
    }

    /// Hears until a status is as wanted.
    fn sees(&mut self, wanted: impl Fn(&Status) -> bool) {
        while !matches!(self.hear().expect("a status"), FromExecutor::Status(status) if wanted(&status)) {}
    }
}

/// Every file of a folder but the lock and the socket, by its digest.
fn content(folder: &Path) -> BTreeMap<PathBuf, Digest> {
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    files.filter(|p| p.is_file()).map(|p| (p.clone(), Digest::of(&std::fs::read(p).unwrap()))).collect()
}

#[test]
fn a_plan_that_came_over_the_socket_is_performed_and_its_receipt_comes_back() {
    let mut node = Running::new(|machine| machine);
    let file = EnsureFile { path: "/etc/a".parse().unwrap(), mode: "0644".parse().unwrap(), content: "a".into() };
    let plan = node.fleet.plan(1, vec![Step::EnsureFile(file)], |_| {});
    let mut agent = node.connect();
    for message in [
        ToExecutor::Watch,
        ToExecutor::Request(Request::Welcome { own_receipts: vec![], head: None }),
        ToExecutor::Request(Request::Plan(plan.clone())),
        ToExecutor::Request(Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())),
    ] {
        agent.say(&message);
    }
    let receipt = loop {
        if let FromExecutor::Receipt(receipt) = agent.hear().unwrap() {
            break receipt;
        }
    };
    let said: hostler_plan::document::Receipt = json::parse(&receipt.bytes).unwrap();
    assert_eq!(said.outcome, Outcome::Succeeded {});
    agent.sees(|status| status.receipts == [receipt.digest()] && status.running.is_none());
    assert!(node.machine.inner().files.contains_key(Path::new("/etc/a")));

    // The agent ends and another one comes: it is told everything again, until the coordinator has it.
    drop(agent);
    let mut agent = node.connect();
    agent.say(&ToExecutor::Watch);
    assert_eq!(agent.hear(), Some(FromExecutor::Receipt(receipt.clone())));
    agent.say(&ToExecutor::Request(Request::ReceiptAcknowledged(receipt.digest())));
    agent.sees(|status| status.receipts.is_empty() && status.holding.seq == 1);
    node.end();
    assert!(!node.settings.socket.exists(), "nobody is there any more");

    // The executor comes back: the socket too, and what it holds.
    node.start();
    let mut agent = node.connect();
    agent.say(&ToExecutor::Watch);
    agent.sees(|status| status.holding.seq == 1 && status.receipts.is_empty());
    node.end();
}

#[test]
fn only_the_newest_who_watches_is_told_and_others_may_ask() {
    let mut node = Running::new(|machine| machine);
    let (mut old, mut new) = (node.connect(), node.connect());
    old.say(&ToExecutor::Watch);
    old.sees(|_| true);
    new.say(&ToExecutor::Watch);
    new.sees(|_| true);
    let stranger = Fleet::new();
    new.say(&ToExecutor::Request(Request::Plan(stranger.plan(1, vec![], |_| {}))));
    while !matches!(new.hear().unwrap(), FromExecutor::Refused(_)) {}
    old.say(&ToExecutor::Ask { number: 7, question: Question::Clock });
    // What changed before the newer one watched may still be on its way.
    let told = std::iter::from_fn(|| old.hear()).find(|told| !matches!(told, FromExecutor::Status(_)));
    assert!(matches!(told, Some(FromExecutor::Answer { number: 7, .. })), "the refusal was not told here");
    let identity = old.ask(Question::Identity);
    assert!(matches!(identity, Answer::Identity(who) if who.key == node.fleet.keys.public() && who.member.is_some()));
    node.end();
}

#[test]
fn reports_come_at_once_and_go_on_and_questions_are_answered_between() {
    let mut node = Running::new(|machine| machine);
    let mut agent = node.connect();
    agent.say(&ToExecutor::Reports { every_ms: 0 });
    for _ in 0..3 {
        let Some(FromExecutor::Report(report)) = agent.hear() else { panic!("expected a report") };
        assert!(!report.serves && report.reading.at_ms() > 0);
    }
    assert!(matches!(agent.ask(Question::BootId), Answer::BootId(id) if id.as_str() == "b1"));
    assert_eq!(agent.ask(Question::Conditions { unlike: None }), Answer::Conditions(Conditions::NoServer));
    node.end();
}

#[test]
fn what_panics_costs_one_answer_and_no_connection() {
    let now = crate::build_time();
    let mut node = Running::new(|machine| machine.with_cluster(TestCluster::new(now, &["w1"])));
    let mut agent = node.connect();
    node.machine.inner().breaks = true;
    assert!(matches!(agent.ask(Question::BootId), Answer::Failed(NodeError::Failed(_))), "the panic is its answer");
    assert!(matches!(agent.ask(Question::BootId), Answer::BootId(_)));
    node.machine.cluster.as_ref().unwrap().state().breaks = true;
    assert_eq!(agent.ask(Question::Conditions { unlike: None }), Answer::Conditions(Conditions::Silent));
    let again = agent.ask(Question::Conditions { unlike: None });
    assert!(matches!(again, Answer::Conditions(Conditions::Nodes { nodes, .. }) if nodes.len() == 1));
    node.end();
}

#[test]
fn an_idle_server_asks_its_api_server_nothing_and_tells_what_changed_at_once() {
    let now = crate::build_time();
    let mut node = Running::new(|machine| machine.with_cluster(TestCluster::new(now, &["w1", "w2"])));
    node.machine.cluster.as_ref().unwrap().state().tells = true;
    let mut agent = node.connect();
    let Answer::Conditions(all) = agent.ask(Question::Conditions { unlike: None }) else { panic!("no nodes") };
    assert!(matches!(&all, Conditions::Nodes { nodes, .. } if nodes.len() == 2));
    agent.say(&ToExecutor::Ask { number: 9, question: Question::Conditions { unlike: Some(all.digest()) } });
    assert!(matches!(agent.ask(Question::BootId), Answer::BootId(_)), "other questions are answered meanwhile");
    let (told, waker) = node.machine.cluster.as_ref().unwrap().state().told.clone().unwrap();
    let is_news = told.gone(&FollowedNode::from(&crate::testing::node("w2")), Instant::now());
    assert!(is_news);
    waker.notify();
    let Some(FromExecutor::Answer { number: 9, answer }) = agent.hear() else { panic!("expected the change") };
    assert!(matches!(*answer, Answer::Conditions(Conditions::Nodes { nodes, .. }) if nodes.len() == 1));
    assert!(told.broke("no word".into()));
    waker.notify();
    let silent = agent.ask(Question::Conditions { unlike: Some(all.digest()) });
    assert_eq!(silent, Answer::Conditions(Conditions::Silent));
    assert_eq!(node.machine.cluster.as_ref().unwrap().state().listed, 0, "nobody asked for the nodes");
    node.end();
}

#[test]
fn a_view_is_read_and_signed_for_the_question_and_says_why_it_is_not() {
    let mut node = Running::new(|machine| machine);
    let (mut agent, nonce) = (node.connect(), Nonce::from_bytes([7; 32]));
    let question = |nodes: usize| Question::View {
        nodes: (0..nodes).map(|n| format!("w{n}").parse().unwrap()).collect(),
        nonce: nonce.clone(),
    };
    let why = |agent: &mut Agent, nodes| {
        let Answer::Failed(NodeError::Failed(why)) = agent.ask(question(nodes)) else { panic!("expected why not") };
        why
    };
    assert_eq!(why(&mut agent, 1), "it has no credentials for an API server");
    node.end();

    let now = crate::build_time();
    let mut node = Running::new(|machine| machine.with_cluster(TestCluster::new(now, &["w1", "w2"])));
    let mut agent = node.connect();
    assert!(why(&mut agent, 65).contains("at most 64 nodes"));
    let Answer::View(signed) = agent.ask(question(2)) else { panic!("expected a view") };
    hostler_plan::signature::verify(DocumentKind::View, &signed.bytes, &signed.signatures[0]).unwrap();
    let view = json::parse::<View>(&signed.bytes).unwrap();
    let states: Vec<NodeState> = view.nodes.iter().map(|node| node.state).collect();
    assert_eq!((view.server.as_str(), &view.nonce), ("w1", &nonce));
    assert_eq!(states, [NodeState::Absent, NodeState::Ready], "w0 is in no cluster");
    node.machine.cluster.as_ref().unwrap().state().breaks = true;
    assert!(why(&mut agent, 1).contains("reading the cluster failed"));
    assert!(matches!(agent.ask(question(1)), Answer::View(_)), "a panic costs one answer");
    node.end();
}

#[test]
fn what_a_server_that_died_left_on_nodes_goes_when_its_time_is_over() {
    let now = crate::build_time();
    let mut node = Running::new(|machine| machine.with_cluster(TestCluster::new(now, &["w1", "w2", "w3"])));
    let cluster = node.machine.cluster.as_ref().unwrap();
    let waiting = |until| Waiting { seq: hostler_plan::id::Seq(1), until };
    cluster.keep_off("w1", Some(&waiting(Timestamp::from_unix_seconds(9)))).unwrap();
    cluster.keep_off("w2", Some(&waiting(now.plus(Duration::from_secs(864_000))))).unwrap();
    cluster.show("w3", &[DrainCondition::Drained], "a person uncordoned it").unwrap();
    let mut agent = node.connect();
    agent.ask(Question::Conditions { unlike: None });
    let nodes = node.machine.cluster.as_ref().unwrap().state().nodes.clone();
    assert_eq!(nodes.iter().map(|n| n.waiting().is_some()).collect::<Vec<_>>(), [false, true, false]);
    assert!(nodes[2].shows.is_empty(), "conditions go with the cordon");
    node.end();
}

#[test]
fn an_enrolled_node_signs_no_other_enrolment_and_answers_only_challenges() {
    let mut node = Running::new(|machine| machine);
    let mut agent = node.connect();
    let tls_key = Digest::of(b"key");
    assert!(matches!(agent.ask(Question::Enrol { tls_key }), Answer::Failed(_)));
    assert!(matches!(agent.ask(Question::Renew { tls_key, nonce: vec![0; 65] }), Answer::Failed(_)));
    let Answer::Renewal(signature) = agent.ask(Question::Renew { tls_key, nonce: vec![7; 32] }) else {
        panic!("expected an answer to the challenge")
    };
    let bytes = hostler_plan::renewal::renewal_bytes(&"w1".parse().unwrap(), &tls_key, &[7; 32]);
    let kind = hostler_plan::document::DocumentKind::Login;
    let signer = hostler_plan::signature::verify(kind, &bytes, &signature).unwrap();
    assert_eq!(signer.fingerprint(), node.fleet.keys.public().fingerprint());
    node.end();
}

#[test]
fn more_connections_than_a_node_needs_are_refused_and_room_comes_back() {
    let mut node = Running::new(|machine| machine);
    let mut held: Vec<Agent> = (0..MAX_CONNECTIONS).map(|_| node.connect()).collect();
    for agent in &mut held {
        assert!(matches!(agent.ask(Question::Clock), Answer::Clock(_)));
    }
    assert_eq!(node.connect().hear(), None, "hung up on");
    held.clear();
    loop {
        let mut agent = node.connect();
        let question = ToExecutor::Ask { number: 7, question: Question::Clock };
        let said = agent.stream.write_all(&lines::encode(&question).unwrap());
        if said.is_ok() && agent.hear().is_some() {
            break;
        }
    }
    node.end();
}

#[test]
fn another_user_is_not_heard() {
    if !geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let mut node = Running::new(|machine| machine);
    drop(node.connect());
    let socket = node.settings.socket.clone();
    // Whoever may reach it.
    for path in [node.fleet.directory.path(), &socket] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let ask = move || {
        // The kernel notes the effective user of the thread that connects.
        nix::unistd::setfsuid(Uid::from_raw(65534));
        seteuid_of_this_thread(65534);
        let stream = UnixStream::connect(&socket).unwrap();
        let mut agent = Agent { from: BufReader::new(stream.try_clone().unwrap()), stream };
        let question = ToExecutor::Ask { number: 7, question: Question::Identity };
        let _ = agent.stream.write_all(&lines::encode(&question).unwrap());
        agent.hear()
    };
    assert_eq!(thread::spawn(ask).join().unwrap(), None, "hung up on without an answer");
    assert!(matches!(node.connect().ask(Question::Clock), Answer::Clock(_)), "others are served");
    node.end();
}

/// The C library changes the user of every thread, and the system call that of one.
#[expect(unsafe_code, reason = "setresuid(2) for one thread is only to be had as a bare system call")]
fn seteuid_of_this_thread(uid: libc::uid_t) {
    let unchanged = u32::MAX;
    // SAFETY: it takes three numbers, and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, unchanged, uid, unchanged) };
    assert_eq!(result, 0);
}

#[test]
fn a_second_executor_on_one_socket_is_refused() {
    let mut node = Running::new(|machine| machine);
    drop(node.connect());
    let other = Fleet::new();
    let settings = Settings { state_dir: other.directory.path().to_owned(), ..node.settings.clone() };
    let error = run(&settings, node.machine.clone(), &Stop::default()).unwrap_err();
    assert!(matches!(error, ExecutorError::Socket(SocketError::InUse { .. })), "{error}");
    assert!(matches!(node.connect().ask(Question::Clock), Answer::Clock(_)));
    node.end();
}

/// What these bytes do to a running node: nothing. An honest connection is served afterwards.
fn does_nothing(node: &Running, bytes: &[u8]) {
    let before = content(&node.settings.state_dir);
    let mut agent = node.connect();
    // It may hang up in the middle.
    let _ = agent.stream.write_all(bytes);
    let _ = agent.stream.shutdown(Shutdown::Write);
    while agent.hear().is_some() {}
    let mut honest = node.connect();
    assert!(matches!(honest.ask(Question::Clock), Answer::Clock(clock) if clock.now == node.machine.now()));
    assert_eq!(node.machine.inner().acts, Vec::<String>::new());
    assert!(content(&node.settings.state_dir) == before, "nothing was written");
}

#[test]
fn random_and_changed_bytes_reach_no_act_and_end_one_connection_at_most() {
    let mut node = Running::new(|machine| machine);
    drop(node.connect());
    let whole: Vec<u8> = to_executor().iter().flat_map(|message| lines::encode(message).unwrap()).collect();
    let strategy = (
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        any::<bool>(),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    let result = runner.run(&strategy, |(random, changes, first)| {
        let mut bytes = whole.clone();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let both = if first { [random, bytes].concat() } else { [bytes, random].concat() };
        does_nothing(&node, &both);
        Ok(())
    });
    node.end();
    result.unwrap();
}
