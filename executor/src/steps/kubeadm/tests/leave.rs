//! Nodes that leave the cluster: their member first, by another server, then what is on their machine.

use std::{path::Path, sync::Arc};

use hostler_plan::{
    document::{Observation, Outcome, Plan, PlanKind, PlanRef, Receipt, Signed},
    id::{Digest, Epoch, Seq},
    json,
    step::{ClusterRole, RemoveNode, Step, kubeadm},
};
use serde_json::{Value, json};

use super::{
    NEW,
    double::{Double, NOBODY, Run, TOKEN, member},
    perform, reason,
};
use crate::{
    distribution::kubeadm::token::{self, Admission},
    host::{Noted, UnitActivity, UnitStatus},
    testing::{Fleet, Machine, task},
};

fn expel(silent: bool) -> Step {
    let address = Some("10.0.0.3".parse().unwrap());
    Step::ExpelFromKubeadm(kubeadm::Expel { role: ClusterRole::Server, address, silent })
}

/// A plan by which w1 does this about s1.
fn about_s1(fleet: &Fleet, seq: u64, steps: Vec<Step>) -> Signed {
    fleet.plan(seq, vec![], |p| {
        (p.kind, p.tasks) = (PlanKind::Remove, vec![task("w1.work", "w1", "s1", &[], steps)]);
    })
}

/// A server whose etcd has these members.
fn server(fleet: &Fleet, members: Vec<Value>) -> (Double, Arc<Machine>) {
    let double = Double::new(NEW);
    let machine = double.machine(fleet);
    double.server_at(&machine, NEW, NEW);
    *double.members.lock().unwrap() = members;
    (double, machine)
}

