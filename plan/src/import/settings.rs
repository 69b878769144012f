//! The settings of a cluster as tables of a fleet file.

use std::net::IpAddr;

use toml::{Table as TomlTable, Value};

use crate::{form::HostName, network::Network, text::clean};

use super::{
    answer::{Answer, Etcd, Image, Program, Settings, Volume},
    defaults::{Zeros, is_kubelet_default, is_proxy_default, pruned},
    draft::{FileDraft, Table},
};

const PORT: u16 = 6443;
const DATA_DIR: &str = "/var/lib/etcd";

/// Where nodes reach the cluster: what the cluster says, or its only server.
pub(super) fn endpoint(answer: &Answer, nodes: &[Table], unsaid: &mut Vec<String>) -> String {
    let settings = answer.settings();
    let port = if settings.bind_port == 0 { PORT } else { settings.bind_port };
    if settings.endpoint.is_empty() {
        unsaid.push(
            "the cluster has no endpoint of its own (controlPlaneEndpoint): api is the address of a server, and no \
             second server can join"
                .to_owned(),
        );
        let is_reader = |table: &&Table| text(table, "name") == Some(answer.node.as_str());
        let reader = nodes.iter().find(is_reader).or(nodes.first());
        let host = reader.and_then(|table| text(table, "address")).unwrap_or(answer.node.as_str());
        return with_port(host, port);
    }
    let is_address = settings.endpoint.parse::<IpAddr>().is_ok();
    let has_port = !is_address && settings.endpoint.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
    if has_port { settings.endpoint.clone() } else { with_port(&settings.endpoint, port) }
}

fn with_port(host: &str, port: u16) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether the endpoint is one of several servers.
pub(super) fn is_lone(api: &str, nodes: &[Table]) -> bool {
    let host = api.rsplit_once(':').map_or(api, |(host, _)| host).trim_matches(['[', ']']);
    let servers: Vec<&Table> = nodes.iter().filter(|table| text(table, "role") == Some("server")).collect();
    let is_host = |table: &&Table| text(table, "name") == Some(host) || text(table, "address") == Some(host);
    servers.len() > 1 && servers.iter().any(is_host)
}

fn text<'t>(table: &'t Table, key: &str) -> Option<&'t str> {
    table.entries.iter().find(|entry| entry.key == key)?.value.as_str()
}

/// `[kubeadm]` and the tables below it.
pub(super) fn tables(answer: &Answer, draft: &mut FileDraft) {
    let settings = answer.settings();
    let from = "kube-system/kubeadm-config";
    let mut cluster = Table::new("kubeadm", from);
    cluster.add("pod_network", networks("podSubnet", &settings.pod_network, draft));
    cluster.add("service_network", networks("serviceSubnet", &settings.service_network, draft));
    cluster.add("dns_domain", settings.dns_domain.as_str());
    cluster.add("cert_sans", names("certSANs", &settings.cert_sans, draft));
    if ![0, PORT].contains(&settings.bind_port) {
        cluster.add("bind_port", i64::from(settings.bind_port));
    }
    if !["", "registry.k8s.io"].contains(&settings.image_repository.as_str()) {
        cluster.add("image_repository", settings.image_repository.as_str());
    }
    let gates = settings.feature_gates.iter().map(|(name, on)| (name.clone(), Value::from(*on)));
    cluster.add("feature_gates", gates.collect::<TomlTable>());
    draft.table(cluster);
    for (name, program) in &settings.programs {
        let mut table = Table::new(&format!("kubeadm.{name}"), from);
        add_program(&mut table, program);
        draft.table(table);
    }
    etcd(&settings.etcd, from, draft);
    let mut dns = Table::new("kubeadm.dns", from);
    if !settings.has_dns {
        dns.add("disabled", true);
    }
    add_image(&mut dns, &settings.dns_image);
    draft.table(dns);
    further(settings, from, draft);
    kubelet(settings, draft);
    proxy(settings, draft);
}

