//! What each disk of the machine carries, by which number it is known, and what is mounted from disks that are gone.

use super::failure::Failure;
use super::filesystem::{self, Mount};
use super::sample::Sample;
use super::topology::{below, by_path, disks_of, is_multipath, mounts};
use super::{Input, Root, diskstats, redundancy, text};
use std::collections::{BTreeMap, BTreeSet};

const BLOCK: &str = "sys/block";
/// Disks that are reported.
const MAX_DISKS: usize = 128;
/// What lies on other devices or in memory, or comes over a network as the volume of a pod.
const MADE: [&str; 9] = ["dm-", "md", "bcache", "drbd", "zd", "rbd", "nbd", "loop", "zram"];

/// What a disk carries. The words are labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Root,
    Data,
    Swap,
    /// A member of a software RAID or of a mirror of LVM, whether that is mounted or not.
    Array,
    Nothing,
}

impl Use {
    fn word(self) -> &'static str {
        match self {
            Use::Root => "root",
            Use::Data => "data",
            Use::Swap => "swap",
            Use::Array => "array",
            Use::Nothing => "nothing",
        }
    }
}

/// Reads what each disk carries, and with 0 what is still mounted from a disk that is there no more.
pub(super) fn read(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let there = disks(root)?;
    let own = there.iter().filter(|disk| !input.volumes.has(disk));
    let mut carried: BTreeMap<String, BTreeSet<Use>> = own.map(|disk| (disk.clone(), BTreeSet::new())).collect();
    let mut lost: BTreeMap<String, BTreeSet<Use>> = BTreeMap::new();
    let mut put = |disks: BTreeSet<String>, what: Use| {
        for disk in disks {
            if let Some(uses) = carried.get_mut(&disk) {
                uses.insert(what);
            } else if is_lost(root, &there, &disk) {
                lost.entry(disk).or_default().insert(what);
            }
        }
    };
    let mounts = mounts(root)?;
    let stick = |mount: &Mount| ["/media/", "/run/media/"].iter().any(|place| mount.mountpoint.starts_with(place));
    let mut seen = BTreeSet::new();
    for mount in &mounts {
        let (what, stick) = (if mount.mountpoint == "/" { Use::Root } else { Use::Data }, stick(mount));
        // Of a thousand data sets of a pool one tells its disks.
        if !seen.insert((what, stick, filesystem::source(mount))) {
            continue;
        }
        let below = disks_of(root, mount);
        let removable = |disk: &String| root.text(&format!("{BLOCK}/{disk}/removable")).is_ok_and(|said| said == "1");
        if what == Use::Root || !(stick || below.iter().any(removable)) {
            put(below, what);
        }
    }
    for device in swaps(root)? {
        put(below(root, &device), Use::Swap);
    }
    for array in root.list(BLOCK)?.iter().filter(|name| root.exists(&format!("{BLOCK}/{name}/md"))) {
        put(below(root, array), Use::Array);
    }
    for leg in redundancy::mirror_legs(root) {
        put(below(root, &leg), Use::Array);
    }
    let numbers = numbers(root, carried.keys());
    // Those that carry something first: a limit never drops what decides.
    let mut carried: Vec<(String, BTreeSet<Use>)> = carried.into_iter().collect();
    carried.sort_by_key(|(_, uses)| uses.is_empty());
    out.leave_out(carried.len().saturating_sub(MAX_DISKS));
    for (disk, uses) in carried.into_iter().take(MAX_DISKS) {
        let uses = if uses.is_empty() { BTreeSet::from([Use::Nothing]) } else { uses };
        let id = numbers.get(&disk).map(String::as_str);
        for what in uses {
            let labels = [("device", disk.as_str()), ("what", what.word()), ("id", id.unwrap_or_default())];
            let labels = if id.is_some() { &labels[..] } else { &labels[..2] };
            out.put("hostler_disk_carries", labels, 1.0);
        }
    }
    for (disk, uses) in lost.into_iter().take(MAX_DISKS) {
        for what in uses {
            out.put("hostler_disk_carries", &[("device", &disk), ("what", what.word())], 0.0);
        }
    }
    Ok(())
}

/// Whether a mount stands on a disk of this machine that is there no more. What was recorded without the list of its
/// disks, or has a disk under none of its own names, tells nothing about it.
fn is_lost(root: &Root, there: &[String], disk: &str) -> bool {
    let is_disk = diskstats::is_disk(disk) && !MADE.iter().any(|made| disk.starts_with(made));
    let named = ["sd", "nvme", "mmcblk", "vd", "hd", "xvd"].iter().any(|kind| disk.starts_with(kind));
    is_disk && named && !there.is_empty() && !there.iter().any(|one| one == disk) && !is_counted(root, disk)
}

/// Whether the kernel counts what is read from the disk.
fn is_counted(root: &Root, disk: &str) -> bool {
    let table = root.bytes("proc/diskstats").unwrap_or_default();
    text::lines(&table).any(|line| text::words(line).nth(2).map(text::word) == Some(disk))
}

/// The machine's own disks that are there. A folder without anything in it is what a disk left behind.
fn disks(root: &Root) -> Result<Vec<String>, Failure> {
    let mut disks = root.list(BLOCK)?;
    disks.retain(|name| {
        diskstats::is_disk(name)
            && !MADE.iter().any(|made| name.starts_with(made))
            && root.list(&format!("{BLOCK}/{name}")).is_ok_and(|files| !files.is_empty())
    });
    Ok(disks)
}

/// What makes each of these disks the same one under another name. What two of them say is the number of neither, as
/// bridges are made that all say the same, unless they are paths of one disk.
fn numbers<'disk>(root: &Root, disks: impl Iterator<Item = &'disk String>) -> BTreeMap<String, String> {
    let mut numbers: BTreeMap<String, String> =
        disks.filter_map(|disk| Some((disk.clone(), number(root, disk)?))).collect();
    let multipath = |disk: &String| {
        let holders = root.list(&format!("{BLOCK}/{disk}/holders")).unwrap_or_default();
        holders.into_iter().find(|holder| is_multipath(root, holder))
    };
    let mut owners: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    numbers.iter().for_each(|(disk, number)| owners.entry(number).or_default().push(disk));
    let are_one = |disks: &[&String]| {
        let first = disks.first().and_then(|disk| multipath(disk));
        first.is_some() && disks.iter().all(|disk| multipath(disk) == first)
    };
    let shared = owners.into_values().filter(|disks| disks.len() > 1 && !are_one(disks));
    let shared: Vec<String> = shared.flatten().cloned().collect();
    numbers.retain(|disk, _| !shared.contains(disk));
    numbers
}

/// The WWN or serial number of a disk, where the kernel shows one.
fn number(root: &Root, disk: &str) -> Option<String> {
    let files = ["wwid", "device/wwid", "serial", "device/serial", "device/cid"];
    let texts = files.iter().filter_map(|file| root.text(&format!("{BLOCK}/{disk}/{file}")).ok());
    texts.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).find(|text| !text.is_empty())
}

/// Block devices that are swapped to. A file lies on a mount, and compressed memory on no disk.
fn swaps(root: &Root) -> Result<Vec<String>, Failure> {
    // A kernel without swap has no such file.
    let bytes =
        root.bytes("proc/swaps").or_else(|failure| if failure.is_absent() { Ok(Vec::new()) } else { Err(failure) })?;
    let rows = text::lines(&bytes).skip(1).filter_map(|line| {
        let mut words = text::words(line).map(text::word);
        let (device, kind) = (words.next()?, words.next()?);
        (kind == "partition").then(|| by_path(root, device)).flatten()
    });
    Ok(rows.collect())
}
