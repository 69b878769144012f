use super::*;
use crate::fact::Series;

const NOW: u64 = 1_795_180_000_000;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

type Values = Vec<(&'static str, Vec<(&'static str, &'static str)>, f64)>;

/// A node on which everything required is well, up for a day.
fn well() -> Values {
    let root = vec![("device", "/dev/nvme0n1p2"), ("fstype", "ext4"), ("mountpoint", "/")];
    vec![
        ("hostler_node_info", vec![("boot_id", "one"), ("model", "")], 1.0),
        ("node_boot_time_seconds", vec![], NOW as f64 / 1000.0 - 86400.0),
        ("node_filesystem_readonly", root.clone(), 0.0),
        ("node_filesystem_size_bytes", root.clone(), 100e9),
        ("node_filesystem_avail_bytes", root, 50e9),
        ("node_memory_MemTotal_bytes", vec![], 8e9),
        ("node_memory_MemAvailable_bytes", vec![], 6e9),
        ("node_timex_sync_status", vec![], 1.0),
        ("node_timex_maxerror_seconds", vec![], 0.1),
        ("node_timex_offset_seconds", vec![], 0.0001),
        ("hostler_cgroup_controller_enabled", vec![("controller", "memory")], 1.0),
    ]
}

/// The same on a Raspberry Pi 5 with an NVMe disk.
fn pi() -> Values {
    let mut values = with(well(), "hostler_node_info", vec![("boot_id", "one"), ("model", "Raspberry Pi 5")], 1.0);
    values.extend([
        ("hostler_node_temperature_celsius", vec![("component", "cpu")], 55.0),
        ("hostler_rpi_throttled_state", vec![], 0.0),
        ("hostler_rpi_under_voltage", vec![], 0.0),
        ("hostler_rpi_pmic_volts", vec![("rail", "EXT5V")], 5.1),
    ]);
    for scope in ["now", "since_boot"] {
        for reason in ["under_voltage", "frequency_capped", "throttled", "soft_temperature_limit"] {
            values.push(("hostler_rpi_throttle", vec![("reason", reason), ("scope", scope)], 0.0));
        }
    }
    nvme(values)
}

fn nvme(mut values: Values) -> Values {
    let device = vec![("device", "nvme0")];
    for (name, value) in [
        ("hostler_nvme_live", 1.0),
        ("hostler_nvme_root", 1.0),
        ("nvme_critical_warning", 0.0),
        ("nvme_available_spare_ratio", 1.0),
        ("nvme_available_spare_threshold_ratio", 0.1),
        ("nvme_percentage_used_ratio", 0.02),
        ("nvme_media_errors_total", 13.0),
        ("nvme_temperature_celsius", 50.0),
        ("hostler_nvme_warn_temp_celsius", 85.0),
        ("hostler_nvme_crit_temp_celsius", 87.0),
    ] {
        values.push((name, device.clone(), value));
    }
    values.push(("node_nvme_info", vec![("device", "nvme0"), ("serial", "A")], 1.0));
    values
}

/// Replaces all series of a name by one.
fn with(mut values: Values, name: &'static str, labels: Vec<(&'static str, &'static str)>, value: f64) -> Values {
    values.retain(|(known, ..)| *known != name);
    values.push((name, labels, value));
    values
}

/// Changes the value of the series of a name, whatever its labels; adds it without labels when there is none.
fn set(mut values: Values, name: &'static str, value: f64) -> Values {
    let mut found = false;
    for one in values.iter_mut().filter(|(known, ..)| *known == name) {
        one.2 = value;
        found = true;
    }
    if !found {
        values.push((name, vec![], value));
    }
    values
}

fn without(mut values: Values, name: &str) -> Values {
    values.retain(|(known, ..)| *known != name);
    values
}

fn bit(mut values: Values, reason: &str, scope: &str, value: f64) -> Values {
    for one in values.iter_mut().filter(|(name, ..)| *name == "hostler_rpi_throttle") {
        if one.1 == [("reason", reason), ("scope", scope)] {
            one.2 = value;
        }
    }
    values
}

fn reading(seconds: u64, values: &Values) -> Reading {
    let mut reading = Reading::new(NOW + seconds * 1000);
    for (name, labels, value) in values {
        reading.set(Series::new(name, labels), *value);
    }
    reading
}

/// Observations every ten seconds from one second to another (inclusive); gives the last verdicts.
fn run(health: &mut Health, from: u64, to: u64, values: &Values) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for seconds in (from..=to).step_by(10) {
        verdicts = health.observe(NOW + seconds * 1000, &reading(seconds, values));
    }
    verdicts
}

fn level(verdicts: &[Verdict], rule: Rule) -> Option<Level> {
    verdicts.iter().filter(|verdict| verdict.rule == rule).map(|verdict| verdict.level).max()
}

fn health() -> Health {
    Health::new(Thresholds::default())
}

