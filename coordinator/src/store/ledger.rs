//! The ledger on disk: what was appended is durable before anybody hears of it.
//!
//! The form of its lines is `hostler_plan::ledger`'s; here are the file, its damage and its repair.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    ops::RangeInclusive,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hostler_daemon::durable::{self, PRIVATE};
use hostler_plan::{
    entry::Entry,
    ledger::{Damage, Head, MAX_LINE_BYTES, Record, decode, encode},
    timestamp::Timestamp,
};

use super::head::{self, HeadKeeper};
use crate::control::{Append, AppendError, Written};

/// The ledger's name in the data folder.
pub(crate) const FILE_NAME: &str = "ledger";

/// An open ledger; nothing but this writes it.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    keeper: HeadKeeper,
    /// Shared with the readers.
    durable: Arc<Mutex<Durable>>,
    /// Set while it is not known what the disk holds: nothing is written before it was read again.
    broken: Option<String>,
    /// In tests: the file may not grow beyond this, as on a full disk.
    #[cfg(test)]
    room: Option<u64>,
}

/// What is on the disk for certain.
#[derive(Debug)]
struct Durable {
    head: Head,
    /// Where each record begins, and at last where the next one will.
    offsets: Vec<u64>,
}

/// Why the ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another record stands there than was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The file cannot be read.
    #[error("cannot read the ledger {}: {source}; check the disk", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Nothing was appended.
    #[error(
        "the ledger {} was not written ({source}) and stays as it was; {} and try again",
        path.display(),
        if source.kind() == io::ErrorKind::StorageFull { "make room on the disk" } else { "check the disk (`dmesg`)" }
    )]
    Write { path: PathBuf, source: io::Error },
    /// Records that were acknowledged are not there.
    #[error(
        "the ledger {} ends with record {found} at byte {offset}, and {had} had been acknowledged: what is missing \
         was lost \
         behind it. Put a newer copy back with `hostler-coordinator restore FILE`, or go on with what is left by \
         `hostler-coordinator recover`; either is marked in the ledger, and nothing is granted until the \
         coordinator has \
         caught up with what nodes hold or an admin adopts it",
        path.display()
    )]
    Short { path: PathBuf, found: u64, offset: u64, had: Head },
    /// The whole ledger is gone.
    #[error(
        "the ledger {} is missing or empty, and this coordinator had a root: it is not new, and takes no first \
         root. Put a \
         copy back with `hostler-coordinator restore FILE`; without one, give the fleet a new coordinator in an \
         empty folder \
         with this one's ca.key and ca.crt, and install its roots there in order",
        path.display()
    )]
    Gone { path: PathBuf },
    /// It is another ledger.
    #[error(
        "the ledger {} holds another record {index} than was acknowledged ({had}); it is another copy: put the \
         right one \
         back with `hostler-coordinator restore FILE`",
        path.display()
    )]
    Other { path: PathBuf, index: u64, had: Head },
    /// A write failed so that the disk's content is not known.
    #[error(
        "the ledger {} takes no records ({reason}); check the disk: once it takes and gives back what was \
         acknowledged, the ledger goes on by itself",
        path.display()
    )]
    Broken { path: PathBuf, reason: String },
}

/// A ledger as it was found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub ledger: Ledger,
    /// In order, from the first.
    pub records: Vec<Written>,
    /// Where an unfinished last line was put, if there was one.
    pub torn: Option<PathBuf>,
}

