//! Which disks are below a file system, as the kernel tells: `slaves/` of LVM, dm-crypt, md, multipath and bcache, the
//! folder in which a partition lies, and the controllers of an NVMe subsystem. Names decide only where a kernel or a
//! recording shows none of it.

use super::failure::Failure;
use super::filesystem::{self, Mount};
use super::{Root, text};
use std::collections::BTreeSet;

const BLOCK: &str = "sys/block";
const NVME: &str = "sys/class/nvme";
const SUBSYSTEMS: &str = "sys/class/nvme-subsystem";
const BTRFS: &str = "sys/fs/btrfs";

/// The mounts of process 1, because the agent's own sandbox may show other ones.
pub(super) fn mounts(root: &Root) -> Result<Vec<Mount>, Failure> {
    Ok(filesystem::table(root)?.mounts)
}

/// The disks below the file system `/`.
pub(super) fn root_disks(root: &Root) -> BTreeSet<String> {
    let mounts = mounts(root).unwrap_or_default();
    mounts.iter().find(|mount| mount.mountpoint == "/").map(|mount| disks_of(root, mount)).unwrap_or_default()
}

/// The disks below a mount.
pub(super) fn disks_of(root: &Root, mount: &Mount) -> BTreeSet<String> {
    devices_of(root, mount).iter().flat_map(|device| below(root, device)).collect()
}

/// The block devices that these mounts are made of.
pub(super) fn devices_of_all(root: &Root, mounts: &[Mount]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let sources = mounts.iter().filter(|mount| seen.insert((&mount.fstype, filesystem::source(mount))));
    sources.flat_map(|mount| devices_of(root, mount)).collect()
}

/// The block devices that a mount is made of: several of a pool or of btrfs.
pub(super) fn devices_of(root: &Root, mount: &Mount) -> Vec<String> {
    match mount.fstype.as_str() {
        "zfs" => pool_members(root, pool(&mount.device)),
        "btrfs" => {
            let Some(device) = by_path(root, &mount.device) else { return Vec::new() };
            let of = btrfs_of(root, &device).and_then(|uuid| root.list(&format!("{BTRFS}/{uuid}/devices")).ok());
            of.unwrap_or_else(|| vec![device])
        }
        _ => by_numbers(root, &mount.numbers).or_else(|| by_path(root, &mount.device)).into_iter().collect(),
    }
}

/// The pool of a data set: `rpool` of `rpool/ROOT/debian`.
pub(super) fn pool(dataset: &str) -> &str {
    dataset.split('/').next().unwrap_or_default()
}

/// The btrfs file system that has this device.
pub(super) fn btrfs_of(root: &Root, device: &str) -> Option<String> {
    let known = root.list(BTRFS).ok()?;
    known.into_iter().find(|uuid| root.exists(&format!("{BTRFS}/{uuid}/devices/{device}")))
}

/// The devices of a ZFS pool. No file of the kernel says it; udev keeps what it found on each device.
fn pool_members(root: &Root, pool: &str) -> Vec<String> {
    let mut members = Vec::new();
    for disk in root.list(BLOCK).unwrap_or_default() {
        let files = root.list(&format!("{BLOCK}/{disk}")).unwrap_or_default();
        let parts = files.iter().filter(|file| file.starts_with(&disk)).map(|part| (part, format!("{disk}/{part}")));
        for (name, path) in parts.chain([(&disk, disk.clone())]) {
            let Ok(numbers) = root.text(&format!("{BLOCK}/{path}/dev")) else { continue };
            let found = root.bytes(&format!("run/udev/data/b{numbers}")).unwrap_or_default();
            let says = |wanted: String| text::lines(&found).any(|line| line == wanted.as_bytes());
            if says("E:ID_FS_TYPE=zfs_member".to_owned()) && says(format!("E:ID_FS_LABEL={pool}")) {
                members.push(name.clone());
            }
        }
    }
    members
}

/// The whole disks below a block device, itself where nothing is.
pub(super) fn below(root: &Root, device: &str) -> BTreeSet<String> {
    let mut disks = layers(root, device);
    disks.retain(|name| lower(root, name).is_empty());
    disks
}

