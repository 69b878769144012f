//! The agent's own folder: its TLS key, its certificate, and what is being fetched. All of it can be had again.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use hostler_daemon::{
    durable::{self, PRIVATE},
    lock::{FolderLock, LockError, holder_text},
};
use hostler_plan::id::Digest;

/// Fetched files, each named by its digest; the executor copies them from there.
const DOWNLOADS: &str = "downloads";

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{action} {} failed: {reason}; check the space, the owner and the disk", path.display())]
    Io { action: &'static str, path: PathBuf, reason: io::Error },
    #[error(
        "expected {} for this agent alone, found another process using it{}; stop that process first",
        path.display(), holder_text(*holder)
    )]
    InUse { path: PathBuf, holder: Option<u32> },
}

/// A folder that belongs to this process until it ends.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
    _lock: Arc<FolderLock>,
}

impl Folder {
    /// Takes the folder, made with mode 0700 where it does not exist.
    pub(crate) fn open(root: &Path) -> Result<Self, FolderError> {
        make(root)?;
        make(&root.join(DOWNLOADS))?;
        match FolderLock::take(root) {
            Ok(lock) => Ok(Self { root: root.to_owned(), _lock: Arc::new(lock) }),
            Err(LockError::Held(holder)) => Err(FolderError::InUse { path: root.to_owned(), holder }),
            Err(LockError::File(path, reason)) => Err(FolderError::Io { action: "locking", path, reason }),
        }
    }

    /// The bytes of a file; none when there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(FolderError::Io { action: "reading", path, reason }),
        }
    }

    /// Puts a file in place as a whole; durable when this returns.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.root.join(name);
        durable::replace(&path, bytes, PRIVATE).map_err(|reason| FolderError::Io { action: "writing", path, reason })
    }

    /// Renames a file over another one; durable when this returns.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), FolderError> {
        let path = self.root.join(from);
        durable::rename(&path, &self.root.join(to)).map_err(|reason| FolderError::Io {
            action: "renaming",
            path,
            reason,
        })
    }

    /// Where the bytes of that digest are fetched to.
    pub(crate) fn download(&self, digest: &Digest) -> PathBuf {
        self.root.join(DOWNLOADS).join(digest.hex())
    }

    /// Removes what was fetched but for these bytes.
    pub(crate) fn forget_downloads(&self, but: Option<&Digest>) {
        let kept = but.map(Digest::hex);
        let Ok(files) = fs::read_dir(self.root.join(DOWNLOADS)) else { return };
        for file in files.flatten().filter(|file| file.file_name().to_str() != kept.as_deref()) {
            if let Err(error) = fs::remove_file(file.path()) {
                tracing::warn!("removing {} failed: {error}; remove it", file.path().display());
            }
        }
    }
}

fn make(path: &Path) -> Result<(), FolderError> {
    let failed = |action| move |reason| FolderError::Io { action, path: path.to_owned(), reason };
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(failed("creating"))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("protecting"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_of_the_downloads_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        fs::write(folder.download(&one), "one").unwrap();
        fs::write(folder.download(&two), "two").unwrap();
        folder.forget_downloads(Some(&one));
        assert!(folder.download(&one).exists() && !folder.download(&two).exists());
        folder.forget_downloads(None);
        assert!(!folder.download(&one).exists());
        assert!(matches!(Folder::open(root.path()), Err(FolderError::InUse { .. })), "it is this process's");
    }
}
