//! Disks that change their names, and disks that say the same number.

use super::*;

const ROOT: &str = "25 1 259:2 / / rw,noatime shared:1 - ext4 /dev/nvme0n1p2 rw\n";
const DATA: &str = "44 25 8:1 / /srv/data rw - xfs /dev/sda1 rw\n";

/// A machine with `/` on NVMe and data on `sda`, which has this number.
fn machine(number: &str) -> TempDir {
    let machine = copy("intel-n100");
    write(&machine, "proc/1/mountinfo", &format!("{ROOT}{DATA}"));
    plug(&machine, "sda", number);
    machine
}

fn plug(machine: &TempDir, name: &str, number: &str) {
    write(machine, &format!("sys/block/{name}/size"), "1000\n");
    write(machine, &format!("sys/block/{name}/device/wwid"), number);
    let stats = machine.path().join("proc/diskstats");
    let mut rows = fs::read_to_string(&stats).unwrap();
    if !rows.contains(&format!(" {name} ")) {
        rows.push_str(&format!("   8      64 {name} 10 0 80 1 0 0 0 0 0 1 1 0 0 0 0 0 0\n"));
        fs::write(stats, rows).unwrap();
    }
}

fn pull(machine: &TempDir, name: &str) {
    fs::remove_dir_all(machine.path().join("sys/block").join(name)).unwrap();
    let stats = machine.path().join("proc/diskstats");
    let rows = fs::read_to_string(&stats).unwrap();
    let rest: Vec<&str> = rows.lines().filter(|row| !row.contains(&format!(" {name}"))).collect();
    fs::write(stats, rest.join("\n") + "\n").unwrap();
}

#[test]
fn a_disk_that_dropped_off_the_bus_and_came_back_leaves_its_mount_without_a_disk() {
    let mut stage = Stage::new(machine("naa.5000c500a1"));
    assert_eq!(of_disks(stage.play(LONG)), []);
    pull(&stage.machine, "sda");
    plug(&stage.machine, "sdb", "naa.5000c500a1");
    assert_eq!(level(&stage.play(LONG), Rule::DiskGone, "sda"), Some((Level::Critical, true)), "as sdb");
    write(&stage.machine, "proc/1/mountinfo", &format!("{ROOT}{}", DATA.replace("sda", "sdb")));
    assert_eq!(of_disks(stage.play(LONG)), [], "mounted anew");
}

#[test]
fn two_disks_whose_bridges_say_the_same_number_are_two() {
    let mut stage = Stage::new(machine("t10.JMicron 0123456789"));
    assert_eq!(of_disks(stage.play(LONG)), []);
    plug(&stage.machine, "sdb", "t10.JMicron 0123456789");
    assert_eq!(of_disks(stage.play(LONG)), [], "another one came");
    let carries = |what| [("device", "sdb"), ("what", what)];
    assert_eq!(stage.reading().get("hostler_disk_carries", &carries("nothing")), Some(1.0), "without a number");
    pull(&stage.machine, "sda");
    assert_eq!(level(&stage.play(LONG), Rule::DiskGone, "sda"), Some((Level::Critical, true)));
}

#[test]
fn paths_of_one_disk_say_the_same_number_and_are_one() {
    let machine = machine("naa.600508b1");
    plug(&machine, "sdb", "naa.600508b1");
    for path in ["sda", "sdb"] {
        write(&machine, &format!("sys/block/{path}/holders/dm-7/x"), "");
    }
    write(&machine, "sys/block/dm-7/dm/uuid", "mpath-3600508b1\n");
    let mut stage = Stage::new(machine);
    stage.play(60);
    for (path, what) in [("sda", "data"), ("sdb", "nothing")] {
        let labels = [("device", path), ("what", what), ("id", "naa.600508b1")];
        assert_eq!(stage.reading().get("hostler_disk_carries", &labels), Some(1.0), "{path}");
    }
}
