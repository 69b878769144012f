//! The simulated cluster behind the trait of a real one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hostler_executor::host::{
    Attachment, Budget, BudgetCondition, CORDON_ANNOTATION, Cluster, ClusterError, Controller, CordonAnswer, Deletion,
    DrainCondition, Eviction, Host as _, Mark, Node, NodeReady, Operator, Owner, Pod, PodKey, PodScope, Requirement,
    SELF_CORDON_ANNOTATION, Scale, Selector, Shared, Waiting,
};
use hostler_plan::id::NodeName;

use crate::{
    host::SimHost,
    wire::{BudgetAnswer, Failure, NodeAnswer, PodAnswer, Request, WriteAnswer},
    world::{
        api::{self, DEFAULT_GRACE},
        cluster::HEARTBEAT_GRACE,
        eviction::EvictionAnswer,
    },
};

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
        Ok(written(self.ask(request).map_err(|e| cluster_error("patch the node", e))?))
    }

    /// The simulated scheduler knows no soft taints, and nobody reads conditions there.
    fn show(&self, _: &str, _: &[DrainCondition], _: &str) -> Result<CordonAnswer, ClusterError> {
        Ok(CordonAnswer::Done)
    }

    fn keep_off(&self, _: &str, _: Option<&Waiting>) -> Result<CordonAnswer, ClusterError> {
        Ok(CordonAnswer::Done)
    }

    fn attachments(&self) -> Result<Vec<Attachment>, ClusterError> {
        let volumes: Vec<(NodeName, String)> =
            self.ask(Request::Attachments).map_err(|e| cluster_error("list volume attachments", e))?;
        Ok(volumes.iter().map(|(node, volume)| api::attachment(node, volume)).collect())
    }

    fn give_up(&self, node: &Node, dead: bool) -> Result<CordonAnswer, ClusterError> {
        let Ok(resource_version) = node.resource_version.parse() else { return Ok(CordonAnswer::Changed) };
        let request = Request::GiveUp { node: node.name.clone(), resource_version, dead };
        Ok(written(self.ask(request).map_err(|e| cluster_error("taint the node", e))?))
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
        let note = |annotation| node.annotations.get(annotation);
        Node {
            ready,
            cordon: note(CORDON_ANNOTATION).and_then(|text| serde_json::from_str(text).ok()),
            self_cordon: note(SELF_CORDON_ANNOTATION).and_then(|text| serde_json::from_str(text).ok()),
            ..api::node(&name, &node)
        }
    }

    fn pod(&self, answer: PodAnswer) -> Pod {
        let PodAnswer { namespace, name, pod, going_for_ms } = answer;
        let deletion = going_for_ms.map(|ms| Deletion {
            ends: self.now().plus(Duration::from_millis(ms.min(3_600_000))),
            grace: DEFAULT_GRACE,
        });
        Pod { deletion, ..api::pod(&namespace, &name, &pod) }
    }
}

fn written(answer: WriteAnswer) -> CordonAnswer {
    match answer {
        WriteAnswer::Done => CordonAnswer::Done,
        WriteAnswer::Changed => CordonAnswer::Changed,
        WriteAnswer::Gone => CordonAnswer::Gone,
    }
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
