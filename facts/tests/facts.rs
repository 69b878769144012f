//! Whole recorded machines through the front door: what the agent says about each, and what it does when one of them
//! misbehaves. `HOSTLER_BLESS=1 cargo test -p hostler-facts --test facts` writes the golden files anew.

#[path = "recorded/machine.rs"]
mod machine;

use hostler_facts::{Facts, Now, State};
use hostler_fixtures::{
    golden,
    recorded::{self, UNIX_MS, copy, names},
};
use hostler_plan::fact::Reading;
use hostler_plan::health::{HealthEvaluator, Level, Thresholds, worst};
use machine::{at, facts, failed, read, write};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One series a line, so that a difference reads well. Durations differ from run to run.
fn golden_text(facts: &Facts) -> String {
    let json = serde_json::to_value(facts.reading()).expect("JSON");
    let lines: Vec<String> = json["series"]
        .as_array()
        .expect("a list of series")
        .iter()
        .filter(|series| series["name"] != "node_scrape_collector_duration_seconds")
        .map(|series| format!("    {series}"))
        .collect();
    let failures: Vec<String> = facts
        .states()
        .filter_map(|(name, state)| match state {
            State::Failed(failure) => Some(format!("    {}", serde_json::json!(format!("{name}: {failure}")))),
            State::Worked | State::Absent => None,
        })
        .collect();
    format!(
        "{{\n  \"at_ms\": {},\n  \"series\": [\n{}\n  ],\n  \"failures\": [\n{}\n  ]\n}}\n",
        json["at_ms"],
        lines.join(",\n"),
        failures.join(",\n")
    )
}

