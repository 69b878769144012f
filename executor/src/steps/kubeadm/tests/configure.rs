//! A kubelet that does not stay up with new settings gets its old ones back. The rest of a configuration is played in
//! the crate `sim`.

use std::sync::Arc;

use hostler_plan::{
    document::{Outcome, PlanKind, Receipt},
    step::{Step, configure},
};

use super::{
    NEW,
    double::{Double, Run},
    perform, reason,
};
use crate::{
    distribution::kubeadm::{ASIDE, CONFIGURING, RUN_CONFIG, config::Documents},
    host::HostError,
    testing::{Fleet, Inner, Machine, Play},
};

const OLD_SETTINGS: &str = "{\"kind\":\"KubeletConfiguration\",\"maxPods\":110}";

/// A kubelet that ends at once where its settings hold this.
const WRONG: &str = "wrong";

/// A kubeadm that fails where they hold this, with the kubelet stopped and files written.
const CUT: &str = "cut";

/// The kubelet's settings in a configuration of kubeadm, without what is said so that it does not look for a server's
/// certificates, as kubeadm v1.36.3 does on a worker whose CA's certificate has no key beside it.
fn settings(inner: &Inner, config: &str) -> String {
    let documents = Documents::read(&inner.text(config).unwrap()).unwrap();
    let certificates =
        documents.kind("ClusterConfiguration")["certificatesDir"].as_str().unwrap_or("/etc/kubernetes/pki");
    assert_eq!(certificates, "/run/hostler/no-certificates", "invalid or incomplete external CA");
    let mut settings = documents.kind("KubeletConfiguration").clone();
    let authentication = settings.as_object_mut().unwrap().remove("authentication");
    assert_eq!(authentication.unwrap()["x509"]["clientCAFile"], "/etc/kubernetes/pki/ca.crt");
    settings.to_string()
}

/// A server whose kubeadm writes a kubelet's files.
fn server(fleet: &Fleet) -> (Double, Arc<Machine>) {
    let double = Double::new(NEW);
    let machine = double.machine(fleet);
    double.server_at(&machine, NEW, NEW);
    let mut inner = machine.inner();
    inner.put("/var/lib/kubelet/config.yaml", OLD_SETTINGS);
    inner.put("/var/lib/kubelet/kubeadm-flags.env", "KUBELET_KUBEADM_ARGS=\"\"\n");
    let Some(Play(before)) = inner.play.take() else { panic!("the double plays") };
    inner.play = Some(Play(Arc::new(move |inner: &mut Inner, arguments: &[&str]| match arguments {
        ["env", _, "kubeadm", "init", "phase", "kubelet-start", "--config", file, "--dry-run"] => {
            let written = settings(inner, file);
            inner.put("/run/hostler/kubeadm-trial/config.yaml", written);
            Some(Ok(String::new()))
        }
        ["kubeadm", "init", "phase", "kubelet-start", ..] => {
            let written = settings(inner, RUN_CONFIG);
            let ends = written.contains(CUT);
            inner.put("/var/lib/kubelet/config.yaml", written);
            if ends {
                inner.put("/var/lib/kubelet/instance-config.yaml", "{}");
                let output = "error: the disk is full".into();
                return Some(Err(HostError::Command { command: "kubeadm".into(), status: "1".into(), output }));
            }
            Some(Ok(String::new()))
        }
        [exe, "--version"] if exe.starts_with("/proc/") => {
            let ends = inner.text("/var/lib/kubelet/config.yaml").unwrap_or_default().contains(WRONG);
            let gone = || Err(HostError::Missing { what: "program /proc/731/exe".into() });
            if ends { Some(gone()) } else { before(inner, arguments) }
        }
        _ => before(inner, arguments),
    })));
    drop(inner);
    (double, machine)
}

fn configured(fleet: &Fleet, machine: &Arc<Machine>, seq: u64, settings: &str, drained: bool) -> Receipt {
    let config = format!(
        "kind: InitConfiguration\nnodeRegistration: {{name: w1}}\n---\nkind: ClusterConfiguration\n\
         controlPlaneEndpoint: k8s.lab:6443\n---\nkind: KubeletConfiguration\n{settings}\n"
    );
    let step = Step::ConfigureKubelet(configure::ConfigureKubelet {
        version: NEW.parse().unwrap(),
        config: config.parse().unwrap(),
        drained,
    });
    perform(fleet, machine, &fleet.plan(seq, vec![step], |p| p.kind = PlanKind::Configure), vec![]).unwrap()
}

