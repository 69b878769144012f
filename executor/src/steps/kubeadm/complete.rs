//! When a node of a kubeadm cluster is one: judged by the machine and by the API server, never by kubeadm's exit code.

use std::path::Path;

use hostler_plan::version::Version;
use serde_json::Value;

use crate::{
    distribution::kubeadm::{
        KUBELET_CERTIFICATE, KUBELET_KUBECONFIG, KUBELET_PKI, etcd,
        state::{self, Manifest},
    },
    host::{Administrator, ClusterError},
    steps::action::{StepContext, StepError},
};

/// The role that kubeadm writes on the Node of a server, as the last thing but the add-ons.
const SERVER_LABEL: &str = "node-role.kubernetes.io/control-plane";

/// What a node of any role misses: its kubelet's own certificate, and the kubelet at that version.
pub(super) fn missing_of_node(version: Version, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let host = context.host();
    let Some(kubeconfig) = state::text(host, KUBELET_KUBECONFIG)? else {
        return Ok(Some(format!("{KUBELET_KUBECONFIG} is not there")));
    };
    if !kubeconfig.contains(KUBELET_CERTIFICATE) {
        return Ok(Some(format!("{KUBELET_KUBECONFIG} does not name {KUBELET_CERTIFICATE}")));
    }
    if !host.list_folder(Path::new(KUBELET_PKI))?.iter().any(|name| name == KUBELET_CERTIFICATE) {
        return Ok(Some("the kubelet has no certificate of the cluster yet".into()));
    }
    Ok(match state::kubelet(host)? {
        Some(found) if found == version => None,
        Some(found) => Some(format!("the kubelet runs at {found}, expected {version}")),
        None => Some("the kubelet does not run; see `journalctl -u kubelet`".into()),
    })
}

/// What a server misses beside that: its own API server at that version, its Node, its static pods, its vote in etcd.
pub(super) fn missing_of_server(version: Version, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let manifests = state::manifests(context.host())?;
    let Some(server) = state::own_server(&manifests) else {
        return Ok(Some("there is no API server among the static pods".into()));
    };
    let Ok(administrator) = context.administrator() else {
        return Ok(Some("the administrator's kubeconfig is not there".into()));
    };
    let asked = Asked { administrator, server: &server };
    if let Err(missing) = asked.server_of(version, &manifests, context) {
        return Ok(Some(missing));
    }
    let Some(members) = etcd::members(context.host())? else { return Ok(None) };
    let has_etcd = state::has_etcd(&manifests);
    Ok(if has_etcd { etcd::not_voting(&members, context.subject()) } else { None })
}

/// The API server of this very machine.
pub(super) struct Asked<'a> {
    pub administrator: &'a dyn Administrator,
    pub server: &'a str,
}

impl Asked<'_> {
    /// What it answers, or why there is no answer in words.
    pub(super) fn text(&self, path: &str) -> Result<String, String> {
        match self.administrator.get_from(self.server, path) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(format!("{path} is not there")),
            // This one may do everything, so it is told so by an API server that knows no roles yet.
            Err(ClusterError::Forbidden { reason, .. }) => {
                Err(format!("{}: it is still starting, and says: {reason}", self.server))
            }
            Err(error) => Err(format!("{}: {}", self.server, in_one_line(&error.to_string()))),
        }
    }

    pub(super) fn object(&self, path: &str) -> Result<Value, String> {
        let text = self.text(path)?;
        serde_json::from_str(&text).map_err(|e| format!("{path} cannot be read: {e}"))
    }

    /// The version that serves.
    pub(super) fn version(&self) -> Result<String, String> {
        Ok(self.object("/version")?["gitVersion"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) fn is_ready(&self) -> Result<(), String> {
        match self.text("/readyz")? {
            answer if answer.trim() == "ok" => Ok(()),
            answer => Err(format!("{} is not ready: {}", self.server, answer.trim())),
        }
    }

    fn server_of(&self, version: Version, manifests: &[Manifest], context: &StepContext<'_>) -> Result<(), String> {
        self.is_ready()?;
        let found = self.version()?;
        if found != version.to_string() {
            return Err(format!("the API server runs at {found}, expected {version}"));
        }
        let node = context.subject();
        let object = self.object(&format!("/api/v1/nodes/{node}"))?;
        if object["metadata"]["labels"].get(SERVER_LABEL).is_none() {
            return Err(format!("the Node {node} is not labelled as a server"));
        }
        manifests.iter().try_for_each(|manifest| self.pod_of(manifest, node.as_str()))
    }

    /// The API server shows a static pod by a mirror of its manifest.
    pub(super) fn pod_of(&self, manifest: &Manifest, node: &str) -> Result<(), String> {
        let name = format!("{}-{node}", manifest.component);
        let pod = self.object(&format!("/api/v1/namespaces/kube-system/pods/{name}"))?;
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        if image != manifest.image {
            return Err(format!("{name} runs {image}, and its manifest says {}", manifest.image));
        }
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let is_ready = conditions.any(|c| c["type"] == "Ready" && c["status"] == "True");
        if is_ready { Ok(()) } else { Err(format!("{name} is not Ready")) }
    }
}

/// The API server of this machine.
pub(super) fn with_server<T>(
    context: &StepContext<'_>,
    ask: impl FnOnce(&Asked<'_>) -> Result<T, String>,
) -> Result<T, StepError> {
    let manifests = state::manifests(context.host())?;
    let server = state::own_server(&manifests).unwrap_or_default();
    let asked = Asked { administrator: context.administrator()?, server: &server };
    ask(&asked).map_err(StepError::Failed)
}

/// An API server that is not ready lists each of its parts in a line, and those that are not begin with `[-]`.
fn in_one_line(answer: &str) -> String {
    let mut lines = answer.lines();
    let first = lines.next().unwrap_or_default().trim_end_matches("[+]ping ok").trim_end();
    let failed = lines.filter(|line| line.starts_with("[-]"));
    std::iter::once(first).chain(failed).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestAdministrator;

    #[test]
    fn an_api_server_that_forbids_its_administrator_is_still_starting() {
        let administrator = TestAdministrator::default();
        let (action, reason) = ("get /readyz".to_owned(), "forbidden: User \"kubernetes-admin\"".to_owned());
        *administrator.silent.lock().unwrap() = Some(ClusterError::Forbidden { action, reason });
        let asked = Asked { administrator: &administrator, server: "https://10.0.0.1:6443" };
        let why = asked.is_ready().unwrap_err();
        assert!(why.contains("it is still starting, and says: forbidden"), "{why}");
    }

    #[test]
    fn of_an_api_server_that_is_not_ready_only_what_fails_is_said() {
        let answer = "the API server does not answer: 500 [+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\n\
                      readyz check failed";
        assert_eq!(in_one_line(answer), "the API server does not answer: 500 [-]etcd failed: reason withheld");
        assert_eq!(in_one_line("connection refused"), "connection refused");
    }
}
