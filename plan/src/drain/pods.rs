//! What becomes of each pod of the node.

use super::placement::comes_back;
use crate::{
    cluster::{Controller, Owner, Phase, Pod},
    document::{Stays, Turn},
    form::{ClusterName, PodName},
    step::{Consent, Drain, EmptyDirs, Loss, TopOwner, Whose},
    timestamp::Timestamp,
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
    /// What else may be lost, and of whose pods.
    pub consents: &'a [Consent],
}

impl<'a> From<&'a Drain> for Options<'a> {
    fn from(step: &'a Drain) -> Self {
        Options {
            delete_empty_dir_data: step.delete_empty_dir_data,
            force_unmanaged: step.force_unmanaged,
            evict_anyway: &step.evict_anyway,
            consents: &step.consents,
        }
    }
}

impl Options<'_> {
    /// Whether this may be lost with the pod of that `namespace/name`, about whom a consent would be `of`.
    pub fn allow(&self, pod: &str, of: Option<&Whose>, loss: Loss) -> bool {
        self.allow_of_all(loss)
            || self.evict_anyway.iter().any(|name| name.as_str() == pod)
            || self.consents.iter().any(|consent| consent.loss == loss && Some(&consent.of) == of)
    }

    /// Whether this may be lost whoever loses it.
    pub(super) fn allow_of_all(&self, loss: Loss) -> bool {
        match loss {
            Loss::EmptyDirDisk => self.delete_empty_dir_data.allows(false),
            Loss::EmptyDirMemory => self.delete_empty_dir_data.allows(true),
            Loss::Unmanaged => self.force_unmanaged,
        }
    }
}

/// What a drain does with a pod, whatever a plan allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Class {
    /// It belongs to the node, or nothing of it runs any more and only a finalizer keeps the object: it hinders nobody.
    Stays(Stays),
    /// It is going already, and its grace ends then; wait until it is gone.
    Going { until: Timestamp },
    /// It has to go.
    Leaves,
}

/// What a drain does with a pod under a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Stays(Stays),
    Going,
    /// It is evicted.
    Evict(Turn),
    /// The plan does not allow to lose what goes with it.
    NeedsConsent(Loss),
}

impl Fate {
    /// Whether the node is not drained while this pod is there.
    pub fn is_left(&self) -> bool {
        match self {
            Fate::Stays(_) => false,
            Fate::Going | Fate::Evict(_) | Fate::NeedsConsent(_) => true,
        }
    }
}

/// The order of the questions is that of kubectl drain's filters.
pub(super) fn class(pod: &Pod) -> Class {
    let finished = pod.is_finished();
    let daemon = |owner: &Owner| (owner.kind == "DaemonSet" && owner.api_version == "apps/v1") || comes_back(pod);
    if pod.mirror {
        return Class::Stays(Stays::Mirror);
    }
    if !finished && pod.owner.as_deref().is_some_and(daemon) {
        return Class::Stays(Stays::DaemonSet);
    }
    match (pod.deletion, pod.finalizers.first()) {
        (Some(_), Some(finalizer)) if finished => Class::Stays(Stays::Finalizer(ClusterName::of(finalizer))),
        (Some(deletion), Some(_) | None) => Class::Going { until: deletion.ends },
        (None, _) => Class::Leaves,
    }
}

/// What is lost for ever when the pod goes.
pub(super) fn losses(pod: &Pod) -> Vec<Loss> {
    if pod.is_finished() {
        return Vec::new();
    }
    let lost = [
        (pod.empty_dirs.disk, Loss::EmptyDirDisk),
        (pod.empty_dirs.memory, Loss::EmptyDirMemory),
        (pod.owner.is_none(), Loss::Unmanaged),
    ];
    lost.into_iter().filter_map(|(is_lost, loss)| is_lost.then_some(loss)).collect()
}

/// The owner at the top of the pod: what stands above its controller, where that is known, or its controller.
pub(super) fn top_owner(pod: &Pod, above: Option<&Controller>) -> Option<TopOwner> {
    let owner = pod.owner.as_ref()?;
    let (kind, name) = above.map_or((&owner.kind, &owner.name), |above| (&above.kind, &above.name));
    Some(TopOwner { kind: ClusterName::of(kind), name: ClusterName::of(name) })
}

