//! The fleet before the coordinator fell into the wrong hands, and fresh copies of its node.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hostler_cli::{
    Admin, Profile,
    admin::now,
    key::{KeySource, SigningKey},
    plan, rollout, root, roster, token, trust,
};
use hostler_coordinator::{Listeners, Settings};
use hostler_executor::{disk::Disk, state_file::StateFile};
use hostler_fixtures::{self as made, key, name, public, signed, signer};
use hostler_plan::{
    document::{
        Approval, DocumentKind, Enrolled, Root, Roster, RosterNode, RosterStatus, Signed, SignerRole, Strategy,
    },
    id::{Arch, Digest, Seq},
    json,
    step::ClusterRole,
    trust::Draft,
};
use hostler_proto::join::SetupCode;
use hostler_sim::{
    clock::SharedWorld,
    host::SimHost,
    node::{Node, NodeError},
    world,
};
use ssh_key::{LineEnding, PrivateKey};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    PATIENCE,
    machine::{Peaks, Processes, Programs, Tree},
    modes::PERFORMED,
};

/// What is left of an honest fleet: documents, keys, and the disk of its node `w1`.
pub(crate) struct World {
    folder: tempfile::TempDir,
    /// What the node runs on, and the root of its machine where it has one.
    programs: Option<Programs>,
    machine: tempfile::TempDir,
    /// The coordinator's folder, its CA in it.
    pub data: PathBuf,
    /// Where the node finds it.
    pub agents: SocketAddr,
    /// An admin whose key counts; the attacker has only what she signed.
    pub anna: PrivateKey,
    /// An admin whose key root 2 revokes; the attacker has it.
    pub mallory: PrivateKey,
    pub olga: PrivateKey,
    pub vic: PrivateKey,
    pub s1: PrivateKey,
    /// The key of another worker; the attacker has it.
    pub w2: PrivateKey,
    pub roots: Vec<Signed>,
    pub first_roster: Signed,
    pub roster: Signed,
    /// The plan that the node has performed.
    pub performed: Signed,
    now_playing: Mutex<Option<SharedWorld>>,
}

/// A node at work.
pub(crate) enum Running {
    Here { stop: oneshot::Sender<()>, running: JoinHandle<Result<hostler_executor::Ended, NodeError>> },
    Processes(Processes),
}

impl Running {
    fn here(folder: &Path, world: &SharedWorld) -> Self {
        let host = Arc::new(SimHost::here(world.clone(), name("w1")).unwrap());
        let node = Node::new(folder.to_owned(), folder.join("join"), name("w1"));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        Self::Here { stop, running: tokio::spawn(node.run(host, shutdown)) }
    }

    /// Ends it; its executor has left its folder then. Gives what memory it took at most.
    pub(crate) async fn end(self) -> Peaks {
        match self {
            Self::Here { stop, running } => {
                let _ = stop.send(());
                tokio::time::timeout(PATIENCE, running).await.expect("the node ends").unwrap().unwrap();
                Peaks::default()
            }
            Self::Processes(processes) => processes.end().await,
        }
    }
}

