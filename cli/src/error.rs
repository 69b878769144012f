//! What can go wrong, as an admin reads it: what failed, what was expected, what was found, what to do next.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use hostler_plan::{document::Signed, refusal::Refused, text::clean};
use hostler_proto::{
    convert::UnreadableMessage,
    status::to_refused,
    tls::ConnectError,
    v1::{RolloutStatus, TaskStatus},
    watched::UpdateError,
};

use crate::{key::KeyError, profile::ProfileError};

/// Every way an operation of this crate ends without its result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that makes no sense; nothing was tried.
    #[error("{0}")]
    Usage(String),
    /// A document does not count, by this machine's own judgement or by the coordinator's.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another document took the place of the one that was handed in: nothing was changed, and it is no alarm.
    #[error("{refused}")]
    Overtaken { refused: Refused, winner: Box<Signed> },
    /// A rollout that was watched ended or stands still without having finished.
    #[error("rollout {rollout} stopped ({status}): {reason}")]
    RolloutStopped {
        rollout: String,
        status: RolloutStatus,
        /// How the task that stopped it ended, where one did.
        task: Option<TaskStatus>,
        reason: String,
    },
    /// Something on the nodes that a plan drains stands in its way, as a server signed it: nobody signed the plan.
    #[error("{0}")]
    Blocked(String),
    /// The person who watched a rollout does not any more.
    #[error(
        "interrupted, and plan {0} goes on: watch it with `hostler rollout watch {0}`, end it with `hostler stop {0}`"
    )]
    Interrupted(String),
    /// A person said no.
    #[error("nothing was changed: not confirmed; run it again and answer yes, or use --yes")]
    NotConfirmed,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator answered that it cannot or will not.
    #[error("{}", answer_words(*code, message))]
    Coordinator { code: tonic::Code, message: String },
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}; {}", way_out(source))]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    /// Anything else, in one sentence that ends with what to do next.
    #[error("{0}")]
    Failed(String),
}

/// The watched rollout did not finish.
pub const EXIT_ROLLOUT_STOPPED: u8 = 3;
/// A drain of it is blocked, on the way or before its plan was signed, has timed out, met a silent node, or gave way to
/// somebody else.
pub const EXIT_BLOCKED: u8 = 5;
pub const EXIT_TIMED_OUT: u8 = 6;
pub const EXIT_UNREACHABLE: u8 = 7;
pub const EXIT_TAKEN_OVER: u8 = 8;
/// As shells count the end by SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;
/// The question before a change was answered with no.
pub const EXIT_NOT_CONFIRMED: u8 = 4;

impl Error {
    /// What the command exits with: 1 failure, 2 usage, 3 rollout stopped, 4 not confirmed, 5 to 8 how a drain ended,
    /// 10 and up a refusal ([`hostler_plan::refusal::Refusal::exit_code`]).
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Refused(refused) => refused.refusal.exit_code(),
            Error::Overtaken { refused, .. } => refused.refusal.exit_code(),
            Error::Blocked(_) | Error::RolloutStopped { task: Some(TaskStatus::Blocked), .. } => EXIT_BLOCKED,
            Error::RolloutStopped { task: Some(TaskStatus::TimedOut), .. } => EXIT_TIMED_OUT,
            Error::RolloutStopped { task: Some(TaskStatus::Unreachable), .. } => EXIT_UNREACHABLE,
            Error::RolloutStopped { task: Some(TaskStatus::TakenOver), .. } => EXIT_TAKEN_OVER,
            Error::RolloutStopped { .. } => EXIT_ROLLOUT_STOPPED,
            Error::Interrupted(_) => EXIT_INTERRUPTED,
            Error::NotConfirmed => EXIT_NOT_CONFIRMED,
            Error::Profile(e) if e.is_usage() => 2,
            Error::Key(_)
            | Error::Profile(_)
            | Error::Connect(_)
            | Error::Coordinator { .. }
            | Error::File { .. }
            | Error::Failed(_) => 1,
        }
    }

    /// The one word under which `--output json` reports it.
    pub fn word(&self) -> &'static str {
        match self {
            Error::Usage(_) => "usage",
            Error::Refused(refused) => refused.refusal.word(),
            Error::Overtaken { refused, .. } => refused.refusal.word(),
            Error::RolloutStopped { .. } => "rollout_stopped",
            Error::Blocked(_) => "blocked",
            Error::Interrupted(_) => "interrupted",
            Error::NotConfirmed => "not_confirmed",
            Error::Key(_) => "key",
            Error::Profile(_) => "profile",
            Error::Connect(ConnectError::NotPinned { .. }) => "not_pinned",
            Error::Connect(_) => "unreachable",
            Error::Coordinator { .. } => "coordinator",
            Error::File { .. } => "file",
            Error::Failed(_) => "failed",
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::File { action, path: path.to_owned(), source }
    }
}

impl From<UnreadableMessage> for Error {
    fn from(unreadable: UnreadableMessage) -> Self {
        Error::Failed(unreadable.to_string())
    }
}

impl From<UpdateError> for Error {
    fn from(unfit: UpdateError) -> Self {
        Error::Failed(unfit.to_string())
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        match to_refused(&status) {
            Some(Refused { refusal, reason }) => Error::Refused(Refused::new(refusal, clean(&reason))),
            None => Error::Coordinator { code: status.code(), message: clean(status.message()).into_owned() },
        }
    }
}

/// What to do about a file that cannot be read or written.
fn way_out(error: &std::io::Error) -> &'static str {
    let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
    if is(&[ErrorKind::NotFound]) {
        "name a file that is there"
    } else if is(&[ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem]) {
        "run it as the owner, or let the owner give access"
    } else if is(&[ErrorKind::IsADirectory]) {
        "name a file, or move the folder away"
    } else if is(&[ErrorKind::NotADirectory]) {
        "name a folder, or move the file away"
    } else if is(&[ErrorKind::StorageFull, ErrorKind::QuotaExceeded]) {
        "make room on the disk, or copy the profile to another one and name that with --home, and run it again"
    } else {
        "check the disk and run it again"
    }
}

/// An answer without a refusal. What is no coordinator, or another one of its listeners, gives the first two.
fn answer_words(code: tonic::Code, message: &str) -> String {
    let admins = "the admins' listener (port 7445 unless set)";
    if code == tonic::Code::Unimplemented {
        format!(
            "expected {admins} of a coordinator as new as this command, found one that does not know the call; check \
                the address"
        )
    } else if code == tonic::Code::Unknown {
        format!(
            "the connection ended without an answer: {message}; check that the coordinator runs and that the address \
                is {admins}"
        )
    } else {
        format!("the coordinator says no ({}): {message}", code_words(code))
    }
}

/// `PermissionDenied` as people write it.
fn code_words(code: tonic::Code) -> String {
    let mut words = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_listener_is_told_from_a_coordinator_that_says_no() {
        let said = |status: tonic::Status| Error::from(status).to_string();
        assert!(said(tonic::Status::unimplemented("")).contains("check the address"));
        assert!(said(tonic::Status::unknown("transport error")).contains("without an answer: transport error; check"));
        assert_eq!(said(tonic::Status::not_found("no such")), "the coordinator says no (not found): no such");
    }
}
