//! Several files sealed as one: a tar archive inside, which `age --decrypt … | tar --extract` unpacks too.

use std::io::{self, BufRead, Read, Write};

use hostler_plan::document::Recipient;

use crate::{Identity, Opener, SealError, Sealer};

/// Files in one bundle at most: a snapshot, what describes it and a cluster's certificate authorities are a dozen.
const MAX_FILES: usize = 64;

/// A file on its way into a bundle.
pub struct Packed<'a> {
    /// Its path in the bundle: plain names with `/` between.
    pub name: &'a str,
    /// Exactly so many bytes are read.
    pub size: u64,
    pub content: &'a mut dyn Read,
}

/// Seals files to those keys, one behind the other.
pub fn pack<'a, W: Write>(
    to: &[Recipient],
    files: impl IntoIterator<Item = io::Result<Packed<'a>>>,
    into: W,
) -> io::Result<W> {
    let mut archive = tar::Builder::new(Sealer::new(to, into)?);
    for file in files {
        let Packed { name, size, content } = file?;
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, content.take(size))?;
    }
    archive.into_inner()?.finish()
}

impl std::fmt::Debug for Packed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.name, self.size)
    }
}

/// Gives every file of a bundle in its order, by its name and size. Only at its end is it known to be whole.
pub fn unpack(
    identity: &Identity,
    from: impl BufRead,
    mut each: impl FnMut(&str, u64, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let mut opener = Opener::new(identity, from)?;
    let mut archive = tar::Archive::new(&mut opener);
    let mut names: Vec<String> = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let (name, size) = (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), entry.size());
        let plain = name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !entry.header().entry_type().is_file() || !plain || names.contains(&name) || names.len() == MAX_FILES {
            return Err(io::Error::other(SealError::Form("it holds something else than the files of a snapshot")));
        }
        each(&name, size, &mut entry)?;
        names.push(name);
    }
    // What follows the archive's own end is read too: the last chunk says that nothing was cut off.
    io::copy(&mut opener, &mut io::sink())?;
    Ok(())
}
