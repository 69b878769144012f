//! Why a fact could not be read.

use std::io;

/// Why a reader, or one file of it, gave nothing. A failure of one file never fails the files beside it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// This machine does not have it: no such file, device, driver or program. Not an error and not a zero.
    #[error("{0}: not on this machine")]
    Absent(String),
    /// It is there, but the agent may not read it.
    #[error("{0}: permission denied; run the reader as root or with the capability that docs/facts.md names")]
    Denied(String),
    /// The kernel, a driver or a program refused.
    #[error("{path}: {reason}")]
    Refused { path: String, reason: String },
    /// It answered something else than its format.
    #[error("{path}: expected {expected}, found {found:?}")]
    Malformed { path: String, expected: &'static str, found: String },
    /// It did not answer in time; it is not asked again before it does.
    #[error("{path}: no answer within {seconds} s; check the device, a second call is not started")]
    Late { path: String, seconds: u64 },
}

impl Failure {
    /// From an error number of a call about `path`.
    pub fn from_io(path: &str, error: &io::Error) -> Self {
        match error.raw_os_error() {
            // A file that vanishes between listing and reading is ENOENT or, for sysfs, ENODEV/ENXIO. PSI that is
            // switched off is EOPNOTSUPP.
            Some(libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ENXIO | libc::EOPNOTSUPP) => {
                Failure::Absent(path.to_owned())
            }
            Some(libc::EACCES | libc::EPERM) => Failure::Denied(path.to_owned()),
            Some(_) | None if error.kind() == io::ErrorKind::NotFound => Failure::Absent(path.to_owned()),
            Some(_) | None => Failure::Refused { path: path.to_owned(), reason: error.to_string() },
        }
    }

    /// Something came, but in another form. `found` is cut to what fits a log line.
    pub fn malformed(path: &str, expected: &'static str, found: &[u8]) -> Self {
        let found = String::from_utf8_lossy(&found[..found.len().min(60)]).into_owned();
        Failure::Malformed { path: path.to_owned(), expected, found }
    }

    /// Whether this only says that the machine does not have it.
    pub fn is_absent(&self) -> bool {
        matches!(self, Failure::Absent(_))
    }
}

/// The first failure that is not an absence, for readers that go on after a bad file.
#[derive(Debug, Default)]
pub(crate) struct Worst(Option<Failure>);

impl Worst {
    /// The value, or `None` with the failure noted.
    pub(crate) fn note<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(failure) => {
                if !failure.is_absent() && self.0.is_none() {
                    self.0 = Some(failure);
                }
                None
            }
        }
    }

    /// The end of the reader: `Ok` when nothing but absences was seen.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), Err)
    }
}
