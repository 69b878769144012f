//! A disk's own limits, and the disk below the root file system.

use super::*;

/// Changes bytes of a recorded page of the machine's only NVMe disk.
fn patched(page: &str, bytes: &[(usize, &[u8])]) -> (Stage, Vec<Verdict>) {
    let machine = copy("pi5-nvme");
    let path = machine.path().join(".calls/nvme").join(page);
    let mut read = fs::read(&path).unwrap();
    for (at, bytes) in bytes {
        read[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    fs::write(path, read).unwrap();
    write(&machine, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
    let mut stage = Stage::new(machine);
    let verdicts = stage.play(LONG);
    (stage, verdicts)
}

#[test]
fn limits_that_a_disk_as_good_as_new_cannot_keep_are_none() {
    for (what, page, bytes) in [
        ("a spare threshold of 99", "nvme0.smart", &[(3, &[100, 99][..])][..]),
        ("a spare threshold of 100", "nvme0.smart", &[(3, &[100, 100])]),
        ("a spare threshold of 255", "nvme0.smart", &[(3, &[100, 255])]),
        ("a spare and a threshold of 255", "nvme0.smart", &[(3, &[255, 255])]),
        ("used 255", "nvme0.smart", &[(5, &[255])]),
        ("temperatures of 1 K", "nvme0.identify", &[(266, &[1, 0, 1, 0])]),
        ("a disk of 0 K", "nvme0.smart", &[(1, &[0, 0])]),
        ("a disk of 1 K", "nvme0.smart", &[(1, &[1, 0])]),
        ("a warning limit of 27 °C", "nvme0.identify", &[(266, &[0x2c, 1])]),
    ] {
        let (_, verdicts) = patched(page, bytes);
        let bad = verdicts.iter().filter(|verdict| verdict.level != Level::Unknown);
        let bad: Vec<String> = bad.map(Verdict::sentence).collect();
        assert!(bad.is_empty() && worst(&verdicts) != Level::Critical, "{what}: {bad:?}");
        assert!(verdicts.iter().all(|verdict| !verdict.required), "{what}: {verdicts:?}");
    }
    let level_of = |bytes: &[(usize, &[u8])], rule| level(&patched("nvme0.smart", bytes).1, rule, "nvme0");
    assert_eq!(level_of(&[(3, &[20, 32])], Rule::NvmeSpare), Some((Level::Critical, true)), "32 % is a threshold");
    assert_eq!(level_of(&[(5, &[254])], Rule::NvmeWear), Some((Level::Critical, false)), "254 % is a count");
    let ones = [0xff; 512];
    assert_eq!(level_of(&[(0, &ones)], Rule::NvmeWarning), Some((Level::Unknown, true)), "no log at all");
}

#[test]
fn the_disk_below_the_root_is_found_through_every_layer() {
    let root = [("proc/1/mountinfo", mounted("253:1", "ext4", "/dev/mapper/vg-root"))];
    let layers: [(&str, &[&str]); 4] = [
        ("a volume", &["sys/block/dm-1/slaves/nvme0n1p3/partition"]),
        ("a crypted volume", &["sys/block/dm-1/slaves/dm-0/x", "sys/block/dm-0/slaves/nvme0n1p3/partition"]),
        (
            "a volume on a RAID",
            &["sys/block/dm-1/slaves/md127/x", "sys/block/md127/slaves/sda1/x", "sys/block/md127/slaves/nvme0n1p2/x"],
        ),
        ("bcache", &["sys/block/dm-1/slaves/bcache0/x", "sys/block/bcache0/slaves/nvme0n1p4/x"]),
    ];
    for (what, files) in layers {
        let machine = copy("intel-n100");
        root.iter().for_each(|(path, text)| write(&machine, path, text));
        files.iter().for_each(|path| write(&machine, path, "3\n"));
        fs::create_dir_all(machine.path().join("sys/dev/block")).unwrap();
        symlink("../../devices/virtual/block/dm-1", machine.path().join("sys/dev/block/253:1")).unwrap();
        write(&machine, ".calls/nvme/nvme0.smart", "!EIO\n");
        let mut stage = Stage::new(machine);
        let verdicts = stage.play(LONG);
        assert_eq!(stage.reading().get("hostler_nvme_root", &[("device", "nvme0")]), Some(1.0), "{what}");
        assert_eq!(level(&verdicts, Rule::NvmeWarning, "nvme0"), Some((Level::Unknown, true)), "{what}");
        let labels = [("device", "nvme0n1"), ("what", "root")];
        assert_eq!(stage.reading().get("hostler_disk_carries", &labels), Some(1.0), "{what}");
    }
}
