//! A kubeadm that does in memory what the real one was seen to do, cut off where a test wants it.

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::step::ClusterRole;
use serde_json::{Value, json};

use crate::{
    distribution::kubeadm::{RUN_CONFIG, config},
    host::{HostError, UnitActivity, UnitStatus},
    inbox::RequestSender,
    steps::kubeadm::material::{Material, ServerFile},
    testing::{Fleet, Inner, Machine, Play, TestAdministrator},
};

pub(super) const TOKEN: &str = "123456.1234567890123456";

/// For which kubeadm makes certificates.
pub(super) const YEAR: i64 = 31_536_000;

pub(super) const CONFIG_INIT: &str = "kind: InitConfiguration\n\
     nodeRegistration: {name: w1, ignorePreflightErrors: [Swap]}\n---\nkind: ClusterConfiguration\n\
     controlPlaneEndpoint: k8s.lab:6443\nnetworking: {podSubnet: 10.244.0.0/16}\n";
pub(super) const CONFIG_JOIN: &str = "kind: JoinConfiguration\nnodeRegistration: {name: w1}\n";
pub(super) const CONFIG_UPGRADE: &str = "kind: UpgradeConfiguration\n";

/// Where every member is that has no leader.
pub(super) const NOBODY: &str = "https://off:1";

/// The static pods that a restore stops.
const STATIC: [&str; 2] = ["etcd", "kube-apiserver"];

/// How the next run goes.
pub(super) enum Run {
    KilledAtCertificates,
    KilledAtManifests,
    KilledBeforeAddons,
    /// Prints this and ends with an error; a join has written the kubelet's file with the token.
    Fails(&'static str),
    /// etcd is new, and the API server's old manifest is back.
    RollsBack,
    /// The executor ends meanwhile.
    EndsTheExecutor(RequestSender),
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Run::KilledAtCertificates => "certificates",
            Run::KilledAtManifests => "manifests",
            Run::KilledBeforeAddons => "add-ons",
            Run::Fails(said) => said,
            Run::RollsBack => "rolls back",
            Run::EndsTheExecutor(_) => "ends the executor",
        })
    }
}

/// The program of a version, and the cluster that it makes.
#[derive(Clone)]
pub(super) struct Double {
    version: String,
    pub cluster: Arc<TestAdministrator>,
    /// etcd's members, as etcdctl lists them: one answers where it has a client URL without `off` in it.
    pub members: Arc<Mutex<Vec<Value>>>,
    /// What is left of the life of the certificate that ends first, in seconds.
    pub left: Arc<Mutex<i64>>,
    /// For how many more looks what has no manifest any more still runs.
    pub lag: Arc<Mutex<u32>>,
    next: Arc<Mutex<Option<Run>>>,
    configs: Arc<Mutex<Vec<String>>>,
}

impl Double {
    pub(super) fn new(version: &str) -> Self {
        let (cluster, next, configs) = (Arc::default(), Arc::default(), Arc::default());
        let members = Arc::new(Mutex::new(vec![member(1, "w1", "https://10.0.0.1:2379")]));
        let left = Arc::new(Mutex::new(YEAR));
        Self { version: version.to_owned(), cluster, members, left, lag: Arc::default(), next, configs }
    }

    pub(super) fn machine(&self, fleet: &Fleet) -> Arc<Machine> {
        let mut machine = Machine::new(fleet.now.plus(std::time::Duration::from_secs(60)));
        machine.administrator = Some(Arc::clone(&self.cluster));
        let double = self.clone();
        machine.inner().play =
            Some(Play(Arc::new(move |inner: &mut Inner, arguments: &[&str]| double.play(inner, arguments))));
        Arc::new(machine)
    }

    pub(super) fn next(&self, run: Run) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    /// What was started as a unit, in order.
    pub(super) fn runs(&self, machine: &Machine) -> Vec<String> {
        machine.inner().acts.iter().filter_map(|act| act.strip_prefix("start ").map(str::to_owned)).collect()
    }