#[test]
fn a_kubelet_that_ends_over_its_new_settings_gets_the_old_ones_back() {
    let fleet = Fleet::new();
    let (double, machine) = server(&fleet);
    let receipt = configured(&fleet, &machine, 1, "maxPods: 110\nimageGCHighThresholdPercent: wrong", false);
    let said = reason(&receipt);
    assert!(
        said.contains("does not stay up with its new settings") && said.contains("its old ones are back"),
        "{said}"
    );
    assert_eq!(machine.inner().text("/var/lib/kubelet/config.yaml").as_deref(), Some(OLD_SETTINGS));
    assert!(machine.inner().acts.iter().any(|act| act == "restart kubelet.service"));
    assert_eq!(double.runs(&machine).len(), 1);
    let receipt = configured(&fleet, &machine, 2, "maxPods: 110\nimageGCHighThresholdPercent: 90", false);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert_eq!(receipt.observation("change"), Some("kubelet imageGCHighThresholdPercent: none -> 90"));
    let inner = machine.inner();
    assert_eq!((inner.text(CONFIGURING), inner.text(&format!("{ASIDE}/kubelet/config.yaml"))), (None, None));
    drop(inner);
    let runs = double.runs(&machine).len();
    let receipt = configured(&fleet, &machine, 3, "maxPods: 110\nimageGCHighThresholdPercent: 90", false);
    assert!(receipt.outcome.is_success() && !receipt.steps[0].changed, "{:?}", receipt.steps);
    assert_eq!(double.runs(&machine).len(), runs);
}

#[test]
fn a_kubeadm_that_fails_half_way_leaves_the_kubelet_and_its_kubeconfigs_as_they_were() {
    let fleet = Fleet::new();
    let (_double, machine) = server(&fleet);
    let old = crate::distribution::kubeadm::config::discovery("https://old.lab:6443", "CA");
    machine.inner().put("/etc/kubernetes/admin.conf", old);
    machine.inner().put("/etc/kubernetes/pki/apiserver.crt", "k8s.lab");
    // What a run left that was cut off while it put files aside is not what the kubelet ran by.
    machine.inner().put(&format!("{ASIDE}/kubelet/config.yaml"), "{\"half\":");
    let receipt = configured(&fleet, &machine, 1, "maxPods: 110\nimageGCHighThresholdPercent: cut", false);
    let said = reason(&receipt);
    assert!(said.contains("the disk is full") && said.contains("its old ones are back and it runs"), "{said}");
    let inner = machine.inner();
    assert_eq!(inner.text("/var/lib/kubelet/config.yaml").as_deref(), Some(OLD_SETTINGS));
    assert_eq!(inner.text("/var/lib/kubelet/instance-config.yaml"), None, "it was not there before");
    let led = inner.text("/etc/kubernetes/admin.conf").unwrap();
    assert!(led.contains("https://old.lab:6443"), "{led}");
    assert!(inner.acts.iter().any(|act| act == "restart kubelet.service"));
    assert_eq!((inner.text(CONFIGURING), inner.text(&format!("{ASIDE}/kubelet/kept.json"))), (None, None));
}

#[test]
fn a_certificate_that_kubeadm_cannot_make_leaves_the_one_of_before() {
    let fleet = Fleet::new();
    let (double, machine) = server(&fleet);
    let (certificate, key) = ("/etc/kubernetes/pki/apiserver.crt", "/etc/kubernetes/pki/apiserver.key");
    machine.inner().put(certificate, "old.lab");
    machine.inner().put(key, "its key");
    double.next(Run::Fails("error: no ca.key"));
    let config = "kind: InitConfiguration\n---\nkind: ClusterConfiguration\ncontrolPlaneEndpoint: k8s.lab:6443\n";
    let step =
        Step::CertifyKubeadm(configure::Certify { version: NEW.parse().unwrap(), config: config.parse().unwrap() });
    let plan = fleet.plan(1, vec![step], |p| p.kind = PlanKind::Configure);
    let receipt = perform(&fleet, &machine, &plan, vec![]).unwrap();
    let said = reason(&receipt);
    assert!(said.contains("no ca.key") && said.contains("is the one of before"), "{said}");
    assert_eq!(double.runs(&machine).len(), 1);
    let inner = machine.inner();
    assert_eq!((inner.text(certificate).as_deref(), inner.text(key).as_deref()), (Some("old.lab"), Some("its key")));
}

#[test]
fn a_policy_for_processors_takes_a_drained_node_and_forgets_what_the_last_one_noted() {
    const STATE: &str = "/var/lib/kubelet/cpu_manager_state";
    let fleet = Fleet::new();
    let (double, machine) = server(&fleet);
    machine.inner().put(STATE, "{}");
    let wanted = "maxPods: 110\ncpuManagerPolicy: static";
    let receipt = configured(&fleet, &machine, 1, wanted, false);
    let said = reason(&receipt);
    assert!(said.contains("cpuManagerPolicy: none -> static") && said.contains("configure w1 --drain"), "{said}");
    assert!(double.runs(&machine).is_empty() && machine.inner().text(STATE).is_some());
    let receipt = configured(&fleet, &machine, 2, wanted, true);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    assert_eq!(machine.inner().text(STATE), None);
}
