//! Why a node refuses a document. Typed, because a refusal is how a compromised coordinator is noticed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of refusal; each has a word for documents and metrics and an exit code for commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A signature is missing, by an unknown key, in another namespace or not in canonical form.
    BadSignature,
    /// A lower seq or epoch, or an equal seq with other content.
    Replay,
    /// Past its expiry, not yet valid, living longer than the policy allows, or the clock cannot be trusted.
    Expired,
    /// Made for another fleet, or a document of another kind.
    WrongFleet,
    /// This node is not among the targets, or under another key or architecture.
    NotATarget,
    /// A receipt of a task that comes before is missing, does not verify or is no success.
    OrderNotMet,
    /// An artifact or a referenced document has other content or length than the plan says.
    DigestMismatch,
    /// Fewer different valid keys than the root demands.
    Threshold,
    /// A root does not follow from the one that is held.
    RootChain,
    /// The node's own stored state cannot be read.
    DamagedState,
    /// The node or the signer no longer belongs to the fleet.
    Revoked,
    /// Not a well-formed document, or larger than the limit.
    Malformed,
    /// The signer's role or the policy does not allow this.
    NotAllowed,
    /// Another document took its place first: it was made without knowing the newest one. Made anew, it counts.
    Overtaken,
    /// Two documents follow one, or have one number: somebody was shown another state.
    Forked,
}

impl Refusal {
    /// Every kind, for metrics that start at zero.
    pub const ALL: [Refusal; 15] = [
        Refusal::BadSignature,
        Refusal::Replay,
        Refusal::Expired,
        Refusal::WrongFleet,
        Refusal::NotATarget,
        Refusal::OrderNotMet,
        Refusal::DigestMismatch,
        Refusal::Threshold,
        Refusal::RootChain,
        Refusal::DamagedState,
        Refusal::Revoked,
        Refusal::Malformed,
        Refusal::NotAllowed,
        Refusal::Overtaken,
        Refusal::Forked,
    ];

    /// The word that documents, logs and metrics use.
    pub fn word(self) -> &'static str {
        match self {
            Refusal::BadSignature => "bad_signature",
            Refusal::Replay => "replay",
            Refusal::Expired => "expired",
            Refusal::WrongFleet => "wrong_fleet",
            Refusal::NotATarget => "not_a_target",
            Refusal::OrderNotMet => "order_not_met",
            Refusal::DigestMismatch => "digest_mismatch",
            Refusal::Threshold => "threshold",
            Refusal::RootChain => "root_chain",
            Refusal::DamagedState => "damaged_state",
            Refusal::Revoked => "revoked",
            Refusal::Malformed => "malformed",
            Refusal::NotAllowed => "not_allowed",
            Refusal::Overtaken => "overtaken",
            Refusal::Forked => "forked",
        }
    }

    /// The exit code of a command that ends because of it.
    pub fn exit_code(self) -> u8 {
        match self {
            Refusal::BadSignature => 10,
            Refusal::Replay => 11,
            Refusal::Expired => 12,
            Refusal::WrongFleet => 13,
            Refusal::NotATarget => 14,
            Refusal::OrderNotMet => 15,
            Refusal::DigestMismatch => 16,
            Refusal::Threshold => 17,
            Refusal::RootChain => 18,
            Refusal::DamagedState => 19,
            Refusal::Revoked => 20,
            Refusal::Malformed => 21,
            Refusal::NotAllowed => 22,
            Refusal::Overtaken => 23,
            Refusal::Forked => 24,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A refusal with its reason in one sentence: what was expected, what was found, what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[error("refused ({refusal}): {reason}")]
pub struct Refused {
    pub refusal: Refusal,
    pub reason: String,
}

impl Refused {
    /// A refusal of that kind for that reason.
    pub fn new(refusal: Refusal, reason: impl Into<String>) -> Self {
        Self { refusal, reason: reason.into() }
    }
}
