//! Artifacts on disk: nobody opens one before its length and digest are those of a signed plan.
//!
//! The network side fetches into its own folder. What lies there is copied first and measured afterwards, so that
//! nobody can change what was measured.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use hostler_daemon::durable::{self, PRIVATE, end};
use hostler_plan::{
    document::{Artifact, Plan},
    id::Digest,
    text::count,
    trust::Verified,
};
use nix::{
    fcntl::{self, OFlag},
    sys::{stat::Mode, statvfs::statvfs},
    unistd::{Uid, geteuid},
};
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, DiskError, make_directory};

const DIRECTORY: &str = "artifacts";

/// Where an artifact lies once it is verified.
pub(crate) fn path(disk: &Disk, digest: &Digest) -> PathBuf {
    disk.path(&format!("{DIRECTORY}/{}", digest.hex()))
}

/// Where its copy lies until it is verified.
fn partial_path(disk: &Disk, digest: &Digest) -> Result<PathBuf, DiskError> {
    make_directory(&disk.path(DIRECTORY))?;
    Ok(disk.path(&partial_name(digest)))
}

fn partial_name(digest: &Digest) -> String {
    format!("{DIRECTORY}/{}.part", digest.hex())
}

/// What a file is, measured against an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// Exactly the artifact.
    Right,
    /// Something else, in words.
    Wrong(String),
}

/// Reads the whole file and compares length and digest. Links are not followed.
pub(crate) fn examine(path: &Path, artifact: &Artifact) -> io::Result<Found> {
    let mut file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(e),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Found::Wrong("no regular file".into()));
    }
    if metadata.len() != artifact.size {
        return Ok(Found::Wrong(format!("{} bytes, expected {}", metadata.len(), artifact.size)));
    }
    let digest = digest_of(&mut file)?;
    if digest == artifact.sha256 {
        Ok(Found::Right)
    } else {
        Ok(Found::Wrong(format!("digest {digest}, expected {}", artifact.sha256)))
    }
}

/// The network side's folder of fetched files, each named by its digest.
#[derive(Debug, Clone)]
pub(crate) struct Downloads {
    pub folder: PathBuf,
    /// The user whose files are taken from there; the executor's own unless there is another one.
    pub owner: Option<Uid>,
}

impl Downloads {
    /// Copies a fetched file and puts the copy in its place if it is the artifact. Of a copy that fails nothing stays:
    /// on a disk without room it takes what others need.
    pub(crate) fn accept(&self, disk: &Disk, artifact: &Artifact) -> Result<Found, DiskError> {
        let partial = partial_path(disk, &artifact.sha256)?;
        let copied = self.copy(artifact, &partial).and_then(|found| match found {
            Found::Right => examine(&partial, artifact),
            Found::Nothing | Found::Wrong(_) => Ok(found),
        });
        let place = path(disk, &artifact.sha256);
        let found = copied.and_then(|found| match found {
            Found::Right => durable::put_in_place(&partial, &place).map(|()| found),
            Found::Nothing | Found::Wrong(_) => Ok(found),
        });
        if !matches!(found, Ok(Found::Right)) {
            disk.remove(&partial_name(&artifact.sha256))?;
        }
        found.map_err(|reason| DiskError::Io { action: "copying what was fetched to", path: place, reason })
    }

    /// Copies as many bytes as the artifact has. Another user could have put a link, a pipe or somebody else's file
    /// there: nothing but a regular file of the network side's own user is read, and never more than was promised.
    fn copy(&self, artifact: &Artifact, to: &Path) -> io::Result<Found> {
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&self.folder)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match fcntl::openat(&folder, artifact.sha256.hex().as_str(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(nix::Error::ENOENT) => return Ok(Found::Nothing),
            Err(e) => return Ok(Found::Wrong(format!("a file that cannot be opened ({e})"))),
        };
        let metadata = file.metadata()?;
        let owner = self.owner.unwrap_or_else(geteuid);
        if !metadata.is_file() || metadata.uid() != owner.as_raw() {
            return Ok(Found::Wrong(format!("no regular file of user {owner}")));
        }
        if metadata.len() != artifact.size {
            return Ok(Found::Wrong(format!("{} bytes, expected {}", metadata.len(), artifact.size)));
        }
        end::before_write(to)?;
        let mut copy = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(PRIVATE)
            .custom_flags(libc::O_NOFOLLOW)
            .open(to)?;
        io::copy(&mut file.take(artifact.size), &mut copy)?;
        copy.sync_all()?;
        Ok(Found::Right)
    }
}

