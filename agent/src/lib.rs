//! hostler-agent: enrols a node, reports its facts and carries signed plans to its executor.
//!
//! It has no privilege and judges nothing: documents go to the executor, which verifies each itself from its exact
//! bytes and is the only one who acts. The two are processes of their own and talk over a Unix socket
//! (`hostler_executor::protocol`).

pub mod command;
mod credentials;
mod enrol;
mod executor;
pub mod facts;
mod folder;
pub mod health;
mod link;
mod metrics;
pub mod settings;

use std::time::Duration;

use hostler_daemon::{process, say_once::SayOnce};
use hostler_executor::protocol::node::Membership;
use hostler_proto::tls::NodeIdentity;

use self::{
    credentials::Credentials,
    executor::{AskError, Executor},
    folder::Folder,
    link::Link,
};
pub use self::{
    folder::FolderError,
    settings::{Settings, SettingsError},
};

/// How often a machine without a join string looks for one.
const JOIN_POLL: Duration = Duration::from_secs(2);

/// After an enrolment that failed.
const ENROL_RETRY: Duration = Duration::from_secs(5);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// Runs the agent of one node until `shutdown` is ready. Whether its executor is there or not: it waits, and comes back
/// to it.
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let folder = Folder::open(&settings.state_dir)?;
    let (executor, connection) = executor::open(settings.socket);
    // Ends with this function, however that ends.
    let mut beside = tokio::task::JoinSet::new();
    beside.spawn(connection);
    if let Some(address) = settings.metrics_listen {
        let executor = executor.clone();
        let read = move || {
            let executor = executor.clone();
            async move { executor.facts().await.ok() }
        };
        beside.spawn(metrics::serve(address, read));
    }
    // A node that waits for its executor or its join string is up and running.
    process::ready();
    let work = async {
        let credentials = credentials(&folder, &executor).await?;
        tracing::info!(NODE = %credentials.node, "{} is enrolled in fleet {}", credentials.node, credentials.fleet_id);
        let link = Link { folder, executor, report_interval: settings.report_interval, sealed: settings.sealed };
        link.run(credentials).await;
        Ok(())
    };
    tokio::select! {
        ended = work => ended,
        () = shutdown => Ok(()),
    }
}

/// What the node has for its connection, enrolling it first if it is new. What goes wrong is said once and tried again.
async fn credentials(folder: &Folder, executor: &Executor) -> Result<Credentials, AgentError> {
    let mut said = SayOnce::default();
    loop {
        let (text, wait) = match once(folder, executor).await? {
            Ok(credentials) => return Ok(credentials),
            Err(Wait::JoinString(places)) => {
                let text = format!("waiting for a join string in {places}; make one with `hostler token create`");
                (text, JOIN_POLL)
            }
            Err(Wait::Asked(error)) => (error.to_string(), JOIN_POLL),
            Err(Wait::Enrol(error)) => (format!("{error}; trying again"), ENROL_RETRY),
        };
        if said.is_news(&text) {
            tracing::warn!("{text}");
        }
        tokio::time::sleep(wait).await;
    }
}

/// Why there are no credentials yet.
enum Wait {
    /// There is none in these places.
    JoinString(String),
    Asked(AskError),
    Enrol(enrol::EnrolError),
}

async fn once(folder: &Folder, executor: &Executor) -> Result<Result<Credentials, Wait>, AgentError> {
    executor.connected().await;
    let identity = match executor.identity().await {
        Ok(identity) => identity,
        Err(error) => return Ok(Err(Wait::Asked(error))),
    };
    if let Some(Membership { fleet_id, node, enrolment_address }) = identity.member {
        let identity = NodeIdentity { fleet: fleet_id, node };
        let held = Credentials::load(folder, &identity);
        return Ok(Ok(held.unwrap_or_else(|| Credentials::none(&identity, enrolment_address))));
    }
    Ok(match executor.invitation().await {
        Ok(Ok(invitation)) => enrol::enrol(invitation, folder, executor).await.map_err(Wait::Enrol),
        Ok(Err(nothing)) => Err(Wait::JoinString(nothing.places)),
        Err(error) => Err(Wait::Asked(error)),
    })
}
