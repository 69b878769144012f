//! Steps through the Kubernetes API, the same for every distribution: cordon, drain, uncordon, Ready.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    form::{self, Reason},
    id::NodeName,
    version::Version,
};

/// Makes the subject unschedulable and notes owner, reason and the state before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cordon {
    /// Why, for people who look at the node.
    pub reason: Reason,
}

impl Operation for Cordon {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn leaves_unschedulable(&self) -> Option<bool> {
        Some(true)
    }
    fn said(&self) -> String {
        let Self { reason } = self;
        format!("because: {reason}")
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
    #[serde(deserialize_with = "form::timeout_seconds")]
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
    fn said(&self) -> String {
        let Self { timeout_seconds, delete_empty_dir_data, force_unmanaged } = self;
        let data = if *delete_empty_dir_data { "DELETES emptyDir data" } else { "keeps emptyDir data" };
        let pods = if *force_unmanaged {
            "ENDS pods that nothing starts again"
        } else {
            "keeps pods that nothing starts again"
        };
        format!("within {timeout_seconds} s, {data}, {pods}")
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
    fn said(&self) -> String {
        let Self {} = self;
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
    #[serde(deserialize_with = "form::wait_seconds")]
    pub for_seconds: u64,
    /// For all of it.
    #[serde(deserialize_with = "form::ready_timeout_seconds")]
    pub timeout_seconds: u64,
}

impl Operation for AwaitReady {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn awaits_version(&self) -> Option<Version> {
        self.version
    }
    fn said(&self) -> String {
        let Self { version, for_seconds, timeout_seconds } = self;
        let version = version.map_or_else(|| "any version".to_owned(), |version| version.to_string());
        format!("at {version} for {for_seconds} s, within {timeout_seconds} s")
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("waits until {subject} has been Ready for {} s", self.for_seconds)
    }
}