impl Ledger {
    /// Opens or creates the ledger in `folder`. An unfinished last line was never acknowledged: it is put aside in
    /// `ledger.torn-OFFSET`. Any other damage is an error and changes nothing, and so is a ledger that ends before what
    /// was acknowledged.
    pub(crate) fn open(folder: &Path) -> Result<Opened, LedgerError> {
        let path = folder.join(FILE_NAME);
        let read = |source| LedgerError::Read { path: path.clone(), source };
        let had = head::read(folder);
        let is_new = std::fs::metadata(&path).map_or(true, |file| file.len() == 0);
        if is_new && (head::had_root(folder) || had.is_some_and(|had| had != Head::EMPTY)) {
            return Err(LedgerError::Gone { path });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(read)?;
        durable::sync_folder(folder).map_err(read)?;
        let scanned = scan(&file).map_err(read)?;
        if let Some(had) = had {
            expect_head(&path, &scanned, had)?;
        }
        let torn = match scanned.damage {
            None => None,
            Some(Damage::Torn { offset, .. }) => {
                Some(put_aside(&file, offset, &folder.join(format!("{FILE_NAME}.torn-{offset}"))).map_err(read)?)
            }
            Some(damage) => return Err(damage.into()),
        };
        let keep = |source| LedgerError::Read { path: folder.join(head::FILE_NAME), source };
        let keeper = HeadKeeper::open(folder, scanned.head).map_err(keep)?;
        let ledger = Self {
            path,
            file,
            keeper,
            durable: Arc::new(Mutex::new(Durable { head: scanned.head, offsets: scanned.offsets })),
            broken: None,
            #[cfg(test)]
            room: None,
        };
        Ok(Opened { ledger, records: scanned.records, torn })
    }

    /// Appends all of `entries` durably, or none of them.
    pub(crate) fn append(&mut self, at: Timestamp, entries: Vec<Entry>) -> Result<Vec<Written>, LedgerError> {
        self.read_again()?;
        let good = self.length();
        let (mut head, mut bytes, mut records, mut offsets) = (self.head(), Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let (line, record, next) = encode(head, at, entry);
            bytes.extend(line);
            offsets.push(good + bytes.len() as u64);
            records.push(Written { record, hash: next.hash });
            head = next;
        }
        if let Err(source) = self.write(good, &bytes) {
            self.take_back(good);
            return Err(LedgerError::Write { path: self.path.clone(), source });
        }
        if let Err(e) = self.file.sync_data() {
            // What a disk holds after a failed sync is not known, and a second sync would lie (PostgreSQL's fsync
            // surprise, 2018): only writing it once more, after everything before it was read again, tells.
            self.take_back(good);
            let reason = format!("the disk did not confirm a write: {e}");
            self.broken = Some(reason.clone());
            return Err(LedgerError::Broken { path: self.path.clone(), reason });
        }
        let mut durable = lock(&self.durable);
        durable.head = head;
        durable.offsets.extend(offsets);
        self.keeper.keep(head);
        Ok(records)
    }

    /// After a write that the disk did not confirm: opens the file anew, as a restart does, and goes on only where it
    /// ends with what was acknowledged and the disk confirms that.
    fn read_again(&mut self) -> Result<(), LedgerError> {
        let Some(reason) = &self.broken else { return Ok(()) };
        let good = self.length();
        let opened = || {
            durable::end::before_write(&self.path)?;
            let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
            file.set_len(good)?;
            file.sync_all()?;
            Ok::<_, io::Error>((scan(&file)?.head, file))
        };
        let reason = match opened() {
            Ok((head, file)) if head == self.head() => {
                tracing::info!(file = %self.path.display(), reason, "the ledger was read again and goes on");
                (self.file, self.broken) = (file, None);
                return Ok(());
            }
            Ok((head, _)) => format!("{reason}; read again it ends with {head}, not with {}", self.head()),
            Err(error) => format!("{reason}; read again: {error}"),
        };
        Err(LedgerError::Broken { path: self.path.clone(), reason })
    }

    /// Where the chain stands.
    pub(crate) fn head(&self) -> Head {
        lock(&self.durable).head
    }

    /// Bytes that are durable.
    pub(crate) fn length(&self) -> u64 {
        lock(&self.durable).offsets.last().copied().unwrap_or(0)
    }

    /// Reads what is durable, from anywhere, while this goes on writing.
    pub(crate) fn reader(&self) -> LedgerReader {
        LedgerReader { path: self.path.clone(), durable: self.durable.clone() }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        durable::end::before_write(&self.path)?;
        self.file.seek(SeekFrom::Start(at))?;
        #[cfg(test)]
        if let Some(room) = self.room {
            let fits = usize::try_from(room.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
            self.file.write_all(&bytes[..fits])?;
            if fits < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            return Ok(());
        }
        self.file.write_all(bytes)
    }

    /// Cuts the file back to what is known to be good.
    fn take_back(&mut self, good: u64) {
        if let Err(e) = self.file.set_len(good).and_then(|()| self.file.sync_data()) {
            self.broken = Some(format!("a write failed and could not be taken back: {e}"));
        }
    }
}

impl Append for Ledger {
    fn append(&mut self, at: Timestamp, entries: Vec<Entry>) -> Result<Vec<Written>, AppendError> {
        Ledger::append(self, at, entries).map_err(|error| match error {
            LedgerError::Write { .. } => AppendError::NotWritten(error.to_string()),
            LedgerError::Damaged(_)
            | LedgerError::Read { .. }
            | LedgerError::Short { .. }
            | LedgerError::Gone { .. }
            | LedgerError::Other { .. }
            | LedgerError::Broken { .. } => AppendError::Broken(error.to_string()),
        })
    }
}

/// Reads what is durable of a ledger that is being written.
#[derive(Debug, Clone)]
pub(crate) struct LedgerReader {
    path: PathBuf,
    durable: Arc<Mutex<Durable>>,
}

impl LedgerReader {
    /// Records and bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let offsets = &lock(&self.durable).offsets;
        (offsets.len().saturating_sub(1) as u64, offsets.last().copied().unwrap_or(0))
    }

    /// The exact lines from record `index` to the present end; none beyond the end.
    pub(crate) fn lines_from(&self, index: u64) -> io::Result<io::Take<File>> {
        Ok(self.grown_since(index)?.0)
    }

    /// The same, and the head that these lines lead to.
    pub(crate) fn grown_since(&self, index: u64) -> io::Result<(io::Take<File>, Head)> {
        let (at, end, head) = {
            let Durable { head, offsets } = &*lock(&self.durable);
            let end = offsets.last().copied().unwrap_or(0);
            (usize::try_from(index).ok().and_then(|i| offsets.get(i)).copied().unwrap_or(end), end, *head)
        };
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(at))?;
        Ok((file.take(end - at), head))
    }
}

