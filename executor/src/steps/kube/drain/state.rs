//! What a drain knows from round to round, and what a round sees.

use std::{collections::BTreeMap, time::Duration};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{
    document::{Blocker, PodReport},
    drain::{Options, Strength},
    step::{self, Reactions},
    timestamp::Timestamp,
};

use super::remaining::Remaining;
use crate::{
    host::{ClusterError, Controller, Node, Owner, Pod, PodKey, Watch},
    steps::{
        action::{StepContext, StepError},
        kube::subject::is_meant,
    },
};

/// What is remembered from round to round.
pub(super) struct Drain<'a> {
    pub(super) options: Options<'a>,
    pub(super) reactions: Reactions,
    /// For all of it.
    pub(super) timeout: Duration,
    pub(super) began: Timestamp,
    /// Pods that were evicted by this process.
    pub(super) evicted: BTreeMap<PodKey, Pod>,
    pub(super) next_try: BTreeMap<PodKey, Timestamp>,
    /// Who does not go, and why not.
    pub(super) held: BTreeMap<PodKey, Blocker>,
    /// What the last look at the whole cluster says of who is slow, by `namespace/name`.
    pub(super) slow: BTreeMap<String, String>,
    /// What became of pods in this round.
    pub(super) news: Vec<PodReport>,
    /// Controllers of which a pod was evicted.
    pub(super) controllers: BTreeMap<(String, Owner), Strength>,
    /// What stands above the controllers whose data may be lost, as far as it was asked.
    pub(super) above: BTreeMap<(String, Owner), Controller>,
    pub(super) rechecked: Timestamp,
    /// Why nobody may be evicted in this round.
    pub(super) waits: Option<String>,
    /// Ends a pause when pods or budgets change, where the cluster can tell.
    pub(super) watch: Option<Watch>,
    pub(super) said: SayOnce,
}

/// What one round saw.
pub(super) struct Round {
    pub(super) node: Node,
    pub(super) nodes: Vec<Node>,
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
            next_try: BTreeMap::new(),
            held: BTreeMap::new(),
            slow: BTreeMap::new(),
            news: Vec::new(),
            controllers: BTreeMap::new(),
            above: BTreeMap::new(),
            rechecked: began,
            waits: None,
            watch: None,
            said: SayOnce::default(),
        }
    }

    pub(super) fn look(&mut self, context: &StepContext<'_>) -> Result<Round, RoundError> {
        let cluster = context.cluster()?;
        let nodes = cluster.nodes()?;
        let subject = context.subject().as_str();
        let node = nodes.iter().find(|n| n.name == subject).cloned();
        let node = node.ok_or_else(|| StepError::Failed(format!("the cluster has no node {subject} any more")))?;
        is_meant(&node, context)?;
        let mut remaining = Remaining::look(subject, &self.options, cluster)?;
        remaining.ask_owners(&mut self.above, &self.options, cluster)?;
        Ok(Round { node, nodes, remaining })
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
