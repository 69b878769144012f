//! What the coordinator's ledger holds. All of its state is the fold of these, in order.

use serde::{Deserialize, Serialize};

use crate::{
    document::{Decided, DocumentKind, Signed},
    health::Baseline,
    id::{BootId, Digest, NodeName, TaskId},
    ledger::Head,
    refusal::Refusal,
    timestamp::Timestamp,
    version::Version,
};

/// Grants that may have been given in a part of a ledger that was lost: the numbers of later ones begin above, so that
/// no number is given twice. At one grant a second it is 11 days, and copies are made more often than that.
pub const MAX_LOST_GRANTS: u64 = 1_000_000;

/// One record of the ledger: a document that arrived or a decision that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// A root, admission, enrolment, roster, plan, receipt or decision, verified before it was written.
    Document { kind: DocumentKind, document: StoredDocument },
    /// A task was granted to its node. Written before the node hears of it.
    Granted {
        plan: Digest,
        task: TaskId,
        grant: u64,
        node: NodeName,
        boot_id: BootId,
        lease_seconds: u64,
        /// How the task's subject was, with the first task of a rollout that disrupts it; boxed because few grants have
        /// one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline: Option<Box<Baseline>>,
    },
    /// A grant's lease ran out without a renewal: stop and ask.
    LeaseExpired { plan: Digest, task: TaskId, grant: u64 },
    /// A person resolved an expired lease: the task may be granted again. Never a record: a signed decision says it, as
    /// the end of a pause and the release of a quarantine.
    LeaseReleased { plan: Digest, task: TaskId, grant: u64, by: String },
    /// No new grants for this plan until resumed; what runs finishes.
    Paused { plan: Digest, by: String, reason: String },
    /// The pause is over.
    Resumed { plan: Digest, by: String },
    /// No grant of this plan ever again; to go on, a person signs a new plan.
    Halted { plan: Digest, by: String, reason: String },
    /// That node was found no worse than before the plan disrupted it, and stayed so for the soak.
    #[serde(rename = "no_worse")]
    Recovered { plan: Digest, node: NodeName },
    /// Every task succeeded, and no node is worse for it.
    Finished { plan: Digest },
    /// A node came back from an upgrade to `version` on another one: no plan may try again until released.
    Quarantined { node: NodeName, version: Version, reason: String },
    /// A person lifted a quarantine.
    QuarantineReleased { node: NodeName, version: Version, by: String },
    /// A node refused something that it was offered.
    NodeRefused { node: NodeName, document: Option<Digest>, refusal: Refusal, reason: String },
    /// The coordinator refused something that it was offered and that a person should know of.
    Alarm { about: String, refusal: Refusal, reason: String },
    /// The coordinator's clock shows less than it did at `last`, the time of the record before: from here on time is as
    /// it shows now.
    ClockSetBack { last: Timestamp },
    /// The ledger was put back from a copy or cut short: what was appended behind it is lost. Nothing is granted until
    /// the coordinator has caught up with what nodes hold, or an admin adopts it.
    Restored {
        /// 1 for the first time, then one more each.
        generation: u64,
        /// The newest head that this coordinator remembered having acknowledged, where it knows one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Head>,
    },
    /// Everything newer that nodes hold is here again.
    CaughtUp { generation: u64 },
    /// A token admits nobody any more.
    TokenRevoked { token: crate::id::TokenId, by: String },
}

impl Entry {
    /// What a signed decision does to the rollouts, the quarantines and the tokens; an adoption, and what a node is
    /// told, do nothing to them.
    pub fn of(decided: &Decided, by: &str) -> Option<Entry> {
        let by = by.to_owned();
        Some(match decided.clone() {
            Decided::Pause { plan, reason } => Entry::Paused { plan, by, reason },
            Decided::Resume { plan } => Entry::Resumed { plan, by },
            Decided::Halt { plan, reason } => Entry::Halted { plan, by, reason },
            Decided::ReleaseLease { plan, task, grant } => Entry::LeaseReleased { plan, task, grant, by },
            Decided::ReleaseQuarantine { node, version } => Entry::QuarantineReleased { node, version, by },
            Decided::RevokeToken { token } => Entry::TokenRevoked { token, by },
            Decided::Adopt { .. } | Decided::Node(_) => return None,
        })
    }
}

/// A signed document as the ledger writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredDocument(pub Signed);

#[cfg(test)]
mod tests {
    use super::*;

    /// The ledger's words outlive the names in code.
    #[test]
    fn a_recovered_node_is_written_as_ledgers_have_it() {
        let plan = Digest::of(b"plan");
        let entry = Entry::Recovered { plan, node: NodeName::new("w1").expect("valid") };
        let written = format!(r#"{{"entry":"no_worse","plan":"{plan}","node":"w1"}}"#);
        assert_eq!(serde_json::to_string(&entry).expect("serialisable"), written);
        assert_eq!(serde_json::from_str::<Entry>(&written).expect("readable"), entry);
    }
}
