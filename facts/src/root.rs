//! The file tree that facts are read from: the machine's own, or a recorded machine in a folder.

use super::failure::Failure;
use super::text;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest file that is read whole.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The largest file that is read line by line. A mount table of 10 000 mounts has 4 MB.
const MAX_STREAM_BYTES: usize = 64 << 20;
/// What of a line is kept: one of /proc/interrupts with 512 processors has 6 kB, of mountinfo with many layers 5 kB.
const MAX_LINE_BYTES: usize = 64 << 10;
/// The most entries of a folder that is read. A node has some dozens of disks, chips and interfaces (veth pairs of pods
/// are the longest list); one with 100 000 entries must not cost a minute, and half of it would be as good as a lie.
const MAX_ENTRIES: usize = 16_384;

/// Where `/proc`, `/sys`, `/etc` … are.
///
/// A recorded machine may hold a file `.errors` with lines `PATH ERRNO-NAME`: reading PATH then fails like the real
/// file did, which a plain file cannot do (`sys/class/net/wlan0/speed EINVAL`).
#[derive(Debug, Clone)]
pub struct Root {
    base: PathBuf,
    errors: BTreeMap<String, i32>,
}

impl Root {
    /// The machine's own root.
    pub fn real() -> Self {
        Root { base: PathBuf::from("/"), errors: BTreeMap::new() }
    }

    /// A recorded machine.
    pub fn at(folder: &Path) -> Result<Self, Failure> {
        let mut errors = BTreeMap::new();
        let path = folder.join(".errors");
        if let Ok(bytes) = fs::read(&path) {
            for line in text::lines(&bytes) {
                let mut words = text::words(line).map(text::word);
                let (Some(file), Some(name), None) = (words.next(), words.next(), words.next()) else {
                    return Err(Failure::malformed(&path.display().to_string(), "PATH ERRNO", line));
                };
                let number = errno(name)
                    .ok_or_else(|| Failure::malformed(&path.display().to_string(), "a known error name", line))?;
                errors.insert(file.to_owned(), number);
            }
        }
        if folder.is_dir() {
            Ok(Root { base: folder.to_path_buf(), errors })
        } else {
            let reason = "not a folder; expected a recorded machine with proc, sys and .calls in it".to_owned();
            Err(Failure::Refused { path: folder.display().to_string(), reason })
        }
    }

    /// Whether this is the machine's own root.
    pub fn is_real(&self) -> bool {
        self.base == Path::new("/")
    }

