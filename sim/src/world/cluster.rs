//! The simulated cluster: nodes as the API shows them, pods, and who keeps them alive.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::{cluster::BudgetLimit, id::NodeName, step::ClusterRole, version::Version};
use serde::{Deserialize, Serialize};

use super::{
    Millis,
    budget::{Allowance, Budget, Matching, allowance},
    workload::{ControllerKind, STORAGE_NAMESPACE, Workload},
};

/// A pod is Ready this long after its start: image pull, start, first probe.
pub const POD_START: Millis = 8_000;

/// From the eviction to the end of a well-behaved pod.
pub const POD_STOP: Millis = 4_000;

/// A node that was silent for this long is no longer Ready (`node-monitor-grace-period`, 50 s since Kubernetes 1.32).
pub const HEARTBEAT_GRACE: Millis = 50_000;

/// The kubelet of a machine that just booted reports NotReady until its network is there.
pub const NODE_READY_AFTER: Millis = 10_000;

/// Pods of a node that is not Ready are deleted after this (default toleration).
pub const NOT_READY_TOLERATION: Millis = 300_000;

/// A volume's attachment goes this long after its last pod.
pub const DETACH: Millis = 3_000;

/// A replica of a volume whose node came back is rebuilt after this.
pub const REBUILD: Millis = 6_000;

/// Copies of a volume, the storage system's default.
pub const REPLICAS: usize = 3;

/// What the cluster's API server knows.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub nodes: BTreeMap<NodeName, KubeNode>,
    pub workloads: Vec<Workload>,
    pub pods: BTreeMap<PodKey, Pod>,
    pub budgets: Vec<Budget>,
    pub volumes: BTreeMap<String, Volume>,
    /// Whether the storage system runs, with an instance manager and its budget on every node.
    pub storage: bool,
    next_uid: u64,
}

/// A node as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeNode {
    pub role: ClusterRole,
    /// What its kubelet reported last.
    pub version: Version,
    pub boot_id: String,
    pub ready: bool,
    /// When `ready` last changed.
    pub ready_changed: Millis,
    pub heartbeat: Millis,
    pub unschedulable: bool,
    /// The field manager that last changed `unschedulable`.
    pub unschedulable_by: Option<String>,
    pub annotations: BTreeMap<String, String>,
    pub resource_version: u64,
    /// Bytes that pods may ask for.
    pub allocatable: u64,
    /// The taint `node.kubernetes.io/out-of-service` is on it.
    pub out_of_service: bool,
}

/// A pod's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
}

impl From<PodKey> for String {
    fn from(key: PodKey) -> String {
        format!("{}/{}", key.namespace, key.name)
    }
}

impl TryFrom<String> for PodKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (namespace, name) =
            text.split_once('/').ok_or_else(|| format!("pod expected namespace/name, found {text:?}"))?;
        Ok(Self { namespace: namespace.into(), name: name.into() })
    }
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub uid: String,
    pub node: Option<NodeName>,
    pub labels: BTreeMap<String, String>,
    pub owner: Owner,
    pub state: PodState,
    pub memory_bytes: u64,
    /// The replicated volume that it mounts.
    pub volume: Option<String>,
    pub empty_dir: bool,
    pub critical: bool,
}

/// Who made a pod and would make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    Controller {
        kind: ControllerKind,
        name: String,
    },
    /// The storage system's own object.
    InstanceManager,
    /// A static pod's mirror: evicting it changes nothing.
    Mirror,
    /// A person; nobody makes it again.
    Nobody,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodState {
    /// No node yet.
    Pending,
    Starting {
        until: Millis,
    },
    Ready,
    /// Its node went down under it.
    Lost,
    Succeeded,
    /// Deleted; the object goes when its containers have ended.
    Terminating {
        until: Millis,
    },
}

/// A replicated block volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Nodes that hold a copy, with the time from which the copy is healthy.
    pub replicas: BTreeMap<NodeName, Millis>,
    /// The node it is attached to, and since when nobody there uses it.
    pub attached: Option<(NodeName, Option<Millis>)>,
}

