//! When a task may begin, and what becomes of one that may not.

use hostler_plan::timestamp::Timestamp;

use super::*;
use crate::{disk::Disk, executor::Executor, status::ExecutorStatus};

/// An executor whose requests are handed over one after the other.
pub(super) struct Node {
    executor: Option<Executor>,
    sender: RequestSender,
    status: Arc<ExecutorStatus>,
    _disk: Arc<Disk>,
}

impl Node {
    pub(super) fn new(fleet: &Fleet, machine: &Arc<Machine>) -> Self {
        let (executor, sender, status, disk) = fleet.executor(machine).unwrap();
        Self { executor: Some(executor), sender, status, _disk: disk }
    }

    /// Hands these over and lets the executor do what it can.
    pub(super) fn work(&mut self, requests: &[Request]) {
        requests.iter().for_each(|request| self.sender.offer(request.clone()).unwrap());
        let executor = self.executor.as_mut().unwrap();
        executor.take_turns().unwrap();
        while let Ok(Some(request)) = executor.context.control.next(Some(Duration::ZERO)) {
            executor.handle(request).unwrap();
            assert_eq!(executor.take_turns().unwrap(), None);
        }
    }

    pub(super) fn receipts(&self) -> Vec<Receipt> {
        self.status.content().receipts.iter().map(|r| json::parse(&r.bytes).unwrap()).collect()
    }

    fn refusals(&self) -> Vec<Refusal> {
        self.status.content().refusals.iter().map(|r| r.refused.refusal).collect()
    }

    pub(super) fn sentence(&self) -> String {
        self.status.content().progress.as_ref().map(|p| p.sentence.clone()).unwrap_or_default()
    }
}

pub(super) fn with_lease(plan: &Signed, lease_seconds: u64) -> Vec<Request> {
    let grant = Grant { lease_seconds, ..Fleet::grant(plan, "w1.work", 1) };
    vec![Request::Plan(plan.clone()), Request::Grant(grant.into())]
}

fn renewal() -> Request {
    Request::LeaseRenewed { grant: 1, lease_seconds: 600 }
}

pub(super) fn set_clock(machine: &Machine, now: Timestamp, synchronised: bool) {
    let mut inner = machine.inner();
    (inner.now, inner.synchronised) = (now, synchronised);
}

/// The end of the plan that [`Fleet::plan`] makes.
fn end_of(plan: &Signed) -> Timestamp {
    json::parse::<Plan>(&plan.bytes).unwrap().expires
}

fn expired(receipt: &Receipt) -> bool {
    matches!(&receipt.outcome, Outcome::Refused { refusal: Refusal::Expired, reason } if reason.contains("expired at"))
}

#[test]
fn a_task_that_waits_for_its_lease_ends_with_its_plan_and_no_renewal_starts_it() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a"), file("/etc/b", "b")], |_| {});
    let mut node = Node::new(&fleet, &machine);
    node.work(&with_lease(&plan, 0));
    assert!(node.sentence().contains("has not renewed the lease"), "{}", node.sentence());
    assert_eq!(node.status.content().running.as_ref().map(|r| r.grant), Some(1), "the network side renews for it");
    set_clock(&machine, end_of(&plan).plus(Duration::from_secs(90 * 86_400)), true);
    node.work(&[renewal()]);
    let [receipt] = &*node.receipts() else { panic!("{:?}", node.receipts()) };
    assert!(expired(receipt) && receipt.steps.is_empty(), "{:?}", receipt.outcome);
    assert!(machine.inner().files.is_empty());
    assert_eq!(node.status.content().running, None);
    node.work(&with_lease(&plan, 600));
    assert_eq!((node.receipts().len(), machine.inner().files.len()), (1, 0), "it ended once and for all");
}

