//! Sealed snapshots that nodes hand in, each under its digest: whole and measured, or on its way. What arrives is
//! bounded before its first byte, and goes on where an earlier try ended.

use std::{
    collections::BTreeSet,
    io::{self, SeekFrom},
    path::{Path, PathBuf},
};

use hostler_daemon::durable;
use hostler_plan::{document::SealedSnapshot, id::Digest};
use nix::sys::statvfs::statvfs;
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    sync::{Mutex, MutexGuard},
};

use crate::limits::{SNAPSHOT_BYTES, SNAPSHOT_FOLDER_BYTES, SNAPSHOT_MARGIN_BYTES};

/// The folder's name in the data folder.
pub(crate) const FOLDER_NAME: &str = "snapshots";
/// What the name of one on its way ends with.
const PART: &str = ".part";

/// The folder of snapshots.
#[derive(Debug)]
pub(crate) struct Snapshots {
    folder: PathBuf,
    /// One comes at a time: two of one name would write to one file, and a disk has only one.
    turn: Mutex<()>,
}

/// Why a snapshot is not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("expected a snapshot of 1 to {SNAPSHOT_BYTES} bytes, found {0}; defragment etcd")]
    Size(u64),
    #[error("another snapshot is on its way; try again later")]
    Busy,
    #[error("snapshots have {found} of at most {SNAPSHOT_FOLDER_BYTES} bytes; keep fewer ([snapshots] keep)")]
    Full { found: u64 },
    #[error("{free} bytes are free beside the snapshots, expected {needed}; make room on the coordinator's disk")]
    NoRoom { free: u64, needed: u64 },
    #[error("expected the bytes from {expected} on, found those from {found}")]
    Offset { expected: u64, found: u64 },
    #[error("expected {expected}, found {found}; what came was removed")]
    Mismatch { expected: String, found: String },
    #[error("the snapshot cannot be stored ({0}); look at the coordinator's disk")]
    Io(#[from] io::Error),
}

impl Snapshots {
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join(FOLDER_NAME);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, turn: Mutex::default() })
    }

    /// Whether it is here, whole.
    pub(crate) fn has(&self, sealed: &SealedSnapshot) -> bool {
        length(&self.path(&sealed.digest)) == Some(sealed.size)
    }

    /// How much of it is here already.
    pub(crate) fn begun(&self, sealed: &SealedSnapshot) -> u64 {
        length(&self.part(&sealed.digest)).filter(|found| *found <= sealed.size).unwrap_or(0)
    }

    /// Begins to take one in, or goes on with it.
    pub(crate) async fn take_in(&self, sealed: SealedSnapshot, offset: u64) -> Result<Incoming<'_>, SnapshotError> {
        let SealedSnapshot { digest, size } = sealed;
        if !(1..=SNAPSHOT_BYTES).contains(&size) {
            return Err(SnapshotError::Size(size));
        }
        let turn = self.turn.try_lock().map_err(|_| SnapshotError::Busy)?;
        let expected = self.begun(&sealed);
        if offset != expected {
            return Err(SnapshotError::Offset { expected, found: offset });
        }
        let (rest, found) = (size - offset, self.occupied()?);
        if found.saturating_add(rest) > SNAPSHOT_FOLDER_BYTES {
            return Err(SnapshotError::Full { found });
        }
        let disk = statvfs(&self.folder).map_err(io::Error::from)?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let needed = rest.saturating_add(SNAPSHOT_MARGIN_BYTES);
        if free < needed {
            return Err(SnapshotError::NoRoom { free, needed });
        }
        let part = self.part(&digest);
        let mut file = File::options().create(true).truncate(false).write(true).open(&part).await?;
        // What is longer than it may be was no part of it.
        file.set_len(offset).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        Ok(Incoming { file, written: offset, sealed, part, whole: self.path(&digest), _turn: turn })
    }

    /// The file and how many bytes follow from there.
    pub(crate) async fn open_at(&self, digest: &Digest, offset: u64) -> io::Result<tokio::io::Take<File>> {
        let mut file = File::open(self.path(digest)).await?;
        let rest = file.metadata().await?.len().checked_sub(offset).ok_or(io::ErrorKind::InvalidInput)?;
        file.seek(SeekFrom::Start(offset)).await?;
        Ok(file.take(rest))
    }

    /// Removes all but these, whole or not.
    pub(crate) fn keep(&self, these: &BTreeSet<Digest>) -> io::Result<Vec<String>> {
        let these: BTreeSet<String> = these.iter().map(Digest::hex).collect();
        let mut gone = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !these.contains(name.strip_suffix(PART).unwrap_or(&name)) {
                std::fs::remove_file(self.folder.join(&name))?;
                gone.push(name);
            }
        }
        Ok(gone)
    }

    fn occupied(&self) -> io::Result<u64> {
        std::fs::read_dir(&self.folder)?.try_fold(0u64, |sum, entry| Ok(sum.saturating_add(entry?.metadata()?.len())))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}{PART}", digest.hex()))
    }
}

