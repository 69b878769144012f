//! The few facts of a node that fit into a table.

use hostler_plan::fact::{Memory, Reading, clock_is_synchronised};

/// Absent where the node does not have the fact.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Summary {
    /// The processor's, where the node names one; else the hottest component's.
    pub temperature_celsius: Option<f64>,
    /// Whether the firmware holds the processor back right now.
    pub throttled: Option<bool>,
    /// Memory that is not available to programs, of all.
    pub memory_used_ratio: Option<f64>,
    /// Of the root file system.
    pub disk_used_ratio: Option<f64>,
    /// The most worn NVMe disk's.
    pub nvme_used_ratio: Option<f64>,
    pub clock_synchronised: Option<bool>,
}

impl Summary {
    /// Picks them out of a reading.
    pub(crate) fn of(reading: &Reading) -> Self {
        let value = |name: &str| reading.get(name, &[]);
        let highest = |name: &str| reading.all(name).map(|(_, v)| v).reduce(f64::max);
        let processor = reading.find("hostler_node_temperature_celsius", &[("component", "cpu")]).map(|(_, v)| v);
        let now = reading.all("hostler_rpi_throttle").filter(|(labels, _)| labels.get("scope") == Some("now"));
        let share = |used: Option<f64>, all: Option<f64>| Some(used? / all?).filter(|r| r.is_finite());
        let root = [("mountpoint", "/")];
        let file_system = |name: &str| reading.find(name, &root).map(|(_, v)| v);
        let disk = file_system("node_filesystem_size_bytes");
        Self {
            temperature_celsius: processor.or_else(|| highest("hostler_node_temperature_celsius")),
            throttled: now.map(|(_, v)| v != 0.0).reduce(|a, b| a || b),
            memory_used_ratio: Memory::of(reading).and_then(Memory::available_ratio).map(|left| 1.0 - left),
            disk_used_ratio: share(disk.zip(file_system("node_filesystem_avail_bytes")).map(|(a, f)| a - f), disk),
            nvme_used_ratio: highest("nvme_percentage_used_ratio"),
            clock_synchronised: value("node_timex_maxerror_seconds").map(clock_is_synchronised),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plan::fact::Series;

    #[test]
    fn a_summary_holds_what_is_there_and_nothing_else() {
        let mut reading = Reading::new(1);
        assert_eq!(Summary::of(&reading), Summary::default());
        reading.set(Series::new("node_memory_MemTotal_bytes", &[]), 8e9);
        assert_eq!(Summary::of(&reading).memory_used_ratio, None, "missing is missing");
        reading.set(Series::new("node_memory_MemAvailable_bytes", &[]), 6e9);
        reading.set(Series::new("node_filesystem_size_bytes", &[("mountpoint", "/"), ("device", "x")]), 100.0);
        reading.set(Series::new("node_filesystem_avail_bytes", &[("mountpoint", "/"), ("device", "x")]), 10.0);
        reading.set(Series::new("node_filesystem_avail_bytes", &[("mountpoint", "/boot"), ("device", "y")]), 99.0);
        reading.set(Series::new("hostler_node_temperature_celsius", &[("component", "nvme")]), 70.0);
        reading.set(Series::new("hostler_rpi_throttle", &[("reason", "throttled"), ("scope", "since_boot")]), 1.0);
        reading.set(Series::new("hostler_rpi_throttle", &[("reason", "throttled"), ("scope", "now")]), 0.0);
        let summary = Summary::of(&reading);
        assert_eq!(summary.memory_used_ratio, Some(0.25));
        assert_eq!(summary.disk_used_ratio, Some(0.9));
        assert_eq!(summary.temperature_celsius, Some(70.0));
        assert_eq!(summary.throttled, Some(false));
        reading.set(Series::new("hostler_node_temperature_celsius", &[("component", "cpu")]), 50.0);
        assert_eq!(Summary::of(&reading).temperature_celsius, Some(50.0));
    }
}
