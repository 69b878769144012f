//! What a series is worth where a machine has more of them than are kept.
//!
//! Whatever is not named here is kept whatever the size of the machine, so that no limit takes what decides.

/// In the order in which series are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worth {
    /// Kept always: rules look at it, or it says what the machine is.
    Kept,
    /// Shown in dashboards, one for each processor or sensor.
    Shown,
    /// Nobody misses it.
    Spare,
}

/// Beginnings of names.
const SHOWN: [&str; 6] = [
    "node_cpu_seconds_total",
    "node_hwmon_temp_celsius",
    "node_hwmon_fan_rpm",
    "node_thermal_zone_temp",
    "hostler_nvme_sensor_celsius",
    "node_cpu_scaling_frequency_hertz",
];
const SPARE: [&str; 18] = [
    "node_cpu_guest_seconds_total",
    "node_cpu_scaling_",
    "node_cpu_frequency_",
    "node_cpu_core_throttles_total",
    "node_hwmon_",
    "node_cooling_device_",
    "node_rapl_",
    "node_disk_reads_merged_total",
    "node_disk_writes_merged_total",
    "node_disk_discard",
    "node_disk_flush_requests_",
    "hostler_nvme_thermal_",
    "hostler_nvme_warning_temp_seconds_total",
    "hostler_nvme_critical_comp_temp_seconds_total",
    "nvme_host_",
    "nvme_controller_busy_time_seconds",
    "nvme_power_cycles_total",
    "node_zfs_arc_c_max",
];

pub(crate) fn of(name: &str) -> Worth {
    let begins = |names: &[&str]| names.iter().any(|begin| name.starts_with(begin));
    if begins(&SHOWN) {
        Worth::Shown
    } else if begins(&SPARE) {
        Worth::Spare
    } else {
        Worth::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    /// Every word in quotes of the rules' sources that is a name of a series.
    fn judged() -> BTreeSet<String> {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../plan/src/health")];
        let mut found = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let source = fs::read_to_string(&path).unwrap();
                let names = source.split(['"', '{']).filter(|word| {
                    let known = ["node_", "nvme_", "hostler_", "smartctl_", "apt_"].iter().any(|p| word.starts_with(p));
                    known && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                });
                found.extend(names.map(str::to_owned));
            }
        }
        found
    }

    /// How many processors there are, which `hostler_processors` tells as well.
    const COUNTED: &str = "node_cpu_seconds_total";

    #[test]
    fn nothing_that_a_rule_looks_at_can_be_left_out() {
        let judged = judged();
        assert!(judged.len() > 50 && judged.contains(COUNTED), "{judged:?}");
        let lost: Vec<_> = judged.iter().filter(|name| *name != COUNTED && of(name) != Worth::Kept).collect();
        assert!(lost.is_empty(), "{lost:?}");
        assert!(of("node_cpu_scaling_frequency_hertz") < of("node_cpu_scaling_governor"));
    }
}
