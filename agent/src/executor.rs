//! The root side of this node, as the network side sees it: questions, requests, reports, and its status.
//!
//! One task holds the connection to the executor's socket and opens it again, quietly, for as long as the agent lives.
//! What the executor shows is copied here as it changes; the link looks at the copy.

mod connection;
mod mirror;

use std::{path::PathBuf, sync::Arc, time::Duration};

use hostler_executor::protocol::{
    Request,
    node::{
        Admitted, Answer, Conditions, Identity, Invitation, Membership, NoInvitation, NodeClock, NodeError, Question,
        Report,
    },
};
use hostler_facts::Program;
use hostler_plan::{
    document::Signed,
    fact::Reading,
    id::{BootId, Digest, NodeName, Nonce},
};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use self::mirror::Mirror;

/// Calls that wait to be written; an executor that takes none is not there.
const MAX_CALLS: usize = 64;

/// Why the executor gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("the executor is gone; waiting for it, see `systemctl status hostler-executor`")]
    Gone,
    #[error("the executor answered another question than {0}; install both programs from one package")]
    Other(&'static str),
}

/// What goes to the executor.
#[derive(Debug)]
enum Call {
    Ask(Question, oneshot::Sender<Answer>),
    Request(Request),
    Reports(Duration, mpsc::Sender<Report>),
    Idle,
}

/// The executor. Cloned handles are one.
#[derive(Debug, Clone)]
pub(crate) struct Executor {
    calls: mpsc::Sender<Call>,
    pub status: Arc<Mirror>,
    /// The number of the connection; none while there is none.
    connection: watch::Receiver<Option<u64>>,
}

/// The executor behind that socket, and the task that holds the connection, to be driven by the caller.
pub(crate) fn open(socket: PathBuf) -> (Executor, impl Future<Output = ()>) {
    let (calls, waiting) = mpsc::channel(MAX_CALLS);
    let (connected, connection) = watch::channel(None);
    let status = Arc::new(Mirror::default());
    let task = connection::keep(socket, waiting, status.clone(), connected);
    (Executor { calls, status, connection }, task)
}

