//! The kubelet of a simulated machine: it gets its certificate, runs static pods by their manifests and keeps the Node.

use hostler_plan::{id::NodeName, step::ClusterRole, timestamp::Timestamp, version::Version};
use serde_json::{Value, json};

use super::{
    super::{
        Millis, PodKey, World,
        cluster::{KubeNode, Owner},
        machine::{Machine, Process},
    },
    BOOTSTRAP, COMPONENTS, ETCD_DATA, KUBELET, KUBELET_CERTIFICATE, KUBELET_CONFIG, KUBELET_UNIT, MANIFESTS, Member,
    StaticPod,
};

/// The process id of the kubelet on every machine.
pub const KUBELET_PID: u32 = 732;

/// From `systemctl restart` to a kubelet that answers.
const START: Millis = 3_000;

/// From a manifest to its pod being Ready, for one that is new and for one that takes another's place: the kubelet
/// deletes the old mirror through an API server which may be gone, and waits 34 s for that.
const POD_STARTS: [(Millis, Millis); 4] = [(3_000, 75_000), (4_000, 40_000), (4_000, 11_000), (4_000, 14_000)];

/// What a network add-on writes for the container runtime.
const CNI: &str = "/etc/cni/net.d/10-net.conflist";

/// What a system keeps of the memory: pods get the rest.
const RESERVED_BYTES: u64 = 1 << 30;

/// A kubeconfig of the kubelet.
pub(super) fn kubeconfig(server: &str, ca: &str, user: Value) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let cluster = json!({ "server": server, "certificate-authority-data": STANDARD.encode(ca) });
    json!({ "apiVersion": "v1", "kind": "Config", "clusters": [{ "name": "", "cluster": cluster }],
        "users": [{ "user": user }] })
    .to_string()
}

impl Machine {
    /// Starts the kubelet, or again: with the program that lies there, once it has a configuration.
    pub(in super::super) fn start_kubelet(&mut self, now: Millis) {
        self.units.entry(KUBELET_UNIT.to_owned()).or_default().active = true;
        let has_config = self.files.get(KUBELET_CONFIG).is_some_and(|file| !file.content.is_empty());
        self.kubeadm.kubelet = if has_config && self.program_version("kubelet").is_some() {
            Process::Starting { until: now + START }
        } else {
            Process::Stopped
        };
    }

    /// What the kubelet does by itself until `now`.
    pub(in super::super) fn tick_kubelet(&mut self, now: Millis) {
        if let Process::Starting { until } = self.kubeadm.kubelet
            && now >= until
            && let Some(version) = self.program_version("kubelet")
        {
            self.kubeadm.kubelet = Process::Running { version, since: now };
        }
        if self.kubelet().is_none() {
            return;
        }
        for (component, (first, again)) in COMPONENTS.into_iter().zip(POD_STARTS) {
            self.run_static_pod(component, now, (first, again));
        }
    }

    /// The version of the kubelet's process.
    pub(super) fn kubelet(&self) -> Option<Version> {
        match self.kubeadm.kubelet {
            Process::Running { version, .. } => Some(version),
            Process::Stopped | Process::Starting { .. } => None,
        }
    }

    fn run_static_pod(&mut self, component: &str, now: Millis, (first, again): (Millis, Millis)) {
        let manifest = self.files.get(&format!("{MANIFESTS}/{component}.yaml")).map(|file| file.content.clone());
        let runs = self.kubeadm.pods.get(component).map(|pod| &pod.manifest);
        if manifest.as_ref() == runs {
            return;
        }
        let takes = if runs.is_some() { again } else { first };
        self.kubeadm.pods.remove(component);
        let Some(manifest) = manifest else { return };
        let Ok(read) = serde_json::from_slice::<Value>(&manifest) else { return };
        let image = read["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned();
        if self.kubeadm.images.contains_key(&image) {
            let ends = self.ends_at_start(component, &read);
            let pod = StaticPod { manifest, image, ready_at: if ends { Millis::MAX } else { now + takes } };
            self.kubeadm.pods.insert(component.to_owned(), pod);
        }
    }
}

impl World {
    /// What the kubelets' and etcd's doing means for the cluster.
    pub(in super::super) fn tick_kubeadm(&mut self) {
        let names: Vec<NodeName> = self.machines.keys().cloned().collect();
        for name in &names {
            self.start_etcd(name);
            self.bootstrap_kubelet(name);
            self.register(name);
        }
    }

