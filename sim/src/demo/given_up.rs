//! Plans that the admin signed and never handed in. Whoever holds the coordinator may have found them on her disk:
//! every signature counts, and no node may do what they say any more.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use hostler_cli::file::{read_document, write_document};
use hostler_plan::{
    document::{DocumentKind, Plan, PlanKind, PlanRef, Roster, Signed, Target, Task},
    id::{Digest, Seq, TaskId},
    json,
    signature::sign,
    step::{Noop, Step},
    timestamp::Timestamp,
    trust::Verified,
};
use ssh_key::PrivateKey;

const HOUR: u64 = 3600;

/// The plans, by what became of them.
#[derive(Debug, Clone)]
pub(super) struct GivenUp {
    /// Its time is over.
    pub expired: Signed,
    /// Replaced by the next one.
    pub replaced: Signed,
    /// Has work for one node only, and keeps nothing valid.
    pub replacing: Signed,
    /// Void since the one before it.
    pub void: Signed,
    /// Signed by an admin who was told that the void one still runs: keeps it valid.
    pub reviving: Signed,
    /// Every node's second task comes after another node's first.
    pub ordered: Signed,
}

impl GivenUp {
    /// Signs them as the plans that follow `newest`.
    pub(super) fn sign(
        key: &PrivateKey,
        newest: &Plan,
        roster: &Verified<Roster>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let plan = |number: u64, change: &dyn Fn(&mut Plan)| -> anyhow::Result<Signed> {
            let mut plan = check(newest, roster, now);
            plan.seq = Seq(newest.seq.0 + number);
            plan.title = format!("a plan that was given up, {number}");
            change(&mut plan);
            let bytes = json::write(&plan);
            let signature = sign(key, DocumentKind::Plan, &bytes)?;
            Ok(Signed { bytes, signatures: vec![signature] })
        };
        let expired = plan(1, &|plan| {
            plan.created = Timestamp::from_unix_seconds(now.unix_milliseconds() / 1000 - 2 * HOUR);
            (plan.not_before, plan.expires) = (plan.created, plan.created.plus(Duration::from_secs(HOUR)));
        })?;
        let only_one = |plan: &mut Plan| {
            plan.tasks.truncate(1);
            plan.targets.truncate(1);
        };
        let void = plan(4, &|_| ())?;
        let kept = PlanRef { seq: Seq(newest.seq.0 + 4), digest: void.digest() };
        Ok(Self {
            expired,
            replaced: plan(2, &|_| ())?,
            replacing: plan(3, &only_one)?,
            void,
            reviving: plan(6, &|plan| {
                only_one(plan);
                plan.keeps_valid = vec![kept];
            })?,
            ordered: plan(7, &|plan| plan.tasks = in_order(plan))?,
        })
    }

    fn named(&self) -> [(&'static str, &Signed); 6] {
        [
            ("expired", &self.expired),
            ("replaced", &self.replaced),
            ("replacing", &self.replacing),
            ("void", &self.void),
            ("reviving", &self.reviving),
            ("ordered", &self.ordered),
        ]
    }

    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, plan) in self.named() {
            write_document(&folder.join(format!("{name}.plan.json")), plan)?;
        }
        Ok(())
    }

    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let plan = |name: &str| {
            let path = folder.join(format!("{name}.plan.json"));
            read_document(DocumentKind::Plan, &path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self {
            expired: plan("expired")?,
            replaced: plan("replaced")?,
            replacing: plan("replacing")?,
            void: plan("void")?,
            reviving: plan("reviving")?,
            ordered: plan("ordered")?,
        })
    }
}

/// Every node of the roster does nothing, for a day.
fn check(newest: &Plan, roster: &Verified<Roster>, now: Timestamp) -> Plan {
    let nodes = &roster.document().nodes;
    let created = now.whole_seconds();
    Plan {
        kind: PlanKind::Check,
        prev: Some(Digest::of(&json::write(newest))),
        root_version: newest.root_version,
        roster_version: roster.document().version,
        roster: roster.digest(),
        created,
        not_before: created,
        expires: created.plus(Duration::from_secs(24 * HOUR)),
        keeps_valid: Vec::new(),
        artifacts: Vec::new(),
        targets: nodes
            .iter()
            .map(|n| Target { node: n.name.clone(), key: n.key.fingerprint(), arch: n.arch })
            .collect(),
        tasks: nodes.iter().map(|n| noop(&n.name, "given-up", Vec::new())).collect(),
        ..newest.clone()
    }
}

fn noop(node: &hostler_plan::id::NodeName, what: &str, after: Vec<TaskId>) -> Task {
    let (disrupts, finishes, steps) = (false, false, vec![Step::Noop(Noop {})]);
    Task { id: id(node, what), node: node.clone(), subject: node.clone(), after, disrupts, finishes, steps }
}

fn id(node: &hostler_plan::id::NodeName, what: &str) -> TaskId {
    TaskId::of(node.clone(), what).expect("a word is an operation")
}

/// The second task of each node comes after the first of the next one.
fn in_order(plan: &Plan) -> Vec<Task> {
    let nodes: Vec<_> = plan.targets.iter().map(|target| &target.node).collect();
    let first = nodes.iter().map(|node| noop(node, "first", Vec::new()));
    let second = nodes.iter().enumerate().map(|(i, node)| {
        let before = nodes[(i + 1) % nodes.len()];
        noop(node, "second", vec![id(before, "first")])
    });
    first.chain(second).collect()
}