    /// The path of a file below the root. `relative` has no leading slash.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.base.join(relative)
    }

    /// The bytes of a file, into a buffer that is reused.
    pub fn read_into(&self, relative: &str, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        bytes.clear();
        let fail = |error: io::Error| Failure::from_io(relative, &error);
        if let Some(number) = self.errors.get(relative) {
            return Err(fail(io::Error::from_raw_os_error(*number)));
        }
        let mut file = fs::File::open(self.path(relative)).map_err(fail)?;
        // One read of the spare room is enough for nearly every file; sysfs files never need a second one.
        bytes.reserve(4096);
        file.by_ref().take(MAX_FILE_BYTES).read_to_end(bytes).map_err(fail)?;
        if bytes.len() as u64 == MAX_FILE_BYTES {
            return Err(Failure::Refused { path: relative.to_owned(), reason: "larger than 1 MiB".to_owned() });
        }
        Ok(())
    }

    /// Hands on each line of a file, without keeping the file. Of a line that is too long the end is cut off.
    pub fn each_line(&self, relative: &str, mut take: impl FnMut(&[u8])) -> Result<(), Failure> {
        let fail = |error: io::Error| Failure::from_io(relative, &error);
        if let Some(number) = self.errors.get(relative) {
            return Err(fail(io::Error::from_raw_os_error(*number)));
        }
        let mut file = fs::File::open(self.path(relative)).map_err(fail)?;
        let mut part = vec![0; 16 << 10];
        let (mut line, mut total) = (Vec::new(), 0);
        loop {
            let length = file.read(&mut part).map_err(fail)?;
            if length == 0 {
                break;
            }
            total += length;
            if total > MAX_STREAM_BYTES {
                return Err(Failure::Refused { path: relative.to_owned(), reason: "larger than 64 MiB".to_owned() });
            }
            let mut rest = &part[..length];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                keep(&mut line, &rest[..end]);
                take(&line);
                line.clear();
                rest = &rest[end + 1..];
            }
            keep(&mut line, rest);
        }
        if !line.is_empty() {
            take(&line);
        }
        Ok(())
    }

    /// The bytes of a file.
    pub fn bytes(&self, relative: &str) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.read_into(relative, &mut bytes)?;
        Ok(bytes)
    }

    /// A small text file, without padding.
    pub fn text(&self, relative: &str) -> Result<String, Failure> {
        let mut bytes = [0; 512];
        let length = self.small(relative, &mut bytes)?;
        Ok(text::trimmed(&bytes[..length]))
    }

    /// A file that holds one number.
    pub fn number(&self, relative: &str) -> Result<f64, Failure> {
        let mut bytes = [0; 64];
        let length = self.small(relative, &mut bytes)?;
        let found = &bytes[..length];
        text::number(found).ok_or_else(|| Failure::malformed(relative, "a number", found))
    }

    /// One `read(2)` into a small buffer and no retry: some drivers answer a second read with EAGAIN.
    fn small(&self, relative: &str, bytes: &mut [u8]) -> Result<usize, Failure> {
        let fail = |error: io::Error| Failure::from_io(relative, &error);
        if let Some(number) = self.errors.get(relative) {
            return Err(fail(io::Error::from_raw_os_error(*number)));
        }
        fs::File::open(self.path(relative)).and_then(|mut file| file.read(bytes)).map_err(fail)
    }

    /// The names in a folder, sorted. One with more than [`MAX_ENTRIES`] is refused.
    pub fn list(&self, relative: &str) -> Result<Vec<String>, Failure> {
        let fail = |error: io::Error| Failure::from_io(relative, &error);
        if let Some(number) = self.errors.get(relative) {
            return Err(fail(io::Error::from_raw_os_error(*number)));
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(relative)).map_err(fail)?.take(MAX_ENTRIES + 1) {
            if let Ok(name) = entry.map_err(fail)?.file_name().into_string() {
                names.push(name);
            }
        }
        if names.len() > MAX_ENTRIES {
            let reason = format!("a folder with more than {MAX_ENTRIES} entries");
            return Err(Failure::Refused { path: relative.to_owned(), reason });
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The target of a symbolic link, as written in it.
    pub fn link(&self, relative: &str) -> Option<PathBuf> {
        fs::read_link(self.path(relative)).ok()
    }

    /// The last component of a symbolic link's target: `driver -> ../../bus/pci/drivers/nvme` gives `nvme`.
    pub fn link_name(&self, relative: &str) -> Option<String> {
        self.link(relative)?.file_name()?.to_str().map(str::to_owned)
    }

    /// The path with every link followed.
    pub fn resolved(&self, relative: &str) -> Option<PathBuf> {
        fs::canonicalize(self.path(relative)).ok()
    }

    /// Whether the file or folder is there.
    pub fn exists(&self, relative: &str) -> bool {
        self.path(relative).exists()
    }
}

fn keep(line: &mut Vec<u8>, part: &[u8]) {
    let room = MAX_LINE_BYTES.saturating_sub(line.len());
    line.extend_from_slice(&part[..part.len().min(room)]);
}

/// The errors that real files of /proc and /sys give.
fn errno(name: &str) -> Option<i32> {
    Some(match name {
        "EIO" => libc::EIO,
        "EAGAIN" => libc::EAGAIN,
        "EINVAL" => libc::EINVAL,
        "ENODATA" => libc::ENODATA,
        "ENODEV" => libc::ENODEV,
        "ENOENT" => libc::ENOENT,
        "EACCES" => libc::EACCES,
        "EPERM" => libc::EPERM,
        "EOPNOTSUPP" => libc::EOPNOTSUPP,
        "ETIMEDOUT" => libc::ETIMEDOUT,
        "ENOTTY" => libc::ENOTTY,
        "ESTALE" => libc::ESTALE,
        _ => return None,
    })
}

/// The error a recorded call names: `!EIO`.
pub(super) fn recorded_error(path: &str, name: &str) -> Failure {
    match errno(name) {
        Some(number) => Failure::from_io(path, &io::Error::from_raw_os_error(number)),
        None => Failure::malformed(path, "a known error name", name.as_bytes()),
    }
}
