//! kubeadm's steps on a machine in memory, whose kubeadm does to files and cluster what the real one does.

mod configure;
mod double;
mod leave;
mod renew;
mod restore;
mod snapshots;

use std::sync::Arc;

use hostler_plan::{
    document::{Observation, Outcome, Plan, Receipt, Signed},
    id::TaskId,
    json,
    step::{ClusterRole, Step, kubeadm},
};

use self::double::{CONFIG_INIT, CONFIG_JOIN, CONFIG_UPGRADE, Double, Run};
use crate::{
    distribution::kubeadm::{KUBEADM_UNIT, MARKER, RUN_CONFIG, RUN_DISCOVERY},
    executor::Ended,
    protocol::{Grant, Request},
    seal,
    testing::{Fleet, Machine, task},
};

const NEW: &str = "v1.36.3";
const OLD: &str = "v1.35.4";

fn bootstrap(version: &str) -> Step {
    Step::BootstrapKubeadm(kubeadm::Bootstrap {
        version: version.parse().unwrap(),
        config: CONFIG_INIT.parse().unwrap(),
    })
}

fn upgrade(version: &str) -> Step {
    Step::UpgradeKubeadm(kubeadm::Upgrade {
        version: version.parse().unwrap(),
        config: CONFIG_UPGRADE.parse().unwrap(),
    })
}

/// The receipt of a plan with these steps on w1; none when the process ended before its end.
fn perform(fleet: &Fleet, machine: &Arc<Machine>, plan: &Signed, receipts: Vec<Signed>) -> Option<Receipt> {
    let (executor, sender, status, _disk) = fleet.executor(machine).unwrap();
    sender.offer(Request::Plan(plan.clone())).unwrap();
    let grant = Grant { receipts, ..Fleet::grant(plan, "w1.work", 1) };
    sender.offer(Request::Grant(grant.into())).unwrap();
    sender.offer(Request::LeaseRenewed { grant: 1, lease_seconds: 600 }).unwrap();
    assert_eq!(executor.run_until_idle().unwrap(), Ended::Shutdown);
    let content = status.content();
    let mut receipts = content.receipts.iter().rev().map(|r| json::parse::<Receipt>(&r.bytes).unwrap());
    receipts.find(|receipt| receipt.plan == plan.digest())
}

fn reason(receipt: &Receipt) -> &str {
    match &receipt.outcome {
        Outcome::Failed { reason } => reason,
        other @ (Outcome::Succeeded {}
        | Outcome::Blocked { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Unreachable { .. }
        | Outcome::TakenOver { .. }
        | Outcome::Refused { .. }) => panic!("{other}"),
    }
}

#[test]
fn a_cluster_is_begun_once_and_a_second_plan_changes_nothing() {
    let (fleet, double) = (Fleet::new(), Double::new(NEW));
    let machine = double.machine(&fleet);
    let first = perform(&fleet, &machine, &fleet.plan(1, vec![bootstrap(NEW)], |_| {}), vec![]).unwrap();
    assert_eq!(first.outcome, Outcome::Succeeded {}, "{:?}", first.steps);
    assert_eq!(first.observation("version"), Some(NEW));
    assert_eq!(double.runs(&machine), ["kubeadm init --config /run/hostler/kubeadm.yaml"]);
    assert_eq!(double.tokens(), 0, "the token that kubeadm made unasked is gone");
    assert_eq!(machine.inner().text(MARKER).as_deref(), Some(CONFIG_INIT));
    let acts = machine.inner().acts.len();
    let second = perform(&fleet, &machine, &fleet.plan(2, vec![bootstrap(NEW)], |_| {}), vec![]).unwrap();
    assert!(second.outcome.is_success() && !second.steps[0].changed, "{:?}", second.steps);
    assert_eq!(machine.inner().acts.len(), acts);
}

#[test]
fn what_an_earlier_cluster_left_is_named_and_nothing_is_run() {
    for (path, expected) in [
        ("/etc/kubernetes/kubelet.conf", "/etc/kubernetes/kubelet.conf"),
        ("/etc/kubernetes/manifests/web.yaml", "static pods in /etc/kubernetes/manifests (web.yaml)"),
        ("/var/lib/etcd/member/x", "data of etcd in /var/lib/etcd (member)"),
        ("/etc/kubernetes/pki/ca.crt", "certificates in /etc/kubernetes/pki (ca.crt)"),
    ] {
        let (fleet, double) = (Fleet::new(), Double::new(NEW));
        let machine = double.machine(&fleet);
        machine.inner().put(path, "{}");
        let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![bootstrap(NEW)], |_| {}), vec![]).unwrap();
        assert!(reason(&receipt).contains(expected), "{}", reason(&receipt));
        assert!(double.runs(&machine).is_empty());
    }
}

