//! Why an executor ends with an error.

use hostler_plan::refusal::Refused;

use crate::{disk::DiskError, host::HostError, state_file::StateFileError};

/// Why the executor cannot go on at all.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("signing a receipt failed: {0}")]
    Signing(#[from] hostler_plan::signature::SigningError),
    #[error(transparent)]
    Host(#[from] HostError),
}

impl From<StateFileError> for ExecutorError {
    fn from(error: StateFileError) -> Self {
        match error {
            StateFileError::Disk(e) => Self::Disk(e),
            StateFileError::Refused(e) => Self::Refused(e),
        }
    }
}