    /// etcd begins with what its data and its manifest say: a cluster of its own where nobody listed it as a member.
    fn start_etcd(&mut self, name: &NodeName) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(name) else { return };
        if !machine.runs("etcd", now) {
            return;
        }
        let listed = |member: &Member| member.name == *name && member.has_started;
        if !machine.files.contains_key(ETCD_DATA) {
            if self.kubeadm.members.len() > 1 && self.kubeadm.members.iter().any(listed) {
                // The others say that it was there already, and it ends.
                if let Some(pod) = machine.kubeadm.pods.get_mut("etcd") {
                    pod.ready_at = Millis::MAX;
                }
                return;
            }
            // etcd waits for the disk.
            let file = super::super::machine::File { mode: 0o600, content: b"simulated".to_vec() };
            machine.files.insert(ETCD_DATA.to_owned(), file);
        }
        self.begin_restored(name);
        if self.kubeadm.members.is_empty() {
            let id = 0x1000 + self.number();
            self.kubeadm.members.push(Member { id, name: name.clone(), is_learner: false, has_started: false });
        }
        let restore = self.machines.get(name).and_then(|machine| machine.restore().map(str::to_owned));
        let is_theirs = restore == self.kubeadm.restored;
        let mut members = self.kubeadm.members.iter_mut();
        if let Some(member) = members.find(|member| is_theirs && member.name == *name) {
            member.has_started = true;
        }
    }

    /// A kubelet without a certificate asks for one with the token.
    fn bootstrap_kubelet(&mut self, name: &NodeName) {
        let (now, clock) = (self.now, self.clock());
        let Some(machine) = self.machines.get(name) else { return };
        if machine.kubelet().is_none() {
            return;
        }
        if machine.files.contains_key(KUBELET) {
            // `kubeadm init` writes a first certificate into the file itself.
            if !machine.files.contains_key(KUBELET_CERTIFICATE) && machine.text(KUBELET).is_some_and(|t| !t.is_empty())
            {
                self.give_certificate(name, now);
            }
            return;
        }
        let Some(Ok(bootstrap)) = machine.text(BOOTSTRAP).map(serde_json::from_str::<Value>) else { return };
        let token = bootstrap["users"][0]["user"]["token"].as_str().unwrap_or_default();
        if !self.kubeadm_answers() || !self.token_counts(token, clock) {
            return;
        }
        let mut written = bootstrap.clone();
        written["users"] = json!([{ "user": { "client-certificate": KUBELET_CERTIFICATE } }]);
        if let Some(machine) = self.machines.get_mut(name) {
            machine.write_unsynced(KUBELET, written.to_string(), 0o600, now);
        }
        self.give_certificate(name, now);
    }

    fn give_certificate(&mut self, name: &NodeName, now: Millis) {
        if let Some(machine) = self.machines.get_mut(name) {
            machine.write_unsynced(KUBELET_CERTIFICATE, format!("simulated certificate of {name}\n"), 0o600, now);
        }
    }

    /// The kubelet makes its Node where there is none, and static pods show up by their mirrors.
    fn register(&mut self, name: &NodeName) {
        let now = self.now;
        let Some(machine) = self.machines.get(name) else { return };
        let Some(version) = machine.kubelet().filter(|_| machine.is_up()) else { return };
        let has_access = machine.text(KUBELET).is_some_and(|text| !text.is_empty());
        if !has_access || !self.kubeadm_answers() {
            return;
        }
        let role = self.role_of(name);
        let allocatable = machine.board.memory_bytes.saturating_sub(RESERVED_BYTES);
        let boot_id = machine.boot_id.to_string();
        self.run_network(name);
        let Some(machine) = self.machines.get(name) else { return };
        let node = self.cluster.nodes.entry(name.clone()).or_insert_with(|| KubeNode {
            role,
            version,
            boot_id,
            ready: false,
            ready_changed: now,
            heartbeat: now,
            unschedulable: false,
            unschedulable_by: None,
            annotations: std::collections::BTreeMap::new(),
            resource_version: 1,
            allocatable,
            out_of_service: false,
        });
        node.role = role;
        if role == ClusterRole::Worker {
            return;
        }
        let pods = machine.kubeadm.pods.keys().cloned().collect::<Vec<_>>();
        for component in pods {
            let key = PodKey { namespace: "kube-system".into(), name: format!("{component}-{name}") };
            if !self.cluster.pods.contains_key(&key) {
                self.cluster.add_pod(key, Owner::Mirror, name);
            }
        }
    }

    /// What the pods of the network add-on and of kube-proxy write on each machine.
    fn run_network(&mut self, name: &NodeName) {
        let (network, proxy) = (self.has_network(), self.kubeadm.objects.keys().any(|p| p.ends_with("/kube-proxy")));
        let Some(machine) = self.machines.get_mut(name) else { return };
        machine.kubeadm.has_rules |= proxy;
        if network && !machine.files.contains_key(CNI) {
            let file = super::super::machine::File { mode: 0o600, content: b"{}".to_vec() };
            machine.files.insert(CNI.to_owned(), file);
        }
    }

    /// What the clocks of the machines show.
    pub(super) fn clock(&self) -> Timestamp {
        Timestamp::from_unix_milliseconds(self.began_unix_ms + self.now)
    }
}
