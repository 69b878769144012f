//! Where a pod may run, and what of it lies on certain nodes.

use std::collections::BTreeMap;

use super::{Effect, Requirement};

/// Where a pod may run, as far as it is certain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// Required node affinity: one of these terms, each of which holds only as a whole. Empty allows every node.
    pub terms: Vec<Vec<Requirement>>,
    pub tolerations: Vec<Toleration>,
    /// Another scheduler than the default one decides: nothing is certain.
    pub foreign_scheduler: bool,
}

/// What a pod tolerates. No key tolerates every taint; no value every value; no effect every effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    pub key: Option<String>,
    pub value: Option<String>,
    pub effect: Option<Effect>,
}

/// A claim of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodVolume {
    pub claim: String,
    /// The persistent volume it is bound to.
    pub volume: Option<String>,
    /// The terms of the volume's own node affinity; a local volume names its one node.
    pub terms: Vec<Vec<Requirement>>,
}

/// A volume on a node (VolumeAttachment).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub name: String,
    /// The CSI driver that has to detach it: `spec.attacher`.
    pub driver: String,
    pub volume: Option<String>,
}
