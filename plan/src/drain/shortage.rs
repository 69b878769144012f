//! What the other nodes lack for a pod just now, and what to do about it.

use std::{collections::BTreeMap, fmt};

use crate::text::count;

/// What one node lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shortage {
    /// A resource; how much of it the pod asks for, in thousandths.
    Resource { name: String, asked: u64 },
    /// It has as many pods as it may have.
    Pods,
    /// Another pod has the port.
    Port(u16),
    /// A pod that is there and this one keep apart.
    Apart,
    /// No pod is there with which this one has to be.
    Together,
    /// Pods would lie less evenly over the domains of this label than they must.
    Spread { key: String, honours_taints: bool },
    /// It cannot attach another volume of this driver.
    Volumes(String),
    /// A condition that passes, such as `not-ready`.
    Condition(String),
}

/// That no other node takes a pod just now: what is lacking, on how many nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NoRoom {
    lacking: BTreeMap<Shortage, u32>,
    /// The scheduler might push out pods of a lower priority instead.
    pub(super) may_push_out: bool,
}

/// Kinds that one sentence names.
const MAX_KINDS: usize = 3;

impl NoRoom {
    pub(super) fn add(&mut self, shortage: Shortage) {
        *self.lacking.entry(shortage).or_default() += 1;
    }
}

impl Shortage {
    /// Whether it is room alone that is lacking, which a pod of a lower priority could make.
    pub(super) fn is_room(&self) -> bool {
        match self {
            Shortage::Resource { .. } | Shortage::Pods => true,
            Shortage::Port(_)
            | Shortage::Apart
            | Shortage::Together
            | Shortage::Spread { .. }
            | Shortage::Volumes(_)
            | Shortage::Condition(_) => false,
        }
    }

    fn on(&self, nodes: u32) -> String {
        let (on, has) = (count(nodes, "node"), if nodes == 1 { "has" } else { "have" });
        match self {
            Shortage::Resource { name, asked } => format!("{on} {has} less than {} left", amount(name, *asked)),
            Shortage::Pods => format!("{on} {has} no place for another pod"),
            Shortage::Port(port) => format!("{on} {has} port {port} taken"),
            Shortage::Apart => format!("{on} {has} a pod from which it keeps apart"),
            Shortage::Together => format!("{on} {has} no pod with which it must be"),
            Shortage::Spread { key, .. } => format!("{on} {has} too many of its pods already ({key})"),
            Shortage::Volumes(driver) => format!("{on} can attach no more volumes of {driver}"),
            Shortage::Condition(what) => format!("{on} {has} the condition {what}"),
        }
    }

    fn advice(&self) -> String {
        match self {
            Shortage::Resource { name, .. } => format!("Add a node, or free {name} on one"),
            Shortage::Pods => "Add a node, or move pods off one".into(),
            Shortage::Port(port) => format!("Free port {port} on another node, or add one"),
            Shortage::Apart => "Add a node, or prefer to keep apart instead of requiring it".into(),
            Shortage::Together => "Let the pod with which it must be go first".into(),
            Shortage::Spread { key, honours_taints: true } => {
                format!("Add a node, or allow a larger maxSkew over {key}")
            }
            Shortage::Spread { key, honours_taints: false } => {
                format!("Allow a larger maxSkew over {key}, or let it honour taints (nodeTaintsPolicy)")
            }
            Shortage::Volumes(_) => "Add a node, or detach volumes from one".into(),
            Shortage::Condition(_) => "Bring that node back".into(),
        }
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lacking: Vec<(&Shortage, u32)> = self.lacking.iter().map(|(what, nodes)| (what, *nodes)).collect();
        lacking.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
        let advice = lacking.first().map_or_else(String::new, |(what, _)| what.advice());
        let said: Vec<String> = lacking.iter().take(MAX_KINDS).map(|(what, nodes)| what.on(*nodes)).collect();
        write!(f, "no other node has room for it just now: {}. {advice}", said.join(", "))
    }
}

/// `500m cpu`, `2 cpu`, `512Mi memory`, `64Mi hugepages-2Mi`, `1 example.com/gpu`.
pub(super) fn amount(name: &str, thousandths: u64) -> String {
    let whole = thousandths.div_ceil(1000);
    match name {
        "cpu" if !thousandths.is_multiple_of(1000) => format!("{thousandths}m cpu"),
        _ if name == "memory" || name == "ephemeral-storage" || name.starts_with("hugepages-") => {
            format!("{}Mi {name}", whole.div_ceil(1 << 20))
        }
        _ => format!("{whole} {name}"),
    }
}
