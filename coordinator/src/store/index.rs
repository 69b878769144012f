//! The index: a sled database of what can be lost.
//!
//! It holds the history of facts, each node's last facts, what its health must not forget, what each signed that it
//! holds, and the addresses that nodes enrolled from. Nothing rests on it: sled's flush is not durable on Linux, and a
//! damaged database is put aside and begun anew. Every value carries a version and a checksum, so that what is read is
//! what was written or nothing.

use std::{
    io::{self, ErrorKind},
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hostler_daemon::durable::end;
use hostler_plan::{entry::StoredDocument, fact::Reading, health::Remembered, id::NodeName, timestamp::Timestamp};
use sha2::{Digest as _, Sha256};

use crate::nodes::history::{CHUNK_SECONDS, Chunk, Completed, oldest_kept};

/// The folder's name in the data folder.
pub(crate) const FOLDER_NAME: &str = "index";
/// The form of the values; others are passed over.
const VERSION: u8 = 1;
/// Bytes of the checksum in front of a value: enough against accidents, which is all that is expected here.
const CHECKSUM_BYTES: usize = 8;
/// Values stay below this (sled slows down and grows with larger ones).
const MAX_VALUE_BYTES: usize = 64 << 10;
/// Writes that wait for the disk; more are dropped, because nothing rests on them.
const QUEUE: usize = 256;
/// A database this much larger than what is in it is written anew at the start.
const MAX_BLOAT: u64 = 10;
/// Below this size nobody cares (sled begins with about 1 MiB).
const SMALL_BYTES: u64 = 16 << 20;
/// sled lets go of its lock some time after its database was closed (a thread of its pool may hold it still), so an
/// index that was just closed is tried this often, with that pause.
const OPEN_TRIES: usize = 40;
const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// A database that a disk took nothing for is opened again after this: somebody makes room, and is not waited for.
const TRY_AGAIN: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(60) };
/// Memory for sled's pages; the whole index of 50 nodes has 6 MiB.
const CACHE_BYTES: u64 = 4 << 20;

/// Something to keep.
#[derive(Debug)]
pub(crate) enum Write {
    /// A chunk in, and those that it pushed out.
    Chunk(NodeName, Box<Completed>),
    Facts(NodeName, Timestamp, Box<Reading>),
    /// By the machine's clock.
    Memory(NodeName, Box<Remembered>),
    Address(NodeName, IpAddr),
    Holding(NodeName, StoredDocument),
}

/// What was kept before this start.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// By node and time, oldest first.
    pub chunks: Vec<(NodeName, Chunk)>,
    pub facts: Vec<(NodeName, Timestamp, Reading)>,
    pub memories: Vec<(NodeName, Remembered)>,
    pub addresses: Vec<(NodeName, IpAddr)>,
    pub holdings: Vec<(NodeName, StoredDocument)>,
}

