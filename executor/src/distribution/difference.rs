//! In what settings differ, by what they mean.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

/// A setting that is otherwise than it should be; none where it is not there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// Such as `maxPods`, `eviction.hard.memory` or `--v`.
    pub name: String,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, old, new } = self;
        write!(f, "{name}: {} -> {}", shown(old.as_ref()), shown(new.as_ref()))
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// What of `found` is not as `wanted`. Where one side does not name a setting and the other one names the value that
/// stands for nothing, that is no difference, unless `said` names it: programs write out what nobody said.
pub(crate) fn between(found: &Value, wanted: &Value, said: &Value) -> Vec<Change> {
    let (found, wanted, said) = (leaves(found), leaves(wanted), leaves(said));
    let names: std::collections::BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let change = |name: &String| {
        let (old, new) = (found.get(name), wanted.get(name));
        let is_same = match (old, new) {
            (Some(one), None) | (None, Some(one)) => is_nothing(one) && !said.contains_key(name),
            (old, new) => old == new,
        };
        (!is_same).then(|| Change { name: name.clone(), old: old.cloned(), new: new.cloned() })
    };
    names.into_iter().filter_map(change).collect()
}

/// The values of a tree by their paths; a list is one value.
fn leaves(tree: &Value) -> BTreeMap<String, Value> {
    fn descend(value: &Value, path: &str, into: &mut BTreeMap<String, Value>) {
        if let Some(entries) = value.as_object().filter(|entries| !entries.is_empty()) {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                descend(value, &path, into);
            }
        } else if !path.is_empty() {
            into.insert(path.to_owned(), value.clone());
        }
    }
    let mut all = BTreeMap::new();
    descend(tree, "", &mut all);
    all
}

/// What Kubernetes' programs write where nobody said anything.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => matches!(text.as_str(), "" | "0s" | "0"),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Array(values) => values.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) => false,
    }
}

/// In what the arguments of a program differ: by name, one that stands several times by all its values.
pub(crate) fn arguments<'a>(
    found: impl Iterator<Item = &'a str>,
    wanted: impl Iterator<Item = &'a str>,
) -> Vec<Change> {
    let (found, wanted) = (by_name(found), by_name(wanted));
    let names: std::collections::BTreeSet<&&str> = found.keys().chain(wanted.keys()).collect();
    let text = |values: Option<&Vec<&str>>| values.map(|values| Value::from(values.join(" ")));
    let change = |name: &&&str| {
        let (old, new) = (found.get(**name), wanted.get(**name));
        (old != new).then(|| Change { name: format!("--{name}"), old: text(old), new: text(new) })
    };
    names.iter().filter_map(change).collect()
}

fn by_name<'a>(arguments: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for argument in arguments.filter_map(|argument| argument.strip_prefix("--")) {
        let (name, value) = argument.split_once('=').unwrap_or((argument, "true"));
        all.entry(name).or_default().push(value);
    }
    all.values_mut().for_each(|values| values.sort_unstable());
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(changes: &[Change]) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn settings_are_compared_by_what_they_mean() {
        let found = json!({ "maxPods": 110, "syncFrequency": "0s", "logging": { "verbosity": 0 }, "failSwapOn": false,
            "evictionHard": { "memory.available": "100Mi" } });
        let wanted = json!({ "maxPods": 50, "memorySwap": {}, "evictionHard": { "memory.available": "200Mi" } });
        assert_eq!(
            said(&between(&found, &wanted, &wanted)),
            [
                "evictionHard.memory.available: 100Mi -> 200Mi",
                "failSwapOn: false -> none",
                "maxPods: 110 -> 50",
                "memorySwap: none -> {}",
            ]
        );
        assert!(between(&json!({ "a": { "b": [] } }), &json!({}), &json!({})).is_empty());
        assert!(between(&found, &found, &Value::Null).is_empty());
    }

    #[test]
    fn a_zero_that_somebody_said_is_a_setting() {
        let (found, wanted) = (json!({ "conntrack": {} }), json!({ "conntrack": { "maxPerCore": 0 } }));
        assert!(between(&found, &wanted, &json!({})).is_empty());
        assert_eq!(said(&between(&found, &wanted, &wanted)), ["conntrack.maxPerCore: none -> 0"]);
    }

    #[test]
    fn arguments_are_compared_whatever_their_order() {
        let found = ["kube-apiserver", "--v=2", "--a=1", "--a=2", "--gone=x", "--profiling"];
        let wanted = ["kube-apiserver", "--a=2", "--a=1", "--v=4", "--new=", "--profiling=true"];
        let changes = arguments(found.into_iter(), wanted.into_iter());
        assert_eq!(said(&changes), ["--gone: x -> none", "--new: none -> ", "--v: 2 -> 4"]);
    }
}
