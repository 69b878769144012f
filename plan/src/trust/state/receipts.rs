//! The receipts that a node signed, as its state counts them.

use serde::{Deserialize, Serialize};

use super::NodeState;
use crate::{
    document::{DocumentKind, PlanRef, Receipt},
    id::{Digest, TaskId},
    refusal::{Refusal, Refused},
    trust::{Clock, Identity, Verified, parse},
};

/// Receipts that the state lists whatever became of their plans: a node's latest work, which the coordinator may ask
/// for.
const MIN_LISTED: u64 = 16;

/// A receipt that this node signed: that the task ran must not depend on a file that may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    pub counter: u64,
    pub plan: Digest,
    pub task: TaskId,
    pub digest: Digest,
}

impl NodeState {
    /// The number of the next receipt and the digest of the one before it.
    pub fn next_receipt(&self) -> (u64, Option<Digest>) {
        (self.counter + 1, self.last_receipt)
    }

    /// The receipts of every plan whose bytes are held, and the latest, by number.
    pub fn signed_receipts(&self) -> &[SignedReceipt] {
        &self.signed
    }

    /// The newest receipt of a task: it runs once in a plan.
    pub fn receipt_of(&self, plan: &Digest, task: &TaskId) -> Option<&SignedReceipt> {
        self.signed.iter().rev().find(|receipt| receipt.plan == *plan && receipt.task == *task)
    }

    /// Counts a receipt that this node is about to sign or has signed. Stored before the receipt is sent. Those from
    /// `waiting` on, which the coordinator may not have, stay listed.
    pub fn with_receipt(&self, clock: Clock, bytes: &[u8], waiting: Option<u64>) -> Result<NodeState, Refused> {
        let receipt: Receipt = parse(DocumentKind::Receipt, Some(&self.root.root().fleet_id), bytes)?;
        let (counter, previous) = self.next_receipt();
        if (receipt.counter, receipt.previous) != (counter, previous) {
            return Err(Refused::new(
                Refusal::DamagedState,
                format!(
                    "expected to sign receipt {counter}, found number {} or another one before it; stop and compare \
                        with the coordinator",
                    receipt.counter
                ),
            ));
        }
        let mut next = self.clone();
        next.count(&receipt, Digest::of(bytes), waiting);
        Ok(next.with_time(clock))
    }

    /// Raises a state that was restored from an old copy by this node's own next receipt, whoever kept it: numbers
    /// never repeat, older plans stay void, and no task runs twice. Two receipts with one number mean that this key
    /// lives twice.
    ///
    /// Where receipts between are missing, nobody can say which tasks ran: then nothing of the plans until then may
    /// start here any more.
    pub fn catch_up(&self, me: &Identity, receipt: &Verified<Receipt>) -> Result<NodeState, Refused> {
        let own = receipt.document();
        if own.node != me.node {
            return Err(Refused::new(
                Refusal::NotATarget,
                format!("expected a receipt of this node {}, found one of {}; offer its own", me.node, own.node),
            ));
        }
        let (next_counter, previous) = self.next_receipt();
        let listed = self.signed.iter().find(|signed| signed.counter == own.counter).map(|signed| signed.digest);
        let last = (own.counter == self.counter).then_some(self.last_receipt).flatten();
        let twin = listed.or(last).is_some_and(|digest| digest != receipt.digest())
            || own.counter == next_counter && own.previous != previous;
        if twin {
            return Err(Refused::new(
                Refusal::DamagedState,
                format!(
                    "expected receipt {} of {} to follow what was signed here, found {}; another machine holds this \
                        key: replace one of them",
                    own.counter,
                    me.node,
                    receipt.digest()
                ),
            ));
        }
        let mut next = self.clone();
        if own.counter <= self.counter {
            return Ok(next);
        }
        let whole = own.counter == next_counter;
        next.count(own, receipt.digest(), None);
        let newest = own.holds.plan.filter(|_| own.holds.epoch == self.epoch());
        let own_plan = (own.epoch == self.epoch()).then_some(PlanRef { seq: own.seq, digest: own.plan });
        if let Some(newest) = newest.into_iter().chain(own_plan).max_by_key(|plan| plan.seq)
            && (newest.seq > self.seq || !whole)
        {
            next.supersede(PlanRef { seq: newest.seq.max(self.seq), ..newest }, &[], me);
            if !whole {
                next.open.clear();
                next.plans.clear();
            }
        }
        Ok(next)
    }

    fn count(&mut self, receipt: &Receipt, digest: Digest, waiting: Option<u64>) {
        (self.counter, self.last_receipt) = (receipt.counter, Some(digest));
        let (plan, task) = (receipt.plan, receipt.task.clone());
        self.signed.push(SignedReceipt { counter: receipt.counter, plan, task, digest });
        // Of plans that are gone no task can run again.
        let least = (self.counter + 1).saturating_sub(MIN_LISTED).min(waiting.unwrap_or(u64::MAX));
        let (open, ended) = (&self.open, &self.ended);
        self.signed.retain(|signed| {
            signed.counter >= least
                || open.iter().any(|plan| plan.digest == signed.plan)
                || ended.iter().any(|held| held.plan.digest() == signed.plan)
        });
    }
}
