//! Steps that read a cluster and leave it as it is.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{document::Recipient, id::NodeName};

/// Reads how the cluster is made, by this server: its nodes, networks, versions and settings, but no secret. The
/// receipt holds what was read, sealed to the one who asks, and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// A key that was made for this question.
    pub to: Recipient,
}

impl Operation for Read {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        format!("sealed to {}", self.to)
    }
    fn sentence(&self, _: &NodeName) -> String {
        "reads how the cluster is made".to_owned()
    }
}
