//! The real sealing, of files that lie on a simulated machine.

use std::{io, path::Path};

use hostler_executor::host::{HostError, Opened, Part, PartContent};
use hostler_plan::{
    document::{Recipient, SnapshotFile},
    id::Digest,
};
use hostler_seal::{Identity, Packed, pack, unpack};

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> HostError {
    move |error| HostError::File { action, path: path.into(), reason: error.to_string() }
}

/// The parts as one sealed file; `read` gives what lies on the machine.
pub(crate) fn seal(
    to: &[Recipient],
    parts: &[Part<'_>],
    into: &Path,
    read: impl Fn(&Path) -> Result<Vec<u8>, HostError>,
) -> Result<Vec<u8>, HostError> {
    let mut contents = Vec::new();
    for part in parts {
        contents.push(match part.content {
            PartContent::Bytes(bytes) => bytes.to_vec(),
            PartContent::File(path) => read(path)?,
        });
    }
    let mut left: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let packed = parts.iter().zip(&mut left).map(|(part, content)| {
        let size = content.len() as u64;
        Ok(Packed { name: part.name, size, content })
    });
    pack(to, packed, Vec::new()).map_err(failed("sealing", into))
}

/// What is in a sealed file that lies at `from`, and the content of the part that goes to a file of its own.
pub(crate) fn open(
    key: &Identity,
    sealed: &[u8],
    from: &Path,
    part: &str,
) -> Result<(Vec<Opened>, Option<Vec<u8>>), HostError> {
    let (mut opened, mut apart) = (Vec::new(), None);
    let unpacked = unpack(key, sealed, |name, size, from| {
        let mut content = Vec::new();
        from.read_to_end(&mut content)?;
        let file = SnapshotFile { name: name.to_owned(), sha256: Digest::of(&content), size };
        let mut content = Some(content);
        if name == part {
            apart = content.take();
        }
        opened.push(Opened { file, content });
        Ok(())
    });
    unpacked.map_err(failed("opening", from))?;
    Ok((opened, apart))
}
