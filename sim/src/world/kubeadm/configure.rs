//! Phases of `kubeadm init` that are run alone: as a trial into a folder, and really, on a server or a worker that is
//! one already.

use std::collections::BTreeSet;

use hostler_plan::id::NodeName;
use serde_json::{Value, json};

use super::{
    super::{K3sError, World, machine::Machine},
    COMPONENTS, KUBEADM_CONFIG, KUBELET_CONFIG, MANIFESTS, PKI, image,
    objects::manifest,
    run::{Acted, kind},
};

/// Where a trial writes, and what it reads.
const TRIAL: &str = "/run/hostler/kubeadm-trial";

pub(super) const KUBELET_MAP: &str = "/api/v1/namespaces/kube-system/configmaps/kubelet-config";
const FLAGS: &str = "/var/lib/kubelet/kubeadm-flags.env";

/// What ends a component at its start.
const BROKEN: &str = "--no-such-flag";

impl World {
    /// `kubeadm init phase … --dry-run` with its folder in the environment.
    pub(super) fn trial(&mut self, name: &NodeName, phase: &[&str]) -> Result<String, K3sError> {
        let failed = |said: &str| K3sError::Failed { said: said.to_owned() };
        let version = self.kubeadm_version(name).ok_or(K3sError::Missing { what: "program kubeadm".into() })?;
        let machine = self.machine_mut(name)?;
        let text = machine.text(&format!("{TRIAL}/hostler.yaml")).unwrap_or_default().to_owned();
        let config: Vec<Value> =
            text.split("\n---\n").filter_map(|document| serde_json::from_str(document).ok()).collect();
        let incomplete = incomplete_ca(machine, kind(&config, "ClusterConfiguration"));
        let mut write = |file: &str, text: String| {
            let file = format!("{TRIAL}/{file}");
            machine.files.insert(file, super::super::machine::File { mode: 0o600, content: text.into_bytes() });
        };
        let (init, cluster) = (kind(&config, "InitConfiguration"), kind(&config, "ClusterConfiguration"));
        let components = match phase {
            ["control-plane", "all"] => &COMPONENTS[1..],
            ["etcd", "local"] => &COMPONENTS[..1],
            ["kubelet-start"] => {
                if let Some(said) = incomplete {
                    return Err(failed(&said));
                }
                write("config.yaml", kubelet_settings(&config).to_string());
                write("kubeadm-flags.env", flags(init));
                return Ok(String::new());
            }
            _ => return Err(failed("not simulated")),
        };
        for component in components {
            let image = image::of_component(component, version);
            let endpoint = local_endpoint(&init["localAPIEndpoint"]);
            write(&format!("{component}.yaml"), manifest(component, &image, "", (name, &endpoint), cluster));
        }
        Ok(String::new())
    }

    /// `kubeadm config migrate` prints what it reads; the real one adds what nobody said.
    pub(super) fn migrated(&self, name: &NodeName, file: &str) -> Result<String, K3sError> {
        Ok(self.machine(name)?.text(file).unwrap_or_default().to_owned())
    }

    /// What the cluster notes of itself.
    pub(super) fn noted_cluster(&self) -> Value {
        let text = self.kubeadm.objects.get(KUBEADM_CONFIG).and_then(|m| m["data"]["ClusterConfiguration"].as_str());
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
    }

    /// What it notes of its kubelets.
    pub(super) fn noted_kubelet(&self) -> String {
        let text = self.kubeadm.objects.get(KUBELET_MAP).and_then(|map| map["data"]["kubelet"].as_str());
        text.map_or_else(|| kubelet_settings(&[]).to_string(), str::to_owned)
    }

    /// A certificate is made where there is none.
    pub(super) fn certify(&mut self, name: &NodeName, config: &[Value]) -> Acted {
        let (now, number) = (self.now, self.number());
        let text = api_server_certificate(number, config);
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        let path = format!("{PKI}/apiserver.crt");
        if machine.text(&path).is_none_or(str::is_empty) {
            machine.write_unsynced(&path, text, 0o644, now);
            machine.write_unsynced(&format!("{PKI}/apiserver.key"), format!("simulated key {number}\n"), 0o600, now);
        }
        Acted::Done
    }

