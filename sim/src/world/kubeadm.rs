//! The simulated kubeadm cluster: its objects, the members of its etcd, and which of its API servers answer. What a
//! machine is lies in its files; what runs on it is the kubelet's.
//!
//! Everything here was seen of kubeadm 1.35 and 1.36 on machines of `tests/lab`, their times among it.

pub mod configure;
pub mod image;
mod init;
mod join;
mod kubelet;
mod objects;
mod preflight;
pub mod program;
mod reset;
mod run;
mod snapshot;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::{id::NodeName, step::ClusterRole, version::Version};
use serde_json::Value;

use super::{
    Millis, World,
    machine::{File, Machine, Process},
};

pub use kubelet::KUBELET_PID;
pub use objects::At;
pub use run::{Phase, Run, RunState};

pub(super) const ADMIN: &str = "/etc/kubernetes/admin.conf";
pub(super) const KUBELET: &str = "/etc/kubernetes/kubelet.conf";
const BOOTSTRAP: &str = "/etc/kubernetes/bootstrap-kubelet.conf";
const MANIFESTS: &str = "/etc/kubernetes/manifests";
const PKI: &str = "/etc/kubernetes/pki";
const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";
const KUBELET_CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
const ETCD_DATA: &str = "/var/lib/etcd/member/snap/db";
const KUBELET_UNIT: &str = "kubelet.service";
const CONTAINERD_UNIT: &str = "containerd.service";

/// The components that run as static pods, in the order in which they are upgraded.
const COMPONENTS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// What a file system keeps back of what nobody told it to write out (`dirty_expire_centisecs`).
const UNSYNCED_FOR: Millis = 30_000;

/// What all machines of the cluster share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// By their path in the API.
    pub objects: BTreeMap<String, Value>,
    pub members: Vec<Member>,
    /// Servers that kubeadm labelled as such.
    pub labelled: BTreeSet<NodeName>,
    /// The restore out of which the members' data came; none where etcd began by itself.
    pub restored: Option<String>,
    /// Nobody has this number yet.
    next: u64,
}

/// A member of etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    pub name: NodeName,
    pub is_learner: bool,
    /// Until then it has no name in etcd's list.
    pub has_started: bool,
}

/// What a machine has of it beside its files.
#[derive(Debug, Clone, Default)]
pub struct Local {
    pub kubelet: Process,
    /// By component.
    pub pods: BTreeMap<String, StaticPod>,
    /// In containerd, with the digests that their names lead to.
    pub images: BTreeMap<String, String>,
    pub held: BTreeSet<String>,
    /// Programs that run as units of their own.
    pub runs: BTreeMap<String, Run>,
    /// When files were last changed by the executor, and when units were last started.
    pub changed: BTreeMap<String, Millis>,
    pub started: BTreeMap<String, Millis>,
    /// kube-proxy's rules are in the kernel.
    pub has_rules: bool,
    /// Files that were written lately by somebody who does not wait for the disk, and what was there before.
    pub unsynced: BTreeMap<String, (Millis, Option<File>)>,
}

/// A static pod that the kubelet started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticPod {
    /// The manifest that it was started from.
    pub manifest: Vec<u8>,
    pub image: String,
    pub ready_at: Millis,
}

impl Local {
    /// The static pods and the runs end with the machine; containerd keeps its images.
    pub(super) fn power_off(&mut self) {
        self.kubelet = Process::Stopped;
        self.pods.clear();
        self.runs.clear();
        self.has_rules = false;
    }
}

impl Machine {
    /// What kubeadm made of the machine, or began to.
    pub fn kubeadm_role(&self) -> Option<ClusterRole> {
        if self.files.keys().any(|path| path.starts_with(MANIFESTS)) {
            return Some(ClusterRole::Server);
        }
        self.files.contains_key(KUBELET).then_some(ClusterRole::Worker)
    }

    /// Whether the administrator's credentials lie here.
    pub fn has_administrator(&self) -> bool {
        self.text(ADMIN).is_some_and(|text| !text.is_empty())
    }

    /// The names in a folder, each once.
    pub(crate) fn names_in(&self, folder: &str) -> Vec<String> {
        let folder = format!("{}/", folder.trim_end_matches('/'));
        let below = self.files.keys().filter_map(|path| path.strip_prefix(&folder)?.split('/').next());
        let mut names: Vec<String> = below.map(str::to_owned).collect();
        names.dedup();
        names
    }