#[test]
fn a_kubeadm_that_is_killed_anywhere_is_run_again_past_what_it_left() {
    for killed in [Run::KilledAtCertificates, Run::KilledAtManifests, Run::KilledBeforeAddons] {
        let (fleet, double) = (Fleet::new(), Double::new(NEW));
        let machine = double.machine(&fleet);
        let at = format!("{killed:?}");
        double.next(killed);
        let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![bootstrap(NEW)], |_| {}), vec![]).unwrap();
        assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{at}: {:?}", receipt.steps);
        assert_eq!(double.runs(&machine).len(), 2, "{at}");
        assert!(double.ignored_all(), "{at}");
    }
}

#[test]
fn a_failed_bootstrap_goes_on_in_the_next_plan_with_the_same_configuration() {
    let (fleet, double) = (Fleet::new(), Double::new(NEW));
    let machine = double.machine(&fleet);
    double.next(Run::Fails("\t[ERROR ImagePull]: failed to pull image registry.k8s.io/etcd:3.6.8-0"));
    let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![bootstrap(NEW)], |_| {}), vec![]).unwrap();
    assert!(reason(&receipt).contains("add it to the artifacts"), "{}", reason(&receipt));
    let receipt = perform(&fleet, &machine, &fleet.plan(2, vec![bootstrap(NEW)], |_| {}), vec![]).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
}

#[test]
fn kubeadm_goes_on_without_the_executor_and_is_found_again() {
    let (fleet, double) = (Fleet::new(), Double::new(NEW));
    let machine = double.machine(&fleet);
    let plan = fleet.plan(1, vec![bootstrap(NEW)], |_| {});
    let (executor, sender, status, disk) = fleet.executor(&machine).unwrap();
    sender.offer(Request::Plan(plan.clone())).unwrap();
    sender.offer(Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())).unwrap();
    double.next(Run::EndsTheExecutor(sender));
    assert_eq!(executor.run_until_idle().unwrap(), Ended::Shutdown);
    assert!(status.content().receipts.is_empty(), "nothing has failed");
    assert!(machine.inner().started.contains_key(KUBEADM_UNIT));
    drop(disk);
    let receipt = perform(&fleet, &machine, &plan, vec![]).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert_eq!(double.runs(&machine).len(), 1, "it was not run again");
    assert!(machine.inner().started.is_empty(), "its unit is forgotten");
}

/// A plan in which s1 admits w1, and the receipt of that with what s1 sealed.
fn admitted(fleet: &Fleet, seq: u64, role: ClusterRole) -> (Signed, Vec<Signed>) {
    let admitted_by = TaskId::new("s1.admit").unwrap();
    let join = Step::JoinKubeadm(kubeadm::Join {
        version: NEW.parse().unwrap(),
        role,
        config: CONFIG_JOIN.parse().unwrap(),
        admitted_by,
    });
    let admit = Step::AdmitToKubeadm(kubeadm::Admit { role, lifetime_seconds: 600 });
    let plan = fleet.plan(seq, vec![], |p| {
        p.tasks = vec![
            task("s1.admit", "s1", "w1", &[], vec![admit]),
            task("w1.work", "w1", "w1", &["s1.admit"], vec![join]),
        ];
    });
    let material = double::material(role);
    let sealed = seal::seal(&fleet.keys.seal_key(), material.as_bytes()).unwrap();
    let document: Plan = json::parse(&plan.bytes).unwrap();
    let observations = vec![Observation { name: "sealed_join_secret".into(), value: sealed }];
    let receipt = Receipt { observations, ..hostler_fixtures::receipt(&document, "s1.admit") };
    (plan, vec![fleet.receipt_of_s1(&receipt)])
}

