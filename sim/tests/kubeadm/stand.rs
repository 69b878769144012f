//! A fleet of simulated machines with real executors, and an admin who signs plans for them. The coordinator's part is
//! played here: it grants one task after the other.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hostler_executor::{
    build_time,
    protocol::{
        FromExecutor, Grant, Request,
        node::{Admitted, Answer, Question},
    },
};
use hostler_fixtures::{self as made, damage, public, signed, signer};
use hostler_plan::{
    document::{
        DIFFERS, DocumentKind, Enrolled, Enrolment, Outcome, Plan, Receipt, RecoveryKey, Root, Roster, RosterNode,
        Signed, SignerRole, Task,
    },
    fleet::Fleet,
    id::{Arch, Digest, Epoch, NodeName, Seq, TaskId},
    json,
    planner::{
        self, Accepted, Begins, Earlier, Intent, Inventory, InventoryNode, Numbering, PlanError, Quarantined, Selection,
    },
    sequencer::{ClusterNode, Standing},
    step::Step,
    timestamp::Timestamp,
};
use hostler_proto::join::JoinString;
use hostler_seal::Identity;
use hostler_sim::{
    clock::SharedWorld,
    world::{
        World,
        kubeadm::{
            image::{self, archive, of_component},
            program::{package, program},
        },
        machine::BOOT,
    },
};
use ssh_key::{LineEnding, PrivateKey};

use crate::{
    mortal::{Mortal, Points},
    process::Process,
};

pub(crate) const OLD: &str = "v1.35.4";
pub(crate) const NEW: &str = "v1.36.3";

/// How often a task may be begun again: each kill needs one more.
const TRIES: usize = 6;

/// How long a task may take in real time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a task ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    pub task: TaskId,
    pub outcome: Outcome,
    /// Whether a step of it changed anything.
    pub changed: bool,
    /// What an inspection found.
    pub differs: Vec<String>,
    pub receipt: Receipt,
}

/// What stays the same while the fleet lives.
pub(crate) struct Stand {
    folder: tempfile::TempDir,
    admin: PrivateKey,
    pub(crate) root: Root,
    pub(crate) roster: Roster,
    pub fleet: Fleet,
    /// What the coordinator's folder of artifacts holds.
    contents: BTreeMap<Digest, Vec<u8>>,
    seq: u64,
    prev: Option<Digest>,
    pub world: SharedWorld,
    pub points: Arc<Mutex<Points>>,
    processes: BTreeMap<NodeName, Process>,
}

/// A fleet at one moment: its machines, and what its executors keep.
pub(crate) struct Moment {
    folder: tempfile::TempDir,
    world: World,
}

/// Every file that a fleet of these two versions needs.
pub(crate) fn artifacts() -> (String, BTreeMap<Digest, Vec<u8>>) {
    let (mut lock, mut contents) = (String::new(), BTreeMap::new());
    let mut add = |name: &str, rest: &str, content: Vec<u8>| {
        let (sha256, size) = (Digest::of(&content), content.len());
        let hex = sha256.hex();
        writeln!(lock, "[[artifacts]]\nname = {name:?}\npath = \"{hex}\"\nsha256 = \"{hex}\"\nsize = {size}\n{rest}")
            .unwrap();
        contents.insert(sha256, content);
    };
    let arch = "arch = \"aarch64\"";
    for version in [OLD, NEW] {
        for name in ["kubeadm", "kubelet"] {
            add(name, &format!("{arch}\nversion = {version:?}"), program(name, version));
        }
        let parsed = version.parse().unwrap();
        for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"] {
            let rest = format!("{arch}\nversion = {version:?}\nkind = \"image\"\nkubernetes = {version:?}");
            add(name, &rest, archive(&[&of_component(name, parsed)]));
        }
    }
    for name in ["etcdctl", "etcdutl", "containerd", "ctr"] {
        add(name, &format!("{arch}\nversion = \"3.6.8\""), program(name, "3.6.8"));
    }
    for (name, image) in [("pause", image::PAUSE), ("coredns", image::COREDNS)] {
        add(name, &format!("{arch}\nversion = \"1.0.0\"\nkind = \"image\""), archive(&[image]));
    }
    add("runc", &format!("{arch}\nversion = \"1.1.5+ds1-1\"\nkind = \"package\""), package("runc", "1.1.5+ds1-1"));
    let cni = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: net, namespace: kube-system}\n";
    add("cni.yaml", "kind = \"manifest\"", cni.into());
    (lock, contents)
}

