//! Where a pod's replacement may run, as far as that is certain: labels, hard taints and volumes that exist on certain
//! nodes only. Free memory and the like change by the minute and decide nothing here.

use std::fmt;

use crate::cluster::{Effect, Node, Operator, Pod, PodVolume, Requirement, Taint, Toleration};

/// Why a pod's replacement can certainly run on no node but the drained one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlace {
    /// There is no other node that is schedulable.
    NoOther,
    /// A volume exists on this node alone.
    Volume { name: String, node: String },
    /// No other node has this label.
    Selector { key: String, value: String },
    /// No other node meets its required node affinity.
    Affinity,
    /// Every other node that would do has a taint that it does not tolerate; one of them.
    Taint { key: String },
}

impl NoPlace {
    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            NoPlace::NoOther => "Uncordon or add a node".into(),
            NoPlace::Volume { .. } => "Move its data, or let its budget allow the outage".into(),
            NoPlace::Selector { key, value } => format!("Label another node {key}={value}"),
            NoPlace::Affinity => "Give another node the labels that it asks for".into(),
            NoPlace::Taint { key } => format!("Let it tolerate {key}, or take that taint off a node"),
        }
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoPlace::NoOther => f.write_str("no other node is schedulable"),
            NoPlace::Volume { name, node } => write!(f, "volume {name} exists on {node} only"),
            NoPlace::Selector { key, value } => write!(f, "it fits on no other node ({key}={value})"),
            NoPlace::Affinity => f.write_str("it fits on no other node (required node affinity)"),
            NoPlace::Taint { key } => write!(f, "it fits on no other node (taint {key})"),
        }
    }
}

/// Why a replacement can certainly run on none of `nodes`; `None` where it can, or where nobody can tell.
pub fn fits_nowhere(pod: &Pod, nodes: &[Node], drained: &str) -> Option<NoPlace> {
    if pod.placement.foreign_scheduler {
        return None;
    }
    let others: Vec<&Node> = nodes.iter().filter(|n| n.name != drained && !n.unschedulable).collect();
    if others.iter().any(|node| fits(pod, node)) {
        return None;
    }
    if others.is_empty() {
        return Some(NoPlace::NoOther);
    }
    let unmet = |volume: &&PodVolume| !others.iter().any(|node| one_of(&volume.terms, node));
    if let Some(volume) = pod.volumes.iter().find(unmet) {
        let name = volume.volume.as_ref().unwrap_or(&volume.claim).clone();
        return Some(NoPlace::Volume { name, node: drained.to_owned() });
    }
    let unlabelled = |(key, value): &(&String, &String)| !others.iter().any(|n| n.labels.get(*key) == Some(*value));
    if let Some((key, value)) = pod.placement.node_selector.iter().find(unlabelled) {
        return Some(NoPlace::Selector { key: key.clone(), value: value.clone() });
    }
    if !others.iter().any(|node| one_of(&pod.placement.terms, node)) {
        return Some(NoPlace::Affinity);
    }
    let taints = others.iter().flat_map(|node| node.taints.iter());
    let hard =
        |taint: &&Taint| taint.effect != Effect::PreferNoSchedule && !tolerated(taint, &pod.placement.tolerations);
    let (mut taints, mut selectors) = (taints.filter(hard), pod.placement.node_selector.iter());
    Some(match (taints.next(), selectors.next()) {
        (Some(taint), _) => NoPlace::Taint { key: taint.key.clone() },
        // Each of these holds on some node, and never all on one.
        (None, Some((key, value))) => NoPlace::Selector { key: key.clone(), value: value.clone() },
        (None, None) => NoPlace::Affinity,
    })
}

fn fits(pod: &Pod, node: &Node) -> bool {
    let placement = &pod.placement;
    placement.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && one_of(&placement.terms, node)
        && node.taints.iter().all(|t| t.effect == Effect::PreferNoSchedule || tolerated(t, &placement.tolerations))
        && pod.volumes.iter().all(|v| one_of(&v.terms, node))
}

/// The field of a node that a term may ask for; no label of Kubernetes has this name.
const NAME_FIELD: &str = "metadata.name";

fn one_of(terms: &[Vec<Requirement>], node: &Node) -> bool {
    let value = |key: &str| if key == NAME_FIELD { Some(&node.name) } else { node.labels.get(key) };
    terms.is_empty() || terms.iter().any(|all| all.iter().all(|r| holds(r, value)))
}

/// Whether an expression holds for labels.
pub(super) fn holds<'a>(requirement: &Requirement, label: impl Fn(&str) -> Option<&'a String>) -> bool {
    let found = label(&requirement.key);
    let number = |text: &str| text.parse::<i64>().ok();
    let compare = |than: fn(i64, i64) -> bool| {
        let pair = found.and_then(|f| number(f)).zip(requirement.values.first().and_then(|v| number(v)));
        pair.is_some_and(|(found, wanted)| than(found, wanted))
    };
    match requirement.operator {
        Operator::In => found.is_some_and(|f| requirement.values.contains(f)),
        Operator::NotIn => found.is_none_or(|f| !requirement.values.contains(f)),
        Operator::Exists => found.is_some(),
        Operator::DoesNotExist => found.is_none(),
        Operator::Gt => compare(|found, wanted| found > wanted),
        Operator::Lt => compare(|found, wanted| found < wanted),
    }
}

fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| {
        t.key.as_ref().is_none_or(|key| *key == taint.key)
            && t.value.as_ref().is_none_or(|value| *value == taint.value)
            && t.effect.is_none_or(|effect| effect == taint.effect)
    })
}
