//! The settings of a cluster as its ConfigMaps have them, in named fields alone: what has no field is told by its name,
//! and what may be a secret by where it stands.

mod fields;

use std::{collections::BTreeMap, path::Path};

use hostler_plan::import::{Etcd, Image, MachineFacts, Program, Settings, Volume, mask, may_be_secret};
use serde_json::Value;

use super::state;
use crate::host::{Administrator, ClusterError, Host, HostError};

/// Add-ons of kubeadm's own, and its static pods.
pub(crate) const OWN_ADDONS: [&str; 2] = ["coredns", "kube-proxy"];
pub(crate) const OWN_PODS: [&str; 4] = state::COMPONENTS;

/// A text of a person's at most, in bytes; an argument with a list of addresses has some hundred.
const MAX_TEXT: usize = 4096;
/// Names that are told at most.
const MAX_TOLD: usize = 100;

/// What was read, and what was not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub settings: Settings,
    pub masked: Vec<String>,
    pub left_out: Vec<String>,
}

/// Of the cluster; none where kubeadm did not make it.
pub(crate) fn cluster(administrator: &dyn Administrator) -> Result<Option<Found>, ClusterError> {
    let Some(cluster) = config_map(administrator, "kubeadm-config", "ClusterConfiguration")? else { return Ok(None) };
    let mut found = Found::default();
    found.cluster(&cluster);
    if let Some(kubelet) = config_map(administrator, "kubelet-config", "kubelet")? {
        found.settings.kubelet = found.named("KubeletConfiguration", &kubelet, &fields::KUBELET, &[]);
    }
    let proxy = config_map(administrator, "kube-proxy", "config.conf")?;
    found.settings.has_proxy = is_there(administrator, "daemonsets/kube-proxy")?;
    if let Some(proxy) = proxy.filter(|_| found.settings.has_proxy) {
        found.settings.proxy = found.named("KubeProxyConfiguration", &proxy, &fields::PROXY, &fields::PROXY_OF_KUBEADM);
    }
    found.settings.has_dns = is_there(administrator, "deployments/coredns")?;
    found.masked.truncate(MAX_TOLD);
    found.left_out.truncate(MAX_TOLD);
    Ok(Some(found))
}

fn is_there(administrator: &dyn Administrator, what: &str) -> Result<bool, ClusterError> {
    Ok(administrator.get(&format!("/apis/apps/v1/namespaces/kube-system/{what}"))?.is_some())
}

/// The YAML under a key of a ConfigMap; none where there is no such ConfigMap.
fn config_map(administrator: &dyn Administrator, name: &str, key: &str) -> Result<Option<Value>, ClusterError> {
    let path = format!("/api/v1/namespaces/kube-system/configmaps/{name}");
    let Some(text) = administrator.get(&path)? else { return Ok(None) };
    // What is wrong is not told in the reader's words: they may quote what they read.
    let wrong = |reason: &str| ClusterError::Refused { action: format!("get {path}"), reason: reason.to_owned() };
    let object: Value = serde_json::from_str(&text).map_err(|_| wrong("it is no JSON"))?;
    let written = object["data"][key].as_str().ok_or_else(|| wrong(&format!("it has no {key}")))?;
    let read: Value = serde_saphyr::from_str(written).map_err(|_| wrong(&format!("its {key} is no YAML")))?;
    if read.is_object() { Ok(Some(read)) } else { Err(wrong(&format!("its {key} is no table"))) }
}

impl Found {
    fn cluster(&mut self, of: &Value) {
        self.unknown("ClusterConfiguration", of, &fields::CLUSTER);
        let settings = Settings {
            name: text(&of["clusterName"]),
            version: text(&of["kubernetesVersion"]),
            endpoint: text(&of["controlPlaneEndpoint"]),
            pod_network: text(&of["networking"]["podSubnet"]),
            service_network: text(&of["networking"]["serviceSubnet"]),
            dns_domain: text(&of["networking"]["dnsDomain"]),
            cert_sans: texts(&of["apiServer"]["certSANs"]),
            image_repository: text(&of["imageRepository"]),
            feature_gates: entries(&of["featureGates"]).filter_map(|(k, v)| Some((cut(k), v.as_bool()?))).collect(),
            programs: [
                ("api_server", "apiServer"),
                ("controller_manager", "controllerManager"),
                ("scheduler", "scheduler"),
            ]
            .map(|(word, key)| (word.to_owned(), self.program(key, &of[key])))
            .into(),
            etcd: self.etcd(&of["etcd"]),
            dns_image: image(&of["dns"]),
            further: fields::FURTHER
                .iter()
                .filter_map(|key| Some(((*key).to_owned(), cut(of[*key].as_str()?))))
                .collect(),
            ..Settings::default()
        };
        self.settings = settings;
    }