/// The writing end. Without a working database it takes everything and keeps nothing.
#[derive(Debug)]
pub(crate) struct Index {
    writes: Mutex<Option<mpsc::SyncSender<Write>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Index {
    /// Opens the index in the data folder, reads it, and starts its writer. It never fails: what cannot be read is put
    /// aside as `index.damaged-N`, and what a disk does not take is tried again by the writer.
    pub(crate) fn open(data: &Path, now: Timestamp) -> (Arc<Self>, Kept) {
        let index = |writes, thread| Arc::new(Self { writes: Mutex::new(writes), thread: Mutex::new(thread) });
        let folder = data.join(FOLDER_NAME);
        let opened = open_and_read(&folder).or_else(|trouble| match trouble {
            Trouble::Disk(_) => Err(trouble),
            Trouble::Damaged(reason) => {
                let aside = put_aside(&folder);
                tracing::warn!(reason, aside = ?aside, "the index was damaged and is begun anew; history before this \
                    start is lost");
                open_and_read(&folder)
            }
        });
        let (db, kept) = match opened {
            Ok((db, kept)) => (Some(db), kept),
            Err(Trouble::Disk(reason) | Trouble::Damaged(reason)) => {
                tracing::error!(reason, "the index cannot be opened and is tried again; check the space and the disk");
                (None, Kept::default())
            }
        };
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        // Of nodes that are not there any more. A clock that is ahead must not make all of it old.
        let newest = kept.chunks.iter().map(|(_, chunk)| chunk.number).max().unwrap_or(0);
        let oldest = oldest_kept(newest.min(now.unix_seconds() / CHUNK_SECONDS));
        let writer = Writer { folder, try_again: db.is_none().then(Instant::now), db };
        let thread = std::thread::Builder::new().name("index".into()).spawn(move || writer.run(&receiver, oldest));
        match thread {
            Ok(thread) => (index(Some(sender), Some(thread)), kept),
            Err(_) => (index(None, None), kept),
        }
    }

    /// Keeps something, if there is room in the queue.
    pub(crate) fn keep(&self, write: Write) {
        if let Some(writes) = self.writes.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            let _ = writes.try_send(write);
        }
    }

    /// Writes what waits, and ends.
    pub(crate) fn close(&self) {
        drop(self.writes.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the index ended in a panic; it is read again at the next start");
        }
    }
}

/// The thread that has the database. One that a disk did not take something for takes nothing more until it is opened
/// again, which the next write after a while does.
struct Writer {
    folder: PathBuf,
    db: Option<sled::Db>,
    /// When; none while it is open.
    try_again: Option<Instant>,
}

impl Writer {
    fn run(mut self, writes: &mpsc::Receiver<Write>, oldest: u64) {
        if let Some(Err(error)) = self.db.as_ref().map(|db| forget(db, oldest)) {
            tracing::warn!(%error, "old history could not be removed");
        }
        for write in writes {
            self.write(write);
        }
        if let Some(Err(error)) = self.db.as_ref().map(|db| db.flush()) {
            tracing::warn!(%error, "the index was not flushed");
        }
    }

    fn write(&mut self, write: Write) {
        if self.try_again.is_some_and(|at| at <= Instant::now()) {
            self.db = open(&self.folder).ok();
            self.try_again = Some(Instant::now() + TRY_AGAIN);
        }
        let Some(db) = &self.db else { return };
        let room = end::before_write(&self.folder).map_err(sled::Error::Io);
        match room.and_then(|()| write_one(db, write)) {
            Ok(()) => {
                if self.try_again.take().is_some() {
                    tracing::info!("the index is written again");
                }
            }
            Err(error) => {
                if self.try_again.is_none() {
                    tracing::warn!(%error, "the index is not written, and tried again each minute; check the space and \
                        the disk. Nothing but history is lost");
                }
                (self.db, self.try_again) = (None, Some(Instant::now() + TRY_AGAIN));
            }
        }
    }
}

fn write_one(db: &sled::Db, write: Write) -> Result<(), sled::Error> {
    match write {
        Write::Chunk(node, completed) => {
            // Both or none: a crash in between would leave one more. After a step of the clock the chunk itself may be
            // the one that goes.
            let mut batch = sled::Batch::default();
            let chunk = &completed.chunk;
            batch.insert(chunk_key(&node, chunk.number), sealed(&chunk.to_bytes()));
            completed.forgotten.iter().for_each(|number| batch.remove(chunk_key(&node, *number)));
            db.apply_batch(batch)
        }
        Write::Facts(node, at, reading) => {
            let Ok(json) = serde_json::to_vec(&(at.unix_milliseconds(), *reading)) else { return Ok(()) };
            if json.len() > MAX_VALUE_BYTES {
                return Ok(());
            }
            db.insert(key(b'f', &node), sealed(&json)).map(drop)
        }
        Write::Memory(node, remembered) => {
            let Ok(json) = serde_json::to_vec(&remembered) else { return Ok(()) };
            if json.len() > MAX_VALUE_BYTES {
                return Ok(());
            }
            db.insert(key(b'm', &node), sealed(&json)).map(drop)
        }
        Write::Address(node, address) => db.insert(key(b'a', &node), sealed(address.to_string().as_bytes())).map(drop),
        Write::Holding(node, holding) => {
            let Ok(json) = serde_json::to_vec(&holding) else { return Ok(()) };
            db.insert(key(b'o', &node), sealed(&json)).map(drop)
        }
    }
}

