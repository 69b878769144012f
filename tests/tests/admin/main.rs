//! The admin's operations against a real coordinator and real agents on simulated machines, over TLS on loopback.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod at_once;
mod drains;
mod ends;
mod import;
mod install;
mod liar;
mod link;
mod members;
mod obstacles;
mod root;
mod session;
mod snapshot;
mod stop;
mod twins;
mod two_signers;
mod why;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use hostler_cli::{
    Admin, Error, Profile,
    admin::now,
    key::{KeySource, SigningKey, read_public_key},
    ledger,
    plan::{self, CompiledPlan, SubmittedPlan},
    rollout, roster, token, trust,
};
use hostler_coordinator::{Listeners, Settings};
use hostler_plan::{
    document::{self, Approval, Signed, SignerRole},
    fleet::Fleet,
    id::{Arch, Digest, NodeName, Seq},
    planner::{Intent, Selection},
    refusal::Refusal,
    step::ClusterRole,
    trust::Draft,
};
use hostler_proto::join::{JoinString, SetupCode};
use hostler_sim::{
    clock::SharedWorld,
    host::SimHost,
    node::{Node, NodeError},
    world::World,
};
use tokio::{sync::oneshot, task::JoinHandle};

const FLEET: &str = r#"
name = "home"
distribution = "k3s"
version = "v1.34.3+k3s1"
api = "192.168.1.10:6443"
[[nodes]]
name = "s1"
role = "server"
arch = "aarch64"
[[nodes]]
name = "w1"
role = "worker"
arch = "aarch64"
"#;

/// How long anything here may take before the test fails: a busy machine needs seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The listeners of a coordinator that comes back: admins, agents, enrolment.
type Ports = (SocketAddr, SocketAddr, SocketAddr);

struct Coordinator {
    ports: Ports,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Coordinator {
    async fn start(data: &Path, ports: Option<Ports>) -> Self {
        let mut settings = Settings::on_loopback(data);
        if let Some(ports) = ports {
            (settings.admin_listen, settings.agent_listen, settings.enrolment_listen) = ports;
        }
        let listeners = Listeners::bind(&settings).await.unwrap();
        let bound = listeners.addresses();
        let ports = (bound.admin, bound.agents, bound.enrolment);
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            hostler_coordinator::run(settings, listeners, shutdown).await.unwrap();
        });
        Self { ports, stop, running }
    }

    async fn end(self) -> Ports {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap();
        self.ports
    }
}

/// The disk of a coordinator that is stopped.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// A throw-away key, made by stock ssh-keygen as an admin would.
fn make_key(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status().unwrap();
    assert!(made.success());
    path
}

fn profile(folder: &Path, name: &str, address: SocketAddr) -> Profile {
    Profile {
        home: folder.join(format!("home-{name}")),
        coordinator: Some(address.to_string()),
        fleet: None,
        key: KeySource { path: Some(folder.join(name)), ..KeySource::default() },
    }
}

async fn connect(profile: &Profile) -> Result<Admin, Error> {
    Admin::connect(profile, SigningKey::find(&profile.key, &[])?).await
}