fn names(double: &Double) -> Vec<String> {
    double.members.lock().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_dead_server_is_removed_from_etcd_with_its_tokens_and_a_second_time_nothing_is() {
    // By its name, and one that never started by its address.
    for dead in [member(2, "s1", "https://off:2379"), member(3, "", "")] {
        let fleet = Fleet::new();
        let on = |id, name: &str| member(id, name, "https://on:2379");
        let (double, machine) = server(&fleet, vec![on(1, "w1"), on(4, "s4"), dead]);
        let (s1, other) = (hostler_fixtures::name("s1"), hostler_fixtures::name("other"));
        for joins in [&s1, &other] {
            let plan = PlanRef { seq: Seq(1), digest: Digest::of(b"plan") };
            let noted = Noted { subject: joins.clone(), epoch: Epoch(1), plan };
            token::make(&*double.cluster, &Admission { noted, until: fleet.now }, fleet.now).unwrap();
        }
        let receipt = perform(&fleet, &machine, &about_s1(&fleet, 1, vec![expel(true)]), vec![]).unwrap();
        assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
        assert_eq!(names(&double), ["w1", "s4"]);
        let tokens = |node| token::of_node(&*double.cluster, node).unwrap().len();
        assert_eq!((tokens(&s1), tokens(&other)), (0, 1));
        let receipt = perform(&fleet, &machine, &about_s1(&fleet, 2, vec![expel(true)]), vec![]).unwrap();
        assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{:?}", receipt.steps);
    }
}

#[test]
fn nothing_is_removed_where_the_old_one_answers_or_no_majority_would_stay() {
    let (on, off) = ("https://on:2379", "https://off:2379");
    for (members, silent, expected) in [
        (
            vec![member(1, "w1", on), member(2, "s1", on), member(3, "s3", on)],
            true,
            "its etcd still answers (member 2 s1)",
        ),
        (vec![member(1, "w1", on), member(2, "s1", on), member(3, "s3", off)], false, "without 2 s1 1 of 2 members"),
        (vec![member(1, "w1", on), member(2, "s1", off)], true, "1 of 2 members is healthy and 2 are needed to agree"),
        (vec![member(1, "w1", NOBODY), member(2, "s1", NOBODY)], true, "as it does without a majority"),
        (vec![member(1, "w1", on), member(3, "s3", on)], true, "is called s3; correct the address"),
    ] {
        let fleet = Fleet::new();
        let (double, machine) = server(&fleet, members);
        let before = names(&double);
        let receipt = perform(&fleet, &machine, &about_s1(&fleet, 1, vec![expel(silent)]), vec![]).unwrap();
        assert!(reason(&receipt).contains(expected), "{expected}: {}", reason(&receipt));
        assert_eq!(names(&double), before, "{expected}");
    }
}

/// A plan by which s1 removed w1 from the cluster, and w1 is emptied then, with the receipt of s1.
fn emptied(fleet: &Fleet, seq: u64) -> (Plan, Signed, Vec<Signed>) {
    let expel = kubeadm::Expel { role: ClusterRole::Server, address: None, silent: false };
    let config = "kind: ResetConfiguration\nskipPhases: [remove-etcd-member]\n".parse().unwrap();
    let reset = kubeadm::Reset { config, expelled_by: "w1.expel".parse().unwrap() };
    let plan = fleet.plan(seq, vec![], |p| {
        p.kind = PlanKind::Remove;
        p.tasks = vec![
            task("w1.expel", "s1", "w1", &[], vec![Step::ExpelFromKubeadm(expel)]),
            task("w1.work", "w1", "w1", &["w1.expel"], vec![Step::ResetKubeadm(reset)]),
        ];
    });
    let document: Plan = json::parse(&plan.bytes).unwrap();
    let receipt: Receipt = hostler_fixtures::receipt(&document, "w1.expel");
    let receipts = vec![fleet.receipt_of_s1(&receipt)];
    (document, plan, receipts)
}

fn used(fleet: &Fleet) -> (Double, Arc<Machine>) {
    let (double, machine) = server(fleet, vec![member(2, "s1", "https://on:2379")]);
    let mut inner = machine.inner();
    for path in ["/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/etcd/ca.key", "/var/lib/etcd/member/snap/db"] {
        inner.put(path, "secret");
    }
    inner.put("/etc/kubernetes/bootstrap-kubelet.conf", TOKEN);
    inner.put("/etc/kubernetes/tmp/kubeadm-backup-etcd-2026", "");
    inner.put("/etc/cni/net.d/10-flannel.conflist", "");
    inner.put("/etc/motd", "of a person");
    let unit = UnitStatus { exists: true, activity: UnitActivity::Active, enabled: true, main_pid: Some(731) };
    inner.units.insert("kubelet.service".into(), unit);
    drop(inner);
    (double, machine)
}

#[test]
fn a_machine_is_emptied_of_its_cluster_and_of_nothing_else() {
    let fleet = Fleet::new();
    let (double, machine) = used(&fleet);
    let (_, plan, receipts) = emptied(&fleet, 1);
    let receipt = perform(&fleet, &machine, &plan, receipts).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert_eq!(double.runs(&machine), ["kubeadm reset --config /run/hostler/kubeadm.yaml"]);
    let left: Vec<_> = machine.inner().files.keys().cloned().collect();
    assert_eq!(left, [Path::new("/etc/motd")]);
    let kubelet = machine.inner().units["kubelet.service"];
    assert!(!kubelet.enabled && kubelet.activity == UnitActivity::Inactive, "{kubelet:?}");
    let acts = machine.inner().acts.len();
    let (_, plan, receipts) = emptied(&fleet, 2);
    let receipt = perform(&fleet, &machine, &plan, receipts).unwrap();
    assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{:?}", receipt.steps);
    assert_eq!(machine.inner().acts.len(), acts);
}

#[test]
fn a_reset_that_failed_empties_nothing_more_and_goes_on_once_the_cause_is_gone() {
    let fleet = Fleet::new();
    let (double, machine) = used(&fleet);
    double.next(Run::Fails("error execution phase cleanup-node: failed to unmount: device or resource busy"));
    let (_, plan, receipts) = emptied(&fleet, 1);
    let receipt = perform(&fleet, &machine, &plan, receipts).unwrap();
    assert!(reason(&receipt).contains("device or resource busy"), "{}", reason(&receipt));
    assert!(machine.inner().text("/var/lib/etcd/member/snap/db").is_some());
    let (_, plan, receipts) = emptied(&fleet, 2);
    let receipt = perform(&fleet, &machine, &plan, receipts).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
}

#[test]
fn a_machine_is_not_emptied_before_another_server_proved_that_it_is_no_member() {
    let fleet = Fleet::new();
    let (double, machine) = used(&fleet);
    let (_, plan, _) = emptied(&fleet, 1);
    assert_eq!(perform(&fleet, &machine, &plan, vec![]), None, "without the receipt of s1 nothing begins");
    assert!(double.runs(&machine).is_empty());
    // Nor by a plan that orders it otherwise.
    for change in [
        (|p: &mut Plan| p.tasks[1].after.clear()) as fn(&mut Plan),
        |p: &mut Plan| p.tasks[0].node = p.tasks[1].node.clone(),
        |p: &mut Plan| p.tasks[0].steps = vec![Step::RemoveNode(RemoveNode {})],
        |p: &mut Plan| p.tasks[0].subject = hostler_fixtures::name("s1"),
    ] {
        let (mut document, ..) = emptied(&fleet, 2);
        change(&mut document);
        let at_work = |p: &Plan, node: &str| p.tasks.iter().any(|t| t.node.as_str() == node);
        let targets: Vec<_> =
            document.targets.iter().filter(|t| at_work(&document, t.node.as_str())).cloned().collect();
        document.targets = targets;
        let plan = fleet.sign(hostler_plan::document::DocumentKind::Plan, json::write(&document));
        let receipts = vec![fleet.receipt_of_s1(&hostler_fixtures::receipt(&document, "w1.expel"))];
        assert_eq!(perform(&fleet, &machine, &plan, receipts), None);
        assert!(double.runs(&machine).is_empty());
    }
}

#[test]
fn a_node_is_forgotten_once_its_kubelet_is_silent() {
    let ready = |status: &str| {
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "s1" },
            "status": { "conditions": [{ "type": "Ready", "status": status }] } })
    };
    let there = |double: &Double| double.cluster.object("/api/v1/nodes/s1").is_some();
    for (status, is_removed) in [("Unknown", true), ("False", true), ("True", false)] {
        let fleet = Fleet::new();
        let (double, machine) = server(&fleet, vec![]);
        double.cluster.put(ready(status));
        let plan = about_s1(&fleet, 1, vec![Step::RemoveNode(RemoveNode {})]);
        let receipt = perform(&fleet, &machine, &plan, vec![]).unwrap();
        assert_eq!((receipt.outcome.is_success(), there(&double)), (is_removed, !is_removed), "{status}");
        if !is_removed {
            assert!(reason(&receipt).contains("s1 is still Ready: its kubelet runs"), "{}", reason(&receipt));
            continue;
        }
        let plan = about_s1(&fleet, 2, vec![Step::RemoveNode(RemoveNode {})]);
        let receipt = perform(&fleet, &machine, &plan, vec![]).unwrap();
        assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{:?}", receipt.steps);
    }
}

