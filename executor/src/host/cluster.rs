//! What a step may ask of the cluster's API server, and what it answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hostler_plan::{
    cluster::{
        Attachment, Budget, Controller, CordonNote, DrainCondition, EvictionRequest, Node, Owner, Pod, PodKey,
        SelfCordon, Shared, Waiting,
    },
    drain::{Asks, Look},
    sequencer::CordonOwner,
};
use serde::Serialize;

use super::{Followed, FollowedNode, Waker};

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
    fn nodes(&self) -> Result<Vec<Shared<Node>>, ClusterError>;

    /// The pods of a part of the cluster.
    fn pods(&self, scope: PodScope<'_>) -> Result<Vec<Shared<Pod>>, ClusterError>;

    /// Every disruption budget.
    fn budgets(&self) -> Result<Vec<Shared<Budget>>, ClusterError>;

    /// What these are, by their namespace, and what stands above them; those that are gone are left out.
    fn controllers(
        &self,
        owners: &BTreeSet<(String, Owner)>,
    ) -> Result<BTreeMap<(String, Owner), Controller>, ClusterError>;

    /// Asks the Eviction API to remove a pod that was listed a moment ago, with its UID as precondition and its own
    /// grace period. One that was replaced long ago must not be asked for: its budget is charged before the UID is
    /// compared.
    fn evict(&self, pod: &PodKey) -> Eviction;

    /// The same of several pods that were listed at the same moment, and one answer for each in their order. What a
    /// request takes on its way is taken once for all of them, where that can be.
    fn evict_all(&self, pods: &[&PodKey]) -> Vec<Eviction> {
        pods.iter().map(|pod| self.evict(pod)).collect()
    }

    /// Writes or removes a note and says whether the node is schedulable, in one change that fails when the node
    /// changed since `resource_version`.
    fn mark(&self, node: &str, resource_version: &str, mark: &Mark) -> Result<CordonAnswer, ClusterError>;

    /// One node, by its name; `None` when there is no such node. A kubelet may ask this about its own.
    fn node(&self, name: &str) -> Result<Option<Node>, ClusterError> {
        Ok(self.nodes()?.into_iter().find(|n| n.name == name).map(Shared::into_inner))
    }

    /// Makes a node unschedulable for a plan.
    fn cordon(&self, node: &Node, note: &CordonNote) -> Result<CordonAnswer, ClusterError> {
        let (annotation, manager, note) = (CORDON_ANNOTATION, FIELD_MANAGER, Some(json(note)));
        self.mark(&node.name, &node.resource_version, &Mark { annotation, note, unschedulable: true, manager })
    }

    /// Ends a plan's cordon. A node that cordoned itself too stays unschedulable. The conditions go first: where
    /// somebody dies in between, a cordon is left that is looked at again.
    fn uncordon(&self, node: &Node) -> Result<CordonAnswer, ClusterError> {
        if let Some(answer) = self.show_nothing(node)? {
            return Ok(answer);
        }
        let (annotation, manager) = (CORDON_ANNOTATION, FIELD_MANAGER);
        let unschedulable = node.unschedulable && node.self_cordon.is_some();
        self.mark(&node.name, &node.resource_version, &Mark { annotation, note: None, unschedulable, manager })
    }

    /// Gives a cordon away as it stands: with a note that says to whom, or, where it only had been taken over, without
    /// one. The conditions go first, as in [`Self::uncordon`].
    fn release(&self, node: &Node, note: Option<&CordonNote>) -> Result<CordonAnswer, ClusterError> {
        if let Some(answer) = self.show_nothing(node)? {
            return Ok(answer);
        }
        let (annotation, manager, unschedulable) = (CORDON_ANNOTATION, FIELD_MANAGER, node.unschedulable);
        let note = note.map(json);
        self.mark(&node.name, &node.resource_version, &Mark { annotation, note, unschedulable, manager })
    }

    /// Takes Hostler's conditions from a node that has some; then it is looked at again.
    fn show_nothing(&self, node: &Node) -> Result<Option<CordonAnswer>, ClusterError> {
        if node.shows.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self.show(&node.name, &[], "")? {
            CordonAnswer::Gone => CordonAnswer::Gone,
            CordonAnswer::Done | CordonAnswer::Changed => CordonAnswer::Changed,
        }))
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

    /// Makes these of Hostler's conditions True on a node, with a sentence, and removes the others; somebody else's are
    /// left alone.
    fn show(&self, node: &str, conditions: &[DrainCondition], sentence: &str) -> Result<CordonAnswer, ClusterError>;

    /// Puts the soft taint of nodes that a plan drains next on a node, or removes it.
    fn keep_off(&self, node: &str, waiting: Option<&Waiting>) -> Result<CordonAnswer, ClusterError>;

    /// What a drain needs and the account of these credentials may not do, such as "create pods/eviction".
    fn missing_rights(&self) -> Result<Vec<String>, ClusterError> {
        Ok(Vec::new())
    }

    /// What that account may do and no part of Hostler needs, such as "get secrets"; as far as the API server lists it.
    fn rights_beyond(&self) -> Result<Vec<String>, ClusterError> {
        Ok(Vec::new())
    }

    /// The same cluster, whose nodes, pods and budgets are kept while the answer is: a look at them asks nothing of the
    /// API server and is at most 20 seconds old, and where it would be older they are asked for. Notifies of changes.
    /// None where nobody tells: look again after a while.
    fn keep(&self, waker: &Waker) -> Option<Box<dyn Cluster>> {
        let _ = waker;
        None
    }

    /// Follows the nodes for as long as the answer is kept, and notifies of what is new. None where nobody tells: look
    /// again after a while.
    fn follow(&self, waker: &Waker) -> Option<Following> {
        let _ = waker;
        None
    }

    /// Gives a dead node up by its taint, or takes that back, in one change that fails when the node changed since.
    fn give_up(&self, node: &Node, dead: bool) -> Result<CordonAnswer, ClusterError> {
        let _ = dead;
        let action = format!("taint {}", node.name);
        Err(ClusterError::Refused { action, reason: "it keeps no taints".to_owned() })
    }

    /// The volumes that are attached to nodes.
    fn attachments(&self) -> Result<Vec<Attachment>, ClusterError>;

    /// How many volumes of each driver each node can attach, by the node's name; what nobody says is left out.
    fn attach_limits(&self) -> Result<BTreeMap<String, BTreeMap<String, u32>>, ClusterError> {
        Ok(BTreeMap::new())
    }

    /// What others asked for of pods and is still open; none where the API server knows no such requests.
    fn eviction_requests(&self) -> Result<Option<Vec<EvictionRequest>>, ClusterError> {
        Ok(None)
    }

    /// All that is to be seen before drains of these nodes can be judged.
    fn look(&self, asked: &[&str], asks: Asks) -> Result<Look, ClusterError> {
        let mut look = Look { nodes: self.nodes()?, pods: self.pods(PodScope::Everywhere)?, ..Look::default() };
        look.pods.retain(|pod| !pod.node.as_ref().is_some_and(|node| asked.contains(&node.as_str())));
        for node in asked {
            look.pods.extend(self.pods(PodScope::OnNode(node))?);
        }
        (look.budgets, look.attachments) = (self.budgets()?, self.attachments()?);
        look.requests = self.eviction_requests()?.unwrap_or_default();
        let mut limits = self.attach_limits()?;
        for node in &mut look.nodes {
            if let Some(limits) = limits.remove(&node.name) {
                node.attach_limits = limits;
            }
        }
        look.controllers = self.controllers(&look.owners_to_read(asked, asks))?;
        Ok(look)
    }
}

