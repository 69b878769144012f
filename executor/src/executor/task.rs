//! One task from its grant, or from its journal, to its receipt.

use std::time::Duration;

use hostler_plan::{
    document::{
        DIFFERS, MAX_PODS, Observation, Outcome, Plan, PlanKind, PodReport, Receipt, ReceiptType, StepResult, Task,
    },
    id::NodeName,
    refusal::{Refusal, Refused},
    step::Step,
    trust::{Granted, Start, Verified},
};

use super::{Ended, Executor, ExecutorError, pending::Pending};
use crate::{
    control::{Lease, POLL},
    journal::{self, Begun, Record, Running},
    protocol::{Progress, RunningTask},
    state_file::damaged,
    steps::{self, Check, StepClock, StepContext, StepError, Undone},
};

/// An API server starts within two minutes of a boot, on a Pi.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a task left the executor.
enum Left {
    /// With an outcome and the observations for its receipt.
    Ended(Outcome),
    /// In the journal, for the next process.
    Suspended(Ended),
    /// Nothing of it has begun, and it may not begin yet.
    Waits(String),
}

/// A task at work.
struct Work {
    plan: Verified<Plan>,
    task: Task,
    granted: Granted,
    running: Running,
}

impl Executor {
    /// Goes on with the task that the journal tells of.
    pub(super) fn resume(&mut self) -> Result<Option<Ended>, ExecutorError> {
        let context = &self.context;
        let is_over = |begun: &Begun| context.has_run(&begun.plan, &begun.task);
        let Some(running) = journal::load(&context.disk, is_over)? else { return Ok(None) };
        let begun = &running.begun;
        if self.context.has_run(&begun.plan, &begun.task) {
            // The process ended between the receipt and the end of the journal.
            journal::close(&self.context.disk, &running)?;
            return Ok(None);
        }
        tracing::info!(PLAN = %begun.plan, TASK = %begun.task, "going on with a task that was begun before");
        let Some(plan) = self.context.state.begun_plan(&begun.plan).cloned() else {
            return Err(damaged("the journal of a task and not its plan").into());
        };
        // After a restart a task has no lease until it is renewed.
        let lease = Lease::none(plan.document().strategy.lease_seconds);
        let receipts = begun.receipts.iter().map(|stored| stored.0.clone()).collect();
        let mut granted = Granted::new(begun.plan, begun.task.clone(), receipts);
        if !running.intents.is_empty() {
            granted.begin();
        }
        let task = RunningTask {
            plan: begun.plan,
            task: begun.task.clone(),
            grant: begun.grant,
            lease_seconds: lease.seconds(),
        };
        self.context.control.begin(task, lease);
        self.perform(plan, running, granted)
    }

    /// Runs the task's steps and signs its receipt.
    pub(super) fn perform(
        &mut self,
        plan: Verified<Plan>,
        running: Running,
        granted: Granted,
    ) -> Result<Option<Ended>, ExecutorError> {
        let begun = &running.begun;
        let span = tracing::info_span!("task", PLAN = %begun.plan, TASK = %begun.task, NODE = %self.context.me.node);
        let _entered = span.enter();
        let Some(task) = plan.document().task(&begun.task).cloned() else {
            return Err(damaged("the journal of a task that its plan has not").into());
        };
        self.context.state.set_at_work(Some(begun.plan));
        let mut work = Work { plan, task, granted, running };
        if work.running.ended.is_none() {
            match self.run_steps(&mut work)? {
                Left::Ended(outcome) => {
                    let at = self.context.control.host.now().whole_seconds();
                    journal::write(&self.context.disk, &mut work.running, Record::Ended { outcome, at })?;
                }
                Left::Suspended(ended) => {
                    journal::keep(&self.context.disk, &mut work.running)?;
                    return Ok(Some(ended));
                }
                Left::Waits(sentence) => return self.wait_again(work, sentence),
            }
        }
        self.sign_off(&work.plan, &work.running)?;
        journal::close(&self.context.disk, &work.running)?;
        self.context.state.set_at_work(None);
        let (_, stopped) = self.context.control.end();
        self.context.publish();
        if let Some(reason) = stopped {
            self.stop_pending(&work.plan.digest(), &reason)?;
        }
        Ok(None)
    }

