//! Artifacts by content: a file is here under its digest, whole and verified, or not at all.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use hostler_daemon::durable;
use hostler_plan::id::Digest;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    sync::Mutex,
    time::Instant,
};

use crate::limits::ARTIFACT_BYTES;

/// The folder's name in the data folder.
pub(crate) const FOLDER_NAME: &str = "artifacts";
/// What an unfinished upload begins with; such files are removed at the start.
const UNFINISHED: &str = ".new-";

/// How long a file that was measured counts as measured: nodes that stage together come within seconds of each other,
/// and each of them would have the whole file read before its first byte.
const MEASURED_FOR: Duration = Duration::from_secs(60);

/// The folder of artifacts.
#[derive(Debug)]
pub(crate) struct Artifacts {
    folder: PathBuf,
    uploads: AtomicU64,
    /// Files that were found to be what they are kept as, when, and as which.
    measured: Mutex<HashMap<Digest, (Instant, Stamp)>>,
}

/// What changes when a file is written to: inode, length, and the time of the last change to either.
type Stamp = (u64, u64, i64, i64);

/// Why an upload ended without an artifact.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Announced larger than allowed.
    #[error("expected an artifact of 1 to {ARTIFACT_BYTES} bytes, found {0}; split it")]
    Size(u64),
    /// Other content or length than announced.
    #[error(
        "expected {expected}, found {found}; the file changed on the way or since its plan was made: upload it again"
    )]
    Mismatch { expected: String, found: String },
    /// The disk does not take it.
    #[error("cannot store the artifact ({0}); make room on the coordinator's disk and try again")]
    Io(#[from] io::Error),
}

impl Artifacts {
    /// Opens the folder and removes uploads that never ended.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let folder = data.join(FOLDER_NAME);
        std::fs::create_dir_all(&folder)?;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder, uploads: AtomicU64::new(0), measured: Mutex::default() })
    }

    /// Whether that content is here in that length.
    pub(crate) fn has(&self, digest: &Digest, size: u64) -> bool {
        std::fs::metadata(self.path(digest)).is_ok_and(|m| m.is_file() && m.len() == size)
    }

    /// Begins to take in a file.
    pub(crate) async fn upload(&self, digest: Digest, size: u64) -> Result<Upload, UploadError> {
        if !(1..=ARTIFACT_BYTES).contains(&size) {
            return Err(UploadError::Size(size));
        }
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{UNFINISHED}{number}"));
        let file = tokio::fs::File::create(&path).await?;
        let finished = self.path(&digest);
        let unfinished = Unfinished(path);
        Ok(Upload { file, hasher: Sha256::new(), written: 0, digest, size, unfinished, finished })
    }

    /// Opens an artifact at an offset, and says how many bytes follow. It is measured before, unless that was just
    /// done: a node that fetches what was damaged here since would refuse it again and again.
    pub(crate) async fn open_at(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> io::Result<(tokio::io::Take<tokio::fs::File>, u64)> {
        let mut file = tokio::fs::File::open(self.path(digest)).await?;
        let metadata = file.metadata().await?;
        let stamp = (metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec());
        let length = metadata.len();
        {
            // Who comes while it is measured waits for that.
            let mut measured = self.measured.lock().await;
            measured.retain(|_, (at, _)| at.elapsed() < MEASURED_FOR);
            if measured.get(digest).is_none_or(|(_, found)| *found != stamp) {
                let (std, expected) = (file.into_std().await, *digest);
                let std = match tokio::task::spawn_blocking(move || measure(std, &expected)).await? {
                    // So that who has it uploads it again.
                    Err(damaged) if damaged.kind() == io::ErrorKind::InvalidData => {
                        tokio::fs::remove_file(self.path(digest)).await?;
                        return Err(damaged);
                    }
                    other => other?,
                };
                file = tokio::fs::File::from_std(std);
                measured.insert(*digest, (Instant::now(), stamp));
            }
        }
        let rest = length.checked_sub(offset).ok_or(io::ErrorKind::InvalidInput)?;
        file.seek(io::SeekFrom::Start(offset)).await?;
        Ok((file.take(rest), rest))
    }

    /// Removes what is not needed and was not for that long, by the machine's clock; what is needed is noted as needed
    /// now. Gives the names and lengths of what went.
    pub(crate) fn sweep(&self, needed: &BTreeSet<Digest>, keep: Duration) -> io::Result<Vec<(String, u64)>> {
        let (now, mut gone) = (SystemTime::now(), Vec::new());
        let needed: BTreeSet<String> = needed.iter().map(Digest::hex).collect();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (name, metadata) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata()?);
            if name.starts_with(UNFINISHED) {
                continue;
            }
            if needed.contains(&name) {
                std::fs::File::open(entry.path())?.set_modified(now)?;
            } else if now.duration_since(metadata.modified()?).is_ok_and(|age| age > keep) {
                std::fs::remove_file(entry.path())?;
                gone.push((name, metadata.len()));
            }
        }
        Ok(gone)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }
}

