//! An admission: who may join with one token, and an enrolment: who came with it.

use serde::{Deserialize, Serialize};

use crate::{
    id::{Arch, Digest, Epoch, FleetId, NodeName, TokenId},
    signature::PublicKey,
    step::ClusterRole,
    timestamp::Timestamp,
};

/// A join token's public half: who may enrol with it, how often and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// Always `hostler-admission/v1`.
    #[serde(rename = "_type")]
    pub document_type: AdmissionType,
    pub fleet_id: FleetId,
    pub epoch: Epoch,
    /// The newest root when the token was made: a chain that ends before it is refused.
    pub root_version: u64,
    pub root: Digest,
    pub token: TokenId,
    /// Verifies enrolments; the private half stands only in the join string.
    pub token_key: PublicKey,
    /// How many different node keys it admits.
    pub uses: u32,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub role: ClusterRole,
    pub approval: Approval,
}

/// The type field of an admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdmissionType {
    #[serde(rename = "hostler-admission/v1")]
    V1,
}

/// What must happen before an enrolled node is in the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// The admission covers the node: the next roster that an admin signs lists it without a question.
    Automatic,
    /// An admin approves each node by name.
    Manual,
}

/// What a node says of itself when it enrols; signed with the token's key and with the node's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Always `hostler-enrolment/v1`.
    #[serde(rename = "_type")]
    pub document_type: EnrolmentType,
    pub fleet_id: FleetId,
    pub token: TokenId,
    pub node: NodeName,
    /// The node's own signing key: what its receipts are verified with, once a roster lists it.
    pub key: PublicKey,
    /// X25519 public key, 32 bytes in base64: secrets for this node are sealed to it.
    pub seal_key: String,
    /// SHA-256 of the SubjectPublicKeyInfo of the node's TLS key.
    pub tls_key: Digest,
    pub arch: Arch,
    pub hardware: Hardware,
    pub created: Timestamp,
}

/// The type field of an enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolmentType {
    #[serde(rename = "hostler-enrolment/v1")]
    V1,
}

/// What tells one board from another; for people and for finding clones, never a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    pub model: String,
    pub serial: String,
    pub machine_id: String,
    pub memory_bytes: u64,
}
