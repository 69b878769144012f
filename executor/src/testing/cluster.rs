//! A cluster in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use hostler_plan::{
    drain::{Look, takers},
    timestamp::Timestamp,
};

use super::{budget, node, pod};
use crate::host::{
    Attachment, Budget, BudgetLimit, CORDON_ANNOTATION, Cluster, ClusterError, Controller, CordonAnswer, Deletion,
    DrainCondition, Effect, Eviction, EvictionRequest, Followed, FollowedNode, Following, Mark, Node, Owner, Phase,
    Pod, PodKey, PodScope, Scale, Shared, Taint, WAITING_TAINT, Waiting, Waker, Watch,
};

/// A cluster in memory: evicted pods stop after their grace, controllers replace them where they fit, and a replacement
/// is Ready a few seconds later. Budgets count as Kubernetes' controller does.
#[derive(Debug)]
pub(crate) struct TestCluster(Mutex<State>);

#[derive(Debug)]
pub(crate) struct State {
    pub now: Timestamp,
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
    pub budgets: Vec<Budget>,
    pub scales: BTreeMap<String, Scale>,
    pub attachments: Vec<Attachment>,
    /// What others asked for of pods, where the API server knows that.
    pub requests: Option<Vec<EvictionRequest>>,
    /// Answers that evictions of a pod get before anything else is looked at, by pod name.
    pub answers: BTreeMap<String, Vec<Eviction>>,
    /// The answer that every eviction gets, of a webhook or a policy.
    pub guard: Option<Eviction>,
    /// Pods that have stopped stay: nobody may delete their objects.
    pub keeps: bool,
    /// What is called once somebody was evicted.
    pub at_eviction: Option<AtEviction>,
    /// No node has room for another pod.
    pub full: bool,
    /// Controllers put a pod's successor where the pod was.
    pub comes_back: bool,
    /// What happens to the cluster when time passes next.
    pub next: Option<fn(&mut State)>,
    /// What happens to it once a node's note was changed.
    pub at_mark: Option<fn(&mut State)>,
    /// Every eviction that was accepted: pod name and time.
    pub evicted: Vec<(String, Timestamp)>,
    /// The fewest Ready pods that any controller had, by name.
    pub fewest_ready: BTreeMap<String, usize>,
    /// What the account may not do.
    pub missing: Vec<String>,
    /// How often a node was made schedulable.
    pub put_back: usize,
    /// How often a budget said no.
    pub refused: usize,
    pub silent: bool,
    /// The next look at the nodes panics.
    pub breaks: bool,
    /// Whether somebody tells of changes of nodes, and who is told.
    pub tells: bool,
    pub told: Option<(Followed<FollowedNode>, Waker)>,
    /// How often all nodes were asked for.
    pub listed: usize,
    /// Every change of a node's conditions.
    pub shown: Vec<(String, Vec<DrainCondition>)>,
    /// Seconds until a replacement is Ready.
    pub start_seconds: u64,
    ready_at: BTreeMap<String, Timestamp>,
    version: u64,
    uid: u64,
}

/// Something that happens in the middle of a drain.
pub(crate) struct AtEviction(pub Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for AtEviction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AtEviction")
    }
}

impl TestCluster {
    pub(crate) fn new(now: Timestamp, nodes: &[&str]) -> Self {
        Self(Mutex::new(State {
            now,
            nodes: nodes.iter().map(|n| node(n)).collect(),
            pods: vec![],
            budgets: vec![],
            scales: BTreeMap::new(),
            attachments: vec![],
            requests: None,
            answers: BTreeMap::new(),
            guard: None,
            keeps: false,
            at_eviction: None,
            full: false,
            comes_back: false,
            next: None,
            at_mark: None,
            evicted: vec![],
            fewest_ready: BTreeMap::new(),
            missing: vec![],
            put_back: 0,
            refused: 0,
            silent: false,
            breaks: false,
            tells: false,
            told: None,
            listed: 0,
            shown: vec![],
            start_seconds: 5,
            ready_at: BTreeMap::new(),
            version: 1,
            uid: 0,
        }))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Time passes.
    pub(crate) fn at(&self, now: Timestamp) {
        let mut state = self.state();
        if let Some(next) = state.next.take() {
            next(&mut state);
        }
        state.advance(now);
    }
}

impl State {
    /// Pods of a controller with so many replicas, one per given node.
    pub(crate) fn deploy(&mut self, owner: &str, nodes: &[&str]) {
        for (index, node) in nodes.iter().enumerate() {
            self.pods.push(pod(&format!("{owner}-{index}"), owner, node));
        }
        let replicas = u32::try_from(nodes.len()).unwrap();
        self.scales.insert(owner.into(), Scale::of(replicas, (replicas / 4).max(1)));
    }

