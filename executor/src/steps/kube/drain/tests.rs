//! Drains of node `s1` in a cluster in memory (a double, see `crate::testing`), through the executor.

use std::{sync::Arc, time::Duration};

use hostler_plan::{
    document::{Outcome, Plan, PlanKind, Receipt, Signed, Task},
    health::Rule,
    json,
    step::{self, Drain, EmptyDirs, Reaction, Reactions, Step, Uncordon},
};

use super::evictions::AT_ONCE;
use crate::{
    host::{
        Attachment, BudgetLimit, Cluster as _, CordonNote, Deletion, Effect, EmptyDirMedia, Eviction, NodeReady,
        Operator, Phase, PodVolume, Requirement, SelfCordon, Taint,
    },
    inbox::RequestSender,
    protocol::Request,
    status::ExecutorStatus,
    testing::{AtEviction, Fleet, Machine, TestCluster, pod, task},
};

mod continues;
mod dead;
mod known_as;
mod outcome;
mod owner;
mod reactions;
mod requests;
mod scenarios;
mod signs;
mod turns;

const TIMEOUT: u64 = 600;

struct Lab {
    fleet: Fleet,
    machine: Arc<Machine>,
}

impl Lab {
    fn new() -> Self {
        let fleet = Fleet::new();
        let now = fleet.now.plus(Duration::from_secs(60));
        let cluster = TestCluster::new(now, &["s1", "w1", "w2"]);
        let machine = Arc::new(Machine::new(now).with_cluster(cluster));
        Self { fleet, machine }
    }

    fn cluster(&self) -> &TestCluster {
        self.machine.cluster.as_ref().unwrap()
    }

    fn tasks(&self, data: EmptyDirs, force_unmanaged: bool) -> Vec<Task> {
        let steps = vec![
            Step::Cordon(step::Cordon { reason: "test".parse().unwrap() }),
            Step::Drain(drain(TIMEOUT, data, force_unmanaged)),
        ];
        vec![task("w1.work", "w1", "s1", &[], steps)]
    }

    fn plan(&self, data: EmptyDirs, force_unmanaged: bool) -> Signed {
        let tasks = self.tasks(data, force_unmanaged);
        self.fleet.plan(1, vec![], |p| (p.kind, p.tasks) = (PlanKind::Drain, tasks))
    }

    fn drain(&self) -> (Receipt, Arc<ExecutorStatus>) {
        self.run(&self.plan(EmptyDirs::None, false))
    }

    fn run(&self, plan: &Signed) -> (Receipt, Arc<ExecutorStatus>) {
        let (executor, sender, status, _disk) = self.fleet.executor(&self.machine).unwrap();
        sender.offer(Request::Plan(plan.clone())).unwrap();
        sender.offer(Request::Grant(Fleet::grant(plan, "w1.work", 1).into())).unwrap();
        executor.run_until_idle().unwrap();
        let receipt = status.content().receipts.last().map(|r| json::parse(&r.bytes).unwrap());
        (receipt.unwrap_or_else(|| panic!("{:?}", status.content().refusals)), status)
    }

    fn names_on_s1(&self) -> Vec<String> {
        let state = self.cluster().state();
        state.pods.iter().filter(|p| p.node.as_deref() == Some("s1")).map(|p| p.key.name.clone()).collect()
    }

    fn is_cordoned(&self) -> bool {
        self.cluster().state().nodes[0].unschedulable
    }
}

fn drain(timeout_seconds: u64, delete_empty_dir_data: EmptyDirs, force_unmanaged: bool) -> Drain {
    Drain { delete_empty_dir_data, force_unmanaged, ..hostler_fixtures::cluster::drain(timeout_seconds) }
}

fn blocked(receipt: &Receipt) -> (&str, Vec<(&str, Option<&str>)>) {
    let Outcome::Blocked { reason, blockers } = &receipt.outcome else {
        panic!("expected blocked, found {}", receipt.outcome)
    };
    (reason, blockers.iter().map(|b| (b.pod.as_str(), b.budget.as_deref())).collect())
}

#[test]
fn replicas_leave_one_by_one_and_the_node_stays_cordoned() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "s1", "w1"]);
    let (receipt, _) = lab.drain();
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert!(lab.names_on_s1().is_empty() && lab.is_cordoned());
    let state = lab.cluster().state();
    assert_eq!(state.fewest_ready["web"], 2, "never two of three away, although no budget asked for it");
    let gap = state.evicted[1].1.since(state.evicted[0].1);
    assert!(gap >= Duration::from_secs(15), "10 s of grace and 5 s of start: {gap:?}");
    assert!(receipt.steps[1].detail.contains("2 pods moved"), "{}", receipt.steps[1].detail);
}

