//! Copies of the ledger, and putting one back.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hostler_daemon::durable::{self, Access, PRIVATE, Prepared};
use hostler_plan::{
    ledger::{Damage, Head},
    refusal::Refused,
    timestamp::Timestamp,
};

use super::{
    head,
    ledger::{FILE_NAME, LedgerError, scan},
    recover::marks,
};
use crate::control::State;

/// Why no copy was made or put back.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot use {}: {source}; check the path, the disk and who may write there", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The coordinator's own folder.
    #[error("{} is among the coordinator's own files; name a place on another disk", path.display())]
    Own { path: PathBuf },
    /// It is not a ledger that is whole.
    #[error("{}: {damage}; use another copy", path.display())]
    Damaged { path: PathBuf, damage: Damage },
    /// It is whole and does not count.
    #[error("{}: record {index} does not count: {refused}; use another copy", path.display())]
    Refused { path: PathBuf, index: u64, refused: Refused },
}

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub head: Head,
    /// Where the ledger was put that was there before.
    pub aside: Option<PathBuf>,
}

/// Copies the whole lines of the ledger in `folder` to `to`, which keeps what it held where they are not in order. A
/// coordinator may be running: a ledger only grows, and a line that is being written is left out.
pub(crate) fn backup(folder: &Path, to: &Path) -> Result<Copied, CopyError> {
    let from = folder.join(FILE_NAME);
    if is_in(folder, to) {
        return Err(CopyError::Own { path: to.to_owned() });
    }
    let mut bytes = fs::read(&from).map_err(in_file(&from))?;
    bytes.truncate(bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1));
    let scanned = scan(&bytes[..]).map_err(in_file(&from))?;
    if let Some(damage) = scanned.damage {
        return Err(CopyError::Damaged { path: from, damage });
    }
    durable::replace(to, &bytes, PRIVATE).map_err(in_file(to))?;
    Ok(Copied { head: scanned.head, aside: None })
}

/// Puts a copy in the place of the ledger in `folder`, with the mark that what followed it is lost. Nothing is changed
/// before the copy was judged record by record and lies there whole, with its mark. No coordinator may be running.
pub(crate) fn restore(folder: &Path, copy: &Path, now: Timestamp) -> Result<Copied, CopyError> {
    let mut bytes = fs::read(copy).map_err(in_file(copy))?;
    let scanned = scan(&bytes[..]).map_err(in_file(copy))?;
    if let Some(damage) = scanned.damage {
        return Err(CopyError::Damaged { path: copy.to_owned(), damage });
    }
    let mut state = State::new();
    for written in &scanned.records {
        let refused = |refused| CopyError::Refused { path: copy.to_owned(), index: written.record.index, refused };
        state.replay(written).map_err(refused)?;
    }
    let (lines, head) = marks(now, &scanned.records, scanned.head, head::read(folder));
    bytes.extend(lines);
    let ledger = folder.join(FILE_NAME);
    let restored = Prepared::write(&ledger, &bytes, Access::Mode(PRIVATE)).map_err(in_file(&ledger))?;
    if state.root().is_some() {
        head::note_root(folder).map_err(in_file(folder))?;
    }
    let aside = ledger.exists().then(|| free_name(folder));
    if let Some(aside) = &aside {
        durable::rename(&ledger, aside).map_err(in_file(aside))?;
    }
    restored.put_in_place().map_err(in_file(&ledger))?;
    // Until then the ledger is too short or another one, and this is done again.
    head::set(folder, head).map_err(in_file(folder))?;
    Ok(Copied { head: scanned.head, aside })
}

/// Whether a file would lie among the coordinator's own.
fn is_in(folder: &Path, file: &Path) -> bool {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folder.canonicalize().is_ok_and(|folder| parent.canonicalize().is_ok_and(|parent| parent.starts_with(folder)))
}

/// A name that no earlier ledger has.
fn free_name(folder: &Path) -> PathBuf {
    let name = |n: u32| folder.join(format!("{FILE_NAME}.before-restore-{n}"));
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}

fn in_file(path: &Path) -> impl Fn(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::File { path: path.clone(), source }
}
