//! Where a pod may run, and what of it lies on certain nodes.

use std::collections::BTreeMap;

use super::{Requirement, Selector, Toleration};

/// What a pod asks of a node that is to take it. What takes its place asks for the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Placement {
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// Required node affinity: one of these terms, each of which holds only as a whole. Empty allows every node.
    pub terms: Vec<Vec<Requirement>>,
    pub tolerations: Vec<Toleration>,
    /// Another scheduler than the default one decides: nothing is certain.
    pub foreign_scheduler: bool,
    /// It claims devices (`spec.resourceClaims`), whose drivers have a say.
    pub claims_devices: bool,
    /// What it takes of a node, as the scheduler counts it.
    pub requests: Resources,
    pub host_ports: Vec<HostPort>,
    /// Required pod affinity: of each, one such pod must be in the node's domain.
    pub together: Vec<PodTerm>,
    /// Required pod anti-affinity: of each, no such pod may be in the node's domain.
    pub apart: Vec<PodTerm>,
    /// Topology spread constraints that a scheduler obeys (`DoNotSchedule`).
    pub spread: Vec<Spread>,
    /// `spec.priority`.
    pub priority: i32,
    /// `preemptionPolicy: Never`: it waits, and pushes nobody out.
    pub never_preempts: bool,
}

/// Amounts by resource, such as `cpu`, each in thousandths of its unit: cores, bytes, pieces.
pub type Resources = BTreeMap<String, u64>;

/// A port of the node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The one address on which it takes it; none is all.
    pub address: Option<String>,
}

impl HostPort {
    /// Whether one node cannot give both.
    pub fn collides(&self, other: &HostPort) -> bool {
        let address = self.address.is_none() || other.address.is_none() || self.address == other.address;
        self.port == other.port && self.protocol == other.protocol && address
    }
}

/// Pods, and how near they are: in the same domain, such as on the same node or in the same zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodTerm {
    pub selector: Selector,
    /// The namespaces in which they are looked for; none is all.
    pub namespaces: Option<Vec<String>>,
    /// The node label whose value is the domain.
    pub topology_key: String,
}

/// How evenly pods must lie over the domains of a node label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spread {
    /// Those that are counted, and over which domains.
    pub pods: PodTerm,
    pub max_skew: u32,
    /// With fewer domains than these, the emptiest counts as empty.
    pub min_domains: u32,
    /// Only nodes count that the pod's own selector and affinity take (`nodeAffinityPolicy: Honor`, the default).
    pub honours_affinity: bool,
    /// Only nodes count whose taints the pod tolerates (`nodeTaintsPolicy: Honor`, not the default).
    pub honours_taints: bool,
}

/// A claim of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct PodVolume {
    pub claim: String,
    /// The persistent volume it is bound to.
    pub volume: Option<String>,
    /// The CSI driver of that volume.
    pub driver: Option<String>,
    /// Made for this pod, and gone with it (`ephemeral`): what takes its place gets another.
    pub ephemeral: bool,
    /// It can be attached to one node at a time (`ReadWriteOnce` and nothing wider).
    pub one_node: bool,
    /// The terms of the volume's own node affinity; a local volume names its one node.
    pub terms: Vec<Vec<Requirement>>,
}

/// A volume on a node (VolumeAttachment).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub name: String,
    pub node: String,
    /// The CSI driver that has to detach it: `spec.attacher`.
    pub driver: String,
    pub volume: Option<String>,
}
