//! What becomes of each pod of the node.

use crate::{
    cluster::{Phase, Pod},
    form::PodName,
    step::{Drain, EmptyDirs},
};

/// What the plan allows.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Whose data may be lost.
    pub delete_empty_dir_data: EmptyDirs,
    /// Pods without a controller may be lost.
    pub force_unmanaged: bool,
    /// Pods that may go whatever is lost with them.
    pub evict_anyway: &'a [PodName],
}

impl<'a> From<&'a Drain> for Options<'a> {
    fn from(step: &'a Drain) -> Self {
        Options {
            delete_empty_dir_data: step.delete_empty_dir_data,
            force_unmanaged: step.force_unmanaged,
            evict_anyway: &step.evict_anyway,
        }
    }
}

/// What a drain does with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It belongs to the node: a DaemonSet's, or the kubelet's own.
    Stays,
    /// It is going already; wait until it is gone.
    Going,
    /// Nothing of it runs any more and only a finalizer keeps the object; it hinders nobody.
    Finalizer(String),
    /// It is evicted.
    Evict(Turn),
    /// The plan does not allow to lose what it holds. Says what the plan must allow.
    NeedsConsent(Consent),
}

/// What somebody has to agree to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    EmptyDir { memory: bool },
    Unmanaged,
}

impl Consent {
    /// What would be lost, and how to allow it.
    pub fn sentence(self, pod: &Pod) -> String {
        let (loss, flag, key) = match self {
            Consent::EmptyDir { memory: true } => (
                "it keeps data in an emptyDir in memory, which the plan does not allow to lose",
                "--delete-emptydir-data=memory",
                "delete_empty_dir_data",
            ),
            Consent::EmptyDir { memory: false } => (
                "it keeps data in an emptyDir on disk, which the plan does not allow to lose",
                "--delete-emptydir-data=disk",
                "delete_empty_dir_data",
            ),
            Consent::Unmanaged => (
                "it has no controller and would not come back, which the plan does not allow",
                "--force-unmanaged",
                "force_unmanaged",
            ),
        };
        format!("{loss}. Allow it with --evict-anyway {}, {flag}, or {key} in the fleet file", pod.key)
    }
}

/// When a pod's turn comes: those that others need go last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    Ordinary,
    SystemCritical,
    /// The storage system's own: its budget always says no, and goes by itself once no volume is used here and every
    /// copy has a healthy twin on another schedulable node.
    Storage,
}

impl Fate {
    /// Whether the node is not drained while this pod is there.
    pub fn is_left(&self) -> bool {
        match self {
            Fate::Stays | Fate::Finalizer(_) => false,
            Fate::Going | Fate::Evict(_) | Fate::NeedsConsent(_) => true,
        }
    }
}

/// The order of the questions is that of kubectl drain's filters.
pub fn evaluate(pod: &Pod, options: &Options<'_>) -> Fate {
    let finished = pod.is_finished();
    let daemon = pod.owner.as_ref().is_some_and(|o| o.kind == "DaemonSet" && o.api_version == "apps/v1");
    if pod.mirror || (daemon && !finished) {
        return Fate::Stays;
    }
    if pod.deletion.is_some() {
        return match pod.finalizers.first() {
            Some(finalizer) if finished => Fate::Finalizer(finalizer.clone()),
            Some(_) | None => Fate::Going,
        };
    }
    if finished {
        return Fate::Evict(turn(pod));
    }
    let key = pod.key.to_string();
    if options.evict_anyway.iter().any(|name| name.as_str() == key) {
        return Fate::Evict(turn(pod));
    }
    let media = [(pod.empty_dirs.disk, false), (pod.empty_dirs.memory, true)];
    let lost = media.into_iter().find(|(has, memory)| *has && !options.delete_empty_dir_data.allows(*memory));
    if let Some((_, memory)) = lost {
        return Fate::NeedsConsent(Consent::EmptyDir { memory });
    }
    if pod.owner.is_none() && !options.force_unmanaged {
        return Fate::NeedsConsent(Consent::Unmanaged);
    }
    Fate::Evict(turn(pod))
}

fn turn(pod: &Pod) -> Turn {
    // Longhorn (controller/instance_manager_controller.go): minAvailable 1 over each of them, slow and not never.
    if pod.owner.as_ref().is_some_and(|o| o.kind == "InstanceManager" && o.api_version.starts_with("longhorn.io/")) {
        return Turn::Storage;
    }
    match pod.priority_class.as_deref() {
        Some("system-cluster-critical" | "system-node-critical") => Turn::SystemCritical,
        Some(_) | None => Turn::Ordinary,
    }
}

/// Whether it is being deleted and something of it still runs here.
pub fn is_leaving(pod: &Pod) -> bool {
    pod.deletion.is_some() && !pod.mirror && (!pod.is_finished() || pod.finalizers.is_empty())
}

/// Whether a budget has a say: it is not asked about pods that have not started, have finished or are going.
pub fn budget_counts(pod: &Pod) -> bool {
    pod.deletion.is_none() && matches!(pod.phase, Phase::Running | Phase::Unknown)
}
