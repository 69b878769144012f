//! A node `w1` that has just enrolled, in a fleet with a server `s1` and one admin.

use std::{sync::Arc, time::Duration};

pub(crate) use hostler_fixtures::artifact;
use hostler_fixtures::{self as made, fresh_key, public, signed, signed_bytes, signer};
use hostler_plan::{
    document::{
        Decided, DocumentKind, Plan, PlanKind, Receipt, RecoveryKey, Root, Roster, RosterNode, Signed, SignerRole,
        Strategy, Task,
    },
    id::{Arch, NodeName, TaskId},
    json,
    ledger::Head,
    signature::PublicKey,
    step::{ClusterRole, Step},
    timestamp::Timestamp,
    trust::{NodeState, TrustedRoot},
};
use ssh_key::PrivateKey;

use super::Machine;
use crate::{
    artifacts::Downloads,
    disk::{Disk, DiskError},
    error::ExecutorError,
    executor::{Ended, Executor},
    inbox::{RequestReceiver, RequestSender, queue},
    keys::Keys,
    protocol::{Grant, Request},
    state_file::StateFile,
    status::ExecutorStatus,
};

/// A fleet of two nodes, `w1` (under test) and `s1`, with one admin.
pub(crate) struct Fleet {
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
    pub(crate) fn new() -> Self {
        Self::with_recovery(Vec::new())
    }

    /// The same with recovery keys in its root.
    pub(crate) fn with_recovery(recovery: Vec<RecoveryKey>) -> Self {
        let (admin, s1) = (fresh_key(), fresh_key());
        let directory = tempfile::tempdir().unwrap();
        let now = crate::build_time().plus(Duration::from_secs(3600)).whole_seconds();
        let disk = Disk::open(directory.path()).unwrap();
        let keys = Arc::new(Keys::load_or_make(&disk, false).unwrap());
        let signers = vec![signer("ada", public(&admin), SignerRole::Admin)];
        let root = Root { recovery, ..made::root(now, signers) };
        let roster = signed(DocumentKind::Roster, &roster(&root, &keys, &s1, now), &[&admin]);
        let root = signed(DocumentKind::Root, &root, &[&admin]);
        let fleet = Self { admin, s1, directory, keys, root, roster, now };
        let state = NodeState::new(TrustedRoot::first(&fleet.root, &fleet.root.digest()).unwrap(), crate::build_time());
        let clock = hostler_plan::trust::Clock { now, synchronised: true };
        let (state, _) = state.accept_roster(clock, &fleet.roster).unwrap();
        let (mut state_file, _) = StateFile::open(&disk).unwrap();
        state_file.store(&disk, &state, None).unwrap();
        fleet
    }

    /// The node's directory.
    fn disk(&self) -> Result<Disk, DiskError> {
        Disk::open(self.directory.path())
    }

    /// Where the agent would put what it fetched.
    pub(crate) fn downloads(&self) -> Downloads {
        Downloads { folder: self.directory.path().join("downloads"), owner: None }
    }

    /// A process of the node's executor on this machine.
    pub(crate) fn executor(
        &self,
        machine: &Arc<Machine>,
    ) -> Result<(Executor, RequestSender, Arc<ExecutorStatus>, Arc<Disk>), ExecutorError> {
        let disk = Arc::new(self.disk()?);
        let status = Arc::new(ExecutorStatus::default());
        let (sender, receiver): (RequestSender, RequestReceiver) = queue();
        let node = NodeName::new("w1").unwrap();
        let mut executor = Executor::open(
            disk.clone(),
            self.keys.clone(),
            node,
            machine.clone(),
            status.clone(),
            receiver,
            self.downloads(),
        )?;
        executor.context.heard_of_receipts = true;
        Ok((executor, sender, status, disk))
    }

    /// What a process of the node's executor signs for the one task of a plan, granted at once.
    pub(crate) fn perform(&self, machine: &Arc<Machine>, plan: &Signed) -> Receipt {
        let (executor, sender, status, _disk) = self.executor(machine).unwrap();
        sender.offer(Request::Plan(plan.clone())).unwrap();
        sender.offer(Request::Grant(Self::grant(plan, "w1.work", 1).into())).unwrap();
        assert_eq!(executor.run_until_idle().unwrap(), Ended::Shutdown);
        json::parse(&status.content().receipts.last().unwrap().bytes).unwrap()
    }

