//! `kube.describe`: labels and taints of a Node. Which labels this step puts there it notes in an annotation, so that a
//! later one takes away what is no longer wanted. A kubelet may write that annotation, so that it takes away no more
//! than what a kubelet may take away itself: no taint, and no label of Kubernetes' own.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::step::configure::Describe;
use serde_json::{Map, Value, json};

use crate::{
    control::POLL,
    distribution::difference::Change,
    host::ClusterError,
    steps::action::{Action, Check, StepContext, StepError},
};

/// How often somebody else may be faster.
const TRIES: u32 = 5;

/// The keys of labels that the plans of before put there, divided by commas.
const LABELS: &str = "hostler.dev/labels";

/// The taint of a server, which kubeadm puts there.
const OF_SERVERS: &str = "node-role.kubernetes.io/control-plane:NoSchedule";

impl Action for Describe {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let node = node(context)?;
        let changes = wanted(self, &node).changes;
        if changes.is_empty() {
            return Ok(Check::Done(format!("{} is labelled and tainted so", context.subject())));
        }
        changes.iter().for_each(|change| context.observe("change", change.to_string()));
        Ok(Check::Ready)
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let path = path(context);
        let mut tries = 1;
        loop {
            let patch = wanted(self, &node(context)?).patch;
            match context.administrator()?.patch(&path, &patch) {
                Ok(()) => return Ok(()),
                // Its kubelet writes to it too.
                Err(ClusterError::Refused { .. } | ClusterError::Silent(_)) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
            context.pause(POLL)?;
        }
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let node = node(context)?;
        match wanted(self, &node).changes.first() {
            None => Ok(format!("{} is labelled and tainted so", context.subject())),
            Some(change) => Err(StepError::Failed(format!("applied, and somebody changed it again: {change}"))),
        }
    }
}

fn path(context: &StepContext<'_>) -> String {
    format!("/api/v1/nodes/{}", context.subject())
}

fn node(context: &StepContext<'_>) -> Result<Value, StepError> {
    let path = path(context);
    match context.administrator()?.get(&path)? {
        Some(text) => serde_json::from_str(&text).map_err(|e| StepError::Failed(format!("{path} cannot be read: {e}"))),
        None => Err(StepError::Failed(format!("the cluster has no Node {}; join it first", context.subject()))),
    }
}

/// What is to become of a Node.
struct Wanted {
    changes: Vec<Change>,
    /// In the form of a merge patch, of just the Node that was read.
    patch: Value,
}

fn wanted(step: &Describe, node: &Value) -> Wanted {
    let metadata = &node["metadata"];
    let noted = |key: &str| -> BTreeSet<String> {
        let text = metadata["annotations"][key].as_str().unwrap_or_default();
        text.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect()
    };
    let mut changes = Vec::new();
    let mut labels = Map::new();
    for (key, value) in &step.labels {
        let old = metadata["labels"].get(key);
        if old.and_then(Value::as_str) != Some(value) {
            changes.push(Change { name: format!("label {key}"), old: old.cloned(), new: Some(value.as_str().into()) });
            labels.insert(key.clone(), value.as_str().into());
        }
    }
    let goes = |key: &String| !step.labels.contains_key(key) && !is_of_kubernetes(key);
    for key in noted(LABELS).into_iter().filter(goes) {
        if let Some(old) = metadata["labels"].get(&key) {
            changes.push(Change { name: format!("label {key}"), old: Some(old.clone()), new: None });
        }
        labels.insert(key, Value::Null);
    }
    let keys: Vec<&str> = step.labels.keys().map(String::as_str).collect();
    let annotations = BTreeMap::from([(LABELS, keys.join(","))]);
    let mut patch = json!({ "metadata": { "labels": labels, "resourceVersion": metadata["resourceVersion"] } });
    if let Some(taints) = &step.taints {
        let old = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let new = tainted(&old, taints);
        changes.extend(taint_changes(&old, &new));
        if by_name(&old) != by_name(&new) {
            patch["spec"] = json!({ "taints": new });
        }
    }
    // A note alone is no change of the Node, but has to be there before the next one.
    let stale = annotations
        .iter()
        .find(|(key, value)| noted(key) != value.split(',').filter(|k| !k.is_empty()).map(str::to_owned).collect());
    if let (Some((key, value)), true) = (stale, changes.is_empty()) {
        changes.push(Change { name: format!("annotation {key}"), old: None, new: Some(value.as_str().into()) });
    }
    patch["metadata"]["annotations"] = json!(annotations);
    Wanted { changes, patch }
}

/// Labels of these domains a kubelet may neither give itself nor take away (NodeRestriction admission), and no fleet
/// file names one.
fn is_of_kubernetes(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    ["kubernetes.io", "k8s.io"].iter().any(|of| domain == *of || domain.ends_with(&format!(".{of}")))
}

