//! A plan: which tasks, on which nodes, in which order, signed as a whole.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    document::Windows,
    form,
    id::{Arch, ArtifactName, Digest, Epoch, Fingerprint, FleetId, MachineId, NodeName, Seq, TaskId},
    step::Step,
    timestamp::Timestamp,
};

/// Numbered, signed work that leaves no choices open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Always `hostler-plan/v1`.
    #[serde(rename = "_type")]
    pub document_type: PlanType,
    pub fleet_id: FleetId,
    pub epoch: Epoch,
    /// Higher than every plan signed before in this epoch.
    pub seq: Seq,
    /// The plan before it in this epoch, as its maker knew it; none for the first. Two successors of one plan are a
    /// fork: somebody was shown an older state.
    pub prev: Option<Digest>,
    /// The other ends of a fork that this plan closes: successors of an earlier plan, beside the one that led to
    /// `prev`. Written only when there are some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Digest>,
    /// The earlier plan with whose drain this one goes on: it ends, and the cordons that it left pass to this one
    /// without being undone in between. Only in a drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<Digest>,
    pub kind: PlanKind,
    /// One sentence for people: what this plan does.
    #[serde(deserialize_with = "form::title")]
    pub title: String,
    pub root_version: u64,
    pub roster_version: u64,
    /// The digest of the roster that it was made with.
    pub roster: Digest,
    pub created: Timestamp,
    pub not_before: Timestamp,
    pub expires: Timestamp,
    /// Earlier plans that stay valid beside this one; every other earlier plan is void once a node holds this one.
    #[serde(rename = "beside")]
    pub keeps_valid: Vec<PlanRef>,
    /// Every node that performs a task, once.
    pub targets: Vec<Target>,
    /// Subjects that the cluster knows under another name than the fleet does, each once. Written only when there are
    /// some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_objects: Vec<NodeObject>,
    pub artifacts: Vec<Artifact>,
    pub strategy: Strategy,
    /// The fleet's maintenance windows. Written only where there are some, in a plan of a kind that waits for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// In an order that respects every `after`.
    pub tasks: Vec<Task>,
}

/// The type field of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlanType {
    #[serde(rename = "hostler-plan/v1")]
    V1,
}

/// What a plan is for; it decides who may sign it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// Only `host.noop` steps.
    Check,
    Bootstrap,
    Join,
    Upgrade,
    Drain,
    Uncordon,
    Reboot,
    /// Gives up a node whose machine is proved to be off: its pods are removed and start elsewhere.
    Dead,
    /// Makes machines ready, and takes none out of service.
    Baseline,
    /// Takes nodes out of the cluster for good.
    Remove,
    /// Removes a dead node, and lets a machine of the same name in.
    Replace,
    /// Says in what machines differ from what a baseline would make of them, or how a cluster is made, and changes
    /// nothing: its steps are checked and never applied.
    Inspect,
    /// Takes snapshots of etcd, and takes nothing out of service.
    Snapshot,
    /// Brings etcd back from a snapshot, on every server of the cluster.
    Restore,
    /// Changes how members run, at the version that they run.
    Configure,
    /// Brings the packages of machines' systems up to date, and reboots those that need it.
    Update,
    /// No tasks: what it does not list in `beside` ends.
    Stop,
}

impl PlanKind {
    /// Every kind.
    pub const ALL: [PlanKind; 17] = [
        PlanKind::Check,
        PlanKind::Bootstrap,
        PlanKind::Join,
        PlanKind::Upgrade,
        PlanKind::Drain,
        PlanKind::Uncordon,
        PlanKind::Reboot,
        PlanKind::Dead,
        PlanKind::Baseline,
        PlanKind::Remove,
        PlanKind::Replace,
        PlanKind::Inspect,
        PlanKind::Snapshot,
        PlanKind::Restore,
        PlanKind::Configure,
        PlanKind::Update,
        PlanKind::Stop,
    ];

