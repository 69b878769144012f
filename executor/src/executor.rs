//! The root side: judges every document itself from its exact bytes, stores what it decided, and only then acts.

mod pending;
mod task;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use hostler_plan::{
    id::NodeName,
    trust::{Granted, Identity, Start},
};

use self::pending::Pending;
use crate::{
    artifacts::Downloads,
    context::NodeContext,
    control::Control,
    disk::Disk,
    error::ExecutorError,
    host::Host,
    inbox::RequestReceiver,
    keys::Keys,
    protocol::{Grant, Request},
    receipts::Receipts,
    self_cordon::{EVALUATE_EVERY, SelfCordonReconciler},
    state_file::{StateFile, StoredState, damaged},
    status::ExecutorStatus,
};

/// How often a task that waits for its turn is looked at when nothing arrives: its time comes, or the plan's is over.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How long nothing must arrive before the newest receipt gets its file.
const FILE_AFTER: Duration = Duration::from_millis(200);

/// Why the executor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Shutdown,
    /// A task asked for a reboot: nothing may start before it.
    Rebooting,
}

/// The executor of an enrolled node.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) context: NodeContext,
    /// Granted tasks of which nothing has begun.
    pending: Vec<Pending>,
    pub(crate) self_cordon: SelfCordonReconciler,
}

impl Executor {
    /// Reads what the node knows. Anything missing or damaged is a refusal: an enrolled node never begins afresh.
    pub(crate) fn open(
        disk: Arc<Disk>,
        keys: Arc<Keys>,
        node: NodeName,
        host: Arc<dyn Host>,
        status: Arc<ExecutorStatus>,
        receiver: RequestReceiver,
        downloads: Downloads,
    ) -> Result<Self, ExecutorError> {
        let (state_file, held) = StateFile::open(&disk)?;
        let StoredState { state, receipt } = held.ok_or_else(|| damaged("none of an enrolled node"))?;
        let me = Identity { node, key: keys.public().fingerprint(), arch: host.arch() };
        keys.check(&state, &me.node)?;
        let mut receipts = Receipts::load(&disk, state.next_receipt().0)?;
        if let Some(receipt) = receipt {
            receipts.add_unread(receipt)?;
        }
        let runs_coordinator = host.runs_coordinator();
        let control = Control::new(host, status, receiver, downloads);
        let mut context = NodeContext {
            disk,
            keys,
            me,
            state,
            state_file,
            receipts,
            control,
            heard_of_receipts: false,
            lost_receipts: Vec::new(),
            shown_head: None,
            runs_coordinator,
            signed_holding: None,
        };
        if context.state_file.lack_a_copy() {
            context.store_again()?;
        }
        context.adopt_receipts()?;
        context.find_receipts();
        let self_cordon = SelfCordonReconciler::open(&context.disk);
        let mut executor = Self { context, pending: Vec::new(), self_cordon };
        executor.context.publish();
        Ok(executor)
    }

    /// Works until it is stopped or the machine is about to reboot.
    pub(crate) fn run(mut self) -> Result<Ended, ExecutorError> {
        if let Some(ended) = self.resume()? {
            return Ok(ended);
        }
        // Whether there was no room for a receipt's file.
        let mut unfiled = false;
        loop {
            if let Some(ended) = self.take_turns()? {
                return Ok(ended);
            }
            // Between two tasks only: while one runs, the node's cordon is its business.
            self.self_cordon.reconcile(&self.context, &*self.context.control.host);
            // An idle executor sleeps until somebody wants something.
            let look = (!self.pending.is_empty()).then_some(LOOK_AGAIN);
            let evaluate = self.self_cordon.is_awake().then_some(EVALUATE_EVERY);
            let file = self.context.receipts.is_unfiled().then_some(if unfiled { LOOK_AGAIN } else { FILE_AFTER });
            let at_most = [look, evaluate, file].into_iter().flatten().min();
            match self.context.control.next(at_most) {
                Ok(Some(request)) => self.handle(request)?,
                Ok(None) => unfiled = !self.context.file_receipts(),
                Err(_) => {
                    self.context.file_receipts();
                    return Ok(Ended::Shutdown);
                }
            }
        }
    }

    /// As [`run`](Self::run), but ends when nothing is left to do.
    #[cfg(test)]
    pub(crate) fn run_until_idle(mut self) -> Result<Ended, ExecutorError> {
        if let Some(ended) = self.resume()? {
            return Ok(ended);
        }
        loop {
            if let Some(ended) = self.take_turns()? {
                return Ok(ended);
            }
            let Ok(Some(request)) = self.context.control.next(Some(Duration::ZERO)) else {
                self.context.file_receipts();
                return Ok(Ended::Shutdown);
            };
            self.handle(request)?;
        }
    }

    pub(crate) fn handle(&mut self, request: Request) -> Result<(), ExecutorError> {
        match request {
            Request::Trust { roots, roster } => self.context.accept_trust(&roots, roster.as_ref()),
            Request::Plan(signed) => self.context.accept_plan(&signed),
            Request::Decision(signed) => self.context.accept_decision(&signed),
            Request::Grant(grant) => {
                self.accept_grant(*grant);
                Ok(())
            }
            Request::Welcome { own_receipts, head } => self.context.accept_welcome(&own_receipts, head),
            Request::ReceiptAcknowledged(digest) => self.context.acknowledge(&digest),
            Request::LeaseRenewed { grant, lease_seconds } => {
                self.renew_pending(grant, lease_seconds);
                Ok(())
            }
            Request::Stop { plan, reason } => self.stop_pending(&plan, &reason),
            // For a task that ended already.
            Request::Fetched { .. } => Ok(()),
        }
    }

    fn accept_grant(&mut self, grant: Grant) {
        self.context.note_head(grant.head);
        if self.context.has_run(&grant.plan, &grant.task) {
            // Its receipt is in the status or was acknowledged. A task runs once in a plan.
            self.context.publish();
            return;
        }
        let mut granted = Granted::new(grant.plan, grant.task.clone(), grant.receipts);
        // A lease has to do with when, not with whether.
        let start = self.context.may_start(&mut granted, true);
        match (start, self.context.state.begun_plan(&grant.plan).cloned()) {
            (Start::Now(_) | Start::Wait(_), Some(plan)) => {
                self.await_turn(plan, granted, grant.grant, grant.lease_seconds);
            }
            (Start::Never(refused), _) => self.context.refuse(Some(grant.plan), refused),
            (Start::Now(_) | Start::Wait(_), None) => {}
        }
    }
}