    /// Puts a task of which nothing has begun back to those that wait, so that another one gets its turn.
    fn wait_again(&mut self, work: Work, sentence: String) -> Result<Option<Ended>, ExecutorError> {
        let Work { plan, granted, running, .. } = work;
        journal::close(&self.context.disk, &running)?;
        self.context.state.set_at_work(None);
        let (lease, _) = self.context.control.end();
        let lease = lease.unwrap_or_else(|| Lease::none(plan.document().strategy.lease_seconds));
        let (grant, since) = (running.begun.grant, running.begun.started);
        self.pending.push(Pending { plan, granted, grant, lease, since, sentence });
        Ok(None)
    }

    fn run_steps(&mut self, work: &mut Work) -> Result<Left, ExecutorError> {
        if work.running.is_at_its_beginning()
            && let Err(error) = self.preflight(work)
        {
            return self.leave(work, error);
        }
        while work.running.proofs.len() < work.task.steps.len() {
            let step = work.running.proofs.len();
            if !work.running.intents.contains_key(&step) {
                match self.may_begin(work, step)? {
                    Ok(May::Begin) => {}
                    Ok(May::Wait(sentence)) => return Ok(Left::Waits(sentence)),
                    Err(error) => return self.leave(work, error),
                }
            }
            if let Err(error) = self.run_step(work, step)? {
                return self.leave(work, error);
            }
        }
        Ok(Left::Ended(Outcome::Succeeded {}))
    }

    fn preflight(&mut self, work: &mut Work) -> Result<(), StepError> {
        steps::check_machine(&mut self.step_context(work, 0)?)?;
        for (index, step) in work.task.steps.clone().iter().enumerate() {
            let mut context = self.step_context(work, index)?;
            steps::action(step).preflight(&mut context)?;
        }
        Ok(())
    }

    /// Before a step begins that has not begun: new documents are heard, and it is asked whether it may. A task of
    /// which something has begun waits here until it may or never will; one at its beginning gives way. The outer error
    /// is the disk's.
    fn may_begin(&mut self, work: &mut Work, step: usize) -> Result<Result<May, StepError>, ExecutorError> {
        let mut said = String::new();
        loop {
            if let Err(interruption) = self.context.control.listen() {
                return Ok(Err(interruption.into()));
            }
            self.context.take_in_documents()?;
            let lease = self.context.control.lease_holds();
            let sentence = match self.context.may_start(&mut work.granted, lease) {
                Start::Now(_) => {
                    self.note_time()?;
                    return Ok(Ok(May::Begin));
                }
                Start::Never(refused) => return Ok(Err(StepError::Void(refused))),
                Start::Wait(sentence) => sentence,
            };
            if work.running.intents.is_empty() {
                return Ok(Ok(May::Wait(sentence)));
            }
            if said != sentence {
                self.say(work, step, sentence.clone());
                said = sentence;
            }
            if let Err(interruption) = self.context.control.pause(POLL) {
                return Ok(Err(interruption.into()));
            }
        }
    }

