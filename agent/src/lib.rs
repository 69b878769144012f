//! hostler-agent: enrols a node, reports its facts and performs signed plans.
//!
//! The network side (the link) carries bytes; the executor verifies every document itself from its exact bytes and is
//! the only one who acts, through the [`Host`] it was given. They share a process and talk through
//! `hostler_executor::protocol`.

pub mod command;
mod credentials;
mod enrol;
pub mod facts;
mod link;
pub mod memory;
mod metrics;
pub mod settings;

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::sync::oneshot;

use hostler_daemon::{process, say_once::SayOnce};
use hostler_executor::{
    Ended, Executor, ExecutorError, answers,
    disk::{Disk, DiskError},
    host::{Host, HostError},
    keys::{Keys, KeysError},
    protocol::{self, node::NodeClient},
};
use hostler_plan::{
    id::{InvalidId, NodeName},
    refusal::{Refusal, Refused},
    signature::PublicKey,
};

use self::{
    credentials::{CredentialStore, Credentials},
    link::Link,
};
pub use self::{
    enrol::EnrolError,
    settings::{Settings, SettingsError},
};

/// How often a machine without a join string looks for one.
const JOIN_POLL: Duration = Duration::from_secs(2);

/// After an enrolment that failed.
const ENROL_RETRY: Duration = Duration::from_secs(5);

/// How long the executor may take to leave the step that it is in. Its longest calls take minutes (a package's
/// installation); what is cut off goes on in the next process.
const EXECUTOR_LIMIT: Duration = Duration::from_secs(20);

/// Why the agent ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to.
    Shutdown,
    /// A task asked for a reboot of the machine; the task goes on in the next process.
    Rebooting,
}

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("the host's name cannot be the node's: {0}; set node_name")]
    Name(#[from] InvalidId),
    #[error("starting the executor failed: {0}")]
    Thread(std::io::Error),
    #[error("the executor ended without a word; see the messages before")]
    ExecutorGone,
}

impl AgentError {
    /// The refusal behind the error, if it is one; its exit code is what the command ends with.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            AgentError::Keys(KeysError::Refused(r))
            | AgentError::Enrol(EnrolError::Refused(r))
            | AgentError::Executor(ExecutorError::Refused(r)) => Some(r),
            AgentError::Disk(_)
            | AgentError::Keys(_)
            | AgentError::Enrol(_)
            | AgentError::Executor(_)
            | AgentError::Host(_)
            | AgentError::Name(_)
            | AgentError::Thread(_)
            | AgentError::ExecutorGone => None,
        }
    }
}

/// The public key that this node has or would enrol with, and its name: what a person compares before approving.
pub fn identity(settings: &Settings, host: &dyn Host) -> Result<(NodeName, PublicKey), AgentError> {
    let (disk, running) = match Disk::open(&settings.state_dir) {
        Err(DiskError::InUse { path, .. }) => (Disk::beside(&path), true),
        other => (other?, false),
    };
    let enrolled = enrol::enrolled(&disk)?;
    let keys = Keys::load_or_make(&disk, running || enrolled.is_some())?;
    let node = match enrolled {
        Some(credentials) => credentials.node,
        None => node_name(settings, host)?,
    };
    Ok((node, keys.public()))
}

/// Runs the agent of one node until `shutdown` is ready, the machine is about to reboot, or nothing can go on.
pub async fn run(
    settings: Settings,
    host: Arc<dyn Host>,
    shutdown: impl Future<Output = ()>,
) -> Result<Exit, AgentError> {
    let mut shutdown = std::pin::pin!(shutdown);
    // Ends with this function, however that ends.
    let mut beside = tokio::task::JoinSet::new();
    let disk = Arc::new(Disk::open(&settings.state_dir)?);
    let enrolled = enrol::enrolled(&disk)?;
    let keys = Arc::new(Keys::load_or_make(&disk, enrolled.is_some())?);
    let node = answers::start(host.clone(), keys.clone()).map_err(AgentError::Thread)?;
    if let Some(address) = settings.metrics_listen {
        let node = node.clone();
        beside.spawn(metrics::serve(address, move || node.facts_blocking().ok()));
    }
    // A node that waits for its join string is up and running.
    process::ready();
    let credentials = match enrolled {
        Some(credentials) => credentials,
        None => {
            let name = node_name(&settings, &*host)?;
            tracing::info!("{name} is not enrolled; its key is {}", keys.public().fingerprint());
            tokio::select! {
                credentials = enrol_once(&settings, &name, &disk, &keys, &node) => credentials,
                () = &mut shutdown => return Ok(Exit::Shutdown),
            }
        }
    };
    tracing::info!(NODE = %credentials.node, "{} is enrolled in fleet {}", credentials.node, credentials.fleet_id);

    let status = Arc::new(protocol::ExecutorStatus::default());
    let (sender, receiver) = protocol::queue();
    let waker = receiver.waker.clone();
    let link = Link {
        credentials: CredentialStore::new(disk.clone()),
        node,
        status,
        sender,
        report_interval: settings.report_interval,
    };
    let executor = Executor::open(disk, keys, credentials.node.clone(), host, link.status.clone(), receiver);
    let executor = match executor {
        Ok(executor) => executor,
        Err(ExecutorError::Refused(refused)) if refused.refusal == Refusal::DamagedState => {
            stand_by(link, credentials, refused, shutdown).await?;
            return Ok(Exit::Shutdown);
        }
        Err(error) => return Err(error.into()),
    };
    let ExecutorThread { mut ended, done } = ExecutorThread::start(executor)?;
    let result = tokio::select! {
        () = link.run(credentials) => Ok(Exit::Shutdown),
        () = &mut shutdown => Ok(Exit::Shutdown),
        ended = &mut ended => match ended {
            Ok(Ok(Ended::Rebooting)) => Ok(Exit::Rebooting),
            Ok(Ok(Ended::Shutdown)) => Ok(Exit::Shutdown),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(AgentError::ExecutorGone),
        },
    };
    // The link is gone, and with it the sender: the executor hears that and leaves between two acts.
    waker.notify();
    let _ = tokio::task::spawn_blocking(move || done.recv_timeout(EXECUTOR_LIMIT)).await;
    result
}

