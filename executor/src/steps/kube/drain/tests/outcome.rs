//! How a drain ends, and what its receipt tells of it.

use hostler_plan::{
    cluster::Toleration,
    step::{Consent, Loss, Whose},
};

use super::*;
use crate::host::EvictionRequest;

#[test]
fn drained_means_cordoned_empty_and_detached_now() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
    // Somebody put it back into service, and pods came: what was drained once is no answer.
    {
        let mut state = lab.cluster().state();
        (state.nodes[0].unschedulable, state.nodes[0].unschedulable_by) = (false, None);
        state.deploy("cart", &["s1", "w1"]);
    }
    let again =
        |seq| lab.fleet.plan(seq, vec![], |p| (p.kind, p.tasks) = (PlanKind::Drain, lab.tasks(EmptyDirs::None, false)));
    let (receipt, _) = lab.run(&again(2));
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    assert!(lab.names_on_s1().is_empty() && lab.is_cordoned());
    assert!(receipt.steps[1].detail.contains("1 pod moved"), "{}", receipt.steps[1].detail);
    // Its pods are gone, but a volume has stayed.
    lab.cluster().state().attachments = vec![Attachment {
        name: "a".into(),
        node: "s1".into(),
        driver: "csi.example.com".into(),
        volume: Some("pv-1".into()),
    }];
    let (receipt, _) = lab.run(&again(3));
    let Outcome::TimedOut { reason } = &receipt.outcome else { panic!("{}", receipt.outcome) };
    assert!(reason.contains("volume pv-1 is still attached"), "{reason}");
}

#[test]
fn who_uncordons_during_a_drain_takes_the_node_over() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    lab.cluster().state().deploy("cart", &["s1", "w1"]);
    lab.cluster().state().next =
        Some(|state| (state.nodes[0].unschedulable, state.nodes[0].unschedulable_by) = (false, None));
    let (receipt, _) = lab.drain();
    let Outcome::TakenOver { reason, by } = &receipt.outcome else { panic!("{}", receipt.outcome) };
    assert!(reason.contains("s1 was uncordoned by somebody") && by.is_none(), "{reason}");
    let node = lab.cluster().node("s1").unwrap().unwrap();
    assert!(!node.unschedulable && node.cordon.is_none(), "our note does not stay on a node that is theirs");
}

#[test]
fn the_receipt_tells_what_became_of_each_pod() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("web", &["s1", "w1"]);
        state.deploy("ml", &["s1"]);
        state.pods.last_mut().unwrap().placement.node_selector.insert("disk".into(), "nvme".into());
        let mut daemon = pod("logs", "logs", "s1");
        daemon.owner.as_mut().unwrap().kind = "DaemonSet".into();
        let mut finished = pod("job", "job", "s1");
        (finished.phase, finished.ready) = (Phase::Succeeded, false);
        state.pods.extend([daemon, finished]);
    }
    let (receipt, _) = lab.drain();
    let told: Vec<(&str, &str, &str)> =
        receipt.pods.iter().map(|p| (p.pod.as_str(), p.fate.word(), p.reason.as_str())).collect();
    let expected = [
        ("shop/ml-0", "down", "it fits on no other node (disk=nvme)"),
        ("shop/job", "ended", "it had finished"),
        ("shop/logs", "stays", "of a DaemonSet"),
        ("shop/web-0", "moved", ""),
    ];
    assert_eq!(told, expected);
    assert!(receipt.steps[1].detail.contains("3 pods moved"), "{}", receipt.steps[1].detail);
}

#[test]
fn a_pod_that_comes_back_as_often_as_it_leaves_blocks_the_drain_and_says_why() {
    let tolerates = [Toleration { key: None, value: None, effect: None }];
    for (tolerations, why) in [(&tolerates[..], "it tolerates a cordon"), (&[], "by its name. Stop that")] {
        let lab = Lab::new();
        {
            let mut state = lab.cluster().state();
            state.deploy("web", &["s1"]);
            state.pods[0].placement.tolerations = tolerations.to_vec();
            state.comes_back = true;
        }
        let (receipt, _) = lab.drain();
        let (reason, blockers) = blocked(&receipt);
        assert!(reason.contains("ReplicaSet web came back to s1 3 times") && reason.contains(why), "{reason}");
        assert_eq!(blockers.len(), 1);
        assert_eq!(lab.cluster().state().evicted.len(), 4, "once, and three times again");
    }
}

