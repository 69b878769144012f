//! A pass: what an admin's key signs so that a session key logs in for it for some hours.

use serde::{Deserialize, Serialize};

use crate::{
    id::{Digest, Fingerprint, FleetId},
    signature::PublicKey,
    timestamp::Timestamp,
};

/// Leave for one session key to answer login challenges. It says nothing about what the caller may do: that is the role
/// of `signer` in the newest root, at every call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// Always `hostler-pass/v1`.
    #[serde(rename = "_type")]
    pub document_type: PassType,
    pub fleet_id: FleetId,
    /// The key of the root that signs it.
    pub signer: Fingerprint,
    /// The key that logs in, made by the command and kept in its profile.
    pub session_key: PublicKey,
    /// The coordinators that it logs in to: the CAs of the root that the signer held.
    pub coordinator_ca: Vec<Digest>,
    pub created: Timestamp,
    /// From then on it logs nobody in, and what was open by it has ended.
    pub expires: Timestamp,
}

/// The type field of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PassType {
    #[serde(rename = "hostler-pass/v1")]
    V1,
}
