//! Every file of a node's folder, damaged at many places and lost: the node notices it and says what to do, or does and
//! holds what it would have.

use hostler_fixtures::damage::{self, Folder, Verdict};

use super::*;
use crate::{
    Executor, artifacts::Downloads, disk::Disk, enrolment::keep_membership, inbox::queue, node::identify,
    protocol::node::Membership, state_file::StateFile, status::ExecutorStatus,
};

/// Everything that may lie there.
const FILES: &[&str] = &[
    "lock",
    "enrolled",
    "node.key",
    "seal.key",
    "state.*",
    "receipts/*.receipt",
    "receipts/*.acknowledged",
    "journal/current",
    "journal.copy",
    "journal/last",
    "artifacts/*",
    "own-cordon",
    "health-memory",
    "drain-history",
];

/// What a node did and holds.
#[derive(Debug, PartialEq)]
struct After {
    acts: Vec<String>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    key: String,
    held: (u64, u64, u64, u64, Option<PlanRef>),
    open: Vec<PlanRef>,
    /// What the coordinator is offered: number, task's plan and outcome.
    receipts: Vec<(u64, Digest, Outcome)>,
}

/// A node in the middle of a task, and its coordinator's side of things.
struct Middle {
    fleet: Fleet,
    machine: Arc<Machine>,
    /// The whole machine before its second plan was done.
    older: (tempfile::TempDir, Machine),
    plans: Vec<Signed>,
    /// Every receipt that the node has signed, and those of them that the coordinator has.
    signed: Vec<Signed>,
    acknowledged: Vec<Signed>,
}

