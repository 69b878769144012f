//! The real cluster, through the `kube` crate.
//!
//! Three traps are avoided here: the client's own retries hide a blocked eviction for minutes
//! (`default_retry = false`); `Api::evict` sends options that the server drops (the subresource is created by hand);
//! `cordon()` sends no resourceVersion (a merge patch does).

mod access;
mod account;
mod administrator;
mod amounts;
mod controllers;
mod eviction;
mod follow;
mod kept;
mod mark;
mod read;
mod requests;
mod rights;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use hostler_daemon::memory;
use k8s_openapi::api::{
    core::v1 as core,
    policy::v1 as policy,
    storage::v1::{CSINode, VolumeAttachment},
};
use kube::{
    Api, Client,
    api::{GetParams, ListParams, Patch, PatchParams},
    core::Request,
};
use serde_json::json;

use self::{
    access::Access,
    kept::{Keeping, Kept},
};
pub(super) use self::{access::Identity, administrator::KubeAdministrator};
use super::{
    Attachment, Budget, Cluster, ClusterError, Common, Controller, CordonAnswer, DrainCondition, Eviction,
    EvictionRequest, Followed, FollowedNode, Following, Mark, Node, Owner, Pod, PodKey, PodScope, PodVolume, Shared,
    Taint, Waiting, Waker, Watch,
};

/// The server answers an eviction after at most 34 s.
const CALL_LIMIT: Duration = Duration::from_secs(40);
/// Objects of one answer: about a megabyte, which is held once as bytes.
const PAGE: u32 = 100;
/// How often a list begins anew whose moment was forgotten.
const MAX_ANEW: u32 = 2;
/// How often the watch of the nodes that are always followed proves itself.
const PROOF: Duration = Duration::from_secs(30);
/// How long a copy of the cluster is waited for before the API server is asked instead.
const FIRST_LISTS: Duration = Duration::from_secs(10);
/// More bound claims are not remembered; they are asked for again.
const MAX_VOLUMES: usize = 1024;

type ClientFuture = Pin<Box<dyn Future<Output = Result<Client, ClusterError>> + Send>>;

/// An API server that a kubeconfig file leads to.
pub(super) struct KubeCluster {
    access: Arc<Access>,
    runtime: tokio::runtime::Handle,
    alive: Arc<tokio::sync::oneshot::Sender<()>>,
    /// Bound claims, by the UID of their pod and their name: neither changes while the pod lives.
    volumes: Arc<Mutex<BTreeMap<(String, String), PodVolume>>>,
    /// What is looked at instead of asking for it, where somebody wants that.
    keeping: Option<Keeping>,
}

impl std::fmt::Debug for KubeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeCluster").field("access", &self.access).finish_non_exhaustive()
    }
}

