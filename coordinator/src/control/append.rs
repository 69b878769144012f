//! The seam to the ledger's file.

use std::fmt;

use hostler_plan::{entry::Entry, ledger::Record, timestamp::Timestamp};

/// Where entries become durable.
pub(crate) trait Append: fmt::Debug + Send {
    /// Appends all of `entries` durably, or none of them.
    fn append(&mut self, at: Timestamp, entries: Vec<Entry>) -> Result<Vec<Record>, AppendError>;
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It may go better when it is tried again.
    #[error("{0}")]
    NotWritten(String),
    /// Nothing will be appended before a restart.
    #[error("{0}")]
    Broken(String),
}
