//! The agent's own directory: every write is durable before it returns.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use hostler_daemon::{
    durable::{self, Access, PRIVATE, Prepared, end},
    lock::{FolderLock, LockError, holder_text},
};

/// A file that is written over grows by so much at a time: 16 blocks, so that it seldom has to.
const ROOM: usize = 64 << 10;

/// Why the agent's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{action} {} failed: {reason}; check the space, the owner and the disk", path.display())]
    Io { action: &'static str, path: PathBuf, reason: io::Error },
    #[error(
        "expected {} for this executor alone, found another process using it{}; stop that process first",
        path.display(), holder_text(*holder)
    )]
    InUse { path: PathBuf, holder: Option<u32> },
    #[error(
        "expected {} to have at most {most} bytes, found {found}; it was not written by this agent",
        path.display()
    )]
    TooLong { path: PathBuf, most: u64, found: u64 },
}

/// A directory that belongs to this process until it ends.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    /// Held for as long as the process lives, unless this is the directory of another one.
    _lock: Option<FolderLock>,
    #[cfg(test)]
    pub crash: crash::CrashPoints,
}

impl Disk {
    /// Takes the directory, made with mode 0700 where it does not exist.
    pub fn open(root: &Path) -> Result<Self, DiskError> {
        make_directory(root)?;
        match FolderLock::take(root) {
            Ok(lock) => Ok(Self::with(root, Some(lock))),
            Err(LockError::Held(holder)) => Err(DiskError::InUse { path: root.to_owned(), holder }),
            Err(LockError::File(path, reason)) => Err(DiskError::Io { action: "locking", path, reason }),
        }
    }

    /// The directory of a running agent, to read what never changes.
    pub fn beside(root: &Path) -> Self {
        Self::with(root, None)
    }

    fn with(root: &Path, lock: Option<FolderLock>) -> Self {
        Self {
            root: root.to_owned(),
            _lock: lock,
            #[cfg(test)]
            crash: crash::CrashPoints::default(),
        }
    }

    /// Where a file of that name lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The bytes of a file; `None` when there is none.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(DiskError::Io { action: "opening", path, reason }),
        };
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes).map_err(io_error("reading", &path))?;
        if bytes.len() as u64 > most {
            return Err(DiskError::TooLong { path, most, found: bytes.len() as u64 });
        }
        Ok(Some(bytes))
    }

    /// Puts a file in place as a whole: after a crash there is the old content or the new one.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let path = self.path(name);
        let directory = path.parent().unwrap_or(&self.root).to_owned();
        make_directory(&directory)?;
        self.point();
        let new = Prepared::write(&path, bytes, Access::Mode(PRIVATE)).map_err(io_error("writing", &path))?;
        self.point();
        new.put_in_place().map_err(io_error("replacing", &path))?;
        self.point();
        Ok(())
    }

    /// Writes over a file from its beginning; what lies behind the bytes stays. A crash may leave any mixture of old
    /// and new, so this is for content that proves itself and has other copies. A file that is long enough keeps its
    /// blocks and its length, and the file system has nothing of its own to write: on ext4 many times faster than
    /// [`replace`](Self::replace), and kinder to an SD card. One that is too short is replaced by one with room.
    pub fn overwrite(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        if self.patch(name, bytes, bytes.len() as u64)? {
            return Ok(());
        }
        let mut longer = bytes.to_vec();
        longer.resize(bytes.len().next_multiple_of(ROOM), 0);
        self.replace(name, &longer)
    }

    /// The same for a file that has at least so many bytes already; false, and nothing is done, when it has not.
    pub fn patch(&self, name: &str, bytes: &[u8], least: u64) -> Result<bool, DiskError> {
        let path = self.path(name);
        let file = match OpenOptions::new().write(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(reason) => return Err(DiskError::Io { action: "opening", path, reason }),
        };
        if file.metadata().map_err(io_error("reading", &path))?.len() < least {
            return Ok(false);
        }
        self.point();
        end::before_write(&path).map_err(io_error("writing", &path))?;
        file.write_all_at(bytes, 0).and_then(|()| file.sync_data()).map_err(io_error("writing", &path))?;
        self.point();
        Ok(true)
    }

    /// Adds bytes to the end of a file.
    pub fn append(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let path = self.path(name);
        let directory = path.parent().unwrap_or(&self.root).to_owned();
        make_directory(&directory)?;
        let new = !path.exists();
        self.point();
        end::before_write(&path).map_err(io_error("writing", &path))?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(PRIVATE)
            .open(&path)
            .map_err(io_error("opening", &path))?;
        file.write_all(bytes).and_then(|()| file.sync_data()).map_err(io_error("writing", &path))?;
        if new {
            durable::sync_folder(&directory).map_err(io_error("syncing", &directory))?;
        }
        self.point();
        Ok(())
    }

    /// Renames a file over another one.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let path = self.path(from);
        self.point();
        durable::rename(&path, &self.path(to)).map_err(io_error("renaming", &path))?;
        self.point();
        Ok(())
    }

    /// Removes a file; none is as good as removed. After a power cut it may be back: whoever removes it looks again.
    pub fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(reason) => Err(DiskError::Io { action: "removing", path, reason }),
        }
    }

    /// The names in a directory, sorted; none where there is no such directory.
    pub fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let path = self.path(directory);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(reason) => return Err(DiskError::Io { action: "listing", path, reason }),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("listing", &path))?;
            names.extend(entry.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    /// A place where a test may end the process.
    fn point(&self) {
        #[cfg(test)]
        self.crash.reached();
    }
}

