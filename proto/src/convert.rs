//! Between the domain and the wire: documents, kinds, and what is made of both. Each is converted here and nowhere
//! else.

mod inventory;
mod kind;
mod node;
mod rollout;

use std::str::FromStr;

use hostler_plan::document::Signed;

use crate::v1::SignedDocument;

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
