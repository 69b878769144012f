//! What a server read of the cluster, signed: the pods of some nodes, and what a drain would do with each.
//!
//! A view is free of what a plan allows: it says what each pod needs, and whoever reads it compares that with what is
//! about to be signed. It rests on the word of one server, which the admin's roster lists, and on a nonce of the asker.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    document::DocumentKind,
    form::{ClusterName, PodName, PodUid, Reason},
    id::{FleetId, NodeName, Nonce},
    json,
    sequencer::CordonOwner,
    step::{Loss, TopOwner, Whose},
    timestamp::Timestamp,
};

/// The most nodes that one view is about: 64 nodes of 60 pods each fit into its bytes.
pub const MAX_VIEW_NODES: usize = 64;

/// The most nodes that one pod's place names; a count says how many there are.
pub const MAX_PLACES: usize = 3;

/// What a server read of the cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// Always `hostler-view/v1`.
    #[serde(rename = "_type")]
    pub document_type: ViewType,
    pub fleet_id: FleetId,
    /// Who read it, and signs.
    pub server: NodeName,
    /// What the asker drew: proof that it was read after the question.
    pub nonce: Nonce,
    /// When it was read, by the server's clock.
    pub at: Timestamp,
    /// What a drain needs and the server's account may not do, such as "create pods/eviction".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_rights: Vec<ClusterName>,
    /// What that account may do and no part of Hostler needs, such as "get secrets"; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rights_beyond: Vec<ClusterName>,
    /// The nodes that were asked about, in that order; at most [`MAX_VIEW_NODES`].
    pub nodes: Vec<NodeView>,
}

/// The type field of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ViewType {
    #[serde(rename = "hostler-view/v1")]
    V1,
}

/// A node as a drain would find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeView {
    pub node: NodeName,
    pub state: NodeState,
    /// None while it is schedulable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<NodeCordon>,
    /// The most pressing first: [`PodView::urgency`], then by name.
    pub pods: Vec<PodView>,
    /// Pods that did not fit into the document, the least pressing ones.
    #[serde(default, skip_serializing_if = "LeftOut::is_nothing")]
    pub left_out: LeftOut,
    /// Volumes that are attached to it for pods that leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<AttachedVolume>,
    /// How long a drain should take, budgets that have to open not counted; none where nothing leaves or nobody can
    /// tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
}

/// Whether its kubelet reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NodeState {
    Ready,
    NotReady,
    /// The kubelet has not reported since then.
    Silent {
        since: Timestamp,
    },
    /// The cluster has no node of this name.
    Absent,
}

/// A cordon that is on a node now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeCordon {
    /// The name of its owner as [`CordonOwner`](crate::sequencer::CordonOwner) has it.
    pub by: ClusterName,
    /// Why, where the owner wrote it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Since when, as the owner wrote it down or the API server keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The people who signed the plan whose note is on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<Reason>,
}

impl NodeCordon {
    /// Whose it is.
    pub fn owner(&self) -> CordonOwner {
        let known = [CordonOwner::Hostler, CordonOwner::Node];
        let found = known.into_iter().find(|owner| owner.name() == self.by.as_str());
        found.unwrap_or_else(|| CordonOwner::Other(self.by.to_string()))
    }
}

/// By whom, since when, who signed it and why; to be read behind "is cordoned".
impl fmt::Display for NodeCordon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, reason, since, signed_by } = self;
        write!(f, "by {by}")?;
        if let Some(since) = since {
            write!(f, " since {since}")?;
        }
        if !signed_by.is_empty() {
            let names: Vec<&str> = signed_by.iter().map(Reason::as_str).collect();
            write!(f, ", signed by {}", names.join(", "))?;
        }
        if let Some(reason) = reason {
            write!(f, " ({reason})")?;
        }
        Ok(())
    }
}

/// A pod of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodView {
    pub pod: PodName,
    pub uid: PodUid,
    /// None where no controller starts it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<TopOwner>,
    /// How long it may take to stop.
    pub grace_seconds: u64,
    pub turn: Turn,
    pub prospect: Prospect,
}

/// When a pod's turn comes: those that others need go last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    Ordinary,
    SystemCritical,
    /// The storage system's own: its budget always says no, and goes by itself once no volume is used here and every
    /// copy has a healthy twin on another schedulable node.
    Storage,
}

/// What a drain does with a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Prospect {
    /// It belongs to the node and hinders nobody.
    Stays(Stays),
    /// It is going already; its grace ends then.
    Going { until: Timestamp },
    /// It has to go.
    Leaves(Leaving),
}

/// Why a pod stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Stays {
    DaemonSet,
    /// The kubelet's own.
    Mirror,
    /// Nothing of it runs any more, and this finalizer keeps the object.
    Finalizer(ClusterName),
}

/// What stands between a pod and its going, whatever a plan allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaving {
    /// What is lost with it for ever, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<Loss>,
    /// Why it will never go, however long one waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never: Option<Never>,
    pub place: Place,
    /// Why it will take longer than its grace, such as a budget that has to open; one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<Reason>,
}