async fn set_up(folder: &Path, data: &Path, address: SocketAddr, threshold_plan: u32) -> Profile {
    make_key(folder, "anna");
    let bert = make_key(folder, "bert");
    let profile = profile(folder, "anna", address);
    let setup = tokio::time::timeout(PATIENCE, async {
        loop {
            match std::fs::read_to_string(data.join("setup-code")) {
                Ok(text) if !text.is_empty() => break SetupCode::parse(&text).unwrap(),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    let bert = document::Signer {
        name: "bert".into(),
        key: read_public_key(&bert).unwrap(),
        role: SignerRole::Admin,
        plan_kinds: Vec::new(),
    };
    let first = trust::FirstRoot {
        name: "anna".into(),
        signers: vec![bert],
        threshold_plan,
        lifetime: trust::DEFAULT_ROOT_LIFETIME,
        policy: trust::DEFAULT_POLICY,
    };
    let signer = SigningKey::find(&profile.key, &[]).unwrap();
    trust::init(&profile, &signer, &setup.await.unwrap(), &first, now()).await.unwrap();
    profile
}

/// Another admin's machine takes the first root over. Gives its digest.
fn import(from: &Profile, to: &Profile) -> Digest {
    let digest = hostler_cli::trust_store::TrustStore::require(&from.home).unwrap().first_root();
    trust::import(to, &from.home.join("trust/root-1.json"), &digest).unwrap();
    digest
}

/// Starts an agent on a simulated machine for each join string.
fn start_agents(folder: &Path, joins: &[(&str, String)]) {
    let names = joins.iter().map(|(name, _)| (NodeName::new(*name).unwrap(), Arch::Aarch64));
    start_agents_in(folder, SharedWorld::new(World::new(1, names), 10.0), joins);
}

/// The same on machines of a world that has them already.
fn start_agents_in(folder: &Path, world: SharedWorld, joins: &[(&str, String)]) {
    for (name, join) in joins {
        let join_file = folder.join(format!("join-{name}"));
        std::fs::write(&join_file, join).unwrap();
        let node = NodeName::new(*name).unwrap();
        let host = Arc::new(SimHost::here(world.clone(), node.clone()).unwrap());
        let node = Node::new(folder.join(format!("state-{name}")), join_file, node);
        tokio::spawn(node.run(host, std::future::pending()));
    }
}

async fn all_enrolled(admin: &mut Admin, expected: usize) {
    let wait = async {
        while roster::pending(admin).await.unwrap().0.len() < expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("every node enrols");
}

/// Starts one agent, `s1`, and lists it in the roster.
async fn enrol_s1(folder: &Path, admin: &mut Admin) {
    let request = token::TokenRequest {
        uses: 1,
        lifetime: PATIENCE * 10,
        role: ClusterRole::Server,
        approval: Approval::Automatic,
    };
    let join = token::create(admin, &request, now()).await.unwrap();
    start_agents(folder, &[("s1", join.encode())]);
    all_enrolled(admin, 1).await;
    roster::list_automatic(admin, now()).await.unwrap();
}

async fn compile_check(admin: &mut Admin) -> CompiledPlan {
    let (fleet, _) = Fleet::from_toml(&[("fleet.toml", FLEET)]).unwrap();
    let check = Intent::Check { nodes: Selection::All };
    let wait = async {
        loop {
            match plan::compile(admin, &fleet, &check, None, now()).await {
                // After a restart of the coordinator the agents come back one by one.
                Err(Error::Failed(text)) if text.contains("is not connected") => {}
                other => break other.unwrap(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("every node is connected")
}

fn sign(admin: &Admin, signed: &mut Signed) {
    let mut draft = Draft::plan(signed.clone()).unwrap();
    plan::sign(admin.trust_store(), admin.signer(), &mut draft, now()).unwrap();
    *signed = draft.signed().clone();
}

async fn submit(admin: &mut Admin, signed: &Signed) -> Result<SubmittedPlan, Error> {
    let verified = plan::verify(admin.trust_store(), signed, now())?;
    plan::submit(admin, &verified).await
}

async fn watch(admin: &mut Admin, seq: Seq) -> rollout::Evidence {
    let (which, mut unseen) = (seq.to_string(), |_: &_| Ok(()));
    let watched = tokio::time::timeout(PATIENCE, rollout::watch(admin, &which, &mut unseen)).await;
    let detail = watched.expect("the rollout ends").unwrap();
    rollout::ending(&detail).unwrap();
    rollout::verify(admin.trust_store(), &detail)
}

fn refusal<T>(result: Result<T, Error>) -> Refusal {
    let error = result.err().expect("refused");
    let Error::Refused(refused) = error else { panic!("expected a refusal, found {error}") };
    refused.refusal
}

#[tokio::test]
async fn two_admins_take_a_plan_from_the_first_root_to_proved_receipts() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 2).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    let digest = import(&anna, &bert);
    let (mut anna, mut bert) = (connect(&anna).await.unwrap(), connect(&bert).await.unwrap());
    assert_eq!((anna.session().signer.as_str(), bert.session().signer.as_str()), ("anna", "bert"));

    let request = |role, approval| token::TokenRequest { uses: 1, lifetime: PATIENCE * 10, role, approval };
    let server = token::create(&mut anna, &request(ClusterRole::Server, Approval::Automatic), now()).await.unwrap();
    let worker = token::create(&mut anna, &request(ClusterRole::Worker, Approval::Manual), now()).await.unwrap();
    start_agents(folder, &[("s1", server.encode()), ("w1", worker.encode())]);
    all_enrolled(&mut anna, 2).await;
    let listed = roster::list_automatic(&mut anna, now()).await.unwrap();
    assert_eq!(listed, [NodeName::new("s1").unwrap()], "w1 waits for a person");
    let (waiting, _) = roster::pending(&mut anna).await.unwrap();
    roster::list(&mut anna, &waiting, now()).await.unwrap();

    let compiled = compile_check(&mut anna).await;
    let mut signed = Signed { bytes: compiled.bytes.clone(), signatures: Vec::new() };
    sign(&anna, &mut signed);
    assert_eq!(refusal(submit(&mut anna, &signed).await), Refusal::Threshold);
    bert.refresh().await.unwrap();
    sign(&bert, &mut signed);
    let submitted = submit(&mut bert, &signed).await.unwrap();
    assert_eq!((submitted.seq, submitted.is_new), (Seq(1), true));
    assert!(!submit(&mut anna, &signed).await.unwrap().is_new, "twice is once");
    let judged = watch(&mut anna, submitted.seq).await;
    assert_eq!((judged.proved.len(), judged.unproved.len()), (2, 0));
    judged.plan.unwrap();
    judged.order.unwrap();
    assert_eq!(compile_check(&mut bert).await.plan.seq, Seq(2), "the next number follows from the signed plan");

    let mut lines = Vec::new();
    ledger::export(&mut anna, 0, &mut lines, "memory".as_ref()).await.unwrap();
    let report = ledger::verify(&lines, Some(&digest)).unwrap();
    assert_eq!((report.roots, report.rosters, report.plans, report.receipts), (1, 2, 1, 2));
    coordinator.end().await;
}

#[tokio::test]
async fn a_coordinator_that_was_put_back_or_replaced_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let mut admin = connect(&profile).await.unwrap();
    enrol_s1(folder, &mut admin).await;
    let ports = coordinator.end().await;

    // Yesterday's disk: a copy from before the second roster.
    copy(&data, &folder.join("yesterday"));
    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut admin = connect(&profile).await.unwrap();
    roster::retire(&mut admin, &NodeName::new("s1").unwrap(), now()).await.unwrap();
    coordinator.end().await;
    let coordinator = Coordinator::start(&folder.join("yesterday"), Some(ports)).await;
    assert_eq!(refusal(connect(&profile).await), Refusal::Replay, "an older roster than the one held");
    coordinator.end().await;

    // Somebody else's coordinator on the same address.
    let coordinator = Coordinator::start(&folder.join("other"), Some(ports)).await;
    let error = connect(&profile).await.expect_err("another CA");
    assert_eq!(error.word(), "not_pinned", "{error}");
    coordinator.end().await;
}
