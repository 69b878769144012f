//! Who may say what, and when it counts.
//!
//! Every check that stands between bytes from anywhere and work on a machine is here, so that the coordinator, a node,
//! the admin's command and an auditor judge alike. Bytes are limited in size, then their signatures are verified, and
//! only then are they parsed. Nothing here changes anything: a refused input leaves no trace in a [`NodeState`].

mod admission;
mod amend;
mod decision;
mod draft;
mod gate;
mod holding;
mod node_decisions;
mod number;
mod pass;
mod plan;
mod receipt;
mod root;
mod roster;
mod shape;
mod state;
mod threshold;
mod view;
mod windows;

pub use admission::{admission, check_token, enrolment};
pub use amend::{Amendment, amend, check_next, differences};
pub use decision::{MAX_ACCEPTANCE, MAX_DECISION_LIFETIME, MAX_NODE_DECISIONS, check_decision, decision};
pub use draft::Draft;
pub use gate::{MAX_GATE_RECEIPTS, check_receipt_fits, order_kept, order_met};
pub use holding::holding;
pub use node_decisions::NodeDecisions;
pub use number::{MAX_JUMP, check_jump, may_be_ahead};
pub use pass::{MAX_PASS_LIFETIME, pass};
pub(crate) use plan::authentic;
pub use plan::{check_unsigned, check_work, plan};
pub use receipt::{receipt, receipt_of_then};
pub use root::{EXPIRY_NOTICE, TrustedRoot};
pub use roster::roster;
pub use shape::{MAX_CLOSED, MAX_KEPT_VALID};
pub use state::{Accepted, Continued, Granted, NodeState, OpenPlans, SignedReceipt, Start};
pub use threshold::{Duty, SignedBy, check_signer, counted, threshold};
pub use view::view;
pub use windows::MAX_WINDOWS;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    document::{DocumentKind, MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Signed},
    id::{Arch, Digest, Fingerprint, FleetId, NodeName},
    json,
    refusal::{Refusal, Refused},
    text::clean_to,
    timestamp::Timestamp,
};

/// How far ahead an admin's clock may run before the fleet takes a document for one from the future. Machines that keep
/// time by NTP differ by less than a second; five minutes is what a laptop without it loses in some weeks.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A document whose signatures, form and place in the fleet were checked. There is no other way to make one than the
/// functions of this module, so it is proof wherever it is asked for. A copy costs nothing.
#[derive(Debug)]
pub struct Verified<T>(Arc<Content<T>>);

#[derive(Debug, PartialEq, Eq)]
struct Content<T> {
    document: T,
    digest: Digest,
    signed: Signed,
}

impl<T> Clone for Verified<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: PartialEq> PartialEq for Verified<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<T: Eq> Eq for Verified<T> {}

impl<T> Verified<T> {
    fn new(document: T, signed: &Signed) -> Self {
        Self(Arc::new(Content { document, digest: signed.digest(), signed: signed.clone() }))
    }

    /// What the document says.
    pub fn document(&self) -> &T {
        &self.0.document
    }

    /// The digest of its exact bytes: its identity.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Its exact bytes and signatures, to hand on.
    pub fn signed(&self) -> &Signed {
        &self.0.signed
    }
}

/// For which purpose a document's times are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is handed in: it must not have expired, and may become valid later.
    Submitting(Timestamp),
    /// Something starts because of it: it must be valid now.
    Starting(Timestamp),
    /// It was in time when it was accepted, and what it began is finished, or history is read again: no clock counts.
    Begun,
}

/// A node's clock when a document arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What it shows.
    pub now: Timestamp,
    /// Whether it was set from outside (NTP) since the machine started.
    pub synchronised: bool,
}

/// Who a node is, from its own disk and processor, never from what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeName,
    /// The fingerprint of the node's own key.
    pub key: Fingerprint,
    pub arch: Arch,
}

