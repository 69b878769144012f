//! The board of a simulated machine and the facts that its sensors would give, under the names of the real readers.

use std::collections::BTreeMap;

use hostler_plan::{
    document::Hardware,
    fact::{Reading, Series},
    id::{Arch, Digest, NodeName},
};
use serde::{Deserialize, Serialize};

use super::{Millis, Random, World, fault::Faults, machine::Machine};

/// What is screwed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    pub arch: Arch,
    pub model: String,
    pub serial: String,
    pub machine_id: String,
    pub memory_bytes: u64,
    pub disk_model: String,
    pub disk_serial: String,
    pub disk_bytes: u64,
    /// Hundredths of a degree that this board runs hotter than another: airflow in a rack.
    pub warmth: i64,
    /// Percent of the disk's life that is used.
    pub disk_worn_percent: u64,
}

/// A Pi's firmware throttle word: supply too low now, and since boot.
const UNDER_VOLTAGE_NOW: u32 = 0x1;
const UNDER_VOLTAGE_SINCE_BOOT: u32 = 0x1_0000;

impl Board {
    /// The board of that machine: worlds that are made apart from one seed have no two machines with one serial number.
    pub fn of(self, seed: u64, machine: &NodeName) -> Self {
        let digits = Digest::of(format!("{seed} {machine}").as_bytes()).hex();
        Self { serial: digits[..16].to_owned(), machine_id: digits[32..].to_owned(), ..self }
    }

    /// A Raspberry Pi 5 with 8 GB and an NVMe disk, or a mini PC with 16 GB; each says of itself that it is simulated.
    pub fn by_seed(arch: Arch, random: &mut Random) -> Self {
        let (model, memory_bytes) = match arch {
            Arch::Aarch64 => ("Raspberry Pi 5 Model B Rev 1.1 (simulated)", 8_443_084_800),
            Arch::X86_64 => ("Mini PC N100 (simulated)", 16_566_444_032),
        };
        Self {
            arch,
            model: model.into(),
            serial: format!("{:016x}", random.next()),
            machine_id: format!("{:016x}{:016x}", random.next(), random.next()),
            memory_bytes,
            disk_model: "Simulated NVMe 256GB".into(),
            disk_serial: format!("SIM{:09}", random.below(1_000_000_000)),
            disk_bytes: 256_060_514_304,
            warmth: i64::try_from(random.below(600)).unwrap_or(0),
            disk_worn_percent: random.below(9),
        }
    }

    /// What an enrolment says of it.
    pub fn identity(&self) -> Hardware {
        Hardware {
            model: self.model.clone(),
            serial: self.serial.clone(),
            machine_id: self.machine_id.clone(),
            memory_bytes: self.memory_bytes,
        }
    }

    fn is_pi(&self) -> bool {
        self.arch == Arch::Aarch64
    }
}

impl World {
    /// Every fact of a machine now. `at_ms` is the node's clock (Unix milliseconds), which is not the world's time.
    pub fn facts(&self, machine: &Machine, at_ms: u64) -> Reading {
        let now = self.now();
        let pods: u64 = self.cluster.pods_on(&machine.name).map(|(_, pod)| pod.memory_bytes).sum();
        let busy = Busy::of(machine, self.cluster.pods_on(&machine.name).count(), pods, now);
        let mut reading = Reading::new(at_ms);
        identity(&mut reading, machine, at_ms, now);
        processor_and_memory(&mut reading, machine, &busy, now);
        supply(&mut reading, machine, &self.faults, &busy, now);
        storage(&mut reading, machine, &busy, now);
        network_and_units(&mut reading, machine, now);
        reading
    }
}

/// How much a machine has to do: it gets warm from it.
struct Busy {
    /// Processor share in hundredths.
    percent: u64,
    memory_used: u64,
}

impl Busy {
    fn of(machine: &Machine, pods: usize, pod_bytes: u64, now: Millis) -> Self {
        let starting = matches!(machine.k3s.process, super::machine::Process::Starting { .. });
        let base = if machine.k3s.running().is_some() { 9 } else { 1 };
        let wave = wave(now, 60_000, 4);
        let percent = base + 2 * pods as u64 + wave + if starting { 45 } else { 0 };
        Busy {
            percent: percent.min(97),
            memory_used: (700 << 20) + pod_bytes / 2 + if base > 1 { 600 << 20 } else { 0 },
        }
    }

