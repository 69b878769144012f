//! Where a pod's replacement may run, as far as that is certain: labels, hard taints and volumes that exist on certain
//! nodes only. Free memory and the like change by the minute and decide nothing here.

use crate::host::{Effect, Node, Operator, Pod, Requirement, Taint, Toleration};

/// Why a replacement can certainly run on none of `nodes`; `None` where it can, or where nobody can tell.
pub(super) fn fits_nowhere(pod: &Pod, nodes: &[Node], drained: &str) -> Option<String> {
    if pod.placement.foreign_scheduler {
        return None;
    }
    let others: Vec<&Node> = nodes.iter().filter(|n| n.name != drained && !n.unschedulable).collect();
    if others.iter().any(|node| fits(pod, node)) {
        return None;
    }
    let volume = pod.volumes.iter().find(|v| !v.terms.is_empty() && !others.iter().any(|n| one_of(&v.terms, n)));
    Some(match (volume, pod.placement.node_selector.iter().next()) {
        (Some(volume), _) => {
            format!("volume {} exists on {drained} only", volume.volume.as_deref().unwrap_or(&volume.claim))
        }
        (None, Some((key, value))) => format!("it fits on no other node ({key}={value})"),
        (None, None) => "it fits on no other node".into(),
    })
}

fn fits(pod: &Pod, node: &Node) -> bool {
    let placement = &pod.placement;
    placement.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && one_of(&placement.terms, node)
        && node.taints.iter().all(|t| t.effect == Effect::PreferNoSchedule || tolerated(t, &placement.tolerations))
        && pod.volumes.iter().all(|v| one_of(&v.terms, node))
}

fn one_of(terms: &[Vec<Requirement>], node: &Node) -> bool {
    terms.is_empty() || terms.iter().any(|all| all.iter().all(|r| holds(r, |key| node.labels.get(key))))
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
