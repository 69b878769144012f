//! A roster: which nodes there are, and their public keys.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::Recipient;
use crate::{
    id::{Arch, Digest, Epoch, Fingerprint, FleetId, InvalidId, NodeName, Seq, TokenId},
    signature::PublicKey,
    step::ClusterRole,
    timestamp::Timestamp,
};

/// The nodes of the fleet and their keys. Receipts count only under a key that stands here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// Always `hostler-roster/v1`.
    #[serde(rename = "_type")]
    pub document_type: RosterType,
    pub fleet_id: FleetId,
    pub epoch: Epoch,
    /// Each next roster has a higher one; the same version with other content is an alarm.
    pub version: u64,
    /// The roster before it in this epoch, as its maker knew it; none for the first. Two successors of one are a fork.
    pub prev: Option<Digest>,
    /// The other ends of a fork that this roster closes, beside `prev`. Written only when there are some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Digest>,
    /// The root under which it was signed, or an older one.
    pub root_version: u64,
    pub created: Timestamp,
    /// The highest plan number that its maker had proof of, so that a node that was away knows how far numbers came.
    pub plan_seq: Seq,
    /// Tokens that admit nobody any more. None leaves the list before the epoch ends, and with it every token.
    pub revoked_tokens: Vec<TokenId>,
    /// Every key that ever was a node's, once. A name stands once, and again for keys that had it before, retired and
    /// behind the one that has it: what a token was used for is counted by them too.
    pub nodes: Vec<RosterNode>,
}

/// The type field of a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RosterType {
    #[serde(rename = "hostler-roster/v1")]
    V1,
}

/// One node of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterNode {
    pub name: NodeName,
    pub key: PublicKey,
    /// X25519 public key, 32 bytes in base64.
    pub seal_key: String,
    pub role: ClusterRole,
    pub arch: Arch,
    pub status: RosterStatus,
    /// How it came in.
    pub enrolled: Enrolled,
}

impl RosterNode {
    /// The key that files are sealed to for it.
    pub fn sealing_recipient(&self) -> Result<Recipient, InvalidId> {
        let invalid = || InvalidId::new("seal key", "32 bytes in base64", &self.seal_key);
        let bytes = STANDARD.decode(&self.seal_key).map_err(|_| invalid())?;
        Ok(Recipient::from_bytes(bytes.try_into().map_err(|_| invalid())?))
    }
}

/// The enrolment by which a node came in, and its token: how often a token was used is counted by these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    pub token: TokenId,
    /// The digest of the enrolment.
    pub enrolment: Digest,
}

/// Whether a node still belongs to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RosterStatus {
    Active,
    Retired,
}

impl Roster {
    /// The nodes that came in with that token, retired ones too.
    pub fn admitted_by(&self, token: &TokenId) -> impl Iterator<Item = &RosterNode> {
        self.nodes.iter().filter(move |n| n.enrolled.token == *token)
    }

    /// The node with that key.
    pub fn with_key(&self, key: &Fingerprint) -> Option<&RosterNode> {
        self.nodes.iter().find(|n| n.key.fingerprint() == *key)
    }

    /// The active node of that name.
    pub fn active(&self, name: &NodeName) -> Option<&RosterNode> {
        self.nodes.iter().find(|n| n.name == *name && n.status == RosterStatus::Active)
    }
}