impl LedgerReader {
    /// Those records, once more; their chain was verified when they were written or read.
    pub(crate) fn records(&self, indices: RangeInclusive<u64>) -> io::Result<Vec<Record>> {
        let (first, last) = indices.into_inner();
        let lines = BufReader::new(self.lines_from(first)?).split(b'\n');
        let count = usize::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(usize::MAX);
        lines.take(count).map(|line| record_of(&line?)).collect()
    }
}

/// The record of a line, which stands behind its hash.
fn record_of(line: &[u8]) -> io::Result<Record> {
    let json = line.iter().position(|b| *b == b' ').map_or(&[][..], |at| &line[at + 1..]);
    serde_json::from_slice(json).map_err(io::Error::from)
}

fn lock(durable: &Mutex<Durable>) -> MutexGuard<'_, Durable> {
    durable.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was acknowledged must be there: the record that ended the ledger then, where it is whole up to it.
fn expect_head(path: &Path, scanned: &Scanned, had: Head) -> Result<(), LedgerError> {
    let path = || path.to_owned();
    let found = scanned.head.next_index;
    let there = had.next_index.checked_sub(1).and_then(|last| scanned.records.get(usize::try_from(last).ok()?));
    match (&scanned.damage, there) {
        // It is named with its own way out.
        (Some(Damage::Record { .. }), None) => Ok(()),
        (None | Some(Damage::Torn { .. }), None) if had.next_index > 0 => {
            let offset = scanned.offsets.last().copied().unwrap_or(0);
            Err(LedgerError::Short { path: path(), found: found.saturating_sub(1), offset, had })
        }
        (_, Some(last)) if last.hash != had.hash => {
            Err(LedgerError::Other { path: path(), index: had.next_index - 1, had })
        }
        (_, Some(_)) | (None | Some(Damage::Torn { .. }), None) => Ok(()),
    }
}

#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) records: Vec<Written>,
    pub(super) head: Head,
    offsets: Vec<u64>,
    pub(super) damage: Option<Damage>,
}

/// Reads a ledger from its beginning.
pub(super) fn scan(ledger: impl io::Read) -> io::Result<Scanned> {
    let mut reader = BufReader::new(ledger);
    let mut scanned = Scanned { records: Vec::new(), head: Head::EMPTY, offsets: vec![0], damage: None };
    let mut line = Vec::new();
    let mut offset = 0;
    loop {
        line.clear();
        reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
        match decode(scanned.head, offset, &line) {
            Ok(None) => return Ok(scanned),
            Ok(Some((record, head, length))) => {
                offset += length as u64;
                scanned.records.push(Written { record, hash: head.hash });
                scanned.offsets.push(offset);
                scanned.head = head;
            }
            Err(damage) => {
                scanned.damage = Some(damage);
                return Ok(scanned);
            }
        }
    }
}