    /// One component's manifest is written anew.
    pub(super) fn configure_component(&mut self, name: &NodeName, component: &str, config: &[Value]) -> Acted {
        let now = self.now;
        let Some(version) = self.kubeadm_version(name) else { return Acted::Failed("no kubeadm".into()) };
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        let endpoint = local_endpoint(&kind(config, "InitConfiguration")["localAPIEndpoint"]);
        let cluster = kind(config, "ClusterConfiguration");
        let image = image::of_component(component, version);
        let text = manifest(component, &image, &version.to_string(), (name, &endpoint), cluster);
        machine.write_unsynced(&format!("{MANIFESTS}/{component}.yaml"), text, 0o600, now);
        Acted::Done
    }

    /// The kubelet's files are written anew, and it starts by them.
    pub(super) fn start_kubelet_by(&mut self, name: &NodeName, config: &[Value]) -> Acted {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(name) else { return Acted::Failed("no such machine".into()) };
        if let Some(said) = incomplete_ca(machine, kind(config, "ClusterConfiguration")) {
            return Acted::Failed(said);
        }
        machine.write_unsynced(KUBELET_CONFIG, kubelet_settings(config).to_string(), 0o644, now);
        machine.write_unsynced(FLAGS, flags(kind(config, "InitConfiguration")), 0o644, now);
        machine.start_kubelet(now);
        Acted::Done
    }

