//! What the executor holds of its node: keys, state, slots and receipts.

use std::sync::Arc;

use hostler_plan::{
    document::{DocumentKind, Receipt},
    trust::{Identity, NodeState},
};

use crate::{
    disk::{Disk, DiskError},
    error::ExecutorError,
    keys::Keys,
    receipts::Receipts,
    state_file::StateFile,
};

/// Everything that the executor owns but its queue.
#[derive(Debug)]
pub(crate) struct NodeContext {
    pub disk: Arc<Disk>,
    pub keys: Arc<Keys>,
    pub me: Identity,
    pub state: NodeState,
    pub state_file: StateFile,
    pub receipts: Receipts,
}

impl NodeContext {
    /// Makes a state durable and only then this node's own.
    pub(crate) fn store(&mut self, state: NodeState) -> Result<(), DiskError> {
        if state != self.state {
            self.receipts.file(&self.disk)?;
            self.state_file.store(&self.disk, &state, None)?;
            self.state = state;
        }
        Ok(())
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
            self.store(self.state.with_receipt(&bytes)?)?;
        }
        Ok(())
    }

    /// Signs the receipt and makes it durable together with the state that counts it. A number is never signed twice.
    pub(crate) fn sign_receipt(&mut self, receipt: Receipt) -> Result<(), ExecutorError> {
        let signed = self.keys.sign(DocumentKind::Receipt, hostler_plan::json::write(&receipt))?;
        let next = self.state.with_receipt(&signed.bytes)?;
        self.receipts.file(&self.disk)?;
        self.state_file.store(&self.disk, &next, Some(&signed))?;
        self.state = next;
        self.receipts.add(signed, receipt);
        Ok(())
    }
}
