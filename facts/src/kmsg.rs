//! The kernel's log, counted by reason: `/dev/kmsg` without blocking.
//!
//! The kernel prints with a rate limit and the log is a ring, so these are hints; counters elsewhere are the truth.

use super::failure::Failure;
use super::sample::Sample;
use super::{Input, Root, text};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// Records read in one round; a ring of 1 MiB holds about 10 000. What is left is read in the next round.
const MAX_RECORDS: usize = 16_384;
/// The longest record the kernel gives.
const RECORD_BYTES: usize = 8192;

/// What a reason is called and the texts that stand for it (all of them must be in the line).
const REASONS: [(&str, &[&str]); 13] = [
    ("oom_kill", &["Killed process "]),
    ("hung_task", &["task ", "blocked for more than", " seconds"]),
    ("ext4_error", &["EXT4-fs error"]),
    ("io_error", &["Buffer I/O error"]),
    ("read_only", &["Remounting filesystem read-only"]),
    ("read_only", &["FAT-fs (", "Filesystem has been set read-only"]),
    ("read_only", &["BTRFS", "forced readonly"]),
    ("read_only", &["bcachefs (", "emergency read only"]),
    ("memory_error", &["CE memory read error"]),
    ("under_voltage", &["ndervoltage detected!"]),
    ("under_voltage", &["nder-voltage detected!"]),
    ("voltage_normal", &["oltage normalised"]),
    ("nvme_reset", &["controller is down; will reset: CSTS="]),
];

/// The log, read on from where it was.
#[derive(Debug, Default)]
struct Log {
    file: Option<File>,
    /// Which file it is, where the log is a recorded one.
    identity: Option<(u64, u64)>,
    rest: Vec<u8>,
}

/// What the log says, for every reader of a round: whoever comes first reads on.
#[derive(Debug, Default)]
pub(super) struct KernelLog {
    log: Log,
    counts: Vec<(&'static str, f64)>,
    kills: Kills,
    /// How often the kernel made the file system on a device read-only.
    forced: BTreeMap<String, f64>,
    shut: ShutDown,
}

/// What XFS says when it is shut down (fs/xfs/xfs_fsops.c, xfs_log.c), in the words of old kernels and new ones.
const SHUT_DOWN: [&str; 3] = ["log I/O error", "Filesystem has been shut down", "Shutting down filesystem"];

/// Processes that the kernel killed for lack of memory.
#[derive(Debug, Default)]
struct Kills {
    /// Those for which the machine's memory did not suffice, or what is set aside for all pods.
    node: f64,
    /// Whether the last shortage was one of a limit that many pods share.
    shared: bool,
    /// Whether the last process that was chosen to die was one of a control group that reached its limit.
    of_group: bool,
}

/// File systems that are remembered: more than a machine has, because each volume of a pod may fail as well.
const MAX_FORCED: usize = 1024;

impl KernelLog {
    /// Takes in what came since. From the beginning of a log on, a reason that was not seen is a known zero; of a log
    /// that cannot be opened nothing is known.
    fn read_on(&mut self, root: &Root) -> Result<(), Failure> {
        let opened = self.log.open(root);
        if !matches!(opened, Ok(false)) {
            (self.counts, self.kills, self.forced, self.shut) = Default::default();
        }
        if opened? {
            for (reason, _) in REASONS {
                if !self.counts.iter().any(|(known, _)| *known == reason) {
                    self.counts.push((reason, 0.0));
                }
            }
        }
        let Self { log, counts, kills, forced, shut } = self;
        log.each_line(|line| {
            let reason = count(line, counts);
            kills.take(line);
            shut.take(line);
            if reason == Some("read_only")
                && forced.len() < MAX_FORCED
                && let Some(device) = device(line)
            {
                *forced.entry(device.to_owned()).or_default() += 1.0;
            }
        })
    }

