//! What a step may ask of the cluster's API server, and what it answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hostler_plan::{health::Rule, sequencer::CordonOwner, timestamp::Timestamp};
use serde::{Deserialize, Serialize};

use super::Waker;

/// The field manager of every write: how Hostler's own cordons are told from others' in `managedFields`.
pub const FIELD_MANAGER: &str = CordonOwner::HOSTLER;

/// The node annotation that holds a [`CordonNote`] as JSON.
pub const CORDON_ANNOTATION: &str = "hostler.dev/cordon";

/// The field manager of a cordon that a node gave itself.
pub const SELF_CORDON_MANAGER: &str = CordonOwner::NODE;

/// The node annotation that holds an [`SelfCordon`] as JSON. A plan's note and a node's own may stand side by side:
/// each is removed by who wrote it, and the node is schedulable when neither is left.
pub const SELF_CORDON_ANNOTATION: &str = "hostler.dev/own-cordon";

/// A Kubernetes cluster through its API server. Every call takes at most 40 seconds (the server's own longest answer to
/// an eviction takes 34).
pub trait Cluster: Send + Sync {
    /// Every node.
    fn nodes(&self) -> Result<Vec<Node>, ClusterError>;

    /// The pods of a part of the cluster.
    fn pods(&self, scope: PodScope<'_>) -> Result<Vec<Pod>, ClusterError>;

    /// Every disruption budget.
    fn budgets(&self) -> Result<Vec<Budget>, ClusterError>;

    /// How many pods a controller should have; `None` when the controller is gone or has no scale.
    fn scale(&self, namespace: &str, owner: &Owner) -> Result<Option<Scale>, ClusterError>;

    /// Asks the Eviction API to remove a pod, with its UID as precondition and its own grace period.
    fn evict(&self, pod: &PodKey) -> Eviction;

    /// Writes or removes a note and says whether the node is schedulable, in one change that fails when the node
    /// changed since `resource_version`.
    fn mark(&self, node: &str, resource_version: &str, mark: &Mark) -> Result<CordonAnswer, ClusterError>;

    /// One node, by its name; `None` when there is no such node. A kubelet may ask this about its own.
    fn node(&self, name: &str) -> Result<Option<Node>, ClusterError> {
        Ok(self.nodes()?.into_iter().find(|n| n.name == name))
    }

    /// Makes a node unschedulable for a plan.
    fn cordon(&self, node: &Node, note: &CordonNote) -> Result<CordonAnswer, ClusterError> {
        let (annotation, manager, note) = (CORDON_ANNOTATION, FIELD_MANAGER, Some(json(note)));
        self.mark(&node.name, &node.resource_version, &Mark { annotation, note, unschedulable: true, manager })
    }

    /// Ends a plan's cordon. A node that cordoned itself too stays unschedulable.
    fn uncordon(&self, node: &Node) -> Result<CordonAnswer, ClusterError> {
        let (annotation, manager) = (CORDON_ANNOTATION, FIELD_MANAGER);
        let unschedulable = node.unschedulable && node.self_cordon.is_some();
        self.mark(&node.name, &node.resource_version, &Mark { annotation, note: None, unschedulable, manager })
    }

    /// Makes a node unschedulable for its own health.
    fn cordon_itself(&self, node: &Node, note: &SelfCordon) -> Result<CordonAnswer, ClusterError> {
        let (annotation, manager, note) = (SELF_CORDON_ANNOTATION, SELF_CORDON_MANAGER, Some(json(note)));
        self.mark(&node.name, &node.resource_version, &Mark { annotation, note, unschedulable: true, manager })
    }

    /// Ends a node's self cordon; `stays` leaves it unschedulable for somebody else.
    fn uncordon_itself(&self, node: &Node, stays: bool) -> Result<CordonAnswer, ClusterError> {
        let (annotation, manager, unschedulable) = (SELF_CORDON_ANNOTATION, SELF_CORDON_MANAGER, stays);
        self.mark(&node.name, &node.resource_version, &Mark { annotation, note: None, unschedulable, manager })
    }

    /// What a drain needs and the account of these credentials may not do, such as "create pods/eviction".
    fn missing_rights(&self) -> Result<Vec<String>, ClusterError> {
        Ok(Vec::new())
    }

    /// Notifies of every change of budgets, and of pods in these namespaces, for as long as the answer is kept. None
    /// where nobody tells: look again after a while.
    fn watch(&self, namespaces: &BTreeSet<&str>, waker: &Waker) -> Option<Watch> {
        let _ = (namespaces, waker);
        None
    }

    /// The volumes that are attached to a node.
    fn attachments(&self, node: &str) -> Result<Vec<Attachment>, ClusterError>;
}

fn json(note: &impl Serialize) -> String {
    serde_json::to_string(note).expect("a note holds only texts, numbers and truths")
}

/// Changes are told of until this is dropped.
pub struct Watch(pub Box<dyn Send>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// A change of a node's note and of whether it is schedulable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub annotation: &'static str,
    /// None removes the annotation.
    pub note: Option<String>,
    pub unschedulable: bool,
    /// The field manager of the change.
    pub manager: &'static str,
}

/// Why the API server gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// Nobody answers, or only with a passing trouble: none of the outcomes of a drain; wait and say so.
    #[error("the API server does not answer: {0}")]
    Silent(String),
    /// The credentials do not allow it.
    #[error("the API server does not allow to {action}: {reason}; give Hostler's role this permission")]
    Forbidden { action: String, reason: String },
    /// An answer that is not understood.
    #[error("the API server refused to {action}: {reason}")]
    Refused { action: String, reason: String },
}

