//! The thread that owns what decides: it brings the time, takes requests one after another, and carries out what comes
//! of them.
//!
//! It is a thread of its own because an append waits for the disk. Receipts that wait at the same time share one
//! append: they come in batches, when a wave of nodes is done.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use hostler_plan::{document::Signed, entry::StoredDocument, id::NodeName, refusal::Refused, timestamp::Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::{
    clock::{ClockReading, now},
    control::{Attach, Attached, Closing, Control, ControlError, Effect, Members, Stopping, ToNode},
    limits::QUEUE,
    outbox::{Full, Outbox},
    store::index::{Index, Write},
};

/// What a clock is set by without a step: time services slew less than this.
const CLOCK_STEP_MS: u64 = 2_000;
/// How long the thread rests when nothing happens and nothing is due.
const IDLE: Duration = Duration::from_secs(60);
/// Receipts of one append. More at once are a fleet that reconnects, and others want to be heard in between.
const MAX_BATCH: usize = 64;

/// Given once what came of the work was carried out.
type Reply = Box<dyn FnOnce() + Send>;
type Work = Box<dyn FnOnce(&mut Control, Timestamp) -> Reply + Send>;

/// What waits for the thread.
enum Job {
    Work(Work),
    Receipt(ReceiptSubmission),
    Attach(Box<Attaching>),
    Stop,
}

/// A receipt that a node handed in on its stream.
struct ReceiptSubmission {
    node: NodeName,
    signed: Signed,
    reply: oneshot::Sender<Result<(), ControlError>>,
    _permit: OwnedSemaphorePermit,
}

/// A stream that a node opens.
struct Attaching {
    attach: Attach,
    connection: Connection,
    reply: oneshot::Sender<Result<Attached, ControlError>>,
    _permit: OwnedSemaphorePermit,
}

/// The way to a node.
#[derive(Debug)]
pub(crate) struct Connection {
    pub messages: Outbox,
    /// Dropped with the stream, or told why, which ends the task that reads from the node.
    pub end: oneshot::Sender<Refused>,
}

/// How everybody else asks.
#[derive(Debug, Clone)]
pub(crate) struct ControlHandle {
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    members: watch::Receiver<Arc<Members>>,
    changes: watch::Receiver<u64>,
    endings: watch::Receiver<u64>,
}

impl ControlHandle {
    /// Lets `work` be done and waits for what comes of it. At most [`QUEUE`] wait at a time; others wait for that.
    pub(crate) async fn ask<R, F>(&self, work: F) -> Result<R, Stopping>
    where
        R: Send + 'static,
        F: FnOnce(&mut Control, Timestamp) -> R + Send + 'static,
    {
        let permit = self.permit().await?;
        let (sender, receiver) = oneshot::channel();
        let job: Work = Box::new(move |control, now| {
            let result = work(control, now);
            Box::new(move || {
                drop(permit);
                // Whoever asked may have gone; what was done stays done.
                let _ = sender.send(result);
            })
        });
        self.jobs.send(Job::Work(job)).map_err(|_| Stopping)?;
        receiver.await.map_err(|_| Stopping)
    }

    /// The same for work that may be refused.
    pub(crate) async fn request<R, E, F>(&self, work: F) -> Result<R, ControlError>
    where
        R: Send + 'static,
        E: Into<ControlError> + Send + 'static,
        F: FnOnce(&mut Control, Timestamp) -> Result<R, E> + Send + 'static,
    {
        self.ask(work).await?.map_err(Into::into)
    }

    /// Hands in a receipt on that node's stream, and waits until it is durable and acknowledged, or refused.
    pub(crate) async fn receipt(&self, node: NodeName, signed: Signed) -> Result<(), ControlError> {
        let _permit = self.permit().await?;
        let (reply, receiver) = oneshot::channel();
        self.jobs.send(Job::Receipt(ReceiptSubmission { node, signed, reply, _permit })).map_err(|_| Stopping)?;
        receiver.await.map_err(|_| Stopping)?
    }

    /// Opens a node's stream in the place of its last one.
    pub(crate) async fn attach(&self, attach: Attach, connection: Connection) -> Result<Attached, ControlError> {
        let _permit = self.permit().await?;
        let (reply, receiver) = oneshot::channel();
        self.jobs
            .send(Job::Attach(Box::new(Attaching { attach, connection, reply, _permit })))
            .map_err(|_| Stopping)?;
        receiver.await.map_err(|_| Stopping)?
    }

