//! Files of the machine: read without following links, written whole with their owner and mode.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use hostler_daemon::durable::{self, Access, Prepared};

use crate::host::{HostError, HostFile};

/// Configuration files are far smaller, and a plan that brings one has no more.
const MAX_BYTES: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> Result<Option<HostFile>, HostError> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("opening", path, &e)),
    };
    let metadata = file.metadata().map_err(|e| failed("reading", path, &e))?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(HostError::Unexpected {
            what: "file",
            expected: "a regular file of at most 1 MiB",
            found: path.display().to_string(),
        });
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut content).map_err(|e| failed("reading", path, &e))?;
    Ok(Some(HostFile { content, mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() }))
}

/// Writes beside the place, with owner and mode before anybody can open it there, then renames.
pub(super) fn write(path: &Path, file: &HostFile) -> Result<(), HostError> {
    let place = |e: io::Error| failed("writing", path, &e);
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(|e| failed("creating", directory, &e))?;
    if fs::symlink_metadata(path).is_ok_and(|m| !m.is_file() && !m.is_symlink()) {
        return Err(place(io::Error::other("something else than a file is there")));
    }
    let access = Access::Owned { mode: file.mode, uid: file.uid, gid: file.gid };
    Prepared::write(path, &file.content, access).and_then(Prepared::put_in_place).map_err(place)
}

/// Puts a program in its place; one that runs keeps the old file.
pub(super) fn install(artifact: &Path, program: &Path) -> Result<(), HostError> {
    let wrong = |e: io::Error| failed("installing", program, &e);
    let directory = program.parent().unwrap_or(Path::new("/"));
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let new = directory.join(format!("{name}.hostler-new"));
    fs::create_dir_all(directory).map_err(wrong)?;
    fs::copy(artifact, &new).map_err(wrong)?;
    fs::set_permissions(&new, Permissions::from_mode(0o755)).map_err(wrong)?;
    durable::put_in_place(&new, program).map_err(wrong)
}

pub(super) fn failed(action: &'static str, path: &Path, error: &io::Error) -> HostError {
    HostError::File { action, path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(content: &[u8], mode: u32) -> HostFile {
        let uid = nix::unistd::getuid().as_raw();
        HostFile { content: content.to_vec(), mode, uid, gid: nix::unistd::getgid().as_raw() }
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etc/x/y.conf");
        assert_eq!(read(&path).unwrap(), None);
        for file in [own(b"one\n", 0o644), own(b"", 0o600), own(b"two", 0o755)] {
            write(&path, &file).unwrap();
            assert_eq!(read(&path).unwrap(), Some(file));
        }
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing stays beside it");
    }

    #[test]
    fn links_and_directories_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, b"precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(read(&link).is_err());
        write(&link, &own(b"new", 0o644)).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(fs::read(&link).unwrap(), b"new");
        let folder = directory.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(read(&folder).is_err());
        assert!(write(&folder, &own(b"new", 0o644)).is_err());
    }
}