/// Which pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodScope<'a> {
    OnNode(&'a str),
    InNamespace(&'a str),
}

/// A node object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub resource_version: String,
    pub ready: NodeReady,
    /// `spec.unschedulable`: somebody cordoned it.
    pub unschedulable: bool,
    /// The note of a plan, where there is one that can be read.
    pub cordon: Option<CordonNote>,
    /// The node's own note, where there is one that can be read.
    pub self_cordon: Option<SelfCordon>,
    /// The field manager that set `spec.unschedulable`, from `managedFields`.
    pub unschedulable_by: Option<String>,
    /// `status.nodeInfo.kubeletVersion`.
    pub version: String,
    /// `status.nodeInfo.bootID`.
    pub boot_id: String,
    /// `status.nodeInfo.machineID`.
    pub machine_id: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
}

impl Node {
    /// Who made it unschedulable, by the traces of a cordon: a plan, perhaps beside the node itself, the node, or a
    /// field manager, which may be unknown ("somebody"). None while it is schedulable.
    pub fn cordoned_by(&self) -> Option<CordonOwner> {
        match (&self.unschedulable_by, &self.cordon, &self.self_cordon) {
            _ if !self.unschedulable => None,
            (Some(manager), ..) if manager != FIELD_MANAGER && manager != SELF_CORDON_MANAGER => {
                Some(CordonOwner::Other(manager.clone()))
            }
            (_, Some(note), _) if !note.was_unschedulable => Some(CordonOwner::Hostler),
            (_, _, Some(_)) => Some(CordonOwner::Node),
            (_, Some(_) | None, None) => Some(CordonOwner::Other("somebody".into())),
        }
    }
}

/// The node's condition Ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeReady {
    Ready,
    NotReady,
    /// The kubelet is silent since then.
    Unknown {
        since: Timestamp,
    },
}

/// Why a node is unschedulable: written beside the cordon, so that nobody undoes somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CordonNote {
    /// The plan that cordoned, by its digest.
    pub plan: String,
    pub reason: String,
    pub epoch: u64,
    /// Whether the node was unschedulable before; then it stays so.
    pub was_unschedulable: bool,
}

/// Why a node made itself unschedulable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfCordon {
    /// The rule that was critical.
    pub rule: Rule,
    /// The rule's sentence.
    pub reason: String,
    /// When.
    pub since: Timestamp,
    /// Always false: a node that is cordoned already does not cordon itself.
    pub was_unschedulable: bool,
}

/// What became of a cordon or uncordon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CordonAnswer {
    Done,
    /// The node changed in between (409): look again.
    Changed,
    /// There is no such node.
    Gone,
}

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: Effect,
}

/// What a taint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

/// One pod, and no other that ever had its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// `namespace/name`, as people write it.
impl std::fmt::Display for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod, as far as a drain cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub key: PodKey,
    /// The node it runs on; none while it waits for one.
    pub node: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// The owner that is its controller.
    pub owner: Option<Owner>,
    /// Annotation `kubernetes.io/config.mirror`: the kubelet's own, evicting it changes nothing.
    pub mirror: bool,
    /// Where it holds data in an emptyDir.
    pub empty_dirs: EmptyDirMedia,
    pub phase: Phase,
    pub ready: bool,
    /// Why the scheduler finds no node for it: the message of its condition PodScheduled.
    pub unschedulable: Option<String>,
    pub deletion: Option<Deletion>,
    pub finalizers: Vec<String>,
    /// `spec.priorityClassName`.
    pub priority_class: Option<String>,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace: Duration,
    /// Where a replacement may run.
    pub placement: Placement,
    /// Its claims.
    pub volumes: Vec<PodVolume>,
}

