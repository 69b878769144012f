//! From what was written to what is meant, with every problem named.

use std::collections::BTreeMap;

use crate::{
    distribution::{self, Distribution},
    form,
    health::Thresholds,
    id::{Arch, NodeName},
    step::{ClusterRole, Reaction, Reactions},
    text::count,
    version::Version,
};

use super::{
    ApiAddress, Canary, Fleet, FleetNode, FleetPolicy, Group, artifact,
    fragment::{At, Merged, NodeFragment},
    problem::{FleetError, Location, Problem, nearest},
};

/// A month: what the default trust root allows a plan to live at most is shorter still.
const PLAN_LIFETIME_SECONDS: (u64, u64) = (60, 31 * 86_400);

/// More nodes than any plan's size allows.
const MAX_NODES: usize = 1000;

pub(super) struct Found {
    top: Location,
    pub(super) errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Found {
    pub(super) fn error(&mut self, location: &Location, message: String) {
        self.errors.push(Problem { location: location.clone(), message });
    }

    /// What is nowhere, or about the whole: it is looked for at the top.
    fn missing(&mut self, message: &str) {
        self.errors.push(Problem { location: self.top.clone(), message: message.to_owned() });
    }
}

pub(super) fn fleet(merged: Merged) -> Result<(Fleet, Vec<Problem>), FleetError> {
    let mut found = Found { top: merged.top.clone(), errors: Vec::new(), warnings: Vec::new() };
    let name = name(&mut found, merged.name.as_ref());
    let distribution = distribution(&mut found, merged.distribution.as_ref());
    let fleet_version = version(&mut found, merged.version.as_ref(), distribution);
    let api = api(&mut found, merged.api.as_ref());
    let mut groups = BTreeMap::new();
    for (name, group) in merged.groups.clone() {
        if let Some(Err(error)) = group.health.as_ref().map(Thresholds::from_table) {
            found.missing(&format!("group {name}: {error}"));
        }
        groups.insert(name, Group { health: group.health });
    }
    let nodes = nodes(&mut found, &merged.nodes, &groups);
    let policy = policy(&mut found, &merged, &nodes);
    let artifacts = artifact::check(&mut found, &merged.artifacts, distribution);
    match (name, distribution, fleet_version, api, found.errors.is_empty()) {
        (Some(name), Some(distribution), Some(version), Some(api), true) => {
            let fleet = Fleet { name, distribution, version, api, policy, nodes, artifacts, groups };
            Ok((fleet, found.warnings))
        }
        _ => Err(FleetError(found.errors)),
    }
}

fn name(found: &mut Found, name: Option<&At<String>>) -> Option<String> {
    let Some(At { value, location }) = name else {
        found.missing("the fleet has no name; write name = \"my-fleet\" at the top");
        return None;
    };
    if NodeName::new(value.as_str()).is_err() {
        found.error(
            location,
            format!("fleet name: expected 1 to 63 of a-z, 0-9 and '-', found {value:?}; choose another"),
        );
    }
    Some(value.clone())
}

fn distribution(found: &mut Found, written: Option<&At<String>>) -> Option<Distribution> {
    let Some(At { value, location }) = written else {
        let lines = distribution::any(|d| format!("distribution = {:?}", d.name()));
        found.missing(&format!("the fleet has no distribution; write {lines}"));
        return None;
    };
    let distribution = Distribution::named(value);
    if distribution.is_none() {
        let names = distribution::any(|d| format!("{:?}", d.name()));
        found.error(location, format!("distribution: expected {names}, found {value:?}; write one of them"));
    }
    distribution
}

fn version(found: &mut Found, written: Option<&At<String>>, distribution: Option<Distribution>) -> Option<Version> {
    let Some(At { value, location }) = written else {
        let [usual, ..] = Distribution::ALL;
        let example = distribution.unwrap_or(usual).example_version();
        found.missing(&format!("the fleet has no version; write version = {example:?} or the one you run"));
        return None;
    };
    parse_version(found, location, value, distribution)
}

pub(super) fn parse_version(
    found: &mut Found,
    location: &Location,
    text: &str,
    distribution: Option<Distribution>,
) -> Option<Version> {
    let version: Option<Version> = text.parse().ok();
    let fits = version.filter(|v| distribution.is_none_or(|d| v.is_of(d)));
    if fits.is_none() {
        let example = match distribution {
            Some(distribution) => distribution.example_version().to_owned(),
            None => distribution::any(|d| d.example_version().to_owned()),
        };
        found.error(
            location,
            format!("version: expected a version such as {example}, found {text:?}; write it in full"),
        );
    }
    fits
}

fn api(found: &mut Found, written: Option<&At<String>>) -> Option<ApiAddress> {
    let Some(At { value, location }) = written else {
        found.missing(
            "the fleet has no API address; write api = \"HOST:6443\" with the first server or its virtual address",
        );
        return None;
    };
    let address = form::host_and_port(value).map(|(host, port)| ApiAddress { host: host.to_owned(), port });
    if address.is_none() {
        found.error(
            location,
            format!("api: expected HOST:PORT such as 192.168.1.11:6443, found {value:?}; add the port"),
        );
    }
    address
}

fn nodes(found: &mut Found, written: &[At<NodeFragment>], groups: &BTreeMap<String, Group>) -> Vec<FleetNode> {
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
        if let Some(group) = &n.group
            && !groups.contains_key(group)
        {
            let hint = nearest(group, groups.keys().map(String::as_str))
                .map_or_else(|| format!("add [groups.{group}]"), |meant| format!("write {meant:?} if that is meant"));
            found.error(location, format!("node {}: expected a group of this file, found {group:?}; {hint}", n.name));
        }
        if n.first && role == Some(ClusterRole::Worker) {
            found.error(
                location,
                format!("node {}: only a server can be first, found role worker; remove first", n.name),
            );
        }
        if n.first
            && let Some((earlier, other)) = first.replace((location, &n.name))
        {
            let message = format!("two first servers: {other} at {earlier} and {}; keep one first = true", n.name);
            found.error(location, message);
        }
        let (Ok(name), Some(role), Some(arch)) = (name, role, arch) else { continue };
        if let Some(earlier) = locations.insert(name.clone(), location) {
            found.error(location, format!("node {name} stands twice, first at {earlier}; rename or remove one"));
        }
        nodes.push(FleetNode { name, role, arch, first: n.first, labels: n.labels.clone(), group: n.group.clone() });
    }
    servers(found, &mut nodes, written, first.is_some());
    nodes
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
            "the fleet has no server: expected role = \"server\" for one node at least, found {} with role = \
             \"worker\"; write it for the one that holds the cluster's state",
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
        other => {
            found.error(
                location,
                format!("role: expected \"server\" or \"worker\", found {other:?}; write one of them"),
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

/// Forms by the Kubernetes documentation, "Labels and Selectors"; a kubelet may not give itself labels of
/// kubernetes.io.
fn labels(found: &mut Found, location: &Location, node: &NodeFragment) {
    let part = |text: &str, empty: bool| {
        (empty && text.is_empty())
            || text.len() <= 63
                && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.ends_with(|c: char| c.is_ascii_alphanumeric())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    for (key, value) in &node.labels {
        let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
        if !part(name, false) || prefix.len() > 253 || !prefix.split('.').all(|p| part(p, true)) || !part(value, true) {
            let message = format!(
                "node {}: {key:?} = {value:?} is not a Kubernetes label; use letters, digits, '-', '_', '.'",
                node.name
            );
            found.error(location, message);
        }
        let reserved = ["kubernetes.io", "k8s.io"].iter().any(|r| prefix == *r || prefix.ends_with(&format!(".{r}")));
        if reserved {
            let message =
                format!("node {}: a node cannot give itself the label {key:?}; use another prefix", node.name);
            found.error(location, message);
        }
    }
}

fn policy(found: &mut Found, merged: &Merged, nodes: &[FleetNode]) -> FleetPolicy {
    let default = FleetPolicy::default();
    let mut number = |name: &str, written: &Option<At<i64>>, (least, most): (u64, u64), default: u64| {
        let Some(At { value, location }) = written else { return default };
        let fits = u64::try_from(*value).ok().filter(|value| (least..=most).contains(value));
        if fits.is_none() {
            found.error(location, format!("{name}: expected {least} to {most}, found {value}; change it"));
        }
        fits.unwrap_or(default)
    };
    let max_unavailable =
        number("max_unavailable", &merged.max_unavailable, form::MAX_UNAVAILABLE, u64::from(default.max_unavailable));
    let soak_seconds = number("soak_seconds", &merged.soak_seconds, form::WAIT_SECONDS, default.soak_seconds);
    let drain_timeout_seconds = number(
        "drain_timeout_seconds",
        &merged.drain_timeout_seconds,
        form::TIMEOUT_SECONDS,
        default.drain_timeout_seconds,
    );
    let ready_timeout_seconds = number(
        "ready_timeout_seconds",
        &merged.ready_timeout_seconds,
        form::TIMEOUT_SECONDS,
        default.ready_timeout_seconds,
    );
    let lease_seconds = number("lease_seconds", &merged.lease_seconds, form::LEASE_SECONDS, default.lease_seconds);
    let plan_lifetime_seconds = number(
        "plan_lifetime_seconds",
        &merged.plan_lifetime_seconds,
        PLAN_LIFETIME_SECONDS,
        default.plan_lifetime_seconds,
    );
    FleetPolicy {
        max_unavailable: u32::try_from(max_unavailable).unwrap_or(1),
        canary: canary(found, merged.canary.as_ref(), nodes).unwrap_or(default.canary),
        soak_seconds,
        drain_timeout_seconds,
        ready_timeout_seconds,
        lease_seconds,
        plan_lifetime_seconds,
        delete_empty_dir_data: merged.delete_empty_dir_data.unwrap_or(default.delete_empty_dir_data),
        force_unmanaged: merged.force_unmanaged.unwrap_or(default.force_unmanaged),
        new_owners: merged.new_owners.unwrap_or(default.new_owners),
        reactions: Reactions {
            never: reaction(found, "never", merged.never.as_ref()),
            slow: reaction(found, "slow", merged.slow.as_ref()),
            unreachable: reaction(found, "unreachable", merged.unreachable.as_ref()),
            taken_over: reaction(found, "taken_over", merged.taken_over.as_ref()),
        },
    }
}

/// What a drain does about that; nothing is ever ignored.
fn reaction(found: &mut Found, key: &str, written: Option<&At<toml::Value>>) -> Reaction {
    let Some(At { value, location }) = written else { return Reaction::default() };
    let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let known = Reaction::ALL.into_iter().find(|reaction| reaction.word() == word);
    if known.is_none() {
        let message = format!(
            "[policy.drain] {key}: expected \"wait\", \"stop\" or \"ask\", found {word:?}; nothing is ever ignored: \
             write \"ask\" to decide yourself, see docs/fleet-file.md"
        );
        found.error(location, message);
    }
    known.unwrap_or_default()
}

fn canary(found: &mut Found, written: Option<&At<toml::Value>>, nodes: &[FleetNode]) -> Option<Canary> {
    let At { value, location } = written?;
    if let Some(name) = value.as_str() {
        if let Some(node) = nodes.iter().find(|n| n.name.as_str() == name) {
            return Some(Canary::Node(node.name.clone()));
        }
        let hint = nearest(name, nodes.iter().map(|n| n.name.as_str()))
            .map_or_else(|| "name one of the nodes".to_owned(), |meant| format!("write {meant:?} if that is meant"));
        found.error(location, format!("canary: expected a node of the fleet, found {name:?}; {hint}"));
        return None;
    }
    let count = value.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|n| *n as usize <= nodes.len());
    if count.is_none() {
        let message =
            format!("canary: expected a node's name or a number up to {}, found {value}; change it", nodes.len());
        found.error(location, message);
    }
    count.map(Canary::Count)
}
