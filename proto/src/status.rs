//! Refusals across the wire: the one place that maps them to gRPC status and back.

use hostler_plan::refusal::{Refusal, Refused};
use tonic::{Code, Status, metadata::MetadataValue};

/// The metadata key under which a status carries the refusal's word.
pub const REFUSAL_METADATA: &str = "hostler-refusal";

/// The status for a refusal: its reason as message, its word in the metadata.
pub fn from_refused(refused: &Refused) -> Status {
    let code = match refused.refusal {
        Refusal::BadSignature | Refusal::Threshold | Refusal::NotAllowed | Refusal::Revoked | Refusal::NotATarget => {
            Code::PermissionDenied
        }
        Refusal::Replay
        | Refusal::Expired
        | Refusal::WrongFleet
        | Refusal::OrderNotMet
        | Refusal::DigestMismatch
        | Refusal::RootChain
        | Refusal::Overtaken
        | Refusal::Forked => Code::FailedPrecondition,
        Refusal::DamagedState => Code::DataLoss,
        Refusal::Malformed => Code::InvalidArgument,
    };
    let mut status = Status::new(code, refused.reason.clone());
    status.metadata_mut().insert(REFUSAL_METADATA, MetadataValue::from_static(refused.refusal.word()));
    status
}

/// The refusal that a status carries, if it is one.
pub fn to_refused(status: &Status) -> Option<Refused> {
    let word = status.metadata().get(REFUSAL_METADATA)?.to_str().ok()?;
    let refusal = Refusal::ALL.into_iter().find(|r| r.word() == word)?;
    Some(Refused::new(refusal, status.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_wire() {
        for refusal in Refusal::ALL {
            let refused = Refused::new(refusal, "expected a, found b; do c");
            assert_eq!(to_refused(&from_refused(&refused)), Some(refused));
        }
        assert_eq!(to_refused(&Status::internal("x")), None);
    }
}
