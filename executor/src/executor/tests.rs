//! The executor on a machine in memory, through its queue and its status.

mod crash;
mod damage;
mod full;
mod inspect;
mod model;
mod places;
mod silent;
mod start;
mod windows;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hostler_plan::{
    document::{DocumentKind, Holding, Observation, Outcome, Plan, PlanKind, PlanRef, Receipt, Signed},
    form::SysctlKey,
    id::{Digest, Epoch, Seq, TaskId},
    json,
    ledger::Head,
    refusal::Refusal,
    step::{
        ClusterRole, EnsureFile, EnsureModule, EnsurePackage, EnsureSysctl, EnsureUnit, Noop, Reboot, Step, UnitState,
        k3s,
    },
    trust,
};

use super::{Ended, ExecutorError};
use crate::{
    distribution::{
        Install, OneProgram as _,
        k3s::{CONFIG, K3s},
    },
    host::{Host as _, UnitActivity, UnitStatus},
    inbox::RequestSender,
    protocol::{Grant, Request},
    seal,
    testing::{Fleet, Machine, artifact, task},
};

/// Hands these over, lets the executor do what it can, and gives the receipts and refusals in its status.
fn work(fleet: &Fleet, machine: &Arc<Machine>, requests: &[Request]) -> (Vec<Receipt>, Vec<Refusal>) {
    let (executor, sender, status, disk) = fleet.executor(machine).unwrap();
    for request in requests {
        sender.offer(request.clone()).unwrap();
    }
    if executor.run_until_idle().unwrap() == Ended::Rebooting {
        drop(disk);
        // The next process finds the task in its journal; the coordinator renews its lease.
        return continue_with_lease(fleet, machine);
    }
    let content = status.content();
    let receipts = content.receipts.iter().map(|r| json::parse(&r.bytes).unwrap()).collect();
    (receipts, content.refusals.iter().map(|r| r.refused.refusal).collect())
}

fn continue_with_lease(fleet: &Fleet, machine: &Arc<Machine>) -> (Vec<Receipt>, Vec<Refusal>) {
    let renewal = (1..=9).map(|grant| Request::LeaseRenewed { grant, lease_seconds: 600 }).collect::<Vec<_>>();
    work(fleet, machine, &renewal)
}

fn grant(plan: &Signed) -> Vec<Request> {
    vec![Request::Plan(plan.clone()), Request::Grant(Fleet::grant(plan, "w1.work", 1).into())]
}

fn machine(fleet: &Fleet) -> Arc<Machine> {
    Arc::new(Machine::new(fleet.now.plus(Duration::from_secs(60))))
}

/// Every file of a directory with its content.
fn content(directory: &Path) -> BTreeMap<PathBuf, Digest> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert(path.clone(), Digest::of(&std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn file(path: &str, content: &str) -> Step {
    Step::EnsureFile(EnsureFile { path: path.parse().unwrap(), mode: "0644".parse().unwrap(), content: content.into() })
}

#[test]
fn a_plan_of_no_ops_is_verified_executed_and_receipted() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![Step::Noop(Noop {}), Step::Noop(Noop {})], |_| {});
    let (receipts, refusals) = work(&fleet, &machine, &grant(&plan));
    assert_eq!(refusals, []);
    let [receipt] = receipts.as_slice() else { panic!("{receipts:?}") };
    assert_eq!((receipt.counter, receipt.previous, receipt.plan), (1, None, plan.digest()));
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    assert_eq!(receipt.steps.len(), 2);
}

