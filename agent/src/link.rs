//! The network side: one connection to the coordinator, opened by the node, again and again.
//!
//! It carries bytes and judges nothing: what arrives goes to the executor, what the executor shows goes out.

mod backoff;
mod fetch;
mod idle_timer;
mod renew;
mod sent;
mod session;
mod upload;
mod view;

use std::{path::PathBuf, time::Duration};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::timestamp::Timestamp;
use hostler_proto::tls::{ConnectError, Coordinator, connect};

use self::{backoff::Backoff, session::SessionEnd};
use crate::{
    credentials::{CertificateError, Credentials, StoreError},
    executor::{AskError, Executor},
    folder::Folder,
};
use hostler_executor::protocol::{build_time, node::NodeClock};

/// How long the coordinator may take to answer a call: it writes and syncs before, and a busy SD card takes seconds.
/// One that takes the bytes and says nothing is left.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Everything that the network side uses.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub folder: Folder,
    pub executor: Executor,
    pub report_interval: Duration,
    /// Sealed snapshots that the executor lets the coordinator have.
    pub sealed: PathBuf,
}

/// Why a connection ended or did not come about. None of these ends the agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the coordinator ended the connection: {0}")]
    Ended(String),
    /// Before it took the stream. A certificate that does not count is one reason, and TLS does not say which.
    #[error("the coordinator ended the connection before it took it ({reason}): {clocks}")]
    NotTaken { reason: String, clocks: String },
    #[error("the coordinator did not take a message for {0} s")]
    Stuck(u64),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Executor(#[from] AskError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("renewing the certificate failed: {0}")]
    Renewal(String),
}

impl Link {
    /// Keeps a connection open for ever; what goes wrong is said once and tried again.
    pub(crate) async fn run(self, mut credentials: Credentials) {
        let mut backoff = Backoff::new();
        let mut said = SayOnce::default();
        loop {
            let mut welcomed = false;
            let result = self.once(&mut credentials, &mut welcomed).await;
            if welcomed {
                // Also behind one that broke: how often a coordinator was killed before says nothing of the next time.
                (backoff, said) = (Backoff::new(), SayOnce::default());
            }
            match result {
                Ok(SessionEnd::NewCertificate) => continue,
                Ok(SessionEnd::Closed) if welcomed => tracing::info!("the coordinator closed the connection"),
                Ok(SessionEnd::Closed) => {}
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

    async fn once(&self, credentials: &mut Credentials, welcomed: &mut bool) -> Result<SessionEnd, LinkError> {
        // Without it there is nothing to tell and nobody to carry for.
        let connection = self.executor.connected().await;
        let clock = self.executor.clock().await?;
        let now = clock.now;
        if credentials.expires().is_none_or(|expires| now >= expires) {
            tracing::info!("the certificate has run out; asking for a new one with the node's own key");
            *credentials = renew::with_node_key(self, credentials).await?;
        }
        let coordinator = self.coordinator(&credentials.agent_address, credentials);
        let channel = connect(&coordinator, Some(credentials.client_identity())).await?;
        tokio::select! {
            end = session::run((self, channel), credentials, welcomed) => end.map_err(|error| match error {
                LinkError::NotTaken { reason, .. } => {
                    LinkError::NotTaken { reason, clocks: clocks(clock, credentials.validity()) }
                }
                LinkError::Connect(_)
                | LinkError::Ended(_)
                | LinkError::Stuck(_)
                | LinkError::Store(_)
                | LinkError::Executor(_)
                | LinkError::Certificate(_)
                | LinkError::Renewal(_) => error,
            }),
            // What the node holds has to be told anew when it is back.
            () = self.executor.lost(connection) => Err(AskError::Gone.into()),
        }
    }

    /// The coordinator at this address. A node whose trust root is lost takes the CA that issued its certificate: what
    /// comes over that connection is refused anyway.
    fn coordinator(&self, address: &str, credentials: &Credentials) -> Coordinator {
        let mut pins = self.executor.status.content().holding.coordinator_ca.clone();
        if pins.is_empty() {
            pins.extend(credentials.issuer_pin());
        }
        Coordinator { address: address.to_owned(), pins, time_floor: build_time() }
    }
}

/// Which clock to look at when a coordinator may not take this node's certificate.
fn clocks(own: NodeClock, valid: Option<(Timestamp, Timestamp)>) -> String {
    let Some((begins, ends)) = valid else { return "this node's certificate cannot be read".to_owned() };
    let shows = own.now.whole_seconds();
    let counts = format!("its certificate counts from {begins} to {ends}");
    if own.now < begins {
        return format!("this node's clock shows {shows} and is behind, {counts}; start a time service here (chrony)");
    }
    if !own.synchronised {
        return format!(
            "this node's clock shows {shows} and is not synchronised, {counts}; compare `date` here and on the \
             coordinator's machine, and start a time service where it is wrong (chrony, systemd-timesyncd)"
        );
    }
    format!(
        "this node's clock shows {shows} and is synchronised, {counts}; look at the clock of the coordinator's machine \
         (`date`), by which it may not count yet or any more"
    )
}

fn random_fraction() -> f64 {
    use rand_core::RngCore as _;
    f64::from(rand_core::OsRng.next_u32()) / f64::from(u32::MAX)
}

/// When to ask for the next certificate: not all nodes at once.
fn renewal_time(credentials: &Credentials) -> Timestamp {
    let spread = credentials.expires().map_or(Duration::ZERO, |e| e.since(credentials.renew_after) / 4);
    credentials.renew_after.plus(spread.mul_f64(random_fraction()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_which_clock_to_look_at() {
        let at = |hours: u64| Timestamp::from_unix_seconds(1_800_000_000 + hours * 3600);
        let own = |hours, synchronised| NodeClock { now: at(hours), synchronised };
        let valid = Some((at(10), at(34)));
        assert!(
            clocks(own(0, true), valid).contains("this node's clock shows")
                && clocks(own(0, true), valid).contains("is behind")
        );
        assert!(clocks(own(12, false), valid).contains("is not synchronised"));
        assert!(clocks(own(12, true), valid).contains("look at the clock of the coordinator's machine"));
    }
}
