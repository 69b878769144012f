//! The kernel's log, counted by reason: `/dev/kmsg` without blocking.
//!
//! The kernel prints with a rate limit and the log is a ring, so these are hints; counters elsewhere are the truth.

use super::failure::Failure;
use super::sample::Sample;
use super::{Input, Root, text};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// Records read in one round; a ring of 1 MiB holds about 10 000. What is left is read in the next round.
const MAX_RECORDS: usize = 16_384;
/// The longest record the kernel gives.
const RECORD_BYTES: usize = 8192;

/// What a reason is called and the texts that stand for it (all of them must be in the line).
const REASONS: [(&str, &[&str]); 10] = [
    ("oom_kill", &["Killed process "]),
    ("hung_task", &["task ", "blocked for more than", " seconds"]),
    ("ext4_error", &["EXT4-fs error"]),
    ("io_error", &["Buffer I/O error"]),
    ("read_only", &["Remounting filesystem read-only"]),
    ("memory_error", &["CE memory read error"]),
    ("under_voltage", &["ndervoltage detected!"]),
    ("under_voltage", &["nder-voltage detected!"]),
    ("voltage_normal", &["oltage normalised"]),
    ("nvme_reset", &["controller is down; will reset: CSTS="]),
];

/// Reads the log on from where it was.
#[derive(Debug, Default)]
pub(super) struct KernelLog {
    file: Option<File>,
    /// Which file it is, where the log is a recorded one.
    identity: Option<(u64, u64)>,
    rest: Vec<u8>,
    counts: Vec<(&'static str, f64)>,
}

impl KernelLog {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let identity = identity(&input.source.root);
        if self.file.is_none() || self.identity != identity {
            (self.identity, self.rest) = (identity, Vec::new());
            self.file = Some(open(&input.source.root)?);
            // From here on a reason that was not seen is a known zero: the log is readable from its beginning.
            self.counts = Vec::new();
            for (reason, _) in REASONS {
                if !self.counts.iter().any(|(known, _)| *known == reason) {
                    self.counts.push((reason, 0.0));
                }
            }
        }
        let outcome = self.records();
        for (reason, count) in &self.counts {
            out.put("hostler_kernel_events_total", &[("reason", reason)], *count);
        }
        outcome
    }

    fn records(&mut self) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut record = [0; RECORD_BYTES];
        for _ in 0..MAX_RECORDS {
            match file.read(&mut record) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    self.rest.extend_from_slice(&record[..length]);
                    while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                        count(&self.rest[..end], &mut self.counts);
                        self.rest.drain(..=end);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The ring overtook the reader: the next read goes on with the oldest record there is.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) => {
                    self.file = None;
                    return Err(Failure::from_io("dev/kmsg", &error));
                }
            }
        }
        Ok(())
    }
}

/// Another state of a recorded machine has a log of its own; a kernel has one.
fn identity(root: &Root) -> Option<(u64, u64)> {
    if root.is_real() {
        return None;
    }
    let file = std::fs::metadata(root.path("dev/kmsg")).ok()?;
    Some((file.dev(), file.ino()))
}

fn open(root: &Root) -> Result<File, Failure> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(root.path("dev/kmsg"))
        .map_err(|error| Failure::from_io("dev/kmsg", &error))
}

/// `6,1234,567890,-;text`: only records of the kernel itself (facility 0) count; anyone may write the others.
fn count(record: &[u8], counts: &mut [(&'static str, f64)]) {
    let Some(semicolon) = record.iter().position(|byte| *byte == b';') else { return };
    let priority = record.split(|byte| *byte == b',').next().and_then(text::number);
    if priority.is_none_or(|priority| priority >= 8.0) {
        return;
    }
    let line = text::word(&record[semicolon + 1..]);
    if let Some((reason, _)) = REASONS.iter().find(|(_, parts)| parts.iter().all(|part| line.contains(part)))
        && let Some((_, count)) = counts.iter_mut().find(|(known, _)| known == reason)
    {
        *count += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_kernel_are_counted_and_those_of_programs_are_not() {
        let mut counts = [("under_voltage", 0.0), ("oom_kill", 0.0), ("nvme_reset", 0.0)];
        for record in [
            &b"4,801,1200,-;hwmon hwmon1: Undervoltage detected!"[..],
            b"4,802,1300,-;Under-voltage detected! (0x00050005)",
            b"12,803,1400,-;Undervoltage detected! says a program",
            b"3,804,1500,-;Out of memory: Killed process 77 (stress)",
            b"4,805,1600,-;nvme nvme0: controller is down; will reset: CSTS=0xffffffff",
            b" SUBSYSTEM=hwmon",
            b"",
        ] {
            count(record, &mut counts);
        }
        assert_eq!(counts.map(|(_, count)| count), [2.0, 1.0, 1.0]);
    }
}
