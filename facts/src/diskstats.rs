//! I/O counters of whole disks: `/proc/diskstats`.

use super::failure::Failure;
use super::sample::Sample;
use super::{Input, text};

/// Names and factors of the numbers after `major minor name`, in order. Sectors have 512 bytes here whatever the disk.
const COLUMNS: [(&str, f64); 17] = [
    ("node_disk_reads_completed_total", 1.0),
    ("node_disk_reads_merged_total", 1.0),
    ("node_disk_read_bytes_total", 512.0),
    ("node_disk_read_time_seconds_total", 0.001),
    ("node_disk_writes_completed_total", 1.0),
    ("node_disk_writes_merged_total", 1.0),
    ("node_disk_written_bytes_total", 512.0),
    ("node_disk_write_time_seconds_total", 0.001),
    ("node_disk_io_now", 1.0),
    ("node_disk_io_time_seconds_total", 0.001),
    ("node_disk_io_time_weighted_seconds_total", 0.001),
    ("node_disk_discards_completed_total", 1.0),
    ("node_disk_discards_merged_total", 1.0),
    ("node_disk_discarded_sectors_total", 1.0),
    ("node_disk_discard_time_seconds_total", 0.001),
    ("node_disk_flush_requests_total", 1.0),
    ("node_disk_flush_requests_time_seconds_total", 0.001),
];

/// With more disks than this, what nobody judges of them is left out.
const MANY_DISKS: usize = 24;

/// Reads `/proc/diskstats`: 14 columns on old kernels, 18 with discards, 20 with flushes.
pub(super) fn read(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    input.source.root.read_into("proc/diskstats", &mut input.bytes)?;
    let volumes = &input.volumes;
    let own = |device: &str| is_disk(device) && !volumes.has(device);
    let name = |line| text::words(line).nth(2).map(text::word).filter(|device| own(device));
    let many = text::lines(&input.bytes).filter_map(name).count() > MANY_DISKS;
    for line in text::lines(&input.bytes) {
        let mut words = text::words(line);
        let Some(device) = words.nth(2).map(text::word).filter(|device| own(device)) else { continue };
        for ((name, factor), value) in COLUMNS.iter().zip(words) {
            if many && super::worth::of(name) == super::worth::Worth::Spare {
                continue;
            }
            // Division, so that 22766 ms is 22.766 s and not 22.766000000000002 s.
            let value = text::number(value);
            let scaled = value.map(|value| if *factor < 1.0 { value / (1.0 / factor) } else { value * factor });
            out.put_some(name, &[("device", device)], scaled);
        }
    }
    Ok(())
}

/// Whole disks, md and dm devices. Not partitions, loops, RAM disks, zram, floppies, optical drives and the boot and
/// replay areas of an eMMC.
pub(super) fn is_disk(name: &str) -> bool {
    let ends_in_digit = name.ends_with(|last: char| last.is_ascii_digit());
    let partition_of = |prefix: &str| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.contains('p') || rest.contains("boot") || rest.contains("rpmb"))
    };
    let hidden = ["loop", "ram", "zram", "fd", "sr", "nbd"]
        .iter()
        .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())));
    let lettered = ["sd", "hd", "vd", "xvd"].iter().any(|prefix| name.starts_with(prefix)) && ends_in_digit;
    !(name.is_empty() || hidden || lettered || partition_of("nvme") || partition_of("mmcblk") || is_path(name))
}

/// `nvme0c0n1` is one path of a multipath disk and has no counters of its own.
fn is_path(name: &str) -> bool {
    name.strip_prefix("nvme").is_some_and(|rest| rest.contains('c'))
}

#[cfg(test)]
mod tests {
    use super::is_disk;

    #[test]
    fn only_whole_disks() {
        for disk in ["nvme0n1", "sda", "sdaa", "vda", "mmcblk0", "md0", "dm-0", "md127"] {
            assert!(is_disk(disk), "{disk}");
        }
        for other in [
            "nvme0n1p2",
            "sda1",
            "vda1",
            "mmcblk0p1",
            "mmcblk0boot0",
            "mmcblk0rpmb",
            "loop0",
            "zram0",
            "ram3",
            "sr0",
            "",
            "nvme0c0n1",
        ] {
            assert!(!is_disk(other), "{other}");
        }
    }
}
