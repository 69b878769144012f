//! Streams that end when their receiver may not have them any more, also while nothing happens on them.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use hostler_plan::timestamp::Timestamp;
use tokio::time::Instant;
use tonic::Status;

use super::Shared;
use crate::clock::now;

/// What a service answers with.
pub(super) type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The moment of a time of the machine's clock.
pub(super) fn instant(time: Timestamp) -> Instant {
    Instant::now() + time.since(now())
}

/// Asks `judge` before every message, when the members of the fleet change, and at the time until which it said that
/// all is well. Its first no is the end.
pub(super) fn judged<T: Send + 'static>(
    shared: &Shared,
    messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    judge: impl Fn() -> Result<Timestamp, Status> + Send + Sync + 'static,
) -> BoxStream<T> {
    let state = Some((Box::pin(messages), judge, shared.control.members_changes()));
    let messages = stream::unfold(state, async |state| {
        let (mut messages, judge, mut members) = state?;
        loop {
            let until = match judge() {
                Ok(until) => until,
                Err(status) => return Some((Err(status), None)),
            };
            let message = tokio::select! {
                message = messages.next() => message?,
                Ok(()) = members.changed() => continue,
                () = tokio::time::sleep_until(instant(until)) => continue,
            };
            return Some(match judge() {
                Ok(_) => (message, Some((messages, judge, members))),
                Err(status) => (Err(status), None),
            });
        }
    });
    Box::pin(messages)
}