impl Middle {
    /// One plan is done and acknowledged, one is done, one is in the middle of its reboot, one is open and not granted.
    fn new() -> Self {
        let fleet = Fleet::new();
        let machine = prepared(&fleet);
        let folder = fleet.directory.path();
        let member = Membership {
            fleet_id: json::parse::<hostler_plan::document::Root>(&fleet.root.bytes).unwrap().fleet_id,
            node: "w1".parse().unwrap(),
            enrolment_address: "c:1".into(),
        };
        let disk = Disk::beside(folder);
        keep_membership(&disk, &member).unwrap();
        disk.replace("own-cordon", b"the disk is full").unwrap();
        disk.replace("health-memory", br#"{"controllers":{"nvme0":7}}"#).unwrap();
        let mut took = hostler_plan::drain::Past::default();
        let web =
            hostler_plan::drain::Workload { namespace: "shop".into(), kind: "Deployment".into(), name: "web".into() };
        took.stopped(web, std::time::Duration::from_secs(3), fleet.now);
        crate::drain_history::remember(&disk, took);
        let mut plans: Vec<Signed> = Vec::new();
        for seq in 1..=4 {
            let beside = |plans: &[Signed]| {
                let named = |(plan, seq): (&Signed, u64)| PlanRef { seq: Seq(seq), digest: plan.digest() };
                plans.iter().zip(1..).map(named).collect()
            };
            let keeps = beside(&plans);
            plans.push(match seq {
                3 => fleet.plan(seq, steps_of_many_families(), |p| {
                    (p.keeps_valid, p.artifacts) = (keeps, vec![artifact("k3s", NEW)]);
                }),
                _ => fleet.plan(seq, vec![file(&format!("/etc/{seq}"), "x")], |p| p.keeps_valid = keeps),
            });
        }
        work(&fleet, &machine, &grant(&plans[0]));
        let first = receipts_of(&fleet, &machine);
        let older = (damage::scratch(), machine.again());
        damage::copy(folder, older.0.path());
        work(&fleet, &machine, &[Request::ReceiptAcknowledged(first[0].digest())]);
        work(&fleet, &machine, &grant(&plans[1]));
        let second = receipts_of(&fleet, &machine);
        let requests =
            [vec![Request::Plan(plans[2].clone()), Request::Plan(plans[3].clone())], grant(&plans[2])].concat();
        let (executor, sender, _, disk) = fleet.executor(&machine).unwrap();
        requests.into_iter().for_each(|request| sender.offer(request).unwrap());
        assert_eq!(executor.run_until_idle().unwrap(), Ended::Rebooting);
        drop(disk);
        let signed = [first.clone(), second].concat();
        Self { machine, older, plans, signed, acknowledged: first, fleet }
    }

    /// A process of the node on that folder, told what a coordinator tells, and then another one.
    fn judge(&self, folder: &Path, expected: Option<&After>) -> Result<(Verdict, Option<After>), String> {
        // An image is one of the whole machine, and the coordinator has heard of what came after it.
        let is_old = StateFile::open(&Disk::beside(folder))
            .is_ok_and(|(_, held)| held.is_some_and(|held| held.state.next_receipt().0 == 2));
        let (machine, has) = if is_old { (&self.older.1, &self.signed) } else { (&*self.machine, &self.acknowledged) };
        let machine = Arc::new(machine.again());
        let mut said = Vec::new();
        let mut after = None;
        for _ in 0..2 {
            match self.process(folder, &machine, has, &mut said) {
                Ok(Some(found)) => after = Some(found),
                Ok(None) => return nothing_twice(&machine, expected, "it is not enrolled; it waits for a join string"),
                Err(error) => return nothing_twice(&machine, expected, &error.to_string()),
            }
        }
        match (expected, after) {
            (Some(expected), Some(_)) if is_old => {
                nothing_twice(&machine, Some(expected), "").map(|_| (Verdict::Harmless, None))
            }
            (Some(expected), Some(after)) if *expected != after => match said.into_iter().next() {
                Some(said) => nothing_twice(&machine, Some(expected), &said),
                None => Err(format!("expected {expected:?}\nfound {after:?}")),
            },
            (_, after) => Ok((Verdict::Harmless, after)),
        }
    }

    /// None where the node waits for a join string.
    fn process(
        &self,
        folder: &Path,
        machine: &Arc<Machine>,
        has: &[Signed],
        said: &mut Vec<String>,
    ) -> Result<Option<After>, ExecutorError> {
        let disk = Arc::new(Disk::open(folder)?);
        let (member, keys) = identify(&disk)?;
        let Some(member) = member else { return Ok(None) };
        let status = Arc::new(ExecutorStatus::default());
        let (sender, receiver) = queue();
        let downloads = Downloads { folder: folder.join("downloads"), owner: None };
        let key = keys.public().to_string();
        let executor = Executor::open(disk, keys, member.node, machine.clone(), status.clone(), receiver, downloads)?;
        let mut requests = vec![Request::Welcome { own_receipts: has.to_vec(), head: None }];
        requests.extend(self.plans.iter().cloned().map(Request::Plan));
        requests.extend((1..=4).map(|grant| Request::LeaseRenewed { grant, lease_seconds: 600 }));
        for (plan, number) in self.plans.iter().zip(1..) {
            requests.push(Request::Grant(Fleet::grant(plan, "w1.work", number).into()));
        }
        requests.into_iter().for_each(|request| sender.offer(request).unwrap());
        executor.run_until_idle()?;
        let content = status.content();
        said.extend(content.refusals.iter().map(|r| r.refused.to_string()));
        let holding: Holding = json::parse(&content.holding_document.clone().unwrap().bytes).unwrap();
        let known: BTreeMap<u64, Digest> =
            self.signed.iter().map(|signed| (parsed(signed).counter, signed.digest())).collect();
        for signed in &content.receipts {
            let receipt = parsed(signed);
            assert!(known.get(&receipt.counter).is_none_or(|one| *one == signed.digest()), "{} twice", receipt.counter);
        }
        let shown = &content.holding;
        let inner = machine.inner();
        Ok(Some(After {
            acts: inner.acts.clone(),
            files: inner.files.iter().map(|(path, file)| (path.clone(), file.content.clone())).collect(),
            key,
            held: (shown.root_version, shown.roster_version, shown.epoch, shown.receipt_counter, holding.holds.plan),
            open: holding.open,
            receipts: content.receipts.iter().map(|s| (parsed(s).counter, parsed(s).plan, parsed(s).outcome)).collect(),
        }))
    }
}

/// A node that does not go on may have done no more than one that does.
fn nothing_twice(machine: &Machine, expected: Option<&After>, said: &str) -> Result<(Verdict, Option<After>), String> {
    let acts = machine.inner().acts.clone();
    let often = |acts: &[String], act: &String| acts.iter().filter(|other| *other == act).count();
    match acts.iter().find(|act| expected.is_none_or(|expected| often(&acts, act) > often(&expected.acts, act))) {
        Some(more) => Err(format!("{more} was done once more, and then: {said}")),
        None => Ok((Verdict::Refused(said.to_owned()), None)),
    }
}

fn parsed(signed: &Signed) -> Receipt {
    json::parse(&signed.bytes).unwrap()
}

/// What the node offers the coordinator.
fn receipts_of(fleet: &Fleet, machine: &Arc<Machine>) -> Vec<Signed> {
    let (_, _, status, _disk) = fleet.executor(machine).unwrap();
    status.content().receipts.clone()
}

#[test]
fn damage_at_any_place_of_a_nodes_folder_is_found_with_the_way_out_or_does_no_harm() {
    let middle = Middle::new();
    let whole = damage::scratch();
    damage::copy(middle.fleet.directory.path(), whole.path());
    let (_, reference) = middle.judge(whole.path(), None).unwrap();
    let reference = reference.unwrap();
    assert_eq!(reference.receipts.len(), 3, "of four plans one is acknowledged: {reference:?}");
    assert_eq!(reference.acts.iter().filter(|act| *act == "reboot").count(), 1);
    let image = middle.fleet.directory.path();
    let folder = Folder { name: "executor", image, older: middle.older.0.path(), known: FILES };
    damage::play(&folder, |work| middle.judge(work, Some(&reference)).map(|(verdict, _)| verdict));
}
