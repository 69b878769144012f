use std::sync::Arc;

use hostler_plan::{
    document::{
        Artifact, DocumentKind, Plan, PlanKind, PlanType, Policy, Receipt, Root, RootType, Roster, RosterNode,
        RosterStatus, RosterType, Signed, Signer, SignerRole, Strategy, Target, Task, Thresholds,
    },
    id::{Arch, Digest, Epoch, FleetId, NodeName, Seq, TaskId},
    json,
    signature::{self, PublicKey},
    step::{ClusterRole, Step},
    timestamp::Timestamp,
    trust::{NodeState, TrustedRoot},
};
use ssh_key::{Algorithm, PrivateKey};

use super::Machine;
use crate::{
    disk::{Disk, DiskError},
    error::ExecutorError,
    executor::Executor,
    keys::Keys,
    protocol::{Board, Door, Grant, Inbox, queue},
    slots::Slots,
};

/// A fleet of two nodes, `w1` (under test) and `s1`, with one admin.
pub struct Fleet {
    pub admin: PrivateKey,
    pub s1: PrivateKey,
    pub directory: tempfile::TempDir,
    pub keys: Arc<Keys>,
    pub root: Signed,
    pub roster: Signed,
    pub now: Timestamp,
}

impl Fleet {
    /// A fleet whose node `w1` has just enrolled into a fresh directory.
    pub fn new() -> Self {
        let key = || PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).unwrap();
        let (admin, s1) = (key(), key());
        let directory = tempfile::tempdir().unwrap();
        let now = crate::build_time().plus(std::time::Duration::from_secs(3600)).whole_seconds();
        let disk = Disk::open(directory.path()).unwrap();
        let keys = Arc::new(Keys::load_or_make(&disk, false).unwrap());
        let root = root(&admin, now);
        let roster = roster(&admin, &keys, &s1, now);
        let fleet = Self { admin, s1, directory, keys, root, roster, now };
        let state = NodeState::new(TrustedRoot::first(&fleet.root, &fleet.root.digest()).unwrap(), crate::build_time());
        let clock = hostler_plan::trust::Clock { now, synchronised: true };
        let (state, _) = state.accept_roster(clock, &fleet.roster).unwrap();
        let (mut slots, _) = Slots::open(&disk).unwrap();
        slots.store(&disk, &state, None).unwrap();
        fleet
    }

    /// The node's directory. A test beside this one may be starting a program, and until that has begun it holds every
    /// open file of this process, the lock of the executor that was just dropped among them.
    fn disk(&self) -> Result<Disk, DiskError> {
        let mut tries = 0;
        loop {
            match Disk::open(self.directory.path()) {
                Err(DiskError::InUse(_)) if tries < 1000 => {
                    tries += 1;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                opened => return opened,
            }
        }
    }

    /// A process of the node's executor on this machine.
    pub fn executor(&self, machine: &Arc<Machine>) -> Result<(Executor, Door, Arc<Board>, Arc<Disk>), ExecutorError> {
        let disk = Arc::new(self.disk()?);
        let board = Arc::new(Board::default());
        let (door, inbox): (Door, Inbox) = queue();
        let node = NodeName::new("w1").unwrap();
        let executor = Executor::open(disk.clone(), self.keys.clone(), node, machine.clone(), board.clone(), inbox)?;
        Ok((executor, door, board, disk))
    }

    /// A process that dies at the write number `point` if `dies`; none when it dies while it opens.
    pub fn executor_that_may_die(
        &self,
        machine: &Arc<Machine>,
        point: i64,
        dies: bool,
    ) -> (Option<Executor>, Door, Arc<Board>, Arc<Disk>) {
        let disk = Arc::new(self.disk().unwrap());
        if dies {
            disk.crash.0.store(point, std::sync::atomic::Ordering::SeqCst);
        }
        let board = Arc::new(Board::default());
        let (door, inbox): (Door, Inbox) = queue();
        let node = NodeName::new("w1").unwrap();
        let open = || Executor::open(disk.clone(), self.keys.clone(), node, machine.clone(), board.clone(), inbox);
        let executor = std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)).ok().map(Result::unwrap);
        (executor, door, board, disk)
    }

    /// A plan with one task `w1.work` of these steps, and whatever `change` makes of it before it is signed.
    pub fn plan(&self, seq: u64, steps: Vec<Step>, change: impl FnOnce(&mut Plan)) -> Signed {
        let target = |node: &str, key: &PublicKey| Target {
            node: NodeName::new(node).unwrap(),
            key: key.fingerprint(),
            arch: Arch::X86_64,
        };
        let s1: PublicKey = self.s1.public_key().clone().into();
        let mut plan = Plan {
            document_type: PlanType::V1,
            fleet_id: fleet_id(),
            epoch: Epoch(1),
            seq: Seq(seq),
            kind: PlanKind::Upgrade,
            title: "test".into(),
            root_version: 1,
            roster_version: 1,
            roster: self.roster.digest(),
            created: self.now,
            not_before: self.now,
            expires: self.now.plus(std::time::Duration::from_secs(86_400)),
            beside: vec![],
            targets: vec![target("w1", &self.keys.public())],
            artifacts: vec![],
            strategy: Strategy { max_unavailable: 1, soak_seconds: 1, lease_seconds: 600 },
            tasks: vec![task("w1.work", "w1", "w1", &[], steps)],
        };
        change(&mut plan);
        if plan.tasks.iter().any(|t| t.node.as_str() == "s1") {
            plan.targets.push(target("s1", &s1));
        }
        self.sign(DocumentKind::Plan, json::write(&plan))
    }

    /// An artifact with these bytes.
    pub fn artifact(name: &str, bytes: &[u8]) -> Artifact {
        Artifact { name: name.parse().unwrap(), sha256: Digest::of(bytes), size: bytes.len() as u64, arch: None }
    }

    pub fn sign(&self, kind: DocumentKind, bytes: Vec<u8>) -> Signed {
        let armour = signature::sign(&self.admin, kind, &bytes).unwrap();
        Signed { bytes, signatures: vec![armour] }
    }

    /// A receipt of `s1`.
    pub fn receipt_of_s1(&self, receipt: &Receipt) -> Signed {
        let bytes = json::write(receipt);
        let armour = signature::sign(&self.s1, DocumentKind::Receipt, &bytes).unwrap();
        Signed { bytes, signatures: vec![armour] }
    }

    pub fn grant(plan: &Signed, task: &str, grant: u64) -> Grant {
        Grant { plan: plan.digest(), task: TaskId::new(task).unwrap(), grant, lease_seconds: 600, receipts: vec![] }
    }
}

