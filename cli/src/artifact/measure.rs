//! What a file is by content: its digest and length.

use std::{fs, io, path::Path};

use hostler_plan::id::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// A file's digest and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    pub sha256: Digest,
    pub size: u64,
}

/// Reads the whole file.
pub fn measure(path: &Path) -> Result<Measured, Error> {
    let failed = |e| Error::file("read", path, e);
    let (mut file, mut hasher) = (fs::File::open(path).map_err(failed)?, Sha256::new());
    let size = io::copy(&mut file, &mut hasher).map_err(failed)?;
    Ok(Measured { sha256: Digest::from_bytes(hasher.finalize().into()), size })
}
