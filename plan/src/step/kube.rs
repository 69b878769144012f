//! Steps through the Kubernetes API, the same for every distribution: cordon, drain, uncordon, Ready.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{id::NodeName, version::Version};

/// Makes the subject unschedulable and notes owner, reason and the state before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cordon {
    /// Why, for people who look at the node.
    pub reason: String,
}

impl Operation for Cordon {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn leaves_unschedulable(&self) -> Option<bool> {
        Some(true)
    }
    fn choice(&self) -> String {
        String::new()
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("cordons {subject}")
    }
}

/// Evicts the subject's pods through the Eviction API, in a careful order, until none is left or the time is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// For all of it.
    pub timeout_seconds: u64,
    /// Whether pods may go whose `emptyDir` volumes go with them.
    pub delete_empty_dir_data: bool,
    /// Whether pods may go that nothing starts again.
    pub force_unmanaged: bool,
}

impl Operation for Drain {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn choice(&self) -> String {
        format!("{}s", self.timeout_seconds)
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("drains {subject}")
    }
}

/// Makes the subject schedulable again, if the cordon is Hostler's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uncordon {}

impl Operation for Uncordon {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn leaves_unschedulable(&self) -> Option<bool> {
        Some(false)
    }
    fn choice(&self) -> String {
        String::new()
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("uncordons {subject}")
    }
}

/// Waits until the subject has been Ready without a break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitReady {
    /// What it must run meanwhile; any version where none is given.
    pub version: Option<Version>,
    /// How long it must be Ready.
    pub for_seconds: u64,
    /// For all of it.
    pub timeout_seconds: u64,
}

impl Operation for AwaitReady {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn awaits_version(&self) -> Option<Version> {
        self.version
    }
    fn choice(&self) -> String {
        let version = self.version.map(|version| format!("{version} ")).unwrap_or_default();
        format!("{version}for {}s", self.for_seconds)
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("waits until {subject} has been Ready for {} s", self.for_seconds)
    }
}