#[test]
fn a_budget_that_can_never_allow_it_blocks_before_anything_is_touched() {
    for (limit, replicas, text) in [
        (BudgetLimit::MinAvailable(1), 1, "needs 1 of 1 pods"),
        (BudgetLimit::MaxUnavailable(0), 2, "allows 0 pods"),
        (BudgetLimit::MinAvailablePercent(51), 2, "needs 2 of 2 pods"),
        (BudgetLimit::MinAvailablePercent(100), 3, "needs 3 of 3 pods"),
        (BudgetLimit::MaxUnavailablePercent(0), 3, "allows 0 pods"),
    ] {
        let lab = Lab::new();
        lab.cluster().state().deploy("cart", &["s1", "w1", "w2"][..replicas]);
        lab.cluster().state().protect("cart", limit);
        let (receipt, _) = lab.drain();
        let (reason, blockers) = blocked(&receipt);
        assert!(reason.contains(text) && reason.contains("Nothing was touched"), "{limit:?}: {reason}");
        assert_eq!(blockers, [("shop/cart-0", Some("shop/cart"))]);
        assert!(!lab.is_cordoned(), "{limit:?}");
        assert!(receipt.steps.is_empty());
    }
}

#[test]
fn a_budget_that_says_no_for_now_is_named_while_it_waits_and_the_drain_goes_through() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("web", &["s1", "w1", "w2"]);
        state.protect("web", BudgetLimit::MinAvailable(2));
        let text = "The disruption budget web needs 2 healthy pods and has 2 currently";
        state.answers.insert("web-0".into(), vec![Eviction::Budget(text.into()); 3]);
    }
    let (receipt, _) = lab.drain();
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    let state = lab.cluster().state();
    assert!(state.evicted[0].1.since(receipt.started) >= Duration::from_secs(3), "asked three times more");
}

#[test]
fn a_budget_that_is_slow_to_the_end_runs_out_of_time_and_the_cordon_is_taken_back() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("web", &["s1", "w1", "w2"]);
        state.protect("web", BudgetLimit::MinAvailable(2));
        // One of the three is broken for good.
        (state.pods[2].ready, state.pods[2].broken) = (false, Some("CrashLoopBackOff".into()));
    }
    let (receipt, _) = lab.drain();
    let Outcome::TimedOut { reason } = &receipt.outcome else { panic!("{}", receipt.outcome) };
    assert!(reason.contains("1 pod left: budget shop/web holds shop/web-0"), "{reason}");
    assert!(reason.contains("shop/web-2 is not Ready (CrashLoopBackOff). Repair it"), "{reason}");
    assert!(reason.contains("s1 is schedulable again"), "{reason}");
    assert!(!lab.is_cordoned());
    let took = receipt.ended.since(receipt.started).as_secs();
    assert!((TIMEOUT..TIMEOUT + 10).contains(&took), "{took} s");
}

#[test]
fn what_belongs_to_the_node_stays_and_what_would_be_lost_needs_consent() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        let mut daemon = pod("logs", "logs", "s1");
        daemon.owner.as_mut().unwrap().kind = "DaemonSet".into();
        let mut mirror = pod("etcd", "etcd", "s1");
        (mirror.mirror, mirror.owner) = (true, None);
        let mut cache = pod("cache", "cache", "s1");
        cache.empty_dirs.disk = true;
        let mut loose = pod("loose", "loose", "s1");
        loose.owner = None;
        let mut finished = pod("job", "job", "s1");
        (finished.owner, finished.phase, finished.ready) = (None, Phase::Succeeded, false);
        finished.empty_dirs.disk = true;
        state.pods.extend([daemon, mirror, cache, loose, finished]);
    }
    let (receipt, _) = lab.drain();
    let (reason, blockers) = blocked(&receipt);
    assert!(reason.contains("emptyDir"), "{reason}");
    assert_eq!(blockers, [("shop/cache", None), ("shop/loose", None)]);

    let lab2 = Lab { machine: lab.machine.clone(), fleet: Fleet::new() };
    let (receipt, _) = lab2.run(&lab2.plan(EmptyDirs::All, true));
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    assert_eq!(lab2.names_on_s1(), ["logs", "etcd"]);
}

