//! Machines of every size: no limit drops what decides, and none makes a node unknown.

use super::*;
use hostler_plan::health::{Baseline, Vitals};
use std::fmt::Write as _;

/// How large a machine is.
#[derive(Debug, Clone, Copy)]
struct Size {
    threads: usize,
    /// NVMe disks of its own, each with a file system.
    disks: usize,
    /// Attached volumes, each mounted for a pod.
    volumes: usize,
    /// Mounts of containers beside these.
    mounts: usize,
}

/// Names of SCSI disks: `sda` to `sdz`, `sdaa` and so on.
fn letters(number: usize) -> String {
    let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).unwrap());
    if number < 26 {
        format!("sd{}", letter(number))
    } else {
        format!("sd{}{}", letter(number / 26 - 1), letter(number))
    }
}

fn machine(size: Size) -> TempDir {
    let machine = copy("intel-n100");
    fs::remove_dir_all(machine.path().join("sys/block/sda")).unwrap();
    fs::remove_dir_all(machine.path().join("sys/devices/system/cpu/cpufreq")).unwrap();
    let (mut stats, mut table) = (String::new(), mounted("259:0", "ext4", "/dev/nvme0n1"));
    let mut spaces = "/ 4096 122814362 98251489 92012000 31195136 30821991\n".to_owned();
    let page = |kind: &str| fs::read(machine.path().join(".calls/nvme").join(kind)).unwrap();
    let (smart, identify) = (page("nvme0.smart"), page("nvme0.identify"));
    for n in 0..size.disks {
        writeln!(stats, "259 {n} nvme{n}n1 47114 4 2487518 21650 1078320 43950 3668690 1011053 0 222766 1032546")
            .unwrap();
        for (file, text) in [("state", "live"), ("transport", "pcie"), ("serial", &format!("S{n}"))] {
            write(&machine, &format!("sys/class/nvme/nvme{n}/{file}"), text);
        }
        write(&machine, &format!("sys/block/nvme{n}n1/wwid"), &format!("eui.{n:016}\n"));
        fs::write(machine.path().join(format!(".calls/nvme/nvme{n}.smart")), &smart).unwrap();
        fs::write(machine.path().join(format!(".calls/nvme/nvme{n}.identify")), &identify).unwrap();
        if n > 0 {
            writeln!(table, "9{n} 25 259:{n} / /data/{n} rw - ext4 /dev/nvme{n}n1 rw").unwrap();
            writeln!(spaces, "/data/{n} 4096 122814362 98251489 92012000 31195136 30821991").unwrap();
        }
        write(&machine, &format!("sys/fs/ext4/nvme{n}n1/errors_count"), "0\n");
    }
    for n in 0..size.volumes {
        let (name, minor) = (letters(n), n * 16);
        writeln!(stats, "8 {minor} {name} 5000 0 40000 900 9000 0 90000 4000 0 5000 6000").unwrap();
        write(&machine, &format!("sys/block/{name}/device/vendor"), "IET\n");
        write(&machine, &format!("sys/block/{name}/device/model"), "VIRTUAL-DISK\n");
        let place = format!("/var/lib/kubelet/pods/{n}/volumes/kubernetes.io~csi/pvc-{n}/mount");
        writeln!(table, "{n} 25 8:{minor} / {place} rw - ext4 /dev/longhorn/pvc-{n} rw").unwrap();
    }
    for n in 0..size.mounts {
        writeln!(table, "{n} 31 0:{n} / /run/k3s/containerd/x/{n}/rootfs rw - overlay overlay rw,lowerdir=/a:/b")
            .unwrap();
    }
    let (mut cpus, mut columns) = (String::new(), String::new());
    for n in 0..size.threads {
        writeln!(cpus, "cpu{n} 22766 10 10110 900000 4395 0 393 0 0 0").unwrap();
        write!(columns, " {:10}", u8::from(n + 1 == size.threads)).unwrap();
    }
    let stat = fs::read_to_string(machine.path().join("proc/stat")).unwrap();
    let rest: Vec<&str> = stat.lines().filter(|line| !line.starts_with("cpu")).collect();
    write(&machine, "proc/stat", &format!("{cpus}{}\n", rest.join("\n")));
    let row = |name: &str| format!("{name}: {columns}  {name} of each processor\n");
    let interrupts = (0..600).map(|n| row(&n.to_string())).chain(["LOC", "MCE", "MCP"].map(row));
    write(&machine, "proc/interrupts", &interrupts.collect::<String>());
    write(&machine, "proc/diskstats", &stats);
    write(&machine, "proc/1/mountinfo", &table);
    write(&machine, ".calls/statvfs", &spaces);
    machine
}