/// Makes a directory for the agent alone, with those above it.
pub fn make_directory(path: &Path) -> Result<(), DiskError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(io_error("creating", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io_error("protecting", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |reason| DiskError::Io { action, path, reason }
}

/// Ends the "process" of a test at a chosen write, as a power cut would.
#[cfg(test)]
pub mod crash {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };

    /// What a test's process dies of.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Killed;

    #[derive(Debug, Clone)]
    pub struct CrashPoints(pub Arc<AtomicI64>);

    impl Default for CrashPoints {
        fn default() -> Self {
            Self(Arc::new(AtomicI64::new(i64::MAX)))
        }
    }

    impl CrashPoints {
        /// Counts down; at zero the process ends here.
        pub fn reached(&self) {
            if self.0.fetch_sub(1, Ordering::SeqCst) <= 0 {
                // Unwinds without a message: this is no defect.
                std::panic::resume_unwind(Box::new(Killed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let first = Disk::open(directory.path()).unwrap();
        assert!(matches!(Disk::open(directory.path()), Err(DiskError::InUse { .. })));
        drop(first);
        assert!(Disk::open(directory.path()).is_ok());
    }

    #[test]
    fn a_file_is_for_the_agent_alone_and_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(&directory.path().join("state")).unwrap();
        disk.replace("a/key", b"one").unwrap();
        disk.replace("a/key", b"two").unwrap();
        assert_eq!(disk.read("a/key", 3).unwrap().as_deref(), Some(&b"two"[..]));
        assert!(matches!(disk.read("a/key", 2), Err(DiskError::TooLong { .. })));
        let mode = |name: &str| fs::metadata(disk.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/key"), mode("")), (0o600, 0o700));
        assert_eq!(disk.list("a").unwrap(), ["key"]);
        assert_eq!(disk.list("none").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_written_over_keeps_its_length_until_it_has_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let most = 1 << 20;
        disk.overwrite("slot", b"one").unwrap();
        disk.overwrite("slot", b"2").unwrap();
        let bytes = disk.read("slot", most).unwrap().unwrap();
        assert_eq!((bytes.len(), &bytes[..4]), (ROOM, &b"2ne\0"[..]));
        disk.overwrite("slot", &vec![7; ROOM + 1]).unwrap();
        let bytes = disk.read("slot", most).unwrap().unwrap();
        assert_eq!((bytes.len(), bytes[ROOM], bytes[ROOM + 1]), (2 * ROOM, 7, 0));
        let mode = fs::metadata(disk.path("slot")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }
}
