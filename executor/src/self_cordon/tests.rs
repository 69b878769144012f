//! The node's own cordon on a machine and a cluster in memory. Ten seconds pass from judgement to judgement.

use std::{sync::Arc, time::Duration};

use hostler_plan::{
    document::{DocumentKind, Root},
    json,
    step::{Noop, Step},
};

use super::*;
use crate::{
    executor::Executor,
    host::{Cordon, FIELD_MANAGER, SELF_CORDON_MANAGER},
    protocol::Request,
    testing::{Fleet, Machine, TestCluster},
};

/// A node under a root that allows it, or not.
struct Desk {
    fleet: Fleet,
    machine: Arc<Machine>,
    executor: Executor,
    /// Of this process.
    steady: u64,
}

impl Desk {
    fn new(policy: bool) -> Self {
        let fleet = Fleet::new();
        let now = fleet.now.plus(Duration::from_secs(60));
        let machine = Arc::new(Machine::new(now).with_cluster(TestCluster::new(now, &["w1", "s1"])));
        let (executor, ..) = fleet.executor(&machine).unwrap();
        let mut desk = Self { fleet, machine, executor, steady: 0 };
        if policy {
            desk.policy(true, 2);
        }
        desk
    }

    /// A new process of the agent, which remembers what is on the disk.
    fn restart(self) -> Self {
        let Self { fleet, machine, executor, .. } = self;
        drop(executor);
        let (executor, ..) = fleet.executor(&machine).unwrap();
        Self { fleet, machine, executor, steady: 0 }
    }

    /// An admin signs the root of that number.
    fn policy(&mut self, on: bool, version: u64) {
        let mut root: Root = json::parse(&self.fleet.root.bytes).unwrap();
        (root.version, root.policy.cordon_when_critical) = (version, on);
        let signed = self.fleet.sign(DocumentKind::Root, json::write(&root));
        self.executor.handle(Request::Trust { roots: vec![signed], roster: None }).unwrap();
    }

    fn disk(&self, used: Option<f64>) {
        self.machine.inner().disk_used = used;
    }

    /// Lets so many seconds go by with a judgement every ten.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds / 10 {
            self.steady += 10_000;
            self.executor.self_cordon.reconcile_at(self.steady, &self.executor.context, &*self.executor.control.host);
        }
    }

    fn w1(&self) -> Node {
        self.machine.cluster.as_ref().unwrap().node("w1").unwrap().unwrap()
    }

    /// Whether w1 is unschedulable, by whom, and whether its own note stands.
    fn stands(&self) -> (bool, String, bool) {
        let node = self.w1();
        (
            node.unschedulable,
            node.cordoned_by().map_or(String::new(), |owner| owner.name().to_owned()),
            node.self_cordon.is_some(),
        )
    }

    fn cluster(&self) -> &TestCluster {
        self.machine.cluster.as_ref().unwrap()
    }

    fn own() -> (bool, String, bool) {
        (true, SELF_CORDON_MANAGER.to_owned(), true)
    }

    fn free() -> (bool, String, bool) {
        (false, String::new(), false)
    }
}

const FULL: Option<f64> = Some(0.99);
const WELL: Option<f64> = Some(0.5);

#[test]
fn a_full_disk_cordons_the_node_and_a_cleared_one_frees_it_after_its_hold_time() {
    let mut desk = Desk::new(true);
    desk.pass(60);
    assert_eq!(desk.stands(), Desk::free());
    desk.disk(FULL);
    desk.pass(50);
    assert_eq!(desk.stands(), Desk::free(), "not confirmed yet");
    desk.pass(30);
    assert_eq!(desk.stands(), Desk::own());
    let note = desk.w1().self_cordon.unwrap();
    assert_eq!((note.rule, note.was_unschedulable), (Rule::DiskSpace, false));
    assert!(note.reason.contains("disk_space /"), "{}", note.reason);
    let version = desk.w1().resource_version;
    desk.pass(3600);
    assert_eq!(desk.w1().resource_version, version, "once is enough");
    desk.disk(WELL);
    desk.pass(880);
    assert_eq!(desk.stands(), Desk::own(), "the rule holds for a quarter of an hour");
    desk.pass(40);
    assert_eq!(desk.stands(), Desk::free());
}