#[test]
fn no_required_fact_is_dropped_and_no_node_is_unknown_for_its_size() {
    let small = Size { threads: 4, disks: 1, volumes: 0, mounts: 10 };
    let mut sizes = vec![small];
    sizes.extend([32, 33, 512].map(|threads| Size { threads, ..small }));
    sizes.extend([4, 40].map(|volumes| Size { volumes, ..small }));
    sizes.extend([13, 60].map(|disks| Size { disks, ..small }));
    sizes.push(Size { threads: 512, disks: 60, volumes: 40, mounts: 10_000 });
    for size in sizes {
        let mut stage = Stage::new(machine(size));
        let bad: Vec<Verdict> =
            stage.play(120).into_iter().filter(|v| v.required || v.level != Level::Unknown).collect();
        assert_eq!(bad, [], "{size:?}");
        let verdicts = stage.verdicts();
        assert_eq!(worst(&verdicts), Level::Ok, "{size:?}");
        let reading = stage.reading();
        let vitals = Vitals::of(UNIX_MS, &verdicts, reading);
        let baseline = Baseline::take(UNIX_MS, &vitals);
        for n in 0..size.disks {
            let (controller, disk) = (format!("nvme{n}"), format!("nvme{n}n1"));
            for rule in [Rule::NvmeState, Rule::NvmeWarning, Rule::NvmeSpare, Rule::NvmeMediaErrors, Rule::NvmeWear] {
                assert_eq!(level(&verdicts, rule, &controller).map(|l| l.0), Some(Level::Ok), "{size:?}: {rule} {n}");
            }
            assert!(level(&verdicts, Rule::DiskGone, &disk).is_some(), "{size:?}: {disk}");
            let place = if n == 0 { "/".to_owned() } else { format!("/data/{n}") };
            assert_eq!(level(&verdicts, Rule::DiskSpace, &place).map(|l| l.0), Some(Level::Ok), "{size:?}: {place}");
            for counter in [
                format!("nvme_media_errors_total{{device=\"nvme{n}\"}}"),
                format!("hostler_ext4_errors_total{{device=\"{disk}\"}}"),
            ] {
                assert!(baseline.counters.contains_key(&counter), "{size:?}: {counter} is not in the baseline");
            }
        }
        assert_eq!(
            reading.get("hostler_machine_check_exceptions_total", &[]),
            Some(1.0),
            "{size:?}: of the last thread"
        );
        assert_eq!(reading.get("hostler_processors", &[]), Some(size.threads as f64), "{size:?}");
        let volume = reading.find("node_disk_io_now", &[("device", "sda")]);
        assert!(volume.is_none(), "{size:?}: a volume of a pod is no disk of the node");
    }
}

#[test]
fn arrays_beyond_a_limit_are_those_that_carry_nothing_and_are_counted() {
    let machine = copy("intel-n100");
    for n in 0..40 {
        let array = |file: &str, text: &str| write(&machine, &format!("sys/block/md{n}/md/{file}"), text);
        array("level", "raid1\n");
        array("raid_disks", "2\n");
        array("degraded", if n == 39 { "1\n" } else { "0\n" });
        array("array_state", "clean\n");
        write(&machine, &format!("proc/spl/kstat/zfs/pool{n}/state"), "ONLINE\n");
        write(&machine, &format!("proc/spl/kstat/zfs/file{n}/x"), "");
    }
    write(&machine, "proc/spl/kstat/zfs/zz/state", "DEGRADED\n");
    let data = "44 25 0:70 / /srv rw - zfs zz/srv rw\n";
    write(&machine, "proc/1/mountinfo", &format!("{}{data}", mounted("9:39", "ext4", "/dev/md39")));
    fs::create_dir_all(machine.path().join("sys/dev/block")).unwrap();
    symlink("../../devices/virtual/block/md39", machine.path().join("sys/dev/block/9:39")).unwrap();
    let mut stage = Stage::new(machine);
    let verdicts = stage.play(LONG);
    for lacks in ["md md39", "zpool zz"] {
        assert_eq!(level(&verdicts, Rule::Redundancy, lacks), Some((Level::Degraded, true)), "{lacks}");
    }
    let left_out = |reader| stage.reading().get("hostler_series_dropped_total", &[("collector", reader)]);
    assert_eq!([left_out("mdadm"), left_out("zfs")], [Some(8.0), Some(9.0)]);
    assert!(stage.verdicts().iter().any(|verdict| verdict.rule == Rule::Facts), "and said");
}
