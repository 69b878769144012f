//! Where a pod's replacement may run, as far as that is certain: labels, hard taints and volumes that exist on certain
//! nodes only. What changes by the minute is asked in `room`.

use std::fmt;

use super::shortage::amount;
use crate::cluster::{Effect, Node, Operator, Placement, Pod, PodVolume, Requirement, Shared, Taint, Toleration};

/// Why a pod's replacement can certainly run on no node but the drained one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlace {
    /// There is no other node that is schedulable.
    NoOther,
    /// The other nodes that would take it are cordoned; one of them.
    Cordoned { node: String },
    /// A volume exists on this node alone.
    Volume { name: String, node: String },
    /// A volume exists in this zone or region alone, such as `topology.kubernetes.io/zone=a`, and no other node there
    /// is schedulable.
    Zone { volume: String, zone: String },
    /// No other node has this label.
    Selector { key: String, value: String },
    /// No other node meets its required node affinity.
    Affinity,
    /// Every other node that would do has a taint that it does not tolerate; one of them.
    Taint { key: String },
    /// It asks for more of this than any other node has, were it empty; such as `2 example.com/gpu`.
    TooLarge { asked: String },
    /// Other nodes meet some of what it asks for, and none meets all; what this one lacks.
    NoneMeetsAll { asked: String },
}

impl NoPlace {
    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            NoPlace::NoOther => "Uncordon or add a node".into(),
            NoPlace::Cordoned { node } => format!("Uncordon {node}"),
            NoPlace::Volume { .. } => "Move its data, or let its budget allow the outage".into(),
            NoPlace::Zone { .. } => "Uncordon or add a node there".into(),
            NoPlace::Selector { key, value } => format!("Label another node {key}={value}"),
            NoPlace::Affinity => "Give another node the labels that it asks for".into(),
            NoPlace::Taint { key } => format!("Let it tolerate {key}, or take that taint off a node"),
            NoPlace::TooLarge { .. } => "Add a node that has as much, or let it ask for less".into(),
            NoPlace::NoneMeetsAll { .. } => "Let one other node meet all of it".into(),
        }
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoPlace::NoOther => f.write_str("no other node is schedulable"),
            NoPlace::Cordoned { node } => {
                write!(f, "it fits on no other node that is schedulable ({node} is cordoned)")
            }
            NoPlace::Volume { name, node } => write!(f, "volume {name} exists on {node} only"),
            NoPlace::Zone { volume, zone } => {
                write!(f, "volume {volume} exists in {zone} only, and no other node there is schedulable")
            }
            NoPlace::Selector { key, value } => write!(f, "it fits on no other node ({key}={value})"),
            NoPlace::Affinity => f.write_str("it fits on no other node (required node affinity)"),
            NoPlace::Taint { key } => write!(f, "it fits on no other node (taint {key})"),
            NoPlace::TooLarge { asked } => write!(f, "no other node that would do has {asked}, were it empty"),
            NoPlace::NoneMeetsAll { asked } => write!(f, "no other node meets all that it asks for ({asked})"),
        }
    }
}

/// Why a replacement can certainly run on none of `nodes`; `None` where it can, or where nobody can tell.
pub fn fits_nowhere(pod: &Pod, nodes: &[Shared<Node>], drained: &str) -> Option<NoPlace> {
    if pod.placement.foreign_scheduler {
        return None;
    }
    let others: Vec<&Node> = nodes.iter().map(AsRef::as_ref).filter(|n: &&Node| n.name != drained).collect();
    if others.iter().any(|node| is_open(pod, node) && fits(pod, node)) {
        return None;
    }
    let open: Vec<&Node> = others.iter().copied().filter(|node| is_open(pod, node)).collect();
    if open.is_empty() {
        return Some(NoPlace::NoOther);
    }
    if let Some(node) = others.iter().find(|node| fits(pod, node)) {
        return Some(NoPlace::Cordoned { node: node.name.clone() });
    }
    Some(lacking(pod, &open, drained))
}

/// What no node of these has, although one should take the pod.
fn lacking(pod: &Pod, nodes: &[&Node], drained: &str) -> NoPlace {
    let placement = &pod.placement;
    let unmet = |volume: &&PodVolume| !nodes.iter().any(|node| one_of(&volume.terms, node));
    if let Some(volume) = pod.lasting_volumes().find(unmet) {
        let name = volume.volume.as_ref().unwrap_or(&volume.claim).clone();
        return match zone(volume) {
            Some(zone) => NoPlace::Zone { volume: name, zone },
            None => NoPlace::Volume { name, node: drained.to_owned() },
        };
    }
    let unlabelled = |(key, value): &(&String, &String)| !nodes.iter().any(|n| n.labels.get(*key) == Some(*value));
    if let Some((key, value)) = placement.node_selector.iter().find(unlabelled) {
        return NoPlace::Selector { key: key.clone(), value: value.clone() };
    }
    if !nodes.iter().any(|node| one_of(&placement.terms, node)) {
        return NoPlace::Affinity;
    }
    let asked: Vec<&Node> = nodes.iter().copied().filter(|node| asks_for(pod, node)).collect();
    let mut too_much = asked.iter().map(|node| too_much(pod, node));
    if let Some(Some((name, amounts))) = too_much.next().filter(|_| too_much.all(|more| more.is_some())) {
        return NoPlace::TooLarge { asked: amount(name, amounts) };
    }
    let hard = |taint: &&Taint| keeps_out(taint, placement);
    if let Some(taint) = asked.iter().flat_map(|node| node.taints.iter()).find(hard) {
        return NoPlace::Taint { key: taint.key.clone() };
    }
    // Each of these holds on some node, and never all on one.
    let selectors = placement.node_selector.iter().map(|(key, value)| format!("{key}={value}"));
    let affinity = (!placement.terms.is_empty()).then(|| "required node affinity".to_owned());
    let terms = pod.lasting_volumes().filter(|volume| !volume.terms.is_empty());
    let volumes = terms.map(|volume| format!("volume {}", volume.volume.as_ref().unwrap_or(&volume.claim)));
    NoPlace::NoneMeetsAll { asked: selectors.chain(affinity).chain(volumes).collect::<Vec<_>>().join(", ") }
}