fn has_no_secret(machine: &Machine) {
    for (path, file) in &machine.inner().files {
        let text = String::from_utf8_lossy(&file.content);
        assert!(!text.contains(double::TOKEN), "the token stays in {}", path.display());
    }
    for path in [RUN_CONFIG, RUN_DISCOVERY] {
        assert!(machine.inner().text(path).is_none(), "{path} stays");
    }
}

#[test]
fn a_node_joins_in_both_roles_and_keeps_no_token() {
    for role in [ClusterRole::Worker, ClusterRole::Server] {
        let (fleet, double) = (Fleet::new(), Double::new(NEW));
        let machine = double.machine(&fleet);
        let (plan, receipts) = admitted(&fleet, 1, role);
        let receipt = perform(&fleet, &machine, &plan, receipts).unwrap();
        assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{role}: {:?}", receipt.steps);
        has_no_secret(&machine);
        let key = machine.inner().text("/etc/kubernetes/pki/ca.key");
        assert_eq!(key.is_some(), role == ClusterRole::Server, "{role}");
        let acts = machine.inner().acts.len();
        let (plan, receipts) = admitted(&fleet, 2, role);
        let receipt = perform(&fleet, &machine, &plan, receipts).unwrap();
        assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{role}: {receipt:?}");
        assert_eq!(machine.inner().acts.len(), acts, "{role}");
    }
}

#[test]
fn a_join_that_fails_leaves_no_token_and_no_key_and_says_why() {
    for (said, expected) in [
        ("failed to get config map: Unauthorized", "the join token of w1 does not count any more"),
        ("a Node with name \"w1\" and status \"Ready\" already exists", "w1 is the name of a Ready node"),
        ("\t[ERROR Port-10250]: Port 10250 is in use", "Port 10250 is in use"),
    ] {
        for role in [ClusterRole::Worker, ClusterRole::Server] {
            let (fleet, double) = (Fleet::new(), Double::new(NEW));
            let machine = double.machine(&fleet);
            double.next(Run::Fails(said));
            let (plan, receipts) = admitted(&fleet, 1, role);
            let receipt = perform(&fleet, &machine, &plan, receipts).unwrap();
            assert!(reason(&receipt).contains(expected), "{}", reason(&receipt));
            assert!(reason(&receipt).contains("was deleted from this node"), "{}", reason(&receipt));
            has_no_secret(&machine);
            let keys: Vec<_> = machine.inner().files.keys().filter(|path| path.ends_with("ca.key")).cloned().collect();
            assert!(keys.is_empty(), "{role}: {keys:?}");
            let (plan, receipts) = admitted(&fleet, 2, role);
            let receipt = perform(&fleet, &machine, &plan, receipts).unwrap();
            assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{role}: {:?}", receipt.steps);
        }
    }
}

#[test]
fn a_node_of_another_cluster_is_named_and_not_joined() {
    let (fleet, double) = (Fleet::new(), Double::new(NEW));
    let machine = double.machine(&fleet);
    let other = crate::distribution::kubeadm::config::discovery("https://other:6443", "OTHER");
    machine.inner().put("/etc/kubernetes/kubelet.conf", other);
    let (plan, receipts) = admitted(&fleet, 1, ClusterRole::Worker);
    let receipt = perform(&fleet, &machine, &plan, receipts).unwrap();
    assert!(reason(&receipt).contains("a node of another cluster, at https://other:6443"), "{}", reason(&receipt));
    assert!(double.runs(&machine).is_empty());
}

#[test]
fn the_first_server_applies_an_upgrade_and_the_next_ones_follow() {
    for (noted, command) in [(OLD, "upgrade apply v1.36.3 --yes"), (NEW, "upgrade node")] {
        let (fleet, double) = (Fleet::new(), Double::new(NEW));
        let machine = double.machine(&fleet);
        double.server_at(&machine, OLD, noted);
        machine.inner().put("/etc/kubernetes/tmp/kubeadm-backup-etcd-1/member", "old");
        machine.inner().put("/etc/kubernetes/tmp/of-somebody", "kept");
        let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![upgrade(NEW)], |_| {}), vec![]).unwrap();
        assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
        assert!(receipt.observation("etcd_snapshot").unwrap().contains("revision 12, 1 keys"), "{receipt:?}");
        assert_eq!(double.runs(&machine), [format!("kubeadm {command} --config /run/hostler/kubeadm.yaml")]);
        let backups: Vec<_> =
            machine.inner().files.keys().filter(|path| path.starts_with("/etc/kubernetes/tmp")).cloned().collect();
        assert_eq!(backups, [std::path::PathBuf::from("/etc/kubernetes/tmp/of-somebody")]);
        let receipt = perform(&fleet, &machine, &fleet.plan(2, vec![upgrade(NEW)], |_| {}), vec![]).unwrap();
        assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{:?}", receipt.steps);
    }
}

