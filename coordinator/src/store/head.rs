//! How far the ledger came, in a file of its own: a ledger that ends before that lost records that were acknowledged.
//!
//! The file has two slots that are written in turn, so that one of them is always whole. A thread writes them: an
//! append does not wait for a second sync, and the file is behind the ledger by no more than [`BEHIND`], so that the
//! records of a burst cost one. It is a floor and no proof: where it is missing or damaged, the ledger stands for
//! itself and the file is written anew.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use hostler_daemon::durable::{self, PRIVATE};
use hostler_plan::{id::Digest, json, ledger::Head};

/// The file's name in the data folder.
pub(crate) const FILE_NAME: &str = "ledger.head";
/// Beside the CA: this coordinator once had a root, so that it is not new whatever else is missing.
pub(crate) const HAD_ROOT: &str = "had-root";
/// How long a head waits for the next one before it is written.
const BEHIND: Duration = Duration::from_millis(100);
/// Bytes of a slot: its checksum, the head as JSON, and blanks.
const SLOT_BYTES: usize = 512;
const CHECKSUM_DIGITS: usize = 64;

/// Writes the newest head behind the ledger.
#[derive(Debug)]
pub(crate) struct HeadKeeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wakes: Condvar,
}

#[derive(Debug, Default)]
struct State {
    due: Option<Head>,
    ends: bool,
}

/// The newest head that a slot holds; none where there is no file or nothing in it can be read.
pub(crate) fn read(folder: &Path) -> Option<Head> {
    let path = folder.join(FILE_NAME);
    match std::fs::read(&path) {
        Ok(bytes) => bytes.chunks(SLOT_BYTES).filter_map(slot).max_by_key(|head| head.next_index),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "the ledger's head cannot be read and is written anew");
            None
        }
    }
}

/// Begins anew with a head, durably: after a loss that a person took note of.
pub(crate) fn set(folder: &Path, head: Head) -> io::Result<()> {
    durable::replace(&folder.join(FILE_NAME), &[slot_of(head), slot_of(head)].concat(), PRIVATE)
}

/// Whether this coordinator once had a root.
pub(crate) fn had_root(folder: &Path) -> bool {
    folder.join(HAD_ROOT).exists()
}

/// Remembers that this coordinator has a root, durably.
pub(crate) fn note_root(folder: &Path) -> io::Result<()> {
    if had_root(folder) { Ok(()) } else { durable::replace(&folder.join(HAD_ROOT), b"yes\n", PRIVATE) }
}

impl HeadKeeper {
    /// Begins with the head that the ledger has.
    pub(crate) fn open(folder: &Path, head: Head) -> io::Result<Self> {
        let path = folder.join(FILE_NAME);
        if read(folder) != Some(head) {
            set(folder, head)?;
        }
        let file = OpenOptions::new().write(true).mode(PRIVATE).open(&path)?;
        let shared = Arc::new(Shared { state: Mutex::default(), wakes: Condvar::new() });
        let theirs = shared.clone();
        let thread =
            std::thread::Builder::new().name("ledger-head".to_owned()).spawn(move || theirs.run(&file, &path))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The ledger has this head now.
    pub(crate) fn keep(&self, head: Head) {
        lock(&self.shared.state).due = Some(head);
        self.shared.wakes.notify_one();
    }
}

impl Drop for HeadKeeper {
    fn drop(&mut self) {
        lock(&self.shared.state).ends = true;
        self.shared.wakes.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the ledger's head ended badly");
        }
    }
}

impl Shared {
    fn run(&self, file: &File, path: &Path) {
        let mut turn = 0;
        while let Some(head) = self.next() {
            let written = file.write_all_at(&slot_of(head), turn * SLOT_BYTES as u64).and_then(|()| file.sync_data());
            if let Err(error) = written {
                tracing::warn!(file = %path.display(), %error, "the ledger's head could not be kept; check the disk");
            }
            turn = 1 - turn;
        }
    }

    /// Waits for a head to keep, and then for newer ones; none when nothing comes any more.
    fn next(&self) -> Option<Head> {
        let waits = |state: &mut State| state.due.is_none() && !state.ends;
        let first = self.wakes.wait_while(lock(&self.state), waits).unwrap_or_else(PoisonError::into_inner);
        let more = self.wakes.wait_timeout_while(first, BEHIND, |state| !state.ends);
        more.unwrap_or_else(PoisonError::into_inner).0.due.take()
    }
}

fn slot_of(head: Head) -> Vec<u8> {
    let json = json::write(&head);
    let json = json.trim_ascii_end();
    let mut slot = Digest::of(json).hex().into_bytes();
    slot.extend(json);
    slot.resize(SLOT_BYTES, b' ');
    slot
}

fn slot(bytes: &[u8]) -> Option<Head> {
    let (checksum, rest) = bytes.split_at_checked(CHECKSUM_DIGITS)?;
    let json = rest.trim_ascii_end();
    (Digest::of(json).hex().as_bytes() == checksum).then(|| json::parse(json).ok()).flatten()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
