//! Documents that arrive: judged, stored, shown. At any time, also while a task runs.

use hostler_plan::{
    document::{DocumentKind, Signed},
    id::Digest,
    refusal::Refused,
    trust::{Accepted, Verified},
};

use crate::{
    artifacts,
    context::NodeContext,
    error::ExecutorError,
    protocol::{Holding, Request},
};

impl NodeContext {
    /// Takes in what arrived while a task runs.
    pub(crate) fn take_in_documents(&mut self) -> Result<(), ExecutorError> {
        for request in self.control.take_documents() {
            match request {
                Request::Trust { roots, roster } => self.accept_trust(&roots, roster.as_ref())?,
                Request::Plan(signed) => self.accept_plan(&signed)?,
                Request::ReceiptAcknowledged(digest) => self.acknowledge(&digest)?,
                Request::Grant(_) | Request::LeaseRenewed { .. } | Request::Stop { .. } | Request::Fetched { .. } => {}
            }
        }
        Ok(())
    }

    /// The coordinator has a receipt.
    pub(crate) fn acknowledge(&mut self, digest: &Digest) -> Result<(), ExecutorError> {
        if self.receipts.acknowledge(&self.disk, digest)? {
            self.receipts.prune(&self.disk, self.state.signed_receipts())?;
            self.publish();
        }
        Ok(())
    }

    /// Roots in order and the newest roster.
    pub(crate) fn accept_trust(&mut self, roots: &[Signed], roster: Option<&Signed>) -> Result<(), ExecutorError> {
        for signed in roots {
            let held = self.state.root();
            if signed.digest() == held.digest() || version_of(signed).is_some_and(|v| v < held.root().version) {
                continue;
            }
            match self.state.accept_root(self.clock(), signed) {
                Ok(state) => self.store(state)?,
                Err(refused) => {
                    self.refuse(Some(signed.digest()), refused);
                    return Ok(());
                }
            }
        }
        // The roster that is held comes again with every new root, under which its signers may not count any more.
        let held = self.state.roster().map(Verified::digest);
        if let Some(signed) = roster.filter(|r| Some(r.digest()) != held) {
            match self.state.accept_roster(self.clock(), signed) {
                Ok((state, _)) => self.store(state)?,
                Err(refused) => self.refuse(Some(signed.digest()), refused),
            }
        }
        self.publish();
        Ok(())
    }

    /// A plan: what it ends is over when this returns, whatever becomes of its own work.
    pub(crate) fn accept_plan(&mut self, signed: &Signed) -> Result<(), ExecutorError> {
        let Accepted { state, plan, work } = match self.state.accept_plan(self.clock(), &self.me, signed) {
            Ok(accepted) => accepted,
            Err(refused) => {
                self.refuse(Some(signed.digest()), refused);
                return Ok(());
            }
        };
        let is_news = state != self.state;
        self.store(state)?;
        if is_news {
            self.receipts.prune(&self.disk, self.state.signed_receipts())?;
            artifacts::prune(&self.disk, self.state.held_plans())?;
            self.publish();
        }
        match work {
            Ok(Some(held)) if is_news => {
                tracing::info!(PLAN = %plan.digest, "plan {} accepted: {}", plan.seq, held.document().title);
            }
            Ok(None) if is_news => {
                tracing::info!(PLAN = %plan.digest, "plan {} has no work for this node", plan.seq);
            }
            Ok(_) => {}
            Err(refused) => self.refuse(Some(plan.digest), refused),
        }
        Ok(())
    }

    /// Says that something was refused.
    pub(crate) fn refuse(&self, document: Option<Digest>, refused: Refused) {
        tracing::warn!("{refused}");
        self.control.status.refuse(document, refused);
    }

    /// Puts what the node holds in the status.
    pub(crate) fn publish(&self) {
        let state = &self.state;
        let holding = Holding {
            root_version: state.root().root().version,
            roster_version: state.roster().map_or(0, |r| r.document().version),
            epoch: state.epoch().0,
            seq: state.seq().0,
            receipt_counter: state.next_receipt().0 - 1,
            coordinator_ca: state.root().root().coordinator_ca.clone(),
        };
        let receipts = self.receipts.unacknowledged().map(|k| k.signed.clone()).collect();
        self.control.status.change(|content| {
            content.holding = holding;
            content.receipts = receipts;
        });
    }
}

/// The version that root bytes claim, to pass over those that are held already. Proves nothing.
fn version_of(signed: &Signed) -> Option<u64> {
    if signed.bytes.len() > DocumentKind::Root.max_bytes() {
        return None;
    }
    serde_json::from_slice::<serde_json::Value>(&signed.bytes).ok()?.get("version")?.as_u64()
}