/// The file, if it is what it is kept as.
fn measure(mut file: std::fs::File, expected: &Digest) -> io::Result<std::fs::File> {
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher)?;
    let found = Digest::from_bytes(hasher.finalize().into());
    if found != *expected {
        let damaged = format!("it was damaged since, and is removed: found {found}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, damaged));
    }
    Ok(file)
}

/// A file on its way in. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Upload {
    file: tokio::fs::File,
    hasher: Sha256,
    written: u64,
    digest: Digest,
    size: u64,
    unfinished: Unfinished,
    finished: PathBuf,
}

#[derive(Debug)]
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; what cannot be removed is removed at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Upload {
    /// Takes the next bytes; more than announced end the upload.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        self.written += bytes.len() as u64;
        if self.written > self.size {
            return Err(self.mismatch(format!("at least {} bytes", self.written)));
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).await?;
        Ok(())
    }

    /// Whether nothing came yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Ends the upload: durable under its digest when length and content are as announced.
    pub(crate) async fn finish(mut self) -> Result<(), UploadError> {
        if self.written != self.size {
            return Err(self.mismatch(format!("{} bytes", self.written)));
        }
        let found = Digest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        if found != self.digest {
            return Err(self.mismatch(found.to_string()));
        }
        self.file.flush().await?;
        let Self { unfinished, finished, .. } = self;
        let placed = tokio::task::spawn_blocking(move || durable::put_in_place(&unfinished.0, &finished)).await;
        Ok(placed.map_err(io::Error::other)??)
    }

    fn mismatch(&self, found: String) -> UploadError {
        UploadError::Mismatch { expected: format!("{} with {} bytes", self.digest, self.size), found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(artifacts: &Artifacts, digest: Digest, size: u64, content: &[u8]) -> Result<(), UploadError> {
        let mut upload = artifacts.upload(digest, size).await?;
        for chunk in content.chunks(3) {
            upload.write(chunk).await?;
        }
        upload.finish().await
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder.join(FOLDER_NAME)).unwrap().count()
    }

    #[tokio::test]
    async fn only_what_was_announced_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(folder.path()).unwrap();
        let (content, digest) = (b"hello world", Digest::of(b"hello world"));
        assert!(put(&artifacts, digest, 10, content).await.is_err(), "longer");
        assert!(put(&artifacts, digest, 12, content).await.is_err(), "shorter");
        assert!(put(&artifacts, digest, 11, b"hello World").await.is_err(), "other bytes");
        assert!(matches!(put(&artifacts, digest, 0, b"").await, Err(UploadError::Size(0))));
        assert_eq!(files(folder.path()), 0);
        put(&artifacts, digest, 11, content).await.unwrap();
        put(&artifacts, digest, 11, content).await.unwrap();
        assert_eq!(files(folder.path()), 1);
        assert!(artifacts.has(&digest, 11) && !artifacts.has(&digest, 10));
        let (mut file, rest) = artifacts.open_at(&digest, 6).await.unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), rest), ("world", 5));
        assert!(artifacts.open_at(&digest, 12).await.is_err());
    }

    #[tokio::test]
    async fn what_was_measured_is_measured_again_when_it_was_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(folder.path()).unwrap();
        let (content, digest) = (b"hello world", Digest::of(b"hello world"));
        put(&artifacts, digest, 11, content).await.unwrap();
        let (_file, rest) = artifacts.open_at(&digest, 0).await.unwrap();
        assert_eq!(rest, 11);
        std::fs::write(artifacts.path(&digest), b"hello World").unwrap();
        let damaged = artifacts.open_at(&digest, 0).await.unwrap_err().to_string();
        assert!(damaged.contains("damaged since"), "{damaged}");
        assert!(!artifacts.has(&digest, 11), "who has it is asked for it again");
    }

    #[tokio::test]
    async fn what_no_plan_needed_for_long_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(folder.path()).unwrap();
        let day = Duration::from_secs(86_400);
        let old = SystemTime::now() - 31 * day;
        let digests = [&b"old"[..], b"new", b"needed"].map(|content| (content, Digest::of(content)));
        for (content, digest) in digests {
            put(&artifacts, digest, content.len() as u64, content).await.unwrap();
            if content != b"new" {
                std::fs::File::open(artifacts.path(&digest)).unwrap().set_modified(old).unwrap();
            }
        }
        let needed = BTreeSet::from([digests[2].1]);
        assert_eq!(artifacts.sweep(&needed, 30 * day).unwrap(), [(digests[0].1.hex(), 3)]);
        assert_eq!(files(folder.path()), 2);
        // Its plan is over now, and its days begin.
        assert_eq!(artifacts.sweep(&BTreeSet::new(), 30 * day).unwrap(), []);
    }

    #[tokio::test]
    async fn an_upload_that_was_cut_off_is_gone_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(folder.path()).unwrap();
        let mut upload = artifacts.upload(Digest::of(b"x"), 100).await.unwrap();
        upload.write(b"x").await.unwrap();
        std::mem::forget(upload);
        assert_eq!(files(folder.path()), 1);
        Artifacts::open(folder.path()).unwrap();
        assert_eq!(files(folder.path()), 0);
    }
}
