//! One task from its grant, or from its journal, to its receipt.

use hostler_plan::{
    document::{Observation, Outcome, Plan, Receipt, ReceiptType, StepResult, Task},
    id::Digest,
    refusal::Refused,
    trust::Verified,
};

use super::{Ended, Executor, ExecutorError};
use crate::{
    journal::{self, Record, Running},
    protocol::{Progress, Request, RunningTask},
    steps::{self, Check, StepContext, StepError},
};

/// How a task left the executor.
enum Left {
    /// With an outcome and the observations for its receipt.
    Ended(Outcome),
    /// In the journal, for the next process.
    Suspended(Ended),
}

impl Executor {
    /// Goes on with the task that the journal tells of.
    pub(super) fn resume(&mut self) -> Result<Option<Ended>, ExecutorError> {
        let Some(running) = journal::load(&self.context.disk)? else { return Ok(None) };
        let begun = &running.begun;
        if self.context.receipts.of_task(&begun.plan, &begun.task).is_some() {
            // The process ended between the receipt and the end of the journal.
            journal::close(&self.context.disk, &running)?;
            return Ok(None);
        }
        tracing::info!(PLAN = %begun.plan, TASK = %begun.task, "going on with a task that was begun before");
        let lease_seconds = match self.context.state.held_plan(&self.context.me, &begun.plan) {
            Ok(plan) => plan.document().strategy.lease_seconds,
            Err(_) => 0,
        };
        let task = RunningTask { plan: begun.plan, task: begun.task.clone(), grant: begun.grant, lease_seconds };
        self.control.begin(task, false);
        self.perform(running)
    }

    /// Runs the task's steps and signs its receipt.
    pub(super) fn perform(&mut self, mut running: Running) -> Result<Option<Ended>, ExecutorError> {
        let node = self.context.me.node.clone();
        let span = tracing::info_span!(
            "task",
            PLAN = %running.begun.plan,
            TASK = %running.begun.task,
            NODE = %node,
        );
        let _entered = span.enter();
        if running.ended.is_none() {
            match self.run_steps(&mut running)? {
                Left::Ended(outcome) => {
                    let at = self.control.host.now().whole_seconds();
                    journal::write(&self.context.disk, &mut running, Record::Ended { outcome, at })?;
                }
                Left::Suspended(ended) => {
                    journal::keep(&self.context.disk, &mut running)?;
                    return Ok(Some(ended));
                }
            }
        }
        self.sign_off(&running)?;
        journal::close(&self.context.disk, &running)?;
        self.control.end();
        self.publish();
        Ok(None)
    }

    fn run_steps(&mut self, running: &mut Running) -> Result<Left, ExecutorError> {
        let mut plan = match self.still_held(&running.begun.plan) {
            Ok(plan) => plan,
            Err(refused) => return Ok(Left::Ended(void(&refused))),
        };
        let Some(task) = plan.document().task(&running.begun.task).cloned() else {
            return Ok(Left::Ended(Outcome::Failed { reason: "the plan has no such task".into() }));
        };
        if running.intents.is_empty()
            && running.proofs.is_empty()
            && let Err(error) = self.preflight(&plan, &task, running)
        {
            return self.leave(&plan, &task, running, error);
        }
        while running.proofs.len() < task.steps.len() {
            let step = running.proofs.len();
            if !running.intents.contains_key(&step) {
                match self.may_start(&task, step, &running.begun.plan)? {
                    Ok(current) => plan = current,
                    Err(error) => return self.leave(&plan, &task, running, error),
                }
            }
            if let Err(error) = self.run_step(&plan, &task, running, step)? {
                return self.leave(&plan, &task, running, error);
            }
        }
        Ok(Left::Ended(Outcome::Succeeded {}))
    }

    fn still_held(&self, plan: &Digest) -> Result<Verified<Plan>, Refused> {
        self.context.state.held_plan(&self.context.me, plan)
    }

