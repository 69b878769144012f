//! Two copies of a ledger: whether one goes on from the other, or both grew apart.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

use hostler_plan::ledger::MAX_LINE_BYTES;
use serde::Serialize;

use crate::error::Error;

/// Where two ledgers grew apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// The first record that differs.
    pub index: u64,
    /// Its line in each, without its content.
    pub hashes: [String; 2],
}

/// The first record in which two files differ, if one does not simply go on where the other ends.
pub fn compare(one: &Path, other: &Path) -> Result<Option<Fork>, Error> {
    let open = |path: &Path| fs::File::open(path).map(BufReader::new).map_err(|e| Error::file("read", path, e));
    let (mut one_lines, mut other_lines) = (open(one)?, open(other)?);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for index in 0.. {
        for (path, lines, line) in [(one, &mut one_lines, &mut a), (other, &mut other_lines, &mut b)] {
            line.clear();
            let mut limited = lines.take(MAX_LINE_BYTES as u64);
            limited.read_until(b'\n', line).map_err(|e| Error::file("read", path, e))?;
        }
        if a.is_empty() || b.is_empty() {
            break;
        }
        if a != b {
            let hash = |line: &[u8]| String::from_utf8_lossy(line.get(..64).unwrap_or(line)).into_owned();
            return Ok(Some(Fork { index, hashes: [hash(&a), hash(&b)] }));
        }
    }
    Ok(None)
}