    pub(crate) fn protect(&mut self, owner: &str, limit: BudgetLimit) {
        self.budgets.push(budget(owner, limit));
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = now;
        let keeps = self.keeps;
        let has_stopped = |p: &mut Pod| p.deletion.is_some_and(|d| d.ends <= now) && p.finalizers.is_empty() && !keeps;
        let gone: Vec<Pod> = self.pods.extract_if(.., has_stopped).collect();
        for pod in gone.into_iter().filter(|pod| !pod.is_finished()) {
            let kind = pod.owner.as_ref().map_or("", |owner| owner.kind.as_str());
            if ["ReplicaSet", "StatefulSet", "Job", "ReplicationController"].contains(&kind) {
                self.replace(&pod);
            }
        }
        let ready: Vec<String> = self.ready_at.iter().filter(|(_, at)| **at <= now).map(|(n, _)| n.clone()).collect();
        for pod in self.pods.iter_mut().filter(|p| ready.contains(&p.key.name)) {
            (pod.ready, pod.phase) = (true, Phase::Running);
        }
        self.count();
    }

    fn replace(&mut self, pod: &Pod) {
        self.uid += 1;
        let mut new = pod.clone();
        new.key.name = format!("{}-new{}", pod.key.name, self.uid);
        new.key.uid = format!("uid-{}", new.key.name);
        (new.deletion, new.ready, new.phase, new.node) = (None, false, Phase::Pending, None);
        new.node = if self.comes_back { pod.node.clone() } else { self.place(&new) };
        new.unschedulable = new.node.is_none().then(|| "0/3 nodes are available: 3 Insufficient cpu.".to_owned());
        if new.node.is_some() {
            self.ready_at.insert(new.key.name.clone(), self.now.plus(Duration::from_secs(self.start_seconds)));
        }
        self.pods.push(new);
    }

    /// The first node that takes a pod which has none; one that is cordoned where nobody else does.
    pub(crate) fn place(&self, pod: &Pod) -> Option<String> {
        let nodes = self.nodes.iter().cloned().map(Shared::from).collect();
        let pods = self.pods.iter().cloned().map(Shared::from).collect();
        let look = Look { nodes, pods, ..Look::default() };
        let first = takers(pod, &look).into_iter().min_by_key(|node| node.unschedulable);
        first.filter(|_| !self.full).map(|node| node.name.clone())
    }

    fn count(&mut self) {
        for (owner, _) in self.scales.clone() {
            let ready = self.pods.iter().filter(|p| is_of(p, &owner) && p.ready && p.deletion.is_none()).count();
            let fewest = self.fewest_ready.entry(owner).or_insert(usize::MAX);
            *fewest = ready.min(*fewest);
        }
    }

    /// The budget with the status that Kubernetes' controller would write.
    fn counted(&self, budget: &Budget) -> Budget {
        let counted: Vec<&Pod> = self.pods.iter().filter(|pod| budget.counts(pod)).collect();
        let owners: BTreeSet<&Owner> = counted.iter().filter_map(|pod| pod.owner.as_deref()).collect();
        let scales = owners.into_iter().filter_map(|owner| self.scales.get(&owner.name));
        let expected = match budget.limit {
            BudgetLimit::MinAvailable(_) => u32::try_from(counted.len()).unwrap(),
            BudgetLimit::MinAvailablePercent(_)
            | BudgetLimit::MaxUnavailable(_)
            | BudgetLimit::MaxUnavailablePercent(_) => scales.map(|scale| scale.replicas).sum(),
        };
        let healthy = counted.iter().filter(|pod| pod.ready && pod.deletion.is_none()).count() as u32;
        let desired = budget.limit.desired(expected);
        Budget {
            desired_healthy: desired,
            current_healthy: healthy,
            disruptions_allowed: if expected == 0 { 0 } else { healthy.saturating_sub(desired) },
            expected_pods: expected,
            ..budget.clone()
        }
    }