#[test]
fn a_node_that_is_well_is_ok_in_every_rule_that_applies() {
    for values in [well(), pi()] {
        let verdicts = run(&mut health(), 0, 120, &values);
        let bad: Vec<String> = verdicts
            .iter()
            .filter(|verdict| verdict.level != Level::Ok && (verdict.required || verdict.level != Level::Unknown))
            .map(Verdict::sentence)
            .collect();
        assert!(bad.is_empty(), "{bad:?}");
        assert_eq!(worst(&verdicts), Level::Ok);
        assert!(blockers(&verdicts).is_empty());
    }
    assert_eq!(level(&run(&mut health(), 0, 0, &well()), Rule::PiUnderVoltage), None, "no Pi, no rule");
}

#[test]
fn each_required_fact_that_is_missing_makes_the_node_unknown() {
    for (name, rule) in [
        ("node_filesystem_readonly", Rule::DiskSpace),
        ("node_filesystem_avail_bytes", Rule::DiskSpace),
        ("node_memory_MemAvailable_bytes", Rule::Memory),
        ("node_timex_sync_status", Rule::Clock),
        ("hostler_cgroup_controller_enabled", Rule::MemoryCgroup),
        ("hostler_node_temperature_celsius", Rule::PiTemperature),
        ("hostler_rpi_throttle", Rule::PiThrottled),
        ("nvme_critical_warning", Rule::NvmeWarning),
        ("nvme_available_spare_ratio", Rule::NvmeSpare),
    ] {
        let verdicts = run(&mut health(), 0, 120, &without(pi(), name));
        if rule != Rule::Clock {
            assert_eq!(level(&verdicts, rule), Some(Level::Unknown), "{name}");
            assert_eq!(worst(&verdicts), Level::Unknown, "{name}");
            assert!(blockers(&verdicts).iter().any(|verdict| verdict.rule == rule), "{name}");
        }
    }
    let no_clock = without(without(pi(), "node_timex_sync_status"), "node_timex_offset_seconds");
    assert_eq!(worst(&run(&mut health(), 0, 60, &no_clock)), Level::Unknown);
    let no_supply =
        without(without(without(pi(), "hostler_rpi_throttle"), "hostler_rpi_under_voltage"), "hostler_rpi_pmic_volts");
    assert_eq!(level(&run(&mut health(), 0, 60, &no_supply), Rule::PiUnderVoltage), Some(Level::Unknown));
    assert_eq!(worst(&[]), Level::Unknown, "nothing at all is not healthy");
}

#[test]
fn a_full_disk_raises_after_a_minute_and_clears_at_the_other_threshold_after_fifteen() {
    let mut health = health();
    let at = |free: f64| set(well(), "node_filesystem_avail_bytes", free * 1e9);
    run(&mut health, 0, 50, &at(9.0));
    assert_eq!(level(&run(&mut health, 60, 60, &at(9.0)), Rule::DiskSpace), Some(Level::Degraded));
    assert_eq!(
        level(&run(&mut health, 70, HOUR, &at(19.0)), Rule::DiskSpace),
        Some(Level::Degraded),
        "81 % is not 80 %"
    );
    let clearing = run(&mut health, 3610, 3610 + 890, &at(21.0));
    assert_eq!(level(&clearing, Rule::DiskSpace), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 4510, 4510, &at(21.0)), Rule::DiskSpace), Some(Level::Ok));
    let full = run(&mut health, 4520, 4580, &at(1.0));
    assert_eq!(level(&full, Rule::DiskSpace), Some(Level::Critical));
    let verdict = full.iter().find(|verdict| verdict.rule == Rule::DiskSpace).unwrap();
    assert_eq!((verdict.subject.as_str(), verdict.required), ("/", true));
    assert_eq!(verdict.fact, "node_filesystem_avail_bytes{mountpoint=\"/\"}");
    assert_eq!(verdict.since_ms, NOW + 4_580_000);
    assert!(verdict.advice.ends_with(char::is_alphanumeric) && verdict.sentence().contains("limit"));
}

#[test]
fn five_percent_of_a_large_disk_is_plenty_and_of_a_small_one_is_not() {
    let large = set(set(well(), "node_filesystem_size_bytes", 4e12), "node_filesystem_avail_bytes", 150e9);
    assert_eq!(level(&run(&mut health(), 0, 120, &large), Rule::DiskSpace), Some(Level::Degraded));
    let small = set(set(well(), "node_filesystem_size_bytes", 32e9), "node_filesystem_avail_bytes", 1.2e9);
    assert_eq!(level(&run(&mut health(), 0, 120, &small), Rule::DiskSpace), Some(Level::Critical));
}

#[test]
fn a_disk_that_fills_is_seen_before_it_is_full() {
    let mut health = health();
    let mut verdicts = Vec::new();
    for step in 0..=(3 * HOUR / 10) {
        // 30 GB left and 1.5 GB an hour: full in twenty hours.
        let free = 30e9 - 1.5e9 * step as f64 * 10.0 / HOUR as f64;
        verdicts = run(&mut health, step * 10, step * 10, &set(well(), "node_filesystem_avail_bytes", free));
    }
    assert_eq!(level(&verdicts, Rule::DiskFilling), Some(Level::Degraded));
    assert!(blockers(&verdicts).is_empty(), "an upgrade neither causes nor cures it");
}

