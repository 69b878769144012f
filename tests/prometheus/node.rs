//! The dashboard of one node.

use crate::dashboard::{Dashboard, Kind::*, Panel, Row};

const fn stat(title: &'static str, unit: &'static str, query: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, kind: Stat, unit, width: 3, height: 4, queries: query, limits: None }
}

const fn lines(title: &'static str, unit: &'static str, queries: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, kind: Lines, unit, width: 8, height: 8, queries, limits: None }
}

const fn table(title: &'static str, unit: &'static str, queries: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, kind: Table, unit, width: 12, height: 7, queries, limits: None }
}

const fn until(panel: Panel, yellow: f64, red: f64) -> Panel {
    Panel { limits: Some((yellow, red)), ..panel }
}

pub(crate) const NODE: Dashboard = Dashboard {
    uid: "hostler-node",
    title: "Hostler / Node",
    description: "One node: heat, power, memory, disks, network, services and what the agent costs.",
    of_one_node: true,
    rows: &[
        Row {
            title: "Now",
            panels: &[
                until(stat("Silent", "short", &[("1 - hostler_node_up{instance=\"$instance\"}", "")]), 1.0, 1.0),
                stat("Verdict", "none", &[("hostler_node_health{instance=\"$instance\"} == 1", "{{level}}")]),
                stat("Up since", "dateTimeFromNow", &[("node_boot_time_seconds{instance=\"$instance\"} * 1000", "")]),
                until(
                    stat(
                        "Processor",
                        "celsius",
                        &[("hostler_node_temperature_celsius{instance=\"$instance\",component=\"cpu\"}", "")],
                    ),
                    80.0,
                    85.0,
                ),
                until(
                    stat(
                        "Memory",
                        "percentunit",
                        &[(
                            "1 - node_memory_MemAvailable_bytes{instance=\"$instance\"} / node_memory_MemTotal_bytes",
                            "",
                        )],
                    ),
                    0.8,
                    0.9,
                ),
                until(
                    stat(
                        "Root file system",
                        "percentunit",
                        &[(
                            "1 - node_filesystem_avail_bytes{instance=\"$instance\",mountpoint=\"/\"} / \
                             node_filesystem_size_bytes",
                            "",
                        )],
                    ),
                    0.8,
                    0.9,
                ),
                until(
                    stat(
                        "Failed units",
                        "short",
                        &[("node_systemd_units{instance=\"$instance\",state=\"failed\"}", "")],
                    ),
                    1.0,
                    3.0,
                ),
                stat("Updates", "short", &[("sum(apt_upgrades_pending{instance=\"$instance\"})", "")]),
                table(
                    "Machine",
                    "none",
                    &[("max by (model, serial, revision) (hostler_node_info{instance=\"$instance\"})", "Present")],
                ),
                table(
                    "System",
                    "none",
                    &[("max by (nodename, release, machine) (node_uname_info{instance=\"$instance\"})", "Present")],
                ),
            ],
        },
        Row {
            title: "Heat and power",
            panels: &[
                lines(
                    "Temperatures",
                    "celsius",
                    &[
                        ("hostler_node_temperature_celsius{instance=\"$instance\"}", "{{component}}"),
                        ("hostler_node_temperature_crit_celsius{instance=\"$instance\"}", "{{component}} limit"),
                        ("nvme_temperature_celsius{instance=\"$instance\"}", "{{device}}"),
                        ("node_hwmon_temp_celsius{instance=\"$instance\"}", "{{chip}} {{sensor}}"),
                    ],
                ),
                Panel {
                    title: "Throttling",
                    kind: Timeline,
                    unit: "short",
                    width: 8,
                    height: 8,
                    queries: &[
                        ("hostler_rpi_throttle{instance=\"$instance\",scope=\"now\"}", "{{reason}}"),
                        ("hostler_rpi_under_voltage{instance=\"$instance\"}", "supply alarm"),
                    ],
                    limits: Some((1.0, 1.0)),
                },
                lines(
                    "Input voltage",
                    "volt",
                    &[("hostler_rpi_pmic_volts{instance=\"$instance\",rail=\"EXT5V\"}", "{{rail}}")],
                ),
                lines(
                    "Power of the measured rails",
                    "watt",
                    &[("hostler_rpi_power_watts{instance=\"$instance\"}", "rails")],
                ),
                lines("Fans", "rotrpm", &[("node_hwmon_fan_rpm{instance=\"$instance\"}", "{{chip}} {{sensor}}")]),
                lines(
                    "Clock of the processor",
                    "hertz",
                    &[
                        ("node_cpu_scaling_frequency_hertz{instance=\"$instance\"}", "cpu {{cpu}}"),
                        ("hostler_rpi_arm_frequency_hertz{instance=\"$instance\"}", "measured"),
                    ],
                ),
            ],
        },
        Row {
            title: "Processor and memory",
            panels: &[
                lines(
                    "Processor",
                    "percentunit",
                    &[(
                        "avg by (mode) \
                         (rate(node_cpu_seconds_total{instance=\"$instance\",mode!=\"idle\"}[$__rate_interval]))",
                        "{{mode}}",
                    )],
                ),
                lines(
                    "Load",
                    "short",
                    &[
                        ("node_load1{instance=\"$instance\"}", "1 minute"),
                        ("node_load5{instance=\"$instance\"}", "5 minutes"),
                        ("node_load15{instance=\"$instance\"}", "15 minutes"),
                        ("node_procs_blocked{instance=\"$instance\"}", "blocked"),
                    ],
                ),
                lines(
                    "Pressure",
                    "percentunit",
                    &[
                        (
                            "rate(node_pressure_cpu_waiting_seconds_total{instance=\"$instance\"}[$__rate_interval])",
                            "processor",
                        ),
                        (
                            "rate(\
                             node_pressure_memory_waiting_seconds_total{instance=\"$instance\"}[$__rate_interval])",
                            "memory",
                        ),
                        (
                            "rate(node_pressure_io_waiting_seconds_total{instance=\"$instance\"}[$__rate_interval])",
                            "disk",
                        ),
                    ],
                ),
                lines(
                    "Memory",
                    "bytes",
                    &[
                        ("node_memory_MemTotal_bytes{instance=\"$instance\"}", "total"),
                        ("node_memory_MemAvailable_bytes{instance=\"$instance\"}", "available"),
                        ("node_memory_Cached_bytes{instance=\"$instance\"}", "cached"),
                        (
                            "node_memory_SwapTotal_bytes{instance=\"$instance\"} - node_memory_SwapFree_bytes",
                            "swap in use",
                        ),
                    ],
                ),
                lines(
                    "Killed for lack of memory",
                    "short",
                    &[("increase(node_vmstat_oom_kill{instance=\"$instance\"}[10m])", "in ten minutes")],
                ),
                lines(
                    "Memory errors",
                    "short",
                    &[
                        ("node_edac_correctable_errors_total{instance=\"$instance\"}", "corrected {{controller}}"),
                        (
                            "node_edac_uncorrectable_errors_total{instance=\"$instance\"}",
                            "not corrected {{controller}}",
                        ),
                    ],
                ),
            ],
        },
        Row {
            title: "Disks",
            panels: &[
                lines(
                    "Space in use",
                    "percentunit",
                    &[(
                        "1 - node_filesystem_avail_bytes{instance=\"$instance\"} / node_filesystem_size_bytes",
                        "{{mountpoint}}",
                    )],
                ),
                lines(
                    "Inodes in use",
                    "percentunit",
                    &[(
                        "1 - node_filesystem_files_free{instance=\"$instance\"} / (node_filesystem_files > 0)",
                        "{{mountpoint}}",
                    )],
                ),
                lines(
                    "Time of a request",
                    "s",
                    &[
                        (
                            "rate(node_disk_read_time_seconds_total{instance=\"$instance\"}[$__rate_interval]) / \
                             rate(node_disk_reads_completed_total[$__rate_interval])",
                            "{{device}} read",
                        ),
                        (
                            "rate(node_disk_write_time_seconds_total{instance=\"$instance\"}[$__rate_interval]) / \
                             rate(node_disk_writes_completed_total[$__rate_interval])",
                            "{{device}} write",
                        ),
                    ],
                ),
                lines(
                    "Throughput",
                    "Bps",
                    &[
                        (
                            "rate(node_disk_read_bytes_total{instance=\"$instance\"}[$__rate_interval])",
                            "{{device}} read",
                        ),
                        (
                            "-rate(node_disk_written_bytes_total{instance=\"$instance\"}[$__rate_interval])",
                            "{{device}} write",
                        ),
                    ],
                ),
                lines(
                    "Busy",
                    "percentunit",
                    &[(
                        "rate(node_disk_io_time_seconds_total{instance=\"$instance\"}[$__rate_interval])",
                        "{{device}}",
                    )],
                ),
                lines(
                    "File system errors",
                    "short",
                    &[
                        ("hostler_ext4_errors_total{instance=\"$instance\"}", "{{device}}"),
                        ("node_filesystem_readonly{instance=\"$instance\"} == 1", "{{mountpoint}} read-only"),
                    ],
                ),
                table(
                    "NVMe",
                    "none",
                    &[
                        ("100 * max by (device) (nvme_percentage_used_ratio{instance=\"$instance\"})", "Worn %"),
                        ("100 * max by (device) (nvme_available_spare_ratio{instance=\"$instance\"})", "Spare %"),
                        ("max by (device) (nvme_critical_warning{instance=\"$instance\"})", "Warning bits"),
                        ("max by (device) (nvme_media_errors_total{instance=\"$instance\"})", "Media errors"),
                        ("max by (device) (nvme_power_on_hours_total{instance=\"$instance\"})", "Hours"),
                        ("max by (device) (nvme_unsafe_shutdowns_total{instance=\"$instance\"})", "Power losses"),
                        (
                            "max by (device) (nvme_data_units_written_total{instance=\"$instance\"}) * 512000 / 1e12",
                            "Written TB",
                        ),
                    ],
                ),
                table(
                    "eMMC and SATA",
                    "none",
                    &[
                        ("100 * max by (device) (hostler_mmc_life_used_ratio{instance=\"$instance\"})", "eMMC used %"),
                        ("max by (device) (smartctl_device_smart_status{instance=\"$instance\"})", "SATA healthy"),
                        ("max by (device) (smartctl_device_pending_sectors{instance=\"$instance\"})", "SATA pending"),
                    ],
                ),
            ],
        },
        Row {
            title: "Network",
            panels: &[
                lines(
                    "Throughput",
                    "Bps",
                    &[
                        (
                            "rate(node_network_receive_bytes_total{instance=\"$instance\"}[$__rate_interval])",
                            "{{device}} in",
                        ),
                        (
                            "-rate(node_network_transmit_bytes_total{instance=\"$instance\"}[$__rate_interval])",
                            "{{device}} out",
                        ),
                    ],
                ),
                lines(
                    "Errors and drops",
                    "pps",
                    &[
                        (
                            "rate(node_network_receive_errs_total{instance=\"$instance\"}[$__rate_interval])",
                            "{{device}} in",
                        ),
                        (
                            "rate(node_network_transmit_errs_total{instance=\"$instance\"}[$__rate_interval])",
                            "{{device}} out",
                        ),
                        (
                            "rate(node_network_receive_drop_total{instance=\"$instance\"}[$__rate_interval])",
                            "{{device}} dropped",
                        ),
                    ],
                ),
                lines(
                    "Changes of the link in ten minutes",
                    "short",
                    &[("increase(node_network_carrier_changes_total{instance=\"$instance\"}[10m])", "{{device}}")],
                ),
            ],
        },
        Row {
            title: "System",
            panels: &[
                lines(
                    "Clock",
                    "s",
                    &[
                        ("node_timex_offset_seconds{instance=\"$instance\"}", "offset"),
                        ("node_timex_maxerror_seconds{instance=\"$instance\"}", "largest error"),
                    ],
                ),
                lines(
                    "Kernel log in ten minutes",
                    "short",
                    &[("increase(hostler_kernel_events_total{instance=\"$instance\"}[10m])", "{{reason}}")],
                ),
                lines(
                    "Connections and open files",
                    "percentunit",
                    &[
                        (
                            "node_nf_conntrack_entries{instance=\"$instance\"} / node_nf_conntrack_entries_limit",
                            "connections",
                        ),
                        ("node_filefd_allocated{instance=\"$instance\"} / node_filefd_maximum", "open files"),
                    ],
                ),
                table(
                    "Certificates",
                    "s",
                    &[(
                        "sort(hostler_certificate_not_after_timestamp_seconds{instance=\"$instance\"} - time())",
                        "Expires in",
                    )],
                ),
                table(
                    "Failed units",
                    "none",
                    &[("max by (name) (node_systemd_unit_state{instance=\"$instance\",state=\"failed\"})", "Failed")],
                ),
            ],
        },
        Row {
            title: "Agent and executor",
            panels: &[
                lines(
                    "Memory",
                    "bytes",
                    &[("process_resident_memory_bytes{instance=\"$instance\",job=\"hostler\"}", "{{program}}")],
                ),
                lines(
                    "Processor",
                    "percentunit",
                    &[(
                        "rate(process_cpu_seconds_total{instance=\"$instance\",job=\"hostler\"}[$__rate_interval])",
                        "{{program}}",
                    )],
                ),
                lines(
                    "Readers",
                    "s",
                    &[("topk(8, node_scrape_collector_duration_seconds{instance=\"$instance\"})", "{{collector}}")],
                ),
            ],
        },
    ],
};
