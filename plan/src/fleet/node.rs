//! The machines of a fleet file.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

use crate::{
    cluster::{Effect, Taint},
    id::{Arch, NodeName},
    step::ClusterRole,
    text::count,
};

use super::{
    FleetNode, Group,
    problem::{At, Found, Location, Problem, nearest, or_nearest},
};

/// More nodes than any plan's size allows.
const MAX_NODES: usize = 1000;

/// One of them as it was written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeFragment {
    pub name: String,
    pub role: String,
    pub arch: String,
    #[serde(default)]
    pub first: bool,
    pub address: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub taints: Option<Vec<String>>,
    #[serde(default)]
    pub kubelet_args: BTreeMap<String, toml::Value>,
    pub group: Option<String>,
}

pub(super) fn nodes(
    found: &mut Found,
    written: &[At<NodeFragment>],
    groups: &BTreeMap<String, Group>,
) -> Vec<FleetNode> {
    let mut nodes: Vec<FleetNode> = Vec::new();
    let mut locations: BTreeMap<NodeName, &Location> = BTreeMap::new();
    let mut first: Option<(&Location, &str)> = None;
    for At { value: n, location } in written {
        let name = NodeName::new(n.name.as_str());
        if let Err(e) = &name {
            found.error(location, format!("{e}; write it as `kubectl get nodes` does"));
        }
        let role = role(found, location, &n.role);
        let arch = architecture(found, location, &n.arch);
        labels(found, location, n);
        group(found, location, n, groups);
        if let Some(role) = role.filter(|role| n.first && *role != ClusterRole::Server) {
            found.error(
                location,
                format!("node {}: only a server can be first, found role {role}; remove first", n.name),
            );
        }
        if role == Some(ClusterRole::Host) {
            host(found, location, n);
        }
        if n.first
            && let Some((earlier, other)) = first.replace((location, &n.name))
        {
            let message = format!("two first servers: {other} at {earlier} and {}; keep one first = true", n.name);
            found.error(location, message);
        }
        let address = address(found, location, n);
        let taints = taints(found, location, n);
        let kubelet_args = super::args::args(found, &format!("node {}", n.name), location, &n.kubelet_args);
        let (Ok(name), Some(role), Some(arch)) = (name, role, arch) else { continue };
        if let Some(earlier) = locations.insert(name.clone(), location) {
            found.error(location, format!("node {name} stands twice, first at {earlier}; rename or remove one"));
        }
        let (labels, group) = (n.labels.clone(), n.group.clone());
        nodes.push(FleetNode { name, role, arch, first: n.first, address, labels, taints, kubelet_args, group });
    }
    servers(found, &mut nodes, written, first.is_some());
    nodes
}

/// What only a cluster would be told is nothing for a machine outside it.
fn host(found: &mut Found, location: &Location, n: &NodeFragment) {
    let keys = [
        (!n.labels.is_empty(), "labels"),
        (n.taints.is_some(), "taints"),
        (!n.kubelet_args.is_empty(), "kubelet_args"),
    ];
    for (_, key) in keys.into_iter().filter(|(stands, _)| *stands) {
        let message = format!(
            "node {}: {key}: a host is outside the cluster, and no kubelet runs there; remove it, or write role = \
             \"worker\"",
            n.name
        );
        found.error(location, message);
    }
}

fn servers(found: &mut Found, nodes: &mut [FleetNode], written: &[At<NodeFragment>], marked: bool) {
    let Some(At { location, .. }) = written.first() else {
        found.missing("the fleet has no nodes; add a [[nodes]] with name, role and arch for every machine");
        return;
    };
    if let Some(beyond) = written.get(MAX_NODES) {
        let message = format!("expected at most {MAX_NODES} nodes, found {}; split the fleet", written.len());
        found.error(&beyond.location, message);
    }
    let servers = nodes.iter().filter(|n| n.role == ClusterRole::Server).count();
    if servers == 0 && found.errors.is_empty() {
        let message = format!(
            "the fleet has no server: expected role = \"server\" for one node at least, found {} of other \
             roles; write it for the one that holds the cluster's state",
            count(nodes.len(), "node")
        );
        found.error(location, message);
    }
    if !marked && let Some(server) = nodes.iter_mut().find(|n| n.role == ClusterRole::Server) {
        server.first = true;
    }
    if servers > 0 && servers.is_multiple_of(2) {
        let message = format!(
            "{servers} servers keep a majority through no more failures than {} do; use an odd number",
            servers - 1
        );
        found.warnings.push(Problem { location: location.clone(), message });
    }
}

