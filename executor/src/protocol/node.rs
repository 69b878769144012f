//! What the network side asks of its node beside the work: questions, and answers that own all that they hold.

use hostler_plan::{
    document::Signed,
    fact::Reading,
    id::{BootId, Digest, FleetId, NodeName, Nonce},
    refusal::Refused,
    sequencer::CordonOwner,
    signature::PublicKey,
    timestamp::Timestamp,
};
use serde::{Deserialize, Serialize};

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// Who this node is.
    Identity,
    /// The kernel's boot id.
    BootId,
    /// What the node's clock shows.
    Clock,
    /// Every fact that can be read now.
    Facts,
    /// What the API server says of its nodes, once that is unlike what is known (see [`Conditions::digest`]); or after
    /// 15 s, as a sign of life.
    Conditions { unlike: Option<Digest> },
    /// What the API server says of the pods of these nodes, for somebody who drew this nonce.
    View { nodes: Vec<NodeName>, nonce: Nonce },
    /// Whether there is a join string, and whom to ask with it.
    Invitation,
    /// An enrolment with the join string that lies there, for this TLS key (SHA-256 of its SubjectPublicKeyInfo).
    Enrol { tls_key: Digest },
    /// The coordinator's answer to that enrolment: believed only as far as the join string proves it.
    Admit(Admitted),
    /// The answer to a coordinator's challenge, for a certificate for this TLS key.
    Renew { tls_key: Digest, nonce: Vec<u8> },
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    Identity(Identity),
    BootId(BootId),
    Clock(NodeClock),
    Facts(Reading),
    Conditions(Conditions),
    /// Signed by the node's key.
    View(Signed),
    /// None lies in the places that were looked at.
    Invitation(Result<Invitation, NoInvitation>),
    /// Signed by the node's key and by the token's.
    Enrolment(Signed),
    /// The node is enrolled from now on.
    Enrolled(Membership),
    /// The armoured signature.
    Renewal(String),
    Failed(NodeError),
}

/// Which node this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The name that it has, or would enrol under.
    pub node: NodeName,
    /// Its signing key.
    pub key: PublicKey,
    /// None before it enrolled.
    pub member: Option<Membership>,
}

/// In which fleet, and as whom, a node enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    pub fleet_id: FleetId,
    pub node: NodeName,
    /// `host:port` of the coordinator's enrolment listener.
    pub enrolment_address: String,
}

/// Whom a join string says to ask. What is secret in it stays with the executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    pub fleet_id: FleetId,
    /// The name to enrol under.
    pub node: NodeName,
    /// `host:port` of the enrolment listener.
    pub address: String,
    /// SHA-256 of the SubjectPublicKeyInfo of the coordinator's CA.
    pub ca_pin: Digest,
}

/// Where a join string was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoInvitation {
    pub places: String,
}

/// What a coordinator answers to an enrolment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admitted {
    pub roots: Vec<Signed>,
    pub roster: Option<Signed>,
    pub admission: Option<Signed>,
}

/// A node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeClock {
    pub now: Timestamp,
    /// Whether it was set from somewhere trustworthy since boot.
    pub synchronised: bool,
}

/// What a report tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub reading: Reading,
    /// What the node's clock showed.
    pub now: Timestamp,
    /// Whether this machine has credentials for an API server.
    pub serves: bool,
}

/// What an API server says of its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Conditions {
    /// This machine has no credentials for one.
    NoServer,
    /// It does not answer, or tells of changes no more.
    Silent,
    /// Every node, and how long ago the API server last proved that it still is so.
    Nodes { nodes: Vec<NodeCondition>, age_seconds: u64 },
}

impl Conditions {
    /// What they say, whenever they said it.
    pub fn digest(&self) -> Digest {
        match self {
            Self::NoServer => Digest::of(b"no server"),
            Self::Silent => Digest::of(b"silent"),
            Self::Nodes { nodes, .. } => Digest::of(&serde_json::to_vec(nodes).expect("texts and truths alone")),
        }
    }
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeCondition {
    pub name: String,
    pub ready: bool,
    /// Who made it unschedulable.
    pub cordoned_by: Option<CordonOwner>,
    /// The kubelet's.
    pub version: String,
    /// Of the machine, as the kubelet read it.
    pub machine_id: String,
}

/// Why the node gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NodeError {
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Refused(Refused),
}

impl From<Refused> for NodeError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl NodeError {
    /// Why, in words.
    pub fn failed(reason: impl std::fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }
}
