//! Disks that are not ATA, and what cannot be seen any more.

use super::*;

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
fn an_nvme_disk_that_warned_is_warned_of_while_its_log_cannot_be_read() {
    let machine = copy("intel-n100");
    let page = machine.path().join(".calls/nvme/nvme0.smart");
    let well = fs::read(&page).unwrap();
    let mut warned = well.clone();
    // Its data is not reliable any more.
    warned[0] = 4;
    fs::write(&page, &warned).unwrap();
    let mut stage = Stage::new(machine);
    let critical = Some((Level::Critical, true));
    assert_eq!(level(&stage.play(LONG), Rule::NvmeWarning, "nvme0"), critical);
    fs::write(&page, "!EIO").unwrap();
    assert_eq!(level(&stage.play(LONG), Rule::NvmeWarning, "nvme0"), critical, "it does not answer");
    fs::write(&page, &well).unwrap();
    assert_eq!(level(&stage.play(LONG), Rule::NvmeWarning, "nvme0"), None, "it takes it back");
}

#[test]
fn a_failing_disk_that_takes_another_letter_and_sleeps_is_failing_under_that_one() {
    let critical = Some((Level::Critical, false));
    let machine = copy("intel-n100");
    write(&machine, "sys/block/sda/device/wwid", "naa.50014ee2b1a2c3d4\n");
    said(&machine, 8, FAILING);
    let mut stage = Stage::new(machine);
    // One answer of smartctl, and less than the quarter hour until the next one.
    assert_eq!(level(&stage.play(300), Rule::DiskSmart, "sda"), critical);
    let disks = stage.machine.path().join("sys/block");
    fs::rename(disks.join("sda"), disks.join("sdb")).unwrap();
    let stats = fs::read_to_string(stage.machine.path().join("proc/diskstats")).unwrap();
    write(&stage.machine, "proc/diskstats", &stats.replace("   8       0 sda ", "   8      16 sdb "));
    write(&stage.machine, ".calls/smartctl/sdb", "exit 2\n{}\n");
    // Until smartctl is asked again its answer stands under the letter that the disk had.
    for (seconds, letter) in [(60, "sda"), (1200, "sdb"), (40_000, "sdb")] {
        let verdicts = stage.play(seconds);
        let failing = verdicts.iter().filter(|verdict| verdict.rule == Rule::DiskSmart);
        let failing: Vec<(&str, Level)> = failing.map(|verdict| (&*verdict.subject, verdict.level)).collect();
        assert_eq!(failing, [(letter, Level::Critical)], "{seconds}");
    }
}
