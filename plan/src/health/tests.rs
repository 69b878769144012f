//! One node's verdicts, reading after reading.

mod accepted;
mod disk;
mod gone;
mod machine;

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
fn run(health: &mut HealthEvaluator, from: u64, to: u64, values: &Values) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for seconds in (from..=to).step_by(10) {
        verdicts = health.observe(NOW + seconds * 1000, &reading(seconds, values)).to_vec();
    }
    verdicts
}

fn level(verdicts: &[Verdict], rule: Rule) -> Option<Level> {
    verdicts.iter().filter(|verdict| verdict.rule == rule).map(|verdict| verdict.level).max()
}

fn health() -> HealthEvaluator {
    HealthEvaluator::new(Thresholds::default())
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
fn a_rule_that_flaps_is_held_at_its_worse_level() {
    let (on, off) = (well(), set(well(), "hostler_cgroup_controller_enabled", 0.0));
    let mut health = health();
    for minute in 0..6 {
        run(&mut health, minute * 60, minute * 60, if minute % 2 == 0 { &on } else { &off });
    }
    let verdicts = run(&mut health, 360, 360, &well());
    let verdict = verdicts.iter().find(|verdict| verdict.rule == Rule::MemoryCgroup).unwrap();
    assert_eq!((verdict.level, verdict.damped), (Level::Critical, true));
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
    let mut loaded: HealthEvaluator = serde_json::from_str(&serde_json::to_string(&stays).unwrap()).unwrap();
    assert_eq!(loaded, stays);
    assert_eq!(run(&mut loaded, 70, 300, &warm), run(&mut stays, 70, 300, &warm));
}

#[test]
fn thresholds_of_a_fleet_file() {
    let table: toml::Table = toml::from_str(
        "off = [\"disk_filling\"]\noptional = [\"memory_cgroup\"]\n[limits.pi_hot]\nraise = 70\nclear = \
            65\nhold_seconds = 0\n",
    )
    .unwrap();
    let thresholds = Thresholds::from_table(&table).unwrap();
    let warm = set(pi(), "hostler_node_temperature_celsius", 71.0);
    let mut health = HealthEvaluator::new(thresholds);
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
    rules.extend([Rule::Report, Rule::Maintenance, Rule::Facts]);
    assert_eq!(rules.len(), Rule::ALL.len(), "every rule has a condition");
    assert_eq!(
        Rule::ALL.len(),
        45,
        "38 of the reference, the silent node, maintenance, facts, four of disks and arrays"
    );
    for rule in Rule::ALL {
        assert_eq!(serde_json::to_value(rule).unwrap(), rule.name(), "one name everywhere");
    }
    let limits = Condition::ALL.iter().map(|one| (*one, Adjustment::default())).collect();
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
    let worse = |values: Values| {
        let mut health = health.clone();
        let verdicts = run(&mut health, 300, 420, &values);
        baseline.regressions(&Vitals::of(NOW + 420_000, &verdicts, &reading(420, &values)))
    };
    assert_eq!(worse(back(pi())), [], "worn before, worn after: no worse");
    let low = worse(back(set(pi(), "hostler_rpi_under_voltage", 1.0)));
    assert!(
        matches!(&low[..], [Regression::Rule { was: Level::Ok, verdict }] if verdict.rule == Rule::PiUnderVoltage),
        "{low:?}"
    );
    assert!(low[0].to_string().contains("pi_under_voltage"));
    let killed = worse(back(set(pi(), "hostler_node_oom_kills_total", 1.0)));
    assert!(killed.iter().any(|one| matches!(one, Regression::Counter { was: 0, is: 1, .. })), "{killed:?}");
    let blind = worse(back(without(pi(), "nvme_critical_warning")));
    assert!(matches!(&blind[..], [Regression::Rule { verdict, .. }] if verdict.level == Level::Unknown), "{blind:?}");
    let hot =
        set(back(set(pi(), "hostler_node_temperature_celsius", 82.0)), "node_boot_time_seconds", NOW as f64 / 1000.0);
    assert_eq!(worse(hot), [], "just after a boot it may be hot for ten minutes");
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