fn networks(of: &str, written: &str, draft: &mut FileDraft) -> Vec<Value> {
    let mut kept = Vec::new();
    for text in written.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match text.parse::<Network>() {
            Ok(network) => kept.push(Value::from(network.to_string())),
            Err(wrong) => draft.say(format!("{of}: {:?}: {wrong}", clean(text))),
        }
    }
    kept
}

/// Those that a certificate can be for.
fn names(of: &str, written: &[String], draft: &mut FileDraft) -> Vec<Value> {
    let mut kept = Vec::new();
    for text in written {
        if text.parse::<IpAddr>().is_ok() || HostName::new(text.strip_prefix("*.").unwrap_or(text)).is_ok() {
            kept.push(Value::from(text.as_str()));
        } else {
            draft.say(format!("{of}: {:?} is neither a name nor an address", clean(text)));
        }
    }
    kept
}

/// Arguments as the file writes them; one that stands several times is a list.
pub(super) fn args(args: &[(String, String)]) -> TomlTable {
    let mut table = TomlTable::new();
    for (name, value) in args {
        match table.get_mut(name) {
            Some(Value::Array(values)) => values.push(Value::from(value.as_str())),
            Some(one) => *one = Value::Array(vec![one.clone(), Value::from(value.as_str())]),
            None => drop(table.insert(name.clone(), Value::from(value.as_str()))),
        }
    }
    table
}

/// What the kubelet of the one who reads is started with, but for what kubeadm and Hostler give every kubelet.
pub(super) fn own_kubelet_args(answer: &Answer) -> Vec<(String, String)> {
    const GIVEN: [&str; 10] = [
        "node-ip",
        "node-labels",
        "register-with-taints",
        "hostname-override",
        "container-runtime-endpoint",
        "pod-infra-container-image",
        "config",
        "kubeconfig",
        "bootstrap-kubeconfig",
        "cgroup-driver",
    ];
    let own = answer.settings().kubelet_args.iter().filter(|(name, _)| !GIVEN.contains(&name.as_str()));
    own.cloned().collect()
}

fn add_program(table: &mut Table, program: &Program) {
    table.add("extra_args", args(&program.args));
    table.add("extra_volumes", program.volumes.iter().map(volume).collect::<Vec<Value>>());
    let envs = program.envs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    table.add("extra_envs", envs.collect::<TomlTable>());
}

fn volume(volume: &Volume) -> Value {
    let Volume { name, host_path, mount_path, read_only, path_type } = volume;
    let mut table = TomlTable::new();
    for (key, value) in [("name", name), ("host_path", host_path), ("mount_path", mount_path)] {
        table.insert(key.to_owned(), Value::from(value.as_str()));
    }
    if *read_only {
        table.insert("read_only".to_owned(), Value::from(true));
    }
    if !path_type.is_empty() {
        table.insert("path_type".to_owned(), Value::from(path_type.as_str()));
    }
    Value::Table(table)
}

fn add_image(table: &mut Table, image: &Image) {
    table.add("image_repository", image.repository.as_str());
    table.add("image_tag", image.tag.as_str());
}

fn etcd(etcd: &Etcd, from: &str, draft: &mut FileDraft) {
    if !etcd.external.is_empty() {
        draft.say(format!(
            "the database lies outside of the servers ({}): Hostler takes neither snapshots of it nor care of its \
             members",
            clean(&etcd.external.join(", "))
        ));
        return;
    }
    if !["", DATA_DIR].contains(&etcd.data_dir.as_str()) {
        draft.say(format!("etcd keeps its data in {:?}, and Hostler knows {DATA_DIR} alone", clean(&etcd.data_dir)));
    }
    let mut table = Table::new("kubeadm.etcd", from);
    table.add("extra_args", args(&etcd.program.args));
    let envs = etcd.program.envs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    table.add("extra_envs", envs.collect::<TomlTable>());
    add_image(&mut table, &etcd.image);
    table.add("server_cert_sans", names("serverCertSANs", &etcd.server_cert_sans, draft));
    table.add("peer_cert_sans", names("peerCertSANs", &etcd.peer_cert_sans, draft));
    draft.table(table);
}