    /// Check, apply, verify, with intent and proof in the journal. The outer error is the disk's.
    fn run_step(&mut self, work: &mut Work, index: usize) -> Result<Result<(), StepError>, ExecutorError> {
        let step = &work.task.steps[index].clone();
        let span = tracing::info_span!("step", STEP = step.op());
        let _entered = span.enter();
        self.say(work, index, step.sentence(&work.task.subject));
        let begun_before = work.running.intents.contains_key(&index);
        let checked = self.checked(work, index, step);
        let inspects = work.plan.document().kind == PlanKind::Inspect && !step.only_reads();
        let checked = if inspects { inspected(step, &work.task.subject, checked) } else { checked };
        let proof = match checked {
            Err(error) => return Ok(Err(self.unless_ending(error))),
            Ok((Check::Mismatch { expected, found }, _)) => {
                let reason = format!("{}: expected {expected}, found {found}", step.op());
                return Ok(Err(StepError::Failed(reason)));
            }
            Ok((Check::Done(detail), observations)) => (begun_before, detail, observations),
            Ok((Check::Ready, mut noted)) => {
                noted.retain(|observation| observation.name == CHANGE);
                let boot_id = self.context.control.host.boot_id()?;
                let at = self.context.control.host.now();
                journal::write(&self.context.disk, &mut work.running, Record::Intent { step: index, boot_id, at })?;
                work.granted.begin();
                let applied = self.step_context(work, index).and_then(|mut context| {
                    steps::action(step).apply(&mut context)?;
                    let detail = steps::action(step).verify(&mut context)?;
                    Ok((detail, context.observations))
                });
                match applied {
                    Ok((detail, observations)) => {
                        noted.extend(observations);
                        (true, detail, noted)
                    }
                    Err(error) => return Ok(Err(self.unless_ending(error))),
                }
            }
        };
        let (changed, detail, observations) = proof;
        tracing::info!("{}: {detail}", step.op());
        let proof = Record::Proof { step: index, changed, detail, observations };
        journal::write(&self.context.disk, &mut work.running, proof)?;
        Ok(Ok(()))
    }

    /// What a step finds. Where that cannot be told while the API server of this machine is silent, as for a while
    /// after a boot, the step waits for it.
    fn checked(&mut self, work: &mut Work, index: usize, step: &Step) -> Result<(Check, Vec<Observation>), StepError> {
        let began = self.context.control.host.now();
        loop {
            let (checked, silent) = {
                let mut context = self.step_context(work, index)?;
                let checked = steps::action(step).check(&mut context);
                let silent = matches!(checked, Err(StepError::Failed(_))).then(|| steps::silent(step, &context));
                (checked.map(|check| (check, context.observations)), silent.flatten())
            };
            let Some(silent) = silent else { return checked };
            let waited = self.context.control.host.now().since(began);
            if waited >= PATIENCE {
                let late = format!("; the API server of this machine was silent for {} min", PATIENCE.as_secs() / 60);
                return checked.map_err(|error| error.with(&late));
            }
            self.say(work, index, format!("waits for the API server of this machine, {silent}"));
            self.context.control.pause(POLL)?;
            self.context.take_in_documents()?;
        }
    }

    /// A program that was ended together with this process has not failed: the next process looks how far it came.
    fn unless_ending(&mut self, error: StepError) -> StepError {
        match error {
            StepError::Failed(reason) if self.context.control.is_ending() => {
                tracing::warn!("cut off while this agent ends, goes on in the next one: {reason}");
                StepError::Ending
            }
            other @ (StepError::Failed(_)
            | StepError::Blocked { .. }
            | StepError::TimedOut(_)
            | StepError::Unreachable(_)
            | StepError::TakenOver { .. }
            | StepError::Stopped(_)
            | StepError::Void(_)
            | StepError::Ending
            | StepError::Rebooting) => other,
        }
    }

    fn step_context<'a>(&'a mut self, work: &'a mut Work, step: usize) -> Result<StepContext<'a>, StepError> {
        let node = &mut self.context;
        let roster = node.state.roster().cloned();
        let roster =
            roster.ok_or_else(|| StepError::Failed("expected to hold the plan's roster, found none".into()))?;
        let clock = StepClock::begin(&*node.control.host);
        Ok(StepContext {
            clock,
            disk: node.disk.clone(),
            keys: node.keys.clone(),
            plan: &work.plan,
            task: &work.task,
            step,
            roster,
            granted: work.granted.clone(),
            running: &mut work.running,
            observations: Vec::new(),
            node,
        })
    }