    /// A process that dies at the write number `point` if `dies`; none when it dies while it opens.
    pub(crate) fn executor_that_may_die(
        &self,
        machine: &Arc<Machine>,
        point: i64,
        dies: bool,
    ) -> (Option<Executor>, RequestSender, Arc<ExecutorStatus>, Arc<Disk>) {
        let disk = Arc::new(self.disk().unwrap());
        if dies {
            disk.crash.0.store(point, std::sync::atomic::Ordering::SeqCst);
        }
        let status = Arc::new(ExecutorStatus::default());
        let (sender, receiver): (RequestSender, RequestReceiver) = queue();
        let node = NodeName::new("w1").unwrap();
        let downloads = self.downloads();
        let open = || {
            let status = status.clone();
            Executor::open(disk.clone(), self.keys.clone(), node, machine.clone(), status, receiver, downloads)
        };
        let executor = std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)).ok().map(Result::unwrap);
        let executor = executor.map(|mut executor| {
            executor.context.heard_of_receipts = true;
            executor
        });
        (executor, sender, status, disk)
    }

    /// A plan with one task `w1.work` of these steps, and whatever `change` makes of it before it is signed.
    pub(crate) fn plan(&self, seq: u64, steps: Vec<Step>, change: impl FnOnce(&mut Plan)) -> Signed {
        let roster: Roster = json::parse(&self.roster.bytes).unwrap();
        let mut plan = Plan {
            kind: PlanKind::Upgrade,
            title: "test".into(),
            strategy: Strategy { max_unavailable: 1, soak_seconds: 1, lease_seconds: 600 },
            tasks: vec![task("w1.work", "w1", "w1", &[], steps)],
            ..made::plan(&roster, self.now, seq)
        };
        let s1 = plan.targets.split_off(1);
        change(&mut plan);
        if plan.tasks.iter().any(|t| t.node.as_str() == "s1") {
            plan.targets.extend(s1);
        }
        signed(DocumentKind::Plan, &plan, &[&self.admin])
    }

    pub(crate) fn sign(&self, kind: DocumentKind, bytes: Vec<u8>) -> Signed {
        signed_bytes(kind, bytes, &[&self.admin])
    }

    /// What the admin decides.
    pub(crate) fn decision(&self, decided: Decided) -> Signed {
        let roster: Roster = json::parse(&self.roster.bytes).unwrap();
        let decision = made::decision(&roster, "ada", Head::EMPTY, self.now, decided);
        signed(DocumentKind::Decision, &decision, &[&self.admin])
    }

    /// A receipt of `s1`.
    pub(crate) fn receipt_of_s1(&self, receipt: &Receipt) -> Signed {
        signed(DocumentKind::Receipt, receipt, &[&self.s1])
    }

    pub(crate) fn grant(plan: &Signed, task: &str, grant: u64) -> Grant {
        Grant {
            plan: plan.digest(),
            task: TaskId::new(task).unwrap(),
            grant,
            lease_seconds: 600,
            receipts: vec![],
            head: None,
        }
    }
}

pub(crate) fn task(id: &str, node: &str, subject: &str, after: &[&str], steps: Vec<Step>) -> Task {
    Task { subject: made::name(subject), disrupts: true, ..made::task(id, node, after, steps) }
}

fn roster(root: &Root, keys: &Keys, s1: &PrivateKey, now: Timestamp) -> Roster {
    let node = |name: &str, key: PublicKey, seal_key, role| RosterNode {
        arch: Arch::X86_64,
        seal_key,
        ..made::node(name, key, role)
    };
    // Every node has a seal key of its own; only w1's is used here.
    let other = crate::seal::public(&crypto_box::SecretKey::generate(&mut rand_core::OsRng));
    let nodes = vec![
        node("w1", keys.public(), keys.seal_key(), ClusterRole::Worker),
        node("s1", public(s1), other, ClusterRole::Server),
    ];
    made::roster(root, now, nodes)
}