#[test]
fn a_task_of_an_hour_between_two_looks_is_no_hour_of_a_full_disk() {
    let mut desk = Desk::new(true);
    desk.disk(FULL);
    desk.pass(20);
    desk.steady += 3_600_000;
    desk.pass(20);
    assert_eq!(desk.stands(), Desk::free(), "the judge began anew");
    desk.pass(60);
    assert_eq!(desk.stands(), Desk::own());
    // Nor is it a well one: the machine's clock may step as it likes meanwhile.
    desk.disk(WELL);
    desk.pass(60);
    desk.steady += 3_600_000;
    desk.machine.inner().now = desk.fleet.now.plus(Duration::from_secs(365 * 86_400));
    desk.pass(880);
    assert_eq!(desk.stands(), Desk::own());
    desk.pass(40);
    assert_eq!(desk.stands(), Desk::free());
}

#[test]
fn nothing_happens_where_no_admin_signed_it() {
    let mut desk = Desk::new(false);
    desk.disk(FULL);
    desk.pass(3600);
    assert_eq!(desk.stands(), Desk::free());
    assert!(desk.executor.self_cordon.evaluator.is_none(), "and nothing is judged");
}

#[test]
fn what_is_not_known_changes_nothing() {
    let mut desk = Desk::new(true);
    desk.disk(None);
    desk.pass(3600);
    assert_eq!(desk.stands(), Desk::free());
    desk.disk(FULL);
    desk.pass(100);
    desk.disk(None);
    desk.pass(3600);
    assert_eq!(desk.stands(), Desk::own(), "nobody knows that it is over");
}

#[test]
fn a_restart_finds_its_own_cordon_and_does_not_free_the_node_in_a_hurry() {
    let mut desk = Desk::new(true);
    desk.disk(FULL);
    desk.pass(100);
    let version = desk.w1().resource_version;
    let mut desk = desk.restart();
    desk.pass(600);
    assert_eq!((desk.stands(), desk.w1().resource_version), (Desk::own(), version), "doubled is once");
    desk.disk(WELL);
    let mut desk = desk.restart();
    desk.pass(880);
    assert_eq!(desk.stands(), Desk::own(), "the new judge has not looked for long enough");
    desk.pass(40);
    assert_eq!(desk.stands(), Desk::free());
}

#[test]
fn a_policy_that_is_switched_off_takes_the_cordon_back_even_after_a_restart() {
    let mut desk = Desk::new(true);
    desk.disk(FULL);
    desk.pass(100);
    desk.policy(false, 3);
    desk.pass(10);
    assert_eq!(desk.stands(), Desk::free());

    let mut desk = Desk::new(true);
    desk.disk(FULL);
    desk.pass(100);
    desk.cluster().state().silent = true;
    desk.policy(false, 3);
    desk.pass(10);
    let mut desk = desk.restart();
    desk.cluster().state().silent = false;
    assert_eq!(desk.stands(), Desk::own());
    desk.pass(10);
    assert_eq!(desk.stands(), Desk::free());
    let desk = desk.restart();
    assert!(!desk.executor.self_cordon.may_stand, "the next start has nothing to look for");
}

#[test]
fn somebody_elses_cordon_is_left_alone_and_watched() {
    let mut desk = Desk::new(true);
    let by_kubectl = |on: bool| {
        let mut state = desk.machine.cluster.as_ref().unwrap().state();
        state.nodes[0].unschedulable = on;
        state.nodes[0].unschedulable_by = on.then(|| "kubectl-cordon".to_owned());
    };
    by_kubectl(true);
    desk.disk(FULL);
    desk.pass(600);
    assert_eq!(desk.stands(), (true, "kubectl-cordon".into(), false));
    let mut state = desk.cluster().state();
    (state.nodes[0].unschedulable, state.nodes[0].unschedulable_by) = (false, None);
    drop(state);
    desk.pass(100);
    assert_eq!(desk.stands(), Desk::own(), "it is free, and still critical");
    // A person who takes it away is right until the rule has cleared once.
    let mut state = desk.cluster().state();
    (state.nodes[0].unschedulable, state.nodes[0].unschedulable_by) = (false, None);
    drop(state);
    desk.pass(3600);
    assert!(!desk.w1().unschedulable);
    desk.disk(WELL);
    desk.pass(920);
    assert_eq!(desk.stands(), Desk::free(), "the note goes when the rule has cleared");
    desk.disk(FULL);
    desk.pass(100);
    assert_eq!(desk.stands(), Desk::own());
}

