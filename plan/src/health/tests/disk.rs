//! Disks: room, errors, wear, links, latency.

use super::*;

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
    let mut fresh = HealthEvaluator::default();
    assert_eq!(level(&run(&mut fresh, 0, 60, &remounted), Rule::FilesystemErrors), Some(Level::Ok));
}

#[test]
fn a_file_system_that_is_made_read_only_in_order_is_well() {
    let device = || vec![("device", "/dev/mmcblk0p1"), ("fstype", "vfat"), ("mountpoint", "/boot/firmware")];
    let boot = |readonly: f64| {
        let mut values = well();
        values.push(("node_filesystem_readonly", device(), readonly));
        values
    };
    let logged = |mut values: Values, forced: Option<f64>| {
        values.push(("hostler_kernel_events_total", vec![("reason", "read_only")], forced.unwrap_or_default()));
        let labels = vec![("device", "mmcblk0p1")];
        values.extend(forced.map(|count| ("hostler_filesystem_forced_readonly_total", labels, count)));
        values
    };
    let after = |states: &[Values]| {
        let mut health = health();
        let mut found = None;
        for (values, at) in states.iter().zip((0..).step_by(60)) {
            found = level(&run(&mut health, at, at, values), Rule::FilesystemErrors);
        }
        found
    };
    let (rw, ro) = (|| logged(boot(0.0), None), || logged(boot(1.0), None));
    assert_eq!(after(&[ro(), rw(), ro()]), Some(Level::Ok), "an update");
    assert_eq!(after(&[boot(1.0), boot(0.0), boot(1.0)]), Some(Level::Ok), "an update, and nobody has the log");
    let forced = |count| logged(boot(1.0), Some(count));
    assert_eq!(after(&[rw(), forced(1.0)]), Some(Level::Critical));
    assert_eq!(after(&[forced(1.0)]), Some(Level::Critical), "at first sight");
    let repaired = || logged(boot(0.0), Some(1.0));
    assert_eq!(after(&[forced(1.0), repaired(), forced(1.0)]), Some(Level::Ok), "repaired, then an update");
    assert_eq!(after(&[repaired(), forced(2.0)]), Some(Level::Critical), "and once more");
    let mut emergency = ro();
    emergency.push(("hostler_filesystem_emergency_readonly", vec![("mountpoint", "/boot/firmware")], 1.0));
    assert_eq!(after(&[emergency]), Some(Level::Critical));
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
    let carries = |device, what| ("hostler_disk_carries", vec![("device", device), ("what", what)], 1.0);
    let pi = || [pi(), vec![carries("nvme0n1", "root"), carries("mmcblk0", "nothing")]].concat();
    let dead = set(pi(), "hostler_nvme_live", 0.0);
    let mut gone = pi();
    gone.retain(|(name, labels, _)| !name.contains("nvme") && !labels.contains(&("device", "nvme0n1")));
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
        let mut idle = HealthEvaluator::default();
        for seconds in (0..=300).step_by(10) {
            verdicts = run(&mut idle, seconds, seconds, &at(seconds, 0.1));
        }
        assert_eq!(level(&verdicts, Rule::SlowIo), Some(Level::Ok), "six reads a minute say nothing");
    }
}

#[test]
fn errors_of_btrfs_that_grew_since_the_baseline_are_a_regression() {
    let errors = |count| with(well(), "hostler_btrfs_errors_total", vec![("device", "1"), ("name", "/")], count);
    let judged = |count| {
        let values = errors(count);
        let verdicts = run(&mut health(), 0, 60, &values);
        Vitals::of(NOW, &verdicts, &reading(60, &values))
    };
    let baseline = Baseline::take(NOW, &judged(33.0));
    assert_eq!(baseline.regressions(&judged(33.0)), [], "they were there before");
    let grown = baseline.regressions(&judged(34.0));
    assert!(matches!(grown[..], [Regression::Counter { was: 33, is: 34, .. }]), "{grown:?}");
}

/// Two NVMe disks with these names, wear and media errors, in this boot.
fn pair(boot: &'static str, disks: [(&'static str, &'static str, f64, f64); 2]) -> Values {
    let mut values = with(well(), "hostler_node_info", vec![("boot_id", boot), ("model", "PC")], 1.0);
    for (device, serial, used, errors) in disks {
        let labels = || vec![("device", device)];
        values.push(("node_nvme_info", vec![("device", device), ("serial", serial)], 1.0));
        values.extend([
            ("hostler_nvme_live", labels(), 1.0),
            ("nvme_critical_warning", labels(), 0.0),
            ("nvme_available_spare_ratio", labels(), 1.0),
            ("nvme_available_spare_threshold_ratio", labels(), 0.1),
            ("nvme_percentage_used_ratio", labels(), used),
            ("nvme_media_errors_total", labels(), errors),
        ]);
    }
    values
}

