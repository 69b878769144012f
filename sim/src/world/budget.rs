//! Disruption budgets as the disruption controller counts them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Millis, PodKey};

/// A number of pods or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    Pods(u32),
    /// 0 to 100; rounded up to whole pods, for both fields.
    Percent(u32),
}

impl Amount {
    fn of(self, expected: u32) -> u32 {
        match self {
            Amount::Pods(pods) => pods,
            Amount::Percent(percent) => (expected * percent).div_ceil(100),
        }
    }
}

/// Which of its two fields a budget sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    MinAvailable(Amount),
    MaxUnavailable(Amount),
}

/// A PodDisruptionBudget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub namespace: String,
    pub name: String,
    /// Labels that a pod must carry, all of them; empty selects every pod of the namespace.
    pub selector: BTreeMap<String, String>,
    pub limit: Limit,
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

impl Limit {
    /// The arithmetic of the disruption controller: percentages and `maxUnavailable` count what the controllers want,
    /// a number in `minAvailable` counts pods, and with nothing expected nothing is allowed.
    pub fn allowance(self, matching: Matching) -> Allowance {
        let expected = match self {
            Limit::MinAvailable(Amount::Pods(_)) => matching.pods,
            Limit::MinAvailable(Amount::Percent(_)) | Limit::MaxUnavailable(_) => matching.scale,
        };
        let desired_healthy = match self {
            Limit::MinAvailable(amount) => amount.of(expected),
            Limit::MaxUnavailable(amount) => expected.saturating_sub(amount.of(expected)),
        };
        let allowed = if expected == 0 { 0 } else { matching.healthy.saturating_sub(desired_healthy) };
        Allowance { expected, desired_healthy, current_healthy: matching.healthy, allowed }
    }
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
