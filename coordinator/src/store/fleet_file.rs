//! The fleet file as an admin handed it in. It is kept behind its digest, so that a threshold that the disk changed is
//! never taken for an admin's.

use std::{
    io,
    path::{Path, PathBuf},
};

use hostler_daemon::durable::{self, PRIVATE};
use hostler_plan::id::Digest;

/// Its name in the data folder.
pub(crate) const FILE_NAME: &str = "fleet.toml";

/// Why there is no fleet file to go by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetFileError {
    #[error("cannot read the fleet file {}: {source}; check the disk, the next plan submits it again", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the fleet file {} is damaged: expected what was submitted, found other content; the next plan submits it \
            again",
        path.display()
    )]
    Damaged { path: PathBuf },
}

/// Keeps it; durable when this returns.
pub(crate) fn keep(path: &Path, content: &[u8]) -> io::Result<()> {
    durable::replace(path, &[front(content).as_bytes(), content].concat(), PRIVATE)
}

/// What was kept; none where none was.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FleetFileError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FleetFileError::Read { path: path.to_owned(), source }),
    };
    let begin = bytes.iter().position(|b| *b == b'\n').map_or(0, |end| end + 1);
    let (said, content) = bytes.split_at(begin);
    if said != front(content).as_bytes() {
        return Err(FleetFileError::Damaged { path: path.to_owned() });
    }
    Ok(Some(content.to_vec()))
}

/// A comment of the file's own form.
fn front(content: &[u8]) -> String {
    format!("# {}\n", Digest::of(content))
}