    fn preflight(&mut self, plan: &Verified<Plan>, task: &Task, running: &Running) -> Result<(), StepError> {
        for (index, step) in task.steps.iter().enumerate() {
            let mut context = self.step_context(plan, task, running, index)?;
            steps::action(step).preflight(&mut context)?;
        }
        Ok(())
    }

    /// Before a step begins: new documents are heard, the plan is still open, the lease holds. Waits for a lease that
    /// was lost; the outer error is the disk's.
    fn may_start(
        &mut self,
        task: &Task,
        step: usize,
        plan: &Digest,
    ) -> Result<Result<Verified<Plan>, StepError>, ExecutorError> {
        let mut said = false;
        loop {
            let lease = match self.control.lease_holds() {
                Ok(lease) => lease,
                Err(interruption) => return Ok(Err(interruption.into())),
            };
            for request in self.control.take_documents() {
                match request {
                    Request::Trust { roots, roster } => self.accept_trust(&roots, roster.as_ref())?,
                    Request::Plan(signed) => self.accept_plan(signed)?,
                    Request::ReceiptAcknowledged(digest) => self.acknowledge(&digest)?,
                    Request::Grant(_)
                    | Request::LeaseRenewed { .. }
                    | Request::Stop { .. }
                    | Request::Fetched { .. } => {}
                }
            }
            let current = match self.still_held(plan) {
                Ok(current) => current,
                Err(refused) => return Ok(Err(StepError::Void(refused))),
            };
            if lease {
                return Ok(Ok(current));
            }
            if !said {
                said = true;
                let sentence = "waits: the coordinator has not renewed the lease, and nothing new starts without it";
                self.say(plan, task, step, sentence.into());
            }
            if let Err(interruption) = self.control.await_lease() {
                return Ok(Err(interruption.into()));
            }
        }
    }

    /// Check, apply, verify, with intent and proof in the journal. The outer error is the disk's.
    fn run_step(
        &mut self,
        plan: &Verified<Plan>,
        task: &Task,
        running: &mut Running,
        index: usize,
    ) -> Result<Result<(), StepError>, ExecutorError> {
        let step = &task.steps[index];
        let span = tracing::info_span!("step", STEP = step.op());
        let _entered = span.enter();
        self.say(&running.begun.plan, task, index, step.sentence(&task.subject));
        let begun_before = running.intents.contains_key(&index);
        let checked = self.step_context(plan, task, running, index).and_then(|mut context| {
            let check = steps::action(step).check(&mut context)?;
            Ok((check, context.observations))
        });
        let proof = match checked {
            Err(error) => return Ok(Err(self.unless_ending(error))),
            Ok((Check::Mismatch { expected, found }, _)) => {
                let reason = format!("{}: expected {expected}, found {found}", step.op());
                return Ok(Err(StepError::Failed(reason)));
            }
            Ok((Check::Done(detail), observations)) => (begun_before, detail, observations),
            Ok((Check::Ready, _)) => {
                let boot_id = self.control.host.boot_id()?;
                let at = self.control.host.now();
                journal::write(&self.context.disk, running, Record::Intent { step: index, boot_id, at })?;
                let applied = self.step_context(plan, task, running, index).and_then(|mut context| {
                    steps::action(step).apply(&mut context)?;
                    let detail = steps::action(step).verify(&mut context)?;
                    Ok((detail, context.observations))
                });
                match applied {
                    Ok((detail, observations)) => (true, detail, observations),
                    Err(error) => return Ok(Err(self.unless_ending(error))),
                }
            }
        };
        let (changed, detail, observations) = proof;
        tracing::info!("{}: {detail}", step.op());
        journal::write(&self.context.disk, running, Record::Proof { step: index, changed, detail, observations })?;
        Ok(Ok(()))
    }