fn json(note: &impl Serialize) -> String {
    serde_json::to_string(note).expect("a note holds only texts, numbers and truths")
}

/// Changes are told of until this is dropped.
pub struct Watch(pub Box<dyn Send + Sync>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// The nodes of a cluster, followed for as long as this is kept.
#[derive(Debug)]
pub struct Following {
    pub nodes: Followed<FollowedNode>,
    pub watch: Watch,
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
    /// Hostler's own account cannot be made, or gets no token; an administrator's credentials serve nothing else.
    #[error(
        "Hostler has no account in the cluster: the administrator's file of this machine may not {action}: {reason}; \
         apply {file} as somebody who may, and give that file's user create serviceaccounts/token"
    )]
    NoAccount { action: String, reason: String, file: &'static str },
    /// An answer that is not understood.
    #[error("the API server refused to {action}: {reason}")]
    Refused { action: String, reason: String },
}

impl PodScope<'_> {
    /// Whether the pod is one of them.
    pub fn has(self, pod: &Pod) -> bool {
        match self {
            PodScope::OnNode(node) => pod.node.as_deref() == Some(node),
            PodScope::InNamespace(namespace) => pod.key.namespace == namespace,
            PodScope::Everywhere => true,
        }
    }
}

/// Which pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodScope<'a> {
    /// Those on a node, and where their claims lead.
    OnNode(&'a str),
    InNamespace(&'a str),
    /// All of them, without where their claims lead.
    Everywhere,
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
