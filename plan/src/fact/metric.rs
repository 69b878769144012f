//! Type and meaning of every metric that the agent can report. Names without a row follow the suffix rules.

/// How a number behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; a decrease is a restart of whatever counts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Exported without a type, as node_exporter does for `node_vmstat_*`.
    Untyped,
}

impl Kind {
    /// The word of the text format.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Untyped => "untyped",
        }
    }
}

/// Type and help text of a metric name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// How it behaves.
    pub kind: Kind,
    /// One sentence; empty for names that are not in the table.
    pub help: &'static str,
}

/// Type and help of a name: from the table, else from its family (`node_memory_*`, `node_vmstat_*`, `node_hwmon_*`,
/// `node_zfs_arc_*`, `node_pressure_*`), else from its suffix.
pub fn metric(name: &str) -> Metric {
    if let Ok(found) = TABLE.binary_search_by(|row| row.0.cmp(name)) {
        let (_, kind, help) = TABLE[found];
        return Metric { kind, help };
    }
    let (kind, help) = if name.starts_with("node_vmstat_") {
        (Kind::Untyped, "A field of /proc/vmstat.")
    } else if name.starts_with("node_memory_") {
        (Kind::Gauge, "A field of /proc/meminfo.")
    } else if name.starts_with("node_zfs_arc_") {
        (Kind::Untyped, "A field of /proc/spl/kstat/zfs/arcstats.")
    } else if name.starts_with("node_pressure_") {
        (Kind::Counter, "Time that tasks waited, from /proc/pressure.")
    } else if name.starts_with("node_hwmon_") {
        (Kind::Gauge, "A value of a sensor chip.")
    } else if name.ends_with("_total") {
        (Kind::Counter, "")
    } else {
        (Kind::Untyped, "")
    };
    Metric { kind, help }
}