    /// Whether a plan of this kind may hold this step. Kinds that an operator may sign hold only what their name says:
    /// otherwise a drain could carry a file to be written as root.
    pub fn may_hold(self, step: &Step) -> bool {
        let (noop, wait) = (matches!(step, Step::Noop(_)), matches!(step, Step::AwaitReady(_)));
        let drain = matches!(step, Step::Cordon(_) | Step::Drain(_));
        let (adopts, releases) = (matches!(step, Step::AdoptCordon(_)), matches!(step, Step::ReleaseCordon(_)));
        let (uncordon, reads) = (matches!(step, Step::Uncordon(_)), step.only_reads());
        let (reboots, updates) = (matches!(step, Step::Reboot(_)), step.updates());
        match self {
            PlanKind::Check => noop,
            // Whoever may take a node out of service may take over that it is, and who may put it back may leave it.
            PlanKind::Drain => noop || wait || drain || adopts,
            PlanKind::Uncordon => noop || wait || uncordon || releases,
            PlanKind::Reboot => noop || wait || drain || uncordon || reboots,
            PlanKind::Dead => noop || matches!(step, Step::Cordon(_) | Step::OutOfService(_)),
            // Whatever concerns the machine alone, and neither the cluster nor who is in it.
            PlanKind::Baseline => noop || wait || step.readies_machine(),
            PlanKind::Inspect => step.readies_machine() || step.configures() || reads,
            PlanKind::Snapshot => noop || matches!(step, Step::SnapshotEtcd(_)),
            // What gives a node up stands alone, for those whom the root lets sign it.
            PlanKind::Bootstrap => !(step.takes_away() || step.restores() || adopts || releases || reads || updates),
            PlanKind::Join | PlanKind::Upgrade => {
                !(step.takes_away() || step.restores() || step.rebuilds() || adopts || releases || reads || updates)
            }
            PlanKind::Restore => noop || wait || step.restores() || matches!(step, Step::StageArtifact(_)),
            // A balancer stops before its machine is emptied, and the others lead to it no more.
            PlanKind::Remove => noop || drain || step.takes_away() || step.readies_machine(),
            // A machine is let in, and the one before it is gone; nobody's machine is emptied.
            PlanKind::Replace => {
                let is_other = step.restores() || step.rebuilds() || reads || updates;
                !matches!(step, Step::ResetKubeadm(_)) && !is_other && !adopts && !releases
            }
            PlanKind::Configure => {
                let settles = matches!(step, Step::RenewKubeadm(_) | Step::Describe(_) | Step::EnsureFile(_));
                noop || wait || drain || uncordon || settles || step.configures()
            }
            PlanKind::Update => {
                let settles = reboots || updates || matches!(step, Step::StageArtifact(_));
                noop || wait || drain || uncordon || settles
            }
            PlanKind::Stop => false,
        }
    }

    /// Whether it takes out of danger: it is needed at three in the morning, and nothing keeps it waiting.
    pub fn takes_out_of_danger(self) -> bool {
        match self {
            PlanKind::Drain | PlanKind::Uncordon | PlanKind::Stop => true,
            PlanKind::Check
            | PlanKind::Bootstrap
            | PlanKind::Join
            | PlanKind::Upgrade
            | PlanKind::Reboot
            | PlanKind::Dead
            | PlanKind::Baseline
            | PlanKind::Remove
            | PlanKind::Replace
            | PlanKind::Inspect
            | PlanKind::Snapshot
            | PlanKind::Restore
            | PlanKind::Configure
            | PlanKind::Update => false,
        }
    }

    /// Whether it begins with a node only within the fleet's maintenance windows: what disrupts and can be planned.
    /// What takes out of danger, repairs, or lets nodes in or out is done when a person asks for it.
    pub fn waits_for_windows(self) -> bool {
        match self {
            PlanKind::Upgrade | PlanKind::Reboot | PlanKind::Configure | PlanKind::Update => true,
            PlanKind::Check
            | PlanKind::Bootstrap
            | PlanKind::Join
            | PlanKind::Drain
            | PlanKind::Uncordon
            | PlanKind::Dead
            | PlanKind::Baseline
            | PlanKind::Remove
            | PlanKind::Replace
            | PlanKind::Inspect
            | PlanKind::Snapshot
            | PlanKind::Restore
            | PlanKind::Stop => false,
        }
    }

    /// How many keys must sign a plan of this kind where the root does not say it; none: as many as for every plan.
    pub(crate) fn own_threshold(self) -> Option<u32> {
        self.takes_out_of_danger().then_some(1)
    }

    /// Whether a responder's drain takes precedence over it where the drain keeps it beside itself.
    pub(crate) fn yields_to_drains(self) -> bool {
        match self {
            PlanKind::Bootstrap
            | PlanKind::Join
            | PlanKind::Upgrade
            | PlanKind::Reboot
            | PlanKind::Baseline
            | PlanKind::Remove
            | PlanKind::Replace
            | PlanKind::Configure
            | PlanKind::Update => true,
            PlanKind::Check
            | PlanKind::Drain
            | PlanKind::Uncordon
            | PlanKind::Dead
            | PlanKind::Inspect
            | PlanKind::Snapshot
            | PlanKind::Restore
            | PlanKind::Stop => false,
        }
    }

    /// Whether a person wants its nodes out of service until they are put back; another plan leaves that behind only
    /// where it was stopped.
    pub fn keeps_out(self) -> bool {
        match self {
            PlanKind::Drain | PlanKind::Dead | PlanKind::Remove => true,
            PlanKind::Check
            | PlanKind::Bootstrap
            | PlanKind::Join
            | PlanKind::Upgrade
            | PlanKind::Uncordon
            | PlanKind::Reboot
            | PlanKind::Baseline
            | PlanKind::Replace
            | PlanKind::Inspect
            | PlanKind::Snapshot
            | PlanKind::Restore
            | PlanKind::Configure
            | PlanKind::Update
            | PlanKind::Stop => false,
        }
    }

