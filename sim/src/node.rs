//! A whole node in one process: the real executor on a thread, and the real agent, which speaks to it over a real
//! socket.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hostler_agent::AgentError;
use hostler_executor::{Ended, ExecutorError, Stop, host::Host};
use hostler_plan::{health::DEFAULT_REPORT_INTERVAL, id::NodeName};
use tokio::sync::oneshot;

/// How long the executor may take to leave the step that it is in.
const EXECUTOR_LIMIT: Duration = Duration::from_secs(20);

/// What a node is made of.
#[derive(Debug)]
pub struct Node {
    /// Everything of it: `executor`, `agent`, and the socket between them. Its path is short enough for a socket's.
    pub folder: PathBuf,
    pub join_file: PathBuf,
    pub name: Option<NodeName>,
    pub report_interval: Duration,
    /// Where `/metrics` is served; nowhere unless set.
    pub metrics_listen: Option<std::net::SocketAddr>,
}

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    #[error("the executor ended without a word; see the messages before")]
    Gone,
}

impl Node {
    /// A node in that folder.
    pub fn new(folder: PathBuf, join_file: PathBuf, name: NodeName) -> Self {
        Self { folder, join_file, name: Some(name), report_interval: DEFAULT_REPORT_INTERVAL, metrics_listen: None }
    }

    /// How its executor runs.
    pub fn executor(&self) -> hostler_executor::Settings {
        hostler_executor::Settings {
            socket: self.folder.join("socket"),
            downloads: self.folder.join("agent/downloads"),
            join_files: vec![self.join_file.clone()],
            state_dir: self.folder.join("executor"),
            node_name: self.name.clone(),
            ..hostler_executor::Settings::default()
        }
    }

    /// How its agent runs.
    pub fn agent(&self) -> hostler_agent::Settings {
        hostler_agent::Settings {
            socket: self.folder.join("socket"),
            state_dir: self.folder.join("agent"),
            sealed: self.folder.join("sealed"),
            report_interval: self.report_interval,
            metrics_listen: self.metrics_listen,
        }
    }

    /// Runs both until `shutdown` is ready, the machine is about to reboot, or nothing can go on.
    pub async fn run(self, host: Arc<dyn Host>, shutdown: impl Future<Output = ()>) -> Result<Ended, NodeError> {
        let stop = StopAtEnd(Stop::default());
        let (settings, stopped) = (self.executor(), stop.0.clone());
        let (sender, mut ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("executor".into())
            .spawn(move || sender.send(hostler_executor::run(&settings, host, &stopped)))
            .map_err(ExecutorError::Thread)?;
        tokio::select! {
            ended = &mut ended => return Ok(ended.map_err(|_| NodeError::Gone)??),
            ended = hostler_agent::run(self.agent(), shutdown) => ended?,
        }
        stop.0.stop();
        match tokio::time::timeout(EXECUTOR_LIMIT, ended).await {
            Ok(ended) => Ok(ended.map_err(|_| NodeError::Gone)??),
            // It is in the middle of something long, and ends after that.
            Err(_) => Ok(Ended::Shutdown),
        }
    }
}

/// The executor ends also when nobody waits for its node any more.
struct StopAtEnd(Stop);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.stop();
    }
}
