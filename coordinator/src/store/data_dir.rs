//! The data folder: for one coordinator at a time, and for nobody else to read.

use std::{
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use hostler_daemon::lock::{FolderLock, LockError, holder_text};

use super::{head, ledger};

/// A data folder that nobody else uses until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: FolderLock,
}

/// Why a folder cannot be the data folder.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error(
        "data folder {} is in use by another process{}; stop that coordinator or set another data_dir",
        path.display(), holder_text(*holder)
    )]
    InUse { path: PathBuf, holder: Option<u32> },
    /// It cannot be made or written.
    #[error("data folder {} cannot be used: expected a folder that this user may write, found: {source}; change its \
        owner or set another data_dir", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    /// Its lock cannot be taken.
    #[error(
        "cannot take the lock {} of the data folder: {source}; remove it, it is made anew, or check the disk",
        path.display()
    )]
    Lock { path: PathBuf, source: io::Error },
}

impl DataDir {
    /// Makes the folder where it is missing and takes its lock.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let lock = FolderLock::take(path).map_err(|error| match error {
            LockError::Held(holder) => DataDirError::InUse { path: path.to_owned(), holder },
            LockError::File(path, source) => DataDirError::Lock { path, source },
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Whether no coordinator has worked here: there was no root, and nothing stands in the ledger.
    pub(crate) fn is_new(&self) -> bool {
        let ledger = std::fs::metadata(self.join(ledger::FILE_NAME));
        !head::had_root(&self.path) && ledger.map_or(true, |file| file.len() == 0)
    }

    /// A path inside the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_names_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path()).unwrap();
        let error = DataDir::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(DataDir::open(folder.path()).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_made_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDir::open(&file.join("data")).unwrap_err().to_string();
        assert!(error.contains("file/data") && error.contains("data_dir"), "{error}");
    }
}
