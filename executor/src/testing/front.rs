//! An API server in front of the cluster in memory, for the real client: what is asked, and how often, is the client's
//! doing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use hostler_plan::cluster::{BudgetLimit, Operator, Requirement, Selector};
use serde_json::{Value, json};

use super::{Answer, ApiServer, Asked, TestCluster};
use crate::host::{
    Budget, CORDON_ANNOTATION, Cluster, CordonAnswer, Eviction, Mark, Node, NodeReady, Owner, Phase, Pod,
};

/// The server, and the real client that asks it.
pub(crate) struct Front {
    pub server: ApiServer,
    pub client: Box<dyn Cluster>,
    cluster: Arc<TestCluster>,
    told: Arc<Mutex<Told>>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Front")
    }
}

/// What was told of every object, by the path of its list.
#[derive(Default)]
struct Told {
    version: u64,
    objects: BTreeMap<(&'static str, String), Value>,
    events: Vec<(u64, &'static str, String)>,
    watches: Vec<(&'static str, mpsc::Sender<String>)>,
    watching: Watching,
}

/// What becomes of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Watching {
    #[default]
    Tells,
    /// Their connections stand, and nothing comes.
    Hangs,
    /// Lists alone are allowed.
    Forbidden,
}

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";
const BUDGETS: &str = "/apis/policy/v1/poddisruptionbudgets";

impl Front {
    pub(crate) fn of(cluster: &Arc<TestCluster>, watching: Watching) -> Self {
        let told = Arc::new(Mutex::new(Told { watching, ..Told::default() }));
        let (asked_cluster, asked_told) = (Arc::clone(cluster), Arc::clone(&told));
        let server = ApiServer::start(move |asked: &Asked| {
            let mut told = asked_told.lock().unwrap_or_else(PoisonError::into_inner);
            told.refresh(&asked_cluster);
            let answer = told.answer(asked, &asked_cluster);
            told.refresh(&asked_cluster);
            answer
        });
        let client = crate::host::cluster_of(server.kubeconfig());
        Self { server, client, cluster: Arc::clone(cluster), told }
    }

    /// Tells of what has changed meanwhile.
    pub(crate) fn refresh(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).refresh(&self.cluster);
    }
}

impl Told {
    fn refresh(&mut self, cluster: &TestCluster) {
        let mut now: BTreeMap<(&'static str, String), Value> = BTreeMap::new();
        for found in cluster.nodes().unwrap_or_default() {
            now.insert((NODES, found.name.clone()), node(&found));
        }
        for found in cluster.state().pods.iter() {
            now.insert((PODS, found.key.to_string()), pod(found));
        }
        for found in cluster.budgets().unwrap_or_default() {
            now.insert((BUDGETS, found.full_name()), budget(&found));
        }
        let gone: Vec<_> = self.objects.keys().filter(|id| !now.contains_key(id)).cloned().collect();
        for id in gone {
            if let Some(object) = self.objects.remove(&id) {
                self.tell("DELETED", id.0, object);
            }
        }
        for (id, object) in now {
            let known = self.objects.get(&id);
            let is_news = known.is_none_or(|known| versioned(known.clone(), 0) != versioned(object.clone(), 0));
            if is_news {
                let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
                let object = self.tell(kind, id.0, object);
                self.objects.insert(id, object);
            }
        }
    }

    /// Tells whoever watches; the object as it was told.
    fn tell(&mut self, kind: &str, list: &'static str, object: Value) -> Value {
        self.version += 1;
        let object = versioned(object, self.version);
        let event = json!({ "type": kind, "object": object }).to_string();
        if self.watching == Watching::Tells {
            self.watches.retain(|(of, watch)| *of != list || watch.send(event.clone()).is_ok());
        }
        self.events.push((self.version, list, event));
        object
    }

    fn answer(&mut self, asked: &Asked, cluster: &TestCluster) -> Answer {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let list = [NODES, PODS, BUDGETS].into_iter().find(|list| *list == path);
        match (asked.method.as_str(), list, words.as_slice()) {
            ("GET", Some(list), _) if query.contains("watch=true") => self.watch(list, query),
            ("GET", Some(list), _) => {
                let on = query.split("spec.nodeName%3D").nth(1).map(|rest| rest.split('&').next().unwrap_or(rest));
                let is_wanted = |object: &&Value| on.is_none_or(|node| object["spec"]["nodeName"] == node);
                let of = self.objects.iter().filter(|((of, _), _)| *of == list).map(|(_, object)| object);
                self.list(of.filter(is_wanted).cloned().collect())
            }
            ("GET", _, ["api", "v1", "namespaces", namespace, "pods"]) => {
                let of = self.objects.iter().filter(|((of, _), _)| *of == PODS).map(|(_, object)| object);
                self.list(of.filter(|pod| pod["metadata"]["namespace"] == *namespace).cloned().collect())
            }
            ("GET", _, ["api", "v1", "nodes", name]) => found(self.objects.get(&(NODES, (*name).to_owned()))),
            ("PATCH", _, ["api", "v1", "nodes", name, "status"]) => {
                found(self.objects.get(&(NODES, (*name).to_owned())))
            }
            ("PATCH", _, ["api", "v1", "nodes", name]) => self.patch(name, &asked.body, cluster),
            ("POST", _, ["api", "v1", "namespaces", namespace, "pods", name, "eviction"]) => {
                let known = self.objects.get(&(PODS, format!("{namespace}/{name}")));
                evict(known, &asked.body, cluster)
            }
            ("GET", _, ["apis", "apps" | "autoscaling", ..]) => self.controllers(&words, cluster),
            ("POST", _, ["apis", "authorization.k8s.io", "v1", "selfsubjectrulesreviews"]) => {
                let all = json!(["*"]);
                let rule = json!({ "verbs": all, "apiGroups": all, "resources": all });
                let status = json!({ "resourceRules": [rule], "nonResourceRules": [], "incomplete": false });
                body(&json!({ "metadata": {}, "spec": {}, "status": status }))
            }
            ("GET", _, ["apis", "lifecycle.k8s.io"]) => found(None),
            ("GET", _, ["apis", "storage.k8s.io", "v1", _]) => self.list(Vec::new()),
            _ => panic!("asked for {} {}", asked.method, asked.path),
        }
    }

    fn list(&self, items: Vec<Value>) -> Answer {
        body(&json!({ "kind": "List", "apiVersion": "v1", "items": items,
            "metadata": { "resourceVersion": self.version.to_string() } }))
    }

    fn watch(&mut self, list: &'static str, query: &str) -> Answer {
        match self.watching {
            Watching::Tells => {}
            Watching::Hangs => return Answer::Never,
            Watching::Forbidden => return status(403, "cannot watch resource", &Value::Null),
        }
        let (tell, told) = mpsc::channel();
        let from: u64 = query.split("resourceVersion=").nth(1).and_then(|version| version.parse().ok()).unwrap_or(0);
        for (_, _, event) in self.events.iter().filter(|(version, of, _)| *version > from && *of == list) {
            let _ = tell.send(event.clone());
        }
        self.watches.push((list, tell));
        Answer::Lines(told)
    }

    fn patch(&self, name: &str, patch: &str, cluster: &TestCluster) -> Answer {
        let patch: Value = serde_json::from_str(patch).unwrap_or_default();
        let known = self.objects.get(&(NODES, name.to_owned()));
        let is_as_seen = known.is_some_and(|node| {
            let seen = &patch["metadata"]["resourceVersion"];
            seen.is_null() || node["metadata"]["resourceVersion"] == *seen
        });
        let now = cluster.node(name).ok().flatten().filter(|_| is_as_seen);
        let Some(now) = now else { return status(409, "the object has been modified", &Value::Null) };
        let note = patch["metadata"]["annotations"][CORDON_ANNOTATION].as_str().map(str::to_owned);
        let unschedulable = patch["spec"]["unschedulable"] == true;
        let mark = Mark { annotation: CORDON_ANNOTATION, note, unschedulable, manager: "hostler" };
        match cluster.mark(name, &now.resource_version, &mark) {
            Ok(CordonAnswer::Done) => found(known),
            other => panic!("{other:?}"),
        }
    }

    /// Above each ReplicaSet stands a Deployment of its name.
    fn controllers(&self, words: &[&str], cluster: &TestCluster) -> Answer {
        let (kind, name) = match words {
            ["apis", _, _, "namespaces", _, kind, name] => (*kind, Some(*name)),
            ["apis", _, _, "namespaces", _, kind] | ["apis", _, _, kind] => (*kind, None),
            _ => panic!("asked for {words:?}"),
        };
        let state = cluster.state();
        let made = state.scales.iter().map(|(app, scale)| {
            let template = json!({ "metadata": {}, "spec": { "containers": [] } });
            let mut metadata = json!({ "name": app, "namespace": "shop" });
            if kind == "replicasets" {
                let (api_version, kind) = ("apps/v1".to_owned(), "Deployment".to_owned());
                metadata["ownerReferences"] =
                    json!([owner(&Owner { api_version, kind, name: app.clone(), uid: app.clone() })]);
            }
            let strategy = json!({ "rollingUpdate": { "maxUnavailable": scale.at_once } });
            let spec = json!({ "replicas": scale.replicas, "selector": {}, "template": template,
                "strategy": strategy });
            json!({ "metadata": metadata, "spec": spec })
        });
        match (kind, name) {
            ("horizontalpodautoscalers", None) => self.list(Vec::new()),
            (_, None) => self.list(made.collect()),
            (_, Some(name)) => found(made.into_iter().find(|made| made["metadata"]["name"] == name).as_ref()),
        }
    }
}

fn evict(known: Option<&Value>, asked: &str, cluster: &TestCluster) -> Answer {
    let asked: Value = serde_json::from_str(asked).unwrap_or_default();
    let Some(known) = known else { return status(404, "not found", &Value::Null) };
    let uid = &known["metadata"]["uid"];
    if asked["deleteOptions"]["preconditions"]["uid"] != *uid {
        return status(409, "the UID in the precondition is another", &Value::Null);
    }
    let key = cluster.state().pods.iter().map(|pod| pod.key.clone()).find(|key| *uid == key.uid.as_str());
    match key.map_or(Eviction::Gone, |key| cluster.evict(&key)) {
        Eviction::Accepted => status(201, "", &Value::Null),
        Eviction::Budget(text) => {
            let cause = json!({ "reason": "DisruptionBudget", "message": text });
            status(429, "Cannot evict pod as it would violate the pod's disruption budget.", &cause)
        }
        Eviction::Gone => status(404, "not found", &Value::Null),
        Eviction::SeveralBudgets(text) | Eviction::Webhook(text) => status(500, &text, &Value::Null),
        Eviction::Denied(text) | Eviction::Forbidden(text) => status(403, &text, &Value::Null),
        other @ (Eviction::BudgetBehind(_)
        | Eviction::Busy { .. }
        | Eviction::Conflicts { .. }
        | Eviction::NamespaceTerminating
        | Eviction::Silent(_)
        | Eviction::Other { .. }) => panic!("{other:?} is not played here"),
    }
}

fn status(code: u16, message: &str, cause: &Value) -> Answer {
    let causes: Vec<&Value> = Some(cause).into_iter().filter(|cause| !cause.is_null()).collect();
    let outcome = if code < 400 { "Success" } else { "Failure" };
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": outcome, "code": code, "message": message,
        "reason": "Made", "details": { "causes": causes } });
    Answer::Body(code, status.to_string())
}

