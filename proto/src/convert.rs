//! Between the domain and the wire: documents, kinds, and what is made of both. Each is converted here and nowhere
//! else.

mod inventory;
mod kind;
mod node;
mod rollout;

use std::str::FromStr;

use hostler_plan::{document::Signed, ledger::Head};

use crate::v1::{LedgerHead, SignedDocument};

/// A message that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}; update hostler, agents and coordinator to the same version")]
pub struct UnreadableMessage {
    pub expected: &'static str,
    pub found: String,
}

impl UnreadableMessage {
    fn new(expected: &'static str, found: impl Into<String>) -> Self {
        Self { expected, found: found.into() }
    }
}

/// An id, digest, name or version that crosses the wire as text.
pub fn id<T: FromStr>(expected: &'static str, text: &str) -> Result<T, UnreadableMessage> {
    // What a stranger sent may be long.
    text.parse().map_err(|_| UnreadableMessage::new(expected, format!("{:.80?}", text)))
}

impl From<Signed> for SignedDocument {
    fn from(signed: Signed) -> Self {
        Self { content: signed.bytes, signatures: signed.signatures }
    }
}

impl From<SignedDocument> for Signed {
    fn from(document: SignedDocument) -> Self {
        Self { bytes: document.content, signatures: document.signatures }
    }
}

impl From<Head> for LedgerHead {
    fn from(head: Head) -> Self {
        Self { records: head.next_index, hash: head.hash.to_string() }
    }
}

impl TryFrom<LedgerHead> for Head {
    type Error = UnreadableMessage;

    fn try_from(LedgerHead { records, hash }: LedgerHead) -> Result<Self, UnreadableMessage> {
        Ok(Self { next_index: records, hash: id("the digest of a ledger's last line", &hash)? })
    }
}