#[test]
fn receipts_form_a_chain_and_are_kept_until_acknowledged() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let first = fleet.plan(1, vec![Step::Noop(Noop {})], |_| {});
    let second = fleet.plan(2, vec![Step::Noop(Noop {})], |_| {});
    let (one, _) = work(&fleet, &machine, &grant(&first));
    let (both, _) = work(&fleet, &machine, &grant(&second));
    assert_eq!(both.len(), 2, "the first is still in the status");
    assert_eq!(both[1].counter, 2);
    let first_bytes = json::write(&one[0]);
    assert_eq!(both[1].previous, Some(Digest::of(&first_bytes)));
    let acknowledged = Request::ReceiptAcknowledged(Digest::of(&first_bytes));
    let (left, _) = work(&fleet, &machine, std::slice::from_ref(&acknowledged));
    assert_eq!(left.len(), 1);
    let (left, _) = work(&fleet, &machine, &[acknowledged]);
    assert_eq!(left.len(), 1, "twice is as good as once");
}

#[test]
fn a_receipt_that_finds_no_room_for_its_file_ends_nothing_and_stays_in_the_slots() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a")], |_| {});
    let (executor, sender, status, disk) = fleet.executor(&machine).unwrap();
    let in_the_way = disk.path("receipts");
    std::fs::write(&in_the_way, "no folder").unwrap();
    grant(&plan).into_iter().for_each(|request| sender.offer(request).unwrap());
    assert_eq!(executor.run_until_idle().unwrap(), Ended::Shutdown);
    let receipts = status.content().receipts.clone();
    assert_eq!(receipts.len(), 1);
    drop(disk);
    std::fs::remove_file(in_the_way).unwrap();
    let (_, _, status, _disk) = fleet.executor(&machine).unwrap();
    assert_eq!(status.content().receipts, receipts, "the next process has it");
}

/// So that two ledgers, each shown to another admin, are found by what the node signed.
#[test]
fn receipts_and_holdings_name_the_head_of_the_ledger_that_was_shown_last() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a")], |_| {});
    let head = |next_index| Some(Head { next_index, hash: Digest::of(b"a line") });
    let (mut executor, sender, status, _disk) = fleet.executor(&machine).unwrap();
    let held = || {
        let signed = status.content().holding_document.clone().unwrap();
        json::parse::<Holding>(&signed.bytes).unwrap().holds.head
    };
    assert_eq!(held(), None, "nothing was shown yet");
    executor.handle(Request::Welcome { own_receipts: vec![], head: head(7) }).unwrap();
    assert_eq!(held(), head(7));
    executor.handle(Request::Welcome { own_receipts: vec![], head: None }).unwrap();
    assert_eq!(held(), head(7), "an older coordinator shows none, and nothing is forgotten");
    sender.offer(Request::Plan(plan.clone())).unwrap();
    sender.offer(Request::Grant(Grant { head: head(9), ..Fleet::grant(&plan, "w1.work", 1) }.into())).unwrap();
    executor.run_until_idle().unwrap();
    assert_eq!(held(), head(7), "a grant's head is in its receipt");
    let receipt: Receipt = json::parse(&status.content().receipts[0].bytes).unwrap();
    assert_eq!(receipt.holds.head, head(9));
}

#[test]
fn an_installation_that_the_ending_agent_takes_along_goes_on_in_the_next_one() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let package =
        Step::EnsurePackage(EnsurePackage { package: "jq".parse().unwrap(), version: "1.7-1".parse().unwrap() });
    let plan = fleet.plan(1, vec![package], |_| {});
    let (executor, sender, status, disk) = fleet.executor(&machine).unwrap();
    for request in grant(&plan) {
        sender.offer(request).unwrap();
    }
    machine.inner().ends_in_package = Some(sender);
    assert_eq!(executor.run_until_idle().unwrap(), Ended::Shutdown);
    assert!(status.content().receipts.is_empty(), "nothing has failed");
    drop(disk);
    let (receipts, _) = continue_with_lease(&fleet, &machine);
    assert_eq!(receipts[0].outcome, Outcome::Succeeded {});
    assert_eq!(machine.inner().packages["jq"], "1.7-1");
}

#[test]
fn a_doubled_or_late_grant_never_runs_a_task_twice() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a")], |_| {});
    let mut requests = grant(&plan);
    requests.push(requests[1].clone());
    let (receipts, _) = work(&fleet, &machine, &requests);
    machine.inner().files.clear();
    let (again, refusals) = work(&fleet, &machine, &requests);
    assert_eq!((receipts.len(), again.len(), refusals.len()), (1, 1, 0));
    assert!(machine.inner().files.is_empty(), "nothing was written again");
}

