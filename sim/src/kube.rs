//! The simulated cluster behind the trait of a real one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hostler_executor::host::{
    Attachment, Budget, BudgetCondition, CORDON_ANNOTATION, Cluster, ClusterError, Controller, CordonAnswer, Deletion,
    DrainCondition, EmptyDirMedia, Eviction, Host as _, Mark, Node, NodeReady, Operator, Owner, Phase, Placement, Pod,
    PodKey, PodScope, PodVolume, Requirement, SELF_CORDON_ANNOTATION, Scale, Selector, Shared, Waiting,
};

use crate::{
    host::SimHost,
    wire::{BudgetAnswer, Failure, NodeAnswer, PodAnswer, Request, WriteAnswer},
    world::{
        cluster::{self, HEARTBEAT_GRACE, PodState},
        eviction::EvictionAnswer,
        workload::owner_of_pods,
    },
};

/// `terminationGracePeriodSeconds` where nobody writes it.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// The one resource that simulated nodes have.
const MEMORY: &str = "memory";

impl Cluster for SimHost {
    fn nodes(&self) -> Result<Vec<Shared<Node>>, ClusterError> {
        let answers: Vec<NodeAnswer> = self.ask(Request::Nodes).map_err(|e| cluster_error("list nodes", e))?;
        Ok(answers.into_iter().map(|answer| self.read_node(answer).into()).collect())
    }

    fn node(&self, name: &str) -> Result<Option<Node>, ClusterError> {
        let request = Request::Node { node: name.into() };
        let answer: Option<NodeAnswer> = self.ask(request).map_err(|e| cluster_error("get a node", e))?;
        Ok(answer.map(|answer| self.read_node(answer)))
    }

    fn pods(&self, scope: PodScope<'_>) -> Result<Vec<Shared<Pod>>, ClusterError> {
        let (on_node, in_namespace) = match scope {
            PodScope::OnNode(node) => (Some(node.to_owned()), None),
            PodScope::InNamespace(namespace) => (None, Some(namespace.to_owned())),
            PodScope::Everywhere => (None, None),
        };
        let answers: Vec<PodAnswer> =
            self.ask(Request::Pods { on_node, in_namespace }).map_err(|e| cluster_error("list pods", e))?;
        Ok(answers.into_iter().map(|answer| self.pod(answer).into()).collect())
    }

    fn budgets(&self) -> Result<Vec<Shared<Budget>>, ClusterError> {
        let answers: Vec<BudgetAnswer> = self.ask(Request::Budgets).map_err(|e| cluster_error("list budgets", e))?;
        Ok(answers.into_iter().map(|answer| budget(answer).into()).collect())
    }

    fn controllers(
        &self,
        owners: &BTreeSet<(String, Owner)>,
    ) -> Result<BTreeMap<(String, Owner), Controller>, ClusterError> {
        let mut found = BTreeMap::new();
        for (namespace, owner) in owners {
            let request =
                Request::Scale { namespace: namespace.into(), kind: owner.kind.clone(), name: owner.name.clone() };
            let replicas: Option<u32> = self.ask(request).map_err(|e| cluster_error("read a scale", e))?;
            let scale = replicas.map(|replicas| Scale::of(replicas, (replicas / 4).max(1)));
            let controller = Controller { kind: owner.kind.clone(), name: owner.name.clone(), scale };
            found.insert((namespace.clone(), owner.clone()), controller);
        }
        Ok(found)
    }

    fn evict(&self, pod: &PodKey) -> Eviction {
        let request = Request::Evict { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() };
        match self.ask(request) {
            Ok(EvictionAnswer::Accepted) => Eviction::Accepted,
            Ok(EvictionAnswer::NotFound | EvictionAnswer::OtherUid { .. }) => Eviction::Gone,
            Ok(EvictionAnswer::Budget { sentence, .. }) => Eviction::Budget(sentence),
            Ok(EvictionAnswer::TooManyBudgets { budgets }) => Eviction::SeveralBudgets(format!(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support: {}",
                budgets.join(", ")
            )),
            Err(Failure::Silent { reason }) => Eviction::Silent(reason),
            Err(failure) => Eviction::Other { code: 0, reason: failure.to_string() },
        }
    }

    fn mark(&self, node: &str, resource_version: &str, mark: &Mark) -> Result<CordonAnswer, ClusterError> {
        // A text that is no number was not handed out by this cluster: the node is another one by now.
        let Ok(resource_version) = resource_version.parse() else { return Ok(CordonAnswer::Changed) };
        let request = Request::SetSchedulable {
            node: node.into(),
            resource_version,
            unschedulable: mark.unschedulable,
            annotation: mark.annotation.to_owned(),
            note: mark.note.clone(),
            manager: mark.manager.to_owned(),
        };
        Ok(match self.ask(request).map_err(|e| cluster_error("patch the node", e))? {
            WriteAnswer::Done => CordonAnswer::Done,
            WriteAnswer::Changed => CordonAnswer::Changed,
            WriteAnswer::Gone => CordonAnswer::Gone,
        })
    }

    /// The simulated scheduler knows no soft taints, and nobody reads conditions there.
    fn show(&self, _: &str, _: &[DrainCondition], _: &str) -> Result<CordonAnswer, ClusterError> {
        Ok(CordonAnswer::Done)
    }

    fn keep_off(&self, _: &str, _: Option<&Waiting>) -> Result<CordonAnswer, ClusterError> {
        Ok(CordonAnswer::Done)
    }

    fn attachments(&self) -> Result<Vec<Attachment>, ClusterError> {
        let volumes: Vec<(String, String)> =
            self.ask(Request::Attachments).map_err(|e| cluster_error("list volume attachments", e))?;
        Ok(volumes
            .into_iter()
            .map(|(node, v)| Attachment {
                name: format!("csi-{v}"),
                node,
                driver: "csi.example.com".into(),
                volume: Some(v),
            })
            .collect())
    }
}