fn length(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file).map(|found| found.len())
}

/// A snapshot on its way in. What came of it stays when it is dropped.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    file: File,
    written: u64,
    sealed: SealedSnapshot,
    part: PathBuf,
    whole: PathBuf,
    _turn: MutexGuard<'a, ()>,
}

impl Incoming<'_> {
    /// Takes the next bytes; more than the receipt says are none of it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let after = self.written + bytes.len() as u64;
        if after > self.sealed.size {
            return Err(self.wrong(format!("at least {after} bytes")).await);
        }
        self.file.write_all(bytes).await?;
        self.written = after;
        Ok(())
    }

    /// Puts it in its place, if all of it is here and is what the receipt names.
    pub(crate) async fn finish(mut self) -> Result<(), SnapshotError> {
        self.file.flush().await?;
        if self.written < self.sealed.size {
            let (expected, found) = (self.sealed.size, self.written);
            return Err(SnapshotError::Io(io::Error::other(format!(
                "expected {expected} bytes, found {found} so far"
            ))));
        }
        let part = self.part.clone();
        let measured = tokio::task::spawn_blocking(move || measure(&part)).await.map_err(io::Error::other)??;
        if measured != self.sealed.digest {
            return Err(self.wrong(measured.to_string()).await);
        }
        let (part, whole) = (self.part.clone(), self.whole.clone());
        let placed = tokio::task::spawn_blocking(move || durable::put_in_place(&part, &whole)).await;
        Ok(placed.map_err(io::Error::other)??)
    }

    async fn wrong(&self, found: String) -> SnapshotError {
        let _ = tokio::fs::remove_file(&self.part).await;
        let SealedSnapshot { digest, size } = self.sealed;
        SnapshotError::Mismatch { expected: format!("{digest} with {size} bytes"), found }
    }
}

fn measure(path: &Path) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(content: &[u8]) -> SealedSnapshot {
        SealedSnapshot { digest: Digest::of(content), size: content.len() as u64 }
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder.join(FOLDER_NAME)).unwrap().count()
    }

    #[tokio::test]
    async fn what_was_cut_off_goes_on_and_only_what_the_receipt_names_is_kept() {
        let data = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(data.path()).unwrap();
        let content = sealed(b"hello world");
        let mut first = snapshots.take_in(content, 0).await.unwrap();
        first.write(b"hello").await.unwrap();
        assert!(matches!(snapshots.take_in(content, 0).await, Err(SnapshotError::Busy)), "one at a time");
        assert!(first.finish().await.is_err());
        assert_eq!((snapshots.begun(&content), snapshots.has(&content)), (5, false));
        assert!(matches!(snapshots.take_in(content, 0).await, Err(SnapshotError::Offset { expected: 5, found: 0 })));
        let mut second = snapshots.take_in(content, 5).await.unwrap();
        second.write(b" world").await.unwrap();
        second.finish().await.unwrap();
        assert!(snapshots.has(&content));
        let mut text = String::new();
        snapshots.open_at(&content.digest, 6).await.unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "world");

        for wrong in [&b"other bytes"[..], b"hello world and more"] {
            let expected = sealed(b"hello_world");
            let mut upload = snapshots.take_in(expected, 0).await.unwrap();
            let ended = match upload.write(wrong).await {
                Ok(()) => upload.finish().await,
                longer => longer,
            };
            assert!(matches!(ended, Err(SnapshotError::Mismatch { .. })));
            assert_eq!(files(data.path()), 1, "nothing of it stays");
        }
    }

    #[tokio::test]
    async fn no_node_fills_the_disk_and_what_does_not_stay_goes() {
        let data = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(data.path()).unwrap();
        for size in [0, SNAPSHOT_BYTES + 1] {
            let huge = SealedSnapshot { digest: Digest::of(b"huge"), size };
            assert!(matches!(snapshots.take_in(huge, 0).await, Err(SnapshotError::Size(_))), "{size}");
        }
        // A sparse file stands for snapshots that fill the folder.
        let name = Digest::of(b"old").hex();
        let old = std::fs::File::create(data.path().join(FOLDER_NAME).join(name)).unwrap();
        old.set_len(SNAPSHOT_FOLDER_BYTES).unwrap();
        assert!(matches!(snapshots.take_in(sealed(b"new"), 0).await, Err(SnapshotError::Full { .. })));
        assert_eq!(snapshots.keep(&BTreeSet::from([Digest::of(b"new")])).unwrap().len(), 1);
        assert_eq!(files(data.path()), 0);
        assert!(snapshots.take_in(sealed(b"new"), 0).await.is_ok());
    }
}