pub fn task(id: &str, node: &str, subject: &str, after: &[&str], steps: Vec<Step>) -> Task {
    Task {
        id: TaskId::new(id).unwrap(),
        node: NodeName::new(node).unwrap(),
        subject: NodeName::new(subject).unwrap(),
        after: after.iter().map(|a| TaskId::new(*a).unwrap()).collect(),
        disrupts: true,
        steps,
    }
}

pub fn fleet_id() -> FleetId {
    FleetId::new("0".repeat(32)).unwrap()
}

fn sign(admin: &PrivateKey, kind: DocumentKind, bytes: Vec<u8>) -> Signed {
    let armour = signature::sign(admin, kind, &bytes).unwrap();
    Signed { bytes, signatures: vec![armour] }
}

fn root(admin: &PrivateKey, now: Timestamp) -> Signed {
    let root = Root {
        document_type: RootType::V1,
        fleet_id: fleet_id(),
        version: 1,
        epoch: Epoch(1),
        created: now,
        expires: now.plus(std::time::Duration::from_secs(10 * 365 * 86_400)),
        signers: vec![Signer {
            name: "ada".into(),
            key: admin.public_key().clone().into(),
            role: SignerRole::Admin,
            plan_kinds: vec![],
        }],
        thresholds: Thresholds { root: 1, admission: 1, roster: 1, plan: 1 },
        revoked: vec![],
        coordinator_ca: vec![Digest::of(b"ca")],
        policy: Policy {
            max_plan_lifetime_seconds: 7 * 86_400,
            max_admission_lifetime_seconds: 7 * 86_400,
            cordon_when_critical: false,
        },
    };
    sign(admin, DocumentKind::Root, json::write(&root))
}

fn roster(admin: &PrivateKey, keys: &Keys, s1: &PrivateKey, now: Timestamp) -> Signed {
    let node = |name: &str, key: PublicKey, role| RosterNode {
        name: NodeName::new(name).unwrap(),
        key,
        seal_key: keys.seal_key(),
        role,
        arch: Arch::X86_64,
        status: RosterStatus::Active,
    };
    let mut nodes = vec![
        node("w1", keys.public(), ClusterRole::Worker),
        node("s1", s1.public_key().clone().into(), ClusterRole::Server),
    ];
    // Every node has a seal key of its own; only w1's is used here.
    nodes[1].seal_key = crate::seal::public(&crypto_box::SecretKey::generate(&mut rand_core::OsRng));
    let roster = Roster {
        document_type: RosterType::V1,
        fleet_id: fleet_id(),
        epoch: Epoch(1),
        version: 1,
        root_version: 1,
        created: now,
        nodes,
    };
    sign(admin, DocumentKind::Roster, json::write(&roster))
}