/// What kubeadm has a word for and Hostler has none.
fn further(settings: &Settings, from: &str, draft: &mut FileDraft) {
    let mut table = Table::new("kubeadm.cluster", from);
    for (key, value) in &settings.further {
        if key == "certificatesDir" {
            if value != "/etc/kubernetes/pki" {
                draft.say(format!(
                    "certificates lie in {:?}, and Hostler knows /etc/kubernetes/pki alone",
                    clean(value)
                ));
            }
            continue;
        }
        // As kubeadm writes its defaults out.
        let is_default = matches!(
            (key.as_str(), value.as_str()),
            ("certificateValidityPeriod", "8760h0m0s")
                | ("caCertificateValidityPeriod", "87600h0m0s")
                | ("encryptionAlgorithm", "RSA-2048")
        );
        if !is_default {
            table.add(key, value.as_str());
        }
    }
    draft.table(table);
}

/// What `[kubeadm.kubelet]` has other words for.
const OTHER_WORDS: [&str; 1] = ["failSwapOn"];

fn kubelet(settings: &Settings, draft: &mut FileDraft) {
    let mut table = Table::new("kubeadm.kubelet", "kube-system/kubelet-config, where it is not Kubernetes' default");
    let domain = if settings.dns_domain.is_empty() { "cluster.local" } else { settings.dns_domain.as_str() };
    let address = dns_address(&settings.service_network);
    let mut config = TomlTable::new();
    for (key, value) in settings.kubelet.iter().filter(|(key, _)| !OTHER_WORDS.contains(&key.as_str())) {
        let Some(value) = pruned(key, value, Zeros::Something) else { continue };
        if !is_kubelet_default(key, &value, (domain, address.as_deref())) {
            insert(&mut config, "kubelet-config", key, &value, draft);
        }
    }
    table.add("config", config);
    draft.table(table);
}

fn proxy(settings: &Settings, draft: &mut FileDraft) {
    let mut table = Table::new("kubeadm.proxy", "kube-system/kube-proxy, where it is not Kubernetes' default");
    if !settings.has_proxy {
        table.add("disabled", true);
    }
    let mut config = TomlTable::new();
    for (key, value) in &settings.proxy {
        let Some(value) = pruned(key, value, Zeros::Nothing) else { continue };
        if !is_proxy_default(key, &value, &settings.pod_network) {
            insert(&mut config, "kube-proxy", key, &value, draft);
        }
    }
    table.add("config", config);
    draft.table(table);
}

fn insert(config: &mut TomlTable, of: &str, key: &str, value: &serde_json::Value, draft: &mut FileDraft) {
    match Value::try_from(value) {
        Ok(value) => drop(config.insert(key.to_owned(), value)),
        Err(_) => draft.say(format!("{of}: {} cannot be written as TOML; look at it yourself", clean(key))),
    }
}

/// Where kubeadm puts CoreDNS: the tenth address of the first service network.
fn dns_address(service_network: &str) -> Option<String> {
    let written = if service_network.is_empty() { "10.96.0.0/12" } else { service_network };
    let network: Network = written.split(',').next()?.trim().parse().ok()?;
    let text = network.to_string();
    let address: IpAddr = text.split('/').next()?.parse().ok()?;
    Some(match address {
        IpAddr::V4(v4) => std::net::Ipv4Addr::from(u32::from(v4).checked_add(10)?).to_string(),
        IpAddr::V6(v6) => std::net::Ipv6Addr::from(u128::from(v6).checked_add(10)?).to_string(),
    })
}
