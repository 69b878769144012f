//! Disruption budgets as the disruption controller counts them.

use std::collections::BTreeMap;

use hostler_plan::cluster::BudgetLimit;
use serde::{Deserialize, Serialize};

use super::{Millis, PodKey};

/// A PodDisruptionBudget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub namespace: String,
    pub name: String,
    /// Labels that a pod must carry, all of them; empty selects every pod of the namespace.
    pub selector: BTreeMap<String, String>,
    pub limit: BudgetLimit,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow`; the default is IfHealthyBudget.
    pub always_allow_unhealthy: bool,
    /// Pods that were evicted lately and still count as gone, with the time of the eviction.
    pub disrupted: BTreeMap<PodKey, Millis>,
}

/// An evicted pod that is still there counts again after two minutes (`DeletionTimeout` of the disruption controller).
pub const DISRUPTED_FOR: Millis = 120_000;

/// What a budget must know of the pods that it selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matching {
    /// Pods that match, whatever their state.
    pub pods: u32,
    /// The sum of the scales of their distinct controllers.
    pub scale: u32,
    /// Ready, not terminating and not lately disrupted.
    pub healthy: u32,
}

/// A budget's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    pub expected: u32,
    pub desired_healthy: u32,
    pub current_healthy: u32,
    /// How many more pods may be evicted now.
    pub allowed: u32,
}

/// The status as the disruption controller works it out: percentages and `maxUnavailable` count what the controllers
/// want, a number in `minAvailable` counts pods, and with nothing expected nothing is allowed.
pub fn allowance(limit: BudgetLimit, matching: Matching) -> Allowance {
    let expected = if limit.counts_pods() { matching.pods } else { matching.scale };
    let desired_healthy = limit.desired(expected);
    let allowed = if expected == 0 { 0 } else { matching.healthy.saturating_sub(desired_healthy) };
    Allowance { expected, desired_healthy, current_healthy: matching.healthy, allowed }
}

impl Budget {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether a pod with these labels is under this budget.
    pub fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespace == namespace && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}