impl World {
    pub(crate) async fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let [anna, mallory, olga, vic, s1, w2] = [1, 2, 3, 4, 5, 6].map(key);
        std::fs::write(folder.path().join("anna"), anna.to_openssh(LineEnding::LF).unwrap()).unwrap();
        fs::set_permissions(folder.path().join("anna"), Permissions::from_mode(0o600)).unwrap();
        let settings = Settings::on_loopback(&data);
        let listeners = Listeners::bind(&settings).await.unwrap();
        let addresses = listeners.addresses();
        let (agents, admins) = (addresses.agents, addresses.admin.to_string());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(hostler_coordinator::run(settings, listeners, async {
            let _ = stopped.await;
        }));
        let profile = Profile {
            home: folder.path().join("home"),
            coordinator: Some(admins),
            fleet: None,
            key: KeySource { path: Some(folder.path().join("anna")), ..KeySource::default() },
        };
        let mut admin = first_root(&profile, &data, [&mallory, &olga, &vic]).await;
        let node = folder.path().join("w1");
        std::fs::create_dir_all(&node).unwrap();
        let (programs, machine) = (Programs::from_environment(), tempfile::tempdir().unwrap());
        let start = || start(programs.as_ref(), machine.path(), folder.path(), &node).0;
        let victim = enrol(&mut admin, &node, start).await;
        let (first_roster, roots, roster) = documents(&mut admin, &anna, &mallory, [&s1, &w2]).await;
        let world_documents = Self {
            folder,
            programs,
            machine,
            data,
            agents,
            anna,
            mallory,
            olga,
            vic,
            s1,
            w2,
            roots,
            first_roster,
            performed: roster.clone(),
            roster,
            now_playing: Mutex::new(None),
        };
        let performed = world_documents.plan(PERFORMED, |plan| {
            plan.strategy = Strategy { lease_seconds: 60, ..plan.strategy.clone() };
            plan.tasks = vec![made::task("w1.first", "w1", &[], vec![world_documents.file("first")])];
        });
        let verified = plan::verify(admin.trust_store(), &performed, now()).unwrap();
        plan::submit(&mut admin, &verified).await.unwrap();
        let rollout = PERFORMED.to_string();
        let mut unseen = |_: &_| Ok(());
        let watched = rollout::watch(&mut admin, &rollout, &mut unseen);
        let detail = tokio::time::timeout(PATIENCE, watched).await.expect("the honest plan ends").unwrap();
        rollout::ending(&detail).unwrap();
        victim.end().await;
        drop(stop);
        tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
        Self { performed, ..world_documents }
    }

    /// A node with the disk that it had then, on a machine on which nothing was done yet.
    pub(crate) async fn victim(&self) -> Running {
        let (template, folder) = (self.folder.path().join("w1"), self.node());
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        copy(&template, &folder);
        let (node, world) = start(self.programs.as_ref(), self.machine.path(), self.folder.path(), &folder);
        *self.now_playing.lock().unwrap_or_else(PoisonError::into_inner) = world;
        node
    }

    /// What the node runs on, in words.
    pub(crate) fn programs(&self) -> String {
        let simulated = "on a simulated machine, in this process".to_owned();
        self.programs.as_ref().map_or(simulated, |programs| format!("on a real file system, {programs}"))
    }

    fn node(&self) -> PathBuf {
        self.folder.path().join("v")
    }

    pub(crate) fn held(&self) -> Vec<u8> {
        let (_, stored) = StateFile::open(&Disk::beside(&self.node().join("executor"))).unwrap();
        stored.unwrap().state.to_index()
    }

    /// Where a plan's file lies.
    pub(crate) fn host_path(&self, file: &str) -> String {
        format!("/etc/thicket/{file}")
    }

    /// What is on the machine of the node now.
    pub(crate) fn tree(&self) -> Tree {
        match &*self.now_playing.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(world) => Tree::of_simulated(world),
            None => Tree::of_folder(self.machine.path()),
        }
    }
}

/// A node with that folder of the fleet's, on a machine on which nothing was done yet.
fn start(programs: Option<&Programs>, machine: &Path, fleet: &Path, folder: &Path) -> (Running, Option<SharedWorld>) {
    match programs {
        Some(programs) => {
            Programs::make_machine(machine, fleet);
            (Running::Processes(programs.start(machine, fleet, folder)), None)
        }
        None => {
            let world = SharedWorld::new(world::World::new(1, [(name("w1"), Arch::Aarch64)]), 10.0);
            (Running::here(folder, &world), Some(world))
        }
    }
}

