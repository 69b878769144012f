//! What the API server says of nodes and of what runs in the cluster, in named fields alone.

use std::collections::BTreeMap;

use hostler_plan::import::{Addon, AnswerNode};
use serde_json::Value;

use crate::host::{Administrator, ClusterError};

/// Objects that are asked for at a time; a Node has 10 KiB.
const PAGE: usize = 100;

/// As many as a fleet file may have.
const MAX_NODES: usize = 1000;

/// Pods of `kube-system` that are looked at, and what is told of each other kind.
const MAX_PODS: usize = 5000;
const MAX_TOLD: usize = 200;

/// A text that a person chose; labels have 63 characters, names 253.
const MAX_TEXT: usize = 512;

pub(super) fn version(administrator: &dyn Administrator) -> Result<String, ClusterError> {
    let path = "/version";
    let text = administrator.get(path)?.ok_or_else(|| unreadable(path, "nothing is there"))?;
    let read: Value = serde_json::from_str(&text).map_err(|e| unreadable(path, &e.to_string()))?;
    let version = read["gitVersion"].as_str().ok_or_else(|| unreadable(path, "it names no gitVersion"))?;
    Ok(cut(version))
}

pub(super) fn nodes(administrator: &dyn Administrator) -> Result<Vec<AnswerNode>, ClusterError> {
    let path = "/api/v1/nodes";
    let (nodes, has_more) = list(administrator, path, MAX_NODES, node)?;
    if has_more {
        return Err(unreadable(path, &format!("it has more than {MAX_NODES} objects")));
    }
    if nodes.is_empty() {
        return Err(unreadable(path, "the cluster has no node"));
    }
    Ok(nodes)
}

fn node(object: &Value) -> Option<AnswerNode> {
    let (metadata, info) = (&object["metadata"], &object["status"]["nodeInfo"]);
    let labels: BTreeMap<String, String> =
        metadata["labels"].as_object().into_iter().flatten().map(|(key, value)| (cut(key), text(value))).collect();
    let role = |role: &str| labels.contains_key(&format!("node-role.kubernetes.io/{role}"));
    let addresses = object["status"]["addresses"].as_array().into_iter().flatten();
    let addresses = addresses.filter(|a| a["type"] == "InternalIP").map(|a| text(&a["address"])).collect();
    let taints = object["spec"]["taints"].as_array().into_iter().flatten().map(taint).collect();
    Some(AnswerNode {
        name: text(&metadata["name"]),
        is_server: role("control-plane") || role("master"),
        arch: text(&info["architecture"]),
        addresses,
        taints,
        version: text(&info["kubeletVersion"]),
        runtime: text(&info["containerRuntimeVersion"]),
        labels,
    })
}

/// As `kubectl taint` writes it.
fn taint(taint: &Value) -> String {
    let (key, value, effect) = (text(&taint["key"]), text(&taint["value"]), text(&taint["effect"]));
    if value.is_empty() { format!("{key}:{effect}") } else { format!("{key}={value}:{effect}") }
}

/// What somebody put there: what runs on every node, and what stands beside the cluster's own. What is beyond the limit
/// is named in `left_out`.
pub(super) fn addons(
    administrator: &dyn Administrator,
    own: &[&str],
    left_out: &mut Vec<String>,
) -> Result<Vec<Addon>, ClusterError> {
    let mut found = Vec::new();
    for (kind, path) in
        [("DaemonSet", "/apis/apps/v1/daemonsets"), ("Deployment", "/apis/apps/v1/namespaces/kube-system/deployments")]
    {
        let (some, has_more) = list(administrator, path, MAX_TOLD, |object| {
            let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
            let is_own = namespace == "kube-system" && own.contains(&name.as_str());
            let image = text(&object["spec"]["template"]["spec"]["containers"][0]["image"]);
            (!is_own).then(|| Addon { kind: kind.to_owned(), namespace, name, image })
        })?;
        found.extend(some);
        if has_more {
            left_out.push(format!("every {kind} after the first {MAX_TOLD} ({path})"));
        }
    }
    found.sort();
    Ok(found)
}

/// Pods that kubelets run from files, but for those of these names before the node's. What is beyond the limit is named
/// in `left_out`.
pub(super) fn static_pods(
    administrator: &dyn Administrator,
    own: &[&str],
    left_out: &mut Vec<String>,
) -> Result<Vec<String>, ClusterError> {
    let (mut found, has_more) = list(administrator, "/api/v1/namespaces/kube-system/pods", MAX_PODS, |object| {
        let metadata = &object["metadata"];
        let is_static = metadata["annotations"]["kubernetes.io/config.mirror"].is_string();
        let (name, node) = (text(&metadata["name"]), text(&object["spec"]["nodeName"]));
        let is_own = own.iter().any(|own| name == format!("{own}-{node}"));
        (is_static && !is_own).then(|| format!("kube-system/{name}"))
    })?;
    if has_more {
        left_out.push(format!("every pod of kube-system after the first {MAX_PODS}, static ones among them"));
    }
    found.sort();
    if found.len() > MAX_TOLD {
        left_out.push(format!("every static pod of kube-system after the first {MAX_TOLD}"));
        found.truncate(MAX_TOLD);
    }
    Ok(found)
}

/// What is made of the objects of a list, page by page, and whether it has more: at most so many are looked at.
fn list<T>(
    administrator: &dyn Administrator,
    path: &str,
    most: usize,
    mut of: impl FnMut(&Value) -> Option<T>,
) -> Result<(Vec<T>, bool), ClusterError> {
    let (mut found, mut seen, mut next) = (Vec::new(), 0, String::new());
    loop {
        let asked = format!("{path}?limit={PAGE}{next}");
        let Some(page) = administrator.get(&asked)? else { return Ok((found, false)) };
        let page: Value = serde_json::from_str(&page).map_err(|e| unreadable(path, &e.to_string()))?;
        let items = page["items"].as_array().ok_or_else(|| unreadable(path, "it is no list"))?;
        found.extend(items.iter().take(most - seen).filter_map(&mut of));
        if seen + items.len() > most {
            return Ok((found, true));
        }
        seen += items.len();
        // The API server's own word, which it takes back in an address.
        match page["metadata"]["continue"].as_str().filter(|word| !word.is_empty()) {
            Some(word) if word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=.~".contains(&b)) => {
                next = format!("&continue={word}");
            }
            Some(_) => return Err(unreadable(path, "it goes on with a word that is none")),
            None => return Ok((found, false)),
        }
    }
}

fn text(value: &Value) -> String {
    cut(value.as_str().unwrap_or_default())
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

fn unreadable(path: &str, reason: &str) -> ClusterError {
    ClusterError::Refused { action: format!("get {path}"), reason: reason.to_owned() }
}