    fn program(&mut self, of: &str, value: &Value) -> Program {
        self.unknown(of, value, &fields::PROGRAM);
        let mut args = Vec::new();
        for (name, value) in pairs(&value["extraArgs"]) {
            self.keep(&format!("argument {name} of {of}"), &name, &value, |kept| args.push((name.clone(), kept)));
        }
        let mut envs = BTreeMap::new();
        for (name, value) in pairs(&value["extraEnvs"]) {
            self.keep(&format!("variable {name} of {of}"), &name, &value, |kept| drop(envs.insert(name.clone(), kept)));
        }
        let volume = |volume: &Value| Volume {
            name: text(&volume["name"]),
            host_path: text(&volume["hostPath"]),
            mount_path: text(&volume["mountPath"]),
            read_only: volume["readOnly"] == true,
            path_type: text(&volume["pathType"]),
        };
        let volumes = value["extraVolumes"].as_array().into_iter().flatten().map(volume).collect();
        Program { args, volumes, envs }
    }

    fn etcd(&mut self, of: &Value) -> Etcd {
        let local = &of["local"];
        self.unknown("etcd", local, &fields::ETCD);
        // An address may have a password before its host.
        let host = |endpoint: &String| {
            let rest = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
            rest.rsplit('@').next().unwrap_or(rest).to_owned()
        };
        let mut with_args = local.clone();
        if let Some(table) = with_args.as_object_mut() {
            table.retain(|key, _| key == "extraArgs" || key == "extraEnvs");
        }
        Etcd {
            program: self.program("etcd", &with_args),
            image: image(local),
            server_cert_sans: texts(&local["serverCertSANs"]),
            peer_cert_sans: texts(&local["peerCertSANs"]),
            data_dir: text(&local["dataDir"]),
            external: texts(&of["external"]["endpoints"]).iter().map(host).collect(),
        }
    }

    /// The fields of these names; of what is no secret.
    fn named(&mut self, of: &str, value: &Value, known: &[&str], own: &[&str]) -> BTreeMap<String, Value> {
        let mut kept = BTreeMap::new();
        for (key, value) in entries(value).filter(|(key, _)| !own.contains(&key.as_str())) {
            if !known.contains(&key.as_str()) {
                self.left_out.push(cut(&format!("{key} of {of}")));
            } else if let Some(value) = mask(key, value) {
                kept.insert(key.clone(), value);
            } else {
                self.masked.push(cut(&format!("{key} of {of}")));
            }
        }
        kept
    }

    fn keep(&mut self, place: &str, name: &str, value: &str, keep: impl FnOnce(String)) {
        if may_be_secret(name, value) || value.len() > MAX_TEXT {
            self.masked.push(cut(place));
        } else {
            keep(value.to_owned());
        }
    }