    pub(super) fn ignored_all(&self) -> bool {
        let configs = self.configs.lock().unwrap();
        configs.last().is_some_and(|config| config.contains(r#""ignorePreflightErrors":["all"]"#))
    }

    pub(super) fn tokens(&self) -> usize {
        let path = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-unaskd";
        usize::from(self.cluster.object(path).is_some())
    }

    /// A server whose components are of one version, in a cluster that notes another one.
    pub(super) fn server_at(&self, machine: &Machine, version: &str, noted: &str) {
        let mut inner = machine.inner();
        self.server(&mut inner, version, version);
        self.kubelet(&mut inner, version);
        self.note(noted);
    }

    fn play(&self, inner: &mut Inner, arguments: &[&str]) -> Option<Result<String, HostError>> {
        match arguments {
            ["kubeadm", "certs", "check-expiration", ..] => {
                let certificate = |name: &str, left: i64| {
                    json!({ "name": name, "residualTime": left,
                    "expirationDate": format!("in {left} s") })
                };
                let certificates =
                    [certificate("apiserver", YEAR), certificate("admin.conf", *self.left.lock().unwrap())];
                Some(Ok(json!({ "certificates": certificates }).to_string()))
            }
            ["kubeadm", "certs", "renew", "all"] => {
                *self.left.lock().unwrap() = YEAR;
                Some(Ok(String::new()))
            }
            ["kubeadm", "config", "images", "list", ..] => Some(Ok("registry.k8s.io/pause:3.10.1\n".to_owned())),
            ["kubeadm", "version", ..] => Some(Ok(format!("{}\n", self.version))),
            ["kubelet", "--version"] => Some(inner.text("/usr/local/bin/kubelet").ok_or(missing("kubelet"))),
            ["etcdctl", .., "snapshot", "save", file] => {
                inner.put(file, "every key");
                Some(Ok(String::new()))
            }
            ["etcdutl", "snapshot", "status", file, ..] => {
                let keys = u8::from(inner.text(file).is_some());
                Some(Ok(json!({ "hash": 7, "revision": 12, "totalKey": keys }).to_string()))
            }
            ["stat", "--format=%s", file] => Some(Ok(inner.text(file).map_or(0, |text| text.len()).to_string())),
            ["etcdctl", .., "endpoint", "status", "--write-out", "json"] => {
                let errors: Vec<String> = inner.text("/alarm").into_iter().collect();
                let header = json!({ "cluster_id": 0xab, "revision": 12 });
                let status = json!({ "header": header, "version": "3.6.8", "dbSize": 4096, "errors": errors });
                Some(Ok(json!([{ "Endpoint": "x", "Status": status }]).to_string()))
            }
            ["etcdctl", "--endpoints", endpoint, .., "endpoint", "status"] => {
                let answers = !endpoint.contains("off");
                Some(if answers { Ok(String::new()) } else { Err(failed("etcdctl", "context deadline exceeded")) })
            }
            ["etcdctl", .., "member", "list", "--write-out", "json"] => Some(self.listed()),
            ["etcdctl", .., "member", act @ ("remove" | "promote"), id] => {
                self.member(act, u64::from_str_radix(id, 16).unwrap());
                Some(Ok(String::new()))
            }
            ["ctr", "--namespace", "k8s.io", "tasks", "list"] => Some(Ok(self.tasks(inner))),
            ["ctr", "--namespace", "k8s.io", "containers", "list", "--quiet", labels] => {
                let found = STATIC.iter().find(|component| labels.contains(&format!("name\"=={component},")));
                Some(Ok(found.map_or_else(String::new, |component| format!("id-{component}\n"))))
            }
            ["etcdutl", "version"] => Some(Ok(inner.text("/etcdutl").unwrap_or("etcdutl version: 3.6.8\n".into()))),
            ["etcdutl", "snapshot", "restore", file, "--data-dir", data, ..] => {
                let content = inner.text(file).expect("a snapshot");
                inner.acts.push(arguments.join(" "));
                inner.put(&format!("{data}/member/snap/db"), content);
                Some(Ok(String::new()))
            }
            ["sync", ..] => Some(Ok(String::new())),
            ["df", ..] => inner.text("/df").map(Ok),
            ["kubeadm", rest @ ..] => Some(self.kubeadm(inner, rest)),
            _ => None,
        }
    }

    /// What containerd runs: what has a manifest, and what had one as many looks before.
    fn tasks(&self, inner: &Inner) -> String {
        let mut lag = self.lag.lock().unwrap();
        let lags = *lag > 0;
        *lag = lag.saturating_sub(1);
        let is_there = |component: &str| inner.text(&format!("/etc/kubernetes/manifests/{component}.yaml")).is_some();
        let running = STATIC.iter().filter(|component| lags || is_there(component));
        let lines = running.map(|component| format!("id-{component}    12    RUNNING\n"));
        std::iter::once("TASK    PID    STATUS\n".to_owned()).chain(lines).collect()
    }

    /// Without a majority nobody says who is a member.
    fn listed(&self) -> Result<String, HostError> {
        let members = self.members.lock().unwrap();
        if !members.is_empty() && members.iter().all(|member| member["clientURLs"][0] == NOBODY) {
            return Err(failed("etcdctl", "Error: context deadline exceeded"));
        }
        Ok(json!({ "members": *members }).to_string())
    }

    fn member(&self, act: &str, id: u64) {
        let mut members = self.members.lock().unwrap();
        let at = members.iter().position(|member| member["ID"] == id).expect("a member of that id");
        match act {
            "remove" => drop(members.remove(at)),
            _ => members[at]["isLearner"] = json!(false),
        }
    }

    /// As the real one: it leaves the network's files, the copies in K/tmp, the enabled unit, and etcd's data where its
    /// phase is passed over.
    fn reset(inner: &mut Inner, config: &str) -> Result<String, HostError> {
        assert!(config.contains(r#""remove-etcd-member""#), "{config}");
        inner.files.retain(|path, _| {
            let path = path.to_string_lossy();
            let is_kept = path.starts_with("/etc/kubernetes/tmp");
            is_kept || !(path.starts_with("/etc/kubernetes") || path.starts_with("/var/lib/kubelet"))
        });
        Ok("[reset] done\n".into())
    }

    fn kubeadm(&self, inner: &mut Inner, arguments: &[&str]) -> Result<String, HostError> {
        let config = inner.text(RUN_CONFIG).expect("a configuration");
        self.configs.lock().unwrap().push(config.clone());
        let run = self.next.lock().unwrap().take();
        let killed = || Err(HostError::Signalled { command: "kubeadm".into(), signal: 9 });
        let fails = |output: &str| Err(failed("kubeadm", output));
        if arguments[0] == "reset" {
            return if let Some(Run::Fails(said)) = run { fails(said) } else { Self::reset(inner, &config) };
        }
        let version = self.version.clone();
        if arguments[0] == "join" {
            inner.put("/etc/kubernetes/bootstrap-kubelet.conf", TOKEN);
            assert!(config.contains(&format!(r#""tlsBootstrapToken":"{TOKEN}""#)), "{config}");
        }
        inner.put("/etc/kubernetes/pki/ca.crt", "CA");
        match run {
            Some(Run::KilledAtCertificates) => return killed(),
            Some(Run::KilledAtManifests) => {
                self.server(inner, &version, &version);
                return killed();
            }
            Some(Run::KilledBeforeAddons) => {
                self.server(inner, &version, &version);
                self.kubelet(inner, &version);
                self.note(&version);
                return killed();
            }
            Some(Run::Fails(said)) => return fails(said),
            Some(Run::RollsBack) => {
                self.manifest(inner, "etcd", "3.6.8-0", "3.6.8-0");
                return fails(
                    "static Pod hash did not change; kubeadm has tried to recover everything into the earlier state",
                );
            }
            Some(Run::EndsTheExecutor(sender)) => drop(sender),
            None => {}
        }
        let is_server = arguments[0] != "join" || inner.text("/etc/kubernetes/pki/ca.key").is_some();
        if is_server {
            self.server(inner, &version, &version);
            self.note(&version);
            self.addons();
        }
        if arguments[0] != "upgrade" {
            self.kubelet(inner, &version);
        }
        if arguments[0] == "init" {
            let documents = config::Documents::read(&config).unwrap();
            let token = &documents.kind("InitConfiguration")["bootstrapTokens"][0];
            let description = token["description"].as_str().unwrap_or_default();
            self.cluster.put(json!({ "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
                "metadata": { "name": "bootstrap-token-unaskd", "namespace": "kube-system" },
                "data": { "description": STANDARD.encode(description) } }));
        }
        inner.files.remove(std::path::Path::new("/etc/kubernetes/bootstrap-kubelet.conf"));
        Ok("[kubeadm] done\n".into())
    }

    fn server(&self, inner: &mut Inner, version: &str, runs: &str) {
        let etcd = if version == "v1.36.3" { "3.6.8-0" } else { "3.6.6-0" };
        self.manifest(inner, "etcd", etcd, etcd);
        for component in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
            self.manifest(inner, component, version, runs);
        }
        inner.put("/etc/kubernetes/admin.conf", config::discovery("https://k8s.lab:6443", "CA"));
        self.cluster.page("/readyz", "ok");
        self.cluster.page("/version", json!({ "gitVersion": runs }).to_string());
        self.cluster.put(json!({ "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": "w1", "labels": { "node-role.kubernetes.io/control-plane": "" } } }));
    }

    fn manifest(&self, inner: &mut Inner, component: &str, says: &str, runs: &str) {
        let image = |tag: &str| format!("registry.k8s.io/{component}:{tag}");
        let mut pod = json!({ "metadata": {}, "spec": { "containers": [{ "image": image(says) }] } });
        if component == "kube-apiserver" {
            let key = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint";
            pod["metadata"]["annotations"] = json!({ key: "10.0.0.1:6443" });
        }
        inner.put(&format!("/etc/kubernetes/manifests/{component}.yaml"), pod.to_string());
        self.cluster.put(json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("{component}-w1"), "namespace": "kube-system" },
            "spec": { "containers": [{ "image": image(runs) }] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }));
    }

    fn kubelet(&self, inner: &mut Inner, version: &str) {
        let file = config::discovery("https://k8s.lab:6443", "CA");
        inner.put("/etc/kubernetes/kubelet.conf", format!("{file} # kubelet-client-current.pem"));
        inner.put("/var/lib/kubelet/pki/kubelet-client-current.pem", "");
        inner.put("/var/lib/kubelet/config.yaml", "");
        inner.running.insert("kubelet.service".into(), format!("Kubernetes {version}\n"));
        let unit = UnitStatus { exists: true, activity: UnitActivity::Active, enabled: true, main_pid: Some(731) };
        inner.units.insert("kubelet.service".into(), unit);
    }

    fn note(&self, version: &str) {
        let written = json!({ "kubernetesVersion": version, "controlPlaneEndpoint": "k8s.lab:6443",
            "networking": { "podSubnet": "10.244.0.0/16" } });
        let map = |name: &str, namespace: &str, data: serde_json::Value| {
            self.cluster.put(json!({ "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": name, "namespace": namespace }, "data": data }));
        };
        map("kubeadm-config", "kube-system", json!({ "ClusterConfiguration": written.to_string() }));
        map("kubelet-config", "kube-system", json!({}));
        map("cluster-info", "kube-public", json!({}));
    }

    fn addons(&self) {
        for (kind, name) in [("DaemonSet", "kube-proxy"), ("Deployment", "coredns")] {
            self.cluster.put(json!({ "apiVersion": "apps/v1", "kind": kind,
                "metadata": { "name": name, "namespace": "kube-system" } }));
        }
    }
}

/// A member of etcd; one that never started has no name and no client URL.
pub(super) fn member(id: u64, name: &str, client_url: &str) -> Value {
    let client_urls: Vec<&str> = Some(client_url).filter(|url| !url.is_empty()).into_iter().collect();
    json!({ "ID": id, "name": name, "peerURLs": [format!("https://10.0.0.{id}:2380")], "clientURLs": client_urls })
}

fn failed(program: &str, output: &str) -> HostError {
    HostError::Command { command: program.into(), status: "1".into(), output: output.to_owned() }
}

fn missing(program: &str) -> HostError {
    HostError::Missing { what: format!("program {program}") }
}

/// What s1 seals for a node of that role.
pub(super) fn material(role: ClusterRole) -> String {
    let file = |name: &str| ServerFile { name: name.into(), content: format!("{name} of the cluster") };
    let files = match role {
        ClusterRole::Server => ["ca.crt", "ca.key", "etcd/ca.key", "sa.key"].map(file).to_vec(),
        ClusterRole::Worker | ClusterRole::Host => Vec::new(),
    };
    let material = Material { token: TOKEN.into(), server: "https://k8s.lab:6443".into(), ca: "CA".into(), files };
    serde_json::to_string(&material).unwrap()
}
