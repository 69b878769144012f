//! Machines as people have them, through the front door: sensors with an offset, disks that name limits nobody can mean,
//! `/` on layers, redundancy that is lost, disks that are not ATA, and what cannot be seen any more.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "recorded/machine.rs"]
mod machine;

use hostler_fixtures::recorded::{UNIX_MS, copy};
use hostler_plan::fact::Reading;
use hostler_plan::health::{HealthEvaluator, Level, Rule, Thresholds, Verdict, worst};
use machine::{at, facts, write};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than the longest hold of a verdict.
const LONG: u64 = 960;

/// A machine whose states follow each other, with what the readers and the judge remember.
struct Stage {
    machine: TempDir,
    facts: hostler_facts::Facts,
    health: HealthEvaluator,
    now: u64,
    last: Vec<Verdict>,
}

impl Stage {
    fn new(machine: TempDir) -> Self {
        let facts = facts(machine.path());
        Stage { machine, facts, health: HealthEvaluator::new(Thresholds::default()), now: 0, last: Vec::new() }
    }

    /// Plays so many seconds and gives what is not ok. Hours are played in steps of minutes.
    fn play(&mut self, seconds: u64) -> Vec<Verdict> {
        let (step, end) = (if seconds > 2000 { 600 } else { 10 }, self.now + seconds);
        while self.now <= end {
            self.facts.tick(at(self.now));
            let reading = self.facts.wait_for_helpers(Duration::from_secs(20));
            self.last = self.health.observe(UNIX_MS + self.now * 1000, reading).to_vec();
            self.now += step;
        }
        let mut verdicts = self.verdicts();
        verdicts.retain(|verdict| verdict.level != Level::Ok);
        verdicts
    }

    /// Every verdict of the last moment.
    fn verdicts(&self) -> Vec<Verdict> {
        self.last.clone()
    }

    fn reading(&self) -> &Reading {
        self.facts.reading()
    }
}

/// The level of a rule about a subject, and whether it is required.
fn level(verdicts: &[Verdict], rule: Rule, subject: &str) -> Option<(Level, bool)> {
    let found = verdicts.iter().find(|verdict| verdict.rule == rule && verdict.subject == subject);
    found.map(|verdict| (verdict.level, verdict.required))
}

/// What is said of disks.
fn of_disks(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let rules = [Rule::DiskSmart, Rule::DiskWear, Rule::DiskTemperature, Rule::DiskGone];
    verdicts.retain(|verdict| rules.contains(&verdict.rule));
    verdicts
}

/// A recorded machine with other files, judged after 16 minutes.
fn judged(base: &str, files: &[(&str, &str)]) -> (Stage, Vec<Verdict>) {
    let machine = copy(base);
    files.iter().for_each(|(path, text)| write(&machine, path, text));
    let mut stage = Stage::new(machine);
    let verdicts = stage.play(LONG);
    (stage, verdicts)
}

/// `/` on that device, and nothing else.
fn mounted(numbers: &str, fstype: &str, device: &str) -> String {
    format!("25 1 {numbers} / / rw,noatime shared:1 - {fstype} {device} rw\n26 25 0:22 / /proc rw - proc proc rw\n")
}

const TCTL: &str = "sys/devices/pci0000:00/0000:00:18.3/hwmon/hwmon3";
const CORETEMP: &str = "sys/devices/platform/coretemp.0/hwmon/hwmon2";

fn celsius(stage: &Stage) -> Option<f64> {
    stage.reading().get("hostler_node_temperature_celsius", &[("component", "cpu")])
}

#[test]
fn the_nearest_sensor_speaks_for_the_processor() {
    let file = |name: &str| format!("{TCTL}/{name}");
    let with = |files: &[(&str, &str)]| {
        let files: Vec<(String, &str)> = files.iter().map(|(name, text)| (file(name), *text)).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let (stage, verdicts) = judged("amd-r1505g", &files);
        (celsius(&stage), level(&verdicts, Rule::CpuTemperature, "").map(|found| found.0))
    };
    let tdie = [("temp1_input", "97000\n"), ("temp2_input", "70000\n"), ("temp2_label", "Tdie\n")];
    assert_eq!(with(&tdie), (Some(70.0), None), "27 °C of it are for the fan");
    assert_eq!(with(&[("temp1_input", "97000\n")]), (Some(97.0), Some(Level::Critical)), "Tctl alone counts");
    let ccd = [("temp1_input", "60000\n"), ("temp3_input", "96000\n"), ("temp3_label", "Tccd1\n")];
    assert_eq!(with(&ccd), (Some(60.0), None), "one die of several is not the whole");
    let old = [("temp1_input", "96000\n"), ("temp1_label", "\n")];
    assert_eq!(with(&old), (Some(96.0), Some(Level::Critical)), "models before Zen have no labels");
}

