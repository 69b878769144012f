//! The seam to the ledger's file.

use std::fmt;

use hostler_plan::{entry::Entry, id::Digest, ledger::Record, refusal::Refused, timestamp::Timestamp};

/// Where entries become durable.
pub(crate) trait Append: fmt::Debug + Send {
    /// Appends all of `entries` durably, or none of them.
    fn append(&mut self, at: Timestamp, entries: Vec<Entry>) -> Result<Vec<Written>, AppendError>;
}

/// A record and the hash of its line.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub record: Record,
    pub hash: Digest,
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It may go better when it is tried again.
    #[error("{0}")]
    NotWritten(String),
    /// Nothing is appended before the disk is well again.
    #[error("{0}")]
    Broken(String),
    /// It may not enter a ledger.
    #[error(transparent)]
    Refused(#[from] Refused),
}
