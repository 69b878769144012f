//! Granted tasks of which nothing has begun: each waits for its turn, and no one of them holds up another.

use hostler_plan::{
    document::{Outcome, Plan},
    entry::StoredDocument,
    id::{Digest, TaskId},
    timestamp::Timestamp,
    trust::{Granted, Start, Verified},
};

use super::{Ended, Executor, ExecutorError};
use crate::{
    control::Lease,
    journal::{self, Begun, Running},
    protocol::{Progress, RunningTask},
};

/// A coordinator grants a node one task at a time; a responder's drain and doubled grants may come beside it.
const MAX_PENDING: usize = 8;

/// A task that was granted and has not begun.
#[derive(Debug)]
pub(super) struct Pending {
    pub plan: Verified<Plan>,
    pub granted: Granted,
    pub grant: u64,
    pub lease: Lease,
    /// When it was granted.
    pub since: Timestamp,
    /// Why it waits.
    pub sentence: String,
}

impl Pending {
    fn is_of(&self, plan: &Digest, task: &TaskId) -> bool {
        self.granted.plan() == plan && self.granted.task() == task
    }

    /// Its journal, without a file.
    fn at_its_beginning(&self) -> Running {
        let (granted, document) = (&self.granted, self.plan.document());
        journal::begin(Begun {
            plan: self.plan.digest(),
            epoch: document.epoch,
            seq: document.seq,
            task: granted.task().clone(),
            grant: self.grant,
            relied_on: granted.relied_on().to_vec(),
            receipts: granted.proof().into_iter().map(StoredDocument).collect(),
            // A clock that is not set yet shows less than when the plan was made.
            started: self.since.max(document.created),
        })
    }

    fn shown(&self) -> (RunningTask, Progress) {
        let (plan, task, sentence) = (self.plan.digest(), self.granted.task().clone(), self.sentence.clone());
        let steps = self.plan.document().task(&task).map_or(0, |task| task.steps.len());
        let lease_seconds = self.lease.seconds();
        let running = RunningTask { plan, task: task.clone(), grant: self.grant, lease_seconds };
        (running, Progress { plan, task, step: 0, steps, sentence })
    }
}

impl Executor {
    /// Puts a granted task in the queue; one that waits already takes the newer receipts and lease.
    pub(super) fn await_turn(&mut self, plan: Verified<Plan>, granted: Granted, grant: u64, lease_seconds: u64) {
        let mut lease = Lease::none(plan.document().strategy.lease_seconds);
        lease.renew(lease_seconds);
        let since = self.context.control.host.now().whole_seconds();
        let pending = Pending { plan, granted, grant, lease, since, sentence: String::new() };
        let known = self.pending.iter().position(|p| p.is_of(pending.granted.plan(), pending.granted.task()));
        match known {
            Some(place) => self.pending[place] = Pending { since: self.pending[place].since, ..pending },
            None if self.pending.len() < MAX_PENDING => self.pending.push(pending),
            None => tracing::warn!(
                PLAN = %pending.granted.plan(),
                "{MAX_PENDING} granted tasks wait already; {} is dropped until it is granted again",
                pending.granted.task()
            ),
        }
    }

    pub(super) fn renew_pending(&mut self, grant: u64, lease_seconds: u64) {
        let of_grant = self.pending.iter_mut().filter(|pending| pending.grant == grant);
        of_grant.for_each(|pending| pending.lease.renew(lease_seconds));
    }

    /// Somebody stopped a plan: what has not begun of it never begins.
    pub(super) fn stop_pending(&mut self, plan: &Digest, reason: &str) -> Result<(), ExecutorError> {
        self.context.control.status.stopped(*plan);
        while let Some(place) = self.pending.iter().position(|pending| pending.granted.plan() == plan) {
            let stopped = Outcome::Failed { reason: format!("stopped: {reason}") };
            self.end_pending(place, stopped)?;
        }
        Ok(())
    }

    /// Performs what may begin now, one task after the other, and ends what never will.
    pub(crate) fn take_turns(&mut self) -> Result<Option<Ended>, ExecutorError> {
        let mut place = 0;
        while let Some(pending) = self.pending.get_mut(place) {
            match self.context.may_start(&mut pending.granted, pending.lease.holds()) {
                Start::Now(_) => {
                    let pending = self.pending.remove(place);
                    if let Some(ended) = self.begin(pending)? {
                        return Ok(Some(ended));
                    }
                    // What was learned meanwhile may concern every other one.
                    place = 0;
                }
                Start::Wait(sentence) => {
                    pending.sentence = sentence;
                    place += 1;
                }
                Start::Never(refused) => {
                    let (refusal, reason) = (refused.refusal, refused.reason);
                    self.end_pending(place, Outcome::Refused { refusal, reason })?;
                }
            }
        }
        self.context.control.show(self.pending.first().map(Pending::shown));
        Ok(None)
    }

    fn begin(&mut self, pending: Pending) -> Result<Option<Ended>, ExecutorError> {
        let running = pending.at_its_beginning();
        self.context.control.begin(pending.shown().0, pending.lease);
        self.perform(pending.plan, running, pending.granted)
    }

    /// Signs that a task ended before anything of it began.
    fn end_pending(&mut self, place: usize, outcome: Outcome) -> Result<(), ExecutorError> {
        let pending = self.pending.remove(place);
        tracing::warn!(PLAN = %pending.granted.plan(), "task {} {outcome}", pending.granted.task());
        let mut running = pending.at_its_beginning();
        running.ended = Some((outcome, self.context.control.host.now().whole_seconds()));
        self.sign_off(&pending.plan, &running)?;
        self.context.publish();
        Ok(())
    }
}
