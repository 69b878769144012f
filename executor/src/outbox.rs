//! What waits to be written to one connection. Whoever puts something in never waits.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    host::Waker,
    protocol::{
        FromExecutor,
        node::{Answer, Report},
    },
};

/// Answers that wait for one who does not read them; then the connection ends.
const MAX_ANSWERS: usize = 64;

/// What waits for one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Notified when there is something, and when it was closed.
    pub waker: Waker,
}

#[derive(Debug, Default)]
struct Waiting {
    answers: VecDeque<FromExecutor>,
    /// One that was not taken yet is as good as the next.
    report: Option<Report>,
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
    pub(crate) fn report(&self, report: Report) {
        self.waiting().report.get_or_insert(report);
        self.waker.notify();
    }

    /// What waits; none once it was closed.
    pub(crate) fn take(&self) -> Option<Vec<FromExecutor>> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return None;
        }
        let report = waiting.report.take().map(FromExecutor::Report);
        Some(waiting.answers.drain(..).chain(report).collect())
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