#[test]
fn a_held_plan_is_not_started_by_a_clock_that_nobody_set() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let now = machine.inner().now;
    let plan = fleet.plan(1, vec![file("/etc/a", "a")], |_| {});
    let mut node = Node::new(&fleet, &machine);
    node.work(&[Request::Plan(plan.clone())]);
    // The power was away, and this machine has no clock that runs on.
    for (shown, synchronised) in [(0, false), (0, true), (now.unix_seconds() + 60, false)] {
        set_clock(&machine, Timestamp::from_unix_seconds(shown), synchronised);
        node.work(&with_lease(&plan, 600));
        assert!(node.sentence().contains("clock"), "{}", node.sentence());
        assert_eq!((node.receipts().len(), machine.inner().files.len()), (0, 0), "{shown} {synchronised}");
    }
    set_clock(&machine, now, true);
    node.work(&[]);
    assert_eq!(node.receipts()[0].outcome, Outcome::Succeeded {});
    assert_eq!(node.refusals(), [], "a wait is no refusal");
}

#[test]
fn a_plan_that_came_before_the_clock_was_right_expires_unbegun() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a")], |_| {});
    let mut node = Node::new(&fleet, &machine);
    set_clock(&machine, Timestamp::from_unix_seconds(0), false);
    node.work(&with_lease(&plan, 600));
    set_clock(&machine, end_of(&plan), true);
    node.work(&[]);
    assert!(expired(&node.receipts()[0]), "{:?}", node.receipts());
}

#[test]
fn a_grant_of_a_plan_that_is_over_is_refused_and_signs_nothing() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a")], |_| {});
    let mut node = Node::new(&fleet, &machine);
    node.work(&[Request::Plan(plan.clone())]);
    set_clock(&machine, end_of(&plan), true);
    node.work(&with_lease(&plan, 600));
    assert_eq!((node.receipts().len(), node.refusals()), (0, vec![Refusal::Expired]));
}

#[test]
fn between_two_steps_the_end_of_the_plan_counts_and_the_step_is_named() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a"), file("/etc/b", "b"), file("/etc/c", "c")], |_| {});
    let end = end_of(&plan);
    machine.inner().at_write.push(("/etc/b".into(), end));
    let mut node = Node::new(&fleet, &machine);
    node.work(&with_lease(&plan, 600));
    let receipt = &node.receipts()[0];
    let Outcome::Failed { reason } = &receipt.outcome else { panic!("{:?}", receipt.outcome) };
    assert!(reason.contains("step 3 (file.ensure) was not begun: plan 1 expired at"), "{reason}");
    assert_eq!(receipt.steps.len(), 2, "the one that was begun is finished");
    assert!(!machine.inner().files.contains_key(Path::new("/etc/c")));
}

#[test]
fn after_a_restart_a_begun_step_is_finished_and_the_next_is_asked_for() {
    for (over, expected) in [(false, true), (true, false)] {
        let fleet = Fleet::new();
        let machine = machine(&fleet);
        let package =
            Step::EnsurePackage(EnsurePackage { package: "jq".parse().unwrap(), version: "1.7-1".parse().unwrap() });
        let plan = fleet.plan(1, vec![package, file("/etc/a", "a")], |_| {});
        let mut node = Node::new(&fleet, &machine);
        machine.inner().ends_in_package = Some(std::mem::replace(&mut node.sender, crate::inbox::queue().0));
        for request in grant(&plan) {
            machine.inner().ends_in_package.as_ref().unwrap().offer(request).unwrap();
        }
        assert_eq!(node.executor.take().unwrap().run_until_idle().unwrap(), Ended::Shutdown);
        drop(node);
        if over {
            set_clock(&machine, end_of(&plan), true);
        }
        let (receipts, _) = continue_with_lease(&fleet, &machine);
        assert_eq!(machine.inner().packages["jq"], "1.7-1", "begun is begun");
        assert_eq!(receipts[0].outcome.is_success(), expected, "{:?}", receipts[0].outcome);
        assert_eq!(machine.inner().files.contains_key(Path::new("/etc/a")), expected);
    }
}