    /// From an error to the outcome, with what can be undone undone, the last first.
    fn leave(&mut self, work: &mut Work, error: StepError) -> Result<Left, ExecutorError> {
        let has_begun = !work.running.intents.is_empty();
        let outcome = match error {
            StepError::Ending => return Ok(Left::Suspended(Ended::Shutdown)),
            StepError::Rebooting => return Ok(Left::Suspended(Ended::Rebooting)),
            StepError::Failed(reason) => Outcome::Failed { reason },
            StepError::Blocked { reason, blockers } => Outcome::Blocked { reason, blockers },
            StepError::TimedOut(reason) => Outcome::TimedOut { reason },
            StepError::Unreachable(reason) => Outcome::Unreachable { reason },
            StepError::TakenOver { reason, by } => Outcome::TakenOver { reason, by },
            StepError::Stopped(reason) => Outcome::Failed { reason: format!("stopped: {reason}") },
            StepError::Void(Refused { refusal, reason }) if !has_begun => Outcome::Refused { refusal, reason },
            StepError::Void(refused) => ended_early(work, &refused),
        };
        let begun = work.running.intents.keys().filter_map(|step| work.task.steps.get(*step));
        let touched: Vec<Step> = begun.cloned().collect();
        let undone = match self.step_context(work, work.running.proofs.len()) {
            Ok(mut context) => {
                let touched = touched.iter().rev();
                let mut undone = touched.map(steps::action).map(|action| action.undo(&outcome, &mut context));
                undone.find(|undone| *undone != Undone::Nothing).unwrap_or(Undone::Nothing)
            }
            Err(_) => Undone::Nothing,
        };
        let outcome = match undone {
            Undone::Said(sentence) => with_sentence(outcome, &sentence),
            Undone::Nothing => outcome,
            Undone::Ending => return Ok(Left::Suspended(Ended::Shutdown)),
        };
        tracing::warn!("task {} {outcome}", work.task.id);
        Ok(Left::Ended(outcome))
    }

    /// Before something begins, the floor is raised to the time at which it does, unless it was a moment ago: that
    /// write costs as much as the journal's.
    fn note_time(&mut self) -> Result<(), ExecutorError> {
        let context = &mut self.context;
        let next = context.state.clone().with_time(context.clock());
        if next.time_floor() >= context.state.time_floor().plus(FLOOR_LAG) {
            context.store(next)?;
        }
        Ok(())
    }

    pub(super) fn sign_off(&mut self, plan: &Verified<Plan>, running: &Running) -> Result<(), ExecutorError> {
        let begun = &running.begun;
        let (outcome, ended) = match &running.ended {
            Some((outcome, at)) => (outcome.clone(), *at),
            None => return Ok(()),
        };
        let task = plan.document().task(&begun.task);
        let ops: Vec<&'static str> = task.map(|t| t.steps.iter().map(Step::op).collect()).unwrap_or_default();
        let op = |index: usize| ops.get(index).map_or_else(|| format!("step {index}"), |op| (*op).to_owned());
        let mut results: Vec<StepResult> = running
            .proofs
            .iter()
            .enumerate()
            .map(|(index, p)| StepResult { op: op(index), changed: p.changed, detail: p.detail.clone() })
            .collect();
        if running.intents.contains_key(&results.len()) && !outcome.is_success() {
            let index = results.len();
            results.push(StepResult { op: op(index), changed: true, detail: format!("begun; {outcome}") });
        }
        let observations: Vec<Observation> = running.proofs.iter().flat_map(|p| p.observations.clone()).collect();
        let (counter, previous) = self.context.state.next_receipt();
        let receipt = Receipt {
            document_type: ReceiptType::V1,
            fleet_id: self.context.state.root().root().fleet_id.clone(),
            node: self.context.me.node.clone(),
            plan: begun.plan,
            epoch: begun.epoch,
            seq: begun.seq,
            task: begun.task.clone(),
            grant: begun.grant,
            outcome,
            steps: results,
            observations,
            pods: reported(running),
            boot_id: self.context.control.host.boot_id()?,
            counter,
            previous,
            relied_on: begun.relied_on.clone(),
            holds: self.context.holds(),
            started: begun.started,
            ended: ended.max(begun.started),
        };
        self.context.sign_receipt(receipt)
    }

    fn say(&self, work: &Work, step: usize, sentence: String) {
        let (plan, task, steps) = (work.plan.digest(), work.task.id.clone(), work.task.steps.len());
        self.context.control.say(Progress { plan, task, step, steps, sentence });
    }
}

/// What the receipt tells of pods: the most pressing first.
fn reported(running: &Running) -> Vec<PodReport> {
    let mut pods: Vec<PodReport> = running.pods.values().cloned().collect();
    pods.sort_by(|a, b| (a.fate, &a.pod).cmp(&(b.fate, &b.pod)));
    pods.truncate(MAX_PODS);
    pods
}

