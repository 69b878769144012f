//! Files of the machine: read without following links, written whole with their owner and mode.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use hostler_daemon::durable::{self, Access, Prepared};

use crate::{
    artifacts::digest_of,
    host::{HostError, HostFile, MeasuredFile},
};

/// Configuration files are far smaller, and a plan that brings one has no more.
const MAX_BYTES: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> Result<Option<HostFile>, HostError> {
    let Some((file, metadata)) = open(path)? else { return Ok(None) };
    if metadata.len() > MAX_BYTES {
        return Err(no_file(path, "a regular file of at most 1 MiB"));
    }
    let mut content = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut content).map_err(|e| failed("reading", path, &e))?;
    Ok(Some(HostFile { content, mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() }))
}

/// Reads all of a file of any size and keeps its digest.
pub(super) fn measure(path: &Path) -> Result<Option<MeasuredFile>, HostError> {
    let Some((mut file, metadata)) = open(path)? else { return Ok(None) };
    let digest = digest_of(&mut file).map_err(|e| failed("reading", path, &e))?;
    Ok(Some(MeasuredFile { digest, mode: metadata.mode() & 0o7777, uid: metadata.uid() }))
}

fn open(path: &Path) -> Result<Option<(File, fs::Metadata)>, HostError> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("opening", path, &e)),
    };
    let metadata = file.metadata().map_err(|e| failed("reading", path, &e))?;
    if !metadata.is_file() {
        return Err(no_file(path, "a regular file"));
    }
    Ok(Some((file, metadata)))
}

fn no_file(path: &Path, expected: &'static str) -> HostError {
    HostError::Unexpected { what: "file", expected, found: path.display().to_string() }
}

/// Gives a file or folder another place; the folder of that is made where it is missing, for root alone.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), HostError> {
    let wrong = |e: io::Error| failed("renaming to", to, &e);
    if fs::symlink_metadata(to).is_ok() {
        return Err(wrong(io::ErrorKind::AlreadyExists.into()));
    }
    let folder = to.parent().unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
    }
    fs::rename(from, to).map_err(wrong)?;
    let synced = durable::sync_folder(folder).and_then(|()| durable::sync_folder(from.parent().unwrap_or(folder)));
    synced.map_err(wrong)
}

/// The names in a folder, sorted.
pub(super) fn list(path: &Path) -> Result<Vec<String>, HostError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("listing", path, &e)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<String>>>().map_err(|e| failed("listing", path, &e))?;
    names.sort();
    Ok(names)
}

/// Removes a file, a link or a whole folder.
pub(super) fn remove(path: &Path) -> Result<(), HostError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Ok(()) => {
            durable::sync_folder(path.parent().unwrap_or(Path::new("/"))).map_err(|e| failed("syncing", path, &e))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed("removing", path, &e)),
    }
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
    fn folders_are_listed_and_removed_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (folder, outside) = (directory.path().join("folder"), directory.path().join("outside"));
        assert_eq!(list(&folder).unwrap(), Vec::<String>::new());
        remove(&folder).unwrap();
        fs::create_dir_all(folder.join("inner")).unwrap();
        fs::write(folder.join("inner/a"), b"a").unwrap();
        fs::write(&outside, b"kept").unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("z")).unwrap();
        assert_eq!(list(&folder).unwrap(), ["inner", "z"]);
        assert!(measure(&folder.join("z")).is_err() && measure(&folder).is_err());
        let measured = measure(&outside).unwrap().unwrap();
        assert_eq!(measured.digest, hostler_plan::id::Digest::of(b"kept"));
        remove(&folder).unwrap();
        assert!(!folder.exists() && outside.exists());
        assert_eq!(measure(&folder).unwrap(), None);
    }

    #[test]
    fn a_folder_gets_another_place_and_takes_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("member"), directory.path().join("before/member"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("db"), b"data").unwrap();
        rename(&from, &to).unwrap();
        assert!(!from.exists());
        assert_eq!(fs::read(to.join("db")).unwrap(), b"data");
        fs::create_dir(&from).unwrap();
        assert!(rename(&from, &to).is_err(), "what is there stays");
        assert_eq!(fs::read(to.join("db")).unwrap(), b"data");
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
