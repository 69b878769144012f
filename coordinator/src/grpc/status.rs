//! The one place where errors become gRPC status.

use hostler_proto::status::from_refused;
use tonic::Status;

use crate::{
    control::{DeskError, Stopping},
    grpc::ca::BadRequest,
    grpc::session::SessionError,
    store::artifact::UploadError,
    store::ledger::LedgerError,
};

impl From<DeskError> for Status {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Refused(refused) => from_refused(&refused),
            DeskError::Ledger(error) => ledger(&error),
            DeskError::NotFound(reason) => Status::not_found(reason),
            DeskError::Invalid(reason) => Status::failed_precondition(reason),
        }
    }
}

fn ledger(error: &LedgerError) -> Status {
    tracing::error!(%error, "nothing was written");
    match error {
        LedgerError::Write { .. } => Status::resource_exhausted(error.to_string()),
        LedgerError::Damaged(_) | LedgerError::Read { .. } | LedgerError::Broken { .. } => {
            Status::data_loss(error.to_string())
        }
    }
}

impl From<Stopping> for Status {
    fn from(stopping: Stopping) -> Self {
        Status::unavailable(stopping.to_string())
    }
}

impl From<SessionError> for Status {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Full => Status::resource_exhausted(error.to_string()),
            SessionError::Random => Status::internal(error.to_string()),
        }
    }
}

impl From<BadRequest> for Status {
    fn from(error: BadRequest) -> Self {
        Status::invalid_argument(error.to_string())
    }
}

impl From<UploadError> for Status {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Size(_) | UploadError::Mismatch { .. } => Status::invalid_argument(error.to_string()),
            UploadError::Io(_) => Status::resource_exhausted(error.to_string()),
        }
    }
}

/// Something that is nobody's fault but ours.
pub fn internal(error: &dyn std::error::Error) -> Status {
    tracing::error!(%error, "internal error");
    Status::internal(error.to_string())
}