#[test]
fn an_old_sandbox_image_is_told_after_an_upgrade() {
    for (image, is_old) in [("registry.lab/pause:3.9", true), ("registry.lab/pause:3.10.1", false)] {
        let (fleet, double) = (Fleet::new(), Double::new(NEW));
        let machine = double.machine(&fleet);
        double.server_at(&machine, OLD, OLD);
        let text = format!("[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '{image}'\n");
        machine.inner().put("/etc/containerd/config.toml", text);
        let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![upgrade(NEW)], |_| {}), vec![]).unwrap();
        assert!(receipt.outcome.is_success(), "{:?}", receipt.steps);
        let detail = &receipt.steps[0].detail;
        assert_eq!(detail.contains("expects registry.k8s.io/pause:3.10.1: change it"), is_old, "{detail}");
    }
}

#[test]
fn a_half_done_upgrade_is_told_by_what_is_new_and_what_is_old() {
    let (fleet, double) = (Fleet::new(), Double::new(NEW));
    let machine = double.machine(&fleet);
    double.server_at(&machine, OLD, OLD);
    double.next(Run::RollsBack);
    let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![upgrade(NEW)], |_| {}), vec![]).unwrap();
    let reason = reason(&receipt);
    assert!(reason.contains("kubeadm put its old manifest back"), "{reason}");
    assert!(reason.contains("etcd 3.6.8-0, kube-apiserver v1.35.4"), "{reason}");
    let receipt = perform(&fleet, &machine, &fleet.plan(2, vec![upgrade(NEW)], |_| {}), vec![]).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
}

#[test]
fn an_api_server_whose_process_is_older_than_its_manifest_is_not_done() {
    let (fleet, double) = (Fleet::new(), Double::new(NEW));
    let machine = double.machine(&fleet);
    double.server_at(&machine, NEW, NEW);
    double.cluster.page("/version", r#"{"gitVersion":"v1.35.4"}"#);
    let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![upgrade(NEW)], |_| {}), vec![]).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert_eq!(double.runs(&machine).len(), 1, "it was not taken for done");
}

#[test]
fn nothing_goes_back_and_kubeadm_must_be_of_the_version_that_it_sets_up() {
    let (fleet, double) = (Fleet::new(), Double::new(OLD));
    let machine = double.machine(&fleet);
    let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![bootstrap(NEW)], |_| {}), vec![]).unwrap();
    assert!(reason(&receipt).contains("expected kubeadm at v1.36.3, found v1.35.4"), "{}", reason(&receipt));
    double.server_at(&machine, NEW, NEW);
    let receipt = perform(&fleet, &machine, &fleet.plan(2, vec![upgrade(OLD)], |_| {}), vec![]).unwrap();
    assert!(reason(&receipt).contains("v1.36.3; it cannot go back"), "{}", reason(&receipt));
}

#[test]
fn the_kubelet_is_restarted_where_its_process_is_older_than_its_program() {
    let ensure = || Step::EnsureKubelet(kubeadm::EnsureKubelet { version: NEW.parse().unwrap() });
    let (fleet, double) = (Fleet::new(), Double::new(NEW));
    let machine = double.machine(&fleet);
    double.server_at(&machine, OLD, OLD);
    machine.inner().put("/etc/systemd/system/kubelet.service", "ExecStart=/usr/local/bin/kubelet x\n");
    machine.inner().put("/usr/local/bin/kubelet", format!("Kubernetes {NEW}\n"));
    let receipt = perform(&fleet, &machine, &fleet.plan(1, vec![ensure()], |_| {}), vec![]).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    let restarts = |machine: &Machine| machine.inner().acts.iter().filter(|a| *a == "restart kubelet.service").count();
    assert_eq!(restarts(&machine), 1);
    let receipt = perform(&fleet, &machine, &fleet.plan(2, vec![ensure()], |_| {}), vec![]).unwrap();
    assert!(receipt.outcome.is_success() && restarts(&machine) == 1);
}
