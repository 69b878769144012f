//! Workloads that a simulated cluster runs: enough of each kind to make a drain think.

use std::collections::BTreeMap;

use hostler_plan::cluster::BudgetLimit;
use serde::{Deserialize, Serialize};

use super::budget::Budget;

/// What keeps pods alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControllerKind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

/// A controller with its pod template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    pub kind: ControllerKind,
    pub namespace: String,
    pub name: String,
    /// Pods wanted; ignored for a DaemonSet, which wants one per node.
    pub replicas: u32,
    pub labels: BTreeMap<String, String>,
    /// What each pod asks for.
    pub memory_bytes: u64,
    /// Each pod mounts a replicated volume of its own, so that its node runs a storage engine.
    pub volume: bool,
    pub empty_dir: bool,
    /// `system-cluster-critical` or `system-node-critical`.
    pub critical: bool,
}

const MIB: u64 = 1 << 20;

/// The namespace of the storage system's own pods.
pub const STORAGE_NAMESPACE: &str = "longhorn-system";

impl Workload {
    /// A controller of pods labelled `app=name` that ask for 128 MiB.
    pub fn new(kind: ControllerKind, namespace: &str, name: &str, replicas: u32) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            replicas,
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            memory_bytes: 128 * MIB,
            volume: false,
            empty_dir: false,
            critical: false,
        }
    }

    /// Kind and name of the object that its pods name as their controller: a Deployment's pods belong to its
    /// ReplicaSet.
    pub fn owner_of_pods(&self) -> (&'static str, String) {
        owner_of_pods(self.kind, &self.name)
    }

    fn critical(mut self) -> Self {
        self.critical = true;
        self
    }

    fn with_volume(mut self) -> Self {
        self.volume = true;
        self.memory_bytes = 512 * MIB;
        self
    }

    fn with_empty_dir(mut self) -> Self {
        self.empty_dir = true;
        self
    }
}

/// Kind and name of the object that the pods of a controller name.
pub fn owner_of_pods(kind: ControllerKind, name: &str) -> (&'static str, String) {
    match kind {
        ControllerKind::Deployment => ("ReplicaSet", format!("{name}-6f7d8")),
        ControllerKind::StatefulSet => ("StatefulSet", name.to_owned()),
        ControllerKind::DaemonSet => ("DaemonSet", name.to_owned()),
    }
}

impl Budget {
    /// A budget over the pods of one `app`.
    pub fn over(namespace: &str, app: &str, limit: BudgetLimit) -> Self {
        Self {
            namespace: namespace.into(),
            name: app.into(),
            selector: BTreeMap::from([("app".to_owned(), app.to_owned())]),
            limit,
            always_allow_unhealthy: false,
            disrupted: BTreeMap::new(),
        }
    }
}

/// What a small shop runs at home: a web front, an API, a cart with two replicas, a database on a replicated volume,
/// and what K3s brings along.
pub fn small_shop(storage: bool) -> (Vec<Workload>, Vec<Budget>) {
    use ControllerKind::{DaemonSet, Deployment, StatefulSet};
    let mut workloads = vec![
        Workload::new(Deployment, "kube-system", "coredns", 1).critical(),
        Workload::new(Deployment, "kube-system", "metrics-server", 1).with_empty_dir(),
        Workload::new(Deployment, "kube-system", "traefik", 2),
        Workload::new(DaemonSet, "kube-system", "svclb-traefik", 0),
        Workload::new(Deployment, "shop", "web", 4),
        Workload::new(Deployment, "shop", "api", 3).with_empty_dir(),
        Workload::new(StatefulSet, "shop", "cart", 2),
    ];
    let db = Workload::new(StatefulSet, "shop", "db", 1);
    workloads.push(if storage { db.with_volume() } else { db });
    if storage {
        workloads.push(Workload::new(DaemonSet, STORAGE_NAMESPACE, "longhorn-manager", 0).critical());
        workloads.push(Workload::new(Deployment, STORAGE_NAMESPACE, "longhorn-ui", 1));
    }
    let budgets = vec![
        Budget::over("shop", "web", BudgetLimit::MaxUnavailable(1)),
        Budget::over("shop", "api", BudgetLimit::MinAvailablePercent(60)),
        Budget::over("shop", "cart", BudgetLimit::MinAvailable(1)),
        Budget::over("kube-system", "traefik", BudgetLimit::MinAvailable(1)),
    ];
    (workloads, budgets)
}
