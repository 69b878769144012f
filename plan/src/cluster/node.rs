//! Nodes and their cordons.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Resources, Taint};
use crate::{
    document::PlanRef,
    health::Rule,
    id::{Epoch, Seq},
    sequencer::CordonOwner,
    timestamp::Timestamp,
};

/// A node object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub resource_version: String,
    pub ready: NodeReady,
    /// `spec.unschedulable`: somebody cordoned it.
    pub unschedulable: bool,
    /// The note of a plan, where there is one that can be read.
    pub cordon: Option<CordonNote>,
    /// The node's own note, where there is one that can be read.
    pub self_cordon: Option<SelfCordon>,
    /// The field manager that set `spec.unschedulable`, from `managedFields`.
    pub unschedulable_by: Option<String>,
    /// When it did, to the second.
    pub unschedulable_since: Option<Timestamp>,
    /// `status.nodeInfo.kubeletVersion`.
    pub version: String,
    /// `status.nodeInfo.bootID`.
    pub boot_id: String,
    /// `status.nodeInfo.machineID`.
    pub machine_id: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// What its pods may take together (`status.allocatable`); empty where it is not known.
    pub allocatable: Resources,
    /// How many volumes of a CSI driver it can attach, where the driver says so.
    pub attach_limits: BTreeMap<String, u32>,
    /// Hostler's conditions that are True on it.
    pub shows: Vec<DrainCondition>,
}

impl Node {
    /// Whether a plan gave it up.
    pub fn is_given_up(&self) -> bool {
        self.taints.iter().any(Taint::gives_up)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// Who made it unschedulable, by the traces of a cordon: a plan, perhaps beside the node itself, the node, whom a
    /// plan gave it to, or a field manager, which may be unknown ("somebody"). None while it is schedulable.
    pub fn cordoned_by(&self) -> Option<CordonOwner> {
        let released = self.cordon.as_ref().and_then(|note| note.released_to.clone());
        match (&self.unschedulable_by, &self.cordon, &self.self_cordon) {
            _ if !self.unschedulable => None,
            _ if released.is_some() => released.map(CordonOwner::Other),
            // Who sets what is set already does not become its manager.
            (Some(_), Some(note), _) if self.is_adopted(note) => Some(CordonOwner::Hostler),
            (Some(manager), ..) if manager != CordonOwner::HOSTLER && manager != CordonOwner::NODE => {
                Some(CordonOwner::Other(manager.clone()))
            }
            (_, Some(note), _) if !note.was_unschedulable => Some(CordonOwner::Hostler),
            (_, _, Some(_)) => Some(CordonOwner::Node),
            (_, Some(_) | None, None) => Some(CordonOwner::Other("somebody".into())),
        }
    }
}

impl Node {
    /// Whether the cordon that is on it now is the one that a plan took over: whoever lifts that and cordons the node
    /// again has a cordon of their own.
    fn is_adopted(&self, note: &CordonNote) -> bool {
        let same =
            |was: &Adopted| self.unschedulable_by.as_ref() == Some(&was.from) && was.since == self.unschedulable_since;
        note.adopted.as_ref().is_some_and(same)
    }

    /// Since when the cordon that is on it now stands, as its owner wrote it down or the API server knows.
    pub fn cordoned_since(&self) -> Option<Timestamp> {
        match self.cordoned_by()? {
            CordonOwner::Hostler => self.cordon.as_ref().and_then(|note| note.since).or(self.unschedulable_since),
            CordonOwner::Node => self.self_cordon.as_ref().map(|note| note.since),
            CordonOwner::Other(_) => self.unschedulable_since,
        }
    }
}

/// The key of the soft taint on nodes that a plan drains next: evicted pods are not to hop onto them. Its value is a
/// [`Waiting`].
pub const WAITING_TAINT: &str = "hostler.dev/waiting";

/// Which plan a node waits in, and until when at most: whoever put the taint may have died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The plan's number.
    pub seq: Seq,
    /// When the drain that put it must have ended.
    pub until: Timestamp,
}

