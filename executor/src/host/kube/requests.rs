//! EvictionRequests: what others ask of pods, where the API server serves that (Kubernetes 1.37, feature gate
//! EvictionRequestAPI, off by default; KEP-4563).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, Condition, ObjectMeta};
use kube::{
    api::{GetParams, ListParams},
    core::{ObjectList, Request},
};
use serde::Deserialize;

use super::{ClusterError, EvictionRequest, KubeCluster, PAGE, PodKey, error};

const GROUP: &str = "lifecycle.k8s.io";

/// An EvictionRequest, as far as it tells who wants which pod to go.
#[derive(Debug, Clone, Deserialize)]
struct Object {
    metadata: ObjectMeta,
    spec: Spec,
    status: Option<Status>,
}

#[derive(Debug, Clone, Deserialize)]
struct Spec {
    target: Target,
    /// Snapshots before 1.37 had another name for it.
    #[serde(alias = "requesterName")]
    requester: Option<String>,
    /// `Eviction`, or `Withdrawn`.
    intent: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Target {
    pod: Option<Pod>,
}

#[derive(Debug, Clone, Deserialize)]
struct Pod {
    name: String,
    uid: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Status {
    conditions: Option<Vec<Condition>>,
}

impl Object {
    /// Whether nobody withdrew it, and neither is it done nor in vain.
    fn is_open(&self) -> bool {
        let conditions = self.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ends = |condition: &Condition| {
            condition.status == "True"
                && matches!(condition.type_.as_str(), "TargetEvicted" | "TargetEvictionFailed" | "Evicted" | "Failed")
        };
        self.spec.intent.as_deref() != Some("Withdrawn") && !conditions.into_iter().any(ends)
    }

    fn read(self) -> Option<EvictionRequest> {
        if !self.is_open() {
            return None;
        }
        let Pod { name, uid } = self.spec.target.pod?;
        let namespace = self.metadata.namespace?;
        Some(EvictionRequest {
            name: self.metadata.name?,
            requester: self.spec.requester.unwrap_or_else(|| "somebody".to_owned()),
            pod: PodKey { namespace, name, uid },
        })
    }
}

/// All that are open. A server that serves none, or does not let them be read, knows of none.
pub(super) fn open(cluster: &KubeCluster) -> Result<Option<Vec<EvictionRequest>>, ClusterError> {
    match version(cluster)? {
        Some(version) => list(cluster, &version),
        None => Ok(None),
    }
}

/// The version of the group that the server prefers; none where it has no such group.
fn version(cluster: &KubeCluster) -> Result<Option<String>, ClusterError> {
    let client = cluster.client()?;
    let what = "get the API group lifecycle.k8s.io";
    let asked = || {
        let request = Request::new("/apis").get(GROUP, &GetParams::default()).map_err(kube::Error::BuildRequest);
        let client = client.clone();
        async move { client.request::<APIGroup>(request?).await }
    };
    match cluster.asked(asked) {
        Ok(group) => {
            let preferred = group.preferred_version.or_else(|| group.versions.into_iter().next());
            Ok(preferred.map(|version| version.version))
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        Err(e) => Err(error(e, what)),
    }
}

fn list(cluster: &KubeCluster, version: &str) -> Result<Option<Vec<EvictionRequest>>, ClusterError> {
    let client = cluster.client()?;
    let (mut open, mut parameters) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let asked = || {
            let requests = Request::new(format!("/apis/{GROUP}/{version}/evictionrequests"));
            let request = requests.list(&parameters).map_err(kube::Error::BuildRequest);
            let client = client.clone();
            async move { client.request::<ObjectList<Object>>(request?).await }
        };
        let page = match cluster.asked(asked) {
            Ok(page) => page,
            // Another resource of the group is served, or the role of this account is older than they are.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => return Ok(None),
            Err(e) => return Err(error(e, "list evictionrequests")),
        };
        open.extend(page.items.into_iter().filter_map(Object::read));
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => parameters = ListParams::default().limit(PAGE).continue_token(&more),
            None => return Ok(Some(open)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        host::{Cluster as _, kube::Identity},
        testing::{Answer, ApiServer, Asked},
    };

    fn request(name: &str, intent: &str, ends: Option<&str>) -> Value {
        let condition = |name: &str| {
            json!({ "type": name, "status": "True", "reason": "", "message": "",
                "lastTransitionTime": "2030-01-01T00:00:00Z" })
        };
        json!({ "apiVersion": "lifecycle.k8s.io/v1alpha1", "kind": "EvictionRequest",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": { "target": { "pod": { "name": "web-0", "uid": "uid-web-0" } }, "requester": "acme.io/scaler",
                "intent": intent },
            "status": { "observedGeneration": 1, "conditions": ends.map(condition).into_iter().collect::<Vec<_>>() } })
    }

    fn found(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Option<Vec<EvictionRequest>> {
        let server = ApiServer::start(answer);
        KubeCluster::new(server.kubeconfig(), Identity::OfTheFile).unwrap().eviction_requests().unwrap()
    }

    #[test]
    fn those_that_are_open_are_found_by_the_version_that_the_server_prefers() {
        let items = [
            request("asked", "Eviction", None),
            request("withdrawn", "Withdrawn", None),
            request("done", "Eviction", Some("TargetEvicted")),
            request("in-vain", "Eviction", Some("Failed")),
        ];
        let found = found(move |asked| match asked.path.split('?').next().unwrap() {
            "/apis/lifecycle.k8s.io" => {
                let version = json!({ "groupVersion": "lifecycle.k8s.io/v1beta1", "version": "v1beta1" });
                let group = json!({ "kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version],
                    "preferredVersion": version });
                Answer::Body(200, group.to_string())
            }
            "/apis/lifecycle.k8s.io/v1beta1/evictionrequests" => {
                Answer::Body(200, json!({ "kind": "EvictionRequestList", "metadata": {}, "items": items }).to_string())
            }
            other => panic!("asked for {other}"),
        });
        let pod = PodKey { namespace: "shop".into(), name: "web-0".into(), uid: "uid-web-0".into() };
        let asked = EvictionRequest { name: "asked".into(), requester: "acme.io/scaler".into(), pod };
        assert_eq!(found, Some(vec![asked]));
    }

    #[test]
    fn a_server_that_serves_none_or_shows_none_knows_of_none() {
        for code in [403, 404] {
            let status =
                json!({ "kind": "Status", "status": "Failure", "message": "no", "reason": "No", "code": code });
            // Only one that is ready is believed that it forbids something.
            let answer = move |asked: &Asked| match asked.path.as_str() {
                "/readyz" => Answer::Body(200, "ok".to_owned()),
                _ => Answer::Body(code, status.to_string()),
            };
            assert_eq!(found(answer), None);
        }
    }
}
