//! The root side: judges every document itself from its exact bytes, stores what it decided, and only then acts.

mod task;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hostler_plan::{
    document::{DocumentKind, Plan, Signed},
    id::{Digest, NodeName},
    refusal::{Refusal, Refused},
    trust::{self, Clock, Identity, Verified},
};

use crate::{
    artifacts,
    context::NodeContext,
    control::{Control, MAX_LEASE_SECONDS},
    disk::Disk,
    error::ExecutorError,
    host::Host,
    journal,
    keys::Keys,
    protocol::{ExecutorStatus, Grant, Holding, Request, RequestReceiver, RunningTask},
    receipts::Receipts,
    self_cordon::{EVALUATE_EVERY, SelfCordonReconciler},
    state_file::{StateFile, StoredState, damaged},
};

/// How often a plan that only lacked a right clock is judged again.
const CLOCK_RETRY: Duration = Duration::from_secs(10);

/// A coordinator grants a node one task at a time; doubled grants may come beside it.
const MAX_WAITING_GRANTS: usize = 8;

/// Why the executor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The network side hung up.
    Shutdown,
    /// A task asked for a reboot: nothing may start before it.
    Rebooting,
}

/// The executor of an enrolled node.
#[derive(Debug)]
pub struct Executor {
    pub(crate) context: NodeContext,
    pub(crate) control: Control,
    /// A plan that was refused only because the clock is not right yet, and the grants of its tasks with the time when
    /// their leases end.
    waits_for_clock: Option<(Signed, Vec<(Grant, Instant)>)>,
    pub(crate) self_cordon: SelfCordonReconciler,
}

impl Executor {
    /// Reads what the node knows. Anything missing or damaged is a refusal: an enrolled node never begins afresh.
    pub fn open(
        disk: Arc<Disk>,
        keys: Arc<Keys>,
        node: NodeName,
        host: Arc<dyn Host>,
        status: Arc<ExecutorStatus>,
        receiver: RequestReceiver,
    ) -> Result<Self, ExecutorError> {
        let (state_file, held) = StateFile::open(&disk)?;
        let StoredState { state, receipt } = held.ok_or_else(|| damaged("none of an enrolled node"))?;
        let me = Identity { node, key: keys.public().fingerprint(), arch: host.arch() };
        let mut receipts = Receipts::load(&disk)?;
        if let Some(receipt) = receipt {
            receipts.add_unread(receipt)?;
        }
        let mut context = NodeContext { disk, keys, me, state, state_file, receipts };
        if context.state_file.lack_a_copy() {
            context.store_again()?;
        }
        context.adopt_receipts()?;
        let self_cordon = SelfCordonReconciler::open(&context.disk);
        let executor =
            Self { context, control: Control::new(host, status, receiver), waits_for_clock: None, self_cordon };
        executor.publish();
        Ok(executor)
    }

