//! How the API server is reached, and as whom.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use tokio::sync::Mutex;

use super::{CALL_LIMIT, ClusterError, account};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// As whom the API server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Identity {
    /// As the kubeconfig says: a kubelet's file, which allows little.
    OfTheFile,
    /// As Hostler's own account, which the file's administrator makes.
    OwnAccount,
}

/// A kubeconfig file and the client that was made of it.
pub(super) struct Access {
    kubeconfig: PathBuf,
    identity: Identity,
    client: Mutex<Option<Held>>,
}

struct Held {
    /// Made again when the file changed: certificates are renewed.
    modified: SystemTime,
    client: Client,
    token: Option<TokenTimes>,
}

/// When a token is renewed, at two thirds of its life, and when it ends.
#[derive(Debug, Clone, Copy)]
struct TokenTimes {
    renewed: Instant,
    ends: Instant,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("kubeconfig", &self.kubeconfig).finish_non_exhaustive()
    }
}

impl Access {
    pub(super) fn new(kubeconfig: PathBuf, identity: Identity) -> Self {
        Self { kubeconfig, identity, client: Mutex::new(None) }
    }

    /// The client. While a token is renewed, whoever asks waits for it.
    pub(super) async fn client(&self) -> Result<Client, ClusterError> {
        let modified = std::fs::metadata(&self.kubeconfig).and_then(|m| m.modified()).map_err(|e| self.silent(&e))?;
        let mut held = self.client.lock().await;
        let now = Instant::now();
        if let Some(held) = &*held
            && held.modified == modified
            && held.token.is_none_or(|token| now < token.renewed)
        {
            return Ok(held.client.clone());
        }
        let made = match tokio::time::timeout(CALL_LIMIT, self.make(modified)).await {
            Ok(Err(ClusterError::Silent(reason))) => Err(self.silent(&reason)),
            Ok(made) => made,
            Err(_) => Err(self.silent(&format!("no answer in {} s", CALL_LIMIT.as_secs()))),
        };
        match (made, &mut *held) {
            (Ok(made), held) => Ok(held.insert(made).client.clone()),
            // The token still counts; the next call tries again.
            (Err(error), Some(old)) if old.token.is_some_and(|token| now < token.ends) => {
                tracing::warn!("renewing the token of Hostler's account: {error}; the old one still counts");
                old.token = old.token.map(|token| TokenTimes { renewed: now + CALL_LIMIT, ..token });
                // A file that changed to what leads nowhere is no more tried at each call than an old one.
                old.modified = modified;
                Ok(old.client.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The credentials were refused: the account was made anew, or a kubelet's certificate was renewed, which its file
    /// only names.
    pub(super) async fn forget(&self) {
        *self.client.lock().await = None;
    }

    /// The API server at that address, as whom the kubeconfig says.
    pub(super) async fn at(&self, server: &str) -> Result<Client, ClusterError> {
        let mut config = self.config().await?;
        config.cluster_url = server.parse().map_err(|_| self.silent(&format!("{server:?} is no address")))?;
        Client::try_from(config).map_err(|e| ClusterError::Silent(e.to_string()))
    }

    /// The same where its certificate is asked for under another name than the address has.
    pub(super) async fn at_as(&self, server: &str, name: &str) -> Result<Client, ClusterError> {
        let mut config = self.config().await?;
        config.cluster_url = server.parse().map_err(|_| self.silent(&format!("{server:?} is no address")))?;
        config.tls_server_name = Some(name.to_owned());
        Client::try_from(config).map_err(|e| ClusterError::Silent(e.to_string()))
    }

    async fn make(&self, modified: SystemTime) -> Result<Held, ClusterError> {
        match self.identity {
            Identity::OfTheFile => Ok(Held { modified, client: self.of_the_file().await?, token: None }),
            Identity::OwnAccount => self.own_account(modified).await,
        }
    }

    async fn of_the_file(&self) -> Result<Client, ClusterError> {
        Client::try_from(self.config().await?).map_err(|e| ClusterError::Silent(e.to_string()))
    }

    async fn own_account(&self, modified: SystemTime) -> Result<Held, ClusterError> {
        let admin = self.of_the_file().await?;
        let made = account::make(&admin).await?;
        let token = account::token(&admin).await?;
        let mut config = self.config().await?;
        config.auth_info = AuthInfo { token: Some(token.text.into()), ..AuthInfo::default() };
        let client = Client::try_from(config).map_err(|e| ClusterError::Silent(e.to_string()))?;
        if made {
            tracing::info!("made Hostler's account in the cluster; hostler cluster access shows it");
            account::settle(&client).await;
        }
        let now = Instant::now();
        let token = Some(TokenTimes { renewed: now + token.life * 2 / 3, ends: now + token.life });
        Ok(Held { modified, client, token })
    }

    async fn config(&self) -> Result<Config, ClusterError> {
        let silent = |e: &dyn std::fmt::Display| ClusterError::Silent(e.to_string());
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).map_err(|e| silent(&e))?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| silent(&e))?;
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_LIMIT);
        Ok(config)
    }

    fn silent(&self, error: &dyn std::fmt::Display) -> ClusterError {
        ClusterError::Silent(format!("{}: {error}", self.kubeconfig.display()))
    }
}