    /// Who belongs to the fleet now.
    pub(crate) fn members(&self) -> Arc<Members> {
        self.members.borrow().clone()
    }

    /// The same, for whoever waits until it changes.
    pub(crate) fn members_changes(&self) -> watch::Receiver<Arc<Members>> {
        self.members.clone()
    }

    /// Counts up whenever something that is shown to people may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Counts up whenever tasks ended: what people wait for, and are told at once.
    pub(crate) fn endings(&self) -> watch::Receiver<u64> {
        self.endings.clone()
    }

    /// Ends the thread after what waits already.
    pub(crate) fn stop(&self) {
        let _ = self.jobs.send(Job::Stop);
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Stopping> {
        self.permits.clone().acquire_owned().await.map_err(|_| Stopping)
    }
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct ControlLoop {
    control: Control,
    jobs: mpsc::Receiver<Job>,
    index: Arc<Index>,
    connections: BTreeMap<u64, Connection>,
    members: watch::Sender<Arc<Members>>,
    changes: watch::Sender<u64>,
    endings: watch::Sender<u64>,
    /// How far the machine's clock was ahead of the steady one when it was looked at last.
    wall_ahead_ms: i64,
}

/// A loop with its thread.
#[derive(Debug)]
pub(crate) struct Running {
    pub handle: ControlHandle,
    thread: JoinHandle<()>,
}

impl Running {
    /// Stops the loop and waits until its last append is done.
    pub(crate) fn stop(self) {
        self.handle.stop();
        if self.thread.join().is_err() {
            tracing::error!("the control loop ended in a panic; the ledger holds everything that was acknowledged");
        }
    }
}

impl ControlLoop {
    /// Starts the thread.
    pub(crate) fn start(control: Control, index: Arc<Index>) -> std::io::Result<Running> {
        let (sender, jobs) = mpsc::channel();
        let (members, members_seen) = watch::channel(control.members().clone());
        let (changes, changes_seen) = watch::channel(0);
        let (endings, endings_seen) = watch::channel(0);
        let handle = ControlHandle {
            jobs: sender,
            permits: Arc::new(Semaphore::new(QUEUE)),
            members: members_seen,
            changes: changes_seen,
            endings: endings_seen,
        };
        let mut this = Self {
            control,
            jobs,
            index,
            connections: BTreeMap::new(),
            members,
            changes,
            endings,
            wall_ahead_ms: ClockReading::now().wall_ahead_ms(),
        };
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || this.run())?;
        Ok(Running { handle, thread })
    }

    fn run(&mut self) {
        let mut next = None;
        loop {
            self.follow_clock();
            self.control.look(now());
            self.carry_out();
            let rest = self.control.next_look().map_or(IDLE, |then| then.since(now()).min(IDLE));
            match next.take().map_or_else(|| self.jobs.recv_timeout(rest), Ok) {
                Ok(Job::Work(work)) => {
                    let reply = work(&mut self.control, now());
                    self.carry_out();
                    reply();
                }
                Ok(Job::Receipt(first)) => {
                    let (receipts, behind) = batch(first, &self.jobs);
                    next = behind;
                    self.receipts(receipts);
                }
                Ok(Job::Attach(attaching)) => self.attach(*attaching),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(Job::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Notices a step of the machine's clock before anything is told or decided by it.
    fn follow_clock(&mut self) {
        let ahead = ClockReading::now().wall_ahead_ms();
        let by_ms = ahead.saturating_sub(self.wall_ahead_ms);
        if by_ms.unsigned_abs() > CLOCK_STEP_MS {
            tracing::warn!(by_ms, "the clock stepped");
            self.wall_ahead_ms = ahead;
            self.control.clock_stepped(by_ms);
        }
    }

    fn receipts(&mut self, batch: Vec<ReceiptSubmission>) {
        let (mut submitted, mut replies) = (Vec::new(), Vec::new());
        for ReceiptSubmission { node, signed, reply, _permit } in batch {
            submitted.push((node, signed));
            replies.push((reply, _permit));
        }
        let answers = self.control.receipts(now(), submitted);
        self.carry_out();
        for ((reply, _permit), answer) in replies.into_iter().zip(answers) {
            // Whoever asked may have gone; what was done stays done.
            let _ = reply.send(answer);
        }
    }

    fn attach(&mut self, attaching: Attaching) {
        let Attaching { attach, connection, reply, _permit } = attaching;
        let attached = self.control.attach(now(), attach);
        if let Ok(Attached { stream }) = &attached {
            self.connections.insert(*stream, connection);
        }
        self.carry_out();
        let _ = reply.send(attached);
    }

    /// Carries out what was decided, and tells everybody who watches to look again.
    fn carry_out(&mut self) {
        // A stream that is cut off for its full queue may leave more to do.
        loop {
            let effects = self.control.take_effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Send { stream, message } => self.send(stream, message),
                    Effect::Close { stream, closing } => self.close(stream, closing),
                    Effect::KeepAddress(node, address) => self.index.keep(Write::Address(node, address)),
                    Effect::KeepHolding(node, signed) => self.index.keep(Write::Holding(node, StoredDocument(signed))),
                }
            }
        }
        if !Arc::ptr_eq(&self.members.borrow(), self.control.members()) {
            self.members.send_replace(self.control.members().clone());
        }
        count_up(&self.changes, self.control.changes());
        count_up(&self.endings, self.control.endings());
    }

    /// Puts a message into a node's queue. A node that lets its queue fill up is cut off.
    fn send(&mut self, stream: u64, message: ToNode) {
        let Some(connection) = self.connections.get(&stream) else { return };
        if let Err(Full) = connection.messages.put(message) {
            tracing::info!(stream, "stream closed: the node does not read it and its queue is full");
            self.connections.remove(&stream);
            self.control.queue_is_full(now(), stream);
        }
    }

    fn close(&mut self, stream: u64, closing: Closing) {
        let Some(connection) = self.connections.remove(&stream) else { return };
        match closing {
            Closing::Replaced | Closing::Detached => {}
            Closing::Refused(refused) => {
                tracing::info!(stream, reason = %refused.reason, "stream closed");
                let _ = connection.end.send(refused);
            }
        }
    }
}

fn count_up(counter: &watch::Sender<u64>, count: u64) {
    counter.send_if_modified(|shown| std::mem::replace(shown, count) != count);
}

/// The receipts that wait one behind the other, and what waits behind them. At most one of each node, so that every one
/// can be judged by what is in the ledger already.
fn batch(first: ReceiptSubmission, jobs: &mpsc::Receiver<Job>) -> (Vec<ReceiptSubmission>, Option<Job>) {
    let mut receipts = vec![first];
    while receipts.len() < MAX_BATCH {
        match jobs.try_recv() {
            Ok(Job::Receipt(next)) if receipts.iter().all(|r| r.node != next.node) => receipts.push(next),
            Ok(other) => return (receipts, Some(other)),
            Err(_) => break,
        }
    }
    (receipts, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(node: &str, permits: &Arc<Semaphore>) -> ReceiptSubmission {
        ReceiptSubmission {
            node: NodeName::new(node).unwrap(),
            signed: Signed { bytes: Vec::new(), signatures: Vec::new() },
            reply: oneshot::channel().0,
            _permit: permits.clone().try_acquire_owned().unwrap(),
        }
    }

    #[test]
    fn a_batch_is_the_receipts_in_front_one_of_each_node() {
        let permits = Arc::new(Semaphore::new(99));
        let (sender, jobs) = mpsc::channel();
        for node in ["b", "c", "b", "d"] {
            sender.send(Job::Receipt(receipt(node, &permits))).unwrap();
        }
        sender.send(Job::Work(Box::new(|_, _| Box::new(|| {})))).unwrap();
        sender.send(Job::Receipt(receipt("e", &permits))).unwrap();
        let mut batches = Vec::new();
        let mut next = Some(Job::Receipt(receipt("a", &permits)));
        while let Some(job) = next.take().or_else(|| jobs.try_recv().ok()) {
            let Job::Receipt(first) = job else {
                batches.push("work".to_owned());
                continue;
            };
            let (receipts, behind) = batch(first, &jobs);
            batches.push(receipts.iter().map(|r| r.node.as_str()).collect());
            next = behind;
        }
        assert_eq!(batches, ["abc", "bd", "work", "e"], "in their order, and nothing is lost");
    }

    #[test]
    fn a_batch_ends_somewhere() {
        let permits = Arc::new(Semaphore::new(MAX_BATCH + 9));
        let (sender, jobs) = mpsc::channel();
        for n in 1..MAX_BATCH + 9 {
            sender.send(Job::Receipt(receipt(&format!("n{n}"), &permits))).unwrap();
        }
        let (receipts, behind) = batch(receipt("n0", &permits), &jobs);
        assert_eq!((receipts.len(), behind.is_none()), (MAX_BATCH, true));
    }
}
