//! Files that survive a power cut: in place as a whole, the old content or the new one, and synced before anybody goes
//! on.

pub mod end;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

/// The mode of a file for its owner alone.
pub const PRIVATE: u32 = 0o600;
/// The mode of a file for everybody to read, less what the umask takes.
pub const PUBLIC: u32 = 0o644;

/// Puts a file in place as a whole, with that mode less what the umask takes.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    Prepared::write(path, content, Access::Mode(mode))?.put_in_place()
}

/// Puts what lies whole in `from` in place of `to`, in the same file system: synced, renamed, and the name synced.
pub fn put_in_place(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    rename(from, to)
}

/// Renames a file over another one and makes the name durable.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    end::before_write(to)?;
    fs::rename(from, to)?;
    sync_folder(folder_of(to))
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Owned by this process, with that mode less what the umask takes.
    Mode(u32),
    /// Exactly that owner and mode, before anybody can open it in its place.
    Owned { mode: u32, uid: u32, gid: u32 },
}

/// A file that lies whole and synced beside its place. After a crash it is left there under a hidden name that nobody
/// reads.
#[must_use = "it is not in its place yet"]
#[derive(Debug)]
pub struct Prepared {
    beside: PathBuf,
    place: PathBuf,
}

impl Prepared {
    /// Writes it beside the place. A link that somebody put there is replaced, never followed.
    pub fn write(place: &Path, content: &[u8], access: Access) -> io::Result<Self> {
        end::before_write(place)?;
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        // With the process's number: two commands may write the same file at the same time.
        let beside = folder_of(place).join(format!(".{name}.hostler-new-{}", std::process::id()));
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let prepared = Self { beside, place: place.to_owned() };
        prepared.fill(content, access).inspect_err(|_| prepared.discard())?;
        Ok(prepared)
    }

    /// Gives it its name, in place of what had it.
    pub fn put_in_place(self) -> io::Result<()> {
        rename(&self.beside, &self.place).inspect_err(|_| self.discard())
    }

    fn fill(&self, content: &[u8], access: Access) -> io::Result<()> {
        let mode = match access {
            Access::Mode(mode) => mode,
            Access::Owned { .. } => PRIVATE,
        };
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&self.beside)?;
        file.write_all(content)?;
        if let Access::Owned { mode, uid, gid } = access {
            fchown(&file, Some(uid), Some(gid))?;
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.sync_all()
    }

    fn discard(&self) {
        // What cannot be removed lies there and does no harm.
        let _ = fs::remove_file(&self.beside);
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        replace(&path, b"secret", PRIVATE).unwrap();
        replace(&path, b"secret 2", PRIVATE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"secret 2");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::create_dir(folder.path().join("other")).unwrap();
        assert!(replace(&folder.path().join("other"), b"x", PRIVATE).is_err(), "a folder is not replaced");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn until_it_is_in_place_the_old_content_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot");
        replace(&path, b"old", PUBLIC).unwrap();
        let prepared = Prepared::write(&path, b"new", Access::Mode(PUBLIC)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        prepared.put_in_place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_link_beside_the_place_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, precious) = (folder.path().join("file"), folder.path().join("precious"));
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, folder.path().join(format!(".file.hostler-new-{}", std::process::id()))).unwrap();
        let own = fs::metadata(&precious).unwrap();
        let access = Access::Owned { mode: 0o666, uid: own.uid(), gid: own.gid() };
        Prepared::write(&path, b"new", access).unwrap().put_in_place().unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666, "whatever the umask is");
    }
}
