//! A folder for one process at a time.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::durable::PRIVATE;

/// The name of the lock's file; it holds the number of the process.
const FILE: &str = "lock";

/// Held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

/// Why a folder cannot be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it; its number where it can be read.
    Held(Option<u32>),
    /// Its file cannot be made, written or locked.
    File(PathBuf, io::Error),
}

impl FolderLock {
    /// Takes a folder that is there.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(FILE);
        let failed = |error| LockError::File(path.clone(), error);
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(false).mode(PRIVATE).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(LockError::Held(holder));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for FolderLock {
    /// Said, not left to the closing of the file: a program that this process is just starting has every open file of
    /// it until it runs, the lock's among them.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// ` (process 12)` where the holder's number is known, for the end of a sentence.
pub fn holder_text(holder: Option<u32>) -> String {
    holder.map(|process| format!(" (process {process})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_and_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        let own = std::process::id();
        assert!(matches!(FolderLock::take(folder.path()), Err(LockError::Held(Some(holder))) if holder == own));
        let inherited = first.file.try_clone().unwrap();
        drop(first);
        FolderLock::take(folder.path()).unwrap();
        drop(inherited);
        assert!(matches!(FolderLock::take(&folder.path().join("none")), Err(LockError::File(..))));
    }
}