    /// What the budgets say of an eviction.
    fn refusal(&self, pod: &Pod) -> Option<Eviction> {
        let has_say = |budget: &&Budget| pod.phase == Phase::Running && pod.deletion.is_none() && budget.counts(pod);
        let counting: Vec<Budget> = self.budgets.iter().filter(has_say).map(|budget| self.counted(budget)).collect();
        let budget = match counting.as_slice() {
            [] => return None,
            [budget] => budget,
            _ => return Some(Eviction::SeveralBudgets("This pod has more than one PodDisruptionBudget".into())),
        };
        let healthy = budget.desired_healthy > 0 && budget.current_healthy >= budget.desired_healthy;
        let passes = !pod.ready && (budget.always_allow_unhealthy || healthy);
        let may_go = passes || budget.disruptions_allowed > 0;
        let needs = budget.desired_healthy;
        let says = format!("The disruption budget {} needs {needs} healthy pods", budget.name);
        (!may_go).then_some(Eviction::Budget(says))
    }

    /// A change without a condition.
    fn touch(&mut self, node: &str, change: impl FnOnce(&mut Node)) -> CordonAnswer {
        let version = self.nodes.iter().find(|n| n.name == node).map(|n| n.resource_version.clone());
        match self.change(node, &version.unwrap_or_default()) {
            None => CordonAnswer::Gone,
            Some(Err(answer)) => answer,
            Some(Ok(node)) => {
                change(node);
                CordonAnswer::Done
            }
        }
    }

    fn change(&mut self, node: &str, version: &str) -> Option<Result<&mut Node, CordonAnswer>> {
        self.version += 1;
        let next = self.version.to_string();
        let node = self.nodes.iter_mut().find(|n| n.name == node)?;
        if node.resource_version != version {
            return Some(Err(CordonAnswer::Changed));
        }
        node.resource_version = next;
        Some(Ok(node))
    }
}

fn is_of(pod: &Pod, owner: &str) -> bool {
    pod.owner.as_ref().is_some_and(|o| o.name == owner)
}

impl Cluster for TestCluster {
    fn nodes(&self) -> Result<Vec<Shared<Node>>, ClusterError> {
        let mut state = self.state();
        state.listed += 1;
        if std::mem::take(&mut state.breaks) {
            // Unwinds without a message: a test wants it.
            std::panic::resume_unwind(Box::new("breaks"));
        }
        if state.silent {
            return Err(ClusterError::Silent("connection refused".into()));
        }
        Ok(state.nodes.iter().cloned().map(Shared::from).collect())
    }

    fn pods(&self, scope: PodScope<'_>) -> Result<Vec<Shared<Pod>>, ClusterError> {
        Ok(self.state().pods.iter().filter(|pod| scope.has(pod)).cloned().map(Shared::from).collect())
    }

    fn budgets(&self) -> Result<Vec<Shared<Budget>>, ClusterError> {
        let state = self.state();
        Ok(state.budgets.iter().map(|budget| state.counted(budget).into()).collect())
    }

    fn controllers(
        &self,
        owners: &BTreeSet<(String, Owner)>,
    ) -> Result<BTreeMap<(String, Owner), Controller>, ClusterError> {
        let state = self.state();
        let read = |(namespace, owner): &(String, Owner)| {
            // Above a ReplicaSet stands a Deployment of its name.
            let kind = owner.kind.replace("ReplicaSet", "Deployment");
            let scale = state.scales.get(&owner.name).copied();
            ((namespace.clone(), owner.clone()), Controller { kind, name: owner.name.clone(), scale })
        };
        Ok(owners.iter().map(read).collect())
    }

