//! The two programs of a node, each a process of its own over their socket, ended by force in any order in the middle
//! of a task: it goes on without the one and after the other, and its receipt arrives once.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod accept;
mod api;
mod clocks;
mod disks;
mod join_file;
mod long_names;

use std::{
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hostler_cli::{Admin, admin::now, plan, rollout, stop};
use hostler_plan::{
    document::{Plan, PlanKind, Signed, Strategy, Task},
    fleet::Fleet,
    id::Seq,
    planner::{Intent, Selection},
    step::{AwaitReady, ClusterRole, Step},
    trust::Draft,
};
use hostler_tests::{
    process::Process,
    stand::{PATIENCE, Setup, Stand, until},
};

use api::Api;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hostler-bench");

const FLEET: &str = r#"
name = "home"
distribution = "kubeadm"
version = "v1.36.3"
api = "10.0.0.1:6443"
[[nodes]]
name = "s1"
role = "server"
arch = "x86_64"
[[nodes]]
name = "w1"
role = "worker"
arch = "x86_64"
"#;

/// One of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Executor,
    Agent,
}

/// A node of two processes, its coordinator, and an API server that says what the test wants.
struct Node {
    folder: PathBuf,
    stand: Stand,
    executor: Option<Process>,
    agent: Option<Process>,
    api: Api,
    starts: u32,
    /// Runs both.
    program: PathBuf,
}

impl Node {
    async fn start(folder: &Path) -> Self {
        let (mut node, join) = Self::set_up(folder, Path::new(PROGRAM)).await;
        std::fs::write(folder.join("join"), join).unwrap();
        node.begin(Half::Executor);
        node.begin(Half::Agent);
        node.stand.enrolled(1).await.unwrap();
        node
    }

    /// A coordinator that runs as `program`, and a node that nothing runs of yet, with its join string.
    async fn set_up(folder: &Path, program: &Path) -> (Self, String) {
        let setup = Setup { program, advertised_host: Ipv4Addr::LOCALHOST, settings: "" };
        let mut stand = Stand::start(folder, &setup).await.unwrap();
        let join = stand.join_string(1, ClusterRole::Worker).await.unwrap();
        let api = Api::start(&folder.join("kubeconfig"));
        write_settings(folder, "w1");
        let node = Self {
            folder: folder.to_owned(),
            stand,
            executor: None,
            agent: None,
            api,
            starts: 0,
            program: PROGRAM.into(),
        };
        (node, join.encode())
    }

    fn begin(&mut self, half: Half) {
        let name = match half {
            Half::Executor => "executor",
            Half::Agent => "agent",
        };
        self.starts += 1;
        let mut command = Command::new(&self.program);
        command.arg(name).arg("--config").arg(self.folder.join(format!("{name}.toml"))).stdout(Stdio::null());
        let log = self.folder.join(format!("{name}-{}.log", self.starts));
        *self.slot(half) = Some(Process::start(&mut command, &log).unwrap());
    }

    /// As a crash, or the kernel that needs memory, ends a process.
    fn kill(&mut self, half: Half) {
        drop(self.slot(half).take());
    }

    fn slot(&mut self, half: Half) -> &mut Option<Process> {
        match half {
            Half::Executor => &mut self.executor,
            Half::Agent => &mut self.agent,
        }
    }

    /// A signed plan whose only task waits until the API server calls the node Ready.
    async fn waiting_plan(&mut self) -> Signed {
        let (fleet, _) = Fleet::from_toml(&[("fleet.toml", FLEET)]).unwrap();
        let check = Intent::Check { nodes: Selection::All };
        let admin = &mut self.stand.admin;
        let compiled =
            until("the node is connected", async || plan::compile(admin, &fleet, &check, None, now()).await.ok()).await;
        let step = Step::AwaitReady(AwaitReady { version: None, for_seconds: 0, timeout_seconds: 600 });
        let task = Task { steps: vec![step], ..compiled.plan.tasks[0].clone() };
        let strategy = Strategy { lease_seconds: 60, ..compiled.plan.strategy.clone() };
        let plan = Plan { kind: PlanKind::Uncordon, tasks: vec![task], strategy, ..compiled.plan };
        sign(admin, serde_json::to_vec(&plan).unwrap())
    }

    /// Hands a plan in and waits until its task waits. Gives its number.
    async fn wait_in_a_task(&mut self) -> Seq {
        self.api.set_ready(false);
        let signed = self.waiting_plan().await;
        let admin = &mut self.stand.admin;
        let verified = plan::verify(admin.trust_store(), &signed, now()).unwrap();
        let seq = plan::submit(admin, &verified).await.unwrap().seq;
        until("the task waits", async || {
            let detail = rollout::get(admin, &seq.to_string()).await.unwrap();
            detail.tasks.iter().any(|task| task.sentence.contains("w1 is not Ready")).then_some(())
        })
        .await;
        seq
    }

    /// Whether the executor, which was started once, said so.
    fn executor_said(&self, words: &str) -> bool {
        std::fs::read_to_string(self.folder.join("executor-1.log")).unwrap().contains(words)
    }

