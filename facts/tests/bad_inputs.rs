//! What drivers, broken disks and torn files put before the readers. Each test says in its name which input it means;
//! what is bad is missing, and everything else is reported as before.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

#[path = "recorded/machine.rs"]
mod machine;

use hostler_fixtures::recorded::{self, copy};
use hostler_plan::fact::Reading;
use machine::{at, facts, failed, write};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

/// One reading of that folder.
fn read(folder: &Path) -> Reading {
    let mut facts = facts(folder);
    facts.tick(at(0));
    facts.wait_for_helpers(Duration::from_secs(20)).clone()
}

/// Series by their text, without what is said about the readers themselves.
fn values(reading: &Reading) -> BTreeMap<String, f64> {
    let text =
        |(name, labels, value): (&str, hostler_plan::fact::Labels<'_>, f64)| (format!("{name} {labels:?}"), value);
    reading.iter().map(|(name, labels, value)| text((name, labels, value))).filter(|(n, _)| !about(n)).collect()
}

fn about(series: &str) -> bool {
    series.starts_with("node_scrape_collector_") || series.starts_with("hostler_series_dropped")
}

/// Whatever follows from several files: the hottest of a component, the share of a window.
const DERIVED: [&str; 4] =
    ["hostler_node_temperature", "hostler_sensor_implausible", "node_filesystem_device_error", "node_reboot_required"];

#[test]
fn any_file_alone_may_fail_with_any_error_and_no_other_fact_changes() {
    let errors = ["EIO", "EAGAIN", "EINVAL", "ENODATA", "ENOENT", "EACCES"];
    let mut wrong = Vec::new();
    for name in ["intel-n100", "pi5-nvme"] {
        let machine = copy(name);
        let was = fs::read_to_string(machine.path().join(".errors")).unwrap_or_default();
        let before = values(&read(machine.path()));
        let mut files = Vec::new();
        list(machine.path(), "", &mut files);
        assert!(files.len() > 80, "{name}: {}", files.len());
        let mut missed = 0;
        for (number, file) in files.iter().enumerate() {
            write(&machine, ".errors", &format!("{was}{file} {}\n", errors[number % errors.len()]));
            let after = values(&read(machine.path()));
            missed += usize::from(after.len() < before.len());
            // The processor times of a PC are the most that one file holds.
            assert!(after.len() + 64 >= before.len(), "{name}: {file} took {} series", before.len() - after.len());
            for (series, value) in &after {
                // An identity without one of its texts is another series.
                let derived = DERIVED.iter().any(|name| series.starts_with(name)) || series.contains("_info Labels");
                let known = before.get(series).is_some_and(|known| known == value);
                if !known && !derived {
                    wrong.push(format!("{name}: {series} is {value} without {file}, was {:?}", before.get(series)));
                }
            }
        }
        assert!(missed * 3 > files.len(), "{name}: the errors reach the readers: {missed} of {}", files.len());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Files of `proc` and `sys` by the names that the readers use; `sys/class/net/eth0` is a link to its device.
fn list(root: &Path, folder: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let kind = entry.file_type().unwrap();
        let is_device = kind.is_symlink() && path.matches('/').count() == 3 && entry.path().is_dir();
        let goes_on = kind.is_dir() && !path.starts_with('.') && !path.starts_with("sys/devices/pci");
        if goes_on || is_device {
            list(root, &path, found);
        } else if kind.is_file() && (path.starts_with("proc/") || path.starts_with("sys/")) {
            found.push(path);
        }
    }
}

#[test]
fn a_number_without_newline_with_nul_with_padding_empty_negative_or_beyond_64_bits() {
    for (content, wanted) in [
        ("54500\n", Some(54.5)),
        ("54500", Some(54.5)),
        ("54500\0", Some(54.5)),
        ("  54500  \n", Some(54.5)),
        ("54500\n\n", Some(54.5)),
        ("-5000\n", Some(-5.0)),
        ("", None),
        ("\n", None),
        ("\0\0\0\0", None),
        ("-", None),
        ("N/A\n", None),
        ("<unsupported>\n", None),
        ("9223372036854775808\n", None),
        ("-9223372036854775809\n", None),
        ("340282366920938463463374607431768211456\n", None),
    ] {
        let machine = copy("intel-n100");
        write(&machine, "sys/class/hwmon/hwmon2/temp1_input", content);
        let reading = read(machine.path());
        let sensor =
            |sensor| reading.get("node_hwmon_temp_celsius", &[("chip", "platform_coretemp_0"), ("sensor", sensor)]);
        assert_eq!(sensor("temp1"), wanted, "{content:?}");
        assert!(sensor("temp2").is_some() && reading.get("node_load1", &[]).is_some(), "{content:?}");
    }
}

#[test]
fn a_text_with_nul_or_padding_or_nothing_is_a_text_without_them() {
    for (content, wanted) in
        [("AB12", "AB12"), ("AB12\0\0", "AB12"), ("AB12            \n", "AB12"), ("", ""), ("\0", "")]
    {
        let machine = copy("intel-n100");
        write(&machine, "sys/devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/serial", content);
        let reading = read(machine.path());
        assert_eq!(reading.label("node_nvme_info", "serial"), Some(wanted), "{content:?}");
    }
}

#[test]
fn counters_at_and_beyond_the_end_of_their_type_are_numbers_all_the_same() {
    let machine = copy("vm-nothing");
    write(&machine, "proc/vmstat", "oom_kill 18446744073709551615\npgfault 99999999999999999999999\npgmajfault -1\n");
    let reading = read(machine.path());
    assert_eq!(reading.get("node_vmstat_oom_kill", &[]), Some(18446744073709551615.0));
    assert_eq!(reading.get("node_vmstat_pgfault", &[]), Some(1e23));
    assert!(reading.iter().all(|(_, _, value)| value.is_finite()));
}

#[test]
fn a_dead_network_mount_is_never_asked() {
    let machine = copy("intel-n100");
    let path = machine.path().join("proc/1/mountinfo");
    let before = fs::read_to_string(&path).unwrap();
    let mounts = "90 1 0:60 / /mnt/nas rw,hard - nfs4 nas:/volume rw,hard\n\
                  91 1 0:61 / /mnt/old rw - nfs nas:/old rw\n\
                  92 1 0:62 / /mnt/smb rw - cifs //nas/x rw\n\
                  93 1 0:63 / /mnt/ssh rw - fuse.sshfs nas:/ rw\n";
    fs::write(&path, format!("{before}{mounts}")).unwrap();
    let calls = fs::read_to_string(machine.path().join(".calls/statvfs")).unwrap();
    let dead = ["/mnt/nas", "/mnt/old", "/mnt/smb", "/mnt/ssh"].map(|place| format!("{place} !hang\n")).concat();
    write(&machine, ".calls/statvfs", &format!("{dead}{calls}"));
    let mut facts = facts(machine.path());
    let began = Instant::now();
    facts.tick(at(0));
    let reading = facts.wait_for_helpers(Duration::from_secs(20)).clone();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(values(&reading), values(&read(&recorded::machine("intel-n100"))), "as if they were not there");
    // A minute later nothing is late.
    facts.tick(at(61));
    let untouched = failed(&super_facts("intel-n100"));
    assert_eq!(failed(&facts), untouched);
}

/// The same machine untouched, after one round.
fn super_facts(name: &str) -> hostler_facts::Facts {
    let mut facts = facts(&recorded::machine(name));
    facts.tick(at(0));
    facts.wait_for_helpers(Duration::from_secs(20));
    facts
}

#[test]
fn two_disks_of_one_model_and_one_serial_number_are_reported_apart() {
    let machine = copy("amd-r1505g");
    let class = machine.path().join("sys/class/nvme");
    for file in ["model", "serial", "firmware_rev"] {
        let one = fs::read(class.join("nvme0").join(file)).unwrap();
        fs::write(class.join("nvme1").join(file), one).unwrap();
    }
    for (disk, from) in [("nvme0", "intel-n100"), ("nvme1", "pi5-nvme")] {
        let page = recorded::machine(from).join(".calls/nvme/nvme0.smart");
        fs::copy(page, machine.path().join(format!(".calls/nvme/{disk}.smart"))).unwrap();
    }
    let reading = read(machine.path());
    assert_eq!(reading.all("node_nvme_info").count(), 2);
    let hours = |device| reading.get("nvme_power_on_hours_total", &[("device", device)]);
    assert_eq!((hours("nvme0"), hours("nvme1")), (Some(3149.0), Some(2.0)));
    assert_eq!(reading.all("hostler_nvme_live").count(), 2);
}

#[test]
fn a_chip_that_vanishes_and_comes_back_under_another_number_between_two_reads_keeps_its_series() {
    let machine = copy("intel-n100");
    let mut facts = facts(machine.path());
    let series = |reading: &Reading| {
        let all = reading.all("node_hwmon_temp_celsius");
        let of_chip = all.filter(|(labels, _)| labels.get("chip") == Some("platform_coretemp_0"));
        of_chip.map(|(labels, celsius)| (format!("{labels:?}"), celsius)).collect::<Vec<_>>()
    };
    let before = series(facts.tick(at(0)));
    assert!(!before.is_empty());
    let class = machine.path().join("sys/class/hwmon");
    let target = fs::read_link(class.join("hwmon2")).unwrap();
    fs::remove_file(class.join("hwmon2")).unwrap();
    assert_eq!(series(facts.tick(at(10))), [], "gone is missing, not the last value");
    symlink(target, class.join("hwmon9")).unwrap();
    // A new chip is looked for once a minute.
    assert_eq!(series(facts.tick(at(75))), before);
}