impl Pod {
    /// Ready, and not on its way out.
    pub fn is_ready(&self) -> bool {
        self.state == PodState::Ready
    }

    /// Deleted, its object still there.
    pub fn is_terminating(&self) -> bool {
        matches!(self.state, PodState::Terminating { .. })
    }

    fn is_owned_by(&self, workload: &Workload) -> bool {
        matches!(&self.owner, Owner::Controller { kind, name } if *kind == workload.kind && *name == workload.name)
    }
}

impl Cluster {
    /// The pods on a node, by name.
    pub fn pods_on<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = (&'a PodKey, &'a Pod)> {
        self.pods.iter().filter(move |(_, pod)| pod.node.as_ref() == Some(node))
    }

    /// The status of a budget now.
    pub fn allowance(&self, budget: &Budget) -> Allowance {
        let matching: Vec<(&PodKey, &Pod)> =
            self.pods.iter().filter(|(key, pod)| budget.selects(&key.namespace, &pod.labels)).collect();
        let owners: BTreeSet<(ControllerKind, &str)> = matching
            .iter()
            .filter_map(|(_, pod)| match &pod.owner {
                Owner::Controller { kind, name } => Some((*kind, name.as_str())),
                Owner::InstanceManager | Owner::Mirror | Owner::Nobody => None,
            })
            .collect();
        let scale = owners
            .iter()
            .filter_map(|(kind, name)| {
                let found = self
                    .workloads
                    .iter()
                    .find(|w| w.kind == *kind && w.name == *name && w.namespace == budget.namespace)?;
                Some(found.replicas)
            })
            .sum();
        let healthy =
            matching.iter().filter(|(key, pod)| pod.is_ready() && !budget.disrupted.contains_key(key)).count();
        let counted = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        allowance(budget.limit, Matching { pods: counted(matching.len()), scale, healthy: counted(healthy) })
    }

    /// How many pods a controller wants, by the kind and name of the owner that its pods name.
    pub fn scale(&self, namespace: &str, kind: &str, name: &str) -> Option<u32> {
        let found =
            self.workloads.iter().find(|w| w.namespace == namespace && w.owner_of_pods() == (kind, name.into()))?;
        match found.kind {
            ControllerKind::Deployment | ControllerKind::StatefulSet => Some(found.replicas),
            // A DaemonSet has no scale subresource.
            ControllerKind::DaemonSet => None,
        }
    }

