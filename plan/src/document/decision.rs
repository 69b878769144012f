//! A decision: what a person told the coordinator about a rollout, a node or a token, or a node about its health,
//! signed.

use serde::{Deserialize, Serialize};

use crate::{
    form,
    head::Head,
    health::{Acceptance, Level, Release},
    id::{Digest, Epoch, Fingerprint, FleetId, NodeName, TaskId, TokenId},
    timestamp::Timestamp,
    version::Version,
};

/// One decision by one person. It counts once: a second one of the same bytes changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Always `hostler-decision/v1`.
    #[serde(rename = "_type")]
    pub document_type: DecisionType,
    pub fleet_id: FleetId,
    pub epoch: Epoch,
    /// The name under which its signer stands in the root.
    pub by: String,
    /// The ledger that its signer saw: it counts only in one that goes on from there.
    pub seen: Head,
    pub created: Timestamp,
    /// From then on nobody may hand it in any more.
    pub expires: Timestamp,
    pub decided: Decided,
}

/// The type field of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecisionType {
    #[serde(rename = "hostler-decision/v1")]
    V1,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decided {
    /// No new grants of a plan until it is resumed.
    Pause {
        plan: Digest,
        #[serde(deserialize_with = "form::reason")]
        reason: String,
    },
    /// The pause is over.
    Resume { plan: Digest },
    /// No grant of a plan ever again.
    Halt {
        plan: Digest,
        #[serde(deserialize_with = "form::reason")]
        reason: String,
    },
    /// The lease of a grant that ran out is given up: its task may be granted again.
    ReleaseLease { plan: Digest, task: TaskId, grant: u64 },
    /// A node may be brought to a version again on which it failed.
    ReleaseQuarantine { node: NodeName, version: Version },
    /// A token admits nobody any more.
    RevokeToken { token: TokenId },
    /// The ledger does not continue the one that was seen before, and a person looked at it and goes on with it.
    Adopt { before: Head, after: Head },
    /// What a node itself has to know: it is delivered to that node and verified there.
    Node(NodeDecision),
}

/// One of the decisions about one machine, in their order. One of a higher number ends those that it does not keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeDecision {
    pub node: NodeName,
    /// The machine's own key: one that takes over the name begins anew.
    pub key: Fingerprint,
    /// Above every earlier one about that key in an epoch; 1 for the first.
    pub number: u64,
    /// The earlier ones that still count.
    pub keeps: Vec<Digest>,
    /// Others that end with it though the ledger did not show them: handed in by its maker and kept back, or held by
    /// the node. Written only when there are some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Digest>,
    pub about: NodeMatter,
}

/// What is decided about a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "matter", rename_all = "snake_case", deny_unknown_fields)]
pub enum NodeMatter {
    /// A verdict is the new normal.
    Accept(Acceptance),
    /// A verdict that was accepted counts again as before: that decision is not kept.
    Withdraw { acceptance: Digest },
    /// A disk that was failing is let go.
    Release(Release),
}

impl NodeMatter {
    /// Whether it lets go what keeps a node out of service.
    fn weighs_most(&self) -> bool {
        match self {
            NodeMatter::Accept(Acceptance { level, required, .. })
            | NodeMatter::Release(Release { level, required, .. }) => *level == Level::Critical && *required,
            NodeMatter::Withdraw { .. } => false,
        }
    }
}

impl Decided {
    /// What it says of a node, where it is about one.
    pub fn about_node(&self) -> Option<&NodeDecision> {
        match self {
            Decided::Node(about) => Some(about),
            Decided::Pause { .. }
            | Decided::Resume { .. }
            | Decided::Halt { .. }
            | Decided::ReleaseLease { .. }
            | Decided::ReleaseQuarantine { .. }
            | Decided::RevokeToken { .. }
            | Decided::Adopt { .. } => None,
        }
    }

    /// The word for it, as the command line has it.
    pub fn word(&self) -> &'static str {
        match self {
            Decided::Pause { .. } => "pause",
            Decided::Resume { .. } => "resume",
            Decided::Halt { .. } => "halt",
            Decided::ReleaseLease { .. } => "release",
            Decided::ReleaseQuarantine { .. } => "release of a quarantine",
            Decided::RevokeToken { .. } => "revocation",
            Decided::Adopt { .. } => "adoption",
            Decided::Node(decision) => match &decision.about {
                NodeMatter::Accept(_) if decision.about.weighs_most() => "acceptance of a required critical verdict",
                NodeMatter::Accept(_) => "acceptance",
                NodeMatter::Withdraw { .. } => "withdrawal",
                NodeMatter::Release(_) if decision.about.weighs_most() => "release of a required disk that is critical",
                NodeMatter::Release(_) => "release of a disk",
            },
        }
    }

    /// Whether an operator may sign it, or only an admin.
    pub fn needs_only_operator(&self) -> bool {
        match self {
            Decided::Pause { .. }
            | Decided::Resume { .. }
            | Decided::Halt { .. }
            | Decided::ReleaseLease { .. }
            | Decided::ReleaseQuarantine { .. } => true,
            Decided::RevokeToken { .. } | Decided::Adopt { .. } => false,
            Decided::Node(decision) => !decision.about.weighs_most(),
        }
    }
}