#[test]
fn every_refusal_changes_nothing() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let good = fleet.plan(5, vec![Step::Noop(Noop {})], |_| {});
    work(&fleet, &machine, &grant(&good));
    let before = content(fleet.directory.path());
    let mut flipped = good.clone();
    flipped.bytes[20] ^= 1;
    let mut trailing = good.clone();
    trailing.bytes.push(b' ');
    let stranger = Fleet::new();
    let foreign = stranger.plan(6, vec![Step::Noop(Noop {})], |_| {});
    let plan = |request: Signed| Request::Plan(request);
    let large = Signed { bytes: vec![b' '; DocumentKind::Plan.max_bytes() + 1], signatures: good.signatures.clone() };
    let cases: Vec<(Request, Refusal)> = vec![
        (plan(flipped), Refusal::BadSignature),
        (plan(trailing), Refusal::BadSignature),
        (plan(Signed { signatures: vec![], ..good.clone() }), Refusal::BadSignature),
        (plan(foreign), Refusal::BadSignature),
        (plan(large), Refusal::Malformed),
        (plan(fleet.plan(4, vec![Step::Noop(Noop {})], |_| {})), Refusal::Replay),
        (plan(fleet.plan(5, vec![Step::Noop(Noop {})], |p| p.title = "other".into())), Refusal::Replay),
        (plan(fleet.plan(6, vec![Step::Noop(Noop {})], |p| p.epoch = Epoch(0))), Refusal::Replay),
        (plan(fleet.plan(5 + 10_001, vec![Step::Noop(Noop {})], |_| {})), Refusal::Replay),
        (Request::Grant(Fleet::grant(&fleet.plan(9, vec![], |_| {}), "w1.work", 1).into()), Refusal::Replay),
        (Request::Grant(Fleet::grant(&good, "w1.other", 1).into()), Refusal::OrderNotMet),
    ];
    for (index, (request, expected)) in cases.into_iter().enumerate() {
        let (_, refusals) = work(&fleet, &machine, &[request]);
        assert_eq!(refusals, [expected], "case {index}");
        assert_eq!(content(fleet.directory.path()), before, "case {index}");
    }
}

#[test]
fn a_plan_whose_work_is_refused_or_elsewhere_ends_the_older_one_all_the_same() {
    let not_here = |p: &mut Plan| {
        p.targets.clear();
        p.tasks = vec![task("s1.work", "s1", "s1", &[], vec![Step::Noop(Noop {})])];
    };
    let stop = |p: &mut Plan| {
        (p.kind, p.tasks) = (PlanKind::Stop, vec![]);
        p.targets.clear();
    };
    type Change<'a> = &'a dyn Fn(&mut Plan);
    let cases: [(Change<'_>, Option<Refusal>); 6] = [
        (&|p| p.expires = p.created.plus(Duration::from_secs(1)), Some(Refusal::Expired)),
        (&|p| p.roster = Digest::of(b"x"), Some(Refusal::DigestMismatch)),
        (
            &|p| p.targets[0].key = hostler_fixtures::public(&hostler_fixtures::key(9)).fingerprint(),
            Some(Refusal::NotATarget),
        ),
        (&|p| p.strategy.lease_seconds = 10, None),
        (&not_here, None),
        (&stop, None),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let fleet = Fleet::new();
        let machine = machine(&fleet);
        let old = fleet.plan(5, vec![file("/etc/a", "a")], |_| {});
        work(&fleet, &machine, &[Request::Plan(old.clone())]);
        let newer = fleet.plan(6, vec![Step::Noop(Noop {})], change);
        let (_, refusals) = work(&fleet, &machine, &[Request::Plan(newer)]);
        assert_eq!(refusals.first().copied(), expected, "case {index}");
        let (receipts, refusals) = work(&fleet, &machine, &grant(&old));
        assert_eq!((receipts.len(), refusals), (0, vec![Refusal::Replay, Refusal::Replay]), "case {index}");
        assert!(machine.inner().files.is_empty(), "case {index}");
    }
}

#[test]
fn a_task_waits_for_the_receipt_it_comes_after() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![], |p| {
        p.tasks = vec![
            task("s1.first", "s1", "s1", &[], vec![Step::Noop(Noop {})]),
            task("w1.work", "w1", "w1", &["s1.first"], vec![Step::Noop(Noop {})]),
        ];
    });
    let (receipts, refusals) = work(&fleet, &machine, &grant(&plan));
    assert_eq!((receipts.len(), refusals), (0, vec![Refusal::OrderNotMet]));
    let failed = fleet.receipt_of_s1(&receipt_of_s1(&plan, "s1.first", Outcome::Failed { reason: "x".into() }, vec![]));
    let good = fleet.receipt_of_s1(&receipt_of_s1(&plan, "s1.first", Outcome::Succeeded {}, vec![]));
    let with =
        |receipt: Signed| Request::Grant(Grant { receipts: vec![receipt], ..Fleet::grant(&plan, "w1.work", 1) }.into());
    let (_, refusals) = work(&fleet, &machine, &[with(failed)]);
    assert_eq!(refusals, [Refusal::OrderNotMet]);
    let (receipts, _) = work(&fleet, &machine, &[with(good.clone())]);
    assert_eq!(receipts[0].relied_on, [good.digest()]);
}