fn found(object: Option<&Value>) -> Answer {
    object.map_or_else(|| status(404, "not found", &Value::Null), body)
}

fn body(value: &Value) -> Answer {
    Answer::Body(200, value.to_string())
}

fn versioned(mut object: Value, version: u64) -> Value {
    object["metadata"]["resourceVersion"] = version.to_string().into();
    object
}

fn node(node: &Node) -> Value {
    let notes: BTreeMap<&str, String> =
        node.cordon.iter().map(|note| (CORDON_ANNOTATION, serde_json::to_string(note).unwrap())).collect();
    let ready = match node.ready {
        NodeReady::Ready => "True",
        NodeReady::NotReady => "False",
        NodeReady::Unknown { .. } => "Unknown",
    };
    json!({
        "metadata": { "name": node.name, "labels": node.labels, "annotations": notes },
        "spec": { "unschedulable": node.unschedulable },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    })
}

fn pod(pod: &Pod) -> Value {
    let owners: Vec<Value> = pod.owner.iter().map(|of| owner(of)).collect();
    let ready = if pod.ready { "True" } else { "False" };
    let phase = match pod.phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
        Phase::Unknown => "Unknown",
    };
    let deletion = pod.deletion.map(|deletion| deletion.ends.to_string());
    json!({
        "metadata": { "name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.key.uid, "labels": *pod.labels,
            "ownerReferences": owners, "deletionTimestamp": deletion },
        "spec": { "nodeName": pod.node, "terminationGracePeriodSeconds": pod.grace.as_secs(), "containers": [] },
        "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] },
    })
}