    /// A program that was ended together with this process has not failed: the next process looks how far it came.
    fn unless_ending(&mut self, error: StepError) -> StepError {
        match error {
            StepError::Failed(reason) if self.control.is_ending() => {
                tracing::warn!("cut off while this agent ends, goes on in the next one: {reason}");
                StepError::Ending
            }
            other @ (StepError::Failed(_)
            | StepError::Blocked { .. }
            | StepError::TimedOut(_)
            | StepError::Unreachable(_)
            | StepError::Stopped(_)
            | StepError::Void(_)
            | StepError::Ending
            | StepError::Rebooting) => other,
        }
    }

    fn step_context<'a>(
        &'a mut self,
        plan: &'a Verified<Plan>,
        task: &'a Task,
        running: &'a Running,
        step: usize,
    ) -> Result<StepContext<'a>, StepError> {
        let roster = self
            .context
            .state
            .roster()
            .ok_or_else(|| StepError::Failed("expected to hold the plan's roster, found none".into()))?;
        Ok(StepContext {
            disk: &self.context.disk,
            keys: &self.context.keys,
            plan,
            task,
            step,
            roster,
            receipts: &running.begun.receipts,
            first_attempt: running.intents.get(&step).cloned(),
            observations: Vec::new(),
            control: &mut self.control,
        })
    }

    /// From an error to the outcome, with what can be undone undone.
    fn leave(
        &mut self,
        plan: &Verified<Plan>,
        task: &Task,
        running: &Running,
        error: StepError,
    ) -> Result<Left, ExecutorError> {
        let outcome = match error {
            StepError::Ending => return Ok(Left::Suspended(Ended::Shutdown)),
            StepError::Rebooting => return Ok(Left::Suspended(Ended::Rebooting)),
            StepError::Failed(reason) => Outcome::Failed { reason },
            StepError::Blocked { reason, blockers } => Outcome::Blocked { reason, blockers },
            StepError::TimedOut(reason) => Outcome::TimedOut { reason },
            StepError::Unreachable(reason) => Outcome::Unreachable { reason },
            StepError::Stopped(reason) => Outcome::Failed { reason: format!("stopped: {reason}") },
            StepError::Void(refused) => void(&refused),
        };
        let undone = match self.step_context(plan, task, running, running.proofs.len()) {
            Ok(mut context) => {
                let touched = running.intents.keys().filter_map(|step| task.steps.get(*step));
                touched.map(steps::action).find_map(|action| action.undo(&outcome, &mut context))
            }
            Err(_) => None,
        };
        let outcome = match undone {
            Some(sentence) => with_sentence(outcome, &sentence),
            None => outcome,
        };
        tracing::warn!("task {} {outcome}", task.id);
        Ok(Left::Ended(outcome))
    }

    fn sign_off(&mut self, running: &Running) -> Result<(), ExecutorError> {
        let begun = &running.begun;
        let (outcome, ended) = match &running.ended {
            Some((outcome, at)) => (outcome.clone(), *at),
            None => return Ok(()),
        };
        let ops: Vec<&'static str> = match self.still_held(&begun.plan) {
            Ok(plan) => plan
                .document()
                .task(&begun.task)
                .map(|t| t.steps.iter().map(hostler_plan::step::Step::op).collect())
                .unwrap_or_default(),
            Err(_) => Vec::new(),
        };
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
            boot_id: self.control.host.boot_id()?,
            counter,
            previous,
            relied_on: begun.relied_on.clone(),
            holds: self.context.state.holds(None),
            started: begun.started,
            ended: ended.max(begun.started),
        };
        self.context.sign_receipt(receipt)
    }

    fn say(&self, plan: &Digest, task: &Task, step: usize, sentence: String) {
        self.control.say(Progress { plan: *plan, task: task.id.clone(), step, steps: task.steps.len(), sentence });
    }
}

fn void(refused: &Refused) -> Outcome {
    Outcome::Failed { reason: format!("the plan does not count here any more: {}", refused.reason) }
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
        Outcome::Refused { refusal, reason } => Outcome::Refused { refusal, reason: longer(reason) },
    }
}