/// A block device and everything below it.
pub(super) fn layers(root: &Root, device: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([device.to_owned()]);
    let mut next = vec![device.to_owned()];
    while let Some(name) = next.pop() {
        for lower in lower(root, &name) {
            if found.insert(lower.clone()) {
                next.push(lower);
            }
        }
    }
    found
}

/// What a device stands on directly: its members, the cache in front of it, or the disk that it is a part of.
fn lower(root: &Root, device: &str) -> Vec<String> {
    let mut lower = root.list(&format!("{BLOCK}/{device}/slaves")).unwrap_or_default();
    let cache = format!("{BLOCK}/{device}/bcache/cache");
    for name in root.list(&cache).unwrap_or_default() {
        // `cache0` leads to the folder `bcache` of the device that is the cache.
        let number = name.strip_prefix("cache").is_some_and(|rest| rest.parse::<u32>().is_ok());
        let target = root.resolved(&format!("{cache}/{name}")).filter(|_| number);
        let owner = target.as_deref().and_then(|path| path.parent()?.file_name()?.to_str());
        lower.extend(owner.map(str::to_owned));
    }
    if lower.is_empty() {
        lower.extend(whole(root, device).filter(|disk| disk != device));
    }
    lower
}

/// The disk that a partition lies on.
fn whole(root: &Root, device: &str) -> Option<String> {
    if root.exists(&format!("{BLOCK}/{device}")) {
        return None;
    }
    let folder = root.resolved(&format!("sys/class/block/{device}"));
    let above = folder.as_deref().and_then(|path| path.parent()?.file_name()?.to_str()).map(str::to_owned);
    let above = above.filter(|name| root.exists(&format!("{BLOCK}/{name}")));
    let holds = |disk: &String| root.exists(&format!("{BLOCK}/{disk}/{device}"));
    above
        .or_else(|| root.list(BLOCK).unwrap_or_default().into_iter().find(holds))
        .or_else(|| Some(whole_by_name(device).to_owned()))
}

/// `nvme0n1p2` → `nvme0n1`, `mmcblk0p2` → `mmcblk0`, `md0p1` → `md0`, `sda1` → `sda`; others stay.
fn whole_by_name(name: &str) -> &str {
    let digits = name.trim_end_matches(|last: char| last.is_ascii_digit());
    let lettered = ["sd", "vd", "hd", "xvd"].iter().any(|kind| name.starts_with(kind));
    match digits.strip_suffix('p') {
        Some(disk) if !lettered && digits != name && disk.ends_with(|last: char| last.is_ascii_digit()) => disk,
        Some(_) | None if lettered => digits,
        Some(_) | None => name,
    }
}

/// The device with the numbers of a mount: `259:2`.
fn by_numbers(root: &Root, numbers: &str) -> Option<String> {
    // Of no block device: overlay, ZFS, btrfs.
    if numbers.starts_with("0:") {
        return None;
    }
    root.link_name(&format!("sys/dev/block/{numbers}"))
}