    /// The devices whose XFS is shut down, by the names that the kernel has for them. That the log cannot be read says
    /// its own reader.
    pub(super) fn shut_down(&mut self, root: &Root) -> &BTreeSet<String> {
        // What was read before an error stays true.
        let _ = self.read_on(root);
        &self.shut.devices
    }
}

/// Counts what the log says.
pub(super) fn read(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let outcome = input.log.read_on(&input.source.root);
    let KernelLog { counts, kills, forced, .. } = &input.log;
    for (reason, count) in counts {
        out.put("hostler_kernel_events_total", &[("reason", reason)], *count);
    }
    if !counts.is_empty() {
        out.put("hostler_node_oom_kills_total", &[], kills.node);
    }
    for (device, count) in forced.iter().filter(|(device, _)| !input.volumes.has_file_system(device)) {
        out.put("hostler_filesystem_forced_readonly_total", &[("device", device)], *count);
    }
    outcome
}

/// The XFS that the kernel shut down: none of it can be written, and the mount table says rw until it is unmounted.
#[derive(Debug, Default)]
struct ShutDown {
    devices: BTreeSet<String>,
}

impl ShutDown {
    fn take(&mut self, line: &str) {
        let Some((_, said)) = line.split_once("): ").filter(|_| line.starts_with("XFS (")) else { return };
        let Some(device) = device(line) else { return };
        if said.starts_with("Mounting ") {
            self.devices.remove(device);
        } else if SHUT_DOWN.iter().any(|text| said.contains(text)) && self.devices.len() < MAX_FORCED {
            self.devices.insert(device.to_owned());
        }
    }
}

impl Log {
    /// Whether it is another log than before, which is read from its beginning.
    fn open(&mut self, root: &Root) -> Result<bool, Failure> {
        let identity = identity(root);
        if self.file.is_some() && self.identity == identity {
            return Ok(false);
        }
        *self = Log { file: None, identity, rest: Vec::new() };
        self.file = Some(open(root)?);
        Ok(true)
    }