    fn unknown(&mut self, of: &str, value: &Value, known: &[&str]) {
        let unknown = entries(value).filter(|(key, _)| !known.contains(&key.as_str()));
        self.left_out.extend(unknown.map(|(key, _)| cut(&format!("{key} of {of}"))));
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Names and values: a list of both since v1beta4, a table before.
fn pairs(value: &Value) -> Vec<(String, String)> {
    let listed = value.as_array().into_iter().flatten().map(|pair| (text(&pair["name"]), whole(&pair["value"])));
    listed.chain(entries(value).map(|(name, value)| (cut(name), whole(value)))).collect()
}

/// A value as its program gets it.
fn whole(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

fn image(value: &Value) -> Image {
    Image { repository: text(&value["imageRepository"]), tag: text(&value["imageTag"]) }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| Some(cut(text.as_str()?))).collect()
}

fn text(value: &Value) -> String {
    cut(value.as_str().unwrap_or_default())
}

fn cut(text: &str) -> String {
    text.chars().take(512).collect()
}

/// What came as packages here, where it did.
const PACKAGES: [&str; 8] =
    ["containerd", "containerd.io", "cri-o", "cri-tools", "kubeadm", "kubectl", "kubelet", "kubernetes-cni"];

const KUBELET_FLAGS: &str = "/var/lib/kubelet/kubeadm-flags.env";
const RUNTIME_CONFIG: &str = "/etc/containerd/config.toml";
const REGISTRIES: &str = "/etc/containerd/certs.d";

/// Of the machine that reads, what the file has words for or a person wants to know.
pub(crate) fn machine(host: &dyn Host, found: &mut Found) -> Result<MachineFacts, HostError> {
    let server = state::own_server(&state::manifests(host)?);
    let port = server.as_deref().and_then(|server| server.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
    found.settings.bind_port = port.unwrap_or_default();
    let flags = state::text(host, KUBELET_FLAGS)?.unwrap_or_default();
    for (name, value) in kubelet_flags(&flags) {
        let mut kept = None;
        found.keep(&format!("argument {name} of the kubelet"), &name, &value, |value| kept = Some(value));
        found.settings.kubelet_args.extend(kept.map(|value| (name, value)));
    }
    let mut packages = BTreeMap::new();
    for package in PACKAGES {
        packages.extend(host.package_version(package)?.map(|version| (package.to_owned(), cut(&version))));
    }
    Ok(MachineFacts { packages, sandbox_image: cut(&sandbox_image(host)?), registries: registries(host)? })
}

/// The registries with settings of their own, and whether they are asked with credentials; never with which.
fn registries(host: &dyn Host) -> Result<Vec<String>, HostError> {
    let config = state::text(host, RUNTIME_CONFIG)?.unwrap_or_default();
    let with = |name: &str| cut(&format!("{name} (asked with credentials)"));
    let folders = host.list_folder(Path::new(REGISTRIES))?;
    let folder = |name: &String| {
        let text = state::text(host, format!("{REGISTRIES}/{name}/hosts.toml"));
        let is_asked = text.ok().flatten().is_some_and(|text| text.to_ascii_lowercase().contains("authorization"));
        if is_asked { with(name) } else { cut(name) }
    };
    let in_config = asked_with(&config).into_iter().map(|name| with(&name));
    Ok(folders.iter().map(folder).chain(in_config).take(MAX_TOLD).collect())
}

/// The registries that containerd's own settings have credentials for, in the forms of both versions.
fn asked_with(text: &str) -> Vec<String> {
    let Ok(config) = text.parse::<toml::Table>() else { return Vec::new() };
    let plugins = ["io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri"];
    let configs = |plugin: &&str| config.get("plugins")?.get(plugin)?.get("registry")?.get("configs")?.as_table();
    let of = |configs: &toml::Table| {
        let asked = configs.iter().filter(|(_, registry)| registry.get("auth").is_some());
        asked.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    plugins.iter().filter_map(configs).flat_map(of).collect()
}

/// `KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.11 --v=2"`, as kubeadm writes it.
fn kubelet_flags(text: &str) -> Vec<(String, String)> {
    let line = text.lines().find_map(|line| line.strip_prefix("KUBELET_KUBEADM_ARGS=")).unwrap_or_default();
    let flags = line.trim().trim_matches('"').split_whitespace().filter_map(|flag| flag.strip_prefix("--"));
    flags.map(|flag| flag.split_once('=').unwrap_or((flag, "true"))).map(|(n, v)| (cut(n), v.to_owned())).collect()
}

/// The image that containerd begins every pod with, as its settings name it; empty where they name none.
pub(crate) fn sandbox_image(host: &dyn Host) -> Result<String, HostError> {
    Ok(sandbox_image_in(&state::text(host, RUNTIME_CONFIG)?.unwrap_or_default()))
}

/// By containerd 2's settings and those before.
fn sandbox_image_in(text: &str) -> String {
    let Ok(config) = text.parse::<toml::Table>() else { return String::new() };
    let plugin = |name: &str| config.get("plugins")?.get(name);
    let new = plugin("io.containerd.cri.v1.images").and_then(|plugin| plugin.get("pinned_images")?.get("sandbox"));
    let old = || plugin("io.containerd.grpc.v1.cri").and_then(|plugin| plugin.get("sandbox_image"));
    new.or_else(old).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_of_a_kubelet_are_read_as_kubeadm_writes_them() {
        let written = "KUBELET_KUBEADM_ARGS=\"--node-ip=10.0.0.11 --v=2 --fail\"\n";
        let read = kubelet_flags(written);
        assert_eq!(read, [("node-ip", "10.0.0.11"), ("v", "2"), ("fail", "true")].map(|(a, b)| (a.into(), b.into())));
        assert_eq!(kubelet_flags(""), []);
    }

    #[test]
    fn a_sandbox_image_is_found_in_both_forms_and_nothing_else_is_read() {
        let new = "[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'pause:3.10'\n";
        let old = "[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'pause:3.9'\n";
        assert_eq!((sandbox_image_in(new).as_str(), sandbox_image_in(old).as_str()), ("pause:3.10", "pause:3.9"));
        assert_eq!((sandbox_image_in("a = ["), sandbox_image_in("")), (String::new(), String::new()));
    }

    #[test]
    fn arguments_are_read_as_lists_and_as_tables_and_what_may_be_a_secret_is_named() {
        let mut found = Found::default();
        let listed =
            json!({ "extraArgs": [{ "name": "v", "value": "2" }, { "name": "oidc-client-secret", "value": "x" }] });
        assert_eq!(found.program("apiServer", &listed).args, [("v".to_owned(), "2".to_owned())]);
        assert_eq!(found.masked, ["argument oidc-client-secret of apiServer"]);
        let table = json!({ "extraArgs": { "v": "2" }, "surprise": 1 });
        assert_eq!(found.program("scheduler", &table).args.len(), 1);
        assert_eq!(found.left_out, ["surprise of scheduler"]);
    }
}
