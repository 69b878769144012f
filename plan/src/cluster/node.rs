//! Nodes and their cordons.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Resources, Taint};
use crate::{health::Rule, id::Seq, sequencer::CordonOwner, timestamp::Timestamp};

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

    /// Who made it unschedulable, by the traces of a cordon: a plan, perhaps beside the node itself, the node, or a
    /// field manager, which may be unknown ("somebody"). None while it is schedulable.
    pub fn cordoned_by(&self) -> Option<CordonOwner> {
        match (&self.unschedulable_by, &self.cordon, &self.self_cordon) {
            _ if !self.unschedulable => None,
            (Some(manager), ..) if manager != CordonOwner::HOSTLER && manager != CordonOwner::NODE => {
                Some(CordonOwner::Other(manager.clone()))
            }
            (_, Some(note), _) if !note.was_unschedulable => Some(CordonOwner::Hostler),
            (_, _, Some(_)) => Some(CordonOwner::Node),
            (_, Some(_) | None, None) => Some(CordonOwner::Other("somebody".into())),
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
    /// Whether the node was unschedulable before; then it stays so.
    pub was_unschedulable: bool,
    /// Set while the plan has begun nothing: the one that it continues passed its cordon on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<Awaited>,
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
