//! How the API server is reached, and as whom.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::sync::Mutex;

use super::ClusterError;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A kubeconfig file and the client that was made of it.
pub(super) struct Access {
    kubeconfig: PathBuf,
    /// Made again when the file changed: certificates are renewed.
    client: Mutex<Option<(SystemTime, Client)>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("kubeconfig", &self.kubeconfig).finish_non_exhaustive()
    }
}

impl Access {
    pub(super) fn new(kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, client: Mutex::new(None) }
    }

    pub(super) async fn client(&self) -> Result<Client, ClusterError> {
        let silent = |e: &dyn std::fmt::Display| ClusterError::Silent(format!("{}: {e}", self.kubeconfig.display()));
        let modified = std::fs::metadata(&self.kubeconfig).and_then(|m| m.modified()).map_err(|e| silent(&e))?;
        let mut held = self.client.lock().await;
        if let Some((of, client)) = &*held
            && *of == modified
        {
            return Ok(client.clone());
        }
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).map_err(|e| silent(&e))?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| silent(&e))?;
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_LIMIT);
        let client = Client::try_from(config).map_err(|e| silent(&e))?;
        *held = Some((modified, client.clone()));
        Ok(client)
    }

    /// The credentials were refused. A kubelet's file names its certificate, which is renewed without a change of the
    /// file.
    pub(super) async fn forget(&self) {
        *self.client.lock().await = None;
    }
}