#[test]
fn a_processor_without_a_package_sensor_is_as_hot_as_its_hottest_core() {
    let machine = copy("intel-n100");
    for file in ["temp1_input", "temp1_label", "temp1_max", "temp1_crit"] {
        fs::remove_file(machine.path().join(CORETEMP).join(file)).unwrap();
    }
    fs::remove_dir_all(machine.path().join("sys/class/thermal/thermal_zone1")).ok();
    write(&machine, &format!("{CORETEMP}/temp3_input"), "98000\n");
    write(&machine, &format!("{CORETEMP}/temp3_crit"), "100000\n");
    let mut stage = Stage::new(machine);
    let verdicts = stage.play(LONG);
    assert_eq!(celsius(&stage), Some(98.0));
    assert_eq!(level(&verdicts, Rule::CpuTemperature, ""), Some((Level::Critical, false)), "2 °C below its own limit");
}

#[test]
fn boards_call_the_zone_of_their_processor_many_names() {
    let zone = "sys/class/thermal/thermal_zone7";
    for (kind, brake, wanted) in [
        ("soc-thermal", None, Some(91.0)),
        ("bigcore0-thermal", None, Some(91.0)),
        ("cpu0-thermal", None, Some(91.0)),
        ("CPU-therm", None, Some(91.0)),
        ("zone-1", Some("cpufreq-cpu0"), Some(91.0)),
        ("zone-1", Some("thermal-cpufreq-1"), Some(91.0)),
        ("zone-1", Some("pwm-fan"), None),
        ("gpu-thermal", None, None),
        ("acpitz", Some("cpufreq-cpu0"), None),
    ] {
        let machine = copy("vm-nothing");
        write(&machine, &format!("{zone}/type"), &format!("{kind}\n"));
        write(&machine, &format!("{zone}/temp"), "91000\n");
        if let Some(brake) = brake {
            write(&machine, &format!("{zone}/cdev0/type"), &format!("{brake}\n"));
        }
        let mut stage = Stage::new(machine);
        stage.play(0);
        assert_eq!(celsius(&stage), wanted, "{kind} {brake:?}");
    }
}

#[test]
fn several_chips_below_one_device_keep_apart() {
    let machine = copy("intel-n100");
    let class = machine.path().join("sys/class/hwmon");
    for (number, name) in [(5, "mt7996_phy0_0"), (6, "mt7996_phy0_1"), (7, "twin"), (8, "twin")] {
        let folder = format!("sys/devices/pci0000:00/0000:00:1c.0/ieee80211/phy0/hwmon{number}");
        write(&machine, &format!("{folder}/name"), &format!("{name}\n"));
        write(&machine, &format!("{folder}/temp1_input"), &format!("{number}0000\n"));
        symlink(format!("../../../{folder}"), class.join(format!("hwmon{number}"))).unwrap();
    }
    let mut stage = Stage::new(machine);
    stage.play(0);
    let read = |chip: &str| stage.reading().get("node_hwmon_temp_celsius", &[("chip", chip), ("sensor", "temp1")]);
    for (chip, celsius) in [
        ("ieee80211_phy0_mt7996_phy0_0", 50.0),
        ("ieee80211_phy0_mt7996_phy0_1", 60.0),
        ("ieee80211_phy0_twin_hwmon7", 70.0),
        ("ieee80211_phy0_twin_hwmon8", 80.0),
        ("platform_coretemp_0", 52.0),
    ] {
        assert_eq!(read(chip), Some(celsius), "{chip}");
    }
}

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

/// What is judged of redundancy: subject, level, required.
fn redundancy(verdicts: &[Verdict]) -> Vec<(String, Level, bool)> {
    let found = verdicts.iter().filter(|verdict| verdict.rule == Rule::Redundancy);
    found.map(|verdict| (verdict.subject.clone(), verdict.level, verdict.required)).collect()
}

