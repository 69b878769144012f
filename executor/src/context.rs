//! What the executor holds of its node: keys, state, slots, receipts, and its end of the queue.

use std::sync::Arc;

use hostler_plan::{
    document::{DocumentKind, DocumentRef, Holds, PlanRef, Receipt, Signed},
    id::{Digest, TaskId},
    ledger::Head,
    trust::{Clock, Granted, Identity, NodeState, SignedReceipt, Start},
};

use crate::{
    control::Control,
    disk::{Disk, DiskError},
    error::ExecutorError,
    keys::Keys,
    receipts::Receipts,
    state_file::StateFile,
};

/// Everything that the executor owns but its list of grants.
#[derive(Debug)]
pub(crate) struct NodeContext {
    pub disk: Arc<Disk>,
    pub keys: Arc<Keys>,
    pub me: Identity,
    pub state: NodeState,
    pub state_file: StateFile,
    pub receipts: Receipts,
    pub control: Control,
    /// Whether the coordinator has said which receipts of this node it has: before that nobody knows whether this disk
    /// holds an old image.
    pub heard_of_receipts: bool,
    /// Receipts that the state counts and no file holds.
    pub lost_receipts: Vec<SignedReceipt>,
    /// The head of the ledger that the coordinator showed last; forgotten with the process, because every stream begins
    /// with one.
    pub shown_head: Option<Head>,
    /// Whether a coordinator runs on this machine, as it was when the stream began: where it moves, a stream ends.
    pub runs_coordinator: bool,
    /// What this node signed last of what it holds.
    pub signed_holding: Option<SignedHolding>,
}

/// A holding, and of what it speaks.
#[derive(Debug)]
pub(crate) struct SignedHolding {
    pub holds: Holds,
    pub open: Vec<PlanRef>,
    pub decision: Option<DocumentRef>,
    pub runs_coordinator: bool,
    pub signed: Signed,
}

impl NodeContext {
    /// Remembers where the coordinator says that its ledger stands: nothing rests on it here, it is signed for people
    /// who compare ledgers.
    pub(crate) fn note_head(&mut self, head: Option<Head>) {
        self.shown_head = head.or(self.shown_head);
    }

    /// What this node holds.
    pub(crate) fn holds(&self) -> Holds {
        self.state.holds(self.shown_head)
    }

    /// What the machine's clock shows.
    pub(crate) fn clock(&self) -> Clock {
        let host = &self.control.host;
        Clock { now: host.now(), synchronised: host.clock_is_synchronised() }
    }

    /// Whether a step of a granted task may begin now that has not begun yet: the plan's rule, and the lease beside it.
    /// Nothing else in the executor decides that.
    pub(crate) fn may_start(&mut self, granted: &mut Granted, lease: bool) -> Start {
        let clock = self.clock();
        match self.state.may_start(clock, &self.me, granted) {
            Start::Now(_) if !self.heard_of_receipts => {
                Start::Wait("waits: the coordinator has not said yet which receipts of this node it has".into())
            }
            Start::Now(_) if !lease => Start::Wait(
                "waits: the coordinator has not renewed the lease, and nothing new starts without it".into(),
            ),
            start @ (Start::Now(_) | Start::Wait(_) | Start::Never(_)) => start,
        }
    }

    /// Whether a task ran and has its receipt: it runs once in a plan.
    pub(crate) fn has_run(&self, plan: &Digest, task: &TaskId) -> bool {
        self.state.receipt_of(plan, task).is_some() || self.receipts.of_task(plan, task).is_some()
    }

    /// Makes a state durable and only then this node's own.
    pub(crate) fn store(&mut self, state: NodeState) -> Result<(), DiskError> {
        if state != self.state {
            self.receipts.file(&self.disk)?;
            self.state_file.store(&self.disk, &state, None)?;
        }
        // Equal, and something may have been verified again just now.
        self.state = state;
        Ok(())
    }

    /// Gives the newest receipt its file before that is needed, and says whether that went well: a disk without room
    /// for it is no reason to end, the slots hold the receipt.
    pub(crate) fn file_receipts(&mut self) -> bool {
        let filed = self.receipts.file(&self.disk);
        if let Err(error) = &filed {
            tracing::warn!("the newest receipt has no file of its own yet: {error}");
        }
        filed.is_ok()
    }

    /// Makes the second copy of the state that the last process did not come to, or that was damaged since.
    pub(crate) fn store_again(&mut self) -> Result<(), DiskError> {
        self.receipts.file(&self.disk)?;
        self.state_file.store(&self.disk, &self.state, None)
    }

    /// Counts receipts that are newer than a state restored from an old copy.
    pub(crate) fn adopt_receipts(&mut self) -> Result<(), ExecutorError> {
        while let Some(kept) = self.receipts.number(self.state.next_receipt().0) {
            let bytes = kept.signed.bytes.clone();
            let next = self.state.with_receipt(self.clock(), &bytes, self.receipts.oldest_unacknowledged())?;
            self.store(next)?;
        }
        Ok(())
    }

    /// Signs the receipt and makes it durable together with the state that counts it. A number is never signed twice.
    pub(crate) fn sign_receipt(&mut self, receipt: Receipt) -> Result<(), ExecutorError> {
        let signed = self.keys.sign(DocumentKind::Receipt, hostler_plan::json::write(&receipt))?;
        let next = self.state.with_receipt(self.clock(), &signed.bytes, self.receipts.oldest_unacknowledged())?;
        self.receipts.file(&self.disk)?;
        self.state_file.store(&self.disk, &next, Some(&signed))?;
        self.state = next;
        self.receipts.add(signed, receipt);
        Ok(())
    }
}