/// The taints with those of the plan; of the others only that of a server goes.
fn tainted(old: &[Value], wanted: &[String]) -> Vec<Value> {
    let wanted: Vec<Value> = wanted.iter().map(|taint| read(taint)).collect();
    let names: BTreeSet<String> = wanted.iter().map(name).collect();
    let stays = |taint: &&Value| !names.contains(&name(taint)) && name(taint) != OF_SERVERS;
    let mut all: Vec<Value> = old.iter().filter(stays).cloned().collect();
    // When it was put there stays with one that is there.
    all.extend(wanted.into_iter().map(|taint| {
        let is_it = |o: &&Value| name(o) == name(&taint) && text(&o["value"]) == text(&taint["value"]);
        old.iter().find(is_it).cloned().unwrap_or(taint)
    }));
    all
}

fn taint_changes(old: &[Value], new: &[Value]) -> Vec<Change> {
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let shown = |value: Option<&String>| value.map(|value| Value::from(value.as_str()));
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| Change { name: format!("taint {name}"), old: shown(old.get(name)), new: shown(new.get(name)) })
        .collect()
}

fn by_name(taints: &[Value]) -> BTreeMap<String, String> {
    taints.iter().map(|taint| (name(taint), text(&taint["value"]).to_owned())).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `KEY:EFFECT`, of which a Node has one.
fn name(taint: &Value) -> String {
    format!("{}:{}", text(&taint["key"]), text(&taint["effect"]))
}

/// Of `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
fn read(taint: &str) -> Value {
    let (what, effect) = taint.rsplit_once(':').unwrap_or((taint, ""));
    match what.split_once('=') {
        Some((key, value)) => json!({ "key": key, "value": value, "effect": effect }),
        None => json!({ "key": what, "effect": effect }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(labels: &[(&str, &str)], taints: Option<&[&str]>) -> Describe {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Describe { labels, taints: taints.map(|taints| taints.iter().map(|t| (*t).to_owned()).collect()) }
    }

    fn patched(node: &Value, step: &Describe) -> Value {
        let mut node = node.clone();
        let patch = wanted(step, &node).patch;
        crate::host::merge_patch(&mut node, &patch);
        node
    }

    #[test]
    fn what_is_no_longer_wanted_goes_and_what_others_put_there_stays() {
        let node = json!({ "metadata": { "labels": { "of/others": "1", "disk": "hdd" }, "resourceVersion": "7" },
            "spec": { "taints": [{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" },
                { "key": "of/others", "effect": "NoExecute" }] } });
        let first = step(&[("disk", "ssd"), ("zone", "a")], Some(&["gpu=true:NoSchedule"]));
        let changes: Vec<String> = wanted(&first, &node).changes.iter().map(ToString::to_string).collect();
        assert_eq!(changes[..2], ["label disk: hdd -> ssd", "label zone: none -> a"]);
        let node = patched(&node, &first);
        assert_eq!(node["metadata"]["labels"], json!({ "of/others": "1", "disk": "ssd", "zone": "a" }));
        assert_eq!(by_name(node["spec"]["taints"].as_array().unwrap()).len(), 2);
        assert!(wanted(&first, &node).changes.is_empty(), "a second time nothing is changed");
        let node = patched(&node, &step(&[("zone", "a")], Some(&[])));
        assert_eq!(node["metadata"]["labels"], json!({ "of/others": "1", "zone": "a" }));
        assert_eq!(by_name(node["spec"]["taints"].as_array().unwrap()).len(), 2, "a taint goes by hand");
    }

    #[test]
    fn a_note_that_a_kubelet_may_write_takes_away_nothing_that_it_may_not() {
        let mut labels = json!({ "node-restriction.kubernetes.io/pci": "1", "node-role.kubernetes.io/db": "",
            "a.k8s.io/b": "" });
        let left = labels.clone();
        labels["disk"] = "ssd".into();
        let notes = json!({ "hostler.dev/labels":
                "node-restriction.kubernetes.io/pci,node-role.kubernetes.io/db,a.k8s.io/b,disk",
            "hostler.dev/taints": "quarantine:NoExecute" });
        let node = json!({ "metadata": { "labels": labels, "annotations": notes },
            "spec": { "taints": [{ "key": "quarantine", "effect": "NoExecute" }] } });
        let after = patched(&node, &step(&[], Some(&[])));
        assert_eq!(after["spec"], node["spec"]);
        assert_eq!(after["metadata"]["labels"], left);
    }

    #[test]
    fn taints_are_left_alone_where_the_fleet_file_says_nothing_of_them() {
        let node = json!({ "metadata": {}, "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }] } });
        let wanted = wanted(&step(&[], None), &node);
        assert!(wanted.changes.is_empty() && wanted.patch["spec"].is_null(), "{}", wanted.patch);
    }
}