#[test]
fn another_groups_daemon_set_is_an_ordinary_controller() {
    let lab = Lab::new();
    let mut kruise = pod("k", "k", "s1");
    let owner = kruise.owner.as_mut().unwrap();
    (owner.kind, owner.api_version) = ("DaemonSet".into(), "apps.kruise.io/v1alpha1".into());
    lab.cluster().state().pods.push(kruise);
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
    assert!(lab.names_on_s1().is_empty());
}

#[test]
fn a_silent_node_is_unreachable_before_and_during() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    lab.cluster().state().nodes[0].ready = NodeReady::Unknown { since: lab.fleet.now };
    let (receipt, _) = lab.drain();
    let Outcome::Unreachable { reason } = &receipt.outcome else { panic!("{}", receipt.outcome) };
    assert!(reason.contains("1 pods may still run there") && reason.contains("power"), "{reason}");
    assert!(!lab.is_cordoned(), "it was seen before anything was touched");
}

#[test]
fn the_answers_that_waiting_cannot_change_end_the_drain_at_once() {
    for answer in [Eviction::SeveralBudgets("two budgets".into()), Eviction::Forbidden("cannot create".into())] {
        let lab = Lab::new();
        lab.cluster().state().deploy("web", &["s1", "w1"]);
        lab.cluster().state().answers.insert("web-0".into(), vec![answer.clone()]);
        let (receipt, _) = lab.drain();
        blocked(&receipt);
        assert!(receipt.ended.since(receipt.started) < Duration::from_secs(10), "{answer:?}");
        assert!(!lab.is_cordoned());
    }
}

#[test]
fn passing_troubles_are_waited_out() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    let answers = vec![
        Eviction::Busy { retry_after: Some(Duration::from_secs(3)) },
        Eviction::Conflicts { retry_after: Some(Duration::from_secs(10)) },
        Eviction::Webhook("failed calling webhook".into()),
        Eviction::Denied("denied the request: migrating".into()),
        Eviction::Silent("reset".into()),
        Eviction::NamespaceTerminating,
        Eviction::Other { code: 418, reason: "tea".into() },
    ];
    lab.cluster().state().answers.insert("web-0".into(), answers);
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
}

#[test]
fn a_long_grace_is_never_shortened_and_told_at_the_limit() {
    let lab = Lab::new();
    lab.cluster().state().deploy("db", &["s1"]);
    lab.cluster().state().pods[0].grace = Duration::from_secs(3600);
    let (receipt, _) = lab.drain();
    let Outcome::TimedOut { reason } = &receipt.outcome else { panic!("{}", receipt.outcome) };
    assert!(reason.contains("not drained in 10 min, 1 pod moved"), "{reason}");
    assert!(reason.contains("shop/db-0 is stopping") && reason.contains("Nothing was killed"), "{reason}");
    assert!(reason.contains("s1 is schedulable again") && !lab.is_cordoned(), "{reason}");
    assert!(lab.names_on_s1().is_empty() && receipt.ended.since(receipt.started) >= Duration::from_secs(3600));
}

#[test]
fn a_volume_is_where_the_node_of_that_name_is_whatever_host_name_its_label_has() {
    for (wanted, stays) in [("s1", true), ("w2.example.org", false)] {
        let lab = Lab::new();
        {
            let mut state = lab.cluster().state();
            state.deploy("cart", &["s1"]);
            let mut other = state.nodes[0].clone();
            other.name = "w2.example.org".to_owned();
            other.labels = [("kubernetes.io/hostname".to_owned(), "w2".to_owned())].into();
            state.nodes.push(other);
            let key = "metadata.name".to_owned();
            let here = Requirement { key, operator: Operator::In, values: vec![wanted.to_owned()] };
            state.pods[0].volumes = vec![PodVolume {
                claim: "data".into(),
                volume: Some("pv-7".into()),
                terms: vec![vec![here]],
                ..PodVolume::default()
            }];
        }
        let (receipt, _) = lab.drain();
        let detail = &receipt.steps[1].detail;
        assert_eq!(detail.contains("stays down until uncordon"), stays, "{wanted}: {detail}");
    }
}

#[test]
fn a_pod_with_nowhere_to_go_is_moved_and_the_outage_is_told() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("cart", &["s1"]);
        let here =
            Requirement { key: "kubernetes.io/hostname".into(), operator: Operator::In, values: vec!["s1".into()] };
        state.pods[0].volumes = vec![PodVolume {
            claim: "data".into(),
            volume: Some("pv-7".into()),
            terms: vec![vec![here]],
            ..PodVolume::default()
        }];
    }
    let (receipt, _) = lab.drain();
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    let detail = &receipt.steps[1].detail;
    assert!(detail.contains("shop/cart-0 stays down until uncordon: volume pv-7 exists on s1 only"), "{detail}");
}