    /// Works until the network side hangs up or the machine is about to reboot.
    pub fn run(mut self) -> Result<Ended, ExecutorError> {
        if let Some(ended) = self.resume()? {
            return Ok(ended);
        }
        loop {
            // Between two tasks only: while one runs, the node's cordon is its business.
            self.self_cordon.reconcile(&self.context, &*self.control.host);
            // An idle executor sleeps until somebody wants something.
            let clock = self.waits_for_clock.is_some().then_some(CLOCK_RETRY);
            let at_most = clock.into_iter().chain(self.self_cordon.is_awake().then_some(EVALUATE_EVERY)).min();
            let request = match self.control.next(at_most) {
                Ok(request) => request,
                Err(_) => return Ok(Ended::Shutdown),
            };
            let ended = match request {
                Some(request) => self.handle(request)?,
                None => self.retry_plan()?,
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    /// As [`run`](Self::run), but ends when nothing is left to do.
    #[cfg(test)]
    pub fn run_until_idle(mut self) -> Result<Ended, ExecutorError> {
        if let Some(ended) = self.resume()? {
            return Ok(ended);
        }
        while let Ok(Some(request)) = self.control.next(Some(Duration::ZERO)) {
            if let Some(ended) = self.handle(request)? {
                return Ok(ended);
            }
        }
        Ok(Ended::Shutdown)
    }

    pub(crate) fn handle(&mut self, request: Request) -> Result<Option<Ended>, ExecutorError> {
        match request {
            Request::Trust { roots, roster } => self.accept_trust(&roots, roster.as_ref())?,
            Request::Plan(signed) => self.accept_plan(signed)?,
            Request::Grant(grant) => return self.accept_grant(grant),
            Request::ReceiptAcknowledged(digest) => self.acknowledge(&digest)?,
            // About a task that ended already.
            Request::LeaseRenewed { .. } | Request::Stop { .. } | Request::Fetched { .. } => {}
        }
        Ok(None)
    }

    fn acknowledge(&mut self, digest: &Digest) -> Result<(), ExecutorError> {
        let context = &mut self.context;
        if context.receipts.acknowledge(&context.disk, digest)? {
            context.receipts.prune(&context.disk, context.state.open_plans())?;
            self.publish();
        }
        Ok(())
    }

    fn clock(&self) -> Clock {
        let host = &self.control.host;
        Clock { now: host.now(), synchronised: host.clock_is_synchronised() }
    }

    fn accept_trust(&mut self, roots: &[Signed], roster: Option<&Signed>) -> Result<(), ExecutorError> {
        for signed in roots {
            let held = self.context.state.root();
            if signed.digest() == held.digest() || version_of(signed).is_some_and(|v| v < held.root().version) {
                continue;
            }
            match self.context.state.accept_root(self.clock(), signed) {
                Ok(state) => self.context.store(state)?,
                Err(refused) => {
                    self.refuse(Some(signed.digest()), refused);
                    return Ok(());
                }
            }
        }
        // The roster that is held comes again with every new root, under which its signers may not count any more.
        let held = self.context.state.roster().map(Verified::digest);
        if let Some(signed) = roster.filter(|r| Some(r.digest()) != held) {
            match self.context.state.accept_roster(self.clock(), signed) {
                Ok((state, _)) => self.context.store(state)?,
                Err(refused) => self.refuse(Some(signed.digest()), refused),
            }
        }
        self.publish();
        Ok(())
    }

    fn accept_plan(&mut self, signed: Signed) -> Result<(), ExecutorError> {
        self.waits_for_clock = None;
        let clock = self.clock();
        match self.context.state.accept_plan(clock, &self.context.me, &signed) {
            Ok((state, plan)) => {
                if state != self.context.state {
                    let document = plan.document();
                    tracing::info!(PLAN = %plan.digest(), "plan {} accepted: {}", document.seq, document.title);
                    self.context.store(state)?;
                    let context = &mut self.context;
                    context.receipts.prune(&context.disk, context.state.open_plans())?;
                    artifacts::prune(&context.disk, context.state.held_plans())?;
                } else {
                    // Equal, and it may have been verified again just now.
                    self.context.state = state;
                }
                self.publish();
            }
            Err(refused) => {
                let only_the_clock = refused.refusal == Refusal::Expired
                    && (!clock.synchronised || clock.now < self.context.state.time_floor());
                self.refuse(Some(signed.digest()), refused);
                self.waits_for_clock = only_the_clock.then(|| (signed, Vec::new()));
            }
        }
        Ok(())
    }

    fn retry_plan(&mut self) -> Result<Option<Ended>, ExecutorError> {
        let Some((signed, grants)) = self.waits_for_clock.take() else { return Ok(None) };
        self.accept_plan(signed)?;
        match &mut self.waits_for_clock {
            Some((_, waiting)) => *waiting = grants,
            None => {
                for (grant, _) in grants.into_iter().filter(|(_, lease_ends)| Instant::now() < *lease_ends) {
                    if let Some(ended) = self.accept_grant(grant)? {
                        return Ok(Some(ended));
                    }
                }
            }
        }
        Ok(None)
    }

    fn accept_grant(&mut self, grant: Grant) -> Result<Option<Ended>, ExecutorError> {
        if self.context.receipts.of_task(&grant.plan, &grant.task).is_some() {
            // It ran; its receipt is in the status or was acknowledged. A task runs once in a plan.
            self.control.status.changed.notify_one();
            return Ok(None);
        }
        if let Some((plan, waiting)) = &mut self.waits_for_clock
            && plan.digest() == grant.plan
        {
            // The refusal of the plan was told; a grant whose lease is over by then is none.
            if waiting.len() < MAX_WAITING_GRANTS {
                let lease_ends = Instant::now() + Duration::from_secs(grant.lease_seconds.min(MAX_LEASE_SECONDS));
                waiting.push((grant, lease_ends));
            }
            return Ok(None);
        }
        match self.verify_grant(&grant) {
            Ok((plan, relied_on)) => {
                let document = plan.document();
                let offered = |digest: &Digest| grant.receipts.iter().find(|r| r.digest() == *digest).cloned();
                let begun = journal::Begun {
                    plan: grant.plan,
                    epoch: document.epoch,
                    seq: document.seq,
                    task: grant.task.clone(),
                    grant: grant.grant,
                    receipts: relied_on.iter().filter_map(offered).map(hostler_plan::entry::StoredDocument).collect(),
                    relied_on,
                    started: self.control.host.now().whole_seconds(),
                };
                let running = journal::begin(begun);
                self.control.begin(running_task(&grant, document.strategy.lease_seconds), true);
                self.perform(running)
            }
            Err(refused) => {
                self.refuse(Some(grant.plan), refused);
                Ok(None)
            }
        }
    }

    /// Whether the task may start here and now, and which receipts prove it.
    fn verify_grant(&mut self, grant: &Grant) -> Result<(Verified<Plan>, Vec<Digest>), Refused> {
        let clock = self.clock();
        let NodeContext { state, me, .. } = &mut self.context;
        let held = state.held_plan(me, &grant.plan)?;
        let (equal, plan) = state.accept_plan(clock, me, held.signed())?;
        *state = equal;
        let task = plan.document().task(&grant.task).ok_or_else(|| {
            let (task, plan) = (&grant.task, grant.plan.short());
            Refused::new(
                Refusal::OrderNotMet,
                format!("expected a task of plan {plan}, found {task}, which it has not"),
            )
        })?;
        if task.node != me.node {
            let (id, node, here) = (&task.id, &task.node, &me.node);
            return Err(Refused::new(
                Refusal::NotATarget,
                format!("expected a task for {here}, found {id}, which {node} performs; grant it there"),
            ));
        }
        let roster = state.roster().ok_or_else(|| damaged("a plan without its roster"))?;
        let relied_on = trust::order_met(&plan, &grant.task, &grant.receipts, roster)?;
        Ok((plan, relied_on))
    }

    fn refuse(&self, document: Option<Digest>, refused: Refused) {
        tracing::warn!("{refused}");
        self.control.status.refuse(document, refused);
    }

    /// Puts what the node holds in the status.
    fn publish(&self) {
        let context = &self.context;
        let state = &context.state;
        let holding = Holding {
            root_version: state.root().root().version,
            roster_version: state.roster().map_or(0, |r| r.document().version),
            epoch: state.epoch().0,
            seq: state.seq().0,
            receipt_counter: state.next_receipt().0 - 1,
            coordinator_ca: state.root().root().coordinator_ca.clone(),
        };
        let receipts = context.receipts.unacknowledged().map(|k| k.signed.clone()).collect();
        self.control.status.change(|content| {
            content.holding = holding;
            content.receipts = receipts;
        });
    }
}

fn running_task(grant: &Grant, plan_lease_seconds: u64) -> RunningTask {
    RunningTask {
        plan: grant.plan,
        task: grant.task.clone(),
        grant: grant.grant,
        // A coordinator may give less than the plan allows, never more.
        lease_seconds: grant.lease_seconds.min(plan_lease_seconds),
    }
}

/// The version that root bytes claim, to pass over those that are held already. Proves nothing.
fn version_of(signed: &Signed) -> Option<u64> {
    if signed.bytes.len() > DocumentKind::Root.max_bytes() {
        return None;
    }
    serde_json::from_slice::<serde_json::Value>(&signed.bytes).ok()?.get("version")?.as_u64()
}
