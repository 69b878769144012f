//! From what a server read of its cluster to a fleet file.

use std::{collections::BTreeSet, net::IpAddr};

use toml::Value;

use crate::{
    id::{Arch, NodeName},
    step::ClusterRole,
    text::{clean, count},
};

use super::{
    answer::{Addon, Answer, AnswerNode},
    defaults::{SERVER_TAINT, is_own_label, is_passing_taint, is_reserved_label},
    draft::{Entry, FileDraft, Table},
    settings,
};

/// A machine on which an agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// As the roster calls it.
    pub name: NodeName,
    /// As the cluster calls it.
    pub object: NodeName,
    pub role: ClusterRole,
    pub arch: Arch,
}

/// The fleet file of a cluster, with what it cannot say. `fleet` is its name where the cluster's own is none.
pub fn fleet_file(answer: &Answer, enrolled: &[Enrolled], fleet: &str) -> FileDraft {
    let mut draft = FileDraft::default();
    let settings = answer.settings();
    let reader = answer.node.as_str();
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-')
    };
    let name = if is_name(&settings.name) { settings.name.as_str() } else { fleet };
    draft.top.push(Entry::new("name", name, "clusterName of kubeadm-config"));
    draft.top.push(Entry::new("distribution", "kubeadm", format!("{reader} found kube-system/kubeadm-config")));
    draft.top.push(Entry::new("version", version(answer, &mut draft.unsaid), "of the API server"));
    nodes(answer, enrolled, &mut draft);
    let api = settings::endpoint(answer, &draft.nodes, &mut draft.unsaid);
    let is_lone = settings::is_lone(&api, &draft.nodes);
    draft.top.push(Entry::new("api", api, "controlPlaneEndpoint of kubeadm-config"));
    machine(answer, &mut draft);
    if is_lone {
        draft.say(
            "[kubeadm] is left out: the endpoint is one of several servers, and Hostler lets no further node in \
             behind it; give the cluster a name or address that stays when a server goes, and import again",
        );
    } else {
        settings::tables(answer, &mut draft);
    }
    found(answer, &mut draft);
    draft
}

/// What runs is what counts; what the settings name is what the next upgrade begins with.
fn version(answer: &Answer, unsaid: &mut Vec<String>) -> String {
    let (runs, noted) = (&answer.version, &answer.settings().version);
    if !noted.is_empty() && noted != runs {
        unsaid.push(format!(
            "the API server of {} runs {}, and kubeadm-config names {}: an upgrade was not ended",
            answer.node,
            clean(runs),
            clean(noted)
        ));
    }
    runs.clone()
}