fn receipt_of_s1(plan: &Signed, id: &str, outcome: Outcome, observations: Vec<Observation>) -> Receipt {
    let plan: Plan = json::parse(&plan.bytes).unwrap();
    Receipt { outcome, observations, ..hostler_fixtures::receipt(&plan, id) }
}

/// Steps of many families, a reboot among them.
fn many_steps(fleet: &Fleet) -> Signed {
    fleet.plan(1, steps_of_many_families(), |p| p.artifacts = vec![artifact("k3s", NEW)])
}

fn steps_of_many_families() -> Vec<Step> {
    vec![
        file("/etc/a", "a"),
        Step::EnsureModule(EnsureModule { module: "br_netfilter".parse().unwrap() }),
        Step::EnsureSysctl(EnsureSysctl { key: "net.ipv4.ip_forward".parse().unwrap(), value: "1".parse().unwrap() }),
        Step::EnsurePackage(EnsurePackage { package: "curl".parse().unwrap(), version: "8.1-2".parse().unwrap() }),
        Step::EnsureUnit(EnsureUnit { unit: "ssh.service".parse().unwrap(), state: UnitState::Started, enabled: true }),
        Step::Reboot(Reboot {}),
        file("/etc/b", "b"),
        Step::UpgradeK3s(k3s::Upgrade { artifact: "k3s".parse().unwrap(), version: "v1.34.3+k3s1".parse().unwrap() }),
    ]
}

fn prepared(fleet: &Fleet) -> Arc<Machine> {
    let machine = machine(fleet);
    {
        let mut inner = machine.inner();
        inner.sysctls.insert("net.ipv4.ip_forward".into(), "0".into());
        let stopped = UnitStatus { exists: true, activity: UnitActivity::Inactive, enabled: false, main_pid: None };
        inner.units.insert("ssh.service".into(), stopped);
    }
    let folder = fleet.directory.path().join("artifacts");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(Digest::of(NEW).hex()), NEW).unwrap();
    let old = folder.join("old");
    std::fs::write(&old, OLD).unwrap();
    K3s::install(&*machine, &Install { artifact: &old, role: ClusterRole::Worker, join: None }).unwrap();
    std::fs::remove_file(&old).unwrap();
    machine.inner().acts.clear();
    machine
}

/// What these programs print as their version, and in the double they hold nothing else.
const OLD: &[u8] = b"k3s version v1.34.2+k3s1 (double)";
const NEW: &[u8] = b"k3s version v1.34.3+k3s1 (double)";