/// Sorted by name.
#[rustfmt::skip]
const TABLE: &[(&str, Kind, &str)] = &[
    ("apt_package_cache_timestamp_seconds", Kind::Gauge, "When the package lists were refreshed last, Unix time."),
    ("apt_upgrades_held", Kind::Gauge, "Packages that are held back."),
    ("apt_upgrades_pending", Kind::Gauge, "Packages that have an update, by origin."),
    ("hostler_bootloader_build_timestamp_seconds", Kind::Gauge, "When the installed boot loader was built, Unix time."),
    ("hostler_bootloader_info", Kind::Gauge, "Boot loader of a Raspberry Pi, value always 1."),
    ("hostler_bootloader_latest_timestamp_seconds", Kind::Gauge, "Build time of the newest boot loader image on disk, \
        Unix time."),
    ("hostler_bootloader_update_available", Kind::Gauge, "1 when a newer boot loader image is on disk than installed."),
    ("hostler_btrfs_errors_total", Kind::Counter, "Errors that btrfs counted on one of its devices, since a person \
        reset them."),
    ("hostler_certificate_not_after_timestamp_seconds", Kind::Gauge, "When the first certificate of a file expires, \
        Unix time."),
    ("hostler_cgroup_controller_enabled", Kind::Gauge, "1 when the control group controller can be used."),
    ("hostler_disk_carries", Kind::Gauge, "1 for each thing that a disk of the machine carries; `nothing` where there \
        is none. 0 for what is mounted from a disk that is there no more."),
    ("hostler_ext4_errors_total", Kind::Counter, "Errors recorded in the superblock of an ext4 file system."),
    ("hostler_ext4_warnings_total", Kind::Counter, "Warnings recorded in the superblock of an ext4 file system."),
    ("hostler_filesystem_emergency_readonly", Kind::Gauge, "1 for a file system that the kernel lets nobody write to \
        because of an error."),
    ("hostler_filesystem_forced_readonly_total", Kind::Counter, "Times that the kernel made a file system read-only \
        because of an error, by device."),
    ("hostler_filesystem_mount_id", Kind::Gauge, "Number of the mount of an XFS: another one where it \
        was mounted anew."),
    ("hostler_kernel_events_total", Kind::Counter, "Kernel log messages of a known kind since the agent started."),
    ("hostler_kernel_tainted", Kind::Gauge, "The kernel's taint bits as one number."),
    ("hostler_kubernetes_joined", Kind::Gauge, "1 when the node has been a member of a cluster."),
    ("hostler_machine_check_exceptions_total", Kind::Counter, "Machine check exceptions of all processors since boot."),
    ("hostler_mmc_info", Kind::Gauge, "Identity of an SD card or eMMC, value always 1."),
    ("hostler_mmc_life_used_ratio", Kind::Gauge, "Used share of the eMMC's life time, upper end of the reported \
        tenth."),
    ("hostler_mmc_pre_eol", Kind::Gauge, "Reserve of the eMMC: 1 normal, 2 warning, 3 urgent."),
    ("hostler_network_default_route", Kind::Gauge, "1 for each interface of a default route."),
    ("hostler_node_info", Kind::Gauge, "Board, serial number, boot id and page size of the node, value always 1."),
    ("hostler_node_oom_kills_total", Kind::Counter, "Processes that were killed because the memory of the node, or \
        that of all its pods, ran out; not those that reached a limit of their own."),
    ("hostler_node_temperature_celsius", Kind::Gauge, "Temperature of a component, whatever the sensor is called."),
    ("hostler_node_temperature_crit_celsius", Kind::Gauge, "Critical temperature of a component as its sensor reports \
        it."),
    ("hostler_nvme_crit_temp_celsius", Kind::Gauge, "Critical composite temperature (CCTEMP) of an NVMe disk."),
    ("hostler_nvme_critical_comp_temp_seconds_total", Kind::Counter, "Time spent at or above the critical \
        temperature."),
    ("hostler_nvme_critical_warning", Kind::Gauge, "One bit of the critical warning of an NVMe disk."),
    ("hostler_nvme_live", Kind::Gauge, "1 when the controller's state is live."),
    ("hostler_nvme_root", Kind::Gauge, "1 for the NVMe controller that holds the root file system."),
    ("hostler_nvme_sensor_celsius", Kind::Gauge, "Temperature of one sensor of an NVMe disk."),
    ("hostler_nvme_thermal_seconds_total", Kind::Counter, "Time spent under thermal management, by level."),
    ("hostler_nvme_thermal_transitions_total", Kind::Counter, "Transitions into thermal management, by level."),
    ("hostler_nvme_warn_temp_celsius", Kind::Gauge, "Warning composite temperature (WCTEMP) of an NVMe disk."),
    ("hostler_nvme_warning_temp_seconds_total", Kind::Counter, "Time spent at or above the warning temperature."),
    ("hostler_pcie_aer_errors_total", Kind::Counter, "PCIe errors reported by the device, by severity."),
    ("hostler_power_supply_max_current_amps", Kind::Gauge, "Current that the power supply of a Raspberry Pi 5 offers."),
    ("hostler_power_usb_over_current_detected", Kind::Gauge, "1 when the boot loader saw too much current on USB."),
    ("hostler_pressure_ratio", Kind::Gauge, "Share of the last minute in which tasks waited, by resource and kind."),
    ("hostler_processors", Kind::Gauge, "Processors (threads) that are online."),
    ("hostler_redundancy_failed", Kind::Gauge, "1 when an array or a pool serves no more."),
    ("hostler_redundancy_members", Kind::Gauge, "Members of a bond, a team or a multipath disk."),
    ("hostler_redundancy_missing", Kind::Gauge, "Members that an array lacks; of a pool 1 when any does."),
    ("hostler_redundancy_rebuilding", Kind::Gauge, "1 while an array is made whole again."),
    ("hostler_redundancy_required", Kind::Gauge, "1 when `/`, data or the default route is on this array, 0 when not."),
    ("hostler_rpi_arm_frequency_hertz", Kind::Gauge, "Measured clock of the ARM cores."),
    ("hostler_rpi_pmic_amps", Kind::Gauge, "Current of one rail of the power management chip."),
    ("hostler_rpi_pmic_volts", Kind::Gauge, "Voltage of one rail of the power management chip."),
    ("hostler_rpi_power_watts", Kind::Gauge, "Sum of voltage times current over the measured rails; not the power at \
        the socket."),
    ("hostler_rpi_throttle", Kind::Gauge, "One reason of the firmware's throttle word, now or since boot."),
    ("hostler_rpi_throttled_state", Kind::Gauge, "The firmware's throttle word as one number."),
    ("hostler_rpi_under_voltage", Kind::Gauge, "1 when the supply was below 4.63 V within the last two seconds."),
    ("hostler_sensor_implausible", Kind::Gauge, "1 for a sensor whose value cannot be true and was left out."),
    ("hostler_series_dropped_total", Kind::Counter, "Series that were left out because a limit was reached, by \
        collector."),
    ("hostler_systemd_unit_enabled", Kind::Gauge, "1 when the unit is started at boot."),
    ("node_bonding_active", Kind::Gauge, "Slaves of a bond that carry."),
    ("node_bonding_slaves", Kind::Gauge, "Slaves of a bond."),
    ("node_boot_time_seconds", Kind::Gauge, "When the kernel was booted, Unix time."),
    ("node_context_switches_total", Kind::Counter, "Context switches."),
    ("node_cooling_device_cur_state", Kind::Gauge, "Present state of a cooling device."),
    ("node_cooling_device_max_state", Kind::Gauge, "Highest state of a cooling device."),
    ("node_cpu_core_throttles_total", Kind::Counter, "Times that a core was throttled for its temperature."),
    ("node_cpu_frequency_max_hertz", Kind::Gauge, "Highest clock of the processor."),
    ("node_cpu_frequency_min_hertz", Kind::Gauge, "Lowest clock of the processor."),
    ("node_cpu_guest_seconds_total", Kind::Counter, "Time spent for virtual processors, by mode."),
    ("node_cpu_package_throttles_total", Kind::Counter, "Times that a package was throttled for its temperature."),
    ("node_cpu_scaling_frequency_hertz", Kind::Gauge, "Clock that the governor has set."),
    ("node_cpu_scaling_frequency_max_hertz", Kind::Gauge, "Highest clock that the governor may set."),
    ("node_cpu_scaling_frequency_min_hertz", Kind::Gauge, "Lowest clock that the governor may set."),
    ("node_cpu_scaling_governor", Kind::Gauge, "1 for the governor in use."),
    ("node_cpu_seconds_total", Kind::Counter, "Time that each processor spent in each mode."),
    ("node_disk_discard_time_seconds_total", Kind::Counter, "Time spent on discards."),
    ("node_disk_discarded_sectors_total", Kind::Counter, "Sectors discarded."),
    ("node_disk_discards_completed_total", Kind::Counter, "Discards completed."),
    ("node_disk_discards_merged_total", Kind::Counter, "Discards merged."),
    ("node_disk_flush_requests_time_seconds_total", Kind::Counter, "Time spent on flushes."),
    ("node_disk_flush_requests_total", Kind::Counter, "Flushes completed."),
    ("node_disk_io_now", Kind::Gauge, "Requests in flight."),
    ("node_disk_io_time_seconds_total", Kind::Counter, "Time with at least one request in flight."),
    ("node_disk_io_time_weighted_seconds_total", Kind::Counter, "Time with requests in flight, weighted by their \
        number."),
    ("node_disk_read_bytes_total", Kind::Counter, "Bytes read."),
    ("node_disk_read_time_seconds_total", Kind::Counter, "Time spent on reads."),
    ("node_disk_reads_completed_total", Kind::Counter, "Reads completed."),
    ("node_disk_reads_merged_total", Kind::Counter, "Reads merged."),
    ("node_disk_write_time_seconds_total", Kind::Counter, "Time spent on writes."),
    ("node_disk_writes_completed_total", Kind::Counter, "Writes completed."),
    ("node_disk_writes_merged_total", Kind::Counter, "Writes merged."),
    ("node_disk_written_bytes_total", Kind::Counter, "Bytes written."),
    ("node_dmi_info", Kind::Gauge, "Maker, model and BIOS of a PC, value always 1."),
    ("node_edac_correctable_errors_total", Kind::Counter, "Memory errors that were corrected."),
    ("node_edac_uncorrectable_errors_total", Kind::Counter, "Memory errors that could not be corrected."),
    ("node_filefd_allocated", Kind::Gauge, "Open files of the whole system."),
    ("node_filefd_maximum", Kind::Gauge, "Most open files of the whole system."),
    ("node_filesystem_avail_bytes", Kind::Gauge, "Bytes that an unprivileged user may still write."),
    ("node_filesystem_device_error", Kind::Gauge, "1 when the file system did not answer."),
    ("node_filesystem_files", Kind::Gauge, "Inodes."),
    ("node_filesystem_files_free", Kind::Gauge, "Free inodes."),
    ("node_filesystem_free_bytes", Kind::Gauge, "Free bytes."),
    ("node_filesystem_readonly", Kind::Gauge, "1 when the file system is mounted read-only."),
    ("node_filesystem_size_bytes", Kind::Gauge, "Size in bytes."),
    ("node_forks_total", Kind::Counter, "Processes started."),
    ("node_hwmon_chip_names", Kind::Gauge, "Name of a sensor chip, value always 1."),
    ("node_hwmon_sensor_label", Kind::Gauge, "Label of a sensor, value always 1."),
    ("node_intr_total", Kind::Counter, "Interrupts served."),
    ("node_kernel_hung_tasks", Kind::Gauge, "Tasks that hung since boot (old name)."),
    ("node_kernel_hung_tasks_total", Kind::Counter, "Tasks that hung since boot."),
    ("node_load1", Kind::Gauge, "Load average of one minute."),
    ("node_load15", Kind::Gauge, "Load average of fifteen minutes."),
    ("node_load5", Kind::Gauge, "Load average of five minutes."),
    ("node_md_disks", Kind::Gauge, "Disks of a software RAID, by state."),
    ("node_md_disks_required", Kind::Gauge, "Disks that a software RAID needs."),
    ("node_network_carrier", Kind::Gauge, "1 when the interface has a link."),
    ("node_network_carrier_changes_total", Kind::Counter, "Changes of the link."),
    ("node_network_info", Kind::Gauge, "Address and state of an interface, value always 1."),
    ("node_network_mtu_bytes", Kind::Gauge, "Largest packet of the interface."),
    ("node_network_receive_bytes_total", Kind::Counter, "Bytes received."),
    ("node_network_receive_drop_total", Kind::Counter, "Received packets that were dropped."),
    ("node_network_receive_errs_total", Kind::Counter, "Received packets with an error."),
    ("node_network_receive_packets_total", Kind::Counter, "Packets received."),
    ("node_network_speed_bytes", Kind::Gauge, "Speed of the link in bytes a second."),
    ("node_network_transmit_bytes_total", Kind::Counter, "Bytes sent."),
    ("node_network_transmit_drop_total", Kind::Counter, "Packets dropped before sending."),
    ("node_network_transmit_errs_total", Kind::Counter, "Packets that could not be sent."),
    ("node_network_transmit_packets_total", Kind::Counter, "Packets sent."),
    ("node_network_up", Kind::Gauge, "1 when the interface is up."),
    ("node_nf_conntrack_entries", Kind::Gauge, "Connections in the tracking table."),
    ("node_nf_conntrack_entries_limit", Kind::Gauge, "Room of the connection tracking table."),
    ("node_nvme_info", Kind::Gauge, "Model, serial number and firmware of an NVMe disk, value always 1."),
    ("node_os_info", Kind::Gauge, "Operating system, value always 1."),
    ("node_os_version", Kind::Gauge, "Version of the operating system as a number."),
    ("node_pcidevice_current_link_transfers_per_second", Kind::Gauge, "Present speed of a PCIe link."),
    ("node_pcidevice_current_link_width", Kind::Gauge, "Present lanes of a PCIe link."),
    ("node_pcidevice_max_link_transfers_per_second", Kind::Gauge, "Highest speed of a PCIe link."),
    ("node_pcidevice_max_link_width", Kind::Gauge, "Most lanes of a PCIe link."),
    ("node_procs_blocked", Kind::Gauge, "Processes that wait for I/O."),
    ("node_procs_running", Kind::Gauge, "Processes that run or could run."),
    ("node_rapl_package_joules_total", Kind::Counter, "Energy used by a processor package."),
    ("node_reboot_required", Kind::Gauge, "1 when an installed update needs a reboot."),
    ("node_scrape_collector_duration_seconds", Kind::Gauge, "Time that a reader took, rounded to milliseconds."),
    ("node_scrape_collector_success", Kind::Gauge, "1 when a reader worked."),
    ("node_systemd_service_restart_total", Kind::Counter, "Restarts of a unit that Kubernetes needs."),
    ("node_systemd_system_running", Kind::Gauge, "1 when systemd says that the system runs without a failed unit."),
    ("node_systemd_unit_state", Kind::Gauge, "1 for the state a unit is in; only units that are watched or failed."),
    ("node_systemd_units", Kind::Gauge, "Units by state."),
    ("node_thermal_zone_temp", Kind::Gauge, "Temperature of a thermal zone in degrees Celsius."),
    ("node_time_seconds", Kind::Gauge, "The node's clock, Unix time."),
    ("node_timex_estimated_error_seconds", Kind::Gauge, "Estimated error of the clock."),
    ("node_timex_frequency_adjustment_ratio", Kind::Gauge, "Local clock frequency adjustment."),
    ("node_timex_maxerror_seconds", Kind::Gauge, "Largest error of the clock."),
    ("node_timex_offset_seconds", Kind::Gauge, "Offset between the clock and its reference."),
    ("node_timex_status", Kind::Gauge, "Status bits of the clock."),
    ("node_timex_sync_status", Kind::Gauge, "1 when the kernel's flag says that the clock is synchronised."),
    ("node_timex_tai_offset_seconds", Kind::Gauge, "Offset of atomic time."),
    ("node_uname_info", Kind::Gauge, "Kernel, host name and architecture, value always 1."),
    ("node_zfs_zpool_state", Kind::Gauge, "1 for the state that a ZFS pool is in."),
    ("nvme_available_spare_ratio", Kind::Gauge, "Remaining spare capacity."),
    ("nvme_available_spare_threshold_ratio", Kind::Gauge, "Spare capacity below which the disk warns."),
    ("nvme_controller_busy_time_seconds", Kind::Counter, "Time that the controller was busy."),
    ("nvme_critical_warning", Kind::Gauge, "Critical warning bits of an NVMe disk as one number."),
    ("nvme_data_units_read_total", Kind::Counter, "Data read, in units of 512000 bytes."),
    ("nvme_data_units_written_total", Kind::Counter, "Data written, in units of 512000 bytes."),
    ("nvme_host_read_commands_total", Kind::Counter, "Read commands completed."),
    ("nvme_host_write_commands_total", Kind::Counter, "Write commands completed."),
    ("nvme_media_errors_total", Kind::Counter, "Times that the disk could not return the right data."),
    ("nvme_num_err_log_entries_total", Kind::Counter, "Entries of the error log; not zero on healthy disks."),
    ("nvme_percentage_used_ratio", Kind::Gauge, "Used share of the disk's life time; may be above 1."),
    ("nvme_power_cycles_total", Kind::Counter, "Power cycles."),
    ("nvme_power_on_hours_total", Kind::Counter, "Hours powered on."),
    ("nvme_temperature_celsius", Kind::Gauge, "Composite temperature of an NVMe disk."),
    ("nvme_unsafe_shutdowns_total", Kind::Counter, "Power losses without a shutdown."),
    ("process_cpu_seconds_total", Kind::Counter, "Processor time of a program of the node."),
    ("process_open_fds", Kind::Gauge, "Open files of a program of the node."),
    ("process_resident_memory_bytes", Kind::Gauge, "Resident memory of a program of the node."),
    ("process_start_time_seconds", Kind::Gauge, "When a program of the node started, Unix time."),
    ("smartctl_device", Kind::Gauge, "Model and serial number of a disk that smartctl reads, value always 1."),
    ("smartctl_device_exit_status", Kind::Gauge, "Exit bits of smartctl for the disk."),
    ("smartctl_device_pending_sectors", Kind::Gauge, "Sectors that a disk waits to remap."),
    ("smartctl_device_percentage_used", Kind::Gauge, "Used share of a disk's life time in percent; may be above 100."),
    ("smartctl_device_power_on_seconds", Kind::Gauge, "Time that a disk was powered on."),
    ("smartctl_device_reallocated_sectors", Kind::Gauge, "Sectors that a SATA disk has remapped."),
    ("smartctl_device_smart_status", Kind::Gauge, "1 when the disk calls itself healthy."),
    ("smartctl_device_temperature", Kind::Gauge, "Temperature of a disk, and limits that it names, in degrees \
        Celsius."),
    ("smartctl_read_total_uncorrected_errors", Kind::Gauge, "Errors of a SAS disk while reading that nothing \
        corrected."),
    ("smartctl_scsi_grown_defect_list", Kind::Gauge, "Defects of a SAS disk that grew since it was made."),
    ("smartctl_verify_total_uncorrected_errors", Kind::Gauge, "Errors of a SAS disk while verifying that nothing \
        corrected."),
    ("smartctl_write_total_uncorrected_errors", Kind::Gauge, "Errors of a SAS disk while writing that nothing \
        corrected."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_counters_end_as_they_should() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, kind, help) in TABLE {
            assert!(help.ends_with('.'), "{name}");
            let counts = name.ends_with("_total") || *name == "nvme_controller_busy_time_seconds";
            assert_eq!(*kind == Kind::Counter, counts, "{name}");
        }
    }

    #[test]
    fn families_without_a_row_have_the_type_of_node_exporter() {
        assert_eq!(metric("node_vmstat_pgfault").kind, Kind::Untyped);
        assert_eq!(metric("node_zfs_arc_size").kind, Kind::Untyped);
        assert_eq!(metric("node_memory_MemFree_bytes").kind, Kind::Gauge);
        assert_eq!(metric("node_pressure_io_waiting_seconds_total").kind, Kind::Counter);
        assert_eq!(metric("node_hwmon_temp_celsius").kind, Kind::Gauge);
        assert_eq!(metric("node_disk_read_bytes_total").kind, Kind::Counter);
    }
}