fn role(found: &mut Found, location: &Location, text: &str) -> Option<ClusterRole> {
    match text {
        "server" => Some(ClusterRole::Server),
        "worker" => Some(ClusterRole::Worker),
        "host" => Some(ClusterRole::Host),
        other => {
            found.error(
                location,
                format!("role: expected \"server\", \"worker\" or \"host\", found {other:?}; write one of them"),
            );
            None
        }
    }
}

pub(super) fn architecture(found: &mut Found, location: &Location, text: &str) -> Option<Arch> {
    match text {
        "aarch64" => Some(Arch::Aarch64),
        "x86_64" => Some(Arch::X86_64),
        other => {
            let hint = match other {
                "arm64" => "write \"aarch64\"",
                "amd64" => "write \"x86_64\"",
                _ => "see `uname -m` on the machine",
            };
            found.error(location, format!("arch: expected \"aarch64\" or \"x86_64\", found {other:?}; {hint}"));
            None
        }
    }
}

fn group(found: &mut Found, location: &Location, n: &NodeFragment, groups: &BTreeMap<String, Group>) {
    if let Some(group) = &n.group
        && !groups.contains_key(group)
    {
        let hint = or_nearest(group, groups.keys().map(String::as_str), || format!("add [groups.{group}]"));
        found.error(location, format!("node {}: expected a group of this file, found {group:?}; {hint}", n.name));
    }
}

/// One at which the other nodes reach it.
fn address(found: &mut Found, location: &Location, n: &NodeFragment) -> Option<IpAddr> {
    let written = n.address.as_ref()?;
    let address = written.parse::<IpAddr>().ok();
    let reached = address.filter(|a| !(a.is_loopback() || a.is_unspecified() || a.is_multicast()));
    if reached.is_none() {
        let message = format!(
            "node {}: address: expected one at which the other nodes reach it, such as 192.168.1.11, found \
             {written:?}; see `ip address` on the machine",
            n.name
        );
        found.error(location, message);
    }
    reached
}

/// A part of a label or taint, by the Kubernetes documentation, "Labels and Selectors".
fn is_label_part(text: &str, may_be_empty: bool) -> bool {
    (may_be_empty && text.is_empty())
        || text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A name, or one behind a DNS subdomain and a `/`.
fn is_label_key(key: &str) -> bool {
    match key.rsplit_once('/') {
        Some((prefix, name)) => NodeName::new(prefix).is_ok() && is_label_part(name, false),
        None => is_label_part(key, false),
    }
}

/// A kubelet may not give itself labels of kubernetes.io.
fn labels(found: &mut Found, location: &Location, node: &NodeFragment) {
    for (key, value) in &node.labels {
        if !is_label_key(key) || !is_label_part(value, true) {
            let message = format!(
                "node {}: {key:?} = {value:?} is not a Kubernetes label; use letters, digits, '-', '_', '.'",
                node.name
            );
            found.error(location, message);
        }
        let prefix = key.rsplit_once('/').map_or("", |(prefix, _)| prefix);
        let reserved = ["kubernetes.io", "k8s.io"].iter().any(|r| prefix == *r || prefix.ends_with(&format!(".{r}")));
        if reserved {
            let message =
                format!("node {}: a node cannot give itself the label {key:?}; use another prefix", node.name);
            found.error(location, message);
        }
    }
}

/// As `kubectl taint` writes them: `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
fn taints(found: &mut Found, location: &Location, node: &NodeFragment) -> Option<Vec<Taint>> {
    let mut taints: Vec<Taint> = Vec::new();
    for written in node.taints.as_ref()? {
        match taint(written) {
            Ok(taint) if taints.iter().any(|t| t.key == taint.key && t.effect == taint.effect) => {
                let message = format!("node {}: taint {written:?} stands twice; remove one", node.name);
                found.error(location, message);
            }
            Ok(taint) => taints.push(taint),
            Err(wrong) => found.error(location, format!("node {}: taint {written:?}: {wrong}", node.name)),
        }
    }
    Some(taints)
}

fn taint(written: &str) -> Result<Taint, String> {
    let Some((what, effect)) = written.rsplit_once(':') else {
        return Err("expected KEY=VALUE:EFFECT or KEY:EFFECT, found no ':'; write such as gpu=true:NoSchedule".into());
    };
    let Some(effect) = Effect::ALL.into_iter().find(|known| known.word() == effect) else {
        let words = Effect::ALL.map(Effect::word);
        let hint = nearest(effect, words).map_or_else(String::new, |meant| format!("; write {meant} if that is meant"));
        return Err(format!("expected an effect of {}, found {effect:?}{hint}", words.join(", ")));
    };
    let (key, value) = what.split_once('=').unwrap_or((what, ""));
    if !is_label_key(key) || !is_label_part(value, true) {
        return Err("expected key and value of letters, digits, '-', '_', '.'; change them".into());
    }
    Ok(Taint { key: key.to_owned(), value: value.to_owned(), effect })
}
