//! What every step does, and what it may see and use.

use std::time::Duration;

use hostler_plan::{
    document::{Blocker, Observation, Outcome, Plan, Roster, Task},
    entry::StoredDocument,
    id::{ArtifactName, BootId},
    refusal::Refused,
    step::Step,
    timestamp::Timestamp,
    trust::Verified,
};

use crate::{
    control::{Control, Interruption},
    disk::{Disk, DiskError},
    host::{Cluster, ClusterError, Host, HostError},
    keys::Keys,
    protocol::Progress,
};

/// How a node performs one step.
///
/// *Check* says whether the machine is already so. *Apply* changes it. *Verify* asks the machine, never the tool that
/// made the change. A check that says `Done` ends a step; after a restart that is what keeps anything from being done
/// twice.
pub(crate) trait Action {
    /// Before anything of a task is touched: what can be seen from here already that will not work.
    fn preflight(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }

    /// Whether the machine is already as the step wants it.
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError>;

    /// Makes it so.
    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError>;

    /// Asks the machine whether it is so now; one sentence about what it said.
    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let op = context.op();
        match self.check(context)? {
            Check::Done(detail) => Ok(detail),
            Check::Ready => Err(StepError::Failed(format!("{op}: applied, but the machine did not change"))),
            Check::Mismatch { expected, found } => {
                Err(StepError::Failed(format!("{op}: expected {expected}, found {found}")))
            }
        }
    }

    /// After the task went wrong: takes back what should not stay, and says so in one sentence.
    fn undo(&self, _: &Outcome, _: &mut StepContext<'_>) -> Option<String> {
        None
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// Already so; one sentence about what was seen.
    Done(String),
    /// Can be applied.
    Ready,
    /// The machine is in a state from which this step leads nowhere.
    Mismatch { expected: String, found: String },
}

/// Why a step ended without its goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StepError {
    Failed(String),
    Blocked {
        reason: String,
        blockers: Vec<Blocker>,
    },
    TimedOut(String),
    Unreachable(String),
    /// Somebody stopped the plan.
    Stopped(String),
    /// The plan does not count any more.
    Void(Refused),
    /// The process ends; the task does not.
    Ending,
    /// The machine is about to reboot.
    Rebooting,
}

impl From<HostError> for StepError {
    fn from(error: HostError) -> Self {
        StepError::Failed(error.to_string())
    }
}

impl From<DiskError> for StepError {
    fn from(error: DiskError) -> Self {
        StepError::Failed(error.to_string())
    }
}

impl From<ClusterError> for StepError {
    fn from(error: ClusterError) -> Self {
        StepError::Failed(error.to_string())
    }
}

impl From<Interruption> for StepError {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Stopped(reason) => StepError::Stopped(reason),
            Interruption::Ending => StepError::Ending,
        }
    }
}

/// What a step may see and use.
#[derive(Debug)]
pub(crate) struct StepContext<'a> {
    pub disk: &'a Disk,
    pub keys: &'a Keys,
    pub plan: &'a Verified<Plan>,
    pub task: &'a Task,
    /// Which step of the task, from 0.
    pub step: usize,
    pub roster: &'a Verified<Roster>,
    /// The receipts that the task relied on, verified before it began.
    pub receipts: &'a [StoredDocument],
    /// In which boot and when this step was first tried; none before its first try.
    pub first_attempt: Option<(BootId, Timestamp)>,
    pub observations: Vec<Observation>,
    pub control: &'a mut Control,
}

impl StepContext<'_> {
    pub(crate) fn host(&self) -> &dyn Host {
        &*self.control.host
    }

    /// The cluster's API, which not every node may use.
    pub(crate) fn cluster(&self) -> Result<&dyn Cluster, StepError> {
        self.control.host.cluster().ok_or_else(|| {
            StepError::Failed(format!(
                "{} acts on the cluster, and this node holds no credentials for its API server; plan it on a server",
                self.task.id
            ))
        })
    }

    /// The name of the node that the task is about.
    pub(crate) fn subject(&self) -> &str {
        self.task.subject.as_str()
    }

    /// The operation's name, as documents write it.
    pub(crate) fn op(&self) -> &'static str {
        self.task.steps.get(self.step).map_or("", Step::op)
    }

    /// Blocks for at most that much of the host's time; ends early with an error when the task must not go on.
    pub(crate) fn pause(&mut self, at_most: Duration) -> Result<(), StepError> {
        Ok(self.control.pause(at_most)?)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.control.host.now()
    }

    /// When this step was first tried; now, before that.
    pub(crate) fn began(&self) -> Timestamp {
        self.first_attempt.as_ref().map_or_else(|| self.now(), |(_, at)| *at)
    }

    /// Tells people what goes on, if it is news.
    pub(crate) fn say(&self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        self.control.say(Progress {
            plan: self.plan.digest(),
            task: self.task.id.clone(),
            step: self.step,
            steps: self.task.steps.len(),
            sentence,
        });
    }

    /// A fact for the receipt.
    pub(crate) fn observe(&mut self, name: &str, value: impl Into<String>) {
        self.observations.push(Observation { name: name.to_owned(), value: value.into() });
    }

    /// An artifact of the plan by its name.
    pub(crate) fn artifact(&self, name: &ArtifactName) -> Result<hostler_plan::document::Artifact, StepError> {
        let found = self.plan.document().artifact(name).cloned();
        found.ok_or_else(|| StepError::Failed(format!("the plan has no artifact {name}")))
    }
}