async fn first_root(profile: &Profile, data: &Path, others: [&PrivateKey; 3]) -> Admin {
    let code = tokio::time::timeout(PATIENCE, async {
        loop {
            match std::fs::read_to_string(data.join("setup-code")) {
                Ok(text) if !text.is_empty() => break SetupCode::parse(&text).unwrap(),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    let roles = [("mallory", SignerRole::Admin), ("olga", SignerRole::Operator), ("vic", SignerRole::Viewer)];
    let first = trust::FirstRoot {
        name: "anna".into(),
        signers: roles.into_iter().zip(others).map(|((name, role), key)| signer(name, public(key), role)).collect(),
        threshold_plan: 1,
        lifetime: trust::DEFAULT_ROOT_LIFETIME,
        policy: trust::DEFAULT_POLICY,
    };
    let own = SigningKey::find(&profile.key, &[]).unwrap();
    trust::init(profile, &own, &code.await.unwrap(), &first, now()).await.unwrap();
    Admin::connect(profile, SigningKey::find(&profile.key, &[]).unwrap()).await.unwrap()
}

async fn enrol(admin: &mut Admin, folder: &Path, start: impl FnOnce() -> Running) -> Running {
    let request =
        token::TokenRequest { uses: 1, lifetime: PATIENCE * 10, role: ClusterRole::Worker, approval: Approval::Manual };
    let join = token::create(admin, &request, now()).await.unwrap();
    std::fs::write(folder.join("join"), join.encode()).unwrap();
    let victim = start();
    let wait = async {
        while roster::pending(admin).await.unwrap().0.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the node enrols");
    victim
}

/// Two rosters, and between them the root that revokes mallory. Of the other nodes there are only keys.
async fn documents(
    admin: &mut Admin,
    anna: &PrivateKey,
    mallory: &PrivateKey,
    [s1, w2]: [&PrivateKey; 2],
) -> (Signed, Vec<Signed>, Signed) {
    let pending = roster::pending(admin).await.unwrap().0.remove(0);
    let enrolment = pending.enrolment.document();
    let victim = RosterNode {
        name: name("w1"),
        key: enrolment.key.clone(),
        seal_key: enrolment.seal_key.clone(),
        role: ClusterRole::Worker,
        arch: enrolment.arch,
        status: RosterStatus::Active,
        enrolled: Enrolled { token: enrolment.token.clone(), enrolment: pending.enrolment.digest() },
    };
    let nodes = vec![
        made::node("s1", public(s1), ClusterRole::Server),
        victim,
        made::node("w2", public(w2), ClusterRole::Worker),
    ];
    let root_1 = admin.trust_store().trusted().signed().clone();
    let parsed: Root = json::parse(&root_1.bytes).unwrap();
    let roster_1 = made::roster(&parsed, now().whole_seconds(), nodes);
    let first_roster = signed(DocumentKind::Roster, &roster_1, &[anna]);
    let request = admin.with_session(first_roster.clone().into());
    admin.client().submit_roster(request).await.unwrap();
    let root_2 =
        Root { version: 2, created: now().whole_seconds(), revoked: vec![public(mallory).fingerprint()], ..parsed };
    let root_2 = signed(DocumentKind::Root, &root_2, &[anna]);
    admin.refresh().await.unwrap();
    root::submit(admin, &Draft::root(root_2.clone()).unwrap()).await.unwrap();
    let roster_2 = Roster {
        version: 2,
        prev: Some(Digest::of(&first_roster.bytes)),
        root_version: 2,
        plan_seq: Seq(0),
        created: now().whole_seconds(),
        ..roster_1
    };
    let roster_2 = signed(DocumentKind::Roster, &roster_2, &[anna]);
    let request = admin.with_session(roster_2.clone().into());
    admin.client().submit_roster(request).await.unwrap();
    admin.refresh().await.unwrap();
    (first_roster, vec![root_1, root_2], roster_2)
}

/// Copies a folder with its modes, but for sockets. No process does it: one that is just begun has every lock of this
/// one, those of the other fleets among them.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
}