/// Every Node object, servers first.
fn nodes(answer: &Answer, enrolled: &[Enrolled], draft: &mut FileDraft) {
    let mut found: Vec<&AnswerNode> = answer.nodes.iter().collect();
    found.sort_by_key(|node| (!node.is_server, node.name.as_str()));
    let (mut silent, mut reserved) = (Vec::new(), BTreeSet::new());
    for node in found {
        let agent = enrolled.iter().find(|e| e.object.as_str() == node.name);
        let arch = match node.arch.as_str() {
            "arm64" => Arch::Aarch64,
            "amd64" => Arch::X86_64,
            other => {
                draft.say(format!("node {} is left out: its processor is {:?}", clean(&node.name), clean(other)));
                continue;
            }
        };
        let name = match (agent, NodeName::new(node.name.as_str())) {
            (Some(agent), _) => agent.name.clone(),
            (None, Ok(name)) => name,
            (None, Err(e)) => {
                draft.say(format!("a node is left out: {e}"));
                continue;
            }
        };
        let role = if node.is_server { ClusterRole::Server } else { ClusterRole::Worker };
        match agent {
            None => silent.push(name.to_string()),
            Some(agent) if agent.role != role => draft.say(format!(
                "{name} is a {role} of the cluster and enrolled as a {}: enrol it again with a token of that role",
                agent.role
            )),
            Some(_) => {}
        }
        if node.version != answer.version {
            draft.say(format!("{name} runs {}, the API server {}", clean(&node.version), clean(&answer.version)));
        }
        reserved.extend(node.labels.keys().filter(|key| is_reserved_label(key) && !is_own_label(key)).cloned());
        let as_object = if name.as_str() == node.name { String::new() } else { format!(", the Node {}", node.name) };
        let mut table = Table::new("", format!("kubelet {}, {}{as_object}", node.version, node.runtime));
        table.add("name", name.as_str());
        table.add("role", role.word());
        table.add("arch", arch.to_string());
        table.add("address", address(node, draft).unwrap_or_default());
        table.add("labels", labels(node));
        taints(node, &mut table);
        if node.name == answer.node.as_str() || agent.is_some_and(|agent| agent.name == answer.node) {
            table.add("kubelet_args", settings::args(&settings::own_kubelet_args(answer)));
        }
        draft.nodes.push(table);
    }
    if !silent.is_empty() {
        let them = if silent.len() == 1 { "it" } else { "them" };
        draft.say(format!(
            "no agent runs on {}: enrol {them} (`hostler token create`) before anything is done there",
            silent.join(", ")
        ));
    }
    for gone in enrolled.iter().filter(|e| !answer.nodes.iter().any(|node| node.name == e.object.as_str())) {
        draft.say(format!("{} is enrolled and no Node of the cluster; it is left out", gone.name));
    }
    if !reserved.is_empty() {
        let keys: Vec<&str> =
            reserved.iter().take(8).map(|key| key.rsplit_once('/').map_or("", |(at, _)| at)).collect();
        let keys: BTreeSet<&str> = keys.into_iter().collect();
        draft.say(format!(
            "{} of Kubernetes' own domains are left out, because no kubelet may give itself one: below {}",
            count(reserved.len(), "label"),
            keys.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
}

/// The first one that is an address; of two families the file has one.
fn address(node: &AnswerNode, draft: &mut FileDraft) -> Option<String> {
    let mut addresses = node.addresses.iter().filter(|a| a.parse::<IpAddr>().is_ok());
    let first = addresses.next()?.clone();
    if let Some(second) = addresses.next() {
        draft.say(format!("{} has the address {second} too, for which the file has no word", node.name));
    }
    Some(first)
}

fn labels(node: &AnswerNode) -> toml::Table {
    let own = node.labels.iter().filter(|(key, _)| !is_own_label(key) && !is_reserved_label(key));
    own.map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

/// None where kubeadm's own habit counts.
fn taints(node: &AnswerNode, table: &mut Table) {
    let kept: Vec<&str> = node.taints.iter().map(String::as_str).filter(|taint| !is_passing_taint(taint)).collect();
    let habit: &[&str] = if node.is_server { &[SERVER_TAINT] } else { &[] };
    if kept != habit {
        let taints: Vec<Value> = kept.into_iter().map(Value::from).collect();
        table.entries.push(Entry::new("taints", taints, ""));
    }
}

/// Hostler makes nothing of these machines that they are not: what it does by default is not wanted here.
fn machine(answer: &Answer, draft: &mut FileDraft) {
    let mut table =
        Table::new("machine", "nothing of the machines is changed; remove a line to let Hostler do its own");
    let none = "Hostler's default: br_netfilter, overlay";
    table.entries.push(Entry::new("modules", Vec::<Value>::new(), none));
    let none = "Hostler's default: what bridges and forwarding need";
    table.entries.push(Entry::new("sysctl", toml::Table::new(), none));
    if answer.settings().kubelet.get("failSwapOn") == Some(&serde_json::Value::Bool(false)) {
        table.entries.push(Entry::new("swap", "allowed", "failSwapOn of kubelet-config"));
    }
    draft.table(table);
}

/// What the file has no words for.
fn found(answer: &Answer, draft: &mut FileDraft) {
    let machine = &answer.machine;
    let reader = &answer.node;
    if !machine.packages.is_empty() {
        let packages: Vec<String> =
            machine.packages.iter().map(|(name, version)| format!("{} {}", clean(name), clean(version))).collect();
        draft.say(format!(
            "on {reader} these came as packages: {}; lock packages of them for an upgrade (`hostler artifact lock`), \
             no programs",
            packages.join(", ")
        ));
    }
    if !machine.sandbox_image.is_empty() || !machine.registries.is_empty() {
        let mut said = Vec::new();
        if !machine.sandbox_image.is_empty() {
            said.push(format!("sandbox image {}", clean(&machine.sandbox_image)));
        }
        if !machine.registries.is_empty() {
            said.push(format!("registries {}", clean(&machine.registries.join(", "))));
        }
        draft.say(format!(
            "containerd's settings on {reader} ({}) stay as they are: with container_runtime of [machine] Hostler \
             would write all of them",
            said.join(", ")
        ));
    }
    for Addon { kind, namespace, name, image } in &answer.addons {
        draft.say(format!("{} {} of {} ({})", clean(kind), clean(name), clean(namespace), clean(image)));
    }
    for pod in &answer.static_pods {
        draft.say(format!("static pod {}, which kubeadm did not make", clean(pod)));
    }
    for masked in &answer.masked {
        draft.say(format!("{}: its value may be a secret and was not read; write it yourself", clean(masked)));
    }
    for name in &answer.left_out {
        draft.say(format!("{} is not read; look at it yourself", clean(name)));
    }
    let others = answer.nodes.len().saturating_sub(1);
    if others > 0 {
        draft.say(format!("what the kubelets of {} are started with was not read", count(others, "other node")));
    }
}