#[test]
fn a_root_that_turns_read_only_is_critical_at_once_and_one_that_always_was_is_not() {
    let mut health = health();
    run(&mut health, 0, 0, &well());
    let remounted = set(well(), "node_filesystem_readonly", 1.0);
    assert_eq!(level(&run(&mut health, 10, 10, &remounted), Rule::FilesystemErrors), Some(Level::Critical));
    assert_eq!(level(&run(&mut health, 20, 20, &well()), Rule::FilesystemErrors), Some(Level::Ok));
    let mut fresh = Health::default();
    assert_eq!(level(&run(&mut fresh, 0, 60, &remounted), Rule::FilesystemErrors), Some(Level::Ok));
}

#[test]
fn ext4_errors_from_before_show_until_fsck_and_new_ones_are_critical_for_a_day() {
    let device = vec![("device", "nvme0n1p2")];
    let errors = |count| with(well(), "hostler_ext4_errors_total", device.clone(), count);
    let found = |verdicts: Vec<Verdict>| level(&verdicts, Rule::FilesystemErrors);
    let mut health = health();
    assert_eq!(found(run(&mut health, 0, 0, &errors(7.0))), Some(Level::Degraded), "at first sight of a boot already");
    assert_eq!(found(run(&mut health, 70, 70, &errors(8.0))), Some(Level::Critical), "the mount table says rw");
    let rebooted = with(errors(8.0), "hostler_node_info", vec![("boot_id", "two"), ("model", "PC")], 1.0);
    assert_eq!(found(run(&mut health, 23 * HOUR, 23 * HOUR, &rebooted)), Some(Level::Critical));
    assert_eq!(found(run(&mut health, 25 * HOUR, 25 * HOUR, &rebooted)), Some(Level::Degraded), "a reboot is no error");
    assert_eq!(found(run(&mut health, 26 * HOUR, 26 * HOUR, &errors(0.0))), Some(Level::Ok), "fsck was here");
}

#[test]
fn a_disk_without_a_spare_threshold_is_judged_by_the_usual_one_or_by_its_warning_alone() {
    let disk = |spare, threshold| {
        set(set(pi(), "nvme_available_spare_ratio", spare), "nvme_available_spare_threshold_ratio", threshold)
    };
    let found = |values: &Values| {
        let verdicts = run(&mut health(), 0, 60, values);
        (level(&verdicts, Rule::NvmeSpare), worst(&verdicts))
    };
    assert_eq!(found(&disk(1.0, 0.0)), (Some(Level::Ok), Level::Ok));
    assert_eq!(found(&disk(0.15, 0.0)), (Some(Level::Degraded), Level::Degraded));
    assert_eq!(found(&disk(0.05, 0.0)), (Some(Level::Critical), Level::Critical), "it would count down to nothing");
    assert_eq!(
        found(&disk(0.0, 0.0)),
        (Some(Level::Unknown), Level::Ok),
        "emulated: it says nothing about spare blocks"
    );
    assert_eq!(found(&disk(0.0, 0.1)), (Some(Level::Critical), Level::Critical), "all of them are used up");
    let spent = set(disk(0.0, 0.0), "nvme_critical_warning", 1.0);
    assert_eq!(found(&spent).1, Level::Critical, "its own warning counts");
    assert_eq!(found(&without(pi(), "nvme_available_spare_ratio")).1, Level::Unknown, "missing is another matter");
}

#[test]
fn counters_are_deltas_and_restart_with_the_node() {
    let kills = |count| set(well(), "node_vmstat_oom_kill", count);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 0, &kills(5.0)), Rule::OomKill), Some(Level::Ok));
    assert_eq!(level(&run(&mut health, 10, 10, &kills(6.0)), Rule::OomKill), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 20, 20, &kills(8.0)), Rule::OomKill), Some(Level::Critical));
    assert_eq!(level(&run(&mut health, 40 * MINUTE, 40 * MINUTE, &kills(8.0)), Rule::OomKill), Some(Level::Ok));
    for (kills_since_boot, expected) in [(2.0, Level::Degraded), (9.0, Level::Critical)] {
        let two = vec![("boot_id", "two"), ("model", "")];
        let rebooted = with(kills(kills_since_boot), "hostler_node_info", two, 1.0);
        let verdicts = run(&mut health.clone(), 41 * MINUTE, 41 * MINUTE, &rebooted);
        assert_eq!(level(&verdicts, Rule::OomKill), Some(expected), "all of them since this boot, whatever was before");
    }
}