/// Whether the bytes and signatures are small enough to be looked at. Comes before everything else.
pub fn check_size(kind: DocumentKind, signed: &Signed) -> Result<(), Refused> {
    let malformed = |reason| Err(Refused::new(Refusal::Malformed, reason));
    let name = kind.noun();
    let (most, found) = (kind.max_bytes(), signed.bytes.len());
    if found > most {
        return malformed(format!(
            "expected a {name} of at most {most} bytes, found {found}; split it into smaller ones"
        ));
    }
    let count = signed.signatures.len();
    if count > MAX_SIGNATURES {
        return malformed(format!(
            "expected at most {MAX_SIGNATURES} signatures beside a {name}, found {count}; remove some"
        ));
    }
    if let Some(long) = signed.signatures.iter().map(String::len).find(|l| *l > MAX_SIGNATURE_BYTES) {
        return malformed(format!("expected signatures of at most {MAX_SIGNATURE_BYTES} bytes, found one of {long}"));
    }
    Ok(())
}

/// The fields that tell whose document it is, whatever else it holds.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "_type")]
    document_type: String,
    fleet_id: String,
}

/// Parses bytes whose signatures were verified: first whose document it is, then all of it.
fn parse<T: DeserializeOwned + Serialize>(
    kind: DocumentKind,
    fleet: Option<&FleetId>,
    bytes: &[u8],
) -> Result<T, Refused> {
    match as_written(kind, fleet, bytes)? {
        Some(document) => Ok(document),
        None => in_form(kind, &addressed(kind, fleet, bytes)?),
    }
}

/// The document of this kind and fleet that bytes are, where they are the very ones that it is written as; none where
/// they are to be read with more care.
fn as_written<T: DeserializeOwned + Serialize>(
    kind: DocumentKind,
    fleet: Option<&FleetId>,
    bytes: &[u8],
) -> Result<Option<T>, Refused> {
    let Some(document) = json::as_written(bytes) else { return Ok(None) };
    let Ok(header) = serde_json::from_slice(bytes) else { return Ok(None) };
    check_header(kind, fleet, &header)?;
    Ok(Some(document))
}

/// The JSON value that bytes are, and whether it is a document of this kind and fleet.
fn addressed(kind: DocumentKind, fleet: Option<&FleetId>, bytes: &[u8]) -> Result<Value, Refused> {
    let value = json::value(bytes).map_err(|e| malformed(kind, &e))?;
    check_header(kind, fleet, &json::part(&value).map_err(|e| malformed(kind, &e))?)?;
    Ok(value)
}

fn check_fleet(kind: DocumentKind, fleet: &FleetId, found: &str) -> Result<(), Refused> {
    if found == fleet.as_str() {
        return Ok(());
    }
    let (noun, found) = (kind.noun(), clean_to(found, 80));
    let reason = format!("expected fleet {fleet} in this {noun}, found fleet {found}; it belongs elsewhere");
    Err(Refused::new(Refusal::WrongFleet, reason))
}

fn check_header(kind: DocumentKind, fleet: Option<&FleetId>, header: &Header) -> Result<(), Refused> {
    let expected = format!("{}/v1", kind.namespace());
    if header.document_type != expected {
        return Err(Refused::new(
            Refusal::WrongFleet,
            format!(
                "expected a document of type {expected}, found {}; send the right file",
                clean_to(&header.document_type, 80)
            ),
        ));
    }
    if let Some(fleet) = fleet {
        check_fleet(kind, fleet, &header.fleet_id)?;
    }
    Ok(())
}

/// The document that a value is, in the one form in which it is written.
fn in_form<T: DeserializeOwned + Serialize>(kind: DocumentKind, value: &Value) -> Result<T, Refused> {
    json::document(value).map_err(|e| malformed(kind, &e))
}

fn malformed(kind: DocumentKind, error: &json::InvalidJson) -> Refused {
    let reason = format!("the {} is {error}; make it again with this version of hostler", kind.noun());
    Refused::new(Refusal::Malformed, reason)
}