/// What stays free beside what a task brings: the machine writes while it comes, and a full disk stops more than a
/// task.
const MARGIN_BYTES: u64 = 256 << 20;

/// Whether there is room for all of these that are not staged yet: each in the executor's folder, and the largest once
/// more while it is fetched and copied. A sentence says what is missing.
pub(crate) fn lacks_room(disk: &Disk, downloads: &Downloads, wanted: &[Artifact]) -> io::Result<Option<String>> {
    let length = |path: &Path| std::fs::symlink_metadata(path).map_or(0, |found| found.len());
    let missing: Vec<&Artifact> = wanted.iter().filter(|a| length(&path(disk, &a.sha256)) != a.size).collect();
    let staged = missing.iter().fold(0u64, |sum, a| sum.saturating_add(a.size));
    // What came of one already needs no room any more.
    let fetched = missing.iter().map(|a| a.size.saturating_sub(length(&downloads.folder.join(a.sha256.hex())))).max();
    if missing.is_empty() {
        return Ok(None);
    }
    let one_file_system =
        |a: &Path, b: &Path| Ok::<_, io::Error>(std::fs::metadata(a)?.dev() == std::fs::metadata(b)?.dev());
    let (folder, fetched) = (disk.path(""), fetched.unwrap_or(0));
    let needs = match downloads.folder.exists() && !one_file_system(&folder, &downloads.folder)? {
        true => vec![(folder, staged), (downloads.folder.clone(), fetched)],
        false => vec![(folder, staged.saturating_add(fetched))],
    };
    for (folder, bytes) in needs {
        let free =
            statvfs(&folder).map(|found| u128::from(found.blocks_available()) * u128::from(found.fragment_size()))?;
        let needed = u128::from(bytes) + u128::from(MARGIN_BYTES);
        if free < needed {
            return Ok(Some(format!(
                "{} of {} MiB need {} MiB free in {}, found {} MiB; make room there",
                count(missing.len(), "artifact"),
                staged.div_ceil(1 << 20),
                needed.div_ceil(1 << 20),
                folder.display(),
                free >> 20
            )));
        }
    }
    Ok(None)
}

/// Removes what no held plan names.
pub(crate) fn prune<'a>(disk: &Disk, plans: impl Iterator<Item = &'a Verified<Plan>>) -> Result<(), DiskError> {
    let wanted: Vec<String> =
        plans.flat_map(|p| p.document().artifacts.iter().map(|a| a.sha256.hex()).collect::<Vec<_>>()).collect();
    for name in disk.list(DIRECTORY)? {
        let digest = name.strip_suffix(".part").unwrap_or(&name);
        if !wanted.iter().any(|w| w == digest) {
            disk.remove(&format!("{DIRECTORY}/{name}"))?;
        }
    }
    Ok(())
}

