//! Steps through the Kubernetes API, the same for every distribution: cordon, drain, uncordon, Ready.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Consent, Operation};
use crate::{
    form::{self, ApiName, PodName, Reason},
    id::{ArtifactName, NodeName},
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
    /// Which `emptyDir` volumes may go with their pods.
    pub delete_empty_dir_data: EmptyDirs,
    /// Whether pods may go that nothing starts again.
    pub force_unmanaged: bool,
    /// Pods that may go whatever of the two would be lost with them. No budget is passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evict_anyway: Vec<PodName>,
    /// What else may be lost, and of whose pods, of those that the signer was shown; each once and in order, at most
    /// [`MAX_CONSENTS`]. No budget is passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consents: Vec<Consent>,
    /// What is done when it does not go as it should.
    #[serde(default, skip_serializing_if = "Reactions::are_usual")]
    pub reactions: Reactions,
}

/// What a drain does about each way in which it may not end as drained. Nothing is ever ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reactions {
    /// A pod can never leave: consent is missing, a budget can never allow it. Stopping is before anything is touched.
    pub never: Reaction,
    /// The time is up, and waiting longer might help.
    pub slow: Reaction,
    /// The node is silent.
    pub unreachable: Reaction,
    /// Somebody made the node schedulable.
    pub taken_over: Reaction,
}

impl Reactions {
    fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// What a drain does about trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// Goes on waiting, until the time of the drain is up; one that is slow until its plan expires.
    Wait,
    /// Ends; the cordon is taken back, but on a silent node.
    #[default]
    Stop,
    /// Ends and keeps the cordon; the rollout stands still until a person decides by a signed plan.
    Ask,
}

impl Reaction {
    /// Every one.
    pub const ALL: [Reaction; 3] = [Reaction::Wait, Reaction::Stop, Reaction::Ask];

    /// The word in documents and fleet files.
    pub fn word(self) -> &'static str {
        match self {
            Reaction::Wait => "wait",
            Reaction::Stop => "stop",
            Reaction::Ask => "ask",
        }
    }
}

/// More owners whose data is lost than anybody reads before signing; who means all of them says so in general.
pub const MAX_CONSENTS: usize = 256;

/// Which `emptyDir` volumes somebody agrees to lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyDirs {
    #[default]
    None,
    /// Those of medium `Memory`, which a reboot empties too.
    Memory,
    /// All others.
    Disk,
    All,
}

impl EmptyDirs {
    /// Whether one of this medium may go.
    pub fn allows(self, memory: bool) -> bool {
        match self {
            EmptyDirs::None => false,
            EmptyDirs::Memory => memory,
            EmptyDirs::Disk => !memory,
            EmptyDirs::All => true,
        }
    }

    /// What both of them let go.
    pub fn both(self, other: Self) -> Self {
        Self::of(self.allows(false) && other.allows(false), self.allows(true) && other.allows(true))
    }

    /// What one of them lets go.
    pub fn either(self, other: Self) -> Self {
        Self::of(self.allows(false) || other.allows(false), self.allows(true) || other.allows(true))
    }

    fn of(disk: bool, memory: bool) -> Self {
        match (disk, memory) {
            (true, true) => EmptyDirs::All,
            (true, false) => EmptyDirs::Disk,
            (false, true) => EmptyDirs::Memory,
            (false, false) => EmptyDirs::None,
        }
    }

    /// The word in documents and fleet files.
    pub fn word(self) -> &'static str {
        match self {
            EmptyDirs::None => "none",
            EmptyDirs::Memory => "memory",
            EmptyDirs::Disk => "disk",
            EmptyDirs::All => "all",
        }
    }
}

impl FromStr for EmptyDirs {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [EmptyDirs::None, EmptyDirs::Memory, EmptyDirs::Disk, EmptyDirs::All];
        let found = all.into_iter().find(|which| which.word() == text);
        found.ok_or_else(|| format!("expected none, memory, disk or all, found {text:?}"))
    }
}