impl SimHost {
    fn read_node(&self, answer: NodeAnswer) -> Node {
        let NodeAnswer { name, node, silent_ms } = answer;
        let now = self.now();
        let since = now.unix_milliseconds().saturating_sub(silent_ms);
        let silent = silent_ms > HEARTBEAT_GRACE;
        let ready = match (node.ready, silent) {
            (true, _) => NodeReady::Ready,
            (false, false) => NodeReady::NotReady,
            (false, true) => {
                NodeReady::Unknown { since: hostler_plan::timestamp::Timestamp::from_unix_milliseconds(since) }
            }
        };
        let mut labels = BTreeMap::from([("kubernetes.io/hostname".to_owned(), name.clone())]);
        if node.role == hostler_plan::step::ClusterRole::Server {
            labels.insert("node-role.kubernetes.io/control-plane".into(), "true".into());
        }
        Node {
            name,
            resource_version: node.resource_version.to_string(),
            ready,
            unschedulable: node.unschedulable,
            cordon: node.annotations.get(CORDON_ANNOTATION).and_then(|text| serde_json::from_str(text).ok()),
            self_cordon: node.annotations.get(SELF_CORDON_ANNOTATION).and_then(|text| serde_json::from_str(text).ok()),
            unschedulable_by: node.unschedulable_by,
            // The simulated API server keeps no times of fields.
            unschedulable_since: None,
            version: node.version.to_string(),
            boot_id: node.boot_id,
            machine_id: String::new(),
            labels,
            // The cordon's own taint is left out, as it says nothing that `unschedulable` does not.
            taints: Vec::new(),
            allocatable: BTreeMap::from([(MEMORY.to_owned(), node.allocatable.saturating_mul(1000))]),
            attach_limits: BTreeMap::new(),
            shows: Vec::new(),
        }
    }

    fn pod(&self, answer: PodAnswer) -> Pod {
        let PodAnswer { namespace, name, pod, going_for_ms } = answer;
        let owner = owner(&pod.owner, &name);
        let deletion = going_for_ms.map(|ms| Deletion {
            ends: self.now().plus(Duration::from_millis(ms.min(3_600_000))),
            grace: DEFAULT_GRACE,
        });
        let volumes = pod.volume.iter().map(|volume| PodVolume {
            claim: format!("{namespace}/{volume}"),
            volume: Some(volume.clone()),
            one_node: true,
            ..PodVolume::default()
        });
        Pod {
            volumes: volumes.collect(),
            key: PodKey { namespace, name, uid: pod.uid.clone() },
            node: pod.node.as_ref().map(ToString::to_string),
            mirror: pod.owner == cluster::Owner::Mirror,
            owner: owner.map(Shared::from),
            empty_dirs: EmptyDirMedia { disk: pod.empty_dir, memory: false },
            phase: match pod.state {
                PodState::Pending => Phase::Pending,
                PodState::Starting { .. } | PodState::Ready | PodState::Terminating { .. } => Phase::Running,
                PodState::Lost => Phase::Unknown,
                PodState::Succeeded => Phase::Succeeded,
            },
            ready: pod.is_ready(),
            unready_since: None,
            broken: None,
            started_in: None,
            unschedulable: None,
            deletion,
            finalizers: Vec::new(),
            priority_class: pod.critical.then(|| "system-cluster-critical".to_owned()),
            grace: DEFAULT_GRACE,
            placement: Placement {
                requests: BTreeMap::from([(MEMORY.to_owned(), pod.memory_bytes.saturating_mul(1000))]),
                ..Placement::default()
            }
            .into(),
            labels: pod.labels.into(),
        }
    }
}

fn owner(owner: &cluster::Owner, pod: &str) -> Option<Owner> {
    let (api_version, kind, name) = match owner {
        cluster::Owner::Controller { kind, name } => {
            let (kind, name) = owner_of_pods(*kind, name);
            ("apps/v1", kind, name)
        }
        cluster::Owner::InstanceManager => ("longhorn.io/v1beta2", "InstanceManager", pod.to_owned()),
        cluster::Owner::Mirror | cluster::Owner::Nobody => return None,
    };
    let uid = format!("uid-{kind}-{name}");
    Some(Owner { api_version: api_version.into(), kind: kind.into(), name, uid })
}

fn budget(answer: BudgetAnswer) -> Budget {
    let BudgetAnswer { budget, status } = answer;
    let requirements = budget.selector.iter().map(|(key, value)| Requirement {
        key: key.clone(),
        operator: Operator::In,
        values: vec![value.clone()],
    });
    Budget {
        resource_version: String::new(),
        selector: Selector::All(requirements.collect()),
        limit: budget.limit,
        always_allow_unhealthy: budget.always_allow_unhealthy,
        desired_healthy: status.desired_healthy,
        current_healthy: status.current_healthy,
        disruptions_allowed: status.allowed,
        expected_pods: status.expected,
        condition: if status.allowed > 0 { BudgetCondition::SufficientPods } else { BudgetCondition::InsufficientPods },
        namespace: budget.namespace,
        name: budget.name,
    }
}

fn cluster_error(action: &str, failure: Failure) -> ClusterError {
    match failure {
        Failure::Silent { reason } => ClusterError::Silent(reason),
        Failure::Off { .. } | Failure::Protocol { .. } => ClusterError::Silent(failure.to_string()),
        Failure::Missing { .. } | Failure::Program { .. } => {
            ClusterError::Refused { action: action.into(), reason: failure.to_string() }
        }
    }
}