pub(crate) fn fleet_text(servers: usize, workers: usize) -> String {
    let mut text = format!(
        "name = \"sim\"\ndistribution = \"kubeadm\"\nversion = \"{OLD}\"\napi = \"k8s.lab:6443\"\n\
         [policy]\nmax_unavailable = 1\ncanary = 0\nsoak_seconds = 1\nlease_seconds = 600\n\
         [kubeadm]\npod_network = \"10.244.0.0/16\"\nmanifests = [\"cni.yaml\"]\n\
         [machine]\ntime_sync = false\nhosts = {{ \"10.0.0.10\" = [\"k8s.lab\"] }}\n"
    );
    for i in 0..servers + workers {
        let (name, role) = match i.checked_sub(servers) {
            None => (format!("s{}", i + 1), "server"),
            Some(worker) => (format!("w{}", worker + 1), "worker"),
        };
        let address = 11 + i;
        writeln!(
            text,
            "[[nodes]]\nname = {name:?}\nrole = {role:?}\narch = \"aarch64\"\naddress = \"10.0.0.{address}\""
        )
        .unwrap();
    }
    text
}

/// The private half of the root's recovery key.
pub(crate) fn recovery_key() -> Identity {
    Identity::from_bytes([7; 32])
}

/// Everything to the newer version.
pub(crate) fn upgrade_of(fleet: &Fleet) -> Intent {
    let servers = fleet.servers();
    // One of two, and the only one, are away while they are upgraded.
    let is_outage = servers.len() < 3;
    let accept_outage = servers.iter().filter(|_| is_outage).map(|server| server.name.clone()).collect();
    let nodes = Selection::All;
    Intent::Upgrade {
        to: NEW.parse().unwrap(),
        nodes,
        quarantined: Quarantined::Refuse,
        accepted: Accepted { outage: accept_outage, ..Accepted::default() },
    }
}

impl Stand {
    /// Machines with nothing on them, whose executors have enrolled.
    pub(crate) fn new(servers: usize, workers: usize) -> Self {
        let (lock, contents) = artifacts();
        let (fleet, _) =
            Fleet::with_lock(("fleet.toml", &fleet_text(servers, workers)), ("fleet.lock", &lock)).unwrap();
        let began = build_time().plus(Duration::from_secs(3600)).whole_seconds();
        let machines = fleet.nodes.iter().map(|node| (node.name.clone(), Arch::Aarch64));
        let world = SharedWorld::in_steps(World::new(7, machines), began.unix_milliseconds());
        let admin = made::key(200);
        let mut root = made::root(began, vec![signer("ana", public(&admin), SignerRole::Admin)]);
        root.recovery = vec![RecoveryKey { name: "safe".into(), key: recovery_key().recipient() }];
        let folder = damage::scratch();
        let mut stand = Self {
            folder,
            admin,
            roster: made::roster(&root, began, Vec::new()),
            root,
            fleet,
            contents,
            seq: 0,
            prev: None,
            world,
            points: Arc::default(),
            processes: BTreeMap::new(),
        };
        stand.enrol(began);
        stand
    }

    /// Puts a file into the coordinator's folder of artifacts.
    pub(crate) fn keep(&mut self, content: Vec<u8>) -> Digest {
        let digest = Digest::of(&content);
        self.contents.insert(digest, content);
        digest
    }

    /// The tasks of a plan once more, in a plan with the next number.
    pub(crate) fn again(&mut self, signed: &Signed) -> Signed {
        let plan: Plan = json::parse(&signed.bytes).unwrap();
        let plan = Plan { seq: Seq(self.seq + 1), prev: self.prev, ..plan };
        self.signed_next(&plan)
    }

    fn signed_next(&mut self, plan: &Plan) -> Signed {
        let signed = self.sign(DocumentKind::Plan, plan);
        self.seq += 1;
        self.prev = Some(signed.digest());
        signed
    }

    /// The fleet file as it was at first, and changed so.
    pub(crate) fn rewrite(&mut self, change: impl Fn(String) -> String) {
        let servers = self.fleet.servers().len();
        let text = change(fleet_text(servers, self.fleet.nodes.len() - servers));
        let (lock, _) = artifacts();
        self.fleet = Fleet::with_lock(("fleet.toml", &text), ("fleet.lock", &lock)).unwrap().0;
    }

