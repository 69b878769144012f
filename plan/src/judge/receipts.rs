//! What nodes sign: each receipt for a grant that this ledger gave to that node, once, in the order of the node's own.

use super::{Grant, Judge, expect};
use crate::{
    document::{Outcome, Plan, Receipt},
    id::{Digest, Fingerprint, NodeName},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{CLOCK_SKEW, Verified},
};

impl Judge {
    /// The last receipt of a node under its present key: number and digest.
    pub fn last_receipt(&self, node: &NodeName) -> Option<(u64, Digest)> {
        self.chains.get(&(node.clone(), self.key_of(node)?)).copied()
    }

    fn key_of(&self, node: &NodeName) -> Option<Fingerprint> {
        let nodes = &self.roster.as_ref()?.document().nodes;
        nodes.iter().find(|n| n.name == *node).map(|n| n.key.fingerprint())
    }

    pub(super) fn check_receipt(&self, receipt: &Verified<Receipt>) -> Result<(), Refused> {
        let r = receipt.document();
        self.check_chain(r)?;
        let (grant, node, task) = (r.grant, &r.node, &r.task);
        let given = self.grants.get(&grant).filter(|g| (&g.plan, &g.task, &g.node) == (&r.plan, task, node));
        let is_lost = self.lost_grants.iter().any(|lost| lost.contains(&grant)) && !self.found_grants.contains(&grant);
        let Some(plan) = given.map(|Grant { plan, .. }| plan).or(is_lost.then_some(&r.plan)) else {
            let reason = format!(
                "expected a receipt for a grant that this ledger gave to {node} and that has none yet, found one \
                 for grant \
                 {grant} of task {task}"
            );
            return Err(Refused::new(Refusal::OrderNotMet, reason));
        };
        let rollout = self.rollouts.get(plan).ok_or_else(|| {
            Refused::new(Refusal::OrderNotMet, format!("expected plan {plan} before its receipt, found none"))
        })?;
        let document = rollout.plan.document();
        let same = (r.epoch, r.seq) == (document.epoch, document.seq);
        expect(same, || format!("a receipt of plan {}, found one that says plan {}", document.seq, r.seq))?;
        // A node that refused touched nothing. It may have refused because the order was not met, or its clock not set.
        if matches!(r.outcome, Outcome::Refused { .. }) {
            return Ok(());
        }
        let unknown = || Refused::new(Refusal::OrderNotMet, format!("expected a task of plan {}, found {task}", r.seq));
        let planned = document.task(task).filter(|planned| planned.node == *node).ok_or_else(unknown)?;
        check_times(document, planned.finishes, r)?;
        if is_lost {
            // What it relied on may be lost as well.
            return Ok(());
        }
        for before in &planned.after {
            let known = rollout.succeeded.get(before);
            let relied_on = known.is_some_and(|known| r.relied_on.iter().any(|digest| known.contains(digest)));
            expect(relied_on, || {
                format!("the receipt of {task} to rely on a success of {before}, which comes before, found it does not")
            })?;
        }
        Ok(())
    }

    /// Each node's receipts are a chain of their own: none lost, none moved.
    fn check_chain(&self, r: &Receipt) -> Result<(), Refused> {
        let node = &r.node;
        let unknown = || Refused::new(Refusal::BadSignature, format!("expected {node} in the roster, found it is not"));
        let chain = (node.clone(), self.key_of(node).ok_or_else(unknown)?);
        let last = self.chains.get(&chain);
        let (number, previous) = last.map_or((0, None), |(number, digest)| (*number, Some(*digest)));
        if r.counter <= number {
            let reason = format!(
                "expected a receipt of {node} above {number}, found another one with the number {}; two machines \
                 hold its \
                 key, or its disk was set back: quarantine it and enrol it again",
                r.counter
            );
            return Err(Refused::new(Refusal::Replay, reason));
        }
        // `counter` is above `number`, so that one more than it cannot overflow.
        let follows = r.counter == number + 1 && r.previous == previous;
        expect(follows || self.gaps.contains(&chain), || {
            format!("receipt {} of {node}, which names the one before it, found receipt {}", number + 1, r.counter)
        })
    }

    /// What a receipt says beside its task that does not agree with this ledger. It may be a lie of the node.
    pub(super) fn receipt_notes(&self, receipt: &Verified<Receipt>) -> Vec<String> {
        let r = receipt.document();
        let mut notes = Vec::new();
        if let Some(head) = r.holds.head.filter(|head| !self.contains(*head)) {
            notes.push(format!(
                "{} signed that it was shown a ledger of {head}, which this one does not go on from: there are two \
                 ledgers",
                r.node
            ));
        }
        let following = self.last_receipt(&r.node).map_or(1, |(number, _)| number.saturating_add(1));
        if r.counter != following {
            let (node, last) = (&r.node, r.counter.saturating_sub(1));
            notes.push(format!("receipts {following} to {last} of {node} were lost with a part of the ledger"));
        }
        notes
    }

    pub(super) fn apply_receipt(&mut self, receipt: &Verified<Receipt>) {
        let r = receipt.document();
        if let Some(key) = self.key_of(&r.node) {
            let chain = (r.node.clone(), key);
            self.gaps.remove(&chain);
            self.chains.insert(chain, (r.counter, receipt.digest()));
        }
        if self.grants.remove(&r.grant).is_none() {
            self.found_grants.insert(r.grant);
        }
        if let Some(rollout) = self.rollouts.get_mut(&r.plan) {
            rollout.note_end(&r.task, r.outcome.is_success().then(|| receipt.digest()));
            self.forget_settled(&r.plan);
        }
    }

    /// A part of the ledger was lost: each node may have signed receipts that are not here any more.
    pub(super) fn expect_gaps(&mut self) {
        let listed = self.roster.iter().flat_map(|r| &r.document().nodes);
        let keys = listed.map(|n| (n.name.clone(), n.key.fingerprint()));
        self.gaps = keys.chain(self.chains.keys().cloned()).collect();
    }
}

/// A task begins while its plan is in time, by the node's own clock, and ends after its plan was made.
fn check_times(plan: &Plan, finishes: bool, r: &Receipt) -> Result<(), Refused> {
    let (seq, started, ended) = (plan.seq, r.started, r.ended);
    let from = |at: Timestamp| at.plus(CLOCK_SKEW) >= plan.created;
    expect(from(started) && ended >= started, || {
        format!("a receipt of plan {seq} from {} on, found one from {started} to {ended}", plan.created)
    })?;
    let in_time = finishes || started < plan.expires;
    let late = || format!("expected a task of plan {seq} begun before {}, found one begun at {started}", plan.expires);
    if in_time { Ok(()) } else { Err(Refused::new(Refusal::Expired, late())) }
}