/// A pod that no waiting frees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Never {
    /// `namespace/name` of the budget that holds it, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<ClusterName>,
    /// Why, and what to do about it.
    pub reason: Reason,
}

/// Where what takes a pod's place can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Place {
    /// So many other nodes would take it now; the first [`MAX_PLACES`] of them.
    Elsewhere { count: u32, such_as: Vec<NodeName> },
    /// On none but this node, for certain: it is down until the node is schedulable again.
    Nowhere(Reason),
    /// On none just now: it waits until there is room.
    NoRoom(Reason),
    /// Nobody can tell, such as with another scheduler.
    Unknown(Reason),
    /// Nothing takes its place: it has finished, or no controller starts it again.
    NotNeeded,
}

/// Pods that a view has no room for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    pub pods: u32,
    /// How many of them never go, or lose something: no plan can be judged without them.
    pub deciding: u32,
    /// How many of these never go, or cannot even be named.
    #[serde(default, skip_serializing_if = "is_none")]
    pub never: u32,
    /// What the others lose, each kind once and in order.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub loses: BTreeSet<Loss>,
}

fn is_none(pods: &u32) -> bool {
    *pods == 0
}

impl LeftOut {
    /// Whether the view has all pods.
    pub fn is_nothing(&self) -> bool {
        self.pods == 0
    }
}

/// A volume that is attached to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachedVolume {
    pub volume: ClusterName,
    /// The CSI driver that has to detach it.
    pub driver: ClusterName,
}

/// How long a drain should take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub seconds: u64,
    /// What the number rests on, one sentence.
    pub rests_on: Reason,
}

/// How pressing a pod is for somebody who is about to sign, the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    Never,
    Loses,
    Nowhere,
    NoRoom,
    Slow,
    Unknown,
    Leaves,
    Going,
    Stays,
}

impl PodView {
    /// Why it takes longer than its grace, where it leaves and does.
    pub fn slow(&self) -> Option<&Reason> {
        match &self.prospect {
            Prospect::Leaves(leaving) => leaving.slow.as_ref(),
            Prospect::Stays(_) | Prospect::Going { .. } => None,
        }
    }

    /// How pressing it is, whatever a plan allows.
    pub fn urgency(&self) -> Urgency {
        let leaving = match &self.prospect {
            Prospect::Stays(_) => return Urgency::Stays,
            Prospect::Going { .. } => return Urgency::Going,
            Prospect::Leaves(leaving) => leaving,
        };
        let placed = match leaving.place {
            Place::Nowhere(_) => Urgency::Nowhere,
            Place::NoRoom(_) => Urgency::NoRoom,
            Place::Unknown(_) => Urgency::Unknown,
            Place::Elsewhere { .. } | Place::NotNeeded => Urgency::Leaves,
        };
        match leaving {
            Leaving { never: Some(_), .. } => Urgency::Never,
            Leaving { loses, .. } if !loses.is_empty() => Urgency::Loses,
            Leaving { slow: Some(_), .. } => placed.min(Urgency::Slow),
            Leaving { .. } => placed,
        }
    }
}

impl PodView {
    /// Whom a consent to its loss is about.
    pub fn whose(&self) -> Whose {
        Whose::of(&self.pod, &self.uid, self.owner.as_ref())
    }
}

impl NodeView {
    /// Sorts its pods, and keeps the first `most`.
    fn keep(&mut self, most: usize) {
        self.pods.sort_by(|a, b| (a.urgency(), &a.pod).cmp(&(b.urgency(), &b.pod)));
        for pod in self.pods.drain(most.min(self.pods.len())..) {
            self.left_out.add(&pod);
        }
    }
}

impl LeftOut {
    fn add(&mut self, pod: &PodView) {
        self.pods = self.pods.saturating_add(1);
        let Prospect::Leaves(leaving) = &pod.prospect else { return };
        let (never, loses) = (leaving.never.is_some(), !leaving.loses.is_empty());
        self.deciding = self.deciding.saturating_add(u32::from(never || loses));
        self.never = self.never.saturating_add(u32::from(never));
        self.loses.extend(&leaving.loses);
    }

    /// Counts a pod that nobody can name, and so nobody can judge.
    pub(crate) fn add_nameless(&mut self) {
        self.pods = self.pods.saturating_add(1);
        self.deciding = self.deciding.saturating_add(1);
        self.never = self.never.saturating_add(1);
    }
}

impl View {
    /// The bytes to sign: the pods in order, and so many of each node that they fit into the limit of a view. Without
    /// blanks, because nobody reads it before signing.
    pub fn written(&self) -> Vec<u8> {
        let written = |most: usize| {
            let mut view = self.clone();
            view.nodes.iter_mut().for_each(|node| node.keep(most));
            json::write_dense(&view)
        };
        let mut most = self.nodes.iter().map(|node| node.pods.len()).max().unwrap_or_default();
        let mut bytes = written(most);
        // At most an eighth more is left out than has to be.
        while bytes.len() > DocumentKind::View.max_bytes() && most > 0 {
            most = most * 7 / 8;
            bytes = written(most);
        }
        bytes
    }
}
