//! A disk that ends at a chosen write, for tests of what a crash leaves behind. In a release build there is none.
//!
//! From that write on, every write below its folder fails until the value is dropped: what the disk holds then is what
//! the end of the process at that moment would have left there.

use std::{io, path::Path};

#[cfg(debug_assertions)]
pub use debug::EndOfDisk;

/// Asked before every durable write: an error where a test has ended this disk.
#[cfg(not(debug_assertions))]
#[expect(clippy::unnecessary_wraps, reason = "in a debug build it fails")]
pub fn before_write(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Asked before every durable write: an error where a test has ended this disk.
#[cfg(debug_assertions)]
pub fn before_write(path: &Path) -> io::Result<()> {
    let ended = || io::Error::new(io::ErrorKind::StorageFull, "a test has ended this disk");
    if debug::ends(path) { Err(ended()) } else { Ok(()) }
}

#[cfg(debug_assertions)]
mod debug {
    use std::{
        path::{Path, PathBuf},
        sync::{
            Arc, Mutex, PoisonError,
            atomic::{AtomicU64, Ordering},
        },
    };

    /// Folders with the writes that each has left and the writes that failed.
    static ENDS: Mutex<Vec<Arc<State>>> = Mutex::new(Vec::new());

    #[derive(Debug)]
    struct State {
        folder: PathBuf,
        left: AtomicU64,
        failed: AtomicU64,
    }

    /// Everything below a folder takes so many writes and then none, as long as this lives.
    #[derive(Debug)]
    pub struct EndOfDisk(Arc<State>);

    impl EndOfDisk {
        /// So many more writes succeed.
        pub fn after(folder: &Path, writes: u64) -> Self {
            let (left, failed) = (AtomicU64::new(writes), AtomicU64::new(0));
            let state = Arc::new(State { folder: folder.to_owned(), left, failed });
            ENDS.lock().unwrap_or_else(PoisonError::into_inner).push(state.clone());
            Self(state)
        }

        /// Whether a write failed.
        pub fn has_failed(&self) -> bool {
            self.0.failed.load(Ordering::SeqCst) > 0
        }
    }

    impl Drop for EndOfDisk {
        fn drop(&mut self) {
            ENDS.lock().unwrap_or_else(PoisonError::into_inner).retain(|state| !Arc::ptr_eq(state, &self.0));
        }
    }

    pub(super) fn ends(path: &Path) -> bool {
        let ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = ends.iter().find(|state| path.starts_with(&state.folder)) else { return false };
        let taken = state.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if !taken {
            state.failed.fetch_add(1, Ordering::SeqCst);
        }
        !taken
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::durable::{PRIVATE, replace};

        #[test]
        fn nothing_is_written_from_there_on_and_other_folders_are_none_of_it() {
            let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let path = folder.path().join("file");
            let end = EndOfDisk::after(folder.path(), 3);
            replace(&path, b"one", PRIVATE).unwrap();
            assert!(!end.has_failed());
            assert!(replace(&path, b"two", PRIVATE).is_err(), "it lies beside its place and gets no name");
            assert!(replace(&path, b"three", PRIVATE).is_err() && end.has_failed());
            replace(&other.path().join("file"), b"one", PRIVATE).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"one");
            drop(end);
            replace(&path, b"four", PRIVATE).unwrap();
        }
    }
}