    fn celsius(&self, board: &Board) -> f64 {
        round(41.0 + board.warmth as f64 / 100.0 + self.percent as f64 * 0.28, 10.0)
    }
}

/// A triangle between 0 and `height` with that period: a sensor that moves a little, without a random source.
fn wave(now: Millis, period: Millis, height: u64) -> u64 {
    let phase = now % period;
    let rising = phase.min(period - phase);
    rising * 2 * height / period
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

fn put(reading: &mut Reading, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
    reading.set(Series::new(name, labels), value);
}

fn identity(reading: &mut Reading, machine: &Machine, at_ms: u64, now: Millis) {
    let board = &machine.board;
    let page_size = if board.is_pi() { "16384" } else { "4096" };
    let labels = [
        ("model", board.model.as_str()),
        ("serial", board.serial.as_str()),
        ("boot_id", machine.boot_id.as_str()),
        ("page_size", page_size),
    ];
    put(reading, "hostler_node_info", &labels, 1.0);
    let arch = board.arch.to_string();
    let release = if board.is_pi() { "6.12.47+rpt-rpi-2712" } else { "6.12.48+deb13-amd64" };
    let labels = [
        ("sysname", "Linux"),
        ("release", release),
        ("version", "simulated"),
        ("machine", arch.as_str()),
        ("nodename", machine.name.as_str()),
        ("domainname", "(none)"),
    ];
    put(reading, "node_uname_info", &labels, 1.0);
    let labels = [("id", "debian"), ("version_id", "13"), ("pretty_name", "Debian GNU/Linux 13 (simulated)")];
    put(reading, "node_os_info", &labels, 1.0);
    put(reading, "node_os_version", &[], 13.0);
    let up_for = now.saturating_sub(machine.booted_at) / 1000;
    put(reading, "node_time_seconds", &[], at_ms as f64 / 1000.0);
    put(reading, "node_boot_time_seconds", &[], (at_ms / 1000).saturating_sub(up_for + 3600) as f64);
    for (name, value) in [
        ("node_timex_sync_status", 1.0),
        ("node_timex_offset_seconds", 0.000_02),
        ("node_timex_maxerror_seconds", 0.012),
        ("node_timex_estimated_error_seconds", 0.000_1),
        ("node_reboot_required", 0.0),
        ("hostler_kernel_tainted", 0.0),
    ] {
        put(reading, name, &[], value);
    }
    for controller in ["cpu", "io", "memory", "pids"] {
        put(reading, "hostler_cgroup_controller_enabled", &[("controller", controller)], 1.0);
    }
}

fn processor_and_memory(reading: &mut Reading, machine: &Machine, busy: &Busy, now: Millis) {
    let since_boot = (now - machine.booted_at) as f64 / 1000.0;
    for cpu in ["0", "1", "2", "3"] {
        let used = since_boot * busy.percent as f64 / 100.0;
        for (mode, seconds) in [("idle", since_boot - used), ("user", used * 0.7), ("system", used * 0.3)] {
            put(reading, "node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], round(seconds, 100.0));
        }
        put(reading, "node_cpu_scaling_frequency_hertz", &[("cpu", cpu)], 2.4e9);
        put(reading, "node_cpu_frequency_max_hertz", &[("cpu", cpu)], 2.4e9);
    }
    let load = round(busy.percent as f64 / 25.0, 100.0);
    for name in ["node_load1", "node_load5", "node_load15"] {
        put(reading, name, &[], load);
    }
    let total = machine.board.memory_bytes;
    let used = busy.memory_used.min(total);
    put(reading, "node_memory_MemTotal_bytes", &[], total as f64);
    put(reading, "node_memory_MemAvailable_bytes", &[], (total - used) as f64);
    put(reading, "node_memory_MemFree_bytes", &[], ((total - used) / 2) as f64);
    put(reading, "node_memory_SwapTotal_bytes", &[], 0.0);
    put(reading, "node_memory_SwapFree_bytes", &[], 0.0);
    put(reading, "node_memory_HardwareCorrupted_bytes", &[], 0.0);
    put(reading, "node_vmstat_oom_kill", &[], 0.0);
    put(reading, "hostler_node_oom_kills_total", &[], 0.0);
    put(reading, "node_vmstat_pgmajfault", &[], 1200.0);
    put(reading, "node_filefd_allocated", &[], 1800.0);
    put(reading, "node_filefd_maximum", &[], 9.2e18);
    put(reading, "node_nf_conntrack_entries", &[], 300.0);
    put(reading, "node_nf_conntrack_entries_limit", &[], 131_072.0);
}

fn supply(reading: &mut Reading, machine: &Machine, faults: &Faults, busy: &Busy, now: Millis) {
    let celsius = busy.celsius(&machine.board);
    put(reading, "hostler_node_temperature_celsius", &[("component", "cpu")], celsius);
    if !machine.board.is_pi() {
        put(reading, "hostler_node_temperature_crit_celsius", &[("component", "cpu")], 105.0);
        return;
    }
    put(reading, "node_thermal_zone_temp", &[("zone", "0"), ("type", "cpu-thermal")], celsius);
    put(reading, "hostler_node_temperature_crit_celsius", &[("component", "cpu")], 110.0);
    let weak = faults.under_voltage(&machine.name, now);
    let was_weak = faults.under_voltage_since(&machine.name, machine.booted_at, now);
    let word = if weak { UNDER_VOLTAGE_NOW } else { 0 } | if was_weak { UNDER_VOLTAGE_SINCE_BOOT } else { 0 };
    put(reading, "hostler_rpi_throttled_state", &[], f64::from(word));
    for (scope, shift) in [("now", 0), ("since_boot", 16)] {
        for (bit, reason) in
            ["under_voltage", "frequency_capped", "throttled", "soft_temperature_limit"].iter().enumerate()
        {
            let set = word >> (bit + shift) & 1;
            put(reading, "hostler_rpi_throttle", &[("reason", reason), ("scope", scope)], f64::from(set));
        }
    }
    put(reading, "hostler_rpi_under_voltage", &[], f64::from(u8::from(weak)));
    let volts = if weak { 4.61 } else { 5.08 } - wave(now, 45_000, 3) as f64 / 100.0;
    put(reading, "hostler_rpi_pmic_volts", &[("rail", "EXT5V")], round(volts, 1000.0));
    put(reading, "hostler_power_supply_max_current_amps", &[], 5.0);
    put(
        reading,
        "node_cooling_device_cur_state",
        &[("name", "0"), ("type", "pwm-fan")],
        f64::from(u8::from(celsius > 50.0)),
    );
}

fn storage(reading: &mut Reading, machine: &Machine, busy: &Busy, now: Millis) {
    let board = &machine.board;
    let disk = [("device", "nvme0n1")];
    let seconds = now as f64 / 1000.0;
    for (name, rate) in [
        ("node_disk_reads_completed_total", 4.0),
        ("node_disk_read_bytes_total", 90_000.0),
        ("node_disk_read_time_seconds_total", 0.002),
        ("node_disk_writes_completed_total", 12.0),
        ("node_disk_written_bytes_total", 240_000.0),
        ("node_disk_write_time_seconds_total", 0.012),
        ("node_disk_io_time_seconds_total", 0.02),
        ("node_disk_io_time_weighted_seconds_total", 0.02),
    ] {
        put(reading, name, &disk, (seconds * rate * busy.percent as f64 / 10.0).floor());
    }
    put(reading, "node_disk_io_now", &disk, 0.0);
    let root = [("device", "/dev/nvme0n1p2"), ("mountpoint", "/"), ("fstype", "ext4")];
    let size = board.disk_bytes as f64 * 0.95;
    let free = size * (0.78 - wave(now, 600_000, 3) as f64 / 100.0);
    for (name, value) in [
        ("node_filesystem_size_bytes", size),
        ("node_filesystem_free_bytes", free),
        ("node_filesystem_avail_bytes", free * 0.95),
        ("node_filesystem_files", 15_597_568.0),
        ("node_filesystem_files_free", 15_297_568.0),
        ("node_filesystem_readonly", 0.0),
        ("node_filesystem_device_error", 0.0),
    ] {
        put(reading, name, &root, value.floor());
    }
    put(reading, "hostler_ext4_errors_total", &[("device", "nvme0n1p2")], 0.0);
    nvme(reading, board, busy);
}

fn nvme(reading: &mut Reading, board: &Board, busy: &Busy) {
    let device = [("device", "nvme0")];
    let labels = [
        ("device", "nvme0"),
        ("model", board.disk_model.as_str()),
        ("serial", board.disk_serial.as_str()),
        ("firmware_revision", "SIM1.0"),
        ("state", "live"),
    ];
    put(reading, "node_nvme_info", &labels, 1.0);
    for (name, value) in [
        ("hostler_nvme_live", 1.0),
        ("hostler_nvme_root", 1.0),
        ("nvme_critical_warning", 0.0),
        ("nvme_available_spare_ratio", 1.0),
        ("nvme_available_spare_threshold_ratio", 0.1),
        ("nvme_percentage_used_ratio", board.disk_worn_percent as f64 / 100.0),
        ("nvme_media_errors_total", 0.0),
        ("nvme_temperature_celsius", (36.0 + busy.percent as f64 * 0.1).round()),
        ("hostler_nvme_warn_temp_celsius", 82.0),
        ("hostler_nvme_crit_temp_celsius", 89.0),
        ("nvme_power_cycles_total", f64::from(40u32)),
        ("nvme_unsafe_shutdowns_total", 3.0),
    ] {
        put(reading, name, &device, value);
    }
    let bits = ["available_spare", "temperature", "reliability", "read_only", "volatile_backup", "persistent_memory"];
    for bit in bits {
        put(reading, "hostler_nvme_critical_warning", &[("device", "nvme0"), ("bit", bit)], 0.0);
    }
    let link = [("segment", "0001"), ("bus", "01"), ("device", "00"), ("function", "0")];
    put(reading, "node_pcidevice_current_link_transfers_per_second", &link, 5e9);
    put(reading, "node_pcidevice_current_link_width", &link, 1.0);
}

fn network_and_units(reading: &mut Reading, machine: &Machine, now: Millis) {
    let eth = [("device", "eth0")];
    let seconds = now as f64 / 1000.0;
    for (name, value) in [
        ("node_network_up", 1.0),
        ("node_network_carrier", 1.0),
        ("node_network_carrier_changes_total", f64::from(machine.boots)),
        ("node_network_speed_bytes", 125_000_000.0),
        ("node_network_mtu_bytes", 1500.0),
        ("hostler_network_default_route", 1.0),
        ("node_network_receive_bytes_total", (seconds * 21_000.0).floor()),
        ("node_network_transmit_bytes_total", (seconds * 17_000.0).floor()),
        ("node_network_receive_packets_total", (seconds * 40.0).floor()),
        ("node_network_transmit_packets_total", (seconds * 36.0).floor()),
        ("node_network_receive_errs_total", 0.0),
        ("node_network_transmit_errs_total", 0.0),
    ] {
        put(reading, name, &eth, value);
    }
    let mut states: BTreeMap<&str, u32> = BTreeMap::from([("active", 0), ("inactive", 0), ("failed", 0)]);
    for (name, unit) in &machine.units {
        let state = if unit.active { "active" } else { "inactive" };
        *states.entry(state).or_default() += 1;
        if name.starts_with("k3s") {
            for each in ["active", "inactive", "failed"] {
                let labels = [("name", name.as_str()), ("state", each), ("type", "notify")];
                put(reading, "node_systemd_unit_state", &labels, f64::from(u8::from(each == state)));
            }
        }
    }
    for (state, count) in states {
        put(reading, "node_systemd_units", &[("state", state)], f64::from(count));
    }
    put(reading, "node_systemd_system_running", &[], 1.0);
}
