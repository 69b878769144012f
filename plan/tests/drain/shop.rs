//! A node as it is in life: pods of several namespaces and kinds, and a plan that allows some of what they need.

use std::time::Duration;

use hostler_plan::{
    cluster::{BudgetLimit, Controller, Deletion, NodeReady, Owner, Phase, Pod, Shared, Toleration},
    document::{NodeState, Prospect, Stays, Turn, Urgency},
    drain::{Asks, Fate, Look, Options, blockers, in_order},
    form::PodName,
    step::{EmptyDirs, Loss},
};

use crate::made::*;

fn owned(pod: &mut Pod, kind: &str, api_version: &str) -> Owner {
    let owner = pod.owner.as_mut().unwrap();
    (owner.kind, owner.api_version) = (kind.into(), api_version.into());
    owner.clone().into_inner()
}

fn shop() -> Look {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "w1"]);
    look.protect("web", BudgetLimit::MinAvailable(1));
    look.deploy("cache", &["s1"]);
    (look.pod("cache-0").empty_dirs.disk, look.pod("cache-0").empty_dirs.memory) = (true, true);
    for (name, kind, api) in [
        ("logs", "DaemonSet", "apps/v1"),
        ("kruise", "DaemonSet", "apps.kruise.io/v1alpha1"),
        ("report-1", "Job", "batch/v1"),
    ] {
        let mut pod = pod(name, name, "s1");
        owned(&mut pod, kind, api);
        look.pods.push(pod.into());
    }
    let (_, report) = look.pod("report-1").owner_id().unwrap();
    let cron = Controller { kind: "CronJob".into(), name: "report".into(), scale: None };
    look.controllers.insert(("shop".into(), report), cron);
    let mut mirror = pod("etcd", "etcd", "s1");
    (mirror.mirror, mirror.owner, mirror.key.namespace) = (true, None, "kube-system".into());
    let mut dns = pod("dns", "dns", "s1");
    (dns.priority_class, dns.key.namespace) = (Some("system-cluster-critical".into()), "kube-system".into());
    let mut loose = pod("loose", "loose", "s1");
    loose.owner = None;
    let mut done = pod("done", "done", "s1");
    (done.phase, done.ready, done.owner, done.empty_dirs.disk) = (Phase::Failed, false, None, true);
    let mut going = pod("going", "going", "s1");
    going.deletion = Some(Deletion { ends: now().plus(Duration::from_secs(90)), grace: Duration::from_secs(120) });
    let mut kept = pod("kept", "kept", "s1");
    (kept.deletion, kept.phase) = (going.deletion, Phase::Succeeded);
    kept.finalizers = vec!["example.com/hold".into()];
    look.pods.extend([mirror, dns, loose, done, going, kept].map(Shared::from));
    look
}

#[test]
fn each_pod_is_told_by_what_a_drain_would_do_with_it() {
    let view = shop().view();
    let told: Vec<(&str, Urgency)> = view.pods.iter().map(|pod| (pod.pod.as_str(), pod.urgency())).collect();
    let expected = [
        ("shop/web-0", Urgency::Leaves),
        ("shop/cache-0", Urgency::Loses),
        ("shop/logs", Urgency::Stays),
        ("shop/kruise", Urgency::Leaves),
        ("shop/report-1", Urgency::Leaves),
        ("kube-system/etcd", Urgency::Stays),
        ("kube-system/dns", Urgency::Leaves),
        ("shop/loose", Urgency::Loses),
        ("shop/done", Urgency::Leaves),
        ("shop/going", Urgency::Going),
        ("shop/kept", Urgency::Stays),
    ];
    assert_eq!(told, expected);
    assert_eq!(leaving(&view, "cache-0").loses, [Loss::EmptyDirDisk, Loss::EmptyDirMemory]);
    assert_eq!(leaving(&view, "done").loses, [], "it has nothing that anybody uses");
    let stays = |name: &str| match &seen(&view, name).prospect {
        Prospect::Stays(why) => why.clone(),
        other @ (Prospect::Going { .. } | Prospect::Leaves(_)) => panic!("{other:?}"),
    };
    assert_eq!(stays("logs"), Stays::DaemonSet);
    assert!(matches!(stays("kept"), Stays::Finalizer(name) if name.as_str() == "example.com/hold"));
    let owner = |name: &str| seen(&view, name).owner.as_ref().map(|owner| format!("{}/{}", owner.kind, owner.name));
    assert_eq!(owner("web-0").as_deref(), Some("Deployment/web"));
    assert_eq!(owner("report-1").as_deref(), Some("CronJob/report"));
    assert_eq!(owner("loose"), None);
    let dns = view.pods.iter().find(|pod| pod.pod.as_str() == "kube-system/dns").unwrap();
    assert_eq!(dns.turn, Turn::SystemCritical);
    assert_eq!(view.expected.unwrap().seconds, 120, "90 s of what is going, and then 30 s of the system's");
}

