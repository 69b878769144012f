//! Calls that can hang, each on a helper thread, with a time limit and never two at once for the same thing.
//!
//! A dead disk, a stale network mount or a program that waits must not stop the other facts. A round is a list of keys
//! that one short-lived thread works through in order. When it stays at one key beyond the limit, that key is reported
//! late and left to the stuck thread; the rest of the list goes on in a new thread. Not before the stuck call returns
//! is its key asked again, so a dead disk costs one thread, not one a minute.

use super::failure::Failure;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Helper threads parse nothing large; the largest thing on their stack is an NVMe page of 4 KiB.
const STACK_BYTES: usize = 128 * 1024;
/// The most threads that may be stuck at once for one reader. Beyond it new rounds wait; a node with nine hung mounts
/// has other troubles.
const MAX_STUCK: usize = 8;

/// Runs calls of one kind. `K` says what to ask, `V` is the answer.
#[derive(Debug)]
pub(crate) struct Worker<K, V> {
    call: fn(&super::Source, &K) -> V,
    limit: Duration,
    lanes: Vec<Lane<K, V>>,
}

#[derive(Debug)]
struct Lane<K, V> {
    waiting: VecDeque<K>,
    answers: Receiver<V>,
    /// When the first of `waiting` was begun, at the latest.
    since: Duration,
    late: bool,
    /// Tells the thread to end after the call it is in, because another one took over the rest.
    stop: Arc<AtomicBool>,
}

/// How one call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<V> {
    /// It returned.
    Came(V),
    /// It is still out after the limit.
    Late,
}

impl<K: Clone + PartialEq + Send + 'static, V: Send + 'static> Worker<K, V> {
    /// A worker for one kind of call with a limit for each.
    pub(crate) fn new(limit: Duration, call: fn(&super::Source, &K) -> V) -> Self {
        Worker { call, limit, lanes: Vec::new() }
    }

    /// Starts a round over these keys, without those that are still out.
    pub(crate) fn start(&mut self, now: Duration, source: &super::Source, keys: impl IntoIterator<Item = K>) {
        let keys: VecDeque<K> = keys.into_iter().filter(|key| !self.is_out(key)).collect();
        if keys.is_empty() || self.lanes.len() >= MAX_STUCK {
            return;
        }
        let (answers, receiver) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (call, source, list, ordered) = (self.call, source.clone(), keys.clone(), stop.clone());
        let spawned = thread::Builder::new().name("facts-helper".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            for key in &list {
                if ordered.load(Ordering::Relaxed) || answers.send(call(&source, key)).is_err() {
                    return;
                }
            }
        });
        // Without a thread (limit of tasks reached) the round is left out; the values stay as old as they are.
        if spawned.is_ok() {
            self.lanes.push(Lane { waiting: keys, answers: receiver, since: now, late: false, stop });
        }
    }

    /// Every answer that came since, and every key that just became late.
    pub(crate) fn poll(&mut self, now: Duration, source: &super::Source) -> Vec<(K, Answer<V>)> {
        let mut found = Vec::new();
        let mut again = Vec::new();
        self.lanes.retain_mut(|lane| {
            loop {
                match lane.answers.try_recv() {
                    Ok(value) => lane.came(now, value, &mut found),
                    Err(TryRecvError::Disconnected) => return false,
                    Err(TryRecvError::Empty) => break,
                }
            }
            if lane.waiting.is_empty() {
                return false;
            }
            if !lane.late && now.saturating_sub(lane.since) > self.limit {
                lane.late = true;
                lane.stop.store(true, Ordering::Relaxed);
                again.extend(lane.waiting.drain(1..));
                found.extend(lane.waiting.front().map(|key| (key.clone(), Answer::Late)));
            }
            true
        });
        self.start(now, source, again);
        found
    }

    /// Waits for answers, at most so long in real time. Calls that are late already are not waited for.
    pub(crate) fn wait(&mut self, now: Duration, at_most: Duration) -> Vec<(K, Answer<V>)> {
        let deadline = Instant::now() + at_most;
        let mut found = Vec::new();
        for lane in self.lanes.iter_mut().filter(|lane| !lane.late) {
            while !lane.waiting.is_empty() {
                match lane.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(value) => lane.came(now, value, &mut found),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
        }
        self.lanes.retain(|lane| !lane.waiting.is_empty());
        found
    }

    /// Whether a call is out that is not late yet.
    pub(crate) fn pending(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.late)
    }

    /// Whether this call is out, late or not.
    pub(crate) fn is_out(&self, key: &K) -> bool {
        self.lanes.iter().any(|lane| lane.waiting.contains(key))
    }

    /// Whether any call is out, late or not.
    pub(crate) fn busy(&self) -> bool {
        !self.lanes.is_empty()
    }
}

impl<K, V> Lane<K, V> {
    fn came(&mut self, now: Duration, value: V, found: &mut Vec<(K, Answer<V>)>) {
        self.since = now;
        if let Some(key) = self.waiting.pop_front() {
            found.push((key, Answer::Came(value)));
        }
    }
}

/// Turns an answer into a result.
pub(crate) fn result<V>(path: &str, limit: Duration, answer: Answer<Result<V, Failure>>) -> Result<V, Failure> {
    match answer {
        Answer::Came(value) => value,
        Answer::Late => Err(Failure::Late { path: path.to_owned(), seconds: limit.as_secs() }),
    }
}