#[test]
fn a_task_of_many_families_ends_as_it_should_and_goes_on_after_its_reboot() {
    let fleet = Fleet::new();
    let machine = prepared(&fleet);
    let (receipts, refusals) = work(&fleet, &machine, &grant(&many_steps(&fleet)));
    assert_eq!(refusals, []);
    assert_eq!(receipts[0].outcome, Outcome::Succeeded {}, "{:?}", receipts[0].steps);
    assert_eq!(receipts[0].boot_id.as_str(), "b2");
    let inner = machine.inner();
    assert_eq!(inner.acts.iter().filter(|a| *a == "reboot").count(), 1);
    assert_eq!(inner.acts.iter().filter(|a| a.starts_with("restart")).count(), 1);
    assert_eq!(inner.sysctls["net.ipv4.ip_forward"], "1");
    assert!(inner.files.contains_key(Path::new("/etc/sysctl.d/90-hostler-net.ipv4.ip_forward.conf")));
    assert_eq!(receipts[0].observation("version"), Some("v1.34.3+k3s1"));
}

#[test]
fn what_the_kernel_refuses_is_set_for_no_boot_and_what_it_has_needs_no_loading() {
    let module = Step::EnsureModule(EnsureModule { module: "br_netfilter".parse().unwrap() });
    let key: SysctlKey = "net.ipv4.ip_forward".parse().unwrap();
    let sysctl = Step::EnsureSysctl(EnsureSysctl { key, value: "x".parse().unwrap() });
    for (step, is_built_in) in [(module.clone(), false), (sysctl, false), (module, true)] {
        let fleet = Fleet::new();
        let machine = prepared(&fleet);
        let before = machine.inner().files.len();
        machine.inner().kernel_refuses = true;
        machine.inner().modules.extend(is_built_in.then(|| "br_netfilter".to_owned()));
        let plan = fleet.plan(1, vec![step.clone()], |_| {});
        let (receipts, _) = work(&fleet, &machine, &grant(&plan));
        let files = machine.inner().files.len() - before;
        match &receipts[0].outcome {
            Outcome::Succeeded {} => assert!(is_built_in && files == 1, "{step:?}"),
            Outcome::Failed { reason } => {
                assert!(!is_built_in && files == 0 && reason.contains("the kernel refuses"), "{step:?}: {reason}");
            }
            other @ (Outcome::Blocked { .. }
            | Outcome::TimedOut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::TakenOver { .. }
            | Outcome::Refused { .. }) => panic!("{step:?}: {other:?}"),
        }
    }
}

#[test]
fn a_machine_that_keeps_its_boot_id_is_not_rebooted_for_ever() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    machine.inner().keeps_its_boot = true;
    let plan = fleet.plan(1, vec![Step::Reboot(Reboot {})], |_| {});
    let (receipts, _) = work(&fleet, &machine, &grant(&plan));
    let Outcome::Failed { reason } = &receipts[0].outcome else { panic!("{:?}", receipts[0].outcome) };
    assert!(reason.contains("expected another boot id"), "{reason}");
    assert_eq!(machine.inner().acts.iter().filter(|a| *a == "reboot").count(), 3);
}

#[test]
fn a_lost_lease_starts_nothing_and_a_stop_ends_the_task() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a")], |_| {});
    let (executor, sender, status, _disk) = fleet.executor(&machine).unwrap();
    sender.offer(Request::Plan(plan.clone())).unwrap();
    sender.offer(Request::Grant(Grant { lease_seconds: 0, ..Fleet::grant(&plan, "w1.work", 1) }.into())).unwrap();
    let thread = std::thread::spawn(move || executor.run());
    wait_until(|| status.content().progress.as_ref().is_some_and(|p| p.sentence.contains("lease")));
    assert!(machine.inner().files.is_empty(), "nothing started");
    sender.offer(Request::Stop { plan: plan.digest(), reason: "ada halted it".into() }).unwrap();
    wait_until(|| !status.content().receipts.is_empty());
    drop(sender);
    thread.join().unwrap().unwrap();
    let receipt: Receipt = json::parse(&status.content().receipts[0].bytes).unwrap();
    assert_eq!(receipt.outcome, Outcome::Failed { reason: "stopped: ada halted it".into() });
    assert!(machine.inner().files.is_empty());
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it did not come about in 10 s");
}