/// The zone or region of a volume that more than one node could use.
fn zone(volume: &PodVolume) -> Option<String> {
    let place = volume.terms.iter().flatten().find(|r| r.key.ends_with("/zone") || r.key.ends_with("/region"))?;
    Some(format!("{}={}", place.key, place.values.join(",")))
}

/// Whether the node takes the pod for all that is certain, but for its cordon.
pub(super) fn fits(pod: &Pod, node: &Node) -> bool {
    let stays_out = || node.taints.iter().any(|taint| keeps_out(taint, &pod.placement));
    asks_for(pod, node) && too_much(pod, node).is_none() && !stays_out()
}

/// What the pod asks for and the node has less of, were it empty; none where nobody knows what it has.
fn too_much<'p>(pod: &'p Pod, node: &Node) -> Option<(&'p str, u64)> {
    let has = |name: &str| node.allocatable.get(name).copied().unwrap_or(0);
    let mut asked = pod.placement.requests.iter().filter(|_| !node.allocatable.is_empty());
    asked.find(|(name, asked)| **asked > has(name)).map(|(name, asked)| (name.as_str(), *asked))
}

/// Whether no cordon keeps the pod from the node.
pub(super) fn is_open(pod: &Pod, node: &Node) -> bool {
    !node.unschedulable || tolerates_cordons(&pod.placement)
}

/// Whether what takes the pod's place may come back to the node although it is cordoned.
pub fn may_come_back(pod: &Pod, node: &Node) -> bool {
    tolerates_cordons(&pod.placement) && fits(pod, node)
}

/// Whether a cordon does not keep such a pod out.
pub(super) fn tolerates_cordons(placement: &Placement) -> bool {
    let cordon = Taint { key: CORDON_TAINT.into(), value: String::new(), effect: Effect::NoSchedule };
    tolerated(&cordon, &placement.tolerations)
}

/// Whether what takes the pod's place is made for this very node and starts there however it is cordoned: the pods of
/// whatever works like a DaemonSet.
pub(super) fn comes_back(pod: &Pod) -> bool {
    let Placement { terms, .. } = &*pod.placement;
    let here = |r: &Requirement| {
        let only = |value: &[String]| matches!(value, [only] if Some(only) == pod.node.as_ref());
        r.key == NAME_FIELD && r.operator == Operator::In && only(&r.values)
    };
    !terms.is_empty() && terms.iter().all(|term| term.iter().any(here)) && tolerates_cordons(&pod.placement)
}

/// Whether a passing condition of the node keeps the pod out for now, by its taint.
pub(super) fn passing_taint<'n>(placement: &Placement, node: &'n Node) -> Option<&'n str> {
    let taint = node.taints.iter().find(|t| is_hard(t, placement) && is_passing(t))?;
    Some(taint.key.strip_prefix(CONDITION).unwrap_or(&taint.key))
}

/// Whether the node is one that the pod asks for.
pub(super) fn asks_for(pod: &Pod, node: &Node) -> bool {
    of_its_kind(&pod.placement, node) && pod.lasting_volumes().all(|v| one_of(&v.terms, node))
}

/// Whether the node is of the kind that the pod's selector and affinity name.
pub(super) fn of_its_kind(placement: &Placement, node: &Node) -> bool {
    placement.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && one_of(&placement.terms, node)
}

/// Whether a taint keeps the pod out, passing or not.
pub(super) fn is_hard(taint: &Taint, placement: &Placement) -> bool {
    taint.effect != Effect::PreferNoSchedule && !tolerated(taint, &placement.tolerations)
}

/// The taints of a node's conditions begin like this; they go when the node is well again.
const CONDITION: &str = "node.kubernetes.io/";
/// The cordon's own, which `unschedulable` tells already.
const CORDON_TAINT: &str = "node.kubernetes.io/unschedulable";

fn is_passing(taint: &Taint) -> bool {
    taint.key.starts_with(CONDITION) && taint.key != Taint::OUT_OF_SERVICE && taint.key != CORDON_TAINT
}

fn keeps_out(taint: &Taint, placement: &Placement) -> bool {
    taint.key != CORDON_TAINT && !is_passing(taint) && is_hard(taint, placement)
}

/// The field of a node that a term may ask for; no label of Kubernetes has this name.
const NAME_FIELD: &str = "metadata.name";

/// Whether a node meets one of these terms; one without an expression means no node.
fn one_of(terms: &[Vec<Requirement>], node: &Node) -> bool {
    let value = |key: &str| if key == NAME_FIELD { Some(&node.name) } else { node.labels.get(key) };
    terms.is_empty() || terms.iter().any(|all| !all.is_empty() && all.iter().all(|r| r.holds(value)))
}

fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| {
        t.key.as_ref().is_none_or(|key| *key == taint.key)
            && t.value.as_ref().is_none_or(|value| *value == taint.value)
            && t.effect.is_none_or(|effect| effect == taint.effect)
    })
}