    fn evict(&self, key: &PodKey) -> Eviction {
        let mut state = self.state();
        if let Some(answers) = state.answers.get_mut(&key.name)
            && !answers.is_empty()
        {
            return answers.remove(0);
        }
        let Some(pod) = state.pods.iter().find(|p| p.key == *key).cloned() else { return Eviction::Gone };
        if let Some(refusal) = state.guard.clone().or_else(|| state.refusal(&pod)) {
            state.refused += usize::from(matches!(refusal, Eviction::Budget(_)));
            return refusal;
        }
        let ends = state.now.plus(pod.grace);
        let now = state.now;
        state.evicted.push((key.name.clone(), now));
        if let Some(AtEviction(call)) = state.at_eviction.take() {
            call();
        }
        if let Some(pod) = state.pods.iter_mut().find(|p| p.key == *key) {
            pod.deletion = Some(Deletion { ends, grace: pod.grace });
        }
        state.count();
        Eviction::Accepted
    }

    fn mark(&self, node: &str, version: &str, mark: &Mark) -> Result<CordonAnswer, ClusterError> {
        let mut state = self.state();
        if state.silent {
            return Err(ClusterError::Silent("connection refused".into()));
        }
        let was = state.nodes.iter().any(|n| n.name == node && n.unschedulable);
        let answer = match state.change(node, version) {
            None => CordonAnswer::Gone,
            Some(Err(answer)) => answer,
            Some(Ok(node)) => {
                let note = mark.note.as_deref();
                match mark.annotation {
                    CORDON_ANNOTATION => node.cordon = note.and_then(|text| serde_json::from_str(text).ok()),
                    _ => node.self_cordon = note.and_then(|text| serde_json::from_str(text).ok()),
                }
                // As in `managedFields`: only who changes the field owns it.
                if node.unschedulable != mark.unschedulable {
                    node.unschedulable_by = mark.unschedulable.then(|| mark.manager.into());
                }
                node.unschedulable = mark.unschedulable;
                CordonAnswer::Done
            }
        };
        if let Some(change) = state.at_mark.take() {
            change(&mut state);
        }
        state.put_back += usize::from(was && !mark.unschedulable && answer == CordonAnswer::Done);
        Ok(answer)
    }

    fn give_up(&self, node: &Node, dead: bool) -> Result<CordonAnswer, ClusterError> {
        let mut state = self.state();
        Ok(match state.change(&node.name, &node.resource_version) {
            None => CordonAnswer::Gone,
            Some(Err(answer)) => answer,
            Some(Ok(node)) => {
                node.taints.retain(|taint| taint.key != Taint::OUT_OF_SERVICE);
                let (key, value) = (Taint::OUT_OF_SERVICE.to_owned(), Taint::OURS.to_owned());
                node.taints.extend(dead.then_some(Taint { key, value, effect: Effect::NoExecute }));
                CordonAnswer::Done
            }
        })
    }

    fn show(&self, node: &str, conditions: &[DrainCondition], _: &str) -> Result<CordonAnswer, ClusterError> {
        let mut state = self.state();
        state.shown.push((node.to_owned(), conditions.to_vec()));
        Ok(state.touch(node, |node| node.shows = conditions.to_vec()))
    }

    fn keep_off(&self, node: &str, waiting: Option<&Waiting>) -> Result<CordonAnswer, ClusterError> {
        let taint = |waiting: &Waiting| Taint {
            key: WAITING_TAINT.into(),
            value: waiting.to_string(),
            effect: Effect::PreferNoSchedule,
        };
        Ok(self.state().touch(node, |node| node.taints = waiting.map(taint).into_iter().collect()))
    }

    fn missing_rights(&self) -> Result<Vec<String>, ClusterError> {
        Ok(self.state().missing.clone())
    }

    fn follow(&self, waker: &Waker) -> Option<Following> {
        let mut state = self.state();
        state.tells.then(|| {
            let nodes = Followed::new(Duration::from_secs(30), Instant::now());
            nodes.listed(state.nodes.iter().map(|node| FollowedNode::from(node).into()).collect(), Instant::now());
            state.told = Some((nodes.clone(), waker.clone()));
            Following { nodes, watch: Watch(Box::new(())) }
        })
    }

    fn eviction_requests(&self) -> Result<Option<Vec<EvictionRequest>>, ClusterError> {
        Ok(self.state().requests.clone())
    }

    fn attachments(&self) -> Result<Vec<Attachment>, ClusterError> {
        Ok(self.state().attachments.clone())
    }
}
