//! What a drain knows from round to round, and what a round sees.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{
    cluster::EvictionRequest,
    document::{Blocker, PodReport},
    drain::{Options, Past, Workload},
    step::{self, Reactions},
    timestamp::Timestamp,
};

use super::remaining::Remaining;
use crate::{
    host::{Cluster, ClusterError, Controller, Node, Owner, Pod, PodKey, Shared},
    steps::{
        action::{StepContext, StepError},
        kube::subject::is_meant,
    },
};

/// How often a budget is asked again; kubectl's figure.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// What is remembered from round to round.
pub(super) struct Drain<'a> {
    pub(super) options: Options<'a>,
    pub(super) reactions: Reactions,
    /// For all of it.
    pub(super) timeout: Duration,
    pub(super) began: Timestamp,
    /// Pods that were evicted by this process.
    pub(super) evicted: BTreeMap<PodKey, Shared<Pod>>,
    /// Since when pods leave that were evicted, by their UID.
    pub(super) leaving: BTreeMap<String, (Workload, Timestamp)>,
    /// What is seen for the next drain.
    pub(super) learned: Past,
    /// What others asked for of pods, by the pod's UID; none where the API server knows no such requests.
    pub(super) requests: Option<BTreeMap<String, EvictionRequest>>,
    /// When they were asked for.
    pub(super) requests_at: Option<Timestamp>,
    pub(super) next_try: BTreeMap<PodKey, Timestamp>,
    /// Pods of each controller that were on the node at the first look, and which they were.
    pub(super) at_first: Option<AtFirst>,
    /// How many pods of a controller were evicted that had come to the node after others of it had left.
    pub(super) returned: BTreeMap<(String, Owner), u32>,
    /// Who does not go, and why not.
    pub(super) held: BTreeMap<PodKey, Blocker>,
    /// What the last look at the whole cluster says of who is slow, by `namespace/name`.
    pub(super) slow: BTreeMap<String, String>,
    /// What became of pods in this round.
    pub(super) news: Vec<PodReport>,
    /// The Ready pods of controllers before the first of them went.
    pub(super) before: BTreeMap<(String, Owner), u32>,
    /// How many pods of a controller may be away by its own word, as far as it was asked.
    pub(super) at_once: BTreeMap<(String, Owner), u32>,
    /// What stands above the controllers whose data may be lost, as far as it was asked.
    pub(super) above: BTreeMap<(String, Owner), Controller>,
    pub(super) rechecked: Timestamp,
    /// Why nobody may be evicted in this round.
    pub(super) waits: Option<String>,
    /// Evictions that budgets were charged for, by namespace and name of the budget.
    pub(super) charged: BTreeMap<(String, String), Charged>,
    /// The cluster as it is told of, where somebody tells; changes end a pause.
    pub(super) kept: Option<Box<dyn Cluster>>,
    pub(super) said: SayOnce,
}

/// The pods of a node before any of them left.
pub(super) struct AtFirst {
    pub(super) uids: BTreeSet<String>,
    pub(super) pods: BTreeMap<(String, Owner), u32>,
}

/// Evictions that a state of a budget does not show yet.
#[derive(Debug, Clone)]
pub(super) struct Charged {
    /// The state that was seen when they were accepted.
    pub(super) version: String,
    pub(super) pods: u32,
    /// A budget that still looks the same then is asked again: it may have opened unseen.
    pub(super) until: Timestamp,
}

/// What one round saw.
pub(super) struct Round {
    pub(super) node: Shared<Node>,
    pub(super) nodes: Vec<Shared<Node>>,
    pub(super) remaining: Remaining,
}

/// Why a round saw nothing.
pub(super) enum RoundError {
    Silent(String),
    Step(StepError),
}

impl From<ClusterError> for RoundError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Silent(reason) => RoundError::Silent(reason),
            ClusterError::Forbidden { .. } | ClusterError::NoAccount { .. } | ClusterError::Refused { .. } => {
                RoundError::Step(error.into())
            }
        }
    }
}

impl From<StepError> for RoundError {
    fn from(error: StepError) -> Self {
        RoundError::Step(error)
    }
}

impl<'a> Drain<'a> {
    pub(super) fn new(step: &'a step::Drain, began: Timestamp) -> Self {
        Self {
            options: step.into(),
            reactions: step.reactions,
            timeout: Duration::from_secs(step.timeout_seconds),
            began,
            evicted: BTreeMap::new(),
            leaving: BTreeMap::new(),
            learned: Past::default(),
            requests: None,
            requests_at: None,
            next_try: BTreeMap::new(),
            at_first: None,
            returned: BTreeMap::new(),
            held: BTreeMap::new(),
            slow: BTreeMap::new(),
            news: Vec::new(),
            before: BTreeMap::new(),
            at_once: BTreeMap::new(),
            above: BTreeMap::new(),
            rechecked: began,
            waits: None,
            charged: BTreeMap::new(),
            kept: None,
            said: SayOnce::default(),
        }
    }

    /// The cluster to look at: as it is told of, where somebody tells.
    pub(super) fn cluster<'c>(&'c self, context: &'c StepContext<'_>) -> Result<&'c dyn Cluster, StepError> {
        match &self.kept {
            Some(kept) => Ok(&**kept),
            None => context.cluster(),
        }
    }

    pub(super) fn look(&mut self, context: &StepContext<'_>) -> Result<Round, RoundError> {
        let cluster = self.cluster(context)?;
        let nodes = cluster.nodes()?;
        let subject = context.subject().as_str();
        let node = nodes.iter().find(|n| n.name == subject).cloned();
        let node = node.ok_or_else(|| StepError::Failed(format!("the cluster has no node {subject} any more")))?;
        is_meant(&node, context)?;
        let mut remaining = Remaining::judge(subject, &self.options, cluster)?;
        if remaining.left().next().is_none() {
            // Whoever came a moment ago may not have been told of yet.
            remaining = Remaining::look(subject, &self.options, context.cluster()?)?;
        }
        remaining.ask_owners(&mut self.above, &self.options, context.cluster()?)?;
        remaining.have_gone(&self.going(context.now()));
        self.learn_who_left(&remaining, context.now());
        Ok(Round { node, nodes, remaining })
    }

    /// Pods whose eviction was accepted a while ago: they are going, also where nobody told of it yet.
    pub(super) fn going(&self, now: Timestamp) -> BTreeSet<PodKey> {
        let is_going = |key: &&PodKey| self.next_try.get(key).is_some_and(|at| now < *at);
        self.evicted.keys().filter(is_going).cloned().collect()
    }
}

/// Pods that this task moved, also before this process began.
pub(super) fn moved(context: &StepContext<'_>) -> usize {
    context.running.pods.values().filter(|pod| pod.fate.has_gone()).count()
}

/// What holds a pod, in one sentence.
pub(super) fn sentence_of(blocker: &Blocker) -> String {
    match &blocker.budget {
        Some(budget) => format!("budget {budget} holds {}: {}", blocker.pod, blocker.reason),
        None => format!("{} is held: {}", blocker.pod, blocker.reason),
    }
}
