//! What the network side asks of its node beside the work: questions whose answers own all that they hold, so that
//! another process can ask them too.

use std::{
    sync::mpsc::{SyncSender, TrySendError},
    time::Duration,
};

use hostler_plan::{
    document::{DocumentKind, Hardware, Signed},
    fact::Reading,
    id::{Arch, BootId},
    sequencer::CordonOwner,
    signature::PublicKey,
    timestamp::Timestamp,
};
use tokio::sync::{mpsc, oneshot};

/// Questions that wait for their answer; the network side asks one after the other.
pub const MAX_QUESTIONS: usize = 16;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<T>;

/// One question, with the place for its answer.
#[derive(Debug)]
pub enum Question {
    /// Who this node is.
    Identity(Reply<Result<MachineIdentity, NodeError>>),
    /// The kernel's boot id.
    BootId(Reply<Result<BootId, NodeError>>),
    /// What the node's clock shows.
    Clock(Reply<NodeClock>),
    /// Every fact that can be read now.
    Facts(Reply<Reading>),
    /// A report at once and then at an interval, until the receiver is gone; a later wish replaces an earlier one.
    Reports { every: Duration, to: mpsc::Sender<Report> },
    /// What the API server says of its nodes.
    Conditions(Reply<Conditions>),
    /// A signature by the node's key.
    Sign { kind: DocumentKind, bytes: Vec<u8>, reply: Reply<Result<Signed, NodeError>> },
    /// Nothing has happened for a while.
    Idle,
}

/// Which machine a node is: what it enrols with.
#[derive(Debug, Clone)]
pub struct MachineIdentity {
    /// Its signing key.
    pub key: PublicKey,
    /// Its sealing key, as documents write it.
    pub seal_key: String,
    pub arch: Arch,
    pub hardware: Hardware,
}

/// A node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeClock {
    pub now: Timestamp,
    /// Whether it was set from somewhere trustworthy since boot.
    pub synchronised: bool,
}

/// What a report tells.
#[derive(Debug)]
pub struct Report {
    pub reading: Reading,
    /// What the node's clock showed.
    pub now: Timestamp,
    /// Whether this machine has credentials for an API server.
    pub serves: bool,
}

/// What an API server says of its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conditions {
    /// This machine has no credentials for one.
    NoServer,
    /// It did not answer.
    Silent,
    Nodes(Vec<NodeCondition>),
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCondition {
    pub name: String,
    pub ready: bool,
    /// Who made it unschedulable.
    pub cordoned_by: Option<CordonOwner>,
    /// The kubelet's.
    pub version: String,
}

/// Why the node gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    #[error("{0}")]
    Failed(String),
    #[error("the root side of this node does not answer; see the messages before")]
    Gone,
}

/// The network side's end: asks and waits for the answer.
#[derive(Debug, Clone)]
pub struct NodeClient(SyncSender<Question>);

impl NodeClient {
    pub(crate) fn new(questions: SyncSender<Question>) -> Self {
        Self(questions)
    }

    /// Who this node is.
    pub async fn identity(&self) -> Result<MachineIdentity, NodeError> {
        self.ask(Question::Identity).await?
    }

    /// The kernel's boot id.
    pub async fn boot_id(&self) -> Result<BootId, NodeError> {
        self.ask(Question::BootId).await?
    }

    /// What the node's clock shows.
    pub async fn clock(&self) -> Result<NodeClock, NodeError> {
        self.ask(Question::Clock).await
    }

    /// What the API server says of its nodes.
    pub async fn conditions(&self) -> Result<Conditions, NodeError> {
        self.ask(Question::Conditions).await
    }

    /// A signature by the node's key.
    pub async fn sign(&self, kind: DocumentKind, bytes: Vec<u8>) -> Result<Signed, NodeError> {
        self.ask(|reply| Question::Sign { kind, bytes, reply }).await?
    }

    /// Every fact that can be read now. Blocks for as long as the readers take.
    pub fn facts_blocking(&self) -> Result<Reading, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.put(Question::Facts(reply))?;
        answer.blocking_recv().map_err(|_| NodeError::Gone)
    }

    /// Reports at an interval, the first at once.
    pub fn reports(&self, every: Duration) -> Reports {
        let (to, reports) = mpsc::channel(1);
        let _ = self.put(Question::Reports { every, to });
        Reports { node: self.clone(), every, reports }
    }

    /// Nothing has happened for a while.
    pub fn idle(&self) {
        let _ = self.put(Question::Idle);
    }

    async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Question) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.put(question(reply))?;
        answer.await.map_err(|_| NodeError::Gone)
    }

    fn put(&self, question: Question) -> Result<(), NodeError> {
        self.0.try_send(question).map_err(|error| match error {
            TrySendError::Full(_) => {
                NodeError::Failed("the node has too many questions to answer; asking again".into())
            }
            TrySendError::Disconnected(_) => NodeError::Gone,
        })
    }
}

/// Reports of the machine at an interval.
#[derive(Debug)]
pub struct Reports {
    node: NodeClient,
    every: Duration,
    reports: mpsc::Receiver<Report>,
}

impl Reports {
    /// The next report when it is due. Nothing is lost when the caller stops waiting.
    pub async fn next(&mut self) -> Report {
        loop {
            if let Some(report) = self.reports.recv().await {
                return report;
            }
            // Somebody else asked for reports since, or the node was too busy to hear the wish.
            tokio::time::sleep(self.every).await;
            *self = self.node.reports(self.every);
        }
    }
}
