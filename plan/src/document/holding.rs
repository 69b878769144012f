//! What a node says that it holds, signed: proof that a newer plan, root or roster has arrived.

use serde::{Deserialize, Serialize};

use crate::{
    document::PlanRef,
    head::Head,
    id::{Digest, Epoch, FleetId, NodeName},
    timestamp::Timestamp,
};

/// The newest documents that a node holds. Stands in receipts and, alone, in a [`Holding`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holds {
    pub epoch: Epoch,
    pub root: DocumentRef,
    /// None before the first.
    pub roster: Option<DocumentRef>,
    /// The plan with the highest number of the epoch that it was shown, whether it is a target or not; none before the
    /// first.
    pub plan: Option<PlanRef>,
    /// The head of the ledger that the coordinator showed last; none when it showed none.
    pub head: Option<Head>,
}

/// A document of a chain, by version and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentRef {
    pub version: u64,
    pub digest: Digest,
}

/// A node's acknowledgement, composed and signed by its executor whenever what it holds has changed, or a stream began
/// with another head. Heads that come with grants stand in the receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// Always `hostler-holding/v1`.
    #[serde(rename = "_type")]
    pub document_type: HoldingType,
    pub fleet_id: FleetId,
    pub node: NodeName,
    pub holds: Holds,
    /// The plans that are not void on it, newest first.
    pub open: Vec<PlanRef>,
    /// The newest decision about it that it was shown, whether it counts or not; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DocumentRef>,
    /// Whether a coordinator runs on its machine, so that whoever restarts it knows. Whose it is nobody can tell.
    #[serde(default, skip_serializing_if = "is_false")]
    pub runs_coordinator: bool,
    /// How many receipts it has signed.
    pub receipts: u64,
    /// What its clock showed.
    pub at: Timestamp,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The type field of a holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HoldingType {
    #[serde(rename = "hostler-holding/v1")]
    V1,
}