#[test]
fn a_raid_is_degraded_while_a_member_is_missing_or_rebuilt_and_critical_when_it_is_broken() {
    use Level::{Critical, Degraded};
    let cases: [(&str, &[(&str, &str)], Option<Level>); 11] = [
        ("both", &[("level", "raid1"), ("degraded", "0")], None),
        ("one of two", &[("level", "raid1"), ("degraded", "1")], Some(Degraded)),
        ("a rebuild", &[("level", "raid1"), ("degraded", "1"), ("sync_action", "recover")], Some(Degraded)),
        ("a resync", &[("level", "raid1"), ("degraded", "0"), ("sync_action", "resync")], Some(Degraded)),
        ("a reshape", &[("level", "raid5"), ("degraded", "0"), ("sync_action", "reshape")], Some(Degraded)),
        ("a monthly check", &[("level", "raid1"), ("degraded", "0"), ("sync_action", "check")], None),
        ("two of a raid5", &[("level", "raid5"), ("degraded", "2")], Some(Critical)),
        ("two of a raid6", &[("level", "raid6"), ("degraded", "2")], Some(Degraded)),
        ("a broken raid0", &[("level", "raid0"), ("array_state", "broken")], Some(Critical)),
        ("a raid0", &[("level", "raid0"), ("array_state", "clean")], None),
        (
            "a container",
            &[("level", "container"), ("array_state", "inactive"), ("metadata_version", "external:imsm")],
            None,
        ),
    ];
    for (what, files, wanted) in cases {
        let machine = copy("intel-n100");
        write(&machine, "proc/1/mountinfo", &mounted("9:0", "ext4", "/dev/md0"));
        write(&machine, "sys/block/md0/md/raid_disks", "4\n");
        files
            .iter()
            .for_each(|(file, text)| write(&machine, &format!("sys/block/md0/md/{file}"), &format!("{text}\n")));
        let verdicts = Stage::new(machine).play(LONG);
        let wanted: Vec<_> = wanted.map(|level| ("md md0".to_owned(), level, true)).into_iter().collect();
        assert_eq!(redundancy(&verdicts), wanted, "{what}");
    }
}

#[test]
fn a_raid_that_carries_neither_root_nor_data_is_judged_and_not_required() {
    let files = [("level", "raid1\n"), ("raid_disks", "2\n"), ("degraded", "1\n")];
    let files = files.map(|(file, text)| (format!("sys/block/md0/md/{file}"), text));
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), *text)).collect();
    let (_, verdicts) = judged("intel-n100", &files);
    assert_eq!(redundancy(&verdicts), [("md md0".to_owned(), Level::Degraded, false)]);
}

/// Both interfaces of a small PC in a bond that has the default route.
fn bonded(machine: &TempDir) {
    write(machine, ".errors", "");
    write(machine, "sys/class/net/bond0/operstate", "up\n");
    write(machine, "sys/class/net/bond0/carrier", "1\n");
    write(machine, "sys/class/net/bond0/bonding/slaves", "enp1s0 enp2s0\n");
    for slave in ["enp1s0", "enp2s0"] {
        write(machine, &format!("sys/class/net/{slave}/operstate"), "up\n");
        write(machine, &format!("sys/class/net/{slave}/carrier"), "1\n");
        write(machine, &format!("sys/class/net/{slave}/bonding_slave/mii_status"), "up\n");
    }
    let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                 bond0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
    write(machine, "proc/net/route", route);
}

