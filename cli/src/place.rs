//! Whether a document that was handed in has the place that it was made for, or another one took it first.

use hostler_plan::{
    document::Signed,
    refusal::{Refusal, Refused},
};
use hostler_proto::v1::DocumentReply;

use crate::error::Error;

/// True when it is new; [`Error::Overtaken`] when another document follows the one that it follows.
pub(crate) fn taken(reply: DocumentReply, what: &str) -> Result<bool, Error> {
    match reply.overtaken_by {
        None => Ok(reply.is_new),
        Some(winner) => Err(overtaken(what, winner.into())),
    }
}

/// What somebody is told whose document lost its place to that one.
pub(crate) fn overtaken(what: &str, winner: Signed) -> Error {
    let reason = format!(
        "expected {what} to follow the newest one, found that {} was taken first: both were made at the same time; \
         make it anew and sign it again",
        winner.digest()
    );
    Error::Overtaken { refused: Refused::new(Refusal::Overtaken, reason), winner: Box::new(winner) }
}