impl KubeCluster {
    /// A cluster whose credentials lie in this file. Nothing is sent yet.
    pub(super) fn new(kubeconfig: PathBuf, identity: Identity) -> Result<Self, ClusterError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| ClusterError::Silent(e.to_string()))?;
        let handle = runtime.handle().clone();
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        // The thread drives connections and timers; callers wait on their own threads, so that a call that takes long
        // does not hold the others back. It ends with this value.
        std::thread::Builder::new()
            .name("cluster".into())
            .spawn(move || runtime.block_on(ended))
            .map_err(|e| ClusterError::Silent(e.to_string()))?;
        let access = Arc::new(Access::new(kubeconfig, identity));
        Ok(Self { access, runtime: handle, alive: Arc::new(alive), volumes: Arc::default(), keeping: None })
    }

    fn client(&self) -> Result<Client, ClusterError> {
        self.runtime.block_on(self.access.client())
    }

    /// The client for what runs beside the calls.
    fn clients(&self) -> impl Fn() -> ClientFuture + Send + use<> {
        let access = Arc::clone(&self.access);
        move || {
            let access = Arc::clone(&access);
            Box::pin(async move { access.client().await })
        }
    }

    fn kept(&self) -> Option<&Kept> {
        self.keeping.as_ref().map(|keeping| &keeping.kept)
    }

    /// Runs one call to its end, in at most [`CALL_LIMIT`].
    fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        let result = self.runtime.block_on(within_limit(call));
        if result.as_ref().is_err_and(is_unauthorized) {
            self.runtime.block_on(self.access.forget());
        }
        result
    }

    /// Runs beside the calls until the answer is dropped.
    fn until_dropped(&self, work: impl Future<Output = ()> + Send + 'static) -> Watch {
        let (kept, dropped) = tokio::sync::oneshot::channel::<()>();
        self.runtime.spawn(async move {
            tokio::select! {
                _ = dropped => {}
                () = work => {}
            }
        });
        Watch(Box::new(kept))
    }

    /// A read. An API server that has just started forbids everything to everybody until it knows the roles:
    /// "forbidden" counts only from one that is ready, and only when it says so again.
    fn asked<T, F>(&self, ask: impl Fn() -> F) -> kube::Result<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        match self.call(ask()) {
            Err(kube::Error::Api(status)) if status.code == 403 => {
                if self.is_ready() {
                    return self.call(ask());
                }
                let text = format!("it is still starting, and says {}: {}", status.code, status.message);
                Err(kube::Error::Service(text.into()))
            }
            other => other,
        }
    }

    /// Whether the API server calls itself ready, which everybody may ask.
    fn is_ready(&self) -> bool {
        let Ok(client) = self.client() else { return false };
        let Ok(request) = Request::new("").get("readyz", &GetParams::default()) else { return false };
        self.call(client.request_text(request)).is_ok_and(|text| text.trim() == "ok")
    }

    /// All objects with these fields, in pages of one moment. A list whose moment the server has forgotten between two
    /// pages begins anew.
    fn list<K, T>(
        &self,
        api: &Api<K>,
        fields: &str,
        what: &str,
        mut read: impl FnMut(K) -> T,
    ) -> Result<Vec<T>, ClusterError>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let first = || ListParams::default().fields(fields).limit(PAGE);
        let (mut found, mut parameters, mut anew) = (Vec::new(), first(), 0);
        loop {
            match self.asked(|| api.list(&parameters)) {
                Ok(page) => {
                    found.extend(page.items.into_iter().map(&mut read));
                    match page.metadata.continue_.filter(|more| !more.is_empty()) {
                        Some(more) => parameters = first().continue_token(&more),
                        None => return Ok(found),
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 410 && anew < MAX_ANEW => {
                    (found, parameters, anew) = (Vec::new(), first(), anew + 1);
                }
                Err(e) => return Err(error(e, what)),
            }
        }
    }

    fn get<K>(&self, api: Api<K>, name: &str, what: &str) -> Result<Option<K>, ClusterError>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        self.asked(|| api.get_opt(name)).map_err(|e| error(e, what))
    }

    /// One change of a node that fails when it changed since.
    fn patch_node(
        &self,
        node: &str,
        patch: &Patch<serde_json::Value>,
        manager: &str,
    ) -> Result<CordonAnswer, ClusterError> {
        let api: Api<core::Node> = Api::all(self.client()?);
        let parameters = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        match self.call(api.patch(node, &parameters, patch)) {
            Ok(_) => Ok(CordonAnswer::Done),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(CordonAnswer::Changed),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(CordonAnswer::Gone),
            Err(e) => Err(error(e, "patch nodes")),
        }
    }

    /// Where the claims of a pod lead: their volumes and on which nodes those exist.
    fn resolve_volumes(&self, pod: &mut Pod) -> Result<(), ClusterError> {
        let client = self.client()?;
        for volume in &mut pod.volumes {
            let id = (pod.key.uid.clone(), volume.claim.clone());
            let known = self.volumes.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
            if let Some(known) = known {
                *volume = known;
                continue;
            }
            let claims: Api<core::PersistentVolumeClaim> = Api::namespaced(client.clone(), &pod.key.namespace);
            let claim = self.get(claims, &volume.claim, "get persistentvolumeclaims")?;
            volume.volume = claim.and_then(|c| c.spec).and_then(|s| s.volume_name).filter(|name| !name.is_empty());
            let Some(name) = &volume.volume else { continue };
            let found = self.get(Api::<core::PersistentVolume>::all(client.clone()), name, "get persistentvolumes")?;
            if let Some(found) = found {
                read::volume(found, volume);
            }
            let mut known = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_VOLUMES {
                known.clear();
            }
            known.insert(id, volume.clone());
        }
        Ok(())
    }
}