fn forget(db: &sled::Db, oldest: u64) -> Result<(), sled::Error> {
    for entry in db.scan_prefix(b"h") {
        let (key, _) = entry?;
        if chunk_number(&key).is_none_or(|n| n < oldest) {
            db.remove(key)?;
        }
    }
    Ok(())
}

type Opened = (sled::Db, Kept);

/// Why there is no database.
#[derive(Debug)]
enum Trouble {
    /// What lies there cannot be read.
    Damaged(String),
    /// The disk takes nothing now. What lies there is as good as it was.
    Disk(String),
}

impl From<sled::Error> for Trouble {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(reason) => reason.into(),
            other @ (sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)
            | sled::Error::Corruption { .. }) => Trouble::Damaged(other.to_string()),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(reason: io::Error) -> Self {
        let of_disk = [
            ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded,
            ErrorKind::FileTooLarge,
            ErrorKind::ReadOnlyFilesystem,
            ErrorKind::PermissionDenied,
        ];
        let is_of_disk = of_disk.contains(&reason.kind());
        if is_of_disk { Trouble::Disk(reason.to_string()) } else { Trouble::Damaged(reason.to_string()) }
    }
}

/// Opens and reads everything in a thread of its own, because sled panics over some damage.
fn open_and_read(folder: &Path) -> Result<Opened, Trouble> {
    // A leftover of an interrupted snapshot keeps sled 0.34.7 from opening (its issues 1527 and 1533).
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let opened = catch_unwind(AssertUnwindSafe(|| read(folder)));
    match opened {
        Ok(Ok((db, kept, logical))) => {
            let size = db.size_on_disk().unwrap_or(0);
            if size > SMALL_BYTES && size > logical.saturating_mul(MAX_BLOAT) {
                drop(db);
                return rewrite(folder, kept);
            }
            Ok((db, kept))
        }
        Ok(Err(error)) => Err(error.into()),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            Err(Trouble::Damaged(said.unwrap_or_else(|| "sled panicked".to_owned())))
        }
    }
}

fn config(folder: &Path) -> sled::Config {
    sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(Some(30_000))
}

fn open(folder: &Path) -> Result<sled::Db, sled::Error> {
    end::before_write(folder)?;
    let mut tries = 1;
    loop {
        match config(folder).open() {
            // What sled says of a lock that is held; a file that cannot be read stays so.
            Err(sled::Error::Io(error)) if tries < OPEN_TRIES && error.kind() == ErrorKind::Other => {
                tracing::debug!(%error, "the index cannot be opened yet");
                tries += 1;
                std::thread::sleep(OPEN_PAUSE);
            }
            opened => return opened,
        }
    }
}

