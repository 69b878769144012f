//! What the kernel says that a process has used.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::Context as _;

/// The kernel counts CPU time for people in hundredths of a second (`USER_HZ`, the same on every Linux that we build
/// for).
const MS_PER_TICK: u64 = 10;

/// Counters of one process since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time of all threads, ended ones too, and of the children that it waited for. Milliseconds.
    pub cpu_ms: u64,
    /// Voluntary context switches of the threads that [`Watched`] saw.
    pub voluntary_switches: u64,
    /// Bytes that it caused to be written to a disk.
    pub written_bytes: u64,
}

/// Processes that are looked at again and again, as one.
#[derive(Debug)]
pub(crate) struct Watched {
    folders: Vec<PathBuf>,
    /// The last count of every thread by its id: those that ended keep theirs.
    switches: BTreeMap<String, u64>,
    pss_kib: Vec<u64>,
}

impl Watched {
    pub(crate) fn new(pids: &[u32]) -> Self {
        let folders = pids.iter().map(|pid| PathBuf::from(format!("/proc/{pid}"))).collect();
        Self { folders, switches: BTreeMap::new(), pss_kib: Vec::new() }
    }

    /// Looks once. Threads that live for less than the time between two looks are not seen with their switches; their
    /// CPU time is.
    pub(crate) fn look(&mut self) -> anyhow::Result<()> {
        for folder in &self.folders {
            let tasks = fs::read_dir(folder.join("task"));
            let tasks = tasks.with_context(|| format!("the process behind {} is gone", folder.display()))?;
            for task in tasks.flatten() {
                // A thread may end between the list and the reading.
                let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
                if let Some(count) = field(&status, "voluntary_ctxt_switches:") {
                    self.switches.insert(task.file_name().to_string_lossy().into_owned(), count);
                }
            }
        }
        let pss = self.sum("smaps_rollup", |text| field(text, "Pss:"))?;
        self.pss_kib.push(pss);
        Ok(())
    }

    /// The counters as they are now.
    pub(crate) fn usage(&mut self) -> anyhow::Result<Usage> {
        self.look()?;
        Ok(Usage {
            cpu_ms: self.cpu_ms()?,
            voluntary_switches: self.switches.values().sum(),
            written_bytes: self.sum("io", |text| field(text, "write_bytes:"))?,
        })
    }

    /// The CPU time alone, milliseconds.
    pub(crate) fn cpu_ms(&self) -> anyhow::Result<u64> {
        Ok(self.sum("stat", cpu_ticks)? * MS_PER_TICK)
    }

    /// Forgets the memory that was seen so far.
    pub(crate) fn forget_memory(&mut self) {
        self.pss_kib.clear();
    }

    /// The mean and the highest proportional set size of all looks, KiB.
    pub(crate) fn pss_kib(&self) -> (u64, u64) {
        let count = self.pss_kib.len().max(1) as u64;
        (self.pss_kib.iter().sum::<u64>() / count, self.pss_kib.iter().copied().max().unwrap_or(0))
    }

    fn sum(&self, file: &str, number: impl Fn(&str) -> Option<u64>) -> anyhow::Result<u64> {
        let read = |folder: &PathBuf| {
            let path = folder.join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            number(&text).with_context(|| format!("{} has not what is expected of it", path.display()))
        };
        self.folders.iter().map(read).sum()
    }
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// utime, stime, cutime and cstime: fields 14 to 17 of `/proc/PID/stat`. The second, the name, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    fields.get(11..15)?.iter().map(|f| f.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_counts_children_and_a_name_may_hold_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 200 0 0 5 6 70 800 20 0 3 0 99 1 2";
        assert_eq!(cpu_ticks(stat), Some(5 + 6 + 70 + 800));
        assert_eq!(cpu_ticks("7 (a) S 1 7"), None);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t42\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(42));
        assert_eq!(field("SwapPss: 1 kB\nPss:   5120 kB\n", "Pss:"), Some(5120));
        assert_eq!(field(status, "Pss:"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let mut own = Watched::new(&[std::process::id()]);
        let before = own.usage().unwrap();
        let began = std::time::Instant::now();
        let mut sum = 0u64;
        while began.elapsed().as_millis() < 60 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let after = own.usage().unwrap();
        assert!(after.cpu_ms > before.cpu_ms, "{before:?} {after:?}");
        assert!(own.pss_kib().0 > 100 && own.pss_kib().1 >= own.pss_kib().0);
        own.forget_memory();
        assert_eq!(own.pss_kib(), (0, 0));
        assert!(Watched::new(&[u32::MAX]).look().is_err());
    }
}
