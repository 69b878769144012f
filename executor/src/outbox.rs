//! What is written to one connection. Answers wait for its thread, and whoever puts one in never waits. A report is
//! written by the thread that made it: an idle node wakes no other one for it.

use std::{
    collections::VecDeque,
    io::Write as _,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    host::Waker,
    protocol::{
        FromExecutor, lines,
        node::{Answer, Report},
    },
};

/// Answers that wait for one who does not read them; then the connection ends.
const MAX_ANSWERS: usize = 64;

/// The way out of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    stream: Arc<UnixStream>,
    /// Held for whole lines, so that none stands in another one.
    writing: Mutex<()>,
    waiting: Mutex<Waiting>,
    /// Notified when there is something, and when it was closed.
    pub waker: Waker,
}

#[derive(Debug, Default)]
struct Waiting {
    answers: VecDeque<FromExecutor>,
    closed: bool,
}

/// The place for the answer to one question. The one who asked may have gone since: nobody misses it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub number: u64,
    pub to: Arc<Outbox>,
}

impl Reply {
    pub(crate) fn send(self, answer: Answer) {
        let mut waiting = self.to.waiting();
        if waiting.answers.len() < MAX_ANSWERS {
            waiting.answers.push_back(FromExecutor::Answer { number: self.number, answer: Box::new(answer) });
        } else {
            waiting.closed = true;
        }
        drop(waiting);
        self.to.waker.notify();
    }
}

impl Outbox {
    pub(crate) fn new(stream: Arc<UnixStream>) -> Self {
        let (writing, waiting, waker) = (Mutex::default(), Mutex::default(), Waker::new());
        Self { stream, writing, waiting, waker }
    }

    /// Writes a report. One who does not read it is hung up on when the stream's limit for writing is over.
    pub(crate) fn report(&self, report: Report) {
        self.write(&[FromExecutor::Report(report)]);
    }

    /// Writes messages whole and at once, so that they wake the other side once; one that cannot be written ends the
    /// connection.
    pub(crate) fn write(&self, messages: &[FromExecutor]) {
        let mut text = Vec::new();
        for message in messages {
            match lines::encode(message) {
                Ok(line) => text.extend(line),
                Err(error) => tracing::warn!("a message for the network side was dropped: {error}"),
            }
        }
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let written = (&*self.stream).write_all(&text);
        drop(writing);
        if written.is_err() {
            self.close();
        }
    }

    /// What waits; none once it was closed.
    pub(crate) fn take(&self) -> Option<Vec<FromExecutor>> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return None;
        }
        Some(waiting.answers.drain(..).collect())
    }

    pub(crate) fn close(&self) {
        self.waiting().closed = true;
        self.waker.notify();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
