//! Disruption budgets, and how strong controllers are.

use serde::{Deserialize, Serialize};

use super::{Pod, Selector};

/// A PodDisruptionBudget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub namespace: String,
    pub name: String,
    /// Which of its states this is; empty where nobody says, of one that was asked for just now.
    pub resource_version: String,
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

impl Budget {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it counts the pod.
    pub fn counts(&self, pod: &Pod) -> bool {
        self.namespace == pod.key.namespace && self.selector.takes(&pod.labels)
    }
}

/// What a budget asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetLimit {
    MinAvailable(u32),
    MinAvailablePercent(u32),
    MaxUnavailable(u32),
    MaxUnavailablePercent(u32),
}

impl BudgetLimit {
    /// How many of the expected pods must be healthy. Percentages round up, whichever of the two they are of.
    pub fn desired(self, expected: u32) -> u32 {
        let part =
            |percent: u32| u32::try_from((u64::from(percent) * u64::from(expected)).div_ceil(100)).unwrap_or(u32::MAX);
        match self {
            BudgetLimit::MinAvailable(pods) => pods,
            BudgetLimit::MinAvailablePercent(percent) => part(percent),
            BudgetLimit::MaxUnavailable(pods) => expected.saturating_sub(pods),
            BudgetLimit::MaxUnavailablePercent(percent) => expected.saturating_sub(part(percent)),
        }
    }

    /// Whether it counts the pods that are there, whoever made them, and not what their controllers ask for.
    pub fn counts_pods(self) -> bool {
        match self {
            BudgetLimit::MinAvailable(_) => true,
            BudgetLimit::MinAvailablePercent(_)
            | BudgetLimit::MaxUnavailable(_)
            | BudgetLimit::MaxUnavailablePercent(_) => false,
        }
    }
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

/// What stands at the top of a pod, in its namespace: the controller of its controller where there is one, such as a
/// ReplicaSet's Deployment or a Job's CronJob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    pub kind: String,
    pub name: String,
    /// None where it has no scale, or one that nobody here can read.
    pub scale: Option<Scale>,
}

/// What a controller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Pods that the pod's own controller asks for.
    pub replicas: u32,
    /// Pods that the one at the top asks for: of a Deployment that rolls, several ReplicaSets have more together.
    pub whole: u32,
    /// How many may be away at a time by the controller's own word, at least one: a Deployment's `maxUnavailable`.
    pub at_once: u32,
    /// What a HorizontalPodAutoscaler may raise it to.
    pub max_replicas: Option<u32>,
}

impl Scale {
    /// Of one that has nobody above it, without an autoscaler.
    pub fn of(replicas: u32, at_once: u32) -> Self {
        Self { replicas, whole: replicas, at_once, max_replicas: None }
    }
}
