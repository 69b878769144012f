//! Receipts: each is verified, all that count share one append, and only then are they acknowledged.

use hostler_plan::{
    document::{Receipt, Signed},
    id::{Digest, NodeName},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Verified},
};

use super::{Control, ControlError, Proven, ToNode};
use crate::limits::{RECEIPT_BURST, RECEIPT_KIB_BURST};

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
            if self.state.judge.knows(&digest) {
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
            if let Err(ControlError::Refused(refused)) = &answer {
                // It will never count: an honest node need not send it again.
                self.receipts_refused += 1;
                self.send(&node, ToNode::ReceiptNotTaken { digest, refused: refused.clone() });
            }
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
        let receipt = proven.document();
        if receipt.node != *node {
            let reason = format!(
                "expected a receipt of {node}, found one of {} on its stream; a node hands in only its own",
                receipt.node
            );
            let refused = Refused::new(Refusal::NotAllowed, reason);
            self.alarm(now, &format!("node {node}"), &refused);
            return Err(refused.into());
        }
        let (at, counts) = (now.max(self.state.judge.last_at()), [Proven::Receipt(proven.clone())]);
        if let Err(refused) = self.state.judge.check(at, &counts) {
            self.alarm(now, &format!("node {node}"), &refused);
            return Err(refused.into());
        }
        self.check_limits(now, node, signed)?;
        for note in self.state.judge.notes(at, &counts[0]) {
            self.alarm(now, &format!("node {node}"), &Refused::new(Refusal::Replay, note));
        }
        Ok(proven)
    }

    /// Whether that node may put so much into the ledger now. It tries again and again.
    fn check_limits(&mut self, now: Timestamp, node: &NodeName, signed: &Signed) -> Result<(), ControlError> {
        let kib = u32::try_from(signed.bytes.len().div_ceil(1024)).unwrap_or(u32::MAX);
        if self.receipts.take(node.clone(), now) && self.receipt_kib.take_some(node.clone(), kib, now) {
            return Ok(());
        }
        let reason = format!(
            "expected at most {RECEIPT_BURST} receipts and {RECEIPT_KIB_BURST} KiB of them in an hour from {node}, \
             found \
             more; look at what it does, and take it out of the roster if it is not itself"
        );
        self.alarm(now, &format!("receipts of {node}"), &Refused::new(Refusal::NotAllowed, reason.clone()));
        Err(ControlError::Invalid(reason))
    }
}