/// The device that a path below `/dev` names.
pub(super) fn by_path(root: &Root, path: &str) -> Option<String> {
    let name = path.strip_prefix("/dev/")?;
    let mapped = match name.split_once('/') {
        None => None,
        Some(("mapper", mapped)) => Some(mapped.to_owned()),
        // LVM writes a dash of a name twice.
        Some((group, volume)) => Some(format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--"))),
    };
    let Some(mapped) = mapped else { return (name != "root").then(|| name.to_owned()) };
    let is_it = |device: &String| root.text(&format!("{BLOCK}/{device}/dm/name")).is_ok_and(|known| known == mapped);
    let device = root.list(BLOCK).unwrap_or_default().into_iter().find(is_it);
    device.or_else(|| root.link_name(&format!("dev/{name}")))
}

/// Whether a device joins the paths of one disk.
pub(super) fn is_multipath(root: &Root, device: &str) -> bool {
    root.text(&format!("{BLOCK}/{device}/dm/uuid")).is_ok_and(|uuid| uuid.starts_with("mpath-"))
}

/// The controllers through which an NVMe disk is reached: one, or each path of a multipath subsystem.
pub(super) fn controllers(root: &Root, disk: &str) -> BTreeSet<String> {
    let all = root.list(NVME).unwrap_or_default();
    let below = |controller: &&String| {
        let files = root.list(&format!("{NVME}/{controller}")).unwrap_or_default();
        files.iter().any(|file| file == disk || head(file).as_deref() == Some(disk))
    };
    let mut found: BTreeSet<String> = all.iter().filter(below).cloned().collect();
    if found.is_empty() {
        // The disk's device is its controller or its subsystem, which links to its controllers.
        let device = format!("{BLOCK}/{disk}/device");
        let owner = root.link_name(&device);
        let files = root.list(&device).unwrap_or_default();
        let subsystems = root.list(SUBSYSTEMS).unwrap_or_default().into_iter().filter_map(|name| {
            let files = root.list(&format!("{SUBSYSTEMS}/{name}")).ok()?;
            (owner.as_ref() == Some(&name) || files.iter().any(|file| file == disk)).then_some(files)
        });
        let near: BTreeSet<String> = subsystems.flatten().chain(files).chain(owner.clone()).collect();
        found = all.iter().filter(|controller| near.contains(*controller)).cloned().collect();
    }
    if found.is_empty() {
        found = all.into_iter().filter(|controller| disk.starts_with(&format!("{controller}n"))).collect();
    }
    found
}

/// The disk of a path: `nvme0n1` of `nvme0c1n1`.
fn head(path: &str) -> Option<String> {
    let (subsystem, rest) = path.strip_prefix("nvme")?.split_once('c')?;
    let (controller, namespace) = rest.split_once('n')?;
    let numbers = [subsystem, controller, namespace];
    numbers.iter().all(|part| part.parse::<u32>().is_ok()).then(|| format!("nvme{subsystem}n{namespace}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A machine with these folders, links and files.
    fn machine(folders: &[&str], links: &[(&str, &str)], files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(folder.path().join(path)).unwrap();
        folders.iter().for_each(|path| make(path));
        for (path, target) in links {
            make(path.rsplit_once('/').unwrap().0);
            symlink(target, folder.path().join(path)).unwrap();
        }
        for (path, text) in files {
            make(path.rsplit_once('/').unwrap().0);
            fs::write(folder.path().join(path), text).unwrap();
        }
        let root = Root::at(folder.path()).unwrap();
        (folder, root)
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_volume_on_a_crypted_raid_stands_on_every_disk_of_it() {
        let (_folder, root) = machine(
            &[
                "sys/block/dm-1/slaves/dm-0",
                "sys/block/dm-0/slaves/md0p1",
                "sys/block/md0/md0p1",
                "sys/block/md0/slaves/sda2",
                "sys/block/md0/slaves/nvme0n1p2",
                "sys/block/sda/sda2",
                "sys/block/nvme0n1/nvme0n1p2",
            ],
            &[],
            &[("sys/block/dm-1/dm/name", "vg--a-root\n")],
        );
        assert_eq!(below(&root, "dm-1"), set(&["nvme0n1", "sda"]));
        for path in ["/dev/mapper/vg--a-root", "/dev/vg-a/root"] {
            assert_eq!(by_path(&root, path).as_deref(), Some("dm-1"), "{path}");
        }
        assert_eq!(below(&root, "sda2"), set(&["sda"]));
    }

    #[test]
    fn a_cached_disk_stands_on_its_cache_too() {
        let (_folder, root) = machine(
            &["sys/block/bcache0/slaves/sda", "sys/block/sda/bcache", "sys/devices/nvme1n1/nvme1n1p4/bcache"],
            &[
                ("sys/block/bcache0/bcache/cache", "../../../fs/bcache/one"),
                ("sys/fs/bcache/one/cache0", "../../../devices/nvme1n1/nvme1n1p4/bcache"),
                ("sys/block/nvme1n1", "../devices/nvme1n1"),
                ("sys/class/block/nvme1n1p4", "../../devices/nvme1n1/nvme1n1p4"),
            ],
            &[],
        );
        assert_eq!(below(&root, "bcache0"), set(&["nvme1n1", "sda"]));
    }

    #[test]
    fn layers_that_stand_on_each_other_end() {
        let (_folder, root) = machine(&["sys/block/dm-0/slaves/dm-1", "sys/block/dm-1/slaves/dm-0"], &[], &[]);
        assert_eq!(below(&root, "dm-0"), set(&[]));
    }

    #[test]
    fn every_path_of_a_multipath_disk_is_a_controller_of_it() {
        // The subsystem's number is the disk's and need not be a controller's.
        let (_folder, root) = machine(
            &["sys/class/nvme/nvme1/nvme0c1n1", "sys/class/nvme/nvme2/nvme0c2n1", "sys/class/nvme/nvme0/nvme1n1"],
            &[],
            &[],
        );
        assert_eq!(controllers(&root, "nvme0n1"), set(&["nvme1", "nvme2"]));
        assert_eq!(controllers(&root, "nvme1n1"), set(&["nvme0"]));
        let (_folder, root) = machine(
            &["sys/class/nvme/nvme3", "sys/class/nvme/nvme4", "sys/class/nvme-subsystem/nvme-subsys0/nvme3"],
            &[("sys/block/nvme0n1/device", "../../nvme-subsys0")],
            &[],
        );
        assert_eq!(controllers(&root, "nvme0n1"), set(&["nvme3"]));
        let (_folder, root) = machine(
            &[
                "sys/class/nvme/nvme3",
                "sys/class/nvme/nvme4",
                "sys/class/nvme-subsystem/nvme-subsys0/nvme0n1",
                "sys/class/nvme-subsystem/nvme-subsys0/nvme3",
                "sys/class/nvme-subsystem/nvme-subsys0/nvme4",
                "sys/class/nvme-subsystem/nvme-subsys1/nvme1n1",
            ],
            &[],
            &[],
        );
        assert_eq!(controllers(&root, "nvme0n1"), set(&["nvme3", "nvme4"]));
        let (_folder, root) = machine(&["sys/class/nvme/nvme0", "sys/class/nvme/nvme1"], &[], &[]);
        assert_eq!(controllers(&root, "nvme1n1"), set(&["nvme1"]), "nothing but names");
        assert_eq!(controllers(&root, "sda"), set(&[]));
    }

    #[test]
    fn a_pool_and_a_btrfs_stand_on_all_their_devices() {
        let (_folder, root) = machine(
            &["sys/fs/btrfs/b-1/devices/sdb", "sys/fs/btrfs/b-1/devices/sdc1", "sys/block/sdb", "sys/block/sdc/sdc1"],
            &[],
            &[
                ("sys/block/sda/sda3/dev", "8:3\n"),
                ("sys/block/sdd/dev", "8:48\n"),
                ("run/udev/data/b8:3", "E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=rpool\n"),
                ("run/udev/data/b8:48", "E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=tank\n"),
            ],
        );
        let mount = |fstype: &str, device: &str| {
            let (fstype, device) = (fstype.to_owned(), device.to_owned());
            Mount {
                id: 25,
                device,
                mountpoint: "/".to_owned(),
                fstype,
                numbers: "0:25".to_owned(),
                readonly: false,
                emergency: false,
            }
        };
        assert_eq!(disks_of(&root, &mount("zfs", "rpool/ROOT/debian")), set(&["sda"]));
        assert_eq!(disks_of(&root, &mount("btrfs", "/dev/sdb")), set(&["sdb", "sdc"]));
    }

    #[test]
    fn names_tell_the_disk_where_nothing_else_does() {
        for (name, disk) in [
            ("nvme0n1p2", "nvme0n1"),
            ("nvme0n1", "nvme0n1"),
            ("mmcblk0p2", "mmcblk0"),
            ("mmcblk0", "mmcblk0"),
            ("md127p1", "md127"),
            ("md0", "md0"),
            ("dm-0", "dm-0"),
            ("sda1", "sda"),
            ("vda", "vda"),
        ] {
            assert_eq!(whole_by_name(name), disk);
        }
    }
}