/// Where the golden files are.
fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn every_recorded_machine_gives_its_golden_facts() {
    let names = names();
    assert!(names.len() >= 9, "expected at least nine machines, found {}", names.len());
    let mut wrong = Vec::new();
    for name in names {
        let mut facts = facts(&recorded::machine(&name));
        facts.tick(at(0));
        facts.wait_for_helpers(Duration::from_secs(20));
        assert!(!facts.pending(), "{name:?} still waits for answers");
        assert!(facts.reading().len() <= 400, "{name:?} has {} series", facts.reading().len());
        let file = goldens().join(&name).with_extension("json");
        wrong.extend(golden::difference(&file, &golden_text(&facts)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_recorded_machine_gives_its_golden_verdicts() {
    let mut found = String::new();
    for name in names() {
        let mut facts = facts(&recorded::machine(&name));
        let mut health = HealthEvaluator::new(Thresholds::default());
        let mut verdicts = Vec::new();
        // Sixteen minutes, so that the longest hold of a state that does not change is over.
        for seconds in (0..=960).step_by(10) {
            facts.tick(at(seconds));
            let reading = facts.wait_for_helpers(Duration::from_secs(20));
            verdicts = health.observe(UNIX_MS + seconds * 1000, reading).to_vec();
        }
        found.push_str(&format!("{name}: {:?}\n", worst(&verdicts)));
        for verdict in verdicts.iter().filter(|verdict| verdict.level != Level::Ok) {
            let required = if verdict.required { "required" } else { "optional" };
            let (minute, sentence) = ((verdict.since_ms - UNIX_MS) / 60_000, verdict.sentence());
            found.push_str(&format!("  {:?} ({required}, since minute {minute}) {sentence}\n", verdict.level));
        }
    }
    golden::check(&goldens().join("verdicts.txt"), &found);
}

#[test]
fn what_a_machine_does_not_have_is_missing_and_not_zero() {
    let vm = read("vm-nothing");
    for name in [
        "hostler_node_temperature_celsius",
        "node_edac_uncorrectable_errors_total",
        "nvme_critical_warning",
        "hostler_rpi_throttled_state",
        "hostler_rpi_under_voltage",
        "node_pressure_memory_waiting_seconds_total",
        "hostler_pressure_ratio",
        "node_network_speed_bytes",
        "node_reboot_required",
        "apt_upgrades_pending",
        "node_systemd_units",
        "hostler_certificate_not_after_timestamp_seconds",
    ] {
        assert_eq!(vm.all(name).count(), 0, "{name}");
    }
    assert!(vm.get("node_load1", &[]).is_some());
    assert_eq!(vm.get("node_scrape_collector_success", &[("collector", "nvme_smart")]), None, "neither good nor bad");
}

#[test]
fn the_deprecated_throttle_file_is_never_read() {
    let machine = copy("pi4-no-psi");
    // Reading it prints a stack dump and taints the kernel; here it would say that all is well.
    write(&machine, "sys/devices/platform/soc/soc:firmware/get_throttled", "0\n");
    let mut facts = facts(machine.path());
    facts.tick(at(0));
    let reading = facts.wait_for_helpers(Duration::from_secs(20));
    assert_eq!(reading.all("hostler_rpi_throttled_state").count(), 0, "the firmware refused, so it is not known");
    assert!(failed(&facts).contains(&"rpi"));
}

#[test]
fn one_broken_file_takes_nothing_else_along() {
    let machine = copy("intel-n100");
    let before = read("intel-n100").len();
    write(
        &machine,
        ".errors",
        "sys/class/hwmon/hwmon2/temp1_input EIO\nsys/class/hwmon/hwmon2/temp2_input EAGAIN\n\
         sys/class/thermal/thermal_zone1/temp ENODATA\nproc/pressure/io EIO\n",
    );
    write(&machine, "proc/loadavg", "");
    write(&machine, "sys/class/hwmon/hwmon2/temp3_input", "-9999999999999999999999\n");
    let mut facts = facts(machine.path());
    facts.tick(at(0));
    let reading = facts.wait_for_helpers(Duration::from_secs(20)).clone();
    let sensor =
        |sensor| reading.get("node_hwmon_temp_celsius", &[("chip", "platform_coretemp_0"), ("sensor", sensor)]);
    assert_eq!([sensor("temp1"), sensor("temp2"), sensor("temp3")], [None, None, None]);
    let odd = [("chip", "platform_coretemp_0"), ("sensor", "temp3")];
    assert_eq!(reading.get("hostler_sensor_implausible", &odd), Some(1.0));
    assert_eq!(reading.get("hostler_node_temperature_celsius", &[("component", "cpu")]), None, "not a default");
    assert_eq!(reading.get("node_thermal_zone_temp", &[("zone", "0"), ("type", "acpitz")]), Some(27.8));
    assert!(reading.get("node_pressure_memory_waiting_seconds_total", &[]).is_some());
    assert!(reading.len() > before - 30, "{} of {before} series are left", reading.len());
    assert_eq!(failed(&facts).iter().filter(|name| **name == "loadavg").count(), 1);
    assert!(failed(&facts).contains(&"thermal_zone") && failed(&facts).contains(&"pressure"));
}

#[test]
fn a_file_that_vanishes_between_listing_and_reading_is_an_absence() {
    let machine = copy("intel-n100");
    for dangling in ["sys/class/net/usb0", "sys/class/hwmon/hwmon9", "sys/class/nvme/nvme7", "sys/fs/ext4/gone"] {
        symlink("nowhere", machine.path().join(dangling)).unwrap();
    }
    let mut facts = facts(machine.path());
    facts.tick(at(0));
    let reading = facts.wait_for_helpers(Duration::from_secs(20)).clone();
    assert!(reading.get("nvme_critical_warning", &[("device", "nvme0")]).is_some());
    assert_eq!(reading.get("hostler_nvme_live", &[("device", "nvme7")]), None);
    assert!(!failed(&facts).contains(&"hwmon") && !failed(&facts).contains(&"netclass"), "{:?}", failed(&facts));
}

#[test]
fn a_hung_file_system_is_reported_and_the_others_go_on() {
    let machine = copy("pi5-nvme");
    write(&machine, ".calls/statvfs", "/ !hang\n/boot/firmware 4096 130554 114203 114203 0 0\n");
    let mut facts = facts(machine.path());
    let boot = [("device", "/dev/nvme0n1p1"), ("fstype", "vfat"), ("mountpoint", "/boot/firmware")];
    let root = [("device", "/dev/nvme0n1p2"), ("fstype", "ext4"), ("mountpoint", "/")];
    let first = facts.tick(at(0));
    assert!(first.get("node_load1", &[]).is_some(), "the round is not held up");
    assert_eq!(first.get("node_filesystem_device_error", &root), None, "not late yet");
    // Past the limit of 5 s: the hung one is reported, the next one is asked by another thread.
    facts.tick(at(10));
    let second = facts.wait_for_helpers(Duration::from_secs(10)).clone();
    assert_eq!(second.get("node_filesystem_device_error", &root), Some(1.0));
    assert_eq!(second.get("node_filesystem_size_bytes", &root), None, "missing, not zero");
    assert_eq!(second.get("node_filesystem_size_bytes", &boot), Some(534749184.0));
    assert_eq!(second.get("node_scrape_collector_success", &[("collector", "filesystem")]), Some(0.0));
    // Hours later there is still one stuck thread and not one a minute.
    for minute in 1..200 {
        facts.tick(at(10 + minute * 60));
    }
    let third = facts.wait_for_helpers(Duration::from_secs(10));
    assert_eq!(third.get("node_filesystem_size_bytes", &boot), Some(534749184.0));
    // Other tests of this file have helpers too, but not one for each of 200 minutes.
    assert!(helpers() <= 64, "{} helper threads", helpers());
}

/// Helper threads of this process that are alive; other tests of this file may have some.
fn helpers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("this process has threads");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("facts-helper"))
        .count()
}

#[test]
fn a_hung_nvme_is_reported_and_the_other_disk_goes_on() {
    let machine = copy("amd-r1505g");
    write(&machine, ".calls/nvme/nvme0.smart", "!hang");
    fs::copy(
        recorded::machine("intel-n100").join(".calls/nvme/nvme0.smart"),
        machine.path().join(".calls/nvme/nvme1.smart"),
    )
    .unwrap();
    let mut facts = facts(machine.path());
    let started = Instant::now();
    facts.tick(at(0));
    assert!(started.elapsed() < Duration::from_secs(5), "a hung disk does not hold up the round");
    facts.tick(at(10));
    let reading = facts.wait_for_helpers(Duration::from_secs(10));
    assert_eq!(reading.get("nvme_temperature_celsius", &[("device", "nvme1")]), Some(35.0));
    assert_eq!(reading.get("nvme_temperature_celsius", &[("device", "nvme0")]), None);
    assert_eq!(reading.get("node_scrape_collector_success", &[("collector", "nvme_smart")]), Some(0.0));
}

#[test]
fn chips_that_change_their_numbers_between_two_reads_keep_their_names() {
    let machine = copy("pi5-nvme");
    let mut facts = facts(machine.path());
    let before = facts.tick(at(0)).clone();
    let class = machine.path().join("sys/class/hwmon");
    let target = |number: &str| fs::read_link(class.join(number)).unwrap();
    let (zero, two) = (target("hwmon0"), target("hwmon2"));
    for (number, target) in [("hwmon0", two), ("hwmon2", zero)] {
        fs::remove_file(class.join(number)).unwrap();
        symlink(target, class.join(number)).unwrap();
    }
    let after = facts.tick(at(10)).clone();
    let temperatures = |reading: &Reading| {
        reading
            .all("node_hwmon_temp_celsius")
            .filter(|(labels, _)| !labels.get("chip").unwrap().starts_with("nvme"))
            .map(|(labels, celsius)| (format!("{labels:?}"), celsius))
            .collect::<Vec<_>>()
    };
    assert_eq!(temperatures(&before).len(), 2);
    assert_eq!(temperatures(&before), temperatures(&after));
}

#[test]
fn a_swapped_disk_has_its_own_serial_number_and_counters() {
    let machine = copy("intel-n100");
    let mut facts = facts(machine.path());
    facts.tick(at(0));
    facts.wait_for_helpers(Duration::from_secs(20));
    let folder = "sys/devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0";
    write(&machine, &format!("{folder}/serial"), "OTHER0815           \n");
    fs::copy(
        recorded::machine("pi5-nvme").join(".calls/nvme/nvme0.smart"),
        machine.path().join(".calls/nvme/nvme0.smart"),
    )
    .unwrap();
    facts.tick(at(70));
    let reading = facts.wait_for_helpers(Duration::from_secs(20));
    assert_eq!(reading.label("node_nvme_info", "serial"), Some("OTHER0815"));
    assert_eq!(reading.all("node_nvme_info").count(), 1, "the old disk is gone");
    assert_eq!(reading.get("nvme_power_on_hours_total", &[("device", "nvme0")]), Some(2.0));
}

#[test]
fn a_disk_that_dies_takes_its_old_values_with_it() {
    let machine = copy("intel-n100");
    let mut facts = facts(machine.path());
    facts.tick(at(0));
    facts.wait_for_helpers(Duration::from_secs(20));
    write(&machine, "sys/devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/state", "dead\n");
    facts.tick(at(70));
    let reading = facts.wait_for_helpers(Duration::from_secs(20));
    assert_eq!(reading.get("hostler_nvme_live", &[("device", "nvme0")]), Some(0.0));
    assert_eq!(reading.get("nvme_critical_warning", &[("device", "nvme0")]), None, "its last good word is no news");
}

#[test]
fn a_processor_that_goes_off_line_loses_its_series() {
    let machine = copy("vm-nothing");
    write(&machine, "proc/stat", "cpu  1 2 3 4\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1 2 3 4 5 6 7 8 9 10\nbtime 1\n");
    let mut facts = facts(machine.path());
    assert_eq!(facts.tick(at(0)).all("node_cpu_seconds_total").count(), 16);
    write(&machine, "proc/stat", "cpu  1 2 3 4\ncpu0 1 2 3 4 5 6 7 8 9 10\nbtime 1\n");
    assert_eq!(facts.tick(at(10)).all("node_cpu_seconds_total").count(), 8);
}

#[test]
fn the_boot_id_is_that_of_init_where_a_container_has_its_own() {
    let machine = copy("vm-nothing");
    let shown = || {
        let mut facts = facts(machine.path());
        let reading = facts.tick(at(0));
        let (labels, _) = reading.all("hostler_node_info").next().expect("the node");
        labels.get("boot_id").map(str::to_owned)
    };
    write(&machine, "proc/sys/kernel/random/boot_id", "6dc7e1bb-45a9-4b4a-9d0b-7b2b1e0f5a11\n");
    assert_eq!(shown().as_deref(), Some("6dc7e1bb-45a9-4b4a-9d0b-7b2b1e0f5a11"));
    write(&machine, "proc/1/root/proc/sys/kernel/random/boot_id", "a8b7c1d2-45a9-4b4a-9d0b-7b2b1e0f5a12\n");
    assert_eq!(shown().as_deref(), Some("a8b7c1d2-45a9-4b4a-9d0b-7b2b1e0f5a12"));
}

#[test]
fn a_clock_that_steps_by_a_year_changes_no_cadence() {
    let machine = copy("pi5-nvme");
    let mut facts = facts(machine.path());
    facts.tick(at(0));
    write(&machine, "proc/sys/kernel/tainted", "512\n");
    write(&machine, "proc/loadavg", "9.00 8.00 7.00 1/1 1\n");
    let a_year = 366 * 86_400_000;
    for unix_ms in [UNIX_MS + a_year, UNIX_MS - a_year] {
        let reading = facts.tick(Now { elapsed: Duration::from_secs(10), unix_ms });
        assert_eq!(reading.at_ms(), unix_ms);
        assert_eq!(reading.get("node_load1", &[]), Some(9.0), "fast facts are read");
        assert_eq!(reading.get("hostler_kernel_tainted", &[]), Some(0.0), "those of a minute are not due yet");
    }
    assert_eq!(facts.tick(at(60)).get("hostler_kernel_tainted", &[]), Some(512.0));
}

#[test]
fn a_tree_of_a_hundred_thousand_files_is_no_flood() {
    let machine = copy("vm-nothing");
    let class = machine.path().join("sys/class/hwmon");
    fs::create_dir_all(&class).unwrap();
    let net = machine.path().join("sys/class/net");
    for number in 0..50_000 {
        fs::File::create(class.join(format!("hwmon{number}"))).unwrap();
        fs::File::create(net.join(format!("port{number}"))).unwrap();
    }
    let mut facts = facts(machine.path());
    let started = Instant::now();
    let reading = facts.tick(at(0));
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    assert!(reading.len() <= 1000);
    assert!(reading.get("node_load1", &[]).is_some());
}

#[test]
fn of_more_series_than_a_node_may_have_details_are_dropped_and_counted_and_nothing_that_decides() {
    let machine = copy("pi5-nvme");
    for number in 100..300 {
        let name = format!("chip{number}\n");
        for (file, text) in [("name", name.as_str()), ("temp1_input", "40000\n"), ("temp1_max", "90000\n")] {
            write(&machine, &format!("sys/class/hwmon/hwmon{number}/{file}"), text);
        }
    }
    let count = |name: &str, reading: &Reading| reading.all(name).count();
    let before = read("pi5-nvme");
    let mut facts = facts(machine.path());
    facts.tick(at(0));
    let reading = facts.wait_for_helpers(Duration::from_secs(20));
    let dropped: f64 = reading.all("hostler_series_dropped_total").map(|(_, count)| count).sum();
    assert!(dropped > 200.0, "{dropped}");
    assert!((400..410).contains(&reading.len()), "{}", reading.len());
    for name in before.names().filter(|name| !name.starts_with("node_hwmon_")) {
        let detail = ["node_cpu_", "node_cooling_", "node_disk_", "nvme_", "hostler_nvme_"];
        let may_go = detail.iter().any(|begin| name.starts_with(begin)) || name == "node_thermal_zone_temp";
        assert!(may_go || count(name, reading) == count(name, &before), "{name}");
    }
    let sensors = count("node_hwmon_temp_celsius", reading);
    assert!(sensors > 10 && count("node_hwmon_temp_max_celsius", reading) == 0, "limits go before temperatures");
}

/// Names that are what they are because dashboards ask for them.
const KEPT_NAMES: [&str; 3] = ["node_memory_", "nvme_power_on_hours_total", "nvme_controller_busy_time_seconds"];

#[test]
fn promtool_finds_nothing_but_names_that_are_kept_for_dashboards() {
    let promtool = Path::new("/usr/bin/promtool");
    if !promtool.exists() {
        println!("skipped: {} is not installed (apt-get install prometheus)", promtool.display());
        return;
    }
    for name in names() {
        let text = read(&name).exposition(&[("instance", "a \"quoted\" name")]);
        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let news: Vec<&str> =
            said.lines().filter(|line| !KEPT_NAMES.iter().any(|kept| line.starts_with(kept))).collect();
        assert!(news.is_empty(), "{name:?}: {news:?}");
        assert!(
            said.contains("node_memory_MemTotal_bytes"),
            "promtool says what it always says, so it did read: {said}"
        );
    }
}

/// What a broken driver, a torn write or a bad sector may put into any file.
fn damage(bytes: &[u8], kind: u64, random: u64) -> Vec<u8> {
    let at = if bytes.is_empty() { 0 } else { random as usize % bytes.len() };
    match kind {
        0 => Vec::new(),
        1 => b"\n".to_vec(),
        2 => vec![0; 64],
        3 => vec![0xff; 600],
        4 => bytes[..at].to_vec(),
        5 => bytes.iter().map(|byte| if byte.is_ascii_digit() { b'9' } else { *byte }).collect(),
        6 => bytes.iter().map(|byte| if byte.is_ascii_digit() { b'-' } else { *byte }).collect(),
        7 => b"99999999999999999999999999999999999999999999999999\n".to_vec(),
        8 => b"-1\n".to_vec(),
        9 => [&bytes[at..], bytes].concat(),
        10 => b"\xc3\x28 \xe2\x82 = : ( ) [ ] \" \\ \n\n::==\n".to_vec(),
        _ => {
            let mut flipped = bytes.to_vec();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1 << (random >> 32 & 7);
            }
            flipped
        }
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() && entry.file_name() != ".errors" {
            found.push(entry.path());
        }
    }
}

#[test]
fn no_damage_to_any_files_makes_a_reader_panic_or_lie() {
    let names = names();
    // A fixed seed: xorshift, so that a failure can be repeated.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..60 {
        let name = names[random() as usize % names.len()].as_str();
        let machine = copy(name);
        let mut all = Vec::new();
        files(machine.path(), &mut all);
        all.sort();
        let mut facts = facts(machine.path());
        let mut health = HealthEvaluator::new(Thresholds::default());
        for step in 0..4 {
            // A tenth of all files at a time.
            for _ in 0..all.len() / 10 {
                let path = &all[random() as usize % all.len()];
                let bytes = fs::read(path).unwrap();
                fs::write(path, damage(&bytes, random() % 12, random())).unwrap();
            }
            facts.tick(at(step * 61));
            let reading = facts.wait_for_helpers(Duration::from_secs(20));
            assert!(reading.len() <= 1050, "round {round}, {name}: {} series", reading.len());
            for (series, labels, value) in reading.iter() {
                assert!(value.is_finite(), "round {round}, {name}: {series} {labels:?}");
                let celsius = series.ends_with("_celsius") && !series.contains("_crit") && !series.contains("_max");
                let believable = !celsius || series.contains("_warn_") || (-40.0..=150.0).contains(&value);
                assert!(believable, "round {round}, {name}: {series} {labels:?} {value}");
            }
            let json = serde_json::to_string(reading).unwrap();
            assert_eq!(
                serde_json::from_str::<Reading>(&json).unwrap().len(),
                reading.len(),
                "it passes the wire's checks"
            );
            for verdict in health.observe(UNIX_MS + step * 61_000, reading) {
                assert!(verdict.value.is_none_or(f64::is_finite), "round {round}, {name}: {}", verdict.sentence());
            }
        }
    }
}
