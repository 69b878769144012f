//! The ledger's lines as they are handed out, and the proof that they only grew.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, Read as _},
    sync::{Arc, Mutex, PoisonError},
};

use hostler_plan::{id::Fingerprint, ledger::content_of};
use hostler_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::status;
use crate::limits::LEDGER_READERS_PER_KEY;

/// Bytes of ledger per message.
const LEDGER_CHUNK_BYTES: usize = 256 << 10;
/// Bytes of proof per message: 2 048 records.
const PROOF_CHUNK_BYTES: usize = 64 << 10;

/// Who reads the ledger. Each has a thread and a few messages for as long as its answer is not read to the end.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<BTreeMap<Fingerprint, Arc<Semaphore>>>);

/// A place of a key's, free again when it is dropped.
pub(super) type ReaderPlace = OwnedSemaphorePermit;

impl Readers {
    /// A place of that key, as soon as it has one.
    pub(super) async fn place(&self, key: &Fingerprint) -> Result<ReaderPlace, Status> {
        let places = {
            let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            keys.entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(LEDGER_READERS_PER_KEY))).clone()
        };
        places.acquire_owned().await.map_err(|e| status::internal(&e))
    }
}

/// Sends the digest of each line's content, and at last the head that they lead to.
pub(super) fn prove(
    lines: impl io::Read,
    last: v1::LedgerProof,
    sender: &mpsc::Sender<Result<v1::LedgerProof, Status>>,
    _place: ReaderPlace,
) {
    let mut contents = Vec::new();
    for line in io::BufReader::new(lines).split(b'\n') {
        match line {
            Ok(line) => contents.extend_from_slice(content_of(&line).as_bytes()),
            Err(e) => return drop(sender.blocking_send(Err(status::internal(&e)))),
        }
        if contents.len() >= PROOF_CHUNK_BYTES {
            let part = v1::LedgerProof { contents: std::mem::take(&mut contents), ..Default::default() };
            if sender.blocking_send(Ok(part)).is_err() {
                return;
            }
        }
    }
    drop(sender.blocking_send(Ok(v1::LedgerProof { contents, ..last })));
}

/// Sends the lines themselves.
pub(super) fn export(
    mut lines: impl io::Read,
    sender: &mpsc::Sender<Result<v1::LedgerChunk, Status>>,
    _place: ReaderPlace,
) {
    let mut kept = Vec::new();
    loop {
        let before = kept.len();
        if let Err(e) = lines.by_ref().take(LEDGER_CHUNK_BYTES as u64).read_to_end(&mut kept) {
            return drop(sender.blocking_send(Err(status::internal(&e))));
        }
        if kept.len() == before {
            return;
        }
        // Whole lines only; the beginning of the next one waits.
        let Some(end) = kept.iter().rposition(|b| *b == b'\n') else { continue };
        let rest = kept.split_off(end + 1);
        let lines = std::mem::replace(&mut kept, rest);
        if sender.blocking_send(Ok(v1::LedgerChunk { lines })).is_err() {
            return;
        }
    }
}
