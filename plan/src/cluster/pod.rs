//! Pods and who owns them.

use std::{collections::BTreeMap, time::Duration};

use super::{Placement, PodVolume, Shared};
use crate::timestamp::Timestamp;

/// One pod, and no other that ever had its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// `namespace/name`, as people write it.
impl std::fmt::Display for PodKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod, as far as a drain cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub key: PodKey,
    /// The node it runs on; none while it waits for one.
    pub node: Option<String>,
    pub labels: Shared<BTreeMap<String, String>>,
    /// The owner that is its controller.
    pub owner: Option<Shared<Owner>>,
    /// Annotation `kubernetes.io/config.mirror`: the kubelet's own, evicting it changes nothing.
    pub mirror: bool,
    /// Where it holds data in an emptyDir.
    pub empty_dirs: EmptyDirMedia,
    pub phase: Phase,
    pub ready: bool,
    /// Since when it is not Ready, where that can be seen.
    pub unready_since: Option<Timestamp>,
    /// Why it will hardly be Ready before somebody repairs it, such as `CrashLoopBackOff`.
    pub broken: Option<String>,
    /// How long it took from its start until it was Ready, where that can still be seen.
    pub started_in: Option<Duration>,
    /// Why the scheduler finds no node for it: the message of its condition PodScheduled.
    pub unschedulable: Option<String>,
    pub deletion: Option<Deletion>,
    pub finalizers: Vec<String>,
    /// `spec.priorityClassName`.
    pub priority_class: Option<String>,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace: Duration,
    /// Where a replacement may run.
    pub placement: Shared<Placement>,
    /// Its claims.
    pub volumes: Vec<PodVolume>,
}

impl Pod {
    /// Whether nothing of it runs any more, and nothing will.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Whether it runs or will, and nobody deletes it.
    pub fn runs(&self) -> bool {
        self.deletion.is_none() && !self.is_finished()
    }

    /// Its namespace and its controller.
    pub fn owner_id(&self) -> Option<(String, Owner)> {
        Some((self.key.namespace.clone(), self.owner.as_deref()?.clone()))
    }

    /// The volumes that what takes its place needs too.
    pub fn lasting_volumes(&self) -> impl Iterator<Item = &PodVolume> {
        self.volumes.iter().filter(|volume| !volume.ephemeral)
    }
}

/// Of which medium a pod's emptyDir volumes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EmptyDirMedia {
    pub disk: bool,
    /// `medium: Memory`: gone with every reboot too.
    pub memory: bool,
}

/// The controller of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Such as `apps/v1`; another group's DaemonSet is none.
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// Somebody's open wish that a pod goes, which the pod's own responders see to (EvictionRequest of
/// `lifecycle.k8s.io/v1alpha1`, Kubernetes 1.37, KEP-4563).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvictionRequest {
    /// Its own name, in the pod's namespace.
    pub name: String,
    /// `spec.requester`, such as `acme.io/autoscaler`.
    pub requester: String,
    /// `spec.target.pod`.
    pub pod: PodKey,
}

impl EvictionRequest {
    /// What the pod waits for, and what to do where that lasts.
    pub fn sentence(&self) -> String {
        let Self { name, requester, pod } = self;
        format!(
            "{requester} asked for it to go before (EvictionRequest {}/{name}), and its responders see to that. Look \
             at its Eviction if that lasts, or withdraw that request",
            pod.namespace
        )
    }
}

/// A pod that is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionTimestamp`: when its grace ends.
    pub ends: Timestamp,
    pub grace: Duration,
}
