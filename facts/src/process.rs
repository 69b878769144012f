//! The agent itself: memory, processor time and open files, from `/proc/self`.

use super::failure::Failure;
use super::sample::Sample;
use super::{Input, text};

/// USER_HZ.
const TICKS: f64 = 100.0;

/// Reads the agent's own process.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Unix seconds; asked once, because /proc/stat is the dearest file of all.
    started: Option<f64>,
}

impl Process {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let root = &input.source.root;
        root.read_into("proc/self/stat", &mut input.bytes)?;
        let Some([user, system, started, pages]) = times(&input.bytes) else {
            return Err(Failure::malformed("proc/self/stat", "the fields of proc(5)", &input.bytes));
        };
        out.put("process_cpu_seconds_total", &[], (user + system) / TICKS);
        let page = input.source.calls.page_size();
        out.put_some("process_resident_memory_bytes", &[], page.map(|bytes| bytes * pages));
        let files = root.list("proc/self/fd").map(|names| names.len() as f64);
        out.put_some("process_open_fds", &[], files.ok());
        if self.started.is_none() {
            root.read_into("proc/stat", &mut input.bytes)?;
            let boot = text::lines(&input.bytes).find_map(|line| text::number(line.strip_prefix(b"btime ")?));
            self.started = boot.map(|boot| boot + started / TICKS);
        }
        out.put_some("process_start_time_seconds", &[], self.started);
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