#[test]
fn only_the_node_of_the_machine_that_was_emptied_is_forgotten() {
    for (emptied, is_removed) in [("abc", true), ("def", false)] {
        let fleet = Fleet::new();
        let (double, machine) = server(&fleet, vec![]);
        double.cluster.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "s1" },
            "status": { "nodeInfo": { "machineID": "abc" } } }));
        let expel = kubeadm::Expel { role: ClusterRole::Server, address: None, silent: false };
        let reset = kubeadm::Reset {
            config: "kind: ResetConfiguration\n".parse().unwrap(),
            expelled_by: "s1.expel".parse().unwrap(),
        };
        let plan = fleet.plan(1, vec![], |p| {
            p.kind = PlanKind::Remove;
            p.tasks = vec![
                task("s1.expel", "w1", "s1", &[], vec![Step::ExpelFromKubeadm(expel)]),
                task("s1.reset", "s1", "s1", &["s1.expel"], vec![Step::ResetKubeadm(reset)]),
                task("w1.work", "w1", "s1", &["s1.reset"], vec![Step::RemoveNode(RemoveNode {})]),
            ];
        });
        let document: Plan = json::parse(&plan.bytes).unwrap();
        let observations = vec![Observation { name: "machine_id".into(), value: emptied.into() }];
        let receipt = Receipt { observations, ..hostler_fixtures::receipt(&document, "s1.reset") };
        let receipt = perform(&fleet, &machine, &plan, vec![fleet.receipt_of_s1(&receipt)]).unwrap();
        assert_eq!(receipt.outcome.is_success(), is_removed, "{:?}", receipt.outcome);
        assert_eq!(double.cluster.object("/api/v1/nodes/s1").is_none(), is_removed);
        if !is_removed {
            assert!(reason(&receipt).contains("another machine had that name before"), "{}", reason(&receipt));
        }
    }
}