#[test]
fn a_pod_that_can_only_come_back_blocks_before_anything_is_touched() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("web", &["s1"]);
        let placement = &mut state.pods[0].placement;
        placement.tolerations = vec![Toleration { key: None, value: None, effect: None }];
        placement.node_selector.insert("kubernetes.io/hostname".into(), "s1".into());
    }
    let (receipt, _) = lab.drain();
    let (reason, blockers) = blocked(&receipt);
    assert!(reason.contains("would come back here at once") && reason.contains("Nothing was touched"), "{reason}");
    assert_eq!(blockers, [("shop/web-0", None)]);
}

#[test]
fn a_grace_that_is_over_is_said_to_be_with_who_holds_the_pod() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    lab.cluster().state().keeps = true;
    let (receipt, _) = lab.drain();
    let reason = receipt.outcome.to_string();
    assert!(reason.contains("shop/web-0 is still there; its grace is over since"), "{reason}");
    assert!(reason.contains("the kubelet of s1 has not stopped it"), "{reason}");
    let left = &receipt.pods[0].reason;
    assert!(left.starts_with("it is still there; its grace is over since"), "{left}");
}

#[test]
fn a_replacement_that_no_node_takes_and_pods_that_are_left_are_told() {
    let lab = Lab::new();
    {
        let mut state = lab.cluster().state();
        state.deploy("web", &["s1", "w1"]);
        state.deploy("db", &["s1"]);
        state.pods.last_mut().unwrap().grace = Duration::from_secs(3600);
        // What the labels allow and the scheduler does not: no room.
        state.full = true;
    }
    let (receipt, _) = lab.drain();
    assert!(matches!(receipt.outcome, Outcome::TimedOut { .. }), "{}", receipt.outcome);
    let told: Vec<(&str, &str, &str)> =
        receipt.pods.iter().map(|p| (p.pod.as_str(), p.fate.word(), p.reason.as_str())).collect();
    let waits = "shop/web-0-new1 waits for a node: 0/3 nodes are available: 3 Insufficient cpu.";
    let [("shop/db-0", "left", stopping), ("shop/web-0", "pending", why)] = told[..] else { panic!("{told:?}") };
    assert!(stopping.starts_with("it is stopping; its grace ends at 20") && why == waits, "{told:?}");
}

#[test]
fn what_was_moved_before_a_restart_is_told_too() {
    let lab = Lab::new();
    for name in ["a", "b"] {
        lab.cluster().state().deploy(name, &["s1", "w1"]);
    }
    lab.cluster().state().pods.iter_mut().find(|p| p.key.name == "b-0").unwrap().grace = Duration::from_secs(300);
    let plan = lab.plan(EmptyDirs::None, false);
    let (executor, sender, _, disk) = lab.fleet.executor(&lab.machine).unwrap();
    drop(disk);
    sender.offer(Request::Plan(plan.clone())).unwrap();
    sender.offer(Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())).unwrap();
    // The process ends behind the first round; the last sender that goes is its end.
    lab.cluster().state().at_eviction = Some(AtEviction(Box::new(move || drop(sender))));
    executor.run_until_idle().unwrap();
    let (executor, sender, status, _disk) = lab.fleet.executor(&lab.machine).unwrap();
    sender.offer(Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())).unwrap();
    executor.run_until_idle().unwrap();
    let receipt: Receipt = json::parse(&status.content().receipts[0].bytes).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    let moved = receipt.pods.iter().filter(|p| p.fate.has_gone()).count();
    assert_eq!(moved, 2, "{:?}", receipt.pods);
}

#[test]
fn a_right_that_is_missing_is_named_before_anything_is_touched() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "w1"]);
    lab.cluster().state().missing = vec!["create pods/eviction".into()];
    let (receipt, _) = lab.drain();
    let (reason, _) = blocked(&receipt);
    assert!(reason.contains("may not create pods/eviction") && reason.contains("Nothing was touched"), "{reason}");
    assert!(!lab.is_cordoned());
}