impl Cluster for KubeCluster {
    fn nodes(&self) -> Result<Vec<Shared<Node>>, ClusterError> {
        if let Some(nodes) = self.kept().and_then(Kept::nodes) {
            return Ok(nodes);
        }
        self.list(&Api::<core::Node>::all(self.client()?), "", "list nodes", |node| read::node(node).into())
    }

    fn pods(&self, scope: PodScope<'_>) -> Result<Vec<Shared<Pod>>, ClusterError> {
        let mut pods = match self.kept().and_then(|kept| kept.pods(|pod| scope.has(pod))) {
            Some(pods) => pods,
            None => {
                let client = self.client()?;
                let (api, fields) = match scope {
                    PodScope::OnNode(node) => (Api::<core::Pod>::all(client), format!("spec.nodeName={node}")),
                    PodScope::Everywhere => (Api::all(client), String::new()),
                    PodScope::InNamespace(namespace) => (Api::namespaced(client, namespace), String::new()),
                };
                let mut common = Common::default();
                self.list(&api, &fields, "list pods", |pod| {
                    let mut pod = read::pod(pod);
                    common.share(&mut pod);
                    pod.into()
                })?
            }
        };
        if let PodScope::OnNode(_) = scope {
            for pod in pods.iter_mut().filter(|pod| !pod.volumes.is_empty()) {
                self.resolve_volumes(pod)?;
            }
        }
        Ok(pods)
    }

    fn budgets(&self) -> Result<Vec<Shared<Budget>>, ClusterError> {
        if let Some(budgets) = self.kept().and_then(Kept::budgets) {
            return Ok(budgets);
        }
        let api = Api::<policy::PodDisruptionBudget>::all(self.client()?);
        self.list(&api, "", "list poddisruptionbudgets", |budget| read::budget(budget).into())
    }

    fn controllers(
        &self,
        owners: &BTreeSet<(String, Owner)>,
    ) -> Result<BTreeMap<(String, Owner), Controller>, ClusterError> {
        controllers::read_all(self, owners)
    }

    fn evict(&self, pod: &PodKey) -> Eviction {
        self.evict_all(&[pod]).pop().unwrap_or(Eviction::Gone)
    }

    fn evict_all(&self, pods: &[&PodKey]) -> Vec<Eviction> {
        let client = match self.client() {
            Ok(client) => client,
            Err(e) => return pods.iter().map(|_| Eviction::Silent(e.to_string())).collect(),
        };
        let asked = pods.iter().map(|pod| within_limit(eviction::ask(client.clone(), pod)));
        let answers = self.runtime.block_on(join_all(asked));
        if answers.iter().any(|answer| answer.as_ref().is_err_and(is_unauthorized)) {
            self.runtime.block_on(self.access.forget());
        }
        answers.into_iter().map(|answer| answer.map_or_else(eviction::failed, |()| Eviction::Accepted)).collect()
    }

    fn mark(&self, node: &str, resource_version: &str, mark: &Mark) -> Result<CordonAnswer, ClusterError> {
        // As kubectl does: what is schedulable has no such field.
        let unschedulable = mark.unschedulable.then_some(true);
        let patch = json!({
            "metadata": { "resourceVersion": resource_version, "annotations": { mark.annotation: mark.note } },
            "spec": { "unschedulable": unschedulable },
        });
        self.patch_node(node, &Patch::Merge(patch), mark.manager)
    }

    fn give_up(&self, node: &Node, dead: bool) -> Result<CordonAnswer, ClusterError> {
        let taint = dead.then(|| (Taint::OURS.to_owned(), "NoExecute"));
        mark::set_taint(self, (&node.name, Some(&node.resource_version)), Taint::OUT_OF_SERVICE, taint)
    }

    fn node(&self, name: &str) -> Result<Option<Node>, ClusterError> {
        let api: Api<core::Node> = Api::all(self.client()?);
        Ok(self.get(api, name, "get nodes")?.map(read::node))
    }

    fn show(&self, node: &str, conditions: &[DrainCondition], sentence: &str) -> Result<CordonAnswer, ClusterError> {
        mark::show(self, node, conditions, sentence)
    }

    fn keep_off(&self, node: &str, waiting: Option<&Waiting>) -> Result<CordonAnswer, ClusterError> {
        mark::keep_off(self, node, waiting)
    }

