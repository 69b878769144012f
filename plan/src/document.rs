//! The signed documents. Each is exact bytes with detached SSH signatures; its identity is the digest of its bytes.

mod admission;
mod asks;
mod decision;
mod holding;
mod pass;
mod plan;
mod pod;
mod receipt;
mod recovery;
mod root;
mod roster;
mod snapshot;
mod view;
mod windows;

pub use admission::{Admission, AdmissionType, Approval, Enrolment, EnrolmentType, Hardware};
pub use decision::{Decided, Decision, DecisionType, NodeDecision, NodeMatter};
pub use holding::{DocumentRef, Holding, HoldingType, Holds};
pub use pass::{Pass, PassType};
pub use plan::{Artifact, NodeObject, Plan, PlanKind, PlanRef, PlanType, Strategy, Target, Task};
pub use pod::{MAX_PODS, PodFate, PodReport};
pub use receipt::{Blocker, DIFFERS, ISCSI_INITIATOR, Observation, Outcome, Receipt, ReceiptType, StepResult};
pub use recovery::{Recipient, RecoveryKey};
pub use root::{Policy, Root, RootType, SignatureThresholds, Signer, SignerRole};
pub use roster::{Enrolled, Roster, RosterNode, RosterStatus, RosterType};
pub use snapshot::{SealedSnapshot, SnapshotFile, SnapshotNote, SnapshotType, TakenSnapshot};
pub use view::{
    AttachedVolume, Expected, Leaving, LeftOut, MAX_PLACES, MAX_VIEW_NODES, Never, NodeCordon, NodeState, NodeView,
    Place, PodView, Prospect, Stays, Turn, Urgency, View, ViewType,
};
pub use windows::{Shut, WEEKDAYS, Window, WindowSet, WindowTask, Windows};

use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// A document as it travels and as it is kept: its exact bytes and the SSHSIG armours beside them. In JSON the bytes
/// are base64 so that they stay exact, and the digest beside them is checked by whoever reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Encoded", into = "Encoded")]
pub struct Signed {
    /// The bytes that were signed, never changed or re-encoded.
    pub bytes: Vec<u8>,
    /// Armoured SSH signatures over `bytes`, in no particular order.
    pub signatures: Vec<String>,
}

impl Signed {
    /// The document's identity.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// The JSON form of a signed document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    digest: Digest,
    #[serde(with = "base64_bytes")]
    bytes: Vec<u8>,
    signatures: Vec<String>,
}

/// Reading checks the digest, so that bytes that changed on the disk are noticed wherever a document is stored.
impl TryFrom<Encoded> for Signed {
    type Error = String;
    fn try_from(e: Encoded) -> Result<Self, String> {
        let signed = Signed { bytes: e.bytes, signatures: e.signatures };
        match signed.digest() {
            found if found == e.digest => Ok(signed),
            found => Err(format!("expected a stored document with digest {}, found {found}", e.digest)),
        }
    }
}

impl From<Signed> for Encoded {
    fn from(signed: Signed) -> Self {
        Self { digest: signed.digest(), bytes: signed.bytes, signatures: signed.signatures }
    }
}

mod base64_bytes {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The kinds of bytes that are signed in a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    Root,
    Admission,
    Enrolment,
    Roster,
    Plan,
    Receipt,
    /// What a node holds.
    Holding,
    /// What a person decided.
    Decision,
    /// Leave for a session key to log in for a person; never in the ledger.
    Pass,
    /// What a server read of the cluster; never in the ledger.
    View,
    /// The answer to a login challenge; never stored.
    Login,
}

impl DocumentKind {
    /// The SSHSIG namespace: what keeps a signature for one kind from passing as one for another.
    pub fn namespace(self) -> &'static str {
        match self {
            DocumentKind::Root => "hostler-root",
            DocumentKind::Admission => "hostler-admission",
            DocumentKind::Enrolment => "hostler-enrolment",
            DocumentKind::Roster => "hostler-roster",
            DocumentKind::Plan => "hostler-plan",
            DocumentKind::Receipt => "hostler-receipt",
            DocumentKind::Holding => "hostler-holding",
            DocumentKind::Decision => "hostler-decision",
            DocumentKind::Pass => "hostler-pass",
            DocumentKind::View => "hostler-view",
            DocumentKind::Login => "hostler-login",
        }
    }

    /// The word for people.
    pub fn noun(self) -> &'static str {
        match self {
            DocumentKind::Root => "root",
            DocumentKind::Admission => "admission",
            DocumentKind::Enrolment => "enrolment",
            DocumentKind::Roster => "roster",
            DocumentKind::Plan => "plan",
            DocumentKind::Receipt => "receipt",
            DocumentKind::Holding => "holding",
            DocumentKind::Decision => "decision",
            DocumentKind::Pass => "pass",
            DocumentKind::View => "view",
            DocumentKind::Login => "login",
        }
    }

    /// The most bytes that are read before anything is verified. A plan of 50 nodes has about 60 KiB; a roster of
    /// 1,000 nodes about 300 KiB.
    pub fn max_bytes(self) -> usize {
        match self {
            // A plan in which 1,000 nodes do one thing each has 0.4 MiB.
            DocumentKind::Root | DocumentKind::Roster | DocumentKind::Plan => 1 << 20,
            // Some 4,000 pods that leave; where there are more, the least pressing are counted only.
            DocumentKind::View => 1 << 20,
            DocumentKind::Admission | DocumentKind::Enrolment | DocumentKind::Receipt => 64 << 10,
            DocumentKind::Holding => 16 << 10,
            DocumentKind::Decision | DocumentKind::Pass | DocumentKind::Login => 4 << 10,
        }
    }
}

/// An SSHSIG armour of the largest key we know is under 1 KiB; 16 KiB leaves room for hardware keys' long names.
pub const MAX_SIGNATURE_BYTES: usize = 16 << 10;

/// More signatures than any threshold needs.
pub const MAX_SIGNATURES: usize = 16;

/// Roots that a node that was off for years follows in one go.
pub const MAX_ROOT_HOPS: usize = 1024;
