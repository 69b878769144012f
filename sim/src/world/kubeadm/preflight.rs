//! What kubeadm asks of a machine before it begins, with its words.

use hostler_plan::id::NodeName;
use serde_json::Value;

use super::{
    super::{World, machine::Machine, machine::Process},
    BOOTSTRAP, COMPONENTS, CONTAINERD_UNIT, ETCD_DATA, KUBELET, MANIFESTS, PKI, image,
    run::{Acted, Phase, kind},
};

/// A check's name and what it says.
type Fault = (String, String);

impl World {
    pub(super) fn preflight(&mut self, name: &NodeName, phase: Phase, config: &[Value]) -> Acted {
        let Some(machine) = self.machines.get(name) else { return Acted::Failed("no such machine".into()) };
        let Some(version) = machine.program_version("kubeadm") else { return Acted::Failed("no kubeadm".into()) };
        let is_init = phase == Phase::InitPreflight;
        let own = kind(config, if is_init { "InitConfiguration" } else { "JoinConfiguration" });
        let is_server = is_init || !own["controlPlane"].is_null();
        let mut faults = of_machine(machine);
        if is_server {
            faults.extend(of_server(machine, self.now));
            let has_dns = kind(config, "ClusterConfiguration")["dns"]["disabled"] != true && is_init;
            let missing = |image: &String| !machine.kubeadm.images.contains_key(image);
            faults.extend(image::of_server(version, has_dns).into_iter().filter(missing).map(no_image));
        } else if machine.files.contains_key(&format!("{PKI}/ca.crt")) {
            faults.push(exists(&format!("{PKI}/ca.crt")));
        }
        if !is_init {
            let left = [KUBELET, BOOTSTRAP].into_iter().filter(|path| machine.files.contains_key(*path));
            faults.extend(left.map(exists));
        }
        judged(faults, &own["nodeRegistration"]["ignorePreflightErrors"])
    }
}

/// Fails with what is not ignored, as kubeadm prints it.
pub(super) fn judged(faults: Vec<Fault>, ignored: &Value) -> Acted {
    let ignored: Vec<String> =
        ignored.as_array().into_iter().flatten().filter_map(|v| Some(v.as_str()?.to_lowercase())).collect();
    let counts = |(name, _): &Fault| !ignored.iter().any(|i| i == "all" || *i == name.to_lowercase());
    let said: Vec<String> =
        faults.into_iter().filter(counts).map(|(name, text)| format!("\t[ERROR {name}]: {text}\n")).collect();
    if said.is_empty() {
        return Acted::Done;
    }
    Acted::Failed(format!("[preflight] Some fatal errors occurred:\n{}error: preflight checks failed", said.concat()))
}

fn exists(path: &str) -> Fault {
    (format!("FileAvailable-{}", path.replace('/', "-")), format!("{path} already exists"))
}

pub(super) fn no_image(image: String) -> Fault {
    ("ImagePull".into(), format!("failed to pull image {image}: dial tcp: lookup registry.k8s.io: no such host"))
}

fn of_machine(machine: &Machine) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !machine.unit_is_active(CONTAINERD_UNIT) {
        faults.push(("CRI".into(), "could not connect to the container runtime: containerd.sock: no such file".into()));
    }
    if machine.kubeadm.kubelet != Process::Stopped {
        faults.push(("Port-10250".into(), "Port 10250 is in use".into()));
    }
    if machine.sysctls.get("net.ipv4.ip_forward").is_none_or(|value| value != "1") {
        let name = "FileContent--proc-sys-net-ipv4-ip_forward";
        faults.push((name.into(), "/proc/sys/net/ipv4/ip_forward contents are not set to 1".into()));
    }
    if machine.text("/proc/swaps").is_some_and(|swaps| swaps.lines().count() > 1) {
        faults.push(("Swap".into(), "running with swap on is not supported. Please disable swap".into()));
    }
    faults
}

fn of_server(machine: &Machine, now: u64) -> Vec<Fault> {
    let manifests = COMPONENTS.map(|component| format!("{MANIFESTS}/{component}.yaml"));
    let mut faults: Vec<Fault> =
        manifests.iter().filter(|path| machine.files.contains_key(*path)).map(|path| exists(path)).collect();
    for (component, port) in [("kube-apiserver", 6443), ("etcd", 2379)] {
        if machine.runs(component, now) {
            faults.push((format!("Port-{port}"), format!("Port {port} is in use")));
        }
    }
    if machine.files.contains_key(ETCD_DATA) {
        faults.push(("DirAvailable--var-lib-etcd".into(), "/var/lib/etcd is not empty".into()));
    }
    faults
}
