//! What is to be carried out after a decision.

use std::{net::IpAddr, sync::Arc};

use hostler_plan::{
    document::{Plan, Receipt, Signed},
    id::{Digest, NodeName, Nonce, TaskId},
    ledger::Head,
    refusal::Refused,
    trust::Verified,
};

/// Something to carry out. What a node is told stands in the ledger by then.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Put a message into that stream's queue.
    Send { stream: u64, message: ToNode },
    /// End that stream.
    Close { stream: u64, closing: Closing },
    /// Remember where a node enrolled from.
    KeepAddress(NodeName, IpAddr),
    /// Remember what a node signed that it holds.
    KeepHolding(NodeName, Signed),
}

/// Why a stream is ended from this side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The node opened another one.
    Replaced,
    /// The node ended it.
    Detached,
    /// The node does not belong to the fleet any more.
    Refused(Refused),
}

/// What a node is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ToNode {
    Welcome {
        report_interval_seconds: u32,
        /// Its own, above those that it counts, and those that it lost.
        own_receipts: Vec<Arc<Verified<Receipt>>>,
        /// Where the ledger stands, for the node to sign: two ledgers for two admins are found by it.
        head: Head,
    },
    Trust {
        roots: Vec<Signed>,
        roster: Option<Signed>,
    },
    Plan(Arc<Verified<Plan>>),
    /// What a person decided about it.
    Decision(Signed),
    Grant {
        plan: Digest,
        task: TaskId,
        grant: u64,
        lease_seconds: u64,
        /// Of every task that it comes after.
        receipts: Vec<Arc<Verified<Receipt>>>,
        /// Where the ledger stands with the grant in it.
        head: Head,
    },
    Stop {
        plan: Digest,
        reason: String,
    },
    ReceiptAcknowledged(Digest),
    /// It does not count and never will.
    ReceiptNotTaken {
        digest: Digest,
        refused: Refused,
    },
    LeaseRenewed {
        grant: u64,
        lease_seconds: u64,
    },
    /// Somebody wants to see what is on nodes. Nothing is decided by it, and nothing of it stands in the ledger.
    View(ViewQuestion),
}

/// What a server is asked to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ViewQuestion {
    /// Stands in the answer.
    pub number: u64,
    pub nodes: Vec<NodeName>,
    pub nonce: Nonce,
}

impl ToNode {
    /// Bytes of its documents and texts, and some for the rest.
    pub(crate) fn bytes(&self) -> usize {
        const OWN: usize = 256;
        OWN + match self {
            Self::Trust { roots, roster } => roots.iter().chain(roster).map(bytes_of).sum(),
            Self::Plan(plan) => bytes_of(plan.signed()),
            Self::Decision(decision) => bytes_of(decision),
            Self::Grant { receipts, .. } | Self::Welcome { own_receipts: receipts, .. } => {
                receipts.iter().map(|r| bytes_of(r.signed())).sum()
            }
            Self::View(question) => question.nodes.iter().map(|node| node.as_str().len()).sum(),
            Self::Stop { reason, .. } | Self::ReceiptNotTaken { refused: Refused { reason, .. }, .. } => reason.len(),
            Self::ReceiptAcknowledged(_) | Self::LeaseRenewed { .. } => 0,
        }
    }
}

/// Bytes of a document with its signatures.
pub(super) fn bytes_of(signed: &Signed) -> usize {
    signed.bytes.len() + signed.signatures.iter().map(String::len).sum::<usize>()
}