/// The executor at work. It is a plain thread: what it does to a machine is sequential.
struct ExecutorThread {
    /// How it ended.
    ended: oneshot::Receiver<Result<Ended, ExecutorError>>,
    /// Closed when the thread has left, which may be later.
    done: mpsc::Receiver<()>,
}

impl ExecutorThread {
    fn start(executor: Executor) -> Result<Self, AgentError> {
        let (ended_sender, ended) = oneshot::channel();
        let (done_sender, done) = mpsc::channel::<()>();
        std::thread::Builder::new()
            .name("executor".into())
            .spawn(move || {
                let _done = done_sender;
                // Nobody listens any more when the agent was shut down first.
                let _ = ended_sender.send(executor.run());
            })
            .map_err(AgentError::Thread)?;
        Ok(Self { ended, done })
    }
}

/// What a node with damaged state does until a person helps it: it stays in sight with its facts, refuses whatever it
/// is offered, and performs nothing.
async fn stand_by(
    link: Link,
    credentials: Credentials,
    refused: Refused,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    tracing::error!(NODE = %credentials.node, "{refused}; until then this node reports its facts and performs nothing");
    process::status("damaged state: performs nothing, see the messages");
    let (sender, receiver) = protocol::queue();
    let status = link.status.clone();
    // The trust root is lost, and so are the pins that it named. The CA that issued the certificate will do: what comes
    // over this connection is refused anyway.
    status.change(|content| content.holding.coordinator_ca = credentials.issuer_pin().into_iter().collect());
    status.refuse(None, refused.clone());
    std::thread::Builder::new()
        .name("refuser".into())
        .spawn(move || {
            // Ends with the link, which holds the other end.
            while let Ok(waiting) = receiver.requests.recv() {
                match waiting.take() {
                    protocol::Request::Plan(plan) => status.refuse(Some(plan.digest()), refused.clone()),
                    protocol::Request::Grant(grant) => status.refuse(Some(grant.plan), refused.clone()),
                    protocol::Request::Trust { .. }
                    | protocol::Request::LeaseRenewed { .. }
                    | protocol::Request::Stop { .. }
                    | protocol::Request::ReceiptAcknowledged(_)
                    | protocol::Request::Fetched { .. } => {}
                }
            }
        })
        .map_err(AgentError::Thread)?;
    tokio::select! {
        () = Link { sender, ..link }.run(credentials) => {}
        () = shutdown => {}
    }
    Ok(())
}

fn node_name(settings: &Settings, host: &dyn Host) -> Result<NodeName, AgentError> {
    if let Some(name) = &settings.node_name {
        return Ok(name.clone());
    }
    let full = host.host_name()?.to_lowercase();
    Ok(NodeName::new(full.split('.').next().unwrap_or_default())?)
}

/// Waits for a join string and enrols with it; what goes wrong is said once and tried again.
async fn enrol_once(
    settings: &Settings,
    node: &NodeName,
    disk: &Arc<Disk>,
    keys: &Keys,
    root_side: &NodeClient,
) -> Credentials {
    let mut said = SayOnce::default();
    loop {
        let (text, wait) = match enrol::find_join_string(&settings.join_files) {
            Ok(Some((path, join))) => match enrol::enrol(&join, node, disk, keys, root_side).await {
                Ok(credentials) => {
                    enrol::forget_join_string(&path);
                    return credentials;
                }
                Err(error) => (format!("{error}; trying again"), ENROL_RETRY),
            },
            Ok(None) => {
                let places: Vec<String> = settings.join_files.iter().map(|p| p.display().to_string()).collect();
                let places = places.join(" or ");
                (format!("waiting for a join string in {places}; make one with `hostler token create`"), JOIN_POLL)
            }
            Err(error) => (error.to_string(), JOIN_POLL),
        };
        if said.is_news(&text) {
            tracing::warn!("{text}");
        }
        tokio::time::sleep(wait).await;
    }
}