#[test]
fn why_no_other_node_would_do_is_told_with_what_to_do_about_it() {
    type Change = fn(&mut crate::testing::State);
    let selector: Change = |state| {
        state.pods[0].placement.node_selector.insert("disk".into(), "nvme".into());
    };
    let taint: Change = |state| {
        for node in &mut state.nodes[1..] {
            node.taints = vec![Taint { key: "gpu".into(), value: String::new(), effect: Effect::NoSchedule }];
        }
    };
    let cordons: Change = |state| state.nodes[1..].iter_mut().for_each(|node| node.unschedulable = true);
    let cases = [
        (selector, "(disk=nvme). Label another node disk=nvme"),
        (taint, "(taint gpu). Let it tolerate gpu"),
        (cordons, "no other node is schedulable. Uncordon or add a node"),
    ];
    for (change, text) in cases {
        let lab = Lab::new();
        {
            let mut state = lab.cluster().state();
            state.deploy("ml", &["s1", "s1"]);
            state.protect("ml", BudgetLimit::MinAvailable(1));
            change(&mut state);
            let first = state.pods[0].placement.clone();
            state.pods[1].placement = first;
        }
        let (receipt, _) = lab.drain();
        let (reason, _) = blocked(&receipt);
        assert!(reason.contains(text), "{reason}");
    }
}

#[test]
fn consent_is_for_one_medium_or_for_one_pod_and_a_refusal_names_what_would_allow_it() {
    for (memory, allowed, other, flag) in [
        (true, EmptyDirs::Memory, EmptyDirs::Disk, "--delete-emptydir-data=memory"),
        (false, EmptyDirs::Disk, EmptyDirs::Memory, "--delete-emptydir-data=disk"),
    ] {
        let lab = Lab::new();
        lab.cluster().state().deploy("cache", &["s1", "w1"]);
        lab.cluster().state().pods[0].empty_dirs = EmptyDirMedia { disk: !memory, memory };
        let (receipt, _) = lab.run(&lab.plan(other, false));
        let (reason, _) = blocked(&receipt);
        assert!(reason.contains("--evict-anyway shop/cache-0") && reason.contains(flag), "{reason}");
        let again = lab.fleet.plan(2, vec![], |p| (p.kind, p.tasks) = (PlanKind::Drain, lab.tasks(allowed, false)));
        assert_eq!(lab.run(&again).0.outcome, Outcome::Succeeded {});
    }
    let lab = Lab::new();
    let mut loose = pod("loose", "loose", "s1");
    loose.owner = None;
    let mut other = pod("other", "other", "s1");
    other.owner = None;
    lab.cluster().state().pods.extend([loose, other]);
    let anyway = |seq, names: &[&str]| {
        let evict_anyway = names.iter().map(|name| name.parse().unwrap()).collect();
        let step = Drain { evict_anyway, ..drain(TIMEOUT, EmptyDirs::None, false) };
        let mut tasks = lab.tasks(EmptyDirs::None, false);
        tasks[0].steps[1] = Step::Drain(step);
        lab.fleet.plan(seq, vec![], |p| (p.kind, p.tasks) = (PlanKind::Drain, tasks))
    };
    let (receipt, _) = lab.run(&anyway(1, &["shop/loose"]));
    assert_eq!(blocked(&receipt).1, [("shop/other", None)]);
    assert_eq!(lab.run(&anyway(2, &["shop/loose", "shop/other"])).0.outcome, Outcome::Succeeded {});
}

#[test]
fn a_stopped_pod_that_only_a_finalizer_keeps_hinders_nobody() {
    let lab = Lab::new();
    let mut stuck = pod("stuck", "stuck", "s1");
    stuck.phase = Phase::Succeeded;
    stuck.finalizers = vec!["example.com/hold".into()];
    stuck.deletion = Some(Deletion { ends: lab.fleet.now, grace: Duration::ZERO });
    lab.cluster().state().pods.push(stuck);
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
}