#[test]
fn memory_has_a_share_to_warn_and_bytes_to_act() {
    let free = |bytes| set(well(), "node_memory_MemAvailable_bytes", bytes);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 890, &free(0.7e9)), Rule::Memory), Some(Level::Ok));
    assert_eq!(level(&run(&mut health, 900, 900, &free(0.7e9)), Rule::Memory), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 910, 970, &free(90e6)), Rule::Memory), Some(Level::Critical));
    // 300 MB is beyond 100 MiB but not beyond 5 % of 8 GB.
    assert_eq!(level(&run(&mut health, 980, 2000, &free(300e6)), Rule::Memory), Some(Level::Critical));
}

#[test]
fn a_marginal_supply_that_chatters_is_degraded_and_a_bad_one_critical() {
    let alarm = |on: bool| set(pi(), "hostler_rpi_under_voltage", f64::from(on));
    let mut health = health();
    run(&mut health, 0, 600, &pi());
    assert_eq!(
        level(&run(&mut health, 610, 610, &alarm(true)), Rule::PiUnderVoltage),
        Some(Level::Ok),
        "once is nothing"
    );
    run(&mut health, 620, 740, &alarm(false));
    assert_eq!(level(&run(&mut health, 750, 750, &alarm(true)), Rule::PiUnderVoltage), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 760, 1640, &alarm(false)), Rule::PiUnderVoltage), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 1650, 1670, &alarm(false)), Rule::PiUnderVoltage), Some(Level::Ok));
    let verdicts = run(&mut health, 1680, 1680 + 90, &alarm(true));
    assert_eq!(level(&verdicts, Rule::PiUnderVoltage), Some(Level::Critical), "ten of thirty");
}

#[test]
fn an_input_below_its_limit_is_critical_even_when_no_bit_is_set() {
    let volts = |volts| set(pi(), "hostler_rpi_pmic_volts", volts);
    let mut health = health();
    run(&mut health, 0, 60, &pi());
    assert_eq!(level(&run(&mut health, 70, 90, &volts(4.78)), Rule::PiInputVoltage), Some(Level::Degraded));
    let verdicts = run(&mut health, 100, 120, &volts(4.65));
    assert_eq!(level(&verdicts, Rule::PiUnderVoltage), Some(Level::Critical));
    // The rail cannot be read any more: its neighbour, the alarm that says 0, does not make it well.
    let blind = without(pi(), "hostler_rpi_pmic_volts");
    assert_eq!(level(&run(&mut health, 130, 130, &blind), Rule::PiUnderVoltage), Some(Level::Unknown));
}

#[test]
fn throttle_bits_from_before_are_information_and_new_ones_count_for_a_day() {
    let sticky = |word: u64| set(pi(), "hostler_rpi_throttled_state", (word << 16) as f64);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 60, &sticky(0x5)), Rule::PiThrottledSinceBoot), Some(Level::Ok));
    assert_eq!(level(&run(&mut health, 70, 70, &sticky(0xd)), Rule::PiThrottledSinceBoot), Some(Level::Degraded));
    assert_eq!(
        level(&run(&mut health, 25 * HOUR, 25 * HOUR, &sticky(0xd)), Rule::PiThrottledSinceBoot),
        Some(Level::Ok)
    );
}

#[test]
fn a_pi_that_is_throttled_now_needs_three_of_five_samples() {
    let now = bit(pi(), "throttled", "now", 1.0);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 10, &now), Rule::PiThrottled), Some(Level::Ok));
    assert_eq!(level(&run(&mut health, 20, 20, &now), Rule::PiThrottled), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 30, 600, &now), Rule::PiThrottled), Some(Level::Critical));
}

#[test]
fn temperatures_use_the_limits_of_their_own_hardware() {
    let component = || vec![("component", "cpu")];
    let cpu = |celsius| with(well(), "hostler_node_temperature_celsius", component(), celsius);
    let limited = |celsius| with(cpu(celsius), "hostler_node_temperature_crit_celsius", component(), 105.0);
    assert_eq!(level(&run(&mut health(), 0, 60, &cpu(92.0)), Rule::CpuTemperature), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health(), 0, 60, &limited(92.0)), Rule::CpuTemperature), Some(Level::Ok));
    assert_eq!(level(&run(&mut health(), 0, 60, &limited(102.0)), Rule::CpuTemperature), Some(Level::Critical));
    let pi_at = |celsius| set(pi(), "hostler_node_temperature_celsius", celsius);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 20, &pi_at(80.0)), Rule::PiTemperature), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 30, 600, &pi_at(76.0)), Rule::PiTemperature), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 610, 910, &pi_at(75.0)), Rule::PiTemperature), Some(Level::Ok));
    let absurd = run(&mut Health::default(), 0, 60, &pi_at(3_892_314.0));
    assert_eq!(level(&absurd, Rule::PiTemperature), Some(Level::Unknown), "not critical, and not healthy");
}