impl Pod {
    /// Whether nothing of it runs any more, and nothing will.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }
}

/// Of which medium a pod's emptyDir volumes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EmptyDirMedia {
    pub disk: bool,
    /// `medium: Memory`: gone with every reboot too.
    pub memory: bool,
}

/// The controller of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Such as `apps/v1`; another group's DaemonSet is none.
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// A pod that is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionTimestamp`: when its grace ends.
    pub ends: Timestamp,
    pub grace: Duration,
}

/// Where a pod may run, as far as it is certain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// Required node affinity: one of these terms, each of which holds only as a whole. Empty allows every node.
    pub terms: Vec<Vec<Requirement>>,
    pub tolerations: Vec<Toleration>,
    /// Another scheduler than the default one decides: nothing is certain.
    pub foreign_scheduler: bool,
}

/// One expression over a node's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

/// How a [`Requirement`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// What a pod tolerates. No key tolerates every taint; no value every value; no effect every effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    pub key: Option<String>,
    pub value: Option<String>,
    pub effect: Option<Effect>,
}

/// A claim of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodVolume {
    pub claim: String,
    /// The persistent volume it is bound to.
    pub volume: Option<String>,
    /// The terms of the volume's own node affinity; a local volume names its one node.
    pub terms: Vec<Vec<Requirement>>,
}

/// A volume on a node (VolumeAttachment).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub name: String,
    /// The CSI driver that has to detach it: `spec.attacher`.
    pub driver: String,
    pub volume: Option<String>,
}

/// A PodDisruptionBudget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub namespace: String,
    pub name: String,
    pub selector: Selector,
    pub limit: BudgetLimit,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow`: pods that are not ready may always go.
    pub always_allow_unhealthy: bool,
    pub desired_healthy: u32,
    pub current_healthy: u32,
    pub disruptions_allowed: u32,
    pub expected_pods: u32,
    /// The condition DisruptionAllowed.
    pub condition: BudgetCondition,
}

/// Which pods a budget counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// No selector: no pod.
    Nothing,
    /// All of these must hold; an empty list is every pod of the namespace.
    All(Vec<Requirement>),
}

/// What a budget asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetLimit {
    MinAvailable(u32),
    MinAvailablePercent(u32),
    MaxUnavailable(u32),
    MaxUnavailablePercent(u32),
}

/// What the budget's condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetCondition {
    SufficientPods,
    InsufficientPods,
    /// The controller cannot work the budget out; it never allows anything. Holds its message.
    SyncFailed(String),
    /// None was written yet.
    Missing,
}

/// What a controller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    pub replicas: u32,
    /// How many may be away at a time by the controller's own word, at least one: a Deployment's `maxUnavailable`.
    pub at_once: u32,
    /// What a HorizontalPodAutoscaler may raise it to.
    pub max_replicas: Option<u32>,
}

/// The Eviction API's answer. "Wait" means that the same request may succeed later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eviction {
    /// 201: the pod is going; wait until its UID is gone.
    Accepted,
    /// 429 with cause DisruptionBudget: the budget says no for now. Holds its sentence.
    Budget(String),
    /// 429 with cause DisruptionBudget and Retry-After, "still being processed": the budget's status is behind.
    BudgetBehind(String),
    /// 429 without cause: the API server is busy; not a budget.
    Busy { retry_after: Option<Duration> },
    /// 500 "more than one PodDisruptionBudget": never, whoever waits.
    SeveralBudgets(String),
    /// 500 "failed calling webhook": the webhook is dead. Wait and name it.
    Webhook(String),
    /// 504: conflicts on the budget. Wait.
    Conflicts { retry_after: Option<Duration> },
    /// 403 with cause NamespaceTerminating: the pod is deleted anyway; wait.
    NamespaceTerminating,
    /// 403 "denied the request": a policy. Wait and show its text.
    Denied(String),
    /// 403 "cannot create resource": never.
    Forbidden(String),
    /// 404, or 409 with another UID: it is gone.
    Gone,
    /// No answer. Wait.
    Silent(String),
    /// Another answer; holds its code and text. Wait, and show it.
    Other { code: u16, reason: String },
}
