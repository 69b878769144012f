//! Receipts: each is verified, all that count share one append, and only then are they acknowledged.

use hostler_plan::{
    document::{Receipt, Signed},
    id::{Digest, NodeName},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Verified},
};

use super::{Control, ControlError, Proven, ToNode};

impl Control {
    /// Takes receipts, at most one of each node, all of those that count in one durable append, and acknowledges them
    /// after it; when it fails none is. One that is here already is acknowledged again. The answers are in their order.
    pub(crate) fn receipts(
        &mut self,
        now: Timestamp,
        submitted: Vec<(NodeName, Signed)>,
    ) -> Vec<Result<(), ControlError>> {
        let (mut answers, mut entries, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        for (node, signed) in &submitted {
            let digest = signed.digest();
            if self.state.receipts.contains(&digest) {
                answers.push((digest, Ok(false)));
                continue;
            }
            match self.verify_receipt(now, node, signed) {
                Ok(receipt) => {
                    let Receipt { plan, task, outcome, .. } = receipt.document();
                    ended.push((*plan, task.clone(), outcome.to_string()));
                    entries.push(Proven::Receipt(receipt));
                    answers.push((digest, Ok(true)));
                }
                Err(error) => answers.push((digest, Err(error))),
            }
        }
        let committed = if entries.is_empty() { Ok(()) } else { self.commit(now, entries) };
        if committed.is_ok() && !ended.is_empty() {
            self.endings += 1;
        }
        let mut ended = ended.into_iter();
        let answer = |((node, _), (digest, answer)): ((NodeName, Signed), (Digest, Result<bool, ControlError>))| {
            if answer? {
                committed.clone()?;
                if let Some((plan, task, outcome)) = ended.next() {
                    tracing::info!(
                        node = %node, plan = %plan, task = %task, outcome, receipt = %digest, "task ended"
                    );
                    self.progress.remove(&(plan, task));
                }
            }
            self.send(&node, ToNode::ReceiptAcknowledged(digest));
            Ok(())
        };
        submitted.into_iter().zip(answers).map(answer).collect()
    }

    /// Whether a receipt counts, beside those that are in the ledger.
    fn verify_receipt(
        &mut self,
        now: Timestamp,
        node: &NodeName,
        signed: &Signed,
    ) -> Result<Verified<Receipt>, ControlError> {
        let proven = trust::receipt(self.state.require_roster()?, signed)?;
        let (receipt, digest) = (proven.document(), proven.digest());
        if receipt.node != *node {
            let reason = format!(
                "expected a receipt of {node}, found one of {} on its stream; a node hands in only its own",
                receipt.node
            );
            let refused = Refused::new(Refusal::NotAllowed, reason);
            self.alarm(now, &format!("node {node}"), &refused);
            return Err(refused.into());
        }
        if let Some(other) = self.state.receipts.numbered(node, receipt.counter) {
            let reason = format!(
                "expected receipt {} of {node} to be {other}, found {digest} under the same number; two machines hold \
                    the key of {node}: quarantine both",
                receipt.counter
            );
            let refused = Refused::new(Refusal::Replay, reason);
            self.alarm(now, &format!("node {node}"), &refused);
            return Err(refused.into());
        }
        let known = self.state.receipts.newest_counter(node);
        if receipt.counter != known + 1 {
            // The ledger was restored from a backup, or receipts come late: each is good by itself.
            tracing::warn!(node = %node, expected = known + 1, found = receipt.counter, "receipt out of order");
        }
        Ok(proven)
    }
}