/// `plan-12.until-1800000000`, in seconds since 1970.
impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan-{}.until-{}", self.seq, self.until.unix_seconds())
    }
}

impl Waiting {
    /// What a taint's value says; none where it is no such value.
    pub fn read(value: &str) -> Option<Self> {
        let (seq, until) = value.strip_prefix("plan-")?.split_once(".until-")?;
        Some(Self { seq: Seq(seq.parse().ok()?), until: Timestamp::from_unix_seconds(until.parse().ok()?) })
    }
}

impl Node {
    /// What its taint of a waiting node says. One that cannot be read is over.
    pub fn waiting(&self) -> Option<Waiting> {
        let taint = self.taints.iter().find(|taint| taint.key == WAITING_TAINT)?;
        Some(Waiting::read(&taint.value).unwrap_or(Waiting { seq: Seq(0), until: Timestamp::from_unix_seconds(0) }))
    }
}

/// Conditions of a node that tell of a drain, with the names of KEP-5683. They go with the cordon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainCondition {
    /// Pods are being evicted.
    DrainInProgress,
    /// No pod is left that goes.
    Drained,
    /// The machine is worked on once the drain is done.
    MaintenancePlanned,
    /// It may be worked on now.
    MaintenanceInProgress,
}

impl DrainCondition {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::DrainInProgress, Self::Drained, Self::MaintenancePlanned, Self::MaintenanceInProgress];

    /// The `reason` of a condition that is Hostler's.
    pub const REASON: &'static str = "Hostler";

    /// Its `type`.
    pub fn word(self) -> &'static str {
        match self {
            Self::DrainInProgress => "DrainInProgress",
            Self::Drained => "Drained",
            Self::MaintenancePlanned => "MaintenancePlanned",
            Self::MaintenanceInProgress => "MaintenanceInProgress",
        }
    }
}

/// The node's condition Ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeReady {
    Ready,
    NotReady,
    /// The kubelet is silent since then.
    Unknown {
        since: Timestamp,
    },
}

/// Why a node is unschedulable: written beside the cordon, so that nobody undoes somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CordonNote {
    /// The plan that cordoned, by its digest.
    pub plan: String,
    pub reason: String,
    pub epoch: u64,
    /// The plan's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The people who signed the plan, as the root names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
    /// When it was cordoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the plan may begin nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether the node was unschedulable before; then it stays so.
    pub was_unschedulable: bool,
    /// Set while the plan has begun nothing: the one that it continues passed its cordon on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<Awaited>,
    /// Set where the cordon was somebody else's, and a plan took it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
    /// Set where a plan gave the cordon away: whose it is. No plan lifts it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_to: Option<String>,
}

/// Whose cordon it was before a plan took it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopted {
    /// Their field manager.
    pub from: String,
    /// When they cordoned the node, where the API server knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl CordonNote {
    /// The plan that is at work on the node or that the cordon awaits, and its epoch, where that can be read.
    pub fn plan(&self) -> Option<(Epoch, PlanRef)> {
        let seq = self.awaits.map(|awaits| awaits.seq).or(self.seq)?;
        Some((Epoch(self.epoch), PlanRef { seq, digest: self.plan.parse().ok()? }))
    }
}

/// A plan that has a cordon and has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Awaited {
    /// Its number.
    pub seq: Seq,
    /// When it may begin nothing any more. A cordon that still awaits it then is nobody's.
    pub until: Timestamp,
}

/// Why a node made itself unschedulable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfCordon {
    /// The rule that was critical.
    pub rule: Rule,
    /// The rule's sentence.
    pub reason: String,
    /// When.
    pub since: Timestamp,
    /// Always false: a node that is cordoned already does not cordon itself.
    pub was_unschedulable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taint_of_a_waiting_node_is_no_longer_than_kubernetes_lets_values_be() {
        let waiting = Waiting { seq: Seq(u64::MAX), until: Timestamp::from_unix_milliseconds(u64::MAX) };
        let value = waiting.to_string();
        assert!(value.len() <= 63, "{value}");
        assert_eq!(Waiting::read(&value).map(|read| read.seq), Some(waiting.seq));
    }
}
