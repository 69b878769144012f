//! Where a ledger stands, by which two ledgers are compared.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// Where the chain stands: the next index and the hash that the next line builds on. Signed documents name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub next_index: u64,
    pub hash: Digest,
}

impl Head {
    /// Before the first record.
    pub const EMPTY: Head = Head { next_index: 0, hash: Digest::ZERO };
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records ending in {}", self.next_index, self.hash)
    }
}
