//! Why an executor ends with an error.

use hostler_plan::{id::InvalidId, refusal::Refused};

use crate::{disk::DiskError, host::HostError, keys::KeysError, socket::SocketError, state_file::StateFileError};

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
    #[error("the host's name cannot be the node's: {0}; set node_name in the executor's settings")]
    Name(InvalidId),
    #[error("making a key failed: {0}")]
    Key(String),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("starting a thread failed: {0}")]
    Thread(std::io::Error),
}

impl ExecutorError {
    /// The refusal behind the error, if it is one; its exit code is what the command ends with.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Disk(_)
            | Self::Signing(_)
            | Self::Host(_)
            | Self::Name(_)
            | Self::Key(_)
            | Self::Socket(_)
            | Self::Thread(_) => None,
        }
    }
}

impl From<KeysError> for ExecutorError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Disk(e) => Self::Disk(e),
            KeysError::Refused(e) => Self::Refused(e),
            KeysError::Make(e) => Self::Key(e),
        }
    }
}

impl From<StateFileError> for ExecutorError {
    fn from(error: StateFileError) -> Self {
        match error {
            StateFileError::Disk(e) => Self::Disk(e),
            StateFileError::Refused(e) => Self::Refused(e),
        }
    }
}