impl Executor {
    /// Waits until it is there and has shown its status; gives the number of the connection.
    pub(crate) async fn connected(&self) -> u64 {
        let mut connection = self.connection.clone();
        loop {
            if let Some(number) = *connection.borrow_and_update() {
                return number;
            }
            if connection.changed().await.is_err() {
                // The task is gone, and this one will be.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until that connection has ended.
    pub(crate) async fn lost(&self, number: u64) {
        let mut connection = self.connection.clone();
        let _ = connection.wait_for(|now| *now != Some(number)).await;
    }

    /// Who this node is.
    pub(crate) async fn identity(&self) -> Result<Identity, AskError> {
        let Answer::Identity(identity) = self.ask(Question::Identity).await? else {
            return Err(AskError::Other("who"));
        };
        Ok(identity)
    }

    /// The kernel's boot id.
    pub(crate) async fn boot_id(&self) -> Result<BootId, AskError> {
        let Answer::BootId(id) = self.ask(Question::BootId).await? else { return Err(AskError::Other("the boot id")) };
        Ok(id)
    }

    /// What the node's clock shows.
    pub(crate) async fn clock(&self) -> Result<NodeClock, AskError> {
        let Answer::Clock(clock) = self.ask(Question::Clock).await? else { return Err(AskError::Other("the time")) };
        Ok(clock)
    }

    /// Every fact that can be read now, the agent's own figures among them.
    pub(crate) async fn facts(&self) -> Result<Reading, AskError> {
        let answer = self.ask(Question::Facts).await?;
        let Answer::Facts(mut facts) = answer else { return Err(AskError::Other("the facts")) };
        Program::Agent.tell(&mut facts);
        Ok(facts)
    }

    /// What the API server says of its nodes, once that is unlike what is known, or after a while.
    pub(crate) async fn conditions(self, unlike: Option<Digest>) -> Result<Conditions, AskError> {
        let answer = self.ask(Question::Conditions { unlike }).await?;
        let Answer::Conditions(conditions) = answer else { return Err(AskError::Other("the cluster")) };
        Ok(conditions)
    }

    /// What its API server says of the pods of these nodes, signed by the node.
    pub(crate) async fn view(&self, nodes: Vec<NodeName>, nonce: Nonce) -> Result<Signed, AskError> {
        let answer = self.ask(Question::View { nodes, nonce }).await?;
        let Answer::View(signed) = answer else { return Err(AskError::Other("a view")) };
        Ok(signed)
    }

    /// Whom the join string says to ask.
    pub(crate) async fn invitation(&self) -> Result<Result<Invitation, NoInvitation>, AskError> {
        let answer = self.ask(Question::Invitation).await?;
        let Answer::Invitation(invitation) = answer else { return Err(AskError::Other("the join string")) };
        Ok(invitation)
    }

    /// An enrolment for a certificate of this TLS key.
    pub(crate) async fn enrol(&self, tls_key: Digest) -> Result<Signed, AskError> {
        let answer = self.ask(Question::Enrol { tls_key }).await?;
        let Answer::Enrolment(signed) = answer else { return Err(AskError::Other("an enrolment")) };
        Ok(signed)
    }

    /// The coordinator's answer to it.
    pub(crate) async fn admit(&self, admitted: Admitted) -> Result<Membership, AskError> {
        let answer = self.ask(Question::Admit(admitted)).await?;
        let Answer::Enrolled(member) = answer else { return Err(AskError::Other("the admission")) };
        Ok(member)
    }

    /// The signature in answer to a coordinator's challenge.
    pub(crate) async fn renew(&self, tls_key: Digest, nonce: Vec<u8>) -> Result<String, AskError> {
        let answer = self.ask(Question::Renew { tls_key, nonce }).await?;
        let Answer::Renewal(signature) = answer else { return Err(AskError::Other("a renewal")) };
        Ok(signature)
    }

    /// Reports at an interval, the first at once.
    pub(crate) fn reports(&self, every: Duration) -> Reports {
        let (to, reports) = mpsc::channel(1);
        let _ = self.calls.try_send(Call::Reports(every, to));
        Reports { executor: self.clone(), every, reports }
    }

    /// Hands a request over; gives it back while there is no room. One that comes while the executor is gone is
    /// dropped: the coordinator offers it again on the next connection.
    pub(crate) fn offer(&self, request: Request) -> Result<(), Request> {
        match self.calls.try_send(Call::Request(request)) {
            Err(mpsc::error::TrySendError::Full(Call::Request(request))) => Err(request),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Nothing has happened for a while.
    pub(crate) fn idle(&self) {
        let _ = self.calls.try_send(Call::Idle);
    }

    async fn ask(&self, question: Question) -> Result<Answer, AskError> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Ask(question, reply)).await.map_err(|_| AskError::Gone)?;
        match answer.await.map_err(|_| AskError::Gone)? {
            Answer::Failed(error) => Err(error.into()),
            other @ (Answer::Identity(_)
            | Answer::BootId(_)
            | Answer::Clock(_)
            | Answer::Facts(_)
            | Answer::Conditions(_)
            | Answer::View(_)
            | Answer::Invitation(_)
            | Answer::Enrolment(_)
            | Answer::Enrolled(_)
            | Answer::Renewal(_)) => Ok(other),
        }
    }
}

/// Reports of the machine at an interval.
#[derive(Debug)]
pub(crate) struct Reports {
    executor: Executor,
    every: Duration,
    reports: mpsc::Receiver<Report>,
}

impl Reports {
    /// The next report when it is due. Nothing is lost when the caller stops waiting.
    pub(crate) async fn next(&mut self) -> Report {
        loop {
            if let Some(mut report) = self.reports.recv().await {
                Program::Agent.tell(&mut report.reading);
                return report;
            }
            // Somebody else asked for reports since, or the executor has gone.
            tokio::time::sleep(self.every).await;
            *self = self.executor.reports(self.every);
        }
    }
}