#[test]
fn disks_that_change_their_names_over_a_reboot_are_compared_with_themselves() {
    let before = pair("one", [("nvme0", "A", 0.95, 812.0), ("nvme1", "B", 0.02, 3.0)]);
    let after = |values: &Values| {
        let mut health = health();
        let verdicts = run(&mut health, 0, 60, &before);
        let baseline = Baseline::take(NOW, &Vitals::of(NOW, &verdicts, &reading(60, &before)));
        // As the ledger has it.
        let stored = serde_json::to_string(&baseline).unwrap();
        let baseline: Baseline = serde_json::from_str(&stored).unwrap();
        let verdicts = run(&mut health, 300, 420, values);
        baseline.regressions(&Vitals::of(NOW + 420_000, &verdicts, &reading(420, values)))
    };
    let swapped = |used, errors| pair("two", [("nvme0", "B", used, errors), ("nvme1", "A", 0.95, 812.0)]);
    assert_eq!(after(&swapped(0.02, 3.0)), [], "the names were swapped and nothing else");
    let errors = after(&swapped(0.02, 5.0));
    assert!(errors.iter().any(|one| matches!(one, Regression::Counter { was: 3, is: 5, .. })), "{errors:?}");
    let rule = |found: &[Regression], wanted| {
        found.iter().any(|one| matches!(one, Regression::Rule { verdict, .. } if verdict.rule == wanted))
    };
    assert!(rule(&errors, Rule::NvmeMediaErrors), "the growth is that of the disk: {errors:?}");
    assert!(rule(&after(&swapped(0.93, 3.0)), Rule::NvmeWear), "the other one was worn, this one was not");
    let replaced = pair("two", [("nvme0", "C", 0.01, 40.0), ("nvme1", "B", 0.02, 3.0)]);
    assert_eq!(after(&replaced), [], "what another disk counted is history");
}

#[test]
fn wear_that_never_clears_goes_with_its_disk() {
    let mut health = health();
    let worn = |verdicts: &[Verdict]| {
        let worn = verdicts.iter().filter(|verdict| verdict.rule == Rule::NvmeWear && verdict.level == Level::Critical);
        worn.map(|verdict| verdict.subject.clone()).collect::<Vec<_>>()
    };
    let before = pair("one", [("nvme0", "A", 1.04, 0.0), ("nvme1", "B", 0.02, 0.0)]);
    assert_eq!(worn(&run(&mut health, 0, 60, &before)), ["nvme0"]);
    let swapped = pair("two", [("nvme0", "B", 0.02, 0.0), ("nvme1", "A", 1.04, 0.0)]);
    assert_eq!(worn(&run(&mut health, 70, 130, &swapped)), ["nvme1"]);
    let replaced = pair("three", [("nvme0", "B", 0.02, 0.0), ("nvme1", "C", 0.01, 0.0)]);
    assert!(worn(&run(&mut health, 140, 200, &replaced)).is_empty());
}

#[test]
fn what_an_error_made_read_only_is_so_until_it_is_mounted_again_whatever_is_restarted() {
    let root = |boot, readonly: f64, reader: f64| {
        let mut values = with(well(), "hostler_node_info", vec![("boot_id", boot), ("model", "PC")], 1.0);
        values = set(values, "node_filesystem_readonly", readonly);
        values.push(("process_start_time_seconds", vec![("program", "executor")], reader));
        values.push(("hostler_kernel_events_total", vec![("reason", "read_only")], 0.0));
        values
    };
    let forced = || {
        let mut values = root("one", 1.0, 1.0);
        values.push(("hostler_filesystem_forced_readonly_total", vec![("device", "nvme0n1p2")], 1.0));
        values
    };
    let shut = |emergency: bool, reader: f64, mount: f64| {
        let mut values = root("one", f64::from(emergency), reader);
        values.push(("hostler_filesystem_mount_id", vec![("mountpoint", "/")], mount));
        values.extend(emergency.then(|| ("hostler_filesystem_emergency_readonly", vec![("mountpoint", "/")], 1.0)));
        values
    };
    let after = |states: &[Values]| {
        let (mut health, mut found) = (health(), None);
        for (values, at) in states.iter().zip((0..).step_by(60)) {
            // Whoever evaluates is restarted each time, with what was kept.
            let kept = serde_json::to_string(health.remembered()).unwrap();
            health = HealthEvaluator::default();
            health.remember(serde_json::from_str(&kept).unwrap());
            found = level(&run(&mut health, at, at, values), Rule::FilesystemErrors);
        }
        found
    };
    let (bad, well) = (Some(Level::Critical), Some(Level::Ok));
    assert_eq!(after(&[forced(), root("one", 1.0, 2.0)]), bad, "its log was overwritten, and all were restarted");
    assert_eq!(after(&[forced(), root("one", 0.0, 2.0), root("one", 1.0, 2.0)]), well, "mounted again, then in order");
    assert_eq!(after(&[forced(), root("two", 1.0, 2.0)]), well, "another boot");
    assert_eq!(after(&[shut(true, 1.0, 25.0), shut(false, 2.0, 25.0)]), bad, "an XFS that was shut down is rw");
    assert_eq!(after(&[shut(true, 1.0, 25.0), shut(false, 2.0, 31.0)]), well, "mounted anew");
    assert_eq!(after(&[shut(true, 1.0, 25.0), shut(false, 1.0, 25.0)]), well, "whoever read the log saw it mounted");
}