#[test]
fn nvme_rules() {
    let at = |name, value| set(pi(), name, value);
    let after = |values: &Values| run(&mut health(), 0, 180, values);
    assert_eq!(level(&after(&at("nvme_critical_warning", 13.0)), Rule::NvmeWarning), Some(Level::Critical));
    assert_eq!(level(&after(&at("nvme_critical_warning", 2.0)), Rule::NvmeWarning), Some(Level::Degraded));
    assert_eq!(level(&after(&at("nvme_available_spare_ratio", 0.15)), Rule::NvmeSpare), Some(Level::Degraded));
    assert_eq!(level(&after(&at("nvme_available_spare_ratio", 0.04)), Rule::NvmeSpare), Some(Level::Critical));
    assert_eq!(level(&after(&at("nvme_available_spare_ratio", 0.10)), Rule::NvmeSpare), Some(Level::Degraded));
    assert_eq!(
        level(&after(&at("nvme_temperature_celsius", 80.0)), Rule::NvmeTemperature),
        Some(Level::Ok),
        "its own limit is 85"
    );
    assert_eq!(level(&after(&at("nvme_temperature_celsius", 86.0)), Rule::NvmeTemperature), Some(Level::Degraded));
    let unlimited = without(at("nvme_temperature_celsius", 75.0), "hostler_nvme_warn_temp_celsius");
    assert_eq!(level(&after(&unlimited), Rule::NvmeTemperature), Some(Level::Degraded), "the fallback is 70");
    let mut health = health();
    assert_eq!(
        level(&run(&mut health, 0, 0, &at("nvme_percentage_used_ratio", 1.03)), Rule::NvmeWear),
        Some(Level::Critical)
    );
    assert_eq!(level(&run(&mut health, 10, HOUR, &pi()), Rule::NvmeWear), Some(Level::Critical), "wear never clears");
}

#[test]
fn media_errors_grow_with_a_disk_and_not_with_its_successor() {
    let errors = |count| set(pi(), "nvme_media_errors_total", count);
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 60, &errors(13.0)), Rule::NvmeMediaErrors), Some(Level::Ok), "old errors");
    assert_eq!(level(&run(&mut health, 70, 70, &errors(14.0)), Rule::NvmeMediaErrors), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 80, 80, &errors(23.0)), Rule::NvmeMediaErrors), Some(Level::Critical));
    let swapped = with(errors(40.0), "node_nvme_info", vec![("device", "nvme0"), ("serial", "B")], 1.0);
    assert_eq!(level(&run(&mut health, 90, 90, &swapped), Rule::NvmeMediaErrors), Some(Level::Ok));
}

#[test]
fn a_disk_that_stops_answering_or_disappears_is_critical_after_a_minute() {
    let dead = set(pi(), "hostler_nvme_live", 0.0);
    let mut gone = pi();
    gone.retain(|(name, ..)| !name.contains("nvme"));
    for (values, name) in [(dead, "dead"), (gone, "gone")] {
        let mut health = health();
        run(&mut health, 0, 60, &pi());
        assert_eq!(level(&run(&mut health, 70, 90, &values), Rule::NvmeState), Some(Level::Ok), "{name}");
        assert_eq!(level(&run(&mut health, 100, 100, &values), Rule::NvmeState), Some(Level::Degraded), "{name}");
        assert_eq!(level(&run(&mut health, 110, 130, &values), Rule::NvmeState), Some(Level::Critical), "{name}");
        assert_eq!(level(&run(&mut health, 140, 1000, &pi()), Rule::NvmeState), Some(Level::Critical), "{name}");
        assert_eq!(level(&run(&mut health, 1010, 1050, &pi()), Rule::NvmeState), Some(Level::Ok), "{name}");
    }
}

#[test]
fn a_link_is_compared_with_itself_and_not_with_what_the_disk_could_do() {
    let address = vec![("segment", "0001"), ("bus", "01"), ("device", "00"), ("function", "0")];
    let link = |speed| {
        let values = with(pi(), "node_pcidevice_current_link_transfers_per_second", address.clone(), speed);
        let values = with(values, "node_pcidevice_max_link_transfers_per_second", address.clone(), 8e9);
        with(values, "node_pcidevice_current_link_width", address.clone(), 1.0)
    };
    let mut health = health();
    assert_eq!(level(&run(&mut health, 0, 0, &link(5e9)), Rule::PcieLink), Some(Level::Ok));
    assert_eq!(level(&run(&mut health, 10, 10, &link(2.5e9)), Rule::PcieLink), Some(Level::Degraded));
    assert_eq!(level(&run(&mut health, 20, 20, &link(5e9)), Rule::PcieLink), Some(Level::Ok));
}