    /// kube-proxy's settings, and the DaemonSet anew: a note in it is gone.
    pub(super) fn put_proxy(&mut self, config: &[Value]) {
        let mut settings = proxy_defaults();
        if let (Some(all), Some(said)) =
            (settings.as_object_mut(), kind(config, "KubeProxyConfiguration").as_object().cloned())
        {
            all.extend(said);
        }
        let server = kind(config, "ClusterConfiguration")["controlPlaneEndpoint"].as_str().unwrap_or_default();
        let data = json!({ "config.conf": settings.to_string(), "kubeconfig.conf": leads_to(server) });
        self.put(json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": { "name": "kube-proxy", "namespace": "kube-system" } }));
        self.put(json!({ "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "kube-proxy", "namespace": "kube-system" } }));
    }

    /// Whether the API server at an address is ready, by a certificate with that name. Where everybody finds the
    /// cluster
    /// is behind every address that is not one machine's; a name of the top level `invalid` is nobody's (RFC 2606).
    pub fn kubeadm_ready(&self, server: &str, name: &str) -> Result<(), String> {
        let own = |m: &&Machine| m.endpoint().is_some_and(|endpoint| format!("https://{endpoint}") == server);
        let host = server.trim_start_matches("https://").rsplit_once(':').map_or("", |(host, _)| host);
        if host.ends_with(".invalid") {
            return Err(format!("{server}: failed to lookup address information: Name or service not known"));
        }
        let refused = || "dial tcp: connect: connection refused".to_owned();
        let machine = match self.machines.values().find(own) {
            Some(machine) => self.kubeadm_refuses(machine).map_or(Ok(machine), Err)?,
            None => self.kubeadm_server().ok_or_else(refused)?,
        };
        let names = certificate_names(machine.text(&format!("{PKI}/apiserver.crt")).unwrap_or_default());
        if name == "kubernetes" || names.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(format!("{server}: certificate not valid for name {name:?}"))
    }
}

impl Machine {
    /// A container with an argument that it does not know ends at once, again and again, and says so.
    pub(super) fn ends_at_start(&mut self, component: &str, manifest: &Value) -> bool {
        let words = manifest["spec"]["containers"][0]["command"].as_array().into_iter().flatten();
        let wrong = words.filter_map(Value::as_str).find(|word| word.starts_with(BROKEN));
        let Some(wrong) = wrong else { return false };
        let (flag, _) = wrong.split_once('=').unwrap_or((wrong, ""));
        let file = format!("/var/log/pods/kube-system_{component}-{}_broken/{component}/3.log", self.name);
        let content = format!("2026-11-28T15:00:00.2Z stderr F Error: unknown flag: {flag}\n").into_bytes();
        self.files.insert(file, super::super::machine::File { mode: 0o640, content });
        true
    }
}

/// A kubeconfig that leads there.
pub(super) fn leads_to(endpoint: &str) -> String {
    let cluster = json!({ "server": format!("https://{endpoint}") });
    json!({ "apiVersion": "v1", "kind": "Config", "clusters": [{ "name": "", "cluster": cluster }] }).to_string()
}

/// `kubeadm config print init-defaults` of kube-proxy.
pub(super) fn proxy_defaults() -> Value {
    json!({ "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "" })
}

/// What kubeadm tells the kubelet by flags.
pub(super) fn flags(config: &Value) -> String {
    let args = config["nodeRegistration"]["kubeletExtraArgs"].as_array().into_iter().flatten();
    let word = |arg: &Value| {
        let text = |key: &str| arg[key].as_str().unwrap_or_default().to_owned();
        format!("--{}={}", text("name"), text("value"))
    };
    format!("KUBELET_KUBEADM_ARGS=\"{}\"\n", args.map(word).collect::<Vec<_>>().join(" "))
}

/// The API server's certificate, which says in clear for whom it counts.
pub(super) fn api_server_certificate(number: u64, config: &[Value]) -> String {
    let cluster = kind(config, "ClusterConfiguration");
    let endpoint = cluster["controlPlaneEndpoint"].as_str().and_then(|endpoint| endpoint.rsplit_once(':'));
    let listed = cluster["apiServer"]["certSANs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let own = [
        &kind(config, "InitConfiguration")["localAPIEndpoint"],
        &kind(config, "JoinConfiguration")["controlPlane"]["localAPIEndpoint"],
    ];
    let own = own.into_iter().filter_map(|endpoint| endpoint["advertiseAddress"].as_str());
    let names: BTreeSet<&str> = listed.chain(endpoint.map(|(host, _)| host)).chain(own).collect();
    format!("simulated apiserver.crt {number} for {}\n", names.into_iter().collect::<Vec<_>>().join(","))
}

/// For whom such a certificate counts.
pub fn certificate_names(text: &str) -> Vec<String> {
    let names = text.trim_end().split_once(" for ").map_or("", |(_, names)| names);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// `ADDRESS:PORT` of a configuration's localAPIEndpoint.
pub(super) fn local_endpoint(endpoint: &Value) -> String {
    let address = endpoint["advertiseAddress"].as_str().unwrap_or("127.0.0.1");
    format!("{address}:{}", endpoint["bindPort"].as_i64().unwrap_or(6443))
}

/// What kubeadm writes for a kubelet: what is said, and who may ask it, where nobody says that
/// (cmd/kubeadm/app/componentconfigs/kubelet.go, `Default`).
pub(super) fn kubelet_settings(config: &[Value]) -> Value {
    let said = kind(config, "KubeletConfiguration");
    let mut settings = if said.is_null() { json!({ "kind": "KubeletConfiguration" }) } else { said.clone() };
    let folder = kind(config, "ClusterConfiguration")["certificatesDir"].as_str().unwrap_or(PKI);
    let authentication = &mut settings["authentication"];
    for (of, key, default) in [
        ("anonymous", "enabled", json!(false)),
        ("webhook", "enabled", json!(true)),
        ("x509", "clientCAFile", json!(format!("{folder}/ca.crt"))),
    ] {
        if authentication[of][key].is_null() {
            authentication[of][key] = default;
        }
    }
    settings
}

/// What `kubeadm init` says, whatever the phase, where the certificate of a CA lies without its key and a server's
/// certificates are not all there (cmd/kubeadm/app/phases/certs, `UsingExternalCA`).
fn incomplete_ca(machine: &Machine, cluster: &Value) -> Option<String> {
    let folder = cluster["certificatesDir"].as_str().unwrap_or(PKI);
    let is_there = |file: &str| machine.text(&format!("{folder}/{file}")).is_some();
    let is_incomplete = is_there("ca.crt") && !is_there("ca.key") && !is_there("apiserver.key");
    is_incomplete.then(|| {
        format!("invalid or incomplete external CA: couldn't load the private key file {folder}/apiserver.key")
    })
}
