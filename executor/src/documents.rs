//! Documents that arrive: judged, stored, shown. At any time, also while a task runs.

use hostler_plan::{
    document::{self, DocumentKind, HoldingType, Holds, Signed},
    id::Digest,
    json,
    ledger::Head,
    refusal::{Refusal, Refused},
    trust::{self, Accepted, Verified},
};

use crate::{
    artifacts,
    context::{NodeContext, SignedHolding},
    error::ExecutorError,
    protocol::{Holding, Request},
    receipts,
};

impl NodeContext {
    /// Takes in what arrived while a task runs.
    pub(crate) fn take_in_documents(&mut self) -> Result<(), ExecutorError> {
        for request in self.control.take_documents() {
            match request {
                Request::Trust { roots, roster } => self.accept_trust(&roots, roster.as_ref())?,
                Request::Plan(signed) => self.accept_plan(&signed)?,
                Request::Decision(signed) => self.accept_decision(&signed)?,
                Request::Welcome { own_receipts, head } => self.accept_welcome(&own_receipts, head)?,
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

    /// A decision about this node: from the next look at its facts on it is judged by it.
    pub(crate) fn accept_decision(&mut self, signed: &Signed) -> Result<(), ExecutorError> {
        match self.state.accept_decision(self.clock(), &self.me, signed) {
            Ok(state) if state.decisions() != self.state.decisions() => {
                tracing::info!("decision {} about this node accepted", state.decisions().number());
                self.store(state)?;
            }
            Ok(state) => self.store(state)?,
            Err(refused) => self.refuse(Some(signed.digest()), refused),
        }
        self.publish();
        Ok(())
    }

    /// Says that something was refused.
    pub(crate) fn refuse(&self, document: Option<Digest>, refused: Refused) {
        tracing::warn!("{refused}");
        self.control.status.refuse(document, refused);
    }

    /// Own receipts that the coordinator has and this disk may not: found again, or newer than this image; and where
    /// its ledger stands.
    pub(crate) fn accept_welcome(&mut self, receipts: &[Signed], head: Option<Head>) -> Result<(), ExecutorError> {
        self.note_head(head);
        self.runs_coordinator = self.control.host.runs_coordinator();
        // Every stream begins with a head, and what is signed on it says which.
        let shown = self.shown_head;
        self.signed_holding.take_if(|last| last.holds.head != shown);
        for signed in receipts {
            if let Err(refused) = self.accept_own_receipt(signed)? {
                let twin = refused.refusal == Refusal::DamagedState;
                self.refuse(Some(signed.digest()), refused);
                if twin {
                    // Nothing begins while two machines may sign with this key.
                    return Ok(());
                }
            }
        }
        self.heard_of_receipts = true;
        self.publish();
        Ok(())
    }

    fn accept_own_receipt(&mut self, signed: &Signed) -> Result<Result<(), Refused>, ExecutorError> {
        let Some(roster) = self.state.roster() else { return Ok(Ok(())) };
        let receipt = match trust::receipt(roster, signed) {
            Ok(receipt) => receipt,
            Err(refused) => return Ok(Err(refused)),
        };
        let next = match self.state.catch_up(&self.me, &receipt) {
            Ok(next) => next,
            Err(refused) => return Ok(Err(refused)),
        };
        let number = receipt.document().counter;
        let is_newer = next != self.state;
        if is_newer {
            tracing::warn!("receipt {number} of this node is newer than its disk; going on from there");
        }
        if is_newer || self.lost_receipts.iter().any(|lost| lost.digest == receipt.digest()) {
            self.receipts.restore(&self.disk, signed.clone(), receipt.document().clone())?;
            self.lost_receipts.retain(|lost| lost.digest != receipt.digest());
        }
        self.store(next)?;
        Ok(Ok(()))
    }

    /// Compares the files of receipts with the state that counts them. What is lost is said and asked for, and its task
    /// does not run again.
    pub(crate) fn find_receipts(&mut self) {
        self.lost_receipts = self.receipts.lost(self.state.signed_receipts());
        for lost in &self.lost_receipts {
            let reason = format!(
                "expected the receipt {} of task {} in {} or {}, found none or another one; it is asked for at the \
                    coordinator, and the task does not run again; check this node's disk",
                lost.counter,
                lost.task,
                receipts::name(lost.counter, false),
                receipts::name(lost.counter, true)
            );
            self.refuse(Some(lost.digest), Refused::new(Refusal::DamagedState, reason));
        }
    }

    /// Signs what this node holds when that has changed; not before it belongs to the roster, by which it is verified.
    /// The head alone is no reason: it comes with every grant, and the receipt says it.
    fn sign_holding(&mut self) -> Option<Signed> {
        let state = &self.state;
        state.roster()?.document().active(&self.me.node)?;
        let (holds, open, decision) = (self.holds(), state.open_plans().to_vec(), state.decisions().newest());
        let runs_coordinator = self.runs_coordinator;
        let is_same = |last: &SignedHolding| {
            let holds = Holds { head: last.holds.head, ..holds.clone() };
            let is_same = last.open == open && last.decision == decision && last.holds == holds;
            is_same && last.runs_coordinator == runs_coordinator
        };
        if let Some(last) = self.signed_holding.as_ref().filter(|last| is_same(last)) {
            return Some(last.signed.clone());
        }
        let holding = document::Holding {
            document_type: HoldingType::V1,
            fleet_id: state.root().root().fleet_id.clone(),
            node: self.me.node.clone(),
            holds: holds.clone(),
            open: open.clone(),
            decision,
            runs_coordinator,
            receipts: state.next_receipt().0 - 1,
            at: self.control.host.now().whole_seconds(),
        };
        match self.keys.sign(DocumentKind::Holding, json::write(&holding)) {
            Ok(signed) => {
                self.signed_holding =
                    Some(SignedHolding { holds, open, decision, runs_coordinator, signed: signed.clone() });
                Some(signed)
            }
            Err(error) => {
                tracing::warn!("signing what this node holds failed: {error}");
                None
            }
        }
    }

    /// Puts what the node holds in the status.
    pub(crate) fn publish(&mut self) {
        let holding_document = self.sign_holding();
        let state = &self.state;
        let holding = Holding {
            root_version: state.root().root().version,
            roster_version: state.roster().map_or(0, |r| r.document().version),
            epoch: state.epoch().0,
            seq: state.seq().0,
            receipt_counter: state.next_receipt().0 - 1,
            lost_receipts: self.lost_receipts.iter().map(|lost| lost.digest).collect(),
            coordinator_ca: state.root().root().coordinator_ca.clone(),
        };
        let receipts = self.receipts.unacknowledged().map(|k| k.signed.clone()).collect();
        let open = state.open();
        // A task may have made a server of it.
        let serves = self.control.host.cluster().is_some();
        self.control.status.change(|content| {
            content.holding = holding;
            content.open = Some(open);
            content.serves = serves;
            content.holding_document = holding_document;
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