#[test]
fn a_plans_cordon_and_the_nodes_own_never_undo_each_other() {
    let plan = Cordon { plan: "sha256:1".into(), reason: "drain".into(), epoch: 1, was_unschedulable: false };
    let mut desk = Desk::new(true);
    desk.disk(FULL);
    desk.pass(100);
    desk.cluster().cordon(&desk.w1(), &plan).unwrap();
    assert_eq!(desk.stands(), (true, "hostler".into(), true));
    desk.disk(WELL);
    desk.pass(920);
    assert_eq!(desk.stands(), (true, "hostler".into(), false), "it stays with the plan");
    desk.cluster().uncordon(&desk.w1()).unwrap();
    assert_eq!(desk.stands(), Desk::free());

    // The other way round: the plan ends first.
    desk.disk(FULL);
    desk.pass(100);
    desk.cluster().cordon(&desk.w1(), &plan).unwrap();
    desk.cluster().uncordon(&desk.w1()).unwrap();
    assert_eq!(desk.stands(), Desk::own(), "the rule is still critical");
    // And a plan that came first is waited for.
    let mut desk = Desk::new(true);
    desk.cluster().cordon(&desk.w1(), &plan).unwrap();
    desk.disk(FULL);
    desk.pass(600);
    assert_eq!(desk.stands(), (true, "hostler".into(), false));
    assert_eq!(desk.w1().unschedulable_by.as_deref(), Some(FIELD_MANAGER));
    desk.cluster().uncordon(&desk.w1()).unwrap();
    desk.pass(100);
    assert_eq!(desk.stands(), Desk::own());
}

#[test]
fn a_silent_api_server_is_asked_ever_more_seldom_and_the_node_says_so_once() {
    let mut desk = Desk::new(true);
    desk.cluster().state().silent = true;
    desk.disk(FULL);
    desk.pass(100);
    let said = desk.executor.self_cordon.said.last().to_owned();
    assert!(said.contains("w1 cannot cordon itself") && said.contains("connection refused"), "{said}");
    desk.pass(36_000);
    assert_eq!((desk.executor.self_cordon.next_pause, desk.executor.self_cordon.said.last()), (MAX_PAUSE, &*said));
    desk.cluster().state().silent = false;
    desk.pass(u64::from(MAX_PAUSE + 1) * 10);
    assert_eq!(desk.stands(), Desk::own());
    assert_eq!((desk.executor.self_cordon.next_pause, desk.executor.self_cordon.said.last()), (0, ""));
}

#[test]
fn without_access_the_node_says_so_and_works_on() {
    let fleet = Fleet::new();
    let machine = Arc::new(Machine::new(fleet.now.plus(Duration::from_secs(60))));
    let (executor, _door, status, _disk) = fleet.executor(&machine).unwrap();
    let mut desk = Desk { fleet, machine, executor, steady: 0 };
    desk.policy(true, 2);
    desk.disk(FULL);
    desk.pass(600);
    assert!(desk.executor.self_cordon.said.last().contains("neither"), "{}", desk.executor.self_cordon.said.last());
    let plan = desk.fleet.plan(1, vec![Step::Noop(Noop {})], |p| p.root_version = 2);
    desk.executor.handle(Request::Plan(plan.clone())).unwrap();
    desk.executor.handle(Request::Grant(Fleet::grant(&plan, "w1.work", 1))).unwrap();
    assert_eq!(status.content().receipts.len(), 1);
}