#[test]
fn latency_needs_operations_and_a_card_may_be_slower() {
    for (device, expected) in [("nvme0n1", Level::Degraded), ("mmcblk0", Level::Ok)] {
        let mut health = health();
        let at = |seconds: u64, operations: f64| {
            let labels = || vec![("device", device)];
            let count = operations * seconds as f64;
            let values = with(well(), "node_disk_io_now", labels(), 0.0);
            let values = with(values, "node_disk_reads_completed_total", labels(), count);
            with(values, "node_disk_read_time_seconds_total", labels(), count * 0.2)
        };
        let mut verdicts = Vec::new();
        for seconds in (0..=300).step_by(10) {
            verdicts = run(&mut health, seconds, seconds, &at(seconds, 1.0));
        }
        assert_eq!(level(&verdicts, Rule::SlowIo), Some(expected), "200 ms on {device}");
        let mut idle = Health::default();
        for seconds in (0..=300).step_by(10) {
            verdicts = run(&mut idle, seconds, seconds, &at(seconds, 0.1));
        }
        assert_eq!(level(&verdicts, Rule::SlowIo), Some(Level::Ok), "six reads a minute say nothing");
    }
}

#[test]
fn the_clock_is_not_judged_just_after_a_boot_and_an_offset_may_shrink() {
    let lost = set(set(well(), "node_timex_sync_status", 0.0), "node_timex_maxerror_seconds", 16.0);
    let young = set(lost.clone(), "node_boot_time_seconds", NOW as f64 / 1000.0 - 60.0);
    let verdicts = run(&mut health(), 0, 600, &young);
    assert_eq!(level(&verdicts, Rule::Clock), Some(Level::Unknown), "neither good nor bad");
    let mut old = health();
    assert_eq!(level(&run(&mut old, 0, 290, &lost), Rule::Clock), Some(Level::Ok));
    assert_eq!(level(&run(&mut old, 300, 300, &lost), Rule::Clock), Some(Level::Degraded));
    let (mut shrinks, mut stays) = (health(), health());
    let mut verdicts = [Vec::new(), Vec::new()];
    for seconds in (0..=2000).step_by(10) {
        let offset = 1.0 * 0.999_f64.powi(seconds as i32 / 2);
        verdicts[0] = run(&mut shrinks, seconds, seconds, &set(well(), "node_timex_offset_seconds", offset));
        verdicts[1] = run(&mut stays, seconds, seconds, &set(well(), "node_timex_offset_seconds", -0.4));
    }
    assert_eq!(level(&verdicts[0], Rule::Clock), Some(Level::Ok));
    assert_eq!(level(&verdicts[1], Rule::Clock), Some(Level::Degraded));
    let far = set(well(), "node_timex_offset_seconds", 40.0);
    assert_eq!(level(&run(&mut Health::default(), 0, 600, &far), Rule::Clock), Some(Level::Critical));
}

#[test]
fn units_certificates_and_cgroups() {
    let failed = |name: &'static str| {
        let values = with(well(), "node_systemd_units", vec![("state", "failed")], 1.0);
        with(values, "node_systemd_unit_state", vec![("name", name), ("state", "failed"), ("type", "service")], 1.0)
    };
    let after = |health: &mut Health, values: &Values| run(health, 0, 300, values);
    assert_eq!(level(&after(&mut health(), &failed("motd-news.service")), Rule::Systemd), Some(Level::Degraded));
    assert_eq!(level(&after(&mut health(), &failed("kubelet.service")), Rule::Systemd), Some(Level::Critical));
    let ignore = Thresholds { ignore_units: ["motd-news.service".to_owned()].into(), ..Thresholds::default() };
    assert_eq!(level(&after(&mut Health::new(ignore), &failed("motd-news.service")), Rule::Systemd), Some(Level::Ok));
    let expires = |days: f64| {
        let labels = vec![("kind", "leaf"), ("path", "/etc/kubernetes/pki/apiserver.crt")];
        let at = NOW as f64 / 1000.0 + days * 86400.0;
        with(well(), "hostler_certificate_not_after_timestamp_seconds", labels, at)
    };
    for (days, expected) in
        [(15.0, Level::Ok), (13.9, Level::Degraded), (6.9, Level::Critical), (-1.0, Level::Critical)]
    {
        assert_eq!(level(&run(&mut health(), 0, 0, &expires(days)), Rule::Certificate), Some(expected), "{days}");
    }
    let off = set(well(), "hostler_cgroup_controller_enabled", 0.0);
    assert_eq!(level(&run(&mut health(), 0, 0, &off), Rule::MemoryCgroup), Some(Level::Critical));
}

#[test]
fn memory_errors_machine_checks_and_taint() {
    let corrected = |count| {
        let values = with(well(), "node_edac_correctable_errors_total", vec![("controller", "0")], count);
        with(values, "node_edac_uncorrectable_errors_total", vec![("controller", "0")], 0.0)
    };
    let mut edac = health();
    assert_eq!(level(&run(&mut edac, 0, 0, &corrected(12.0)), Rule::MemoryErrors), Some(Level::Ok));
    assert_eq!(level(&run(&mut edac, 10, 10, &corrected(13.0)), Rule::MemoryErrors), Some(Level::Degraded));
    assert_eq!(
        level(&run(&mut edac, 20, HOUR, &corrected(13.0)), Rule::MemoryErrors),
        Some(Level::Degraded),
        "an hour's hold"
    );
    let broken = set(well(), "node_memory_HardwareCorrupted_bytes", 4096.0);
    assert_eq!(level(&run(&mut health(), 0, 0, &broken), Rule::MemoryErrors), Some(Level::Critical));
    let tainted = |bits| set(well(), "hostler_kernel_tainted", bits);
    let mut kernel = health();
    assert_eq!(level(&run(&mut kernel, 0, 0, &tainted(512.0)), Rule::Kernel), Some(Level::Ok), "tainted before");
    assert_eq!(level(&run(&mut kernel, 10, 10, &tainted(640.0)), Rule::Kernel), Some(Level::Degraded), "an oops");
}