#[test]
fn the_note_tells_who_signed_since_when_and_until_when() {
    let lab = Lab::new();
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
    let note = lab.cluster().node("s1").unwrap().unwrap().cordon.unwrap();
    assert!(note.since < note.until && note.since.is_some() && !note.was_unschedulable, "{note:?}");
    assert_eq!(note.signed_by, ["ada"]);
    assert_eq!(serde_json::from_str::<CordonNote>(&serde_json::to_string(&note).unwrap()).unwrap(), note);
    let before = r#"{"plan":"sha256:1","reason":"drain","epoch":1,"was_unschedulable":false}"#;
    assert!(serde_json::from_str::<CordonNote>(before).is_ok_and(|note| note.since.is_none()), "of an older version");
}

#[test]
fn a_consent_lets_the_data_of_its_owner_go_and_of_nobody_else() {
    let of = |kind: &str, name: &str| Consent {
        of: Whose::Owner {
            namespace: "shop".parse().unwrap(),
            kind: kind.parse().unwrap(),
            name: name.parse().unwrap(),
        },
        loss: Loss::EmptyDirDisk,
    };
    let disk = EmptyDirMedia { disk: true, memory: false };
    let lab = Lab::new();
    lab.cluster().state().deploy("cache", &["s1", "w1"]);
    lab.cluster().state().pods[0].empty_dirs = disk;
    let plan = |seq, consents: &[Consent]| {
        let step = Drain { consents: consents.to_vec(), ..drain(TIMEOUT, EmptyDirs::None, false) };
        let mut tasks = lab.tasks(EmptyDirs::None, false);
        tasks[0].steps[1] = Step::Drain(step);
        lab.fleet.plan(seq, vec![], |p| (p.kind, p.tasks) = (PlanKind::Drain, tasks))
    };
    let (receipt, _) = lab.run(&plan(1, &[of("Deployment", "other")]));
    let (reason, pods) = blocked(&receipt);
    assert!(reason.contains("Make the plan anew to be asked") && reason.contains("Nothing was touched"), "{reason}");
    assert_eq!(pods, [("shop/cache-0", None)]);
    // The controller itself is not what anybody was asked about.
    assert_eq!(blocked(&lab.run(&plan(2, &[of("ReplicaSet", "cache")])).0).1, [("shop/cache-0", None)]);
    assert_eq!(lab.run(&plan(3, &[of("Deployment", "cache")])).0.outcome, Outcome::Succeeded {});
}

#[test]
fn a_pod_that_another_asked_to_go_is_left_to_its_responders_until_that_is_over() {
    let asked = |lab: &Lab| {
        let mut state = lab.cluster().state();
        state.deploy("web", &["s1", "w1"]);
        let pod = state.pods[0].key.clone();
        state.requests = Some(vec![EvictionRequest { name: "r1".into(), requester: "acme.io/scaler".into(), pod }]);
    };
    let lab = Lab::new();
    asked(&lab);
    let (receipt, _) = lab.drain();
    let Outcome::TimedOut { reason } = &receipt.outcome else { panic!("{}", receipt.outcome) };
    let says = "shop/web-0 is held: acme.io/scaler asked for it to go before (EvictionRequest shop/r1)";
    assert!(reason.contains(says), "{reason}");
    assert!(lab.cluster().state().evicted.is_empty(), "nobody else evicts it");
    let lab = Lab::new();
    asked(&lab);
    lab.cluster().state().next = Some(|state| state.requests = Some(vec![]));
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {}, "it was withdrawn");
    assert_eq!(lab.cluster().state().evicted.len(), 1);
}

#[test]
fn what_a_drain_took_is_remembered_for_the_next_preview() {
    let lab = Lab::new();
    lab.cluster().state().deploy("web", &["s1", "s1", "w1"]);
    let pod = lab.cluster().state().pods[0].clone();
    assert_eq!(lab.drain().0.outcome, Outcome::Succeeded {});
    let disk = crate::disk::Disk::beside(lab.fleet.directory.path());
    let took = crate::drain_history::recall(&disk).took(&pod).to_stop.unwrap();
    assert!((10..15).contains(&took.as_secs()), "10 s of grace, and a look every few seconds: {took:?}");
}