fn owner(owner: &Owner) -> Value {
    json!({ "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
        "controller": true })
}

fn budget(budget: &Budget) -> Value {
    let (least, most) = match budget.limit {
        BudgetLimit::MinAvailable(pods) => (json!(pods), Value::Null),
        BudgetLimit::MinAvailablePercent(percent) => (json!(format!("{percent}%")), Value::Null),
        BudgetLimit::MaxUnavailable(pods) => (Value::Null, json!(pods)),
        BudgetLimit::MaxUnavailablePercent(percent) => (Value::Null, json!(format!("{percent}%"))),
    };
    let labels: BTreeMap<&str, &str> = match &budget.selector {
        Selector::Nothing => BTreeMap::new(),
        Selector::All(all) => all.iter().map(equals).collect(),
    };
    json!({
        "metadata": { "name": budget.name, "namespace": budget.namespace },
        "spec": { "selector": { "matchLabels": labels }, "minAvailable": least, "maxUnavailable": most },
        "status": { "desiredHealthy": budget.desired_healthy, "currentHealthy": budget.current_healthy,
            "disruptionsAllowed": budget.disruptions_allowed, "expectedPods": budget.expected_pods },
    })
}

fn equals(requirement: &Requirement) -> (&str, &str) {
    assert_eq!((requirement.operator, requirement.values.len()), (Operator::In, 1), "not played here");
    (&requirement.key, &requirement.values[0])
}
