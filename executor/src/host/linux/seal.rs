//! Files sealed together, and copies of what was sealed: neither is ever held in memory.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use hostler_daemon::durable::{self, PRIVATE, PUBLIC};
use hostler_plan::{
    document::{Recipient, SealedSnapshot, SnapshotFile},
    id::Digest,
};
use hostler_seal::{Identity, Packed, pack, unpack};
use sha2::{Digest as _, Sha256};

use super::files::failed;
use crate::host::{HostError, Opened, Part, PartContent};

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

/// What of a sealed file is given as bytes is the size of keys and certificates.
const MAX_PART_BYTES: u64 = 1 << 20;

/// Opens a sealed file: that part of it into a file for its owner alone, the others as bytes. The file is there only
/// where the whole was.
pub(super) fn open(key: &Identity, from: &Path, part: &str, into: &Path) -> Result<Vec<Opened>, HostError> {
    let wrong = |e: io::Error| failed("opening", from, &e);
    let sealed = BufReader::with_capacity(1 << 20, File::open(from).map_err(wrong)?);
    if let Some(folder) = into.parent().filter(|folder| !folder.is_dir()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
    }
    let new = beside(into, PRIVATE).map_err(wrong)?;
    let mut opened = Vec::new();
    let unpacked = unpack(key, sealed, |name, size, content| {
        let (sha256, size, content) = if name == part {
            let output = BufWriter::with_capacity(1 << 20, File::options().write(true).open(&new)?);
            let (_, sha256, size) = measured(content, output)?;
            (sha256, size, None)
        } else if size > MAX_PART_BYTES {
            return Err(io::Error::other(format!("expected {name} of at most {MAX_PART_BYTES} bytes, found {size}")));
        } else {
            let (bytes, sha256, size) = measured(content, Vec::new())?;
            (sha256, size, Some(bytes))
        };
        opened.push(Opened { file: SnapshotFile { name: name.to_owned(), sha256, size }, content });
        Ok(())
    });
    unpacked.inspect_err(|_| drop(fs::remove_file(&new))).map_err(wrong)?;
    durable::put_in_place(&new, into).map_err(wrong)?;
    Ok(opened)
}

/// Copies all of it, and gives its digest and length.
fn measured<W: Write>(from: &mut dyn Read, into: W) -> io::Result<(W, Digest, u64)> {
    let mut counted = Counted { into, hasher: Sha256::new(), size: 0 };
    io::copy(from, &mut counted)?;
    counted.flush()?;
    Ok((counted.into, Digest::from_bytes(counted.hasher.finalize().into()), counted.size))
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const KEY: &[u8] = b"the key of an authority";

    /// A folder with etcd's data in it, of several chunks.
    fn folder() -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0u32..50_000).flat_map(u32::to_le_bytes).collect();
        fs::write(folder.path().join("etcd.db"), &data).unwrap();
        (folder, data)
    }

    fn sealed(folder: &Path, to: &[Recipient]) -> Result<SealedSnapshot, HostError> {
        let parts = [
            Part { name: "pki/ca.key", content: PartContent::Bytes(KEY) },
            Part { name: "etcd.db", content: PartContent::File(Path::new("/etcd.db")) },
        ];
        let below = |path: &Path| folder.join(path.strip_prefix("/").unwrap_or(path));
        seal(below, to, &parts, &folder.join("sealed/s1.age"))
    }

    fn names(folder: &Path) -> Vec<PathBuf> {
        let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_sealed_opens_with_each_of_its_keys_and_lies_there_for_its_owner_alone() {
        let (folder, data) = folder();
        let keys = [Identity::generate(), Identity::generate()];
        let to = [keys[0].recipient(), keys[1].recipient()];
        let made = sealed(folder.path(), &to).unwrap();
        let file = folder.path().join("sealed/s1.age");
        let bytes = fs::read(&file).unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (made.digest, made.size));
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY));
        for (at, key) in keys.iter().enumerate() {
            let into = folder.path().join(format!("kept{at}/etcd.db"));
            let opened = open(key, &file, "etcd.db", &into).unwrap();
            assert_eq!(fs::read(&into).unwrap(), data);
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&into), mode(into.parent().unwrap())), (0o600, 0o700));
            let found: Vec<_> = opened.iter().map(|part| (part.file.name.as_str(), part.content.as_deref())).collect();
            assert_eq!(found, [("pki/ca.key", Some(KEY)), ("etcd.db", None)]);
            assert_eq!(opened[1].file.sha256, Digest::of(&data));
            assert!(!format!("{opened:?}").contains("authority"));
        }
    }

    #[test]
    fn of_what_does_not_open_or_is_cut_off_nothing_is_left() {
        let (folder, _) = folder();
        let key = Identity::generate();
        sealed(folder.path(), &[key.recipient()]).unwrap();
        let (file, into) = (folder.path().join("sealed/s1.age"), folder.path().join("kept/etcd.db"));
        let refused = |key: &Identity, words: &str| {
            let error = open(key, &file, "etcd.db", &into).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(names(into.parent().unwrap()), Vec::<PathBuf>::new());
        };
        refused(&Identity::generate(), "sealed to other keys");
        let whole = fs::read(&file).unwrap();
        for cut in [whole.len() - 1, whole.len() - 70_000, 400] {
            fs::write(&file, &whole[..cut]).unwrap();
            refused(&key, "cut off");
        }
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        fs::write(&file, damaged).unwrap();
        refused(&key, "changed");
    }

    #[test]
    fn sealing_that_fails_leaves_what_was_there() {
        let (folder, _) = folder();
        let key = Identity::generate();
        sealed(folder.path(), &[key.recipient()]).unwrap();
        let before = fs::read(folder.path().join("sealed/s1.age")).unwrap();
        assert!(sealed(folder.path(), &[]).is_err(), "to nobody");
        fs::remove_file(folder.path().join("etcd.db")).unwrap();
        assert!(sealed(folder.path(), &[key.recipient()]).is_err());
        assert_eq!(fs::read(folder.path().join("sealed/s1.age")).unwrap(), before);
    }

    #[test]
    fn a_copy_goes_into_a_folder_that_is_there_and_for_its_owner_alone() {
        let (folder, data) = folder();
        let from = folder.path().join("etcd.db");
        let away = copy(&from, &folder.path().join("share/s1.age")).unwrap_err().to_string();
        assert!(away.contains("there is no such folder; mount it or make it"), "{away}");
        fs::create_dir(folder.path().join("share")).unwrap();
        let to = folder.path().join("share/s1.age");
        copy(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), data);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(copy(&folder.path().join("nothing"), &to).is_err());
        assert_eq!(names(to.parent().unwrap()), std::slice::from_ref(&to), "nothing stays beside it");
        assert_eq!(fs::read(&to).unwrap(), data);
    }
}
