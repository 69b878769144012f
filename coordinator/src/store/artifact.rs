//! Artifacts by content: a file is here under its digest, whole and verified, or not at all.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use hostler_daemon::durable;
use hostler_plan::id::Digest;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::limits::ARTIFACT_BYTES;

/// The folder's name in the data folder.
pub(crate) const FOLDER_NAME: &str = "artifacts";
/// What an unfinished upload begins with; such files are removed at the start.
const UNFINISHED: &str = ".new-";

/// The folder of artifacts.
#[derive(Debug)]
pub(crate) struct Artifacts {
    folder: PathBuf,
    uploads: AtomicU64,
}

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
        Ok(Self { folder, uploads: AtomicU64::new(0) })
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

    /// Opens an artifact at an offset, and says how many bytes follow. It is measured before: a node that fetches what
    /// was damaged here since would refuse it again and again.
    pub(crate) async fn open_at(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> io::Result<(tokio::io::Take<tokio::fs::File>, u64)> {
        let (path, expected) = (self.path(digest), *digest);
        let (file, length) = tokio::task::spawn_blocking(move || measured(&path, &expected)).await??;
        let mut file = tokio::fs::File::from_std(file);
        let rest = length.checked_sub(offset).ok_or(io::ErrorKind::InvalidInput)?;
        file.seek(io::SeekFrom::Start(offset)).await?;
        Ok((file.take(rest), rest))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }
}

/// The file and its length, if it is what it is kept as.
fn measured(path: &Path, expected: &Digest) -> io::Result<(std::fs::File, u64)> {
    let (mut file, mut hasher) = (std::fs::File::open(path)?, Sha256::new());
    let length = io::copy(&mut file, &mut hasher)?;
    let found = Digest::from_bytes(hasher.finalize().into());
    if found != *expected {
        return Err(io::Error::other(format!("it was damaged since: found {found}")));
    }
    Ok((file, length))
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