#[test]
fn a_task_that_waits_holds_up_no_other() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let later = fleet.now.plus(Duration::from_secs(7200));
    let upgrade = fleet.plan(1, vec![file("/etc/a", "a")], |p| p.not_before = later);
    let drain = fleet.plan(2, vec![file("/etc/drained", "d")], |p| {
        p.keeps_valid = vec![PlanRef { seq: Seq(1), digest: upgrade.digest() }];
    });
    let mut node = Node::new(&fleet, &machine);
    node.work(&with_lease(&upgrade, 600));
    assert!(node.sentence().contains("is valid from"), "{}", node.sentence());
    node.work(&[Request::Plan(drain.clone()), Request::Grant(Fleet::grant(&drain, "w1.work", 2).into())]);
    assert_eq!(node.receipts().iter().map(|r| r.plan).collect::<Vec<_>>(), [drain.digest()]);
    set_clock(&machine, later, true);
    node.work(&[]);
    assert_eq!(node.receipts().len(), 2);
    assert!(machine.inner().files.contains_key(Path::new("/etc/a")));
}

#[test]
fn a_stop_and_a_newer_plan_end_a_task_that_waits() {
    let later = |fleet: &Fleet| fleet.now.plus(Duration::from_secs(7200));
    let stop = |_: &Fleet, plan: &Signed| Request::Stop { plan: plan.digest(), reason: "ada halted it".into() };
    let newer = |fleet: &Fleet, _: &Signed| Request::Plan(fleet.plan(2, vec![Step::Noop(Noop {})], |_| {}));
    type End<'a> = &'a dyn Fn(&Fleet, &Signed) -> Request;
    let cases: [(End<'_>, &str); 2] = [(&stop, "stopped: ada halted it"), (&newer, "void")];
    for (end, why) in cases {
        let fleet = Fleet::new();
        let machine = machine(&fleet);
        let plan = fleet.plan(1, vec![file("/etc/a", "a")], |p| p.not_before = later(&fleet));
        let mut node = Node::new(&fleet, &machine);
        node.work(&with_lease(&plan, 600));
        node.work(&[end(&fleet, &plan)]);
        let receipt = &node.receipts()[0];
        assert!(receipt.outcome.to_string().contains(why), "{}", receipt.outcome);
        set_clock(&machine, later(&fleet), true);
        node.work(&with_lease(&plan, 600));
        assert!(machine.inner().files.is_empty());
    }
}

#[test]
fn a_lease_is_never_longer_than_the_plan_allows() {
    let mut lease = crate::control::Lease::none(120);
    assert!(!lease.holds());
    for (given, expected) in [(60, 60), (120, 120), (3600, 120), (u64::MAX, 120)] {
        lease.renew(given);
        assert_eq!((lease.seconds(), lease.holds()), (expected, true));
    }
    let mut unlimited = crate::control::Lease::none(u64::MAX);
    unlimited.renew(u64::MAX);
    assert_eq!(unlimited.seconds(), 3600);
}

/// The coordinator may have moved while the node was not connected: each stream begins with what is so now.
#[test]
fn a_node_signs_whether_the_coordinator_runs_on_it() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let (mut executor, _sender, status, _disk) = fleet.executor(&machine).unwrap();
    let mut signed = |runs: bool| {
        machine.inner().runs_coordinator = runs;
        executor.handle(Request::Welcome { own_receipts: vec![], head: None }).unwrap();
        let signed = status.content().holding_document.clone().unwrap();
        (json::parse::<Holding>(&signed.bytes).unwrap().runs_coordinator, signed.digest())
    };
    let (first, moved, again) = (signed(false), signed(true), signed(true));
    assert_eq!((first.0, moved.0), (false, true));
    assert_eq!(moved, again, "nothing is signed anew while it stays");
    assert!(!signed(false).0);
}