#[test]
fn an_upgrade_that_comes_back_on_the_old_version_fails_and_says_so() {
    let fleet = Fleet::new();
    let machine = prepared(&fleet);
    machine.inner().restart_fails = true;
    let (receipts, _) = work(&fleet, &machine, &grant(&many_steps(&fleet)));
    let Outcome::Failed { reason } = &receipts[0].outcome else { panic!("{:?}", receipts[0].outcome) };
    assert!(reason.contains("expected v1.34.3+k3s1, found v1.34.2+k3s1"), "{reason}");
    assert_eq!(receipts[0].steps.last().unwrap().op, "k3s.upgrade");
}

#[test]
fn a_join_opens_the_secret_that_a_server_sealed_to_this_node() {
    let fleet = Fleet::new();
    let machine = prepared(&fleet);
    machine.inner().units.clear();
    let join = Step::JoinK3s(k3s::Join {
        artifact: "k3s".parse().unwrap(),
        version: "v1.34.3+k3s1".parse().unwrap(),
        role: ClusterRole::Worker,
        server_url: "https://10.0.0.1:6443".parse().unwrap(),
        admitted_by: TaskId::new("s1.admit").unwrap(),
    });
    let plan = fleet.plan(1, vec![], |p| {
        p.artifacts = vec![artifact("k3s", NEW)];
        p.tasks = vec![
            task("s1.admit", "s1", "w1", &[], vec![Step::AdmitToK3s(k3s::Admit { lifetime_seconds: 600 })]),
            task("w1.work", "w1", "w1", &["s1.admit"], vec![join]),
        ];
    });
    let sealed = seal::seal(&fleet.keys.seal_key(), b"K10::secret").unwrap();
    let observations = vec![Observation { name: "sealed_join_secret".into(), value: sealed }];
    let admit = fleet.receipt_of_s1(&receipt_of_s1(&plan, "s1.admit", Outcome::Succeeded {}, observations));
    let grant = Grant { receipts: vec![admit], ..Fleet::grant(&plan, "w1.work", 1) };
    let (receipts, refusals) = work(&fleet, &machine, &[Request::Plan(plan), Request::Grant(grant.into())]);
    assert_eq!(refusals, []);
    assert_eq!(receipts[0].outcome, Outcome::Succeeded {});
    let config = machine.inner().files[Path::new(CONFIG)].clone();
    assert_eq!(config.content, b"server: \"https://10.0.0.1:6443\"\ntoken: \"K10::secret\"\n");
    assert_eq!(config.mode, 0o600);
}

#[test]
fn one_whole_copy_of_the_state_is_enough_and_none_refuses_everything() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let good = fleet.plan(1, vec![Step::Noop(Noop {})], |_| {});
    work(&fleet, &machine, &grant(&good));
    let damage = |name: &str| {
        let path = fleet.directory.path().join(name);
        std::fs::write(&path, b"rot").unwrap();
    };
    for name in ["state.0", "state.1", "state.2"] {
        damage(name);
        let (executor, ..) = fleet.executor(&machine).unwrap();
        assert_eq!(executor.context.state.seq(), Seq(1), "{name}");
        assert_eq!(executor.context.state.next_receipt().0, 2, "{name}");
    }
    for name in ["state.0", "state.1", "state.2"] {
        damage(name);
    }
    let Err(error) = fleet.executor(&machine) else { panic!("expected a refusal") };
    assert!(matches!(error, ExecutorError::Refused(r) if r.refusal == Refusal::DamagedState));
    assert!(machine.now() > fleet.now);
}