/// w1 admits s1 as a server.
fn admits(fleet: &Fleet, machine: &Arc<Machine>) -> Receipt {
    let admit = kubeadm::Admit { role: ClusterRole::Server, lifetime_seconds: 900 };
    let plan = fleet.plan(1, vec![], |p| {
        p.kind = PlanKind::Join;
        p.tasks = vec![task("w1.work", "w1", "s1", &[], vec![Step::AdmitToKubeadm(admit)])];
    });
    perform(fleet, machine, &plan, vec![]).unwrap()
}

fn admitting(fleet: &Fleet, members: Vec<Value>) -> (Double, Arc<Machine>) {
    let (double, machine) = server(fleet, members);
    for name in crate::distribution::kubeadm::SERVER_FILES {
        machine.inner().put(&format!("/etc/kubernetes/pki/{name}"), name);
    }
    (double, machine)
}

#[test]
fn a_server_is_let_in_once_every_member_votes_and_a_learner_is_promoted_or_named() {
    let on = "https://on:2379";
    let learner = |client_url: &str, name: &str| {
        let mut learner = member(9, name, client_url);
        learner["isLearner"] = json!(true);
        learner
    };
    for (other, expected) in [
        (learner(on, "s3"), None),
        (learner(on, "s1"), None),
        (learner("", ""), None),
        (member(9, "s1", on), None),
        (learner("https://off:2379", "s3"), Some("member 9 s3 is a learner that does not answer")),
        (member(9, "s1", "https://off:2379"), Some("etcd still lists s1 (member 9 s1)")),
        (learner("https://off:2379", "s1"), Some("hostler node replace s1")),
    ] {
        let fleet = Fleet::new();
        let (double, machine) = admitting(&fleet, vec![member(1, "w1", on), other]);
        let receipt = admits(&fleet, &machine);
        let tokens = token::of_node(&*double.cluster, &hostler_fixtures::name("s1")).unwrap().len();
        if let Some(expected) = expected {
            assert!(reason(&receipt).contains(expected), "{expected}: {}", reason(&receipt));
            assert_eq!(tokens, 0, "{expected}");
            continue;
        }
        assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
        assert_eq!(tokens, 1);
        let learns = |m: &Value| m["isLearner"] == true && m["name"] != "";
        assert!(!double.members.lock().unwrap().iter().any(learns), "it votes now");
    }
}

#[test]
fn nobody_is_let_in_under_the_name_of_a_node_that_is_ready() {
    let fleet = Fleet::new();
    let (double, machine) = admitting(&fleet, vec![member(1, "w1", "https://on:2379")]);
    double.cluster.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "s1" }, "status": {
        "nodeInfo": { "machineID": "abc" }, "conditions": [{ "type": "Ready", "status": "True" }] } }));
    let receipt = admits(&fleet, &machine);
    let expected = "s1 is the name of a Ready node of the cluster, on machine abc: remove that one first";
    assert!(reason(&receipt).contains(expected), "{}", reason(&receipt));
    assert_eq!(token::of_node(&*double.cluster, &hostler_fixtures::name("s1")).unwrap().len(), 0);
}