#[test]
fn a_budget_over_pods_with_nowhere_to_go_blocks_before() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("ml", &["s1", "s1", "s1"]);
        state.protect("ml", BudgetLimit::MinAvailable(2));
        for pod in &mut state.pods {
            pod.placement.node_selector.insert("disk".into(), "nvme".into());
        }
    }
    let (receipt, _) = lab.drain();
    let (reason, blockers) = blocked(&receipt);
    assert!(reason.contains("disk=nvme") && reason.contains("Nothing was touched"), "{reason}");
    assert_eq!(blockers.len(), 2, "one of the three may go");
}

#[test]
fn a_foreign_cordon_stays_and_is_told() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("web", &["s1", "w1"]);
        state.nodes[0].unschedulable = true;
        state.nodes[0].unschedulable_by = Some("kubectl-cordon".into());
    }
    let (receipt, _) = lab.drain();
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    assert!(receipt.steps[0].detail.contains("kubectl-cordon"), "{}", receipt.steps[0].detail);
    let uncordon = lab.fleet.plan(2, vec![], |p| {
        p.kind = PlanKind::Uncordon;
        p.tasks = vec![task("w1.work", "w1", "s1", &[], vec![Step::Uncordon(Uncordon {})])];
    });
    let (receipt, _) = lab.run(&uncordon);
    assert!(matches!(&receipt.outcome, Outcome::Failed { reason } if reason.contains("kubectl uncordon s1")));
    assert!(lab.is_cordoned());
}

#[test]
fn an_own_cordon_is_taken_off_by_an_uncordon_and_twice_is_as_good_as_once() {
    let lab = Lab::new();
    lab.drain();
    assert!(lab.is_cordoned());
    for seq in 2..4 {
        let uncordon = lab.fleet.plan(seq, vec![], |p| {
            p.kind = PlanKind::Uncordon;
            p.tasks = vec![task("w1.work", "w1", "s1", &[], vec![Step::Uncordon(Uncordon {})])];
        });
        let (receipt, _) = lab.run(&uncordon);
        assert_eq!(receipt.outcome, Outcome::Succeeded {});
        assert_eq!(receipt.steps[0].changed, seq == 2);
        let state = lab.cluster().state();
        assert_eq!((state.nodes[0].unschedulable, state.nodes[0].cordon.clone()), (false, None::<CordonNote>));
    }
}

#[test]
fn a_node_that_cordoned_itself_is_drained_and_given_back_to_itself() {
    let lab = Lab::new();
    let s1 = || lab.cluster().node("s1").unwrap().unwrap();
    let note = SelfCordon {
        rule: Rule::DiskSpace,
        reason: "the disk is full".into(),
        since: lab.fleet.now,
        was_unschedulable: false,
    };
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    lab.cluster().cordon_itself(&s1(), &note).unwrap();
    let (receipt, _) = lab.drain();
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    assert!(receipt.steps[0].changed, "the plan's note stands beside the node's own");
    assert!(s1().cordon.is_some() && s1().self_cordon.is_some() && lab.names_on_s1().is_empty());
    for seq in 2..4 {
        let uncordon = lab.fleet.plan(seq, vec![], |p| {
            p.kind = PlanKind::Uncordon;
            p.tasks = vec![task("w1.work", "w1", "s1", &[], vec![Step::Uncordon(Uncordon {})])];
        });
        let (receipt, _) = lab.run(&uncordon);
        assert_eq!((&receipt.outcome, receipt.steps[0].changed), (&Outcome::Succeeded {}, seq == 2));
        let detail = &receipt.steps[0].detail;
        assert!(detail.contains("cordoned itself (the disk is full)"), "{detail}");
        assert!(lab.is_cordoned() && s1().cordon.is_none() && s1().self_cordon.is_some());
    }
    // A drain that cannot be undoes what it did and nothing else.
    lab.cluster().state().deploy("cart", &["s1", "w1"]);
    lab.cluster().state().answers.insert("cart-0".into(), vec![Eviction::Forbidden("no role".into())]);
    let again = lab.fleet.plan(4, vec![], |p| {
        p.kind = PlanKind::Drain;
        let drain = Step::Drain(drain(30, EmptyDirs::None, false));
        p.tasks = vec![task(
            "w1.work",
            "w1",
            "s1",
            &[],
            vec![Step::Cordon(step::Cordon { reason: "again".parse().unwrap() }), drain],
        )];
    });
    let (receipt, _) = lab.run(&again);
    assert!(!receipt.outcome.is_success() && receipt.outcome.to_string().contains("itself"), "{}", receipt.outcome);
    assert!(lab.is_cordoned() && s1().cordon.is_none() && s1().self_cordon.is_some());
}