    fn enrol(&mut self, now: Timestamp) {
        let token = made::key(201);
        let root = self.sign(DocumentKind::Root, &self.root);
        let admission = made::admission(&self.root, now, public(&token));
        let admission = self.sign(DocumentKind::Admission, &admission);
        let join = JoinString {
            fleet_id: self.root.fleet_id.clone(),
            address: "c:1".into(),
            ca_pin: self.root.coordinator_ca[0],
            root: root.digest(),
            token: made::token_id(&public(&token)),
            token_key: token.to_openssh(LineEnding::LF).unwrap().to_string(),
        };
        let mut nodes = Vec::new();
        for node in self.fleet.nodes.clone() {
            let folder = self.folder.path().join(node.name.as_str());
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("join"), join.encode()).unwrap();
            let mut process = self.start(&node.name);
            let tls_key = Digest::of(b"tls");
            let Answer::Enrolment(signed) = process.ask(Question::Enrol { tls_key }) else { panic!("no enrolment") };
            let enrolment: Enrolment = json::parse(&signed.bytes).unwrap();
            let admitted = Admitted { roots: vec![root.clone()], roster: None, admission: Some(admission.clone()) };
            let answer = process.ask(Question::Admit(admitted));
            assert!(matches!(answer, Answer::Enrolled(_)), "{answer:?}");
            process.end();
            nodes.push(RosterNode {
                seal_key: enrolment.seal_key.clone(),
                arch: Arch::Aarch64,
                enrolled: Enrolled { token: enrolment.token.clone(), enrolment: signed.digest() },
                ..made::node(node.name.as_str(), enrolment.key.clone(), node.role)
            });
        }
        self.roster = made::roster(&self.root, now, nodes);
    }

    fn sign<T: serde::Serialize>(&self, kind: DocumentKind, document: &T) -> Signed {
        signed(kind, document, &[&self.admin])
    }

    fn start(&self, name: &NodeName) -> Process {
        let folder = self.folder.path().join(name.as_str());
        Process::start(&folder, name, Mortal::new(&self.world, name, &folder, &self.points))
    }

    /// The fleet as it is now; no executor runs.
    pub(crate) fn save(&mut self) -> Moment {
        self.processes.clear();
        let folder = damage::scratch();
        damage::copy(self.folder.path(), folder.path());
        Moment { folder, world: self.world.now().clone() }
    }

    /// The fleet as it was then.
    pub(crate) fn load(&mut self, moment: &Moment) {
        self.processes.clear();
        self.folder = damage::scratch();
        damage::copy(moment.folder.path(), self.folder.path());
        let began = self.world.now().began_unix_ms;
        self.world = SharedWorld::in_steps(moment.world.clone(), began);
        self.points = Arc::default();
    }

    /// A plan for the fleet as it is.
    pub(crate) fn plan(&mut self, intent: &Intent) -> Result<Signed, PlanError> {
        let roster = self.roster.clone();
        let world = self.world.now();
        let seen = |name: &NodeName| {
            let found = world.cluster.nodes.get(name);
            let standing = match found {
                Some(node) if node.ready => Standing::Ready,
                Some(_) => Standing::NotReady,
                None => Standing::Outside,
            };
            let version = found.map(|node| node.version);
            let condition = ClusterNode { standing, version, ..ClusterNode::UNKNOWN };
            (name.clone(), InventoryNode { connected: true, condition, ..InventoryNode::UNSEEN })
        };
        let nodes = self.fleet.nodes.iter().map(|node| seen(&node.name)).collect();
        let numbering = Numbering {
            epoch: Epoch(1),
            seq: Seq(self.seq + 1),
            prev: self.prev,
            also: Vec::new(),
            root_version: 1,
            roster: Digest::of(&json::write(&roster)),
            created: Timestamp::from_unix_milliseconds(world.began_unix_ms + world.now()).whole_seconds(),
            lifetime_seconds: 86_400,
            begins: Begins::AtOnce,
        };
        drop(world);
        let inventory = Inventory { nodes, ..Inventory::default() };
        let (plan, _) = planner::plan(&self.fleet, &roster, &inventory, &Earlier::default(), intent, &numbering)?;
        Ok(self.signed_next(&plan))
    }

    /// Performs a plan, task after task, until one does not succeed.
    pub(crate) fn perform(&mut self, signed: &Signed) -> Vec<Ending> {
        let plan: Plan = json::parse(&signed.bytes).unwrap();
        let mut receipts: BTreeMap<TaskId, Signed> = BTreeMap::new();
        let mut endings = Vec::new();
        let mut number = 0;
        for round in plan.tasks.chunk_by(|one, next| waits_for_others(one) && waits_for_others(next)) {
            let mut granted = Vec::new();
            for task in round {
                number += 1;
                let receipts = task.after.iter().map(|id| receipts[id].clone()).collect();
                let (plan, task_id) = (signed.digest(), task.id.clone());
                let grant = Grant { plan, task: task_id, grant: number, lease_seconds: 600, receipts, head: None };
                granted.push((task, grant));
            }
            for (task, receipt) in round.iter().zip(self.perform_round(signed, &granted)) {
                let document: Receipt = json::parse(&receipt.bytes).unwrap();
                let changed = document.steps.iter().any(|step| step.changed);
                receipts.insert(task.id.clone(), receipt);
                let differs = document.observations.iter().filter(|observation| observation.name == DIFFERS);
                let differs = differs.map(|observation| observation.value.clone()).collect();
                let (task, outcome) = (task.id.clone(), document.outcome.clone());
                endings.push(Ending { task, outcome, changed, differs, receipt: document });
            }
            if endings.iter().any(|ending: &Ending| !ending.outcome.is_success()) {
                break;
            }
        }
        endings
    }

    /// Tasks to their receipts, at once, however often an executor or an agent ends in between.
    fn perform_round(&mut self, plan: &Signed, round: &[(&Task, Grant)]) -> Vec<Signed> {
        let mut found: Vec<Option<Signed>> = vec![None; round.len()];
        let mut tries = vec![0; round.len()];
        let mut is_open = vec![false; round.len()];
        let (began, mut refused) = (Instant::now(), None);
        while found.iter().any(Option::is_none) {
            assert!(tries.iter().all(|tries| *tries <= TRIES), "{} came to no end in {TRIES} tries", round[0].0.id);
            assert!(began.elapsed() < PATIENCE, "{} did not end; refused was {refused:?}", round[0].0.id);
            for (at, (task, grant)) in round.iter().enumerate().filter(|(at, _)| found[*at].is_none()) {
                if !is_open[at] {
                    tries[at] += 1;
                    is_open[at] = self.begin(plan, task, grant);
                }
            }
            self.points.lock().unwrap().held.clear();
            for (at, (task, _)) in round.iter().enumerate() {
                if is_open[at] && found[at].is_none() {
                    match self.look(plan, task, &mut refused) {
                        Ok(receipt) => found[at] = receipt,
                        Err(()) => is_open[at] = false,
                    }
                }
            }
        }
        found.into_iter().flatten().collect()
    }

    /// A person reboots a machine, and its executor ends with it.
    pub(crate) fn reboot(&mut self, name: &NodeName) {
        self.processes.remove(name);
        self.world.now().reboot(name).unwrap();
        self.await_power(name);
    }

    /// A machine that lost its power comes back.
    fn await_power(&self, name: &NodeName) {
        if !self.world.now().machine(name).unwrap().is_up() {
            self.world.pass(Duration::from_millis(BOOT + 5_000));
        }
    }

    /// Grants a task to an executor that runs. Its time stands still until all of the round have begun.
    fn begin(&mut self, plan: &Signed, task: &Task, grant: &Grant) -> bool {
        if !self.processes.get(&task.node).is_some_and(Process::is_alive) {
            if let Some(mut dead) = self.processes.remove(&task.node) {
                dead.end();
            }
            self.await_power(&task.node);
            self.processes.insert(task.node.clone(), self.start(&task.node));
        }
        let trust = Request::Trust {
            roots: vec![self.sign(DocumentKind::Root, &self.root)],
            roster: Some(self.sign(DocumentKind::Roster, &self.roster)),
        };
        let Some(process) = self.processes.get_mut(&task.node) else { return false };
        let requests = [
            Request::Welcome { own_receipts: Vec::new(), head: None },
            trust,
            Request::Plan(plan.clone()),
            Request::LeaseRenewed { grant: grant.grant, lease_seconds: 600 },
        ];
        if !process.connect() || !requests.into_iter().all(|request| process.request(request)) {
            return false;
        }
        self.points.lock().unwrap().held.insert(task.node.clone());
        process.request(Request::Grant(grant.clone().into()))
    }

    /// What an executor says next: the task's receipt, or nothing of it yet. An error when the connection has ended.
    fn look(
        &mut self,
        plan: &Signed,
        task: &Task,
        refused: &mut Option<hostler_plan::refusal::Refused>,
    ) -> Result<Option<Signed>, ()> {
        let process = self.processes.get_mut(&task.node).ok_or(())?;
        match process.read()? {
            Some(FromExecutor::Receipt(signed)) => {
                let receipt: Receipt = json::parse(&signed.bytes).unwrap();
                process.request(Request::ReceiptAcknowledged(signed.digest()));
                if receipt.plan == plan.digest() && receipt.task == task.id {
                    return Ok(Some(signed));
                }
            }
            Some(FromExecutor::Refused(input)) => *refused = Some(input.refused),
            Some(FromExecutor::Status(status)) => {
                let Some(fetch) = status.fetch else { return Ok(None) };
                let downloads = self.folder.path().join(task.node.as_str()).join("downloads");
                fs::create_dir_all(&downloads).unwrap();
                fs::write(downloads.join(fetch.digest.hex()), &self.contents[&fetch.digest]).unwrap();
                process.request(Request::Fetched { digest: fetch.digest, result: Ok(()) });
            }
            Some(FromExecutor::Answer { .. } | FromExecutor::Report(_)) | None => {}
        }
        Ok(None)
    }
}

/// Members of a new etcd come to an end only together. Everything else is granted one after the other.
fn waits_for_others(task: &Task) -> bool {
    task.steps.iter().any(|step| matches!(step, Step::StartEtcd(_)))
}
