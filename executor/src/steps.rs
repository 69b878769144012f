//! The steps: check, apply, verify, one file per family.
//!
//! *Check* says whether the machine is already so. *Apply* changes it. *Verify* asks the machine, never the tool that
//! made the change. A check that says `Done` ends a step; after a restart that is what keeps anything from being done
//! twice.

mod artifact;
mod cordon;
mod drain;
mod file;
mod join;
mod k3s;
mod module;
mod package;
mod ready;
mod reboot;
mod sysctl;
mod unit;

use std::time::Duration;

use hostler_plan::{
    document::{Blocker, Observation, Outcome, Plan, Roster, Task},
    entry::StoredDocument,
    id::{ArtifactName, BootId},
    refusal::Refused,
    step::{AwaitReady, EnsureFile, EnsurePackage, EnsureSysctl, EnsureUnit, Step},
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

/// Before anything of a task is touched: what can be seen from here already that will not work.
pub(crate) fn preflight(step: &Step, context: &mut StepContext<'_>) -> Result<(), StepError> {
    match step {
        Step::Drain(step) => drain::preflight(&drain::options(step), context),
        Step::Noop(_)
        | Step::Cordon(_)
        | Step::Uncordon(_)
        | Step::AwaitReady(_)
        | Step::StageArtifact(_)
        | Step::EnsureFile(_)
        | Step::EnsureModule(_)
        | Step::EnsureSysctl(_)
        | Step::EnsurePackage(_)
        | Step::EnsureUnit(_)
        | Step::BootstrapK3s(_)
        | Step::AdmitToK3s(_)
        | Step::JoinK3s(_)
        | Step::UpgradeK3s(_)
        | Step::Reboot(_) => Ok(()),
    }
}

/// Whether the machine is already as the step wants it.
pub(crate) fn check(step: &Step, context: &mut StepContext<'_>) -> Result<Check, StepError> {
    match step {
        Step::Noop(_) => Ok(Check::Done("nothing was to be done".into())),
        Step::StageArtifact(step) => artifact::check(&step.artifact, context),
        Step::EnsureFile(EnsureFile { path, mode, content }) => file::check(path, mode, content, context),
        Step::EnsureModule(step) => module::check(&step.module, context),
        Step::EnsureSysctl(EnsureSysctl { key, value }) => sysctl::check(key, value, context),
        Step::EnsurePackage(EnsurePackage { package, version }) => package::check(package, version, context),
        Step::EnsureUnit(EnsureUnit { unit, state, enabled }) => unit::check(unit, *state, *enabled, context),
        Step::BootstrapK3s(step) => k3s::check_bootstrap(step.version, context),
        Step::AdmitToK3s(_) => Ok(Check::Ready),
        Step::JoinK3s(step) => join::check(step.version, step.role, context),
        Step::UpgradeK3s(step) => k3s::check_upgrade(step.version, context),
        Step::Cordon(_) => cordon::check(context),
        Step::Drain(step) => drain::check(&drain::options(step), context),
        Step::Uncordon(_) => cordon::check_uncordon(context),
        Step::AwaitReady(_) => Ok(Check::Ready),
        Step::Reboot(_) => reboot::check(context),
    }
}

/// Makes it so.
pub(crate) fn apply(step: &Step, context: &mut StepContext<'_>) -> Result<(), StepError> {
    match step {
        Step::Noop(_) | Step::AwaitReady(_) => Ok(()),
        Step::StageArtifact(step) => artifact::apply(&step.artifact, context),
        Step::EnsureFile(EnsureFile { path, mode, content }) => file::apply(path, mode, content, context),
        Step::EnsureModule(step) => module::apply(&step.module, context),
        Step::EnsureSysctl(EnsureSysctl { key, value }) => sysctl::apply(key, value, context),
        Step::EnsurePackage(EnsurePackage { package, version }) => package::apply(package, version, context),
        Step::EnsureUnit(EnsureUnit { unit, state, enabled }) => unit::apply(unit, *state, *enabled, context),
        Step::BootstrapK3s(step) => k3s::apply_bootstrap(&step.artifact, step.version, context),
        Step::AdmitToK3s(step) => join::admit(Duration::from_secs(step.lifetime_seconds), context),
        Step::JoinK3s(step) => join::apply(step, context),
        Step::UpgradeK3s(step) => k3s::apply_upgrade(&step.artifact, step.version, context),
        Step::Cordon(step) => cordon::apply(&step.reason, context),
        Step::Drain(step) => drain::apply(&drain::options(step), context),
        Step::Uncordon(_) => cordon::apply_uncordon(context),
        Step::Reboot(_) => reboot::apply(context),
    }
}

/// Asks the machine whether it is so now; one sentence about what it said.
pub(crate) fn verify(step: &Step, context: &mut StepContext<'_>) -> Result<String, StepError> {
    match step {
        Step::BootstrapK3s(step) => k3s::await_running(step.version, context),
        Step::JoinK3s(step) => k3s::await_running(step.version, context),
        Step::UpgradeK3s(step) => k3s::await_running(step.version, context),
        Step::AdmitToK3s(_) => Ok(format!("made a join secret and sealed it to {}", context.task.subject)),
        Step::AwaitReady(AwaitReady { version, for_seconds, timeout_seconds }) => ready::await_ready(
            *version,
            Duration::from_secs(*for_seconds),
            Duration::from_secs(*timeout_seconds),
            context,
        ),
        Step::EnsureUnit(EnsureUnit { unit, state, enabled }) => unit::verify(unit, *state, *enabled, context),
        Step::Drain(step) => drain::verify(&drain::options(step), context),
        Step::Noop(_)
        | Step::StageArtifact(_)
        | Step::EnsureFile(_)
        | Step::EnsureModule(_)
        | Step::EnsureSysctl(_)
        | Step::EnsurePackage(_)
        | Step::Cordon(_)
        | Step::Uncordon(_)
        | Step::Reboot(_) => match check(step, context)? {
            Check::Done(detail) => Ok(detail),
            Check::Ready => Err(StepError::Failed(format!("{}: applied, but the machine did not change", step.op()))),
            Check::Mismatch { expected, found } => {
                Err(StepError::Failed(format!("{}: expected {expected}, found {found}", step.op())))
            }
        },
    }
}

/// After a task went wrong: takes back what should not stay, and says so in one sentence.
pub(crate) fn undo(touched: &[&Step], outcome: &Outcome, context: &mut StepContext<'_>) -> Option<String> {
    touched.iter().any(|s| matches!(s, Step::Cordon(_))).then(|| cordon::undo(outcome, context)).flatten()
}

/// The outcome with one more sentence for people.
pub(crate) fn with_sentence(outcome: Outcome, sentence: &str) -> Outcome {
    let longer = |reason: String| format!("{}. {sentence}", reason.trim_end_matches('.'));
    match outcome {
        Outcome::Succeeded {} => Outcome::Succeeded {},
        Outcome::Failed { reason } => Outcome::Failed { reason: longer(reason) },
        Outcome::Blocked { reason, blockers } => Outcome::Blocked { reason: longer(reason), blockers },
        Outcome::TimedOut { reason } => Outcome::TimedOut { reason: longer(reason) },
        Outcome::Unreachable { reason } => Outcome::Unreachable { reason: longer(reason) },
        Outcome::Refused { refusal, reason } => Outcome::Refused { refusal, reason: longer(reason) },
    }
}

impl StepContext<'_> {
    pub fn host(&self) -> &dyn Host {
        &*self.control.host
    }

    /// The cluster's API, which not every node may use.
    pub fn cluster(&self) -> Result<&dyn Cluster, StepError> {
        self.control.host.cluster().ok_or_else(|| {
            StepError::Failed(format!(
                "{} acts on the cluster, and this node holds no credentials for its API server; plan it on a server",
                self.task.id
            ))
        })
    }

    /// The name of the node that the task is about.
    pub fn subject(&self) -> &str {
        self.task.subject.as_str()
    }

    /// Blocks for at most that much of the host's time; ends early with an error when the task must not go on.
    pub fn pause(&mut self, at_most: Duration) -> Result<(), StepError> {
        Ok(self.control.pause(at_most)?)
    }

    pub fn now(&self) -> Timestamp {
        self.control.host.now()
    }

    /// When this step was first tried; now, before that.
    pub fn began(&self) -> Timestamp {
        self.first_attempt.as_ref().map_or_else(|| self.now(), |(_, at)| *at)
    }

    /// Tells people what goes on, if it is news.
    pub fn say(&self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        self.control.say(Progress {
            plan: self.plan.digest(),
            task: self.task.id.clone(),
            step: self.step,
            steps: self.task.steps.len(),
            op: self.task.steps.get(self.step).map_or("", Step::op),
            sentence,
        });
    }

    /// A fact for the receipt.
    pub fn observe(&mut self, name: &str, value: impl Into<String>) {
        self.observations.push(Observation { name: name.to_owned(), value: value.into() });
    }

    /// An artifact of the plan by its name.
    pub fn artifact(&self, name: &ArtifactName) -> Result<hostler_plan::document::Artifact, StepError> {
        let found = self.plan.document().artifact(name).cloned();
        found.ok_or_else(|| StepError::Failed(format!("the plan has no artifact {name}")))
    }
}