#[test]
fn system_pods_leave_last_and_volumes_are_waited_for() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("dns", &["s1", "w1"]);
        state.pods[0].priority_class = Some("system-cluster-critical".into());
        state.deploy("web", &["s1", "w1"]);
        state.attachments = vec![Attachment {
            name: "a".into(),
            node: "s1".into(),
            driver: "csi.example.com".into(),
            volume: Some("pv-1".into()),
        }];
    }
    let (receipt, _) = lab.drain();
    let Outcome::TimedOut { reason } = &receipt.outcome else { panic!("{}", receipt.outcome) };
    assert!(reason.contains("volume pv-1 is still attached"), "{reason}");
    let order: Vec<String> = lab.cluster().state().evicted.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(order, ["web-0", "dns-0"]);
}

#[test]
fn a_stop_ends_a_waiting_drain_at_once_and_takes_the_cordon_back() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    lab.cluster().state().pods[0].grace = Duration::from_secs(3600);
    let plan = lab.plan(EmptyDirs::None, false);
    let (executor, sender, status, _disk) = lab.fleet.executor(&lab.machine).unwrap();
    sender.offer(Request::Plan(plan.clone())).unwrap();
    sender.offer(Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())).unwrap();
    sender.offer(Request::Stop { plan: plan.digest(), reason: "ada halted it".into() }).unwrap();
    executor.run_until_idle().unwrap();
    let receipt: Receipt = json::parse(&status.content().receipts[0].bytes).unwrap();
    assert!(matches!(&receipt.outcome, Outcome::Failed { reason } if reason.starts_with("stopped: ada halted it")));
    assert!(!lab.is_cordoned());
    assert!(receipt.ended.since(receipt.started) < Duration::from_secs(30));
}

#[test]
fn a_drain_that_is_stopped_replaced_or_out_of_time_evicts_nobody_more_and_takes_its_cordon_back() {
    type Event = fn(&Lab, &Signed, RequestSender) -> Box<dyn FnOnce() + Send>;
    let stop: Event = |_, plan, sender| {
        let stop = Request::Stop { plan: plan.digest(), reason: "ada halted it".into() };
        Box::new(move || sender.offer(stop).unwrap())
    };
    let newer: Event = |lab, _, sender| {
        let newer = Request::Plan(lab.fleet.plan(2, vec![Step::Noop(step::Noop {})], |_| {}));
        Box::new(move || sender.offer(newer).unwrap())
    };
    let signed_stop: Event = |lab, _, sender| {
        let stop = lab.fleet.plan(2, vec![], |p| (p.kind, p.targets, p.tasks) = (PlanKind::Stop, vec![], vec![]));
        Box::new(move || sender.offer(Request::Plan(stop)).unwrap())
    };
    let expiry: Event = |lab, plan, _| {
        let (machine, end) = (lab.machine.clone(), json::parse::<Plan>(&plan.bytes).unwrap().expires);
        Box::new(move || machine.inner().now = end)
    };
    let cases = [(stop, "ada halted it"), (newer, "void"), (signed_stop, "void"), (expiry, "expired at")];
    for (event, why) in cases {
        let lab = Lab::new();
        for name in 0..2 * AT_ONCE {
            lab.cluster().state().deploy(&format!("app{name}"), &["s1"]);
        }
        let plan = lab.plan(EmptyDirs::None, false);
        let (executor, sender, status, _disk) = lab.fleet.executor(&lab.machine).unwrap();
        sender.offer(Request::Plan(plan.clone())).unwrap();
        sender.offer(Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())).unwrap();
        // The other end stays open: a process that ends leaves the task to the next one.
        let call = event(&lab, &plan, sender.clone());
        lab.cluster().state().at_eviction = Some(AtEviction(call));
        executor.run_until_idle().unwrap();
        assert_eq!(lab.cluster().state().evicted.len(), AT_ONCE, "{why}: those that were asked for together");
        assert!(!lab.is_cordoned(), "{why}");
        let receipt: Receipt = json::parse(&status.content().receipts[0].bytes).unwrap();
        let outcome = receipt.outcome.to_string();
        assert!(outcome.contains(why) && outcome.contains("s1 is schedulable again"), "{outcome}");
    }
}
