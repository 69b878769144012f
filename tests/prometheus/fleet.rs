//! The dashboard of the whole fleet.

use crate::dashboard::{Dashboard, Kind::*, Panel, Row};

const fn stat(title: &'static str, unit: &'static str, query: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, kind: Stat, unit, width: 3, height: 4, queries: query, limits: None }
}

const fn lines(title: &'static str, unit: &'static str, queries: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, kind: Lines, unit, width: 8, height: 8, queries, limits: None }
}

const fn until(panel: Panel, yellow: f64, red: f64) -> Panel {
    Panel { limits: Some((yellow, red)), ..panel }
}

pub(crate) const FLEET: Dashboard = Dashboard {
    uid: "hostler-fleet",
    title: "Hostler / Fleet",
    description: "Every node of the fleet: who is there, who is hot, who is full, and what is being rolled out.",
    of_one_node: false,
    rows: &[
        Row {
            title: "Now",
            panels: &[
                stat("Nodes", "short", &[("count(hostler_node_up)", "")]),
                until(stat("Silent", "short", &[("count(hostler_node_up == 0) or vector(0)", "")]), 1.0, 1.0),
                until(
                    stat("Critical", "short", &[("sum(hostler_node_health{level=\"critical\"}) or vector(0)", "")]),
                    1.0,
                    1.0,
                ),
                until(
                    stat(
                        "Alerts",
                        "short",
                        &[(
                            "count(ALERTS{alertname=~\"Hostler.*\",alertstate=\"firing\",severity!=\"info\"}) or \
                             vector(0)",
                            "",
                        )],
                    ),
                    1.0,
                    3.0,
                ),
                until(stat("Rollouts that ask", "short", &[("hostler_rollouts_needing_attention", "")]), 1.0, 1.0),
                stat(
                    "Updates wait on",
                    "short",
                    &[("count(sum by (instance) (apt_upgrades_pending) > 0) or vector(0)", "")],
                ),
                stat("Reboots wait on", "short", &[("count(node_reboot_required == 1) or vector(0)", "")]),
                stat("Next certificate", "s", &[("min(hostler_certificate_not_after_timestamp_seconds) - time()", "")]),
                Panel {
                    title: "Nodes",
                    kind: Table,
                    unit: "short",
                    width: 24,
                    height: 9,
                    limits: None,
                    queries: &[
                        ("max by (instance) (hostler_node_up)", "Up"),
                        ("max by (instance) (hostler_node_health{level=\"critical\"})", "Critical"),
                        ("max by (instance) (hostler_node_temperature_celsius{component=\"cpu\"})", "CPU °C"),
                        ("max by (instance) (hostler_rpi_throttle{scope=\"now\"})", "Throttled"),
                        (
                            "100 * (1 - max by (instance) (node_memory_MemAvailable_bytes) / max by (instance) \
                             (node_memory_MemTotal_bytes))",
                            "Memory %",
                        ),
                        (
                            "100 * (1 - max by (instance) (node_filesystem_avail_bytes{mountpoint=\"/\"}) / max by \
                             (instance) (node_filesystem_size_bytes{mountpoint=\"/\"}))",
                            "Disk %",
                        ),
                        ("100 * max by (instance) (nvme_percentage_used_ratio)", "NVMe worn %"),
                        ("max by (instance) (node_timex_sync_status)", "Clock"),
                        ("max by (instance) (node_reboot_required)", "Reboot"),
                    ],
                },
            ],
        },
        Row {
            title: "Heat and power",
            panels: &[
                lines(
                    "Processor temperature",
                    "celsius",
                    &[("hostler_node_temperature_celsius{component=\"cpu\"}", "{{instance}}")],
                ),
                lines(
                    "Throttled share of the last five minutes",
                    "percentunit",
                    &[("max by (instance) (avg_over_time(hostler_rpi_throttle{scope=\"now\"}[5m]))", "{{instance}}")],
                ),
                lines("Input voltage", "volt", &[("hostler_rpi_pmic_volts{rail=\"EXT5V\"}", "{{instance}}")]),
            ],
        },
        Row {
            title: "Load",
            panels: &[
                lines(
                    "Processor in use",
                    "percentunit",
                    &[(
                        "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[$__rate_interval]))",
                        "{{instance}}",
                    )],
                ),
                lines(
                    "Memory in use",
                    "percentunit",
                    &[("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{instance}}")],
                ),
                lines(
                    "Network",
                    "Bps",
                    &[
                        (
                            "sum by (instance) (rate(node_network_receive_bytes_total[$__rate_interval]))",
                            "{{instance}} received",
                        ),
                        (
                            "-sum by (instance) (rate(node_network_transmit_bytes_total[$__rate_interval]))",
                            "{{instance}} sent",
                        ),
                    ],
                ),
            ],
        },
        Row {
            title: "Disks",
            panels: &[
                lines(
                    "Fullest file system",
                    "percentunit",
                    &[(
                        "max by (instance) (1 - node_filesystem_avail_bytes{fstype!~\"tmpfs|overlay|squashfs\"} / \
                         node_filesystem_size_bytes)",
                        "{{instance}}",
                    )],
                ),
                lines(
                    "Slowest write",
                    "s",
                    &[(
                        "max by (instance) (rate(node_disk_write_time_seconds_total[$__rate_interval]) / \
                         rate(node_disk_writes_completed_total[$__rate_interval]))",
                        "{{instance}}",
                    )],
                ),
                lines("NVMe life used", "percentunit", &[("nvme_percentage_used_ratio", "{{instance}} {{device}}")]),
            ],
        },
        Row {
            title: "Work",
            panels: &[
                lines("Tasks of rollouts", "short", &[("hostler_rollout_tasks", "{{seq}} {{state}}")]),
                lines(
                    "Refusals in ten minutes",
                    "short",
                    &[("sum by (refusal) (increase(hostler_refusals_total[10m])) > 0", "{{refusal}}")],
                ),
                lines(
                    "Age of the last report",
                    "s",
                    &[("time() - hostler_node_last_report_timestamp_seconds", "{{instance}}")],
                ),
            ],
        },
    ],
};