#[test]
fn the_default_link_is_watched_even_when_its_route_went_with_it() {
    let device = || vec![("device", "eth0")];
    let up = with(well(), "hostler_network_default_route", device(), 1.0);
    let up = with(with(up, "node_network_up", device(), 1.0), "node_network_carrier", device(), 1.0);
    let down = without(
        set(set(up.clone(), "node_network_up", 0.0), "node_network_carrier", 0.0),
        "hostler_network_default_route",
    );
    let mut health = health();
    run(&mut health, 0, 60, &up);
    assert_eq!(level(&run(&mut health, 70, 130, &down), Rule::Network), Some(Level::Critical));
}

#[test]
fn a_rule_that_flaps_is_held_at_its_worse_level() {
    let (on, off) = (well(), set(well(), "hostler_cgroup_controller_enabled", 0.0));
    let mut health = health();
    for minute in 0..6 {
        run(&mut health, minute * 60, minute * 60, if minute % 2 == 0 { &on } else { &off });
    }
    let verdicts = run(&mut health, 360, 360, &well());
    let verdict = verdicts.iter().find(|verdict| verdict.rule == Rule::MemoryCgroup).unwrap();
    assert_eq!((verdict.level, verdict.held), (Level::Critical, true));
    let quiet = run(&mut health, 370, 2 * HOUR, &well());
    assert_eq!(level(&quiet, Rule::MemoryCgroup), Some(Level::Ok));
}

#[test]
fn a_node_that_does_not_report_is_unknown_and_then_down() {
    let mut health = health();
    assert_eq!(worst(&health.verdicts(NOW)), Level::Unknown, "it never reported");
    health.observe(NOW, &reading(0, &well()));
    assert_eq!(worst(&health.verdicts(NOW + 60_000)), Level::Ok);
    assert_eq!(worst(&health.verdicts(NOW + 61_000)), Level::Unknown);
    assert_eq!(worst(&health.verdicts(NOW + 301_000)), Level::Critical);
}

#[test]
fn a_judge_that_is_stored_and_loaded_goes_on_where_it_was() {
    let warm = set(pi(), "hostler_rpi_under_voltage", 1.0);
    let mut stays = health();
    run(&mut stays, 0, 60, &warm);
    let mut loaded: Health = serde_json::from_str(&serde_json::to_string(&stays).unwrap()).unwrap();
    assert_eq!(loaded, stays);
    assert_eq!(run(&mut loaded, 70, 300, &warm), run(&mut stays, 70, 300, &warm));
}

#[test]
fn thresholds_of_a_fleet_file() {
    let table: toml::Table = toml::from_str(
        "off = [\"disk_filling\"]\noptional = [\"memory_cgroup\"]\n[limits.pi_hot]\nraise = 70\nclear = 65\nhold_seconds = 0\n",
    )
    .unwrap();
    let thresholds = Thresholds::from_table(&table).unwrap();
    let warm = set(pi(), "hostler_node_temperature_celsius", 71.0);
    let mut health = Health::new(thresholds);
    assert_eq!(level(&run(&mut health, 0, 0, &warm), Rule::PiTemperature), Some(Level::Degraded));
    let blind = without(warm, "hostler_cgroup_controller_enabled");
    assert_eq!(worst(&run(&mut health, 10, 10, &blind)), Level::Degraded, "unknown, but optional here");
    for bad in [
        "[limits.pi_hot]\nraise = 70\nclear = 75\n",
        "[limits.input_low]\nraise = 4.9\nclear = 4.7\n",
        "[limits.pi_hott]\nraise = 70\n",
        "[limits.pi_hot]\nrise = 70\n",
        "off = [\"disk\"]\n",
        "[limits.pi_hot]\nraise = nan\n",
    ] {
        let error = Thresholds::from_table(&toml::from_str(bad).unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("health"), "{error}");
    }
}

#[test]
fn the_table_is_complete_and_every_limit_is_in_order() {
    let mut rules: std::collections::BTreeSet<Rule> = Condition::ALL.iter().map(|one| one.row().rule).collect();
    rules.extend([Rule::Report, Rule::Maintenance]);
    assert_eq!(rules.len(), Rule::ALL.len(), "every rule has a condition");
    assert_eq!(Rule::ALL.len(), 40, "the 38 rules of the reference, the silent node, and maintenance");
    for rule in Rule::ALL {
        assert_eq!(serde_json::to_value(rule).unwrap(), rule.name(), "one name everywhere");
    }
    let limits = Condition::ALL.iter().map(|one| (*one, Change::default())).collect();
    Thresholds { limits, ..Thresholds::default() }.check().unwrap();
}

