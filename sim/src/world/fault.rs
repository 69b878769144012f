//! What goes wrong on purpose.

use hostler_plan::id::NodeName;
use serde::{Deserialize, Serialize};

use super::{Millis, Random};

/// One thing that goes wrong. Times are milliseconds of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// The next `times` upgrades of K3s on the node restart the version that ran before: the new binary is in its
    /// place, but what it should have unpacked is not.
    OldVersion { node: NodeName, times: u32 },
    /// The node's next reboot never comes back.
    NoBoot { node: NodeName },
    /// The next new API server of a kubeadm upgrade on the node does not start, and kubeadm puts the old one back.
    BrokenApiServer { node: NodeName },
    /// The node's supply is too weak.
    UnderVoltage { node: NodeName, from: Millis, until: Millis },
    /// No API server answers.
    ApiSilent { from: Millis, until: Millis },
    /// The budget `namespace/name` allows no disruption.
    BudgetHolds { budget: String, from: Millis, until: Millis },
}

impl Fault {
    /// Which node's upgrade comes back on the old version: any but the first two in name order of those given, so
    /// that a canary has succeeded before it happens.
    pub fn old_version_by_seed(seed: u64, nodes: &[NodeName]) -> Option<Fault> {
        let later = nodes.get(2..).filter(|rest| !rest.is_empty()).or(Some(nodes)).filter(|all| !all.is_empty())?;
        let chosen = Random::new(seed).below(later.len() as u64);
        let node = later.get(usize::try_from(chosen).ok()?)?.clone();
        Some(Fault::OldVersion { node, times: 1 })
    }
}

/// The faults of one world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one; it lasts until its time or its count is over.
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Whether this upgrade restarts the old version; uses the fault up.
    pub(super) fn take_old_version(&mut self, on: &NodeName) -> bool {
        self.0.iter_mut().any(|fault| match fault {
            Fault::OldVersion { node, times } if node == on && *times > 0 => {
                *times -= 1;
                true
            }
            Fault::OldVersion { .. }
            | Fault::NoBoot { .. }
            | Fault::BrokenApiServer { .. }
            | Fault::UnderVoltage { .. }
            | Fault::ApiSilent { .. }
            | Fault::BudgetHolds { .. } => false,
        })
    }

    /// Whether this reboot never ends; uses the fault up.
    pub(super) fn take_no_boot(&mut self, on: &NodeName) -> bool {
        let found = self.0.iter().position(|fault| matches!(fault, Fault::NoBoot { node } if node == on));
        found.map(|at| self.0.swap_remove(at)).is_some()
    }

    /// Whether the next new API server on the node does not start.
    pub(super) fn has_broken_api_server(&self, on: &NodeName) -> bool {
        self.0.iter().any(|fault| matches!(fault, Fault::BrokenApiServer { node } if node == on))
    }

    /// Uses a fault up.
    pub(super) fn take(&mut self, fault: &Fault) {
        if let Some(at) = self.0.iter().position(|found| found == fault) {
            self.0.swap_remove(at);
        }
    }

    /// Whether the node's supply is too weak now.
    pub fn under_voltage(&self, on: &NodeName, now: Millis) -> bool {
        self.0.iter().any(|fault| {
            matches!(fault, Fault::UnderVoltage { node, from, until } if node == on && (*from..*until).contains(&now))
        })
    }

    /// Whether the node's supply was too weak at any time since `since`.
    pub fn under_voltage_since(&self, on: &NodeName, since: Millis, now: Millis) -> bool {
        self.0.iter().any(|fault| {
            matches!(fault, Fault::UnderVoltage { node, from, until }
                if node == on && *from <= now && *until > since && from < until)
        })
    }

    /// Whether no API server answers now.
    pub fn api_silent(&self, now: Millis) -> bool {
        self.0.iter().any(|fault| matches!(fault, Fault::ApiSilent { from, until } if (*from..*until).contains(&now)))
    }

    /// Lets a budget that is held go at `latest` at the latest.
    pub(super) fn release_budget(&mut self, name: &str, latest: Millis) {
        for fault in &mut self.0 {
            if let Fault::BudgetHolds { budget, until, .. } = fault
                && budget == name
            {
                *until = latest.min(*until);
            }
        }
    }

    /// Whether this budget allows nothing now.
    pub fn budget_holds(&self, name: &str, now: Millis) -> bool {
        self.0.iter().any(|fault| {
            matches!(fault, Fault::BudgetHolds { budget, from, until }
                if budget == name && (*from..*until).contains(&now))
        })
    }
}
