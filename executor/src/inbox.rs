//! The queue of requests in front of the executor. It is bounded, and whoever puts something in never waits in it.

mod waiting;

use std::sync::{
    Arc, Mutex, PoisonError,
    mpsc::{self, Receiver, SyncSender, TrySendError},
};

pub(crate) use self::waiting::{MAX_WAITING_BYTES, Waiting};
use crate::{host::Waker, protocol::Request};

/// Requests that wait while a task runs; the coordinator sends fewer.
const MAX_REQUESTS: usize = 64;

/// The end that takes requests. Cloned handles are one end.
#[derive(Debug, Clone)]
pub(crate) struct RequestSender {
    /// None once this end hung up.
    requests: Arc<Mutex<Option<SyncSender<Waiting>>>>,
    waker: Waker,
    budget: waiting::Budget,
}

/// The executor's end.
#[derive(Debug)]
pub(crate) struct RequestReceiver {
    pub requests: Receiver<Waiting>,
    pub waker: Waker,
}

/// A new queue.
pub(crate) fn queue() -> (RequestSender, RequestReceiver) {
    let (sender, receiver) = mpsc::sync_channel(MAX_REQUESTS);
    let waker = Waker::new();
    let requests = Arc::new(Mutex::new(Some(sender)));
    let sender = RequestSender { requests, waker: waker.clone(), budget: waiting::Budget::default() };
    (sender, RequestReceiver { requests: receiver, waker })
}

impl RequestSender {
    /// Hands a request over; gives it back while the queue is full, or the bytes of all that wait. `Ok` too when the
    /// executor has ended.
    pub(crate) fn offer(&self, request: Request) -> Result<(), Request> {
        let sender = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waiting = Waiting::hold(&self.budget, request)?;
        let result = match sender.map(|sender| sender.try_send(waiting)) {
            None | Some(Ok(()) | Err(TrySendError::Disconnected(_))) => Ok(()),
            Some(Err(TrySendError::Full(waiting))) => Err(waiting.take()),
        };
        self.waker.notify();
        result
    }

    /// Ends the executor between two acts.
    pub(crate) fn hang_up(&self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.waker.notify();
    }

    /// Another end for what comes from now on, after the first one was lost.
    pub(crate) fn take_over(&self) -> RequestReceiver {
        let (sender, requests) = mpsc::sync_channel(MAX_REQUESTS);
        if let Some(held) = &mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            *held = sender;
        }
        RequestReceiver { requests, waker: self.waker.clone() }
    }

    /// Ends a wait of the executor's, so that it looks around.
    pub(crate) fn wake(&self) {
        self.waker.notify();
    }
}