impl Operation for Drain {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn said(&self) -> String {
        let Self { timeout_seconds, delete_empty_dir_data, force_unmanaged, evict_anyway, consents: _, reactions: _ } =
            self;
        let data = match delete_empty_dir_data {
            EmptyDirs::None => "keeps emptyDir data",
            EmptyDirs::Memory => "DELETES emptyDir data in memory",
            EmptyDirs::Disk => "DELETES emptyDir data on disk",
            EmptyDirs::All => "DELETES emptyDir data",
        };
        let pods = if *force_unmanaged {
            "ENDS pods that nothing starts again"
        } else {
            "keeps pods that nothing starts again"
        };
        let anyway: Vec<String> = evict_anyway.iter().map(|pod| format!(", ENDS {pod} whatever it loses")).collect();
        format!("within {timeout_seconds} s, {data}, {pods}{}", anyway.concat())
    }
    fn more(&self) -> Vec<String> {
        let consents = self.consents.iter().map(|Consent { of, loss }| format!("but of {of} it LOSES {loss}"));
        let Reactions { never, slow, unreachable, taken_over } = self.reactions;
        let reaction = |when: &str, reaction: Reaction| match reaction {
            Reaction::Stop => None,
            Reaction::Wait => Some(format!("when {when} it waits")),
            Reaction::Ask => Some(format!("when {when} it keeps the cordon and asks")),
        };
        let reactions = [
            reaction("a pod can never leave", never),
            reaction("its time is up", slow),
            reaction("the node is silent", unreachable),
            reaction("somebody uncordons the node", taken_over),
        ];
        consents.chain(reactions.into_iter().flatten()).collect()
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("drains {subject}")
    }
}

/// Gives a dead subject up: Kubernetes removes its pods at once and detaches their volumes. Only where its power is
/// proved to be off, because two machines would write to one volume otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutOfService {
    /// How it was proved that the machine is off.
    pub power_off_proof: Reason,
}

impl Operation for OutOfService {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn leaves_unschedulable(&self) -> Option<bool> {
        Some(true)
    }
    fn said(&self) -> String {
        let Self { power_off_proof } = self;
        format!("REMOVES its pods at once and detaches their volumes; its power is off: {power_off_proof}")
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("marks {subject} as out of service")
    }
}

/// Brings the objects of a file of manifests into the cluster by server-side apply; what is there besides stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The file's name in the plan: YAML documents or JSON.
    pub artifact: ArtifactName,
}

impl Operation for Apply {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { artifact } = self;
        format!("every object of {artifact}, in the whole cluster")
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("applies {} to the cluster", self.artifact)
    }
}

/// The cluster has no Node object of the subject, once its kubelet is silent: what is left of its pods goes with it,
/// and what was to run there starts elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveNode {}

impl Operation for RemoveNode {
    fn acts_on_subject(&self) -> bool {
        true
    }
    /// By no cordon any more.
    fn leaves_unschedulable(&self) -> Option<bool> {
        Some(false)
    }
    fn said(&self) -> String {
        let Self {} = self;
        "the NODE OBJECT, and with it what is left of its pods".to_owned()
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("removes the Node of {subject} from the cluster")
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

/// Makes a cordon Hostler's that somebody else put on the subject, so that a plan may lift it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptCordon {
    /// Why, for people who look at the node.
    pub reason: Reason,
}

impl Operation for AdoptCordon {
    fn acts_on_subject(&self) -> bool {
        true
    }
    fn leaves_unschedulable(&self) -> Option<bool> {
        Some(true)
    }
    fn said(&self) -> String {
        let Self { reason } = self;
        format!("makes another's cordon Hostler's, for plans to lift; because: {reason}")
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("takes the cordon of {subject} over")
    }
}

/// Gives Hostler's cordon of the subject to those who sign the plan: the node stays unschedulable, and no plan lifts
/// that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseCordon {
    /// Why, for people who look at the node.
    pub reason: Reason,
}

impl Operation for ReleaseCordon {
    fn acts_on_subject(&self) -> bool {
        true
    }
    /// By no plan's doing.
    fn leaves_unschedulable(&self) -> Option<bool> {
        Some(false)
    }
    fn said(&self) -> String {
        let Self { reason } = self;
        format!("makes Hostler's cordon its signers', and no plan lifts it; because: {reason}")
    }
    fn sentence(&self, subject: &NodeName) -> String {
        format!("gives the cordon of {subject} away")
    }
}

/// Nobody has asked any API server of the cluster, since that started, for what a version has no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoRemovedApis {
    pub version: Version,
    /// What may be asked for all the same; each once and in order.
    pub accepted: Vec<ApiName>,
}

impl Operation for NoRemovedApis {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { version, accepted } = self;
        let accepted: Vec<&str> = accepted.iter().map(ApiName::as_str).collect();
        match accepted.as_slice() {
            [] => format!("removed by {version}, none accepted"),
            some => format!("removed by {version}, but for {}", some.join(", ")),
        }
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("asks the API servers what {} has no more and is still asked for", self.version)
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
