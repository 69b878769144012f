//! Artifacts on disk: nobody opens one before its length and digest are those of a signed plan.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use hostler_daemon::durable;
use hostler_plan::{
    document::{Artifact, Plan},
    id::Digest,
    trust::Verified,
};
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, DiskError, make_directory};

const DIRECTORY: &str = "artifacts";

/// Where an artifact lies once it is verified.
pub(crate) fn path(disk: &Disk, digest: &Digest) -> PathBuf {
    disk.path(&format!("{DIRECTORY}/{}", digest.hex()))
}

/// Where it grows while it is fetched.
pub(crate) fn partial_path(disk: &Disk, digest: &Digest) -> Result<PathBuf, DiskError> {
    make_directory(&disk.path(DIRECTORY))?;
    Ok(disk.path(&format!("{DIRECTORY}/{}.part", digest.hex())))
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

/// Puts a fetched file in its place if it is the artifact, and removes it if not.
pub(crate) fn accept(disk: &Disk, artifact: &Artifact) -> io::Result<Found> {
    let partial = partial_path(disk, &artifact.sha256).map_err(io::Error::other)?;
    let found = examine(&partial, artifact)?;
    match &found {
        Found::Right => {
            durable::put_in_place(&partial, &path(disk, &artifact.sha256))?;
        }
        Found::Wrong(_) => std::fs::remove_file(&partial)?,
        Found::Nothing => {}
    }
    Ok(found)
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

fn digest_of(file: &mut File) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}