    /// A name nobody had before.
    pub(super) fn new_uid(&mut self) -> String {
        self.next_uid += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.next_uid)
    }

    /// Adds a pod of a person, for tests of what a drain does with it.
    pub fn add_pod(&mut self, key: PodKey, owner: Owner, node: &NodeName) {
        let uid = self.new_uid();
        let labels = BTreeMap::from([("app".to_owned(), key.name.clone())]);
        let pod = Pod {
            uid,
            node: Some(node.clone()),
            labels,
            owner,
            state: PodState::Ready,
            memory_bytes: 64 << 20,
            volume: None,
            empty_dir: false,
            critical: false,
        };
        self.pods.insert(key, pod);
    }

    /// What the controllers, the scheduler and the storage system do in one moment.
    pub(super) fn reconcile(&mut self, now: Millis) {
        self.judge_nodes(now);
        self.forget_the_dead();
        self.detach_volumes(now);
        for at in 0..self.workloads.len() {
            let workload = self.workloads[at].clone();
            match workload.kind {
                ControllerKind::Deployment => self.keep_deployment(&workload),
                ControllerKind::StatefulSet => self.keep_stateful_set(&workload),
                ControllerKind::DaemonSet => self.keep_daemon_set(&workload, now),
            }
        }
        self.schedule(now);
        if self.storage {
            self.keep_instance_managers(now);
        }
        for budget in &mut self.budgets {
            let pods = &self.pods;
            budget.disrupted.retain(|key, at| {
                now < *at + super::budget::DISRUPTED_FOR && pods.get(key).is_some_and(|pod| !pod.is_terminating())
            });
        }
    }

    /// The node lifecycle controller: silence is NotReady, and after five minutes the pods are deleted.
    fn judge_nodes(&mut self, now: Millis) {
        for (name, node) in &mut self.nodes {
            if node.ready && now > node.heartbeat + HEARTBEAT_GRACE {
                node.ready = false;
                node.ready_changed = now;
            }
            if node.ready {
                continue;
            }
            let evict = now > node.ready_changed + NOT_READY_TOLERATION && now > node.heartbeat + HEARTBEAT_GRACE;
            for pod in self.pods.values_mut().filter(|pod| pod.node.as_ref() == Some(name)) {
                match pod.state {
                    PodState::Ready => pod.state = PodState::Lost,
                    // Nobody is there to stop it: the object stays until the kubelet is back.
                    PodState::Lost if evict => pod.state = PodState::Terminating { until: Millis::MAX },
                    PodState::Pending
                    | PodState::Starting { .. }
                    | PodState::Lost
                    | PodState::Succeeded
                    | PodState::Terminating { .. } => {}
                }
            }
        }
    }

    /// The pod garbage collector and the attach-detach controller: what is on a node out of service that is not Ready
    /// goes at once, whatever its kubelet says.
    fn forget_the_dead(&mut self) {
        let dead = |node: &NodeName| self.nodes.get(node).is_some_and(|node| node.out_of_service && !node.ready);
        self.pods.retain(|_, pod| pod.owner == Owner::Mirror || !pod.node.as_ref().is_some_and(dead));
        for volume in self.volumes.values_mut() {
            volume.attached.take_if(|(node, _)| dead(node));
        }
    }

    fn keep_deployment(&mut self, workload: &Workload) {
        let alive = self
            .pods
            .iter()
            .filter(|(key, pod)| {
                key.namespace == workload.namespace && pod.is_owned_by(workload) && !pod.is_terminating()
            })
            .count();
        for _ in alive..workload.replicas as usize {
            self.next_uid += 1;
            let name = format!("{}-{:05x}", workload.name, self.next_uid.wrapping_mul(0x9e37_79b9) & 0xf_ffff);
            self.create(workload, name, None, PodState::Pending);
        }
    }

    fn keep_stateful_set(&mut self, workload: &Workload) {
        for ordinal in 0..workload.replicas {
            let name = format!("{}-{ordinal}", workload.name);
            let key = PodKey { namespace: workload.namespace.clone(), name: name.clone() };
            if !self.pods.contains_key(&key) {
                self.create(workload, name, None, PodState::Pending);
            }
        }
    }

    fn keep_daemon_set(&mut self, workload: &Workload, now: Millis) {
        let nodes: Vec<NodeName> = self.nodes.iter().filter(|(_, n)| n.ready).map(|(name, _)| name.clone()).collect();
        for node in nodes {
            let name = format!("{}-{node}", workload.name);
            let key = PodKey { namespace: workload.namespace.clone(), name: name.clone() };
            if !self.pods.contains_key(&key) {
                self.create(workload, name, Some(node), PodState::Starting { until: now + POD_START });
            }
        }
    }

    fn create(&mut self, workload: &Workload, name: String, node: Option<NodeName>, state: PodState) {
        let uid = self.new_uid();
        let volume = workload.volume.then(|| format!("pvc-{name}"));
        let pod = Pod {
            uid,
            node,
            labels: workload.labels.clone(),
            owner: Owner::Controller { kind: workload.kind, name: workload.name.clone() },
            state,
            memory_bytes: workload.memory_bytes,
            volume,
            empty_dir: workload.empty_dir,
            critical: workload.critical,
        };
        self.pods.insert(PodKey { namespace: workload.namespace.clone(), name }, pod);
    }

    /// Attaches a volume; a new one gets its replicas on the schedulable nodes, the one that uses it first.
    pub(super) fn attach(&mut self, volume: String, node: &NodeName, now: Millis) {
        let mut homes: Vec<NodeName> =
            self.nodes.iter().filter(|(_, n)| n.ready && !n.unschedulable).map(|(name, _)| name.clone()).collect();
        homes.sort_by_key(|home| (home != node, home.clone()));
        homes.truncate(REPLICAS);
        let volume = self.volumes.entry(volume).or_insert_with(|| Volume {
            replicas: homes.into_iter().map(|home| (home, now)).collect(),
            attached: None,
        });
        volume.attached = Some((node.clone(), None));
    }

    fn detach_volumes(&mut self, now: Millis) {
        for (name, volume) in &mut self.volumes {
            let Some((node, unused_since)) = &mut volume.attached else { continue };
            let used =
                self.pods.values().any(|pod| pod.volume.as_ref() == Some(name) && pod.node.as_ref() == Some(&*node));
            if used {
                *unused_since = None;
            } else if now >= *unused_since.get_or_insert(now) + DETACH {
                volume.attached = None;
            }
        }
    }

    /// The storage system: an instance manager and a budget over it on every node. The budget goes when the node is
    /// unschedulable, runs no engine, and every replica on it has a healthy twin behind a budget elsewhere.
    fn keep_instance_managers(&mut self, now: Millis) {
        self.replenish_replicas(now);
        let nodes: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for node in nodes {
            let Some(kube) = self.nodes.get(&node).cloned() else { continue };
            let name = format!("instance-manager-{node}");
            let key = PodKey { namespace: STORAGE_NAMESPACE.into(), name: name.clone() };
            let runs = self.pods.contains_key(&key);
            if !runs {
                for volume in self.volumes.values_mut() {
                    // Without its instance manager a copy falls behind.
                    if let Some(healthy_from) = volume.replicas.get_mut(&node) {
                        *healthy_from = Millis::MAX;
                    }
                }
            }
            if !runs && kube.ready && !kube.unschedulable {
                self.start_instance_manager(&node, key, now);
            }
            let may_go = kube.unschedulable && self.engine_free(&node) && self.replicas_have_twins(&node, now);
            let at = self.budgets.iter().position(|b| b.namespace == STORAGE_NAMESPACE && b.name == name);
            match (at, may_go) {
                (Some(at), true) => {
                    self.budgets.remove(at);
                }
                (None, false) if kube.ready || kube.unschedulable => {
                    let limit = BudgetLimit::MinAvailable(1);
                    self.budgets.push(Budget::over(STORAGE_NAMESPACE, &name, limit));
                }
                (Some(_), false) | (None, _) => {}
            }
        }
    }

    /// A volume that was made while there were few nodes gets its missing copies as nodes join.
    fn replenish_replicas(&mut self, now: Millis) {
        for volume in self.volumes.values_mut().filter(|volume| volume.replicas.len() < REPLICAS) {
            let home = self
                .nodes
                .iter()
                .find(|(name, node)| node.ready && !node.unschedulable && !volume.replicas.contains_key(*name));
            if let Some((name, _)) = home {
                volume.replicas.insert(name.clone(), now + POD_START + REBUILD);
            }
        }
    }

    fn start_instance_manager(&mut self, node: &NodeName, key: PodKey, now: Millis) {
        self.add_pod(key.clone(), Owner::InstanceManager, node);
        if let Some(pod) = self.pods.get_mut(&key) {
            pod.state = PodState::Starting { until: now + POD_START };
        }
        for volume in self.volumes.values_mut() {
            if let Some(healthy_from) = volume.replicas.get_mut(node) {
                *healthy_from = now + POD_START + REBUILD;
            }
        }
    }

    fn engine_free(&self, node: &NodeName) -> bool {
        !self.volumes.values().any(|v| v.attached.as_ref().is_some_and(|(at, _)| at == node))
    }

    fn replicas_have_twins(&self, node: &NodeName, now: Millis) -> bool {
        self.volumes.values().filter(|v| v.replicas.contains_key(node)).all(|volume| {
            volume.replicas.iter().any(|(twin, healthy_from)| {
                let home = self.nodes.get(twin);
                twin != node && now >= *healthy_from && home.is_some_and(|n| n.ready && !n.unschedulable)
            })
        })
    }
}