#[test]
fn a_baseline_tells_what_got_worse() {
    let mut health = health();
    let before = run(&mut health, 0, 60, &set(pi(), "nvme_percentage_used_ratio", 0.95));
    let worn = reading(60, &set(pi(), "nvme_percentage_used_ratio", 0.95));
    let baseline = Baseline::take(NOW, &Vitals::of(NOW, &before, &worn));
    assert_eq!(baseline.sentence(), "nvme_wear nvme0 degraded");
    let back = |values: Values| {
        let values = with(values, "hostler_node_info", vec![("boot_id", "two"), ("model", "Raspberry Pi 5")], 1.0);
        set(set(values, "nvme_percentage_used_ratio", 0.95), "node_boot_time_seconds", NOW as f64 / 1000.0 - 1200.0)
    };
    let judge = |values: Values| {
        let mut health = health.clone();
        let verdicts = run(&mut health, 300, 420, &values);
        baseline.worse(&Vitals::of(NOW + 420_000, &verdicts, &reading(420, &values)))
    };
    assert_eq!(judge(back(pi())), [], "worn before, worn after: no worse");
    let low = judge(back(set(pi(), "hostler_rpi_under_voltage", 1.0)));
    assert!(
        matches!(&low[..], [Worse::Rule { was: Level::Ok, verdict }] if verdict.rule == Rule::PiUnderVoltage),
        "{low:?}"
    );
    assert!(low[0].to_string().contains("pi_under_voltage"));
    let killed = judge(back(set(pi(), "node_vmstat_oom_kill", 1.0)));
    assert!(killed.iter().any(|one| matches!(one, Worse::Counter { was: 0, is: 1, .. })), "{killed:?}");
    let blind = judge(back(without(pi(), "nvme_critical_warning")));
    assert!(matches!(&blind[..], [Worse::Rule { verdict, .. }] if verdict.level == Level::Unknown), "{blind:?}");
    let hot =
        set(back(set(pi(), "hostler_node_temperature_celsius", 82.0)), "node_boot_time_seconds", NOW as f64 / 1000.0);
    assert_eq!(judge(hot), [], "just after a boot it may be hot for ten minutes");
}

#[test]
fn the_handbook_has_the_row_of_every_condition() {
    let handbook = include_str!("../../../docs/facts.md");
    let mut missing = Vec::new();
    for condition in Condition::ALL {
        let row = condition.row();
        let name = serde_json::to_value(condition).unwrap();
        let side = match row.side {
            Side::Above => "at or above",
            Side::Below => "below",
        };
        let confirm = match row.confirm {
            Confirm::Seconds(0) => "at once".to_owned(),
            Confirm::Seconds(seconds) => format!("{seconds} s"),
            Confirm::Samples(wanted, of) => format!("{wanted} of {of} samples"),
        };
        let clear = if row.clear < 0.0 { "never".to_owned() } else { plain(row.clear) };
        let line = format!(
            "| {} | {} | {:?} | {side} {} {} | {clear} | {confirm} | {} s |",
            row.rule,
            name.as_str().unwrap(),
            row.level,
            plain(row.raise),
            condition.unit(),
            row.clear_seconds
        );
        let line = line.replace("  ", " ").replace("Degraded", "degraded").replace("Critical", "critical");
        if !handbook.contains(&line) {
            missing.push(line);
        }
    }
    assert!(missing.is_empty(), "docs/facts.md lacks these rows:\n{}", missing.join("\n"));
}

#[test]
fn a_fleet_file_with_wrong_thresholds_is_refused() {
    let small = include_str!("../../../examples/small.toml");
    let read = |health: &str| {
        let text = format!("{small}\n[groups.attic.health]\n{health}");
        crate::fleet::Fleet::from_toml(&[("fleet.toml", &text)]).map_err(|error| error.to_string())
    };
    let (fleet, _) =
        read("off = [\"disk_filling\"]\n[groups.attic.health.limits.pi_hot]\nraise = 78\nclear = 72\n").unwrap();
    let thresholds = Thresholds::from_table(fleet.groups["attic"].health.as_ref().unwrap()).unwrap();
    assert!(thresholds.off.contains(&Rule::DiskFilling));
    let refused = read("off = [\"disk_fillin\"]\n").unwrap_err();
    assert!(refused.contains("group attic: health") && refused.contains("disk_fillin"), "{refused}");
    let swapped = read("[groups.attic.health.limits.pi_hot]\nraise = 70\nclear = 75\n").unwrap_err();
    assert!(swapped.contains("clear 75 stands on the bad side of raise 70"), "{swapped}");
}