/// The SHA-256 of what is left of a file.
pub(crate) fn digest_of(file: &mut File) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// An executor's folder, and the network side's with what it fetched.
    struct Fetched {
        root: tempfile::TempDir,
        disk: Disk,
        downloads: Downloads,
        artifact: Artifact,
    }

    const BYTES: &[u8] = b"the artifact";

    impl Fetched {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let disk = Disk::open(&root.path().join("executor")).unwrap();
            let downloads = Downloads { folder: root.path().join("downloads"), owner: None };
            std::fs::create_dir(&downloads.folder).unwrap();
            Self { root, disk, downloads, artifact: hostler_fixtures::artifact("k3s", BYTES) }
        }

        fn file(&self) -> PathBuf {
            self.downloads.folder.join(self.artifact.sha256.hex())
        }

        /// Not taken, and nothing of it stays.
        fn refused(&self) -> String {
            let Found::Wrong(found) = self.downloads.accept(&self.disk, &self.artifact).unwrap() else {
                panic!("expected a refusal")
            };
            assert_eq!(self.disk.list(DIRECTORY).unwrap(), Vec::<String>::new(), "{found}");
            found
        }
    }

    #[test]
    fn a_fetched_file_is_copied_and_what_happens_to_it_afterwards_changes_nothing() {
        let fetched = Fetched::new();
        assert_eq!(fetched.downloads.accept(&fetched.disk, &fetched.artifact).unwrap(), Found::Nothing);
        std::fs::write(fetched.file(), BYTES).unwrap();
        assert_eq!(fetched.downloads.accept(&fetched.disk, &fetched.artifact).unwrap(), Found::Right);
        std::fs::write(fetched.file(), b"another one").unwrap();
        let staged = path(&fetched.disk, &fetched.artifact.sha256);
        assert_eq!(examine(&staged, &fetched.artifact).unwrap(), Found::Right);
        assert!(fetched.file().exists(), "it is the network side's to remove");
    }

    #[test]
    fn what_has_no_room_is_said_before_a_byte_of_it_comes() {
        let fetched = Fetched::new();
        let lacks = |wanted: &[Artifact]| lacks_room(&fetched.disk, &fetched.downloads, wanted).unwrap();
        assert_eq!(lacks(std::slice::from_ref(&fetched.artifact)), None);
        let huge = Artifact { size: 1 << 60, sha256: Digest::of(b"huge"), ..fetched.artifact.clone() };
        let sentence = lacks(&[fetched.artifact.clone(), huge.clone()]).unwrap();
        assert!(
            sentence.starts_with("2 artifacts of 1099511627777 MiB need 2199023255809 MiB free in /"),
            "{sentence}"
        );
        // Staged already, by its length: it is looked at whole before it is used.
        let place = path(&fetched.disk, &huge.sha256);
        make_directory(place.parent().unwrap()).unwrap();
        File::create(place).unwrap().set_len(1 << 42).unwrap();
        assert_eq!(lacks(&[Artifact { size: 1 << 42, ..huge }]), None);
    }

    #[test]
    fn nothing_but_a_regular_file_of_the_right_length_digest_and_owner_is_taken() {
        let fetched = Fetched::new();
        std::fs::write(fetched.file(), b"the artefact").unwrap();
        assert!(fetched.refused().contains("digest"));
        for wrong in [&b"short"[..], b"far longer than what was promised"] {
            std::fs::write(fetched.file(), wrong).unwrap();
            assert!(fetched.refused().contains("bytes, expected 12"));
        }
        std::fs::remove_file(fetched.file()).unwrap();
        let secret = fetched.root.path().join("secret");
        std::fs::write(&secret, BYTES).unwrap();
        symlink(&secret, fetched.file()).unwrap();
        assert!(fetched.refused().contains("cannot be opened"), "a link is not followed");
        std::fs::remove_file(fetched.file()).unwrap();
        nix::unistd::mkfifo(&fetched.file(), Mode::S_IRWXU).unwrap();
        assert!(fetched.refused().contains("no regular file"), "nobody waits at a pipe");
        std::fs::remove_file(fetched.file()).unwrap();
        std::fs::create_dir(fetched.file()).unwrap();
        assert!(fetched.refused().contains("no regular file"));
        std::fs::remove_dir(fetched.file()).unwrap();

        std::fs::write(fetched.file(), BYTES).unwrap();
        let owner = Some(Uid::from_raw(geteuid().as_raw() + 1));
        let foreign = Downloads { owner, ..fetched.downloads.clone() };
        let found = foreign.accept(&fetched.disk, &fetched.artifact).unwrap();
        assert!(matches!(found, Found::Wrong(found) if found.contains("no regular file of user")));

        // The folder itself is no link either.
        let link = fetched.root.path().join("link");
        symlink(&fetched.downloads.folder, &link).unwrap();
        let linked = Downloads { folder: link, owner: None };
        assert!(linked.accept(&fetched.disk, &fetched.artifact).is_err());
    }
}