    /// Waits for the end of a rollout; every task must have succeeded and be proved.
    async fn finished(&mut self, seq: Seq) {
        let (which, mut unseen) = (seq.to_string(), |_: &_| Ok(()));
        let watched = tokio::time::timeout(PATIENCE, rollout::watch(&mut self.stand.admin, &which, &mut unseen)).await;
        let detail = watched.expect("the rollout ends").unwrap();
        rollout::ending(&detail).unwrap();
        let evidence = rollout::verify(self.stand.admin.trust_store(), &detail);
        assert_eq!((evidence.proved.len(), evidence.unproved.len()), (1, 0));
    }
}

/// What both programs of a node are told that has everything in that folder.
fn write_settings(folder: &Path, name: &str) {
    let at = |name: &str| folder.join(name);
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let executor = format!(
        "socket = {:?}\ndownloads = {:?}\njoin_file = {:?}\nconsole_file = {:?}\n\
         state_dir = {:?}\nkubeconfig = {:?}\n\
         node_name = {name:?}\nclock = \"trusted\"\nagent_user = {me:?}\n",
        at("socket"),
        at("agent/downloads"),
        at("join"),
        at("screen"),
        at("executor"),
        at("kubeconfig"),
    );
    std::fs::write(at("executor.toml"), executor).unwrap();
    std::fs::write(at("agent.toml"), format!("socket = {:?}\nstate_dir = {:?}\n", at("socket"), at("agent"))).unwrap();
}

/// The program with some C before the C library's own calls.
fn before_the_library(folder: &Path, calls: &str, define: &str) -> PathBuf {
    let (source, library, program) = (folder.join("calls.c"), folder.join("calls.so"), folder.join("program"));
    std::fs::write(&source, calls).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg(define);
    assert!(compiler.status().expect("a C compiler").success());
    std::fs::write(&program, format!("#!/bin/sh\nLD_PRELOAD={library:?} exec {PROGRAM:?} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn sign(admin: &Admin, bytes: Vec<u8>) -> Signed {
    let mut draft = Draft::plan(Signed { bytes, signatures: Vec::new() }).unwrap();
    plan::sign(admin.trust_store(), admin.signer(), &mut draft, now()).unwrap();
    draft.signed().clone()
}

#[tokio::test]
async fn a_task_goes_on_without_the_agent_and_its_receipt_arrives_when_that_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path()).await;
    let seq = node.wait_in_a_task().await;
    node.kill(Half::Agent);
    node.api.set_ready(true);
    until("the task ends", async || node.executor_said("w1 has been Ready").then_some(())).await;
    let detail = rollout::get(&mut node.stand.admin, &seq.to_string()).await.unwrap();
    assert!(rollout::ending(&detail).is_err(), "nobody carried it yet");
    node.begin(Half::Agent);
    node.finished(seq).await;
}

#[tokio::test]
async fn both_are_ended_and_come_back_in_any_order_in_the_middle_of_a_task() {
    use Half::{Agent, Executor};
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path()).await;
    let orders: [(&[Half], &[Half]); 4] = [
        (&[Executor], &[Executor]),
        (&[Executor, Agent], &[Agent, Executor]),
        (&[Agent, Executor], &[Executor, Agent]),
        (&[Agent, Executor], &[Agent, Executor]),
    ];
    for (ended, begun) in orders {
        let seq = node.wait_in_a_task().await;
        ended.iter().for_each(|half| node.kill(*half));
        begun.iter().for_each(|half| node.begin(*half));
        let admin = &mut node.stand.admin;
        until("the node is back", async || {
            let w1 = "w1".parse().unwrap();
            let found = hostler_cli::node::get(admin, &w1).await.unwrap();
            found.summary.is_some_and(|summary| summary.connected).then_some(())
        })
        .await;
        node.api.set_ready(true);
        node.finished(seq).await;
    }
}

#[tokio::test]
async fn a_running_executor_takes_a_stop_by_file_while_its_agent_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path()).await;
    let seq = node.wait_in_a_task().await;
    let admin = &node.stand.admin;
    // Nobody asked the coordinator for it.
    let stop = stop::without_coordinator(admin.trust_store(), now()).unwrap();
    let stop = stop.sign(admin.trust_store(), admin.signer(), now()).unwrap();
    let signed = stop.signed();
    node.kill(Half::Agent);
    let file = folder.path().join("stop.json");
    std::fs::write(&file, &signed.bytes).unwrap();
    std::fs::write(folder.path().join("stop.json.sig"), &signed.signatures[0]).unwrap();
    let accept = || {
        let mut command = Command::new(PROGRAM);
        command.args(["executor", "--config"]).arg(folder.path().join("executor.toml")).arg("--accept").arg(&file);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let said = accept();
    assert!(said.contains("holds now and ended 1 before it"), "{said}");
    assert!(accept().contains("held already, nothing changed"));
    node.begin(Half::Agent);
    let admin = &mut node.stand.admin;
    let detail = until("its receipt arrives", async || {
        let detail = rollout::get(admin, &seq.to_string()).await.unwrap();
        detail.tasks.iter().all(|task| !task.receipt.is_empty()).then_some(detail)
    })
    .await;
    assert!(rollout::ending(&detail).is_err(), "it did not succeed");
    // The next plan has a number that the node follows.
    let ended = stop.document().seq;
    until("the coordinator knows what the node holds", async || {
        admin.refresh().await.unwrap();
        let next = stop::compile(admin, &stop::Which::All, now()).await.unwrap().plan;
        (next.seq > ended && next.also == [stop.digest()]).then_some(())
    })
    .await;
}
