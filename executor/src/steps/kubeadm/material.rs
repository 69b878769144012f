//! What lets one node in: made on a server, sealed to that node, and gone again once it was used.

use std::path::Path;

use hostler_plan::{id::TaskId, step::ClusterRole};
use serde::{Deserialize, Serialize};

use super::run;
use crate::{
    distribution::kubeadm::{
        ADMIN_KUBECONFIG, BOOTSTRAP_KUBECONFIG, MANIFESTS, PKI, RUN_CONFIG, RUN_DISCOVERY, SERVER_FILES, config, state,
    },
    host::{Host, HostError},
    steps::{
        action::{StepContext, StepError},
        membership,
    },
};

/// What a server hands to a node that joins. JSON, sealed to that node's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Material {
    /// The bootstrap token.
    pub token: String,
    /// Where the cluster is reached, such as `https://k8s.lab:6443`.
    pub server: String,
    /// The certificate authority that its API servers prove themselves by (PEM).
    pub ca: String,
    /// The files of [`SERVER_FILES`]; none for a worker.
    pub files: Vec<ServerFile>,
}

/// A file below kubeadm's folder of certificates.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerFile {
    /// One of [`SERVER_FILES`].
    pub name: String,
    pub content: String,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Material").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Material {
    /// What this server's files say, with a token.
    pub(super) fn of_server(token: String, role: ClusterRole, host: &dyn Host) -> Result<Self, StepError> {
        let kubeconfig = needed(ADMIN_KUBECONFIG, host)?;
        let (server, ca) = config::cluster_of(&kubeconfig)
            .map_err(|reason| StepError::Failed(format!("{ADMIN_KUBECONFIG} cannot be read: {reason}")))?;
        let names = match role {
            ClusterRole::Server => &SERVER_FILES[..],
            ClusterRole::Worker | ClusterRole::Host => &[],
        };
        let file =
            |name: &&str| Ok(ServerFile { name: (*name).to_owned(), content: needed(&format!("{PKI}/{name}"), host)? });
        let files = names.iter().map(file).collect::<Result<Vec<_>, StepError>>()?;
        Ok(Self { token, server, ca, files })
    }

    /// What the receipt of the task that admitted this node holds.
    pub(super) fn of_receipt(admitted_by: &TaskId, context: &StepContext<'_>) -> Result<Self, StepError> {
        let text = membership::open_secret(admitted_by, context)?;
        let material: Self = serde_json::from_str(&text)
            .map_err(|e| StepError::Failed(format!("what {admitted_by} sealed for this node cannot be read: {e}")))?;
        match material.files.iter().find(|file| !SERVER_FILES.contains(&file.name.as_str())) {
            Some(file) => Err(StepError::Failed(format!(
                "{admitted_by} sealed a file for this node that no server hands over: {:?}",
                file.name
            ))),
            None => Ok(material),
        }
    }

    /// Puts the files in place that a server needs.
    pub(super) fn write_files(&self, context: &StepContext<'_>) -> Result<(), StepError> {
        self.files.iter().try_for_each(|file| {
            let mode = if is_secret(&file.name) { 0o600 } else { 0o644 };
            run::write(&format!("{PKI}/{}", file.name), &file.content, mode, context)
        })
    }
}

fn is_secret(name: &str) -> bool {
    name.ends_with(".key")
}

fn needed(path: &str, host: &dyn Host) -> Result<String, StepError> {
    let found = state::text(host, path)?;
    found.ok_or_else(|| StepError::Failed(format!("expected {path} on this server, found none")))
}

/// What a join that ended may have left: never a token, and a cluster's keys only where a server runs by them.
pub(super) fn left(host: &dyn Host) -> Result<Vec<String>, HostError> {
    let mut paths: Vec<String> = [RUN_CONFIG, RUN_DISCOVERY, BOOTSTRAP_KUBECONFIG].map(str::to_owned).to_vec();
    if host.list_folder(Path::new(MANIFESTS))?.is_empty() {
        paths.extend(SERVER_FILES.iter().filter(|name| is_secret(name)).map(|name| format!("{PKI}/{name}")));
    }
    let mut found = Vec::new();
    for path in paths {
        if host.read_file(Path::new(&path))?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Removes that, and gives what it was.
pub(super) fn remove_left(host: &dyn Host) -> Result<Vec<String>, HostError> {
    let found = left(host)?;
    found.iter().try_for_each(|path| host.remove(Path::new(path)))?;
    Ok(found)
}