/// The observation that tells a setting which is to change, old and new.
const CHANGE: &str = "change";

/// What an inspection makes of a check: whatever a plan of another kind would change, or stop at, is said and nothing
/// more. The receipt has an observation for each.
fn inspected(
    step: &Step,
    subject: &NodeName,
    checked: Result<(Check, Vec<Observation>), StepError>,
) -> Result<(Check, Vec<Observation>), StepError> {
    let differs = match checked {
        Ok((Check::Done(_), _)) => return checked,
        Ok((Check::Ready, observations)) => {
            let changes: Vec<Observation> = observations.into_iter().filter(|o| o.name == CHANGE).collect();
            if !changes.is_empty() {
                let said: Vec<&str> = changes.iter().map(|change| change.value.as_str()).collect();
                let done = Check::Done(said.join("; "));
                let differs = |change: Observation| Observation {
                    name: DIFFERS.to_owned(),
                    value: format!("{}: {}", step.op(), change.value),
                };
                return Ok((done, changes.into_iter().map(differs).collect()));
            }
            let which = if step.configures() { "`hostler plan configure`" } else { "a baseline" };
            format!("not so; {which} {}", step.sentence(subject))
        }
        Ok((Check::Mismatch { expected, found }, _)) => format!("expected {expected}, found {found}"),
        Err(StepError::Failed(reason)) => format!("cannot be told: {reason}"),
        Err(
            error @ (StepError::Blocked { .. }
            | StepError::TimedOut(_)
            | StepError::Unreachable(_)
            | StepError::TakenOver { .. }
            | StepError::Stopped(_)
            | StepError::Void(_)
            | StepError::Ending
            | StepError::Rebooting),
        ) => return Err(error),
    };
    let observation = Observation { name: DIFFERS.to_owned(), value: format!("{}: {differs}", step.op()) };
    Ok((Check::Done(differs), vec![observation]))
}

/// Whether a step may begin.
enum May {
    Begin,
    Wait(String),
}

/// How far behind the floor may be when something begins.
const FLOOR_LAG: Duration = Duration::from_secs(60);

/// A begun step is finished; one that had not begun never will.
fn ended_early(work: &Work, refused: &Refused) -> Outcome {
    let step = work.running.proofs.len();
    let op = work.task.steps.get(step).map_or("", Step::op);
    let what = if work.running.intents.contains_key(&step) { "was not gone on with" } else { "was not begun" };
    let why = match refused.refusal {
        Refusal::Expired => "",
        Refusal::BadSignature
        | Refusal::Replay
        | Refusal::WrongFleet
        | Refusal::NotATarget
        | Refusal::OrderNotMet
        | Refusal::DigestMismatch
        | Refusal::Threshold
        | Refusal::RootChain
        | Refusal::DamagedState
        | Refusal::Revoked
        | Refusal::Malformed
        | Refusal::NotAllowed
        | Refusal::Overtaken
        | Refusal::Forked => "the plan does not count here any more: ",
    };
    Outcome::Failed { reason: format!("step {} ({op}) {what}: {why}{}", step + 1, refused.reason) }
}

/// The outcome with one more sentence for people.
fn with_sentence(outcome: Outcome, sentence: &str) -> Outcome {
    let longer = |reason: String| format!("{}. {sentence}", reason.trim_end_matches('.'));
    match outcome {
        Outcome::Succeeded {} => Outcome::Succeeded {},
        Outcome::Failed { reason } => Outcome::Failed { reason: longer(reason) },
        Outcome::Blocked { reason, blockers } => Outcome::Blocked { reason: longer(reason), blockers },
        Outcome::TimedOut { reason } => Outcome::TimedOut { reason: longer(reason) },
        Outcome::Unreachable { reason } => Outcome::Unreachable { reason: longer(reason) },
        Outcome::TakenOver { reason, by } => Outcome::TakenOver { reason: longer(reason), by },
        Outcome::Refused { refusal, reason } => Outcome::Refused { refusal, reason: longer(reason) },
    }
}