/// Copies everything from `offset` on to `to`, durably, and only then cuts it off.
pub(super) fn put_aside(mut file: &File, offset: u64, to: &Path) -> io::Result<PathBuf> {
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.read_to_end(&mut rest)?;
    durable::replace(to, &rest, PRIVATE)?;
    file.set_len(offset)?;
    file.sync_all()?;
    Ok(to.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::recover::{Recovered, recover};
    use hostler_plan::id::Digest;

    fn entry(by: &str) -> Entry {
        Entry::Resumed { plan: Digest::of(by.as_bytes()), by: by.into() }
    }

    fn now() -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000)
    }

    fn with_three() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap().ledger;
        ledger.append(now(), vec![entry("a")]).unwrap();
        ledger.append(now(), vec![entry("b"), entry("c")]).unwrap();
        (folder, ledger)
    }

    #[test]
    fn records_are_there_again_after_a_restart() {
        let (folder, ledger) = with_three();
        let head = ledger.head();
        drop(ledger);
        let opened = Ledger::open(folder.path()).unwrap();
        assert_eq!((opened.records.len(), opened.ledger.head()), (3, head));
        assert!(opened.torn.is_none());
        let mut text = String::new();
        opened.ledger.reader().lines_from(1).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.contains("\"index\":")));
        text.clear();
        opened.ledger.reader().lines_from(99).unwrap().read_to_string(&mut text).unwrap();
        assert!(text.is_empty());
    }

    #[test]
    fn a_full_disk_leaves_the_ledger_as_it_was() {
        let (folder, mut ledger) = with_three();
        let before = std::fs::read(folder.path().join(FILE_NAME)).unwrap();
        for room in 0..200 {
            ledger.room = Some(before.len() as u64 + room);
            let error = ledger.append(now(), vec![entry("d"), entry("e")]).unwrap_err().to_string();
            assert!(error.contains("make room"), "{error}");
            assert_eq!(std::fs::read(folder.path().join(FILE_NAME)).unwrap(), before);
        }
        ledger.room = None;
        ledger.append(now(), vec![entry("d")]).unwrap();
        drop(ledger);
        assert_eq!(Ledger::open(folder.path()).unwrap().records.len(), 4);
    }

    #[test]
    fn a_line_torn_at_any_byte_is_put_aside_and_the_rest_stays() {
        let (folder, ledger) = with_three();
        let (whole, last) = (ledger.length(), lock(&ledger.durable).offsets[2]);
        drop(ledger);
        let path = folder.path().join(FILE_NAME);
        let bytes = std::fs::read(&path).unwrap();
        for cut in last + 1..whole {
            std::fs::write(&path, &bytes[..cut as usize]).unwrap();
            // The power went before it was acknowledged.
            std::fs::remove_file(folder.path().join(head::FILE_NAME)).unwrap();
            let opened = Ledger::open(folder.path()).unwrap();
            assert_eq!(opened.records.len(), 2);
            let torn = opened.torn.unwrap();
            assert_eq!(torn.file_name().unwrap().to_str().unwrap(), format!("ledger.torn-{last}"));
            assert_eq!(std::fs::read(torn).unwrap(), &bytes[last as usize..cut as usize]);
            let mut ledger = opened.ledger;
            ledger.append(now(), vec![entry("again")]).unwrap();
            drop(ledger);
            assert_eq!(Ledger::open(folder.path()).unwrap().records.len(), 3);
        }
    }

    #[test]
    fn damage_is_refused_by_name_and_recovered_only_when_asked() {
        let (folder, ledger) = with_three();
        let second = lock(&ledger.durable).offsets[1];
        drop(ledger);
        let path = folder.path().join(FILE_NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[second as usize + 80] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Ledger::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("record 1") && error.contains("recover"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "a refusal changes nothing");
        let recovered = recover(folder.path(), now()).unwrap();
        assert_eq!(recovered.kept_records, 1);
        assert_eq!(std::fs::read(recovered.aside.unwrap()).unwrap(), &bytes[second as usize..]);
        let opened = Ledger::open(folder.path()).unwrap();
        let last = &opened.records.last().unwrap().record.entry;
        assert!(
            opened.records.len() == 2 && matches!(last, Entry::Restored { generation: 1, lost: Some(_) }),
            "{last:?}"
        );
        drop(opened);
        let nothing = Recovered { kept_records: 2, lost: None, damage: None, aside: None };
        assert_eq!(recover(folder.path(), now()).unwrap(), nothing);
    }
}
