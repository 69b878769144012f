//! Between signed documents and their form on the wire.

use hostler_plan::document::Signed;

use crate::v1::SignedDocument;

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
