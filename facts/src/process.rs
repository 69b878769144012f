//! The two programs of a node themselves: memory, processor time and open files, from `/proc/self`.

use super::failure::Failure;
use super::sample::Sample;
use super::{Calls, Input, Root, text};
use hostler_plan::fact::{Reading, Series};

/// USER_HZ.
const TICKS: f64 = 100.0;

/// Which of a node's two programs a process is; the label `program` of its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// It reads the machine.
    Executor,
    /// It holds the connection, and adds its own figures to a reading of the executor: [`Program::tell`].
    Agent,
}

impl Program {
    fn word(self) -> &'static str {
        match self {
            Program::Executor => "executor",
            Program::Agent => "agent",
        }
    }

    /// Adds what this process uses to a reading that another one took; what cannot be read is missing. Of the boot's
    /// time, which an agent in its sandbox cannot read, it takes the reading's word.
    pub fn tell(self, reading: &mut Reading) {
        if reading.is_empty() {
            return;
        }
        let root = Root::real();
        let Some(used) = root.bytes("proc/self/stat").ok().and_then(|stat| Used::read(&stat, &root, &Calls::Kernel))
        else {
            return;
        };
        let started = reading.get("node_boot_time_seconds", &[]).map(|boot| boot + used.started_after_boot);
        for (name, value) in used.series(started) {
            value.into_iter().for_each(|value| reading.set(Series::new(name, &[("program", self.word())]), value));
        }
    }
}

/// What a process used.
struct Used {
    processor_seconds: f64,
    resident_bytes: Option<f64>,
    files: Option<f64>,
    /// Seconds.
    started_after_boot: f64,
}

impl Used {
    fn read(stat: &[u8], root: &Root, calls: &Calls) -> Option<Self> {
        let [user, system, started, pages] = times(stat)?;
        Some(Self {
            processor_seconds: (user + system) / TICKS,
            resident_bytes: calls.page_size().map(|bytes| bytes * pages),
            files: root.list("proc/self/fd").map(|names| names.len() as f64).ok(),
            started_after_boot: started / TICKS,
        })
    }

    fn series(&self, started: Option<f64>) -> [(&'static str, Option<f64>); 4] {
        [
            ("process_cpu_seconds_total", Some(self.processor_seconds)),
            ("process_resident_memory_bytes", self.resident_bytes),
            ("process_open_fds", self.files),
            ("process_start_time_seconds", started),
        ]
    }
}

/// Reads the process that reads the machine.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Unix seconds; asked once, because /proc/stat is the dearest file of all.
    started: Option<f64>,
}

impl Process {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let root = &input.source.root;
        root.read_into("proc/self/stat", &mut input.bytes)?;
        let Some(used) = Used::read(&input.bytes, root, &input.source.calls) else {
            return Err(Failure::malformed("proc/self/stat", "the fields of proc(5)", &input.bytes));
        };
        if self.started.is_none() {
            root.read_into("proc/stat", &mut input.bytes)?;
            let boot = text::lines(&input.bytes).find_map(|line| text::number(line.strip_prefix(b"btime ")?));
            self.started = boot.map(|boot| boot + used.started_after_boot);
        }
        let labels = [("program", input.source.program.word())];
        used.series(self.started).into_iter().for_each(|(name, value)| out.put_some(name, &labels, value));
        Ok(())
    }
}

/// User and system time, start time, resident pages. The name in brackets may hold blanks and brackets.
fn times(stat: &[u8]) -> Option<[f64; 4]> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<f64> = text::words(&stat[end + 1..]).skip(1).map_while(text::number).collect();
    // Field 4 (ppid) is the first here; utime is 14, stime 15, starttime 22, rss 24.
    Some([*fields.get(10)?, *fields.get(11)?, *fields.get(18)?, *fields.get(20)?])
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_with_blanks_and_brackets() {
        let stat = b"77 (a) b (c) S 1 77 77 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 9000 1000000 640 \
            18446744073709551615 1";
        assert_eq!(super::times(stat), Some([250.0, 50.0, 9000.0, 640.0]));
        assert_eq!(super::times(b"77 (a) S 1"), None);
    }
}