    /// Hands on each line of the kernel itself that came since.
    fn each_line(&mut self, mut take: impl FnMut(&str)) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut record = [0; RECORD_BYTES];
        for _ in 0..MAX_RECORDS {
            match file.read(&mut record) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    self.rest.extend_from_slice(&record[..length]);
                    while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                        if let Some(line) = of_kernel(&self.rest[..end]) {
                            take(line);
                        }
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

/// The text of `6,1234,567890,-;text`: only records of the kernel itself (facility 0) count; anyone may write others.
fn of_kernel(record: &[u8]) -> Option<&str> {
    let semicolon = record.iter().position(|byte| *byte == b';')?;
    let priority = record.split(|byte| *byte == b',').next().and_then(text::number)?;
    (priority < 8.0).then(|| text::word(&record[semicolon + 1..]))
}

/// Counts a line, and says for what.
fn count(line: &str, counts: &mut [(&'static str, f64)]) -> Option<&'static str> {
    let (reason, _) = REASONS.iter().find(|(_, parts)| parts.iter().all(|part| line.contains(part)))?;
    let (_, count) = counts.iter_mut().find(|(known, _)| known == reason)?;
    *count += 1.0;
    Some(reason)
}

/// The device of `EXT4-fs (sda1): …` and `BTRFS info (device sda2 state E): …`.
fn device(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once('(')?;
    let rest = rest.strip_prefix("device ").unwrap_or(rest);
    rest.split([')', ' ']).next().filter(|device| !device.is_empty())
}

impl Kills {
    /// The kernel says first whose memory ran out (mm/oom_kill.c), then whom it killed. A
    /// line `oom-kill:constraint=CONSTRAINT_MEMCG,…,oom_memcg=/kubepods/burstable/pod1,…`, then a line `Memory cgroup
    /// out of memory: Killed process …`; for the whole machine `Out of memory: Killed process …`. Up to Linux 5.0 it is
    /// a line `Task in /kubepods/…/aa killed as a result of limit of /kubepods/burstable/pod1`, then `Memory cgroup out
    /// of memory: Kill process …` or `Out of memory: Kill process …`, then `Killed process …` alone.
    fn take(&mut self, line: &str) {
        const CHOSEN: &str = ": Kill process ";
        const LIMIT: &str = " killed as a result of limit of ";
        let of_group = line.starts_with("Memory cgroup") || (line.starts_with("Killed ") && self.of_group);
        if line.starts_with("oom-kill:") {
            let of = line.split(',').find_map(|part| part.strip_prefix("oom_memcg="));
            self.shared = of.is_some_and(is_shared);
        } else if let Some((_, group)) = line.split_once(LIMIT).filter(|_| line.starts_with("Task in ")) {
            self.shared = is_shared(group);
        } else if line.contains(CHOSEN) {
            self.of_group = of_group;
        } else if line.contains("Killed process ") && (!of_group || self.shared) {
            self.node += 1.0;
        }
    }
}

/// Whether many pods share the limit of a control group: that of all pods, or of all pods of a class.
fn is_shared(group: &str) -> bool {
    let name = group.trim_end_matches('/').rsplit('/').next().unwrap_or_default().trim_end_matches(".slice");
    let name = name.rsplit('-').next().unwrap_or_default();
    let of_pods = group.contains("kubepods");
    name.is_empty() || (of_pods && ["kubepods", "burstable", "besteffort", "guaranteed"].contains(&name))
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
            of_kernel(record).map(|line| count(line, &mut counts));
        }
        assert_eq!(counts.map(|(_, count)| count), [2.0, 1.0, 1.0]);
    }

    #[test]
    fn a_kill_counts_for_the_node_when_the_memory_of_the_node_ran_out() {
        let after = |lines: &[&str]| {
            let mut kills = Kills::default();
            lines.iter().for_each(|line| kills.take(line));
            kills.node
        };
        let by = |group: &str| {
            format!(
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,oom_memcg={group},task_memcg=/x,task=a"
            )
        };
        let own = "Memory cgroup out of memory: Killed process 4103 (python3) total-vm:1kB";
        assert_eq!(after(&["Out of memory: Killed process 77 (stress)"]), 1.0);
        assert_eq!(after(&["Out of memory (oom_kill_allocating_task): Killed process 77 (stress)"]), 1.0);
        assert_eq!(after(&[own]), 0.0, "nobody said whose");
        for group in [
            "/kubepods/burstable/pod0d",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0d.slice/cri-containerd-1.scope",
            "/system.slice/backup.service",
            "/kubepods.slice/kubepods-pod0d.slice",
        ] {
            assert_eq!(after(&[&by(group), own, own]), 0.0, "{group}");
        }
        for group in ["/kubepods", "/kubepods.slice", "/kubelet.slice/kubelet-kubepods.slice", "/kubepods/besteffort"] {
            assert_eq!(after(&[&by(group), own, own]), 2.0, "{group}");
        }
        let none = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=x,global_oom,task_memcg=/kubepods";
        assert_eq!(after(&[&by("/kubepods"), own, none, "Out of memory: Killed process 1 (a)", own]), 2.0);
    }

    #[test]
    fn kernels_up_to_5_0_name_the_memory_that_ran_out_lines_before_the_kill() {
        let after = |lines: &[&str]| {
            let mut kills = Kills::default();
            lines.iter().for_each(|line| kills.take(line));
            kills.node
        };
        let of = |group: &str| format!("Task in /kubepods/burstable/pod0d/aa killed as a result of limit of {group}");
        let (pod, pods) = (of("/kubepods/burstable/pod0d"), of("/kubepods"));
        let own = "Memory cgroup out of memory: Kill process 4103 (python3) score 1998 or sacrifice child";
        let all = "Out of memory: Kill process 77 (stress) score 900 or sacrifice child";
        let kill = "Killed process 4103 (python3) total-vm:1kB";
        assert_eq!(after(&[&pod, own, kill, kill]), 0.0, "its own limit");
        assert_eq!(after(&[&pods, own, kill]), 1.0, "the limit of all pods");
        assert_eq!(after(&[all, kill]), 1.0, "the machine");
        assert_eq!(after(&[&pod, own, kill, all, kill, &pod, own, kill]), 1.0, "one after the other");
    }

    #[test]
    fn an_xfs_is_shut_down_until_it_is_mounted_again() {
        let shut = |lines: &[&str]| {
            let mut shut = ShutDown::default();
            lines.iter().for_each(|line| shut.take(line));
            shut.devices.into_iter().collect::<Vec<_>>().join(" ")
        };
        let of = "XFS (dm-0): Filesystem has been shut down due to log error (0x2).";
        let old = "XFS (sda3): Corruption of in-memory data detected.  Shutting down filesystem";
        assert_eq!(shut(&["XFS (dm-0): log I/O error -5"]), "dm-0");
        assert_eq!(shut(&[of, old, "XFS (sdb1): Mounting V5 Filesystem"]), "dm-0 sda3");
        assert_eq!(shut(&[of, "XFS (dm-0): Unmounting Filesystem"]), "dm-0");
        assert_eq!(shut(&[of, "XFS (dm-0): Unmounting Filesystem", "XFS (dm-0): Mounting V5 Filesystem 6f"]), "");
        assert_eq!(shut(&["EXT4-fs (sda1): shut down requested (2)", "XFS (sda1): Ending clean mount"]), "");
    }

    #[test]
    fn the_device_of_a_file_system_that_was_made_read_only() {
        for (line, expected) in [
            ("EXT4-fs (sda1): Remounting filesystem read-only", Some("sda1")),
            ("BTRFS info (device nvme0n1p2 state EA): forced readonly", Some("nvme0n1p2")),
            ("FAT-fs (mmcblk0p1): Filesystem has been set read-only", Some("mmcblk0p1")),
            ("nothing", None),
        ] {
            assert_eq!(device(line), expected, "{line}");
        }
    }
}
