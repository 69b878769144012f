//! Files sealed together, and copies of what was sealed: neither is ever held in memory.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use hostler_daemon::durable::{self, PRIVATE, PUBLIC};
use hostler_plan::{
    document::{Recipient, SealedSnapshot},
    id::Digest,
};
use hostler_seal::{Packed, pack};
use sha2::{Digest as _, Sha256};

use super::files::failed;
use crate::host::{HostError, Part, PartContent};

/// Seals them into one file that everybody may read: nothing but its length shows.
pub(super) fn seal(
    root: impl Fn(&Path) -> std::path::PathBuf,
    to: &[Recipient],
    parts: &[Part<'_>],
    into: &Path,
) -> Result<SealedSnapshot, HostError> {
    let wrong = |e: io::Error| failed("sealing", into, &e);
    let new = beside(into, PUBLIC).map_err(wrong)?;
    let mut opened: Vec<(&str, u64, Box<dyn Read>)> = Vec::new();
    for Part { name, content } in parts {
        opened.push(match content {
            PartContent::Bytes(bytes) => (name, bytes.len() as u64, Box::new(&**bytes)),
            PartContent::File(path) => {
                let file = File::open(root(path)).map_err(wrong)?;
                (name, file.metadata().map_err(wrong)?.len(), Box::new(file))
            }
        });
    }
    let packed = opened.iter_mut().map(|(name, size, content)| Ok(Packed { name, size: *size, content }));
    let output = File::options().write(true).open(&new).map_err(wrong)?;
    let mut counted = pack(to, packed, Counted { into: BufWriter::new(output), hasher: Sha256::new(), size: 0 });
    if let Ok(counted) = &mut counted {
        counted.into.flush().map_err(wrong)?;
    }
    let Counted { hasher, size, .. } = counted.inspect_err(|_| drop(fs::remove_file(&new))).map_err(wrong)?;
    durable::put_in_place(&new, into).map_err(wrong)?;
    Ok(SealedSnapshot { digest: Digest::from_bytes(hasher.finalize().into()), size })
}

/// Copies a file into a folder that is there.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), HostError> {
    let wrong = |e: io::Error| failed("copying to", to, &e);
    let folder = to.parent().unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        return Err(wrong(io::Error::other("there is no such folder; mount it or make it")));
    }
    let new = beside(to, PRIVATE).map_err(wrong)?;
    let copied = File::open(from).and_then(|mut from| {
        let mut into = File::options().write(true).open(&new)?;
        io::copy(&mut from, &mut into)
    });
    copied.inspect_err(|_| drop(fs::remove_file(&new))).map_err(wrong)?;
    durable::put_in_place(&new, to).map_err(wrong)
}

/// An empty file beside a place, with that mode whatever the umask; what an earlier try left there is replaced.
fn beside(place: &Path, mode: u32) -> io::Result<std::path::PathBuf> {
    let folder = place.parent().unwrap_or(Path::new("/"));
    if mode == PUBLIC && !folder.exists() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.hostler-new"));
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(new)
}

/// Counts and measures what is written.
struct Counted<W> {
    into: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}
