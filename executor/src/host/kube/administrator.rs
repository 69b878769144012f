//! The real cluster with the administrator's file of this machine.

use std::path::PathBuf;

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::{self, ApiResource, Scope},
};
use serde_json::Value;

use super::{ClusterError, Identity, KubeCluster, error};
use crate::host::{Administrator, Applying, FIELD_MANAGER};

/// A cluster as the administrator of a kubeconfig file.
#[derive(Debug)]
pub(in crate::host) struct KubeAdministrator {
    cluster: KubeCluster,
}

impl KubeAdministrator {
    /// The administrator whose file this is. Nothing is sent yet.
    pub(in crate::host) fn new(kubeconfig: PathBuf) -> Result<Self, ClusterError> {
        Ok(Self { cluster: KubeCluster::new(kubeconfig, Identity::OfTheFile)? })
    }

    /// Whether the API server at that address is ready and its certificate, by the authority of the file, has this
    /// name.
    pub(in crate::host) fn is_ready_at(&self, server: &str, name: &str) -> Result<(), ClusterError> {
        let client = self.cluster.runtime.block_on(self.cluster.access.at_as(server, name))?;
        match self.text(&client, "/readyz")? {
            Some(answer) if answer.trim() == "ok" => Ok(()),
            Some(answer) => Err(ClusterError::Silent(format!("{server} is not ready: {}", answer.trim()))),
            None => Err(ClusterError::Silent(format!("{server} has no /readyz: it is no API server"))),
        }
    }

    fn text(&self, client: &Client, path: &str) -> Result<Option<String>, ClusterError> {
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|e| ClusterError::Refused { action: get(path), reason: e.to_string() })?;
        match self.cluster.call(client.request_text(request)) {
            Ok(text) => Ok(Some(text)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(e) => Err(error(e, &get(path))),
        }
    }

    /// Where objects of that kind are; none where the API server knows no such kind.
    fn api(&self, object: &Named<'_>) -> Result<Option<Api<DynamicObject>>, ClusterError> {
        let client = self.cluster.client()?;
        let (group, version) = object.api_version.split_once('/').unwrap_or(("", object.api_version));
        let kind = GroupVersionKind::gvk(group, version, object.kind);
        let (resource, scope): (ApiResource, Scope) = match self.cluster.call(discovery::pinned_kind(&client, &kind)) {
            Ok((resource, capabilities)) => (resource, capabilities.scope),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(kube::Error::Discovery(_)) => return Ok(None),
            Err(e) => return Err(error(e, &format!("find {}", object.kind))),
        };
        Ok(Some(match scope {
            Scope::Cluster => Api::all_with(client, &resource),
            Scope::Namespaced => Api::namespaced_with(client, object.namespace.unwrap_or("default"), &resource),
        }))
    }
}

fn get(path: &str) -> String {
    format!("get {path}")
}

/// What says which object it is.
struct Named<'a> {
    api_version: &'a str,
    kind: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
}

impl<'a> Named<'a> {
    fn of(object: &'a Value) -> Result<Self, ClusterError> {
        let text = |value: &'a Value| value.as_str().filter(|text| !text.is_empty());
        let metadata = &object["metadata"];
        match (text(&object["apiVersion"]), text(&object["kind"]), text(&metadata["name"])) {
            (Some(api_version), Some(kind), Some(name)) => {
                Ok(Self { api_version, kind, namespace: text(&metadata["namespace"]), name })
            }
            _ => Err(ClusterError::Refused {
                action: "apply an object".into(),
                reason: "it has no apiVersion, kind or metadata.name".into(),
            }),
        }
    }
}

impl Administrator for KubeAdministrator {
    fn get(&self, path: &str) -> Result<Option<String>, ClusterError> {
        self.text(&self.cluster.client()?, path)
    }

    fn get_from(&self, server: &str, path: &str) -> Result<Option<String>, ClusterError> {
        let client = self.cluster.runtime.block_on(self.cluster.access.at(server))?;
        self.text(&client, path)
    }

    fn find(&self, object: &Value) -> Result<Option<Value>, ClusterError> {
        let named = Named::of(object)?;
        let Some(api) = self.api(&named)? else { return Ok(None) };
        let found = self.cluster.get(api, named.name, &format!("get {} {}", named.kind, named.name))?;
        found.map(|found| serde_json::to_value(found).map_err(|e| unreadable(&e))).transpose()
    }

    fn apply(&self, object: &Value, how: Applying) -> Result<Option<Value>, ClusterError> {
        let named = Named::of(object)?;
        let Some(api) = self.api(&named)? else { return Ok(None) };
        let dry_run = how == Applying::DryRun;
        let parameters = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER) };
        match self.cluster.call(api.patch(named.name, &parameters, &Patch::Apply(object))) {
            Ok(applied) => serde_json::to_value(applied).map(Some).map_err(|e| unreadable(&e)),
            Err(e) => Err(error(e, &format!("apply {} {}", named.kind, named.name))),
        }
    }

    fn patch(&self, path: &str, patch: &Value) -> Result<(), ClusterError> {
        let action = format!("patch {path}");
        let request = http::Request::patch(format!("{path}?fieldManager={FIELD_MANAGER}"))
            .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
            .body(patch.to_string().into_bytes());
        let request = request.map_err(|e| ClusterError::Refused { action: action.clone(), reason: e.to_string() })?;
        let client = self.cluster.client()?;
        self.cluster.call(client.request_text(request)).map(drop).map_err(|e| error(e, &action))
    }

    fn delete(&self, path: &str) -> Result<(), ClusterError> {
        let action = format!("delete {path}");
        let request = http::Request::delete(path).body(Vec::new());
        let request = request.map_err(|e| ClusterError::Refused { action: action.clone(), reason: e.to_string() })?;
        let client = self.cluster.client()?;
        match self.cluster.call(client.request_text(request)) {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(e) => Err(error(e, &action)),
        }
    }
}

fn unreadable(e: &serde_json::Error) -> ClusterError {
    ClusterError::Refused { action: "read an object".into(), reason: e.to_string() }
}
