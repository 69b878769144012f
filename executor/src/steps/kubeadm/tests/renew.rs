//! Certificates that end are renewed, and the components restart by them, one by one.

use std::sync::{Arc, Mutex};

use hostler_plan::{
    document::{Outcome, PlanKind, Receipt},
    step::{Step, kubeadm},
};
use serde_json::{Value, json};

use super::{
    NEW,
    double::{Double, YEAR, member},
    perform, reason,
};
use crate::{
    distribution::kubeadm::RENEWING,
    testing::{BeforeGet, Fleet, Machine},
};

const DAY: i64 = 86_400;

/// A server with manifests as kubeadm writes them, whose kubelet runs what they say; the notes of those that restarted.
fn server(fleet: &Fleet, left: i64) -> (Double, Arc<Machine>, Arc<Mutex<Vec<String>>>) {
    let double = Double::new(NEW);
    let machine = double.machine(fleet);
    double.server_at(&machine, NEW, NEW);
    *double.left.lock().unwrap() = left;
    for (component, tag) in
        [("etcd", "3.6.8-0"), ("kube-apiserver", NEW), ("kube-controller-manager", NEW), ("kube-scheduler", NEW)]
    {
        let annotations = match component {
            "kube-apiserver" => {
                "  annotations:\n    kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: 10.0.0.1:6443\n"
            }
            _ => "",
        };
        let manifest = format!(
            "kind: Pod\nmetadata:\n{annotations}  labels:\n    tier: control-plane\nspec:\n  containers:\n  \
             - image: registry.k8s.io/{component}:{tag}\n"
        );
        machine.inner().put(&format!("/etc/kubernetes/manifests/{component}.yaml"), manifest);
    }
    let restarted: Arc<Mutex<Vec<String>>> = Arc::default();
    let (kubelet, seen) = (Arc::downgrade(&machine), Arc::clone(&restarted));
    let runs = move |cluster: &crate::testing::TestAdministrator, path: &str| {
        let Some(name) = path.strip_prefix("/api/v1/namespaces/kube-system/pods/") else { return };
        let component = name.trim_end_matches("-w1");
        let machine = kubelet.upgrade().unwrap();
        let text = machine.inner().text(&format!("/etc/kubernetes/manifests/{component}.yaml")).unwrap();
        let manifest: Value = serde_saphyr::from_str(&text).unwrap();
        let annotations = &manifest["metadata"]["annotations"];
        if annotations["hostler.dev/restarted"].is_string() && !seen.lock().unwrap().iter().any(|c| c == component) {
            seen.lock().unwrap().push(component.to_owned());
        }
        cluster.put(json!({ "apiVersion": "v1", "kind": "Pod", "spec": manifest["spec"],
            "metadata": { "name": name, "namespace": "kube-system", "annotations": annotations },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }));
    };
    *double.cluster.before_get.lock().unwrap() = Some(BeforeGet(Box::new(runs)));
    (double, machine, restarted)
}

fn renewed(fleet: &Fleet, machine: &Arc<Machine>, seq: u64) -> Receipt {
    renewed_within(90, fleet, machine, seq)
}

fn renewed_within(within_days: u64, fleet: &Fleet, machine: &Arc<Machine>, seq: u64) -> Receipt {
    let renew = Step::RenewKubeadm(kubeadm::Renew { within_days });
    perform(fleet, machine, &fleet.plan(seq, vec![renew], |p| p.kind = PlanKind::Configure), vec![]).unwrap()
}

#[test]
fn what_ends_soon_is_renewed_and_every_component_restarts_once_in_its_turn() {
    for left in [30 * DAY, -5] {
        let fleet = Fleet::new();
        let (double, machine, restarted) = server(&fleet, left);
        let receipt = renewed(&fleet, &machine, 1);
        assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
        assert_eq!(double.runs(&machine), ["kubeadm certs renew all"]);
        let expected = ["kube-controller-manager", "kube-scheduler", "kube-apiserver", "etcd"];
        assert_eq!(*restarted.lock().unwrap(), expected);
        assert_eq!(machine.inner().text(RENEWING), None);
        let acts = machine.inner().acts.len();
        let receipt = renewed(&fleet, &machine, 2);
        assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{:?}", receipt.steps);
        assert_eq!(machine.inner().acts.len(), acts);
    }
}

#[test]
fn nothing_is_touched_where_nothing_ends_soon() {
    let fleet = Fleet::new();
    let (double, machine, restarted) = server(&fleet, 91 * DAY);
    let receipt = renewed(&fleet, &machine, 1);
    assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{:?}", receipt.steps);
    assert!(receipt.steps[0].detail.contains("the first certificate to end is admin.conf"), "{:?}", receipt.steps);
    assert!(double.runs(&machine).is_empty() && restarted.lock().unwrap().is_empty());
}

#[test]
fn more_days_than_a_new_certificate_has_are_refused_before_anything_restarts() {
    let fleet = Fleet::new();
    let (double, machine, restarted) = server(&fleet, 30 * DAY);
    let receipt = renewed_within(400, &fleet, &machine, 1);
    assert!(reason(&receipt).contains("and 400 days are asked for; nothing was restarted"), "{}", reason(&receipt));
    assert!(restarted.lock().unwrap().is_empty());
    // What was made counts, and what runs comes to it.
    let receipt = renewed(&fleet, &machine, 2);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert_eq!(double.runs(&machine), ["kubeadm certs renew all"]);
    assert_eq!(restarted.lock().unwrap().len(), 4);
}

#[test]
fn a_renewal_that_was_cut_off_restarts_what_still_runs_by_the_old_ones() {
    let fleet = Fleet::new();
    let (double, machine, restarted) = server(&fleet, YEAR);
    machine.inner().put(RENEWING, "2026-11-28T08:00:00Z");
    let receipt = renewed(&fleet, &machine, 1);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert!(double.runs(&machine).is_empty(), "they are new already");
    assert_eq!(restarted.lock().unwrap().len(), 4);
    let manifest = machine.inner().text("/etc/kubernetes/manifests/etcd.yaml").unwrap();
    assert!(manifest.contains("hostler.dev/restarted: \"2026-11-28T08:00:00Z\""), "{manifest}");
}

#[test]
fn a_server_keeps_its_certificates_while_another_member_of_etcd_is_away() {
    let fleet = Fleet::new();
    let (double, machine, restarted) = server(&fleet, 30 * DAY);
    double.members.lock().unwrap().push(member(2, "s2", "https://off:2379"));
    let receipt = renewed(&fleet, &machine, 1);
    assert!(reason(&receipt).contains("etcd's member 2 s2 does not answer"), "{}", reason(&receipt));
    assert!(double.runs(&machine).is_empty() && restarted.lock().unwrap().is_empty());
    assert_eq!(machine.inner().text(RENEWING), None);
}

#[test]
fn a_server_keeps_its_certificates_while_etcd_has_an_alarm() {
    let fleet = Fleet::new();
    let (double, machine, restarted) = server(&fleet, 30 * DAY);
    machine.inner().put("/alarm", "memberID:1 alarm:NOSPACE");
    let receipt = renewed(&fleet, &machine, 1);
    assert!(reason(&receipt).contains("etcd has an alarm: memberID:1 alarm:NOSPACE"), "{}", reason(&receipt));
    assert!(double.runs(&machine).is_empty() && restarted.lock().unwrap().is_empty());
}