    /// Whether an operator may sign it, or only an admin.
    pub fn needs_only_operator(self) -> bool {
        match self {
            PlanKind::Check | PlanKind::Drain | PlanKind::Uncordon | PlanKind::Reboot | PlanKind::Stop => true,
            // Whoever may ask whether a file of root's holds certain bytes can guess what it holds.
            PlanKind::Bootstrap
            | PlanKind::Join
            | PlanKind::Upgrade
            | PlanKind::Dead
            | PlanKind::Baseline
            | PlanKind::Remove
            | PlanKind::Replace
            | PlanKind::Inspect
            | PlanKind::Snapshot
            | PlanKind::Restore
            | PlanKind::Configure
            | PlanKind::Update => false,
        }
    }
}

impl fmt::Display for PlanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PlanKind::Check => "check",
            PlanKind::Bootstrap => "bootstrap",
            PlanKind::Join => "join",
            PlanKind::Upgrade => "upgrade",
            PlanKind::Drain => "drain",
            PlanKind::Uncordon => "uncordon",
            PlanKind::Reboot => "reboot",
            PlanKind::Dead => "dead",
            PlanKind::Baseline => "baseline",
            PlanKind::Remove => "remove",
            PlanKind::Replace => "replace",
            PlanKind::Inspect => "inspect",
            PlanKind::Snapshot => "snapshot",
            PlanKind::Restore => "restore",
            PlanKind::Configure => "configure",
            PlanKind::Update => "update",
            PlanKind::Stop => "stop",
        })
    }
}

/// Another plan, by number and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRef {
    pub seq: Seq,
    pub digest: Digest,
}

impl PlanRef {
    /// Whether a person who typed this means that plan: its number, its digest or the beginning of that.
    pub fn is_named(&self, which: &str) -> bool {
        let digits = which.strip_prefix("sha256:").unwrap_or(which);
        which.parse() == Ok(self.seq.0) || (digits.len() >= 4 && self.digest.hex().starts_with(digits))
    }
}

/// A node that performs tasks of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub node: NodeName,
    /// The node's own key: a re-used name cannot inherit work.
    pub key: Fingerprint,
    pub arch: Arch,
}

/// What the cluster has of a node whose name there is another one: steps on the cluster act on it, while it has the
/// machine id that the node enrolled with and no other Node object has that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeObject {
    /// As the fleet calls it.
    pub node: NodeName,
    /// `metadata.name`.
    pub name: NodeName,
    /// `status.nodeInfo.machineID`.
    pub machine_id: MachineId,
}

/// A file that the plan needs, by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    pub name: ArtifactName,
    pub sha256: Digest,
    /// Bytes; more than 0.
    pub size: u64,
    /// The processors it runs on; none for data.
    pub arch: Option<Arch>,
}

/// How careful the rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// Nodes that may be unavailable at the same time, counting those that are already so for other reasons.
    #[serde(deserialize_with = "form::max_unavailable")]
    pub max_unavailable: u32,
    /// How long a node must have been healthy before the next one starts; the `kube.await_ready` steps carry it.
    #[serde(deserialize_with = "form::wait_seconds")]
    pub soak_seconds: u64,
    /// How long a grant lives without being renewed; then the rollout stops and asks.
    #[serde(deserialize_with = "form::lease_seconds")]
    pub lease_seconds: u64,
}

/// A few steps that one node performs, about one subject node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    pub id: TaskId,
    /// Who performs it.
    pub node: NodeName,
    /// Which node it is about.
    pub subject: NodeName,
    /// Tasks whose success receipts the performing node must hold before it starts; they stand earlier in the plan.
    pub after: Vec<TaskId>,
    /// Whether the subject may be unavailable from the start of this task on. The sequencer grants it only within
    /// the budget; the subject counts as unavailable until its last task in the plan succeeded.
    pub disrupts: bool,
    /// Whether it may begin even when the plan has expired or is void meanwhile, once what it comes after succeeded: it
    /// puts back what an earlier task took out of service, and the state between is worse than either end.
    pub finishes: bool,
    pub steps: Vec<Step>,
}

impl Plan {
    /// The task of that name.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.iter().find(|t| t.id == *id)
    }

    /// The artifact of that name.
    pub fn artifact(&self, name: &ArtifactName) -> Option<&Artifact> {
        self.artifacts.iter().find(|a| a.name == *name)
    }

    /// The nodes that it makes unschedulable.
    pub fn cordons(&self) -> impl Iterator<Item = &NodeName> {
        let cordons = |task: &&Task| task.steps.iter().any(|step| step.leaves_unschedulable() == Some(true));
        self.tasks.iter().filter(cordons).map(|task| &task.subject)
    }

    /// The Node object of that node, where it has another name.
    pub fn node_object(&self, node: &NodeName) -> Option<&NodeObject> {
        self.node_objects.iter().find(|object| object.node == *node)
    }

    /// The name of that node in its cluster.
    pub fn name_in_cluster<'a>(&'a self, node: &'a NodeName) -> &'a NodeName {
        self.node_object(node).map_or(node, |object| &object.name)
    }

    /// The target entry of that node.
    pub fn target(&self, node: &NodeName) -> Option<&Target> {
        self.targets.iter().find(|t| t.node == *node)
    }
}