    /// Removes a file, or a folder with all that is in it.
    pub(crate) fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.files.retain(|file, _| file != path && !file.starts_with(&below));
    }

    /// Whether a component's process runs and is Ready.
    fn runs(&self, component: &str, now: Millis) -> bool {
        self.is_up() && self.kubeadm.pods.get(component).is_some_and(|pod| pod.ready_at <= now)
    }

    fn unit_is_active(&self, unit: &str) -> bool {
        self.units.get(unit).is_some_and(|unit| unit.active)
    }

    fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(&self.files.get(path)?.content).ok()
    }

    /// Where its own API server is reached, by its manifest.
    fn endpoint(&self) -> Option<String> {
        let manifest: Value = serde_json::from_str(self.text(&format!("{MANIFESTS}/kube-apiserver.yaml"))?).ok()?;
        Some(manifest["metadata"]["annotations"][ENDPOINT].as_str()?.to_owned())
    }

    /// Writes a file as kubeadm does, which does not wait for the disk.
    fn write_unsynced(&mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32, now: Millis) {
        let file = File { mode, content: content.into() };
        let before = self.files.insert(path.to_owned(), file);
        self.kubeadm.unsynced.entry(path.to_owned()).or_insert((now, before)).0 = now;
    }

    /// What was written lately is gone with the power, or an empty file of that name is there: `empty` says which.
    pub(super) fn lose_unsynced(&mut self, now: Millis, empty: bool) {
        for (path, (at, before)) in std::mem::take(&mut self.kubeadm.unsynced) {
            if at + UNSYNCED_FOR <= now || !self.files.contains_key(&path) {
                continue;
            }
            match before {
                Some(file) => self.files.insert(path, file),
                None if empty => self.files.insert(path, File { mode: 0o600, content: Vec::new() }),
                None => self.files.remove(&path),
            };
        }
    }
}

const ENDPOINT: &str = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint";

/// Where an object lies in the API, by the rule for the kinds that are used here.
fn path_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]).to_lowercase(), text(&object["metadata"]["name"]));
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    let version = object["apiVersion"].as_str().unwrap_or("v1");
    let group = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{group}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("{group}/{plural}/{name}"),
    }
}

impl World {
    /// Why the API server of a machine gives no answer; none when it does.
    pub fn kubeadm_refuses(&self, machine: &Machine) -> Option<String> {
        if self.faults.api_silent(self.now) || !machine.runs("kube-apiserver", self.now) {
            return Some("dial tcp: connect: connection refused".into());
        }
        let votes = self.kubeadm.members.iter().any(|m| m.name == machine.name && m.has_started && !m.is_learner);
        if !machine.runs("etcd", self.now) || !votes || !self.has_quorum() {
            return Some("500 [+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\nreadyz check failed".into());
        }
        None
    }

    /// Any API server of the cluster that answers: what a balancer in front of them finds.
    fn kubeadm_server(&self) -> Option<&Machine> {
        self.machines.values().find(|machine| self.kubeadm_refuses(machine).is_none())
    }

    /// Whether any API server of a kubeadm cluster answers.
    pub(super) fn kubeadm_answers(&self) -> bool {
        self.kubeadm_server().is_some()
    }

    fn has_quorum(&self) -> bool {
        let voters = || self.kubeadm.members.iter().filter(|member| !member.is_learner);
        let runs = |member: &&Member| {
            let counts = |m: &Machine| m.runs("etcd", self.now) && m.restore() == self.kubeadm.restored.as_deref();
            member.has_started && self.machines.get(&member.name).is_some_and(counts)
        };
        2 * voters().filter(runs).count() > voters().count()
    }

    /// A number that nobody had before, for ids.
    fn number(&mut self) -> u64 {
        self.kubeadm.next += 1;
        self.kubeadm.next
    }

    /// The version that the cluster notes of itself.
    fn kubeadm_noted(&self) -> Option<Version> {
        let written = self.kubeadm.objects.get(KUBEADM_CONFIG)?["data"]["ClusterConfiguration"].as_str()?;
        let read: Value = serde_json::from_str(written).ok()?;
        read["kubernetesVersion"].as_str()?.parse().ok()
    }

    /// The power of a machine goes away for a moment, and with it what was not written out.
    pub fn power_loss(&mut self, name: &NodeName) -> Result<(), super::NoSuchMachine> {
        let empty = self.random.below(2) == 0;
        let now = self.now;
        self.machine_mut(name)?.lose_unsynced(now, empty);
        self.reboot(name)
    }

    /// Somebody sends SIGKILL to a unit that runs a program; whether there was one.
    pub fn kill_run(&mut self, name: &NodeName, unit: &str) -> Result<bool, super::NoSuchMachine> {
        let run = self.machine_mut(name)?.kubeadm.runs.get_mut(unit);
        Ok(run.is_some_and(Run::kill))
    }
}

const KUBEADM_CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";
