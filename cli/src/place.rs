//! Whether a document that was handed in has the place that it was made for, or another one took it first.

use hostler_plan::{
    document::Signed,
    id::Digest,
    refusal::{Refusal, Refused},
};
use hostler_proto::v1::DocumentReply;

use crate::error::Error;

/// True when it is new; [`Error::Overtaken`] when another document took its place, which `counts` by its own
/// signatures. Never by the one with that digest, which was handed in.
pub(crate) fn taken(
    reply: DocumentReply,
    what: &str,
    digest: Digest,
    counts: impl FnOnce(&Signed) -> bool,
) -> Result<bool, Error> {
    let Some(winner) = reply.overtaken_by.map(Signed::from) else { return Ok(reply.is_new) };
    if winner.digest() == digest {
        let reason = format!(
            "the coordinator says that {what} was overtaken, expected another document in its place, found {what} \
             itself ({digest}); it may be in force: see what the coordinator shows before you make another one, and \
             compare its ledger with a copy"
        );
        return Err(Refused::new(Refusal::Replay, reason).into());
    }
    if counts(&winner) {
        return Err(overtaken(what, winner));
    }
    let reason = format!(
        "the coordinator says that {what} was overtaken by {}, expected a document that counts in its place, found \
         that it does not; it may keep {what} back: the next one has another number and names it; compare its ledger \
         with a copy",
        winner.digest()
    );
    Err(Refused::new(Refusal::Replay, reason).into())
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

/// What somebody is told who hands in a second document under a number that this machine gave to another one.
pub(crate) fn given(what: &str, other: Digest) -> Error {
    let reason = format!(
        "expected nothing else to be handed in from here as {what}, found that {other} was, whatever became of it: one \
         machine gives a number once; make it anew"
    );
    Refused::new(Refusal::Overtaken, reason).into()
}

/// What somebody is told who hands in one root more than the root after it could name.
pub(crate) fn too_many_roots(version: u64, sent: usize) -> Error {
    let reason = format!(
        "expected at most {sent} roots {version} to be handed in from here, which is what the root after them can \
         name, found one more: a node that was shown it would follow no later root; ask why the coordinator took none, \
         then hand in one of those once more (`hostler submit`, they lie in the profile's folder roots)"
    );
    Refused::new(Refusal::Forked, reason).into()
}
