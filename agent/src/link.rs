//! The network side: one connection to the coordinator, opened by the node, again and again.
//!
//! It carries bytes and judges nothing: what arrives goes to the executor, what the executor shows goes out.

mod backoff;
mod fetch;
mod idle_timer;
mod renew;
mod session;

use std::{path::PathBuf, sync::Arc, time::Duration};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::timestamp::Timestamp;
use hostler_proto::tls::{ConnectError, Coordinator, connect};

use self::{backoff::Backoff, session::SessionEnd};
use crate::credentials::{CredentialStore, Credentials, StoreError};
use hostler_executor::protocol::{
    ExecutorStatus, RequestSender, build_time,
    node::{NodeClient, NodeError},
};

/// Everything that the network side uses.
#[derive(Clone)]
pub(crate) struct Link {
    pub credentials: CredentialStore,
    pub node: NodeClient,
    pub status: Arc<ExecutorStatus>,
    pub sender: RequestSender,
    pub report_interval: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// Why a connection ended or did not come about. None of these ends the agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the coordinator ended the connection: {0}")]
    Ended(String),
    #[error("the coordinator did not take a message for {0} s")]
    Stuck(u64),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Certificate(#[from] crate::credentials::CertificateError),
    #[error("renewing the certificate failed: {0}")]
    Renewal(String),
}

impl Link {
    /// Keeps a connection open for ever; what goes wrong is said once and tried again.
    pub(crate) async fn run(self, mut credentials: Credentials) {
        let mut backoff = Backoff::new();
        let mut said = SayOnce::default();
        loop {
            let result = self.once(&mut credentials).await;
            match result {
                Ok(SessionEnd::NewCertificate) => continue,
                Ok(SessionEnd::Closed { welcomed: true }) => {
                    tracing::info!("the coordinator closed the connection");
                    backoff = Backoff::new();
                }
                Ok(SessionEnd::Closed { welcomed: false }) => {}
                Err(error) => {
                    let text = error.to_string();
                    if said.is_news(&text) {
                        tracing::warn!("{text}; trying again");
                    }
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn once(&self, credentials: &mut Credentials) -> Result<SessionEnd, LinkError> {
        let now = self.node.clock().await?.now;
        if credentials.expires().is_none_or(|expires| now >= expires) {
            tracing::info!("the certificate has run out; asking for a new one with the node's own key");
            *credentials = renew::with_node_key(self, credentials).await?;
        }
        let coordinator = self.coordinator(&credentials.agent_address);
        let channel = connect(&coordinator, Some(credentials.client_identity())).await?;
        session::run(self, credentials, channel).await
    }

    fn coordinator(&self, address: &str) -> Coordinator {
        let pins = self.status.content().holding.coordinator_ca.clone();
        Coordinator { address: address.to_owned(), pins, time_floor: build_time() }
    }
}

/// A file that grows while it is fetched.
type Part = PathBuf;

fn random_fraction() -> f64 {
    use rand_core::RngCore as _;
    f64::from(rand_core::OsRng.next_u32()) / f64::from(u32::MAX)
}

/// When to ask for the next certificate: not all nodes at once.
fn renewal_time(credentials: &Credentials) -> Timestamp {
    let spread = credentials.expires().map_or(Duration::ZERO, |e| e.since(credentials.renew_after) / 4);
    credentials.renew_after.plus(spread.mul_f64(random_fraction()))
}