/// What a drain under this plan does with the pod. `above` is what stands above its controller: only a consent to the
/// loss of its owner's data needs it.
pub fn evaluate(pod: &Pod, above: Option<&Controller>, options: &Options<'_>) -> Fate {
    match class(pod) {
        Class::Stays(why) => Fate::Stays(why),
        Class::Going { .. } => Fate::Going,
        Class::Leaves => {
            let name = pod.key.to_string();
            let ids = name.parse().ok().zip(pod.key.uid.parse().ok());
            let of = ids.map(|(name, uid)| Whose::of(&name, &uid, top_owner(pod, above).as_ref()));
            let asks = losses(pod).into_iter().find(|loss| !options.allow(&name, of.as_ref(), *loss));
            asks.map_or_else(|| Fate::Evict(turn(pod)), Fate::NeedsConsent)
        }
    }
}

/// What would be lost with the pod of that `namespace/name` under this plan, and how to allow it.
pub fn needs_consent(pod: &str, loss: Loss, options: &Options<'_>) -> String {
    let (lost, not_allowed) = match loss {
        Loss::EmptyDirMemory => ("it keeps data in an emptyDir in memory", "which the plan does not allow to lose"),
        Loss::EmptyDirDisk => ("it keeps data in an emptyDir on disk", "which the plan does not allow to lose"),
        Loss::Unmanaged => ("it has no controller and would not come back", "which the plan does not allow"),
    };
    let allow = format!("--evict-anyway {pod}, {}, or {} in the fleet file", loss.flag(), loss.key());
    match options.consents {
        [] => format!("{lost}, {not_allowed}. Allow it with {allow}"),
        // Whoever signed was asked about those that were there then.
        _ => format!("{lost}, which the plan allows of others and not of it. Make the plan anew to be asked: {allow}"),
    }
}

/// A system that lets a pod of its own go once it has done its part; until then the pod's budget says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// Longhorn (controller/instance_manager_controller.go): minAvailable 1 over each of its engines.
    Longhorn,
    /// Rook (operator/ceph/disruption): once one OSD of a node is gone, its budgets let the others of that node follow,
    /// and hold those of all other nodes until Ceph has mended itself.
    Rook,
    /// KubeVirt (virt-api's webhook of evictions): the first request is denied and starts a live migration.
    KubeVirt,
}

impl Keeper {
    /// Whose pod it is, where it is one.
    pub fn of(pod: &Pod) -> Option<Self> {
        let owned = |kind: &str, group: &str| {
            pod.owner.as_ref().is_some_and(|o| o.kind == kind && o.api_version.split('/').next() == Some(group))
        };
        match () {
            () if owned("InstanceManager", "longhorn.io") => Some(Keeper::Longhorn),
            () if owned("VirtualMachineInstance", "kubevirt.io") => Some(Keeper::KubeVirt),
            () if pod.labels.get("app").is_some_and(|app| app == "rook-ceph-osd") => Some(Keeper::Rook),
            () => None,
        }
    }

    /// Whether it acts only when somebody asks for the eviction, open budget or not.
    pub fn has_to_be_asked(self) -> bool {
        match self {
            Keeper::KubeVirt => true,
            Keeper::Longhorn | Keeper::Rook => false,
        }
    }

    /// Why the budget says no, and when the pod goes.
    pub fn holds(self) -> &'static str {
        match self {
            Keeper::Longhorn => {
                "Longhorn removes it when no volume is used here and every replica has a healthy twin on another \
                 schedulable node; see its replicas if that lasts"
            }
            Keeper::Rook => {
                "Rook lets it go after the first of this node's OSDs, or when Ceph has mended itself after another \
                 node's; see `ceph status` if that lasts"
            }
            Keeper::KubeVirt => {
                "KubeVirt moves the machine to another node while it runs; see its VirtualMachineInstanceMigration if \
                 that lasts"
            }
        }
    }
}

/// When the pod's turn comes.
pub(super) fn turn(pod: &Pod) -> Turn {
    match (Keeper::of(pod), pod.priority_class.as_deref()) {
        (Some(Keeper::Longhorn | Keeper::Rook), _) => Turn::Storage,
        (_, Some("system-cluster-critical" | "system-node-critical")) => Turn::SystemCritical,
        (Some(Keeper::KubeVirt) | None, Some(_) | None) => Turn::Ordinary,
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