#[test]
fn a_bond_lacks_a_slave_that_is_down_without_a_link_or_gone() {
    let lost = [("bond bond0".to_owned(), Level::Degraded, true)];
    for (file, text) in [
        ("sys/class/net/enp2s0/bonding_slave/mii_status", "down\n"),
        ("sys/class/net/enp2s0/carrier", "0\n"),
        ("sys/class/net/enp2s0/operstate", "down\n"),
        ("sys/class/net/bond0/bonding/slaves", "enp1s0\n"),
    ] {
        let machine = copy("intel-n100");
        bonded(&machine);
        let mut stage = Stage::new(machine);
        assert_eq!(redundancy(&stage.play(LONG)), [], "both are well");
        write(&stage.machine, file, text);
        assert_eq!(redundancy(&stage.play(LONG)), lost, "{file}");
        bonded(&stage.machine);
        assert_eq!(redundancy(&stage.play(LONG)), [], "it is back: {file}");
    }
    let reading = {
        let machine = copy("intel-n100");
        bonded(&machine);
        write(&machine, "sys/class/net/enp2s0/carrier", "0\n");
        let mut stage = Stage::new(machine);
        stage.play(0);
        stage.reading().clone()
    };
    assert_eq!(reading.get("node_bonding_slaves", &[("master", "bond0")]), Some(2.0));
    assert_eq!(reading.get("node_bonding_active", &[("master", "bond0")]), Some(1.0));
}

#[test]
fn a_team_lacks_a_port_without_a_link() {
    for (typed, wanted) in [("", 1), ("DEVTYPE=vrf\n", 0)] {
        let machine = copy("intel-n100");
        write(&machine, "sys/class/net/team0/operstate", "up\n");
        write(&machine, "sys/class/net/team0/uevent", &format!("{typed}INTERFACE=team0\n"));
        for (port, carrier) in [("enp1s0", "1\n"), ("enp2s0", "0\n")] {
            write(&machine, &format!("sys/class/net/team0/lower_{port}/ifindex"), "2\n");
            write(&machine, &format!("sys/class/net/{port}/carrier"), carrier);
        }
        let found = redundancy(&Stage::new(machine).play(LONG));
        let lost = [("team team0".to_owned(), Level::Degraded, false)];
        assert_eq!(found, lost[..wanted], "{typed:?}");
    }
}

#[test]
fn a_pool_is_degraded_or_critical_by_the_state_that_zfs_says() {
    use Level::{Critical, Degraded, Unknown};
    for (state, wanted) in [
        ("ONLINE", None),
        ("DEGRADED", Some(Degraded)),
        ("FAULTED", Some(Critical)),
        ("UNAVAIL", Some(Critical)),
        ("SUSPENDED", Some(Critical)),
        ("SOMETHING", Some(Unknown)),
    ] {
        for (dataset, required) in [("rpool/ROOT/debian", true), ("tank/data", false)] {
            let root = mounted("0:25", "zfs", dataset);
            let said = format!("{state}\n");
            let files = [("proc/1/mountinfo", root.as_str()), ("proc/spl/kstat/zfs/rpool/state", said.as_str())];
            let (_, verdicts) = judged("intel-n100", &files);
            let wanted: Vec<_> = wanted.map(|level| ("zpool rpool".to_owned(), level, required)).into_iter().collect();
            assert_eq!(redundancy(&verdicts), wanted, "{state} {dataset}");
        }
    }
}

#[test]
fn btrfs_tells_errors_missing_devices_and_rebuilds() {
    let clean = "write_errs 0\nread_errs 0\nflush_errs 0\ncorruption_errs 0\ngeneration_errs 0\n";
    let corrupt = "write_errs 0\nread_errs 0\nflush_errs 0\ncorruption_errs 33\ngeneration_errs 0\n";
    let cases: [(&str, &[(&str, &str)], Option<&str>); 5] = [
        ("well", &[("devinfo/1/error_stats", clean), ("devinfo/1/missing", "0\n")], None),
        ("errors", &[("devinfo/1/error_stats", corrupt)], Some("btrfs / device 1")),
        ("a device", &[("devinfo/1/error_stats", clean), ("devinfo/2/missing", "1\n")], Some("btrfs /")),
        ("replaced", &[("devinfo/1/error_stats", clean), ("devinfo/2/replace_target", "1\n")], Some("btrfs /")),
        ("a balance", &[("devinfo/1/missing", "0\n"), ("exclusive_operation", "balance\n")], None),
    ];
    for (what, files, wanted) in cases {
        for devices in [false, true] {
            let machine = copy("intel-n100");
            write(&machine, "proc/1/mountinfo", &mounted("0:30", "btrfs", "/dev/nvme0n1p2"));
            for (file, text) in files {
                write(&machine, &format!("sys/fs/btrfs/8f2c-01/{file}"), text);
            }
            if devices {
                write(&machine, "sys/fs/btrfs/8f2c-01/devices/nvme0n1p2/size", "1\n");
            }
            let found = redundancy(&Stage::new(machine).play(LONG));
            let wanted: Vec<_> =
                wanted.map(|subject| (subject.to_owned(), Level::Degraded, true)).into_iter().collect();
            assert_eq!(found, wanted, "{what}, devices {devices}");
        }
    }
}