fn read(folder: &Path) -> Result<(sled::Db, Kept, u64), sled::Error> {
    let db = open(folder)?;
    let (mut kept, mut logical) = (Kept::default(), 0);
    for entry in db.iter() {
        let (key, value) = entry?;
        logical += (key.len() + value.len()) as u64;
        let Some(value) = unsealed(&value) else { continue };
        let node = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|t| NodeName::new(t).ok());
        match key.split_first() {
            Some((b'h', rest)) => {
                let chunk = chunk_number(&key).and_then(|n| Chunk::from_bytes(n, value));
                let name = rest.len().checked_sub(9).and_then(|end| node(&rest[..end]));
                kept.chunks.extend(name.zip(chunk));
            }
            Some((b'f', rest)) => {
                let parsed = serde_json::from_slice::<(u64, Reading)>(value).ok();
                let facts = node(rest).zip(parsed);
                kept.facts.extend(facts.map(|(n, (at, r))| (n, Timestamp::from_unix_milliseconds(at), r)));
            }
            Some((b'm', rest)) => {
                kept.memories.extend(node(rest).zip(serde_json::from_slice(value).ok()));
            }
            Some((b'a', rest)) => {
                let address = std::str::from_utf8(value).ok().and_then(|t| t.parse().ok());
                kept.addresses.extend(node(rest).zip(address));
            }
            Some((b'o', rest)) => {
                kept.holdings.extend(node(rest).zip(serde_json::from_slice(value).ok()));
            }
            Some(_) | None => {}
        }
    }
    Ok((db, kept, logical))
}

/// sled does not give space back in some patterns of use (its README); a new database with the same content does. The
/// old one stays until the new one lies whole beside it.
fn rewrite(folder: &Path, kept: Kept) -> Result<Opened, Trouble> {
    tracing::info!("the index is much larger than its content and is written anew");
    let anew = folder.with_file_name(format!("{FOLDER_NAME}.anew"));
    remove_folder(&anew)?;
    let written = write_anew(&anew, &kept);
    if let Err(error) = written {
        tracing::warn!(?error, "it could not be written anew and stays as large as it is");
        remove_folder(&anew)?;
    } else {
        remove_folder(folder)?;
        std::fs::rename(&anew, folder)?;
    }
    Ok((open(folder)?, kept))
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(folder).or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn write_anew(folder: &Path, kept: &Kept) -> Result<(), Trouble> {
    let db = open(folder)?;
    for (node, chunk) in &kept.chunks {
        db.insert(chunk_key(node, chunk.number), sealed(&chunk.to_bytes()))?;
    }
    let unwritable = |e: serde_json::Error| Trouble::Damaged(e.to_string());
    for (node, remembered) in &kept.memories {
        db.insert(key(b'm', node), sealed(&serde_json::to_vec(remembered).map_err(unwritable)?))?;
    }
    for (node, address) in &kept.addresses {
        db.insert(key(b'a', node), sealed(address.to_string().as_bytes()))?;
    }
    for (node, holding) in &kept.holdings {
        db.insert(key(b'o', node), sealed(&serde_json::to_vec(holding).map_err(unwritable)?))?;
    }
    db.flush()?;
    Ok(())
}

fn put_aside(folder: &Path) -> Option<PathBuf> {
    let aside = (0..100).map(|n| folder.with_file_name(format!("{FOLDER_NAME}.damaged-{n}"))).find(|p| !p.exists())?;
    std::fs::rename(folder, &aside).ok()?;
    Some(aside)
}

fn key(kind: u8, node: &NodeName) -> Vec<u8> {
    [&[kind], node.as_str().as_bytes()].concat()
}

/// `h`, the node, a zero byte, the number in big-endian: a node's chunks stand together, oldest first.
fn chunk_key(node: &NodeName, number: u64) -> Vec<u8> {
    [&key(b'h', node), &[0][..], &number.to_be_bytes()].concat()
}

fn chunk_number(key: &[u8]) -> Option<u64> {
    let (_, number) = key.split_at_checked(key.len().checked_sub(8)?)?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

fn sealed(value: &[u8]) -> Vec<u8> {
    [&[VERSION], &Sha256::digest(value)[..CHECKSUM_BYTES], value].concat()
}

fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (version, rest) = bytes.split_first()?;
    let (checksum, value) = rest.split_at_checked(CHECKSUM_BYTES)?;
    (*version == VERSION && Sha256::digest(value)[..CHECKSUM_BYTES] == *checksum).then_some(value)
}

#[cfg(test)]
mod tests;