    fn rights_beyond(&self) -> Result<Vec<String>, ClusterError> {
        rights::beyond(self)
    }

    fn missing_rights(&self) -> Result<Vec<String>, ClusterError> {
        rights::missing(self)
    }

    fn keep(&self, waker: &Waker) -> Option<Box<dyn Cluster>> {
        let (kept, clients, waker) = (Kept::new(), self.clients(), waker.clone());
        let followed = kept.clone();
        let watch = self.until_dropped(async move { followed.follow(clients, &waker).await });
        self.runtime.block_on(async {
            // What does not come in time is asked for.
            let _ = tokio::time::timeout(FIRST_LISTS, kept.listed()).await;
        });
        memory::trim_heap();
        let (access, runtime, alive) = (Arc::clone(&self.access), self.runtime.clone(), Arc::clone(&self.alive));
        let (volumes, keeping) = (Arc::clone(&self.volumes), Some(Keeping { kept, _watch: watch }));
        Some(Box::new(Self { access, runtime, alive, volumes, keeping }))
    }

    fn follow(&self, waker: &Waker) -> Option<Following> {
        let nodes = Followed::<FollowedNode>::new(PROOF, Instant::now());
        let (followed, clients, waker) = (nodes.clone(), self.clients(), waker.clone());
        let watch = self.until_dropped(async move {
            follow::follow(clients, &followed, &tokio::sync::Mutex::new(()), || waker.notify()).await
        });
        Some(Following { nodes, watch })
    }

    fn attachments(&self) -> Result<Vec<Attachment>, ClusterError> {
        let api = Api::<VolumeAttachment>::all(self.client()?);
        self.list(&api, "", "list volumeattachments", |a| Attachment {
            name: a.metadata.name.unwrap_or_default(),
            node: a.spec.node_name,
            driver: a.spec.attacher,
            volume: a.spec.source.persistent_volume_name,
        })
    }

    fn eviction_requests(&self) -> Result<Option<Vec<EvictionRequest>>, ClusterError> {
        requests::open(self)
    }

    fn attach_limits(&self) -> Result<BTreeMap<String, BTreeMap<String, u32>>, ClusterError> {
        let api = Api::<CSINode>::all(self.client()?);
        match self.list(&api, "", "list csinodes", read::attach_limits) {
            Ok(found) => Ok(found.into_iter().collect()),
            // They tell where a pod could run, and no more.
            Err(ClusterError::Forbidden { .. }) => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }
}

async fn within_limit<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(CALL_LIMIT, call).await {
        Ok(result) => result,
        Err(_) => Err(kube::Error::Service(format!("no answer in {} s", CALL_LIMIT.as_secs()).into())),
    }
}

/// Whether the credentials are not accepted; they are read or made anew then.
fn is_unauthorized(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 401)
}

/// The one place that judges what went wrong with a call, eviction apart.
#[expect(clippy::wildcard_enum_match_arm, reason = "kube::Error is foreign; what is not an answer is silence")]
fn error(error: kube::Error, action: &str) -> ClusterError {
    let action = action.to_owned();
    match error {
        kube::Error::Api(status) if status.code == 429 || status.code >= 500 => {
            ClusterError::Silent(format!("{} {}", status.code, status.message))
        }
        // They are read or made anew, so it may pass.
        kube::Error::Api(status) if status.code == 401 => ClusterError::Silent(format!(
            "it does not accept the credentials (401 {}); they are read again, and have expired if that lasts",
            status.message
        )),
        kube::Error::Api(status) if status.code == 403 => ClusterError::Forbidden { action, reason: status.message },
        kube::Error::Api(status) => {
            ClusterError::Refused { action, reason: format!("{} {}", status.code, status.message) }
        }
        kube::Error::SerdeError(e) => {
            ClusterError::Refused { action, reason: format!("its answer cannot be read: {e}") }
        }
        other => ClusterError::Silent(innermost(&other)),
    }
}

/// "Connection refused" says more than "service error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    // As rustls begins what it says of each fault of a certificate.
    if text.starts_with("invalid peer certificate") {
        return format!(
            "{text}; compare `date` on both machines, and renew the API server's certificate where it has run out \
             (`kubeadm certs renew apiserver` and a restart of its pod; others renew it when they are restarted)"
        );
    }
    text
}

#[cfg(test)]
mod tests;
