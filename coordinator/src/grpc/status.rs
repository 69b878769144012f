//! The one place where errors become gRPC status.

use hostler_proto::status::from_refused;
use tonic::Status;

use super::{ca::BadRequest, session::SessionError};
use crate::{
    control::{AppendError, ControlError, Stopping},
    store::artifact::UploadError,
};

impl From<ControlError> for Status {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(refused) => from_refused(&refused),
            ControlError::Ledger(error) => ledger(&error),
            ControlError::NotFound(reason) => Status::not_found(reason),
            ControlError::Invalid(reason) => Status::failed_precondition(reason),
            ControlError::Stopping(stopping) => stopping.into(),
        }
    }
}

fn ledger(error: &AppendError) -> Status {
    tracing::error!(%error, "nothing was written");
    match error {
        AppendError::Refused(refused) => from_refused(refused),
        AppendError::NotWritten(reason) => Status::resource_exhausted(reason),
        AppendError::Broken(reason) => Status::data_loss(reason),
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
pub(super) fn internal(error: &dyn std::error::Error) -> Status {
    tracing::error!(%error, "internal error");
    Status::internal(error.to_string())
}
