//! Archives as releases and packages have them: tar, plain or packed with gzip, xz or zstd.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// The longest prefix by which a form is told.
const HEAD_BYTES: usize = 512;

/// More than any archive of a release unpacks to; what goes on for longer was made to fill a disk.
pub(super) const UNPACKED_BYTES: u64 = 16 << 30;

/// Opens a file and unpacks what it is packed with; a file that is not packed is read as it is.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    unpack(BufReader::with_capacity(1 << 20, file))
}

/// The same of bytes that come from anywhere.
pub(super) fn unpack(mut packed: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut head = Vec::with_capacity(6);
    packed.by_ref().take(6).read_to_end(&mut head)?;
    let whole = io::Cursor::new(head.clone()).chain(packed);
    Ok(match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole).take(UNPACKED_BYTES)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new(whole, true).take(UNPACKED_BYTES)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let zstd = ruzstd::decoding::StreamingDecoder::new(whole).map_err(io::Error::other)?;
            Box::new(zstd.take(UNPACKED_BYTES))
        }
        _ => Box::new(whole.take(UNPACKED_BYTES)),
    })
}

/// Whether what lies there is a tar, packed or not: POSIX puts `ustar` at byte 257 of the first header.
pub(super) fn is_tar(path: &Path) -> io::Result<bool> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    match open(path).and_then(|archive| archive.take(HEAD_BYTES as u64).read_to_end(&mut head)) {
        Ok(_) => Ok(head.get(257..262) == Some(b"ustar")),
        // Something that only begins as a packed file does.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Err(e),
        Err(_) => Ok(false),
    }
}

/// Calls `each` with the name, length and bytes of every regular file, in the archive's order, and reads it to its end:
/// what was cut off is an error.
pub(super) fn files(
    archive: Box<dyn Read>,
    mut each: impl FnMut(&str, u64, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        let size = entry.size();
        each(&name, size, &mut entry)?;
    }
    // To its end, where gzip and its like keep a checksum.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}
