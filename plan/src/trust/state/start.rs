//! The one rule for whether something new may start now.

use super::{Basis, Held, NodeState};
use crate::{
    document::{Plan, Signed, Task},
    id::{Digest, TaskId},
    refusal::{Refusal, Refused},
    trust::{Clock, Identity, Verified, order_met, plan as plans},
};

/// A task that was granted, with the receipts that were offered for it and what they have proved so far.
#[derive(Debug, Clone)]
pub struct Granted {
    plan: Digest,
    task: TaskId,
    receipts: Vec<Signed>,
    /// The receipts that prove the order, and under which root and roster they did.
    proved: Option<(Basis, Vec<Digest>)>,
    /// Whether something of the task has begun: no window closes on it then.
    has_begun: bool,
}

impl Granted {
    /// Nothing is proved yet.
    pub fn new(plan: Digest, task: TaskId, receipts: Vec<Signed>) -> Self {
        Self { plan, task, receipts, proved: None, has_begun: false }
    }

    /// Something of the task begins now, or had begun before: whatever window it began in may close.
    pub fn begin(&mut self) {
        self.has_begun = true;
    }

    /// The plan that holds the task.
    pub fn plan(&self) -> &Digest {
        &self.plan
    }

    /// The task.
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    /// The digests of the receipts that prove the order, once they did.
    pub fn relied_on(&self) -> &[Digest] {
        self.proved.as_ref().map_or(&[], |(_, digests)| digests)
    }

    /// Those receipts.
    pub fn proof(&self) -> Vec<Signed> {
        let of = |digest: &Digest| self.receipts.iter().find(|receipt| receipt.digest() == *digest).cloned();
        self.relied_on().iter().filter_map(of).collect()
    }
}

/// Whether a step that has not begun may begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// It may; the lease is the coordinator's, and asked beside it.
    Now(Verified<Plan>),
    /// Not yet: the sentence says why, and time alone may change it.
    Wait(String),
    /// Never under this plan.
    Never(Refused),
}

impl NodeState {
    /// Whether a step of a granted task may begin now that has not begun yet. Asked before every such step: when the
    /// task was granted, between its steps, after a restart, and after every wait.
    ///
    /// The plan must be held, authentic and fitting under the root and roster that are held, its order proved by
    /// receipts and this node the one that performs the task; it must not be void; and by a clock that is believed
    /// neither it nor the root has expired, its time has come, and of a task of which nothing has begun the window is
    /// open, if it has one, with enough of it left. A clock that cannot be right makes a task wait, unless the end of
    /// the plan is past for certain.
    ///
    /// A task that [`finishes`](Task::finishes) is asked neither for the clock nor whether the plan ended: it puts back
    /// what a task before it is proved to have taken out of service.
    ///
    /// Signatures are verified again only when the root or the roster changed since; what was verified is noted.
    pub fn may_start(&mut self, clock: Clock, me: &Identity, granted: &mut Granted) -> Start {
        match self.judge(clock, me, granted) {
            Ok(start) => start,
            Err(refused) => Start::Never(refused),
        }
    }

    fn judge(&mut self, clock: Clock, me: &Identity, granted: &mut Granted) -> Result<Start, Refused> {
        let plan = self.verified(me, &granted.plan)?;
        let document = plan.document();
        let task = task_of(&plan, &granted.task, me)?;
        self.prove_order(&plan, granted)?;
        if task.finishes {
            return Ok(Start::Now(plan));
        }
        if !self.plans.iter().any(|held| held.plan.digest() == granted.plan) {
            return Err(void(&granted.plan));
        }
        let certain = self.time(clock);
        self.root.check_expiry(certain)?;
        plans::not_expired(document, certain)?;
        let now = match self.believed(clock) {
            Ok(now) => now,
            Err(why) => {
                let seq = document.seq;
                return Ok(Start::Wait(format!(
                    "waits: nothing new starts by a clock that cannot be right, and {why}; plan {seq} is tried again \
                        once the clock is set"
                )));
            }
        };
        if let Some(why) = plans::begins_later(document, now) {
            return Ok(Start::Wait(format!("waits: {why}")));
        }
        let windows = document.windows.as_ref().filter(|_| !granted.has_begun);
        Ok(match windows.and_then(|windows| windows.shut(&task.id, now)) {
            Some(shut) => Start::Wait(shut.to_string()),
            None => Start::Now(plan),
        })
    }

    /// A plan whose bytes are held, verified under the root and the roster that are held now.
    fn verified(&mut self, me: &Identity, digest: &Digest) -> Result<Verified<Plan>, Refused> {
        let basis = self.basis();
        let held = self.held(digest).ok_or_else(|| void(digest))?.clone();
        if self.stands(&held) {
            return Ok(held.plan);
        }
        let plan = plans::authentic(&self.root, held.plan.signed())?;
        plans::check_times(&self.root, plan.document())?;
        self.check_fit(&plan, me)?;
        let verified = Held { plan: plan.clone(), under: basis };
        if let Some(held) = self.plans.iter_mut().chain(&mut self.ended).find(|held| held.plan.digest() == *digest) {
            *held = verified;
        }
        Ok(plan)
    }

    fn held(&self, digest: &Digest) -> Option<&Held> {
        self.plans.iter().chain(&self.ended).find(|held| held.plan.digest() == *digest)
    }

    fn prove_order(&self, plan: &Verified<Plan>, granted: &mut Granted) -> Result<(), Refused> {
        let (Some(basis), Some(roster)) = (self.basis(), &self.roster) else {
            return Err(Refused::new(Refusal::DamagedState, "expected a roster beside a held plan, found none"));
        };
        if granted.proved.as_ref().is_some_and(|(under, _)| *under == basis) {
            return Ok(());
        }
        let relied_on = order_met(plan, &granted.task, &granted.receipts, roster)?;
        granted.proved = Some((basis, relied_on));
        Ok(())
    }
}

fn task_of<'a>(plan: &'a Verified<Plan>, id: &TaskId, me: &Identity) -> Result<&'a Task, Refused> {
    let task = plan.document().task(id).ok_or_else(|| {
        let plan = plan.digest().short();
        Refused::new(
            Refusal::OrderNotMet,
            format!("expected a task of plan {plan}, found {id}, which it has not; grant one of its tasks"),
        )
    })?;
    if task.node == me.node {
        return Ok(task);
    }
    let (node, here) = (&task.node, &me.node);
    Err(Refused::new(
        Refusal::NotATarget,
        format!("expected a task for {here}, found {id}, which {node} performs; grant it there"),
    ))
}

fn void(plan: &Digest) -> Refused {
    let plan = plan.short();
    Refused::new(
        Refusal::Replay,
        format!("expected plan {plan} to be open here, found it is void or never arrived; sign a new plan"),
    )
}
