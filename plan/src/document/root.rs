//! A root: who may sign what, and how many of them it takes.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    document::{PlanKind, RecoveryKey},
    form,
    id::{Digest, Epoch, Fingerprint, FleetId},
    signature::PublicKey,
    timestamp::Timestamp,
};

/// Who may sign what in a fleet. Root N+1 is signed by the thresholds of both N and N+1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Always `hostler-root/v1`.
    #[serde(rename = "_type")]
    pub document_type: RootType,
    pub fleet_id: FleetId,
    /// 1 for the first; each next one is exactly one more.
    pub version: u64,
    /// The root before it, as its maker knew it. Absent in the first one, and in roots that were made before this
    /// field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Digest>,
    /// The other ends of a fork that this root closes, beside `prev`: who holds one of them follows it too. Written
    /// only when there are some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Digest>,
    /// Raised to void every plan signed before, for example after a key was stolen.
    pub epoch: Epoch,
    pub created: Timestamp,
    pub expires: Timestamp,
    /// Every key that counts, once.
    pub signers: Vec<Signer>,
    pub thresholds: SignatureThresholds,
    /// Keys that count no more, whatever else lists them.
    pub revoked: Vec<Fingerprint>,
    /// SHA-256 of the SubjectPublicKeyInfo of every coordinator CA that nodes and admins accept; at least one.
    pub coordinator_ca: Vec<Digest>,
    pub policy: Policy,
    /// What snapshots are sealed to; without one they stay on their node. Written only where there is one: an older
    /// agent, which does not know the field, refuses a root with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery: Vec<RecoveryKey>,
}

/// The type field of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootType {
    #[serde(rename = "hostler-root/v1")]
    V1,
}

/// A key and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// For people: who holds the key.
    pub name: String,
    pub key: PublicKey,
    pub role: SignerRole,
    /// Limits the plan kinds of the role further; empty means all that the role allows.
    pub plan_kinds: Vec<PlanKind>,
}

/// What a signer may do at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignerRole {
    /// May log in and look.
    Viewer,
    /// May sign drains, uncordons, reboots and checks.
    Operator,
    /// May sign everything.
    Admin,
}

impl fmt::Display for SignerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SignerRole::Viewer => "viewer",
            SignerRole::Operator => "operator",
            SignerRole::Admin => "admin",
        })
    }
}

impl Signer {
    /// Whether this signer's key counts for a plan of `kind`.
    pub fn may_sign_plan(&self, kind: PlanKind) -> bool {
        let by_role = match self.role {
            SignerRole::Viewer => false,
            SignerRole::Operator => kind.needs_only_operator(),
            SignerRole::Admin => true,
        };
        by_role && (self.plan_kinds.is_empty() || self.plan_kinds.contains(&kind))
    }
}

/// How many different keys must have signed each kind of document; each at least 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureThresholds {
    pub root: u32,
    pub admission: u32,
    pub roster: u32,
    pub plan: u32,
    /// Of single kinds of plan, instead of `plan`. A drain and an uncordon need one key unless it stands here; a stop
    /// always needs one.
    pub plan_kinds: BTreeMap<PlanKind, u32>,
}

/// Limits that every signer put over every later document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// A plan may live no longer than this from `created` to `expires`.
    #[serde(deserialize_with = "form::lifetime_seconds")]
    pub max_plan_lifetime_seconds: u64,
    /// An admission may live no longer than this.
    #[serde(deserialize_with = "form::lifetime_seconds")]
    pub max_admission_lifetime_seconds: u64,
    /// A node whose required rule is critical cordons itself and takes that cordon back when the rule has cleared.
    /// Written only when it is on: an older agent, which does not know the field, refuses a root with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cordon_when_critical: bool,
}
