//! What of a node's facts is served to others.

use hostler_plan::fact::{Labels, Reading, Series};

/// Series of one node at most: what keeps a Prometheus on a small machine well. A Raspberry Pi has fewer.
const MAX_SERIES_PER_NODE: usize = 400;

/// The label that says whose series it is. It is the coordinator's to give: two series of a node that differ in it
/// alone would be one.
pub(crate) const INSTANCE: &str = "instance";

/// The families of the coordinator itself. A node that reports one of these is not believed: a family that stands twice
/// would spoil the answer for everybody.
pub(crate) const OWN_FAMILIES: [&str; 25] = [
    "hostler_coordinator_alarms_total",
    "hostler_coordinator_clock_behind_seconds",
    "hostler_coordinator_ledger_stuck",
    "hostler_coordinator_receipts_refused_total",
    "hostler_coordinator_info",
    "hostler_coordinator_node_series_dropped_total",
    "hostler_coordinator_streams",
    "hostler_forks",
    "hostler_ledger_bytes",
    "hostler_ledger_records",
    "hostler_node_accepted_verdicts",
    "hostler_node_cordoned",
    "hostler_node_health",
    "hostler_node_last_report_timestamp_seconds",
    "hostler_node_refusals_total",
    "hostler_node_up",
    "hostler_nodes_pending",
    "hostler_quarantines",
    "hostler_refusals_total",
    "hostler_root_expires_timestamp_seconds",
    "hostler_rollout_state",
    "hostler_rollout_tasks",
    "hostler_rollout_waits",
    "hostler_rollouts_needing_attention",
    // Prometheus makes this one itself for every target.
    "up",
];

/// What of a reading is served: all of it, or the families that fit when the ones with the most series go first. Says
/// how many series were left out.
pub(crate) fn fit(reading: &Reading) -> Option<(Reading, u64)> {
    let is_ours = |labels: Labels<'_>| labels.get(INSTANCE).is_some();
    let speaks_for_us = || reading.names().any(|n| OWN_FAMILIES.contains(&n));
    if reading.len() <= MAX_SERIES_PER_NODE && !speaks_for_us() && !reading.iter().any(|(_, labels, _)| is_ours(labels))
    {
        return None;
    }
    let theirs = reading.names().filter(|name| !OWN_FAMILIES.contains(name));
    let mut families: Vec<(usize, String)> = theirs.map(|name| (reading.all(name).count(), name.to_owned())).collect();
    families.sort();
    let mut served = Reading::new(reading.at_ms());
    for (size, name) in families {
        if served.len() + size > MAX_SERIES_PER_NODE {
            break;
        }
        for (found, value) in reading.all(&name).filter(|(labels, _)| !is_ours(*labels)) {
            let pairs: Vec<(&str, &str)> = found.iter().collect();
            if let Ok(series) = Series::checked(&name, &pairs) {
                served.set(series, value);
            }
        }
    }
    let dropped = (reading.len() - served.len()) as u64;
    Some((served, dropped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_families_go_first() {
        let mut reading = Reading::new(1);
        for i in 0..390 {
            reading.set(Series::new("node_cpu_seconds_total", &[("cpu", &i.to_string())]), 1.0);
        }
        assert_eq!(fit(&reading), None);
        for i in 0..20 {
            reading.set(Series::new("zzz_small", &[("n", &i.to_string())]), 2.0);
        }
        reading.set(Series::new("nvme_percentage_used_ratio", &[("device", "nvme0")]), 0.5);
        let (served, dropped) = fit(&reading).unwrap();
        assert_eq!((served.len(), dropped), (21, 390));
        assert_eq!(served.get("nvme_percentage_used_ratio", &[("device", "nvme0")]), Some(0.5));
    }

    #[test]
    fn a_node_does_not_speak_for_the_coordinator() {
        let mut reading = Reading::new(1);
        reading.set(Series::new("node_load5", &[("instance", "b")]), 1.0);
        reading.set(Series::new("node_load1", &[]), 1.0);
        reading.set(Series::new("hostler_node_up", &[]), 1.0);
        let (served, dropped) = fit(&reading).unwrap();
        assert_eq!((served.len(), dropped), (1, 2));
        assert_eq!(served.get("node_load1", &[]), Some(1.0));
    }
}