/// What smartctl says of `sda`.
fn said(machine: &TempDir, code: u8, json: &str) {
    write(machine, ".calls/smartctl/sda", &format!("exit {code}\n{json}\n"));
}

#[test]
fn a_sas_disk_is_judged_by_what_it_counts() {
    let disk = |defects: u32, errors: u32, celsius: u32| {
        format!(
            r#"{{"device":{{"type":"scsi","protocol":"SCSI"}},"model_name":"ST8000NM0075","serial_number":"ZA1",
            "smart_status":{{"passed":true}},"temperature":{{"current":{celsius},"drive_trip":60}},
            "power_on_time":{{"hours":20000}},"scsi_grown_defect_list":{defects},
            "scsi_error_counter_log":{{"read":{{"total_uncorrected_errors":{errors}}}}}}}"#
        )
    };
    let machine = copy("intel-n100");
    said(&machine, 0, &disk(40, 0, 35));
    let mut stage = Stage::new(machine);
    assert_eq!(of_disks(stage.play(LONG)), [], "defects of before are history");
    let hours = stage.reading().get("smartctl_device_power_on_seconds", &[("device", "sda")]);
    assert_eq!(hours, Some(20_000.0 * 3600.0));
    for (json, rule, wanted) in [
        (disk(41, 0, 35), Rule::DiskSmart, Level::Degraded),
        (disk(41, 1, 35), Rule::DiskWear, Level::Degraded),
        (disk(41, 12, 35), Rule::DiskSmart, Level::Critical),
        (disk(41, 12, 57), Rule::DiskTemperature, Level::Degraded),
        (disk(41, 12, 61), Rule::DiskTemperature, Level::Critical),
    ] {
        said(&stage.machine, 0, &json);
        let verdicts = stage.play(1200);
        assert_eq!(level(&verdicts, rule, "sda").map(|found| found.0), Some(wanted), "{rule}: {json}");
    }
}

#[test]
fn an_nvme_disk_behind_a_bridge_is_judged_like_any_other() {
    let machine = copy("intel-n100");
    said(
        &machine,
        0,
        r#"{"device":{"type":"sntasmedia","protocol":"NVMe"},"model_name":"T7","serial_number":"S1",
        "smart_status":{"passed":true},"nvme_smart_health_information_log":{"critical_warning":8,"temperature":86,
        "available_spare":9,"available_spare_threshold":10,"percentage_used":104,"media_errors":812}}"#,
    );
    write(&machine, "proc/1/mountinfo", &mounted("8:1", "ext4", "/dev/sda1"));
    let verdicts = Stage::new(machine).play(LONG);
    for (rule, required) in [(Rule::NvmeWarning, true), (Rule::NvmeSpare, true), (Rule::NvmeWear, false)] {
        assert_eq!(level(&verdicts, rule, "sda"), Some((Level::Critical, required)), "{rule}");
    }
    assert_eq!(level(&verdicts, Rule::NvmeTemperature, "sda"), Some((Level::Critical, false)));
    assert_eq!(level(&verdicts, Rule::NvmeMediaErrors, "sda"), None, "errors of before are history");
}

const FAILING: &str = r#"{"serial_number":"A","smart_status":{"passed":false}}"#;
const WELL: &str = r#"{"serial_number":"A","smart_status":{"passed":true}}"#;