#[test]
fn a_plan_is_held_against_what_the_pods_need() {
    let look = shop();
    let names = |options: &Options<'_>| -> Vec<String> {
        blockers(&look.view(), options).into_iter().map(|blocker| blocker.pod).collect()
    };
    assert_eq!(names(&STRICT), ["shop/cache-0", "shop/loose"]);
    let memory = Options { delete_empty_dir_data: EmptyDirs::Memory, ..STRICT };
    assert_eq!(names(&memory), ["shop/cache-0", "shop/loose"], "one of its two is on disk");
    let all = Options { delete_empty_dir_data: EmptyDirs::All, ..STRICT };
    assert_eq!(names(&all), ["shop/loose"]);
    assert_eq!(names(&Options { force_unmanaged: true, ..all }), [] as [&str; 0]);
    let anyway: Vec<PodName> = ["shop/cache-0", "shop/loose"].map(|name| name.parse().unwrap()).into();
    assert_eq!(names(&Options { evict_anyway: &anyway, ..STRICT }), [] as [&str; 0]);
    let reasons: Vec<String> = blockers(&look.view(), &STRICT).into_iter().map(|blocker| blocker.reason).collect();
    for (reason, flag) in reasons.iter().zip(["--delete-emptydir-data=disk", "--force-unmanaged"]) {
        assert!(reason.contains(flag) && reason.contains("--evict-anyway shop/"), "{reason}");
    }
}

#[test]
fn the_node_itself_is_told_as_it_is() {
    let mut look = shop();
    assert_eq!((look.view().state, look.view().cordon), (NodeState::Ready, None));
    look.node("s1").ready = NodeReady::Unknown { since: now() };
    let note = hostler_fixtures::cluster::note("p", "a new disk");
    (look.node("s1").unschedulable, look.node("s1").cordon) = (true, Some(note));
    look.node("s1").unschedulable_by = Some("hostler".into());
    let view = look.view();
    assert_eq!(view.state, NodeState::Silent { since: now() });
    let cordon = view.cordon.unwrap();
    assert_eq!((cordon.by.as_str(), cordon.reason.unwrap().as_str()), ("hostler", "a new disk"));
    look.nodes.remove(0);
    assert_eq!(look.view().state, NodeState::Absent);
}

#[test]
fn only_what_a_drain_of_the_node_asks_about_is_read_of_the_controllers() {
    let mut look = shop();
    // On another node, and under a budget that counts a pod of this one: its strength is a part of the arithmetic.
    look.deploy("far", &["w1"]);
    look.deploy("other", &["w1"]);
    look.pod("far-0").labels.insert("app".into(), "web".into());
    look.deploy("plain", &["s1"]);
    look.deploy("cache", &["s1"]);
    look.pod("cache-0").empty_dirs.disk = true;
    for (asks, plain) in [(Asks::ForAll, true), (Asks::WhatHolds, false)] {
        let owners = look.owners_to_read(&["s1"], asks);
        let names: Vec<&str> = owners.iter().map(|(_, owner)| owner.name.as_str()).collect();
        assert!(["web", "far", "cache"].iter().all(|name| names.contains(name)), "{asks:?}: {names:?}");
        assert!(!names.contains(&"other") && names.contains(&"plain") == plain, "{asks:?}: {names:?}");
    }
}

#[test]
fn no_pod_is_left_out_whatever_ids_it_has() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "s1"]);
    look.pod("web-1").key.uid = "uid-web-0".into();
    assert_eq!(look.view().pods.len(), 2, "two pods of one UID");
    look.pods.push(look.pods[0].clone());
    assert_eq!(look.view().pods.len(), 2, "one pod that was listed twice");
    look.pods.truncate(2);
    look.pod("web-0").key.uid.clear();
    let view = look.view();
    assert_eq!((view.pods.len(), view.left_out.never), (1, 1), "one that nobody can name");
}

#[test]
fn what_is_made_for_the_node_and_comes_back_at_once_stays_whoever_made_it() {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("agent", &["s1"]);
    owned(look.pod("agent-0"), "DaemonSet", "apps.kruise.io/v1alpha1");
    let stays = |look: &Look| matches!(seen(&look.view(), "agent-0").prospect, Prospect::Stays(Stays::DaemonSet));
    assert!(!stays(&look));
    look.pod("agent-0").placement.terms = vec![vec![is_in("metadata.name", &["s1"])]];
    assert!(!stays(&look), "the cordon keeps it away");
    look.pod("agent-0").placement.tolerations = vec![Toleration { key: None, value: None, effect: None }];
    assert!(stays(&look));
    look.pod("agent-0").placement.terms = vec![vec![is_in("metadata.name", &["s1", "w1"])]];
    assert!(!stays(&look), "it can run elsewhere");
    look.pod("agent-0").placement.terms = vec![vec![is_in("metadata.name", &["s1"])]];
    look.pod("agent-0").owner = None;
    assert!(!stays(&look), "nobody starts it again");
}

#[test]
fn controllers_take_turns_and_a_stateful_set_goes_from_its_highest_number() {
    let mut look = cluster(&["s1"]);
    look.deploy("web", &["s1", "s1", "s1"]);
    look.deploy("cache", &["s1", "s1"]);
    for name in ["db-0", "db-1"] {
        let mut pod = pod(name, "db", "s1");
        owned(&mut pod, "StatefulSet", "apps/v1");
        look.pods.push(pod.into());
    }
    let left: Vec<(Shared<Pod>, Fate)> = look.pods.into_iter().map(|pod| (pod, Fate::Evict(Turn::Ordinary))).collect();
    let order: Vec<&str> = in_order(left.iter()).iter().map(|(pod, _)| pod.key.name.as_str()).collect();
    assert_eq!(order, ["db-1", "web-0", "cache-0", "db-0", "web-1", "cache-1", "web-2"]);
}
