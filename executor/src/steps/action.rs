//! What every step does, and what it may see and use.

use std::{sync::Arc, time::Duration};

use hostler_daemon::say_once::SayOnce;
use hostler_plan::{
    document::{Blocker, Observation, Outcome, Plan, PodReport, Roster, Task},
    entry::StoredDocument,
    id::{ArtifactName, BootId, NodeName},
    refusal::{Refusal, Refused},
    step::Step,
    timestamp::Timestamp,
    trust::{Granted, Start, Verified},
};

use crate::{
    context::NodeContext,
    control::{Interruption, POLL},
    disk::{Disk, DiskError},
    error::ExecutorError,
    host::{Administrator, Cluster, ClusterError, Host, HostError},
    journal::{self, Record, Running},
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

    /// After the task went wrong: takes back what should not stay.
    fn undo(&self, _: &Outcome, _: &mut StepContext<'_>) -> Undone {
        Undone::Nothing
    }
}

/// What became of what a task should not leave behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Undone {
    /// There was nothing to take back.
    Nothing,
    /// In one sentence.
    Said(String),
    /// The process ends in the middle of it; the next one looks again.
    Ending,
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
    /// Somebody else took the subject over.
    TakenOver {
        reason: String,
        by: Option<String>,
    },
    /// Somebody stopped the plan.
    Stopped(String),
    /// The plan does not count any more.
    Void(Refused),
    /// The process ends; the task does not.
    Ending,
    /// The machine is about to reboot.
    Rebooting,
}

impl StepError {
    /// What was found is nothing from which the step leads anywhere.
    pub(crate) fn mismatch(expected: &str, found: &str) -> Self {
        StepError::Failed(format!("expected {expected}, found {found}"))
    }

    /// The same failure with more to say.
    pub(crate) fn with(self, more: &str) -> Self {
        if let StepError::Failed(reason) = self { StepError::Failed(reason + more) } else { self }
    }
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

impl From<ExecutorError> for StepError {
    fn from(error: ExecutorError) -> Self {
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
    pub node: &'a mut NodeContext,
    pub disk: Arc<Disk>,
    pub keys: Arc<Keys>,
    pub plan: &'a Verified<Plan>,
    pub task: &'a Task,
    /// Which step of the task, from 0.
    pub step: usize,
    pub roster: Verified<Roster>,
    /// The leave for the task, asked again before each act of a step that acts more than once.
    pub granted: Granted,
    /// What its journal tells so far.
    pub running: &'a mut Running,
    pub observations: Vec<Observation>,
    pub clock: StepClock,
}

/// The clock of a step that waits: it begins with the machine's, and is not set with it. A Pi without a battery finds
/// its time server in the middle of a step, and by that nothing took a day, nor has anything been Ready for one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepClock {
    began: Timestamp,
    at: Duration,
}

impl StepClock {
    pub(crate) fn begin(host: &dyn Host) -> Self {
        Self { began: host.now(), at: host.steady() }
    }

    fn now(self, host: &dyn Host) -> Timestamp {
        self.began.plus(host.steady().saturating_sub(self.at))
    }
}

impl StepContext<'_> {
    pub(crate) fn host(&self) -> &dyn Host {
        &*self.node.control.host
    }

    /// The cluster's API, which not every node may use.
    pub(crate) fn cluster(&self) -> Result<&dyn Cluster, StepError> {
        self.node.control.host.cluster().ok_or_else(|| {
            StepError::Failed(format!(
                "{} acts on the cluster, and this node holds no credentials for its API server; plan it on a server",
                self.task.id
            ))
        })
    }

    /// The cluster as its administrator, which servers alone may be.
    pub(crate) fn administrator(&self) -> Result<&dyn Administrator, StepError> {
        self.node.control.host.administrator().ok_or_else(|| {
            StepError::Failed(format!(
                "{} needs the administrator's credentials of the cluster, and this node has none; plan it on a server",
                self.task.id
            ))
        })
    }

    /// The name in the cluster of the node that the task is about.
    pub(crate) fn subject(&self) -> &NodeName {
        self.plan.document().name_in_cluster(&self.task.subject)
    }

    /// The operation's name, as documents write it.
    pub(crate) fn op(&self) -> &'static str {
        self.task.steps.get(self.step).map_or("", Step::op)
    }

    /// Blocks for at most that much of the host's time and takes in what arrived meanwhile. Ends early with an error
    /// when somebody stopped the task or the process ends: a step that was begun is finished, whatever else arrives.
    pub(crate) fn pause(&mut self, at_most: Duration) -> Result<(), StepError> {
        self.node.control.pause(at_most)?;
        Ok(self.node.take_in_documents()?)
    }

    /// The same for a step that only waits: nothing is left half done when it ends, so it ends with its plan. One that
    /// has merely expired is waited for.
    pub(crate) fn pause_while_wanted(&mut self, at_most: Duration) -> Result<(), StepError> {
        self.pause(at_most)?;
        match self.ask() {
            Start::Never(refused) if refused.refusal != Refusal::Expired => Err(StepError::Void(refused)),
            Start::Now(_) | Start::Wait(_) | Start::Never(_) => Ok(()),
        }
    }

    /// Whether a step that acts more than once may act again now: what arrived is heard, and the one rule for
    /// everything new is asked. A sentence says why not yet.
    pub(crate) fn may_act(&mut self) -> Result<Option<String>, StepError> {
        self.node.control.listen()?;
        self.node.take_in_documents()?;
        match self.ask() {
            Start::Now(_) => Ok(None),
            Start::Wait(sentence) => Ok(Some(sentence)),
            Start::Never(refused) => Err(StepError::Void(refused)),
        }
    }

    /// Waits until it may.
    pub(crate) fn await_act(&mut self) -> Result<(), StepError> {
        let mut said = SayOnce::default();
        while let Some(sentence) = self.may_act()? {
            if said.is_news(&sentence) {
                self.say(sentence);
            }
            self.pause(POLL)?;
        }
        Ok(())
    }

    fn ask(&mut self) -> Start {
        let lease = self.node.control.lease_holds();
        self.node.may_start(&mut self.granted, lease)
    }

    /// The time, as far as it is asked how long something takes.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now(self.host())
    }

    /// The receipts that the task relied on, verified before it began.
    pub(crate) fn receipts(&self) -> &[StoredDocument] {
        &self.running.begun.receipts
    }

    /// In which boot and when this step was first tried; none before its first try.
    pub(crate) fn first_attempt(&self) -> Option<&(BootId, Timestamp)> {
        self.running.intents.get(&self.step)
    }

    /// Notes in the journal what became of pods, for the receipt, whatever happens to this process.
    pub(crate) fn note_pods(&mut self, pods: Vec<PodReport>) -> Result<(), StepError> {
        if !pods.is_empty() {
            journal::write(&self.disk, self.running, Record::Pods { pods })?;
        }
        Ok(())
    }

    /// When this step was first tried; now, before that, and where that lies ahead of a clock that was set since.
    pub(crate) fn began(&self) -> Timestamp {
        self.first_attempt().map_or_else(|| self.now(), |(_, at)| (*at).min(self.clock.began))
    }

    /// Tells people what goes on, if it is news.
    pub(crate) fn say(&self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        self.node.control.say(Progress {
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