#[test]
fn a_disk_that_was_failing_is_failing_until_it_is_seen_well_or_gone_for_a_day() {
    let critical = Some((Level::Critical, false));
    let machine = copy("intel-n100");
    said(&machine, 8, FAILING);
    let mut stage = Stage::new(machine);
    assert_eq!(level(&stage.play(LONG), Rule::DiskSmart, "sda"), critical);
    said(&stage.machine, 2, "{}");
    assert_eq!(level(&stage.play(40_000), Rule::DiskSmart, "sda"), critical, "asleep");
    said(&stage.machine, 0, WELL);
    assert_eq!(level(&stage.play(LONG), Rule::DiskSmart, "sda"), None, "seen well");
    said(&stage.machine, 8, FAILING);
    stage.play(LONG);
    said(&stage.machine, 0, &WELL.replace("\"A\"", "\"B\""));
    assert_eq!(level(&stage.play(LONG), Rule::DiskSmart, "sda"), None, "another disk");
    said(&stage.machine, 8, FAILING);
    stage.play(LONG);
    fs::remove_dir_all(stage.machine.path().join("sys/block/sda")).unwrap();
    let stats = stage.machine.path().join("proc/diskstats");
    let without = fs::read_to_string(&stats).unwrap();
    fs::write(&stats, without.lines().filter(|line| !line.contains("sda")).collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(level(&stage.play(80_000), Rule::DiskSmart, "sda"), critical, "gone");
    assert_eq!(level(&stage.play(8_000), Rule::DiskSmart, "sda"), None, "taken out on purpose");
}

#[test]
fn a_disk_that_vanishes_is_critical_where_it_carried_something_and_noted_elsewhere() {
    let data = "44 25 8:1 / /srv/data rw - xfs /dev/sda1 rw\n";
    let stick = "44 25 8:1 / /media/stick rw - vfat /dev/sda1 rw\n";
    let swap = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 8000 0 -2\n";
    for (what, mounts, swaps, removable, wanted) in [
        ("data", data, "", "0\n", Some((Level::Critical, true))),
        ("swap", "", swap, "0\n", Some((Level::Critical, false))),
        ("a stick", data, "", "1\n", None),
        ("a stick by its place", stick, "", "0\n", None),
        ("nothing", "", "", "0\n", None),
    ] {
        let machine = copy("intel-n100");
        let root = mounted("259:2", "ext4", "/dev/nvme0n1p2");
        write(&machine, "proc/1/mountinfo", &format!("{root}{mounts}"));
        write(&machine, "proc/swaps", swaps);
        write(&machine, "sys/block/sda/removable", removable);
        let mut stage = Stage::new(machine);
        assert_eq!(of_disks(stage.play(LONG)), [], "{what} is there");
        let folder = stage.machine.path().join("sys/block/sda");
        fs::rename(&folder, stage.machine.path().join("sda")).unwrap();
        let verdicts = stage.play(LONG);
        assert_eq!(level(&verdicts, Rule::DiskGone, "sda"), wanted, "{what}");
        let all = stage.verdicts();
        let told = all.iter().any(|verdict| verdict.rule == Rule::DiskGone && verdict.subject == "sda");
        assert!(told, "{what} is noted at least");
        fs::rename(stage.machine.path().join("sda"), &folder).unwrap();
        assert_eq!(level(&stage.play(LONG), Rule::DiskGone, "sda"), None, "{what} is back");
        fs::remove_dir_all(&folder).unwrap();
        stage.play(86_500);
        let all = stage.verdicts();
        assert!(all.iter().all(|verdict| verdict.subject != "sda" || verdict.rule != Rule::DiskGone), "{what}: a day");
    }
}

#[test]
fn a_cable_that_carries_the_ipv6_default_route_is_missed() {
    let machine = copy("intel-n100");
    write(&machine, "proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n");
    let zero = "0".repeat(32);
    let line = |metric: &str, flags: &str, device: &str| {
        format!("{zero} 00 {zero} 00 {zero} {metric} 00000001 00000000 {flags} {device:>8}\n")
    };
    let table = line("00000400", "00450003", "enp1s0") + &line("ffffffff", "00200200", "lo");
    write(&machine, "proc/net/ipv6_route", &table);
    let mut stage = Stage::new(machine);
    stage.play(LONG);
    assert_eq!(stage.reading().label("hostler_network_default_route", "device"), Some("enp1s0"));
    write(&stage.machine, "sys/class/net/enp1s0/carrier", "0\n");
    write(&stage.machine, "sys/class/net/enp1s0/operstate", "down\n");
    write(&stage.machine, "proc/net/ipv6_route", &line("ffffffff", "00200200", "lo"));
    assert_eq!(level(&stage.play(LONG), Rule::Network, "enp1s0"), Some((Level::Critical, false)));
}
