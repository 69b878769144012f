//! Disks that are exchanged, look alike or count backwards: no growth where nothing grew, and no silence where it did.

use hostler_plan::{
    fact::{Reading, Series},
    health::{HealthEvaluator, Level, Rule, Thresholds, Verdict},
};

/// A value of a disk that is named by that label.
type Value = (&'static str, &'static str, &'static str, f64);

/// One observation; `serials` are names, series and numbers of the disks.
fn observe(health: &mut HealthEvaluator, seconds: u64, serials: &[(&str, &str)], values: &[Value]) -> Vec<Verdict> {
    let now = 1_800_000_000_000 + seconds * 1000;
    let mut reading = Reading::new(now);
    for (device, serial) in serials {
        let (info, label) = if device.starts_with("nvme") {
            ("node_nvme_info", "serial")
        } else {
            ("smartctl_device", "serial_number")
        };
        reading.set(Series::new(info, &[("device", device), (label, serial)]), 1.0);
        if device.starts_with("nvme") {
            reading.set(Series::new("hostler_nvme_live", &[("device", device)]), 1.0);
        }
    }
    for (name, label, device, value) in values {
        reading.set(Series::new(name, &[(label, device)]), *value);
    }
    health.observe(now, &reading).to_vec()
}

/// Disks with trouble of that kind.
fn troubled(verdicts: &[Verdict], rule: Rule) -> Vec<&str> {
    let bad = verdicts.iter().filter(|v| v.rule == rule && !matches!(v.level, Level::Ok | Level::Unknown));
    bad.map(|v| v.subject.as_str()).collect()
}

const MEDIA: &str = "nvme_media_errors_total";
const SECTORS: &str = "smartctl_device_reallocated_sectors";

/// Series, device, rule and label of the counter: NVMe and SATA keep it for life.
const COUNTERS: [(&str, &str, Rule); 2] = [(MEDIA, "nvme0", Rule::NvmeMediaErrors), (SECTORS, "sda", Rule::DiskSmart)];

#[test]
fn a_disk_in_the_place_of_another_brings_its_own_count_whether_it_is_higher_or_lower() {
    for (name, device, rule) in COUNTERS {
        for other in [3.0, 900.0] {
            let mut health = HealthEvaluator::new(Thresholds::default());
            observe(&mut health, 0, &[(device, "A")], &[(name, "device", device, 40.0)]);
            let verdicts = observe(&mut health, 10, &[(device, "B")], &[(name, "device", device, other)]);
            assert_eq!(troubled(&verdicts, rule), [""; 0], "{name} from 40 to {other}");
            // From there on it counts again.
            let verdicts = observe(&mut health, 20, &[(device, "B")], &[(name, "device", device, other + 1.0)]);
            assert_eq!(troubled(&verdicts, rule), [device], "{name} grew from {other}");
        }
    }
}

#[test]
fn a_counter_of_a_disk_that_goes_back_is_no_growth_even_under_the_same_serial_number() {
    for (name, device, rule) in COUNTERS {
        let mut health = HealthEvaluator::new(Thresholds::default());
        let mut see = |seconds, value| {
            let verdicts = observe(&mut health, seconds, &[(device, "A")], &[(name, "device", device, value)]);
            troubled(&verdicts, rule).len()
        };
        assert_eq!([see(0, 40.0), see(10, 7.0), see(20, 7.0), see(30, 8.0)], [0, 0, 0, 1], "{name}");
    }
}

#[test]
fn two_disks_with_one_model_and_one_serial_number_are_two() {
    let mut health = HealthEvaluator::new(Thresholds::default());
    // Cheap disks have all the same number.
    let serials = [("nvme0", "0000000000"), ("nvme1", "0000000000"), ("sda", "1"), ("sdb", "1")];
    let mut see = |seconds, counts: [f64; 4]| {
        let [one, two, three, four] = counts;
        let values = [
            (MEDIA, "device", "nvme0", one),
            (MEDIA, "device", "nvme1", two),
            (SECTORS, "device", "sda", three),
            (SECTORS, "device", "sdb", four),
        ];
        let verdicts = observe(&mut health, seconds, &serials, &values);
        [Rule::NvmeMediaErrors, Rule::DiskSmart].map(|rule| troubled(&verdicts, rule).join(" "))
    };
    assert_eq!(see(0, [5.0, 90.0, 7.0, 1.0]), ["", ""]);
    assert_eq!(see(10, [5.0, 90.0, 7.0, 1.0]), ["", ""]);
    assert_eq!(see(20, [5.0, 91.0, 8.0, 1.0]), ["nvme1", "sda"]);
}
