//! A node's self cordon on a machine and a cluster in memory. Ten seconds pass from judgement to judgement.

use std::{sync::Arc, time::Duration};

use hostler_plan::{
    document::{self, DocumentKind, NodeDecision, NodeMatter, Root, Signed},
    health::{Acceptance, Condition, Level, Release},
    json,
    step::{Noop, Step},
};

use super::*;
use crate::{
    executor::Executor,
    host::{FIELD_MANAGER, SELF_CORDON_MANAGER},
    protocol::Request,
    testing::{Fleet, Machine, TestCluster},
};

/// A node under a root that allows it, or not.
struct Setup {
    fleet: Fleet,
    machine: Arc<Machine>,
    executor: Executor,
    /// Of this process.
    steady: u64,
}

impl Setup {
    fn new(policy: bool) -> Self {
        let fleet = Fleet::new();
        let now = fleet.now.plus(Duration::from_secs(60));
        let machine = Arc::new(Machine::new(now).with_cluster(TestCluster::new(now, &["w1", "s1"])));
        let (executor, ..) = fleet.executor(&machine).unwrap();
        let mut setup = Self { fleet, machine, executor, steady: 0 };
        if policy {
            setup.policy(true, 2);
        }
        setup
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
            self.executor.self_cordon.reconcile_at(
                self.steady,
                &self.executor.context,
                &*self.executor.context.control.host,
            );
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

    /// An admin decides about w1, beside what is kept of before.
    fn decide(&mut self, number: u64, keeps: &[&Signed], about: NodeMatter) -> Signed {
        let keeps = keeps.iter().map(|signed| signed.digest()).collect();
        let (node, key) = (self.executor.context.me.node.clone(), self.executor.context.me.key.clone());
        let decided = document::Decided::Node(NodeDecision { node, key, number, keeps, also: Vec::new(), about });
        let signed = self.fleet.decision(decided);
        self.executor.handle(Request::Decision(signed.clone())).unwrap();
        signed
    }

    /// A full disk is the new normal for so many days.
    fn accept_full(&mut self, number: u64, used: &str, left: &str, days: u64) -> Signed {
        let value = |text: &str| text.parse().unwrap();
        let values = [
            (Condition::DiskUsed, value(used)),
            (Condition::DiskFull, value(used)),
            (Condition::DiskAvailable, value(left)),
        ];
        let acceptance = Acceptance {
            rule: Rule::DiskSpace,
            subject: "/".to_owned(),
            disk: None,
            level: Level::Critical,
            required: true,
            values: values.into(),
            until: self.machine.inner().now.plus(Duration::from_secs(days * 86_400)),
            reason: "it is meant to be full".parse().unwrap(),
        };
        self.decide(number, &[], NodeMatter::Accept(acceptance))
    }
}

const FULL: Option<f64> = Some(0.99);
const WELL: Option<f64> = Some(0.5);

#[test]
fn the_node_that_is_cordoned_is_on_this_machine_whatever_it_is_called() {
    let cordoned = |change: fn(&mut Vec<Node>)| {
        let mut setup = Setup::new(true);
        change(&mut setup.cluster().state().nodes);
        setup.disk(FULL);
        setup.pass(600);
        let state = setup.cluster().state();
        state.nodes.iter().filter(|node| node.unschedulable).map(|node| node.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(cordoned(|_| {}), ["w1"], "no kubelet said a machine id");
    assert_eq!(cordoned(|nodes| nodes[0].machine_id = "2".repeat(32)), ["w1"], "no other node is on this machine");
    let other_name = cordoned(|nodes| {
        nodes[0].name = "w1.example.org".into();
        nodes[0].machine_id = "1".repeat(32);
    });
    assert_eq!(other_name, ["w1.example.org"]);
    let taken = cordoned(|nodes| {
        nodes[0].machine_id = "2".repeat(32);
        nodes[1].machine_id = "1".repeat(32);
    });
    assert_eq!(taken, ["s1"], "another machine has its name");
    let copied = cordoned(|nodes| {
        nodes[0].name = "w1.example.org".into();
        nodes.iter_mut().for_each(|node| node.machine_id = "1".repeat(32));
    });
    assert_eq!(copied, [""; 0], "nobody knows which is its own");
}

#[test]
fn a_full_disk_cordons_the_node_and_a_cleared_one_frees_it_after_its_hold_time() {
    let mut setup = Setup::new(true);
    setup.pass(60);
    assert_eq!(setup.stands(), Setup::free());
    setup.disk(FULL);
    setup.pass(50);
    assert_eq!(setup.stands(), Setup::free(), "not confirmed yet");
    setup.pass(30);
    assert_eq!(setup.stands(), Setup::own());
    let note = setup.w1().self_cordon.unwrap();
    assert_eq!((note.rule, note.was_unschedulable), (Rule::DiskSpace, false));
    assert!(note.reason.contains("disk_space /"), "{}", note.reason);
    let version = setup.w1().resource_version;
    setup.pass(3600);
    assert_eq!(setup.w1().resource_version, version, "once is enough");
    setup.disk(WELL);
    setup.pass(880);
    assert_eq!(setup.stands(), Setup::own(), "the rule holds for a quarter of an hour");
    setup.pass(40);
    assert_eq!(setup.stands(), Setup::free());
}

#[test]
fn a_disk_that_left_while_the_judge_was_down_is_missed_for_a_day() {
    let mut setup = Setup::new(true);
    setup.pass(60);
    let mut setup = setup.restart();
    setup.machine.inner().data_disk = false;
    setup.pass(50);
    assert_eq!(setup.stands(), Setup::free(), "not confirmed yet");
    setup.pass(30);
    assert_eq!(setup.stands(), Setup::own());
    assert_eq!(setup.w1().self_cordon.unwrap().rule, Rule::DiskGone);
    // Taken out on purpose.
    let later = setup.machine.inner().now.plus(Duration::from_secs(86_400));
    setup.machine.inner().now = later;
    let mut setup = setup.restart();
    setup.pass(1200);
    assert_eq!(setup.stands(), Setup::free());
}

#[test]
fn a_task_of_an_hour_between_two_looks_is_no_hour_of_a_full_disk() {
    let mut setup = Setup::new(true);
    setup.disk(FULL);
    setup.pass(20);
    setup.steady += 3_600_000;
    setup.pass(20);
    assert_eq!(setup.stands(), Setup::free(), "the judge began anew");
    setup.pass(60);
    assert_eq!(setup.stands(), Setup::own());
    // Nor is it a well one: the machine's clock may step as it likes meanwhile.
    setup.disk(WELL);
    setup.pass(60);
    setup.steady += 3_600_000;
    setup.machine.inner().now = setup.fleet.now.plus(Duration::from_secs(365 * 86_400));
    setup.pass(880);
    assert_eq!(setup.stands(), Setup::own());
    setup.pass(40);
    assert_eq!(setup.stands(), Setup::free());
}

#[test]
fn nothing_happens_where_no_admin_signed_it() {
    let mut setup = Setup::new(false);
    setup.disk(FULL);
    setup.pass(3600);
    assert_eq!(setup.stands(), Setup::free());
    assert!(setup.executor.self_cordon.evaluator.is_none(), "and nothing is judged");
}

#[test]
fn what_is_not_known_changes_nothing() {
    let mut setup = Setup::new(true);
    setup.disk(None);
    setup.pass(3600);
    assert_eq!(setup.stands(), Setup::free());
    setup.disk(FULL);
    setup.pass(100);
    setup.disk(None);
    setup.pass(3600);
    assert_eq!(setup.stands(), Setup::own(), "nobody knows that it is over");
}

#[test]
fn a_restart_finds_its_own_cordon_and_does_not_free_the_node_in_a_hurry() {
    let mut setup = Setup::new(true);
    setup.disk(FULL);
    setup.pass(100);
    let version = setup.w1().resource_version;
    let mut setup = setup.restart();
    setup.pass(600);
    assert_eq!((setup.stands(), setup.w1().resource_version), (Setup::own(), version), "doubled is once");
    setup.disk(WELL);
    let mut setup = setup.restart();
    setup.pass(880);
    assert_eq!(setup.stands(), Setup::own(), "the new judge has not looked for long enough");
    setup.pass(40);
    assert_eq!(setup.stands(), Setup::free());
}

#[test]
fn a_policy_that_is_switched_off_takes_the_cordon_back_even_after_a_restart() {
    let mut setup = Setup::new(true);
    setup.disk(FULL);
    setup.pass(100);
    setup.policy(false, 3);
    setup.pass(10);
    assert_eq!(setup.stands(), Setup::free());

    let mut setup = Setup::new(true);
    setup.disk(FULL);
    setup.pass(100);
    setup.cluster().state().silent = true;
    setup.policy(false, 3);
    setup.pass(10);
    let mut setup = setup.restart();
    setup.cluster().state().silent = false;
    assert_eq!(setup.stands(), Setup::own());
    setup.pass(10);
    assert_eq!(setup.stands(), Setup::free());
    let setup = setup.restart();
    assert!(!setup.executor.self_cordon.may_stand, "the next start has nothing to look for");
}

#[test]
fn somebody_elses_cordon_is_left_alone_and_watched() {
    let mut setup = Setup::new(true);
    let by_kubectl = |on: bool| {
        let mut state = setup.machine.cluster.as_ref().unwrap().state();
        state.nodes[0].unschedulable = on;
        state.nodes[0].unschedulable_by = on.then(|| "kubectl-cordon".to_owned());
    };
    by_kubectl(true);
    setup.disk(FULL);
    setup.pass(600);
    assert_eq!(setup.stands(), (true, "kubectl-cordon".into(), false));
    let mut state = setup.cluster().state();
    (state.nodes[0].unschedulable, state.nodes[0].unschedulable_by) = (false, None);
    drop(state);
    setup.pass(100);
    assert_eq!(setup.stands(), Setup::own(), "it is free, and still critical");
    // A person who takes it away is right until the rule has cleared once.
    let mut state = setup.cluster().state();
    (state.nodes[0].unschedulable, state.nodes[0].unschedulable_by) = (false, None);
    drop(state);
    setup.pass(3600);
    assert!(!setup.w1().unschedulable);
    setup.disk(WELL);
    setup.pass(920);
    assert_eq!(setup.stands(), Setup::free(), "the note goes when the rule has cleared");
    setup.disk(FULL);
    setup.pass(100);
    assert_eq!(setup.stands(), Setup::own());
}

#[test]
fn a_plans_cordon_and_the_nodes_own_never_undo_each_other() {
    let plan = crate::testing::note("sha256:1", "drain");
    let mut setup = Setup::new(true);
    setup.disk(FULL);
    setup.pass(100);
    setup.cluster().cordon(&setup.w1(), &plan).unwrap();
    assert_eq!(setup.stands(), (true, "hostler".into(), true));
    setup.disk(WELL);
    setup.pass(920);
    assert_eq!(setup.stands(), (true, "hostler".into(), false), "it stays with the plan");
    setup.cluster().uncordon(&setup.w1()).unwrap();
    assert_eq!(setup.stands(), Setup::free());

    // The other way round: the plan ends first.
    setup.disk(FULL);
    setup.pass(100);
    setup.cluster().cordon(&setup.w1(), &plan).unwrap();
    setup.cluster().uncordon(&setup.w1()).unwrap();
    assert_eq!(setup.stands(), Setup::own(), "the rule is still critical");
    // And a plan that came first is waited for.
    let mut setup = Setup::new(true);
    setup.cluster().cordon(&setup.w1(), &plan).unwrap();
    setup.disk(FULL);
    setup.pass(600);
    assert_eq!(setup.stands(), (true, "hostler".into(), false));
    assert_eq!(setup.w1().unschedulable_by.as_deref(), Some(FIELD_MANAGER));
    setup.cluster().uncordon(&setup.w1()).unwrap();
    setup.pass(100);
    assert_eq!(setup.stands(), Setup::own());
}

#[test]
fn a_silent_api_server_is_asked_ever_more_seldom_and_the_node_says_so_once() {
    let mut setup = Setup::new(true);
    setup.cluster().state().silent = true;
    setup.disk(FULL);
    setup.pass(100);
    let said = setup.executor.self_cordon.said.last().to_owned();
    assert!(said.contains("w1 cannot cordon itself") && said.contains("connection refused"), "{said}");
    setup.pass(36_000);
    assert_eq!((setup.executor.self_cordon.next_pause, setup.executor.self_cordon.said.last()), (MAX_PAUSE, &*said));
    setup.cluster().state().silent = false;
    setup.pass(u64::from(MAX_PAUSE + 1) * 10);
    assert_eq!(setup.stands(), Setup::own());
    assert_eq!((setup.executor.self_cordon.next_pause, setup.executor.self_cordon.said.last()), (0, ""));
}

#[test]
fn without_access_the_node_says_so_and_works_on() {
    let fleet = Fleet::new();
    let machine = Arc::new(Machine::new(fleet.now.plus(Duration::from_secs(60))));
    let (executor, _door, status, _disk) = fleet.executor(&machine).unwrap();
    let mut setup = Setup { fleet, machine, executor, steady: 0 };
    setup.policy(true, 2);
    setup.disk(FULL);
    setup.pass(600);
    assert!(setup.executor.self_cordon.said.last().contains("neither"), "{}", setup.executor.self_cordon.said.last());
    let plan = setup.fleet.plan(1, vec![Step::Noop(Noop {})], |p| p.root_version = 2);
    setup.executor.handle(Request::Plan(plan.clone())).unwrap();
    setup.executor.handle(Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())).unwrap();
    setup.executor.take_turns().unwrap();
    assert_eq!(status.content().receipts.len(), 1);
}

#[test]
fn an_accepted_verdict_frees_the_node_until_its_end_and_over_a_restart() {
    let mut setup = Setup::new(true);
    setup.disk(FULL);
    setup.pass(100);
    assert_eq!(setup.stands(), Setup::own());
    setup.accept_full(1, "0.99", "0.01", 30);
    setup.pass(1000);
    assert_eq!(setup.stands(), Setup::free());
    let mut setup = setup.restart();
    setup.pass(1000);
    assert_eq!(setup.stands(), Setup::free(), "it is kept");
    let later = setup.machine.inner().now.plus(Duration::from_secs(31 * 86_400));
    setup.machine.inner().now = later;
    setup.pass(100);
    assert_eq!(setup.stands(), Setup::own(), "it is over");
}

#[test]
fn what_gets_worse_than_was_accepted_cordons_the_node_all_the_same() {
    let mut setup = Setup::new(true);
    setup.disk(Some(0.985));
    setup.accept_full(1, "0.985", "0.015", 30);
    setup.pass(1000);
    assert_eq!(setup.stands(), Setup::free());
    // By less than the table has it between bad and good.
    setup.disk(Some(0.995));
    setup.pass(1000);
    assert_eq!(setup.stands(), Setup::free());
    let mut setup = Setup::new(true);
    setup.disk(FULL);
    setup.accept_full(1, "0.9", "0.09", 30);
    setup.pass(1000);
    assert_eq!(setup.stands(), Setup::own());
}

#[test]
fn a_withdrawal_counts_at_once_and_nobody_brings_back_what_was_withdrawn() {
    let mut setup = Setup::new(true);
    setup.disk(FULL);
    let accepted = setup.accept_full(1, "0.99", "0.01", 30);
    setup.pass(1000);
    assert_eq!(setup.stands(), Setup::free());
    setup.decide(2, &[], NodeMatter::Withdraw { acceptance: accepted.digest() });
    setup.pass(10);
    assert_eq!(setup.stands(), Setup::own());
    let mut setup = setup.restart();
    setup.executor.handle(Request::Decision(accepted)).unwrap();
    setup.pass(1000);
    assert_eq!(setup.stands(), Setup::own());
}

#[test]
fn a_disk_that_is_let_go_is_missed_no_more() {
    let mut setup = Setup::new(true);
    setup.pass(60);
    setup.machine.inner().data_disk = false;
    setup.pass(80);
    assert_eq!(setup.stands(), Setup::own());
    let release = |level, required| {
        let (subject, reason) = ("sdb".to_owned(), "taken out for good".parse().unwrap());
        NodeMatter::Release(Release { subject, disk: None, level, required, reason })
    };
    setup.decide(1, &[], release(Level::Degraded, true));
    setup.pass(1200);
    assert_eq!(setup.stands(), Setup::own(), "less than it is");
    setup.decide(2, &[], release(Level::Critical, true));
    setup.pass(1200);
    assert_eq!(setup.stands(), Setup::free());
    let mut setup = setup.restart();
    setup.pass(1200);
    assert_eq!(setup.stands(), Setup::free(), "it is forgotten");
}
