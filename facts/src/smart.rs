//! NVMe SMART / health log by ioctl, without smartctl: once a minute, one call a disk, on a helper thread.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::worker::{Answer, Worker, result};
use super::{Input, Source, nvme};
use std::time::Duration;

/// Above the 5 s after which the kernel gives up on the command.
const LIMIT: Duration = Duration::from_secs(8);
/// Bytes of one data unit: a thousand sectors of 512 bytes.
pub const DATA_UNIT_BYTES: f64 = 512_000.0;
const WARNINGS: [&str; 6] =
    ["spare", "temperature", "reliability", "read_only", "volatile_backup", "persistent_memory"];

/// The SMART / health log, log page 02h. Counters of 128 bits are rounded to f64.
#[derive(Debug, Clone, PartialEq)]
pub struct SmartLog {
    /// Bit 0 spare, 1 temperature, 2 reliability, 3 read-only, 4 volatile backup, 5 persistent memory.
    pub critical_warning: u8,
    /// Composite temperature, °C; `None` when the disk does not report one.
    pub celsius: Option<f64>,
    /// Remaining spare capacity, percent.
    pub available_spare: u8,
    /// Spare capacity below which bit 0 is set, percent.
    pub spare_threshold: u8,
    /// Used life time, percent; may exceed 100.
    pub percentage_used: u8,
    /// In units of [`DATA_UNIT_BYTES`].
    pub data_units_read: f64,
    /// In units of [`DATA_UNIT_BYTES`].
    pub data_units_written: f64,
    /// Commands.
    pub host_reads: f64,
    /// Commands.
    pub host_writes: f64,
    /// Minutes.
    pub busy_minutes: f64,
    /// Count.
    pub power_cycles: f64,
    /// Hours.
    pub power_on_hours: f64,
    /// Count.
    pub unsafe_shutdowns: f64,
    /// Count.
    pub media_errors: f64,
    /// Count; not zero on healthy disks.
    pub error_log_entries: f64,
    /// Minutes at or above the warning temperature.
    pub warning_minutes: u32,
    /// Minutes at or above the critical temperature.
    pub critical_minutes: u32,
    /// Up to eight sensors, °C.
    pub sensors: [Option<f64>; 8],
    /// Transitions into thermal management of level 1 and 2.
    pub thermal_transitions: [u32; 2],
    /// Seconds in thermal management of level 1 and 2.
    pub thermal_seconds: [u32; 2],
}

/// Reads the 512 bytes of the log. Every pattern of bytes is a log.
pub fn parse_smart(page: &[u8; 512]) -> SmartLog {
    let wide = |at: usize| {
        let bytes: [u8; 16] = page[at..at + 16].try_into().expect("sixteen bytes of a page of 512");
        u128::from_le_bytes(bytes) as f64
    };
    let long = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().expect("four bytes of a page of 512"));
    let kelvin = |at: usize| celsius(u16::from_le_bytes([page[at], page[at + 1]]));
    SmartLog {
        critical_warning: page[0],
        celsius: kelvin(1),
        available_spare: page[3],
        spare_threshold: page[4],
        percentage_used: page[5],
        data_units_read: wide(32),
        data_units_written: wide(48),
        host_reads: wide(64),
        host_writes: wide(80),
        busy_minutes: wide(96),
        power_cycles: wide(112),
        power_on_hours: wide(128),
        unsafe_shutdowns: wide(144),
        media_errors: wide(160),
        error_log_entries: wide(176),
        warning_minutes: long(192),
        critical_minutes: long(196),
        sensors: std::array::from_fn(|sensor| kelvin(200 + 2 * sensor)),
        thermal_transitions: [long(216), long(220)],
        thermal_seconds: [long(224), long(228)],
    }
}

/// Kelvin as tools show it (minus 273); 0 and 0xffff are "not reported".
fn celsius(kelvin: u16) -> Option<f64> {
    (kelvin != 0 && kelvin != u16::MAX).then(|| f64::from(kelvin) - 273.0)
}

/// A limit of a disk's temperature can be meant: disks are made for some 0 to 70 °C, and what warns below 40 °C would
/// warn for ever. Real disks say 0, 1 K and 2 K for "none".
pub(super) fn is_limit(celsius: f64) -> bool {
    (40.0..=150.0).contains(&celsius)
}

/// Warning and critical composite temperature of Identify Controller, °C, where the disk reports them. Where the
/// critical one lies below the warning one, neither is believed.
pub fn parse_limits(page: &[u8; 4096]) -> [Option<f64>; 2] {
    let limits = [266, 268].map(|at| celsius(u16::from_le_bytes([page[at], page[at + 1]])).filter(|c| is_limit(*c)));
    if let [Some(warning), Some(critical)] = limits
        && critical < warning
    {
        return [None, None];
    }
    limits
}

/// Warning and critical temperature.
type Limits = [Option<f64>; 2];
/// A disk to ask, and whether its limits are wanted too.
type Ask = (String, bool);
type Read = Result<(Box<[u8; 512]>, Option<Limits>), Failure>;

/// Limits do not change while a disk runs, but another disk may stand in its place: they are asked again every hour.
const IDENTIFY_CADENCE: Duration = Duration::from_secs(3600);

/// Reads the log of every live controller.
#[derive(Debug)]
pub(super) struct Smart {
    worker: Worker<Ask, Read>,
    logs: Vec<(String, Result<SmartLog, Failure>)>,
    limits: Vec<(String, Duration, Limits)>,
}

impl Default for Smart {
    fn default() -> Self {
        let call = |source: &Source, (device, identify): &Ask| {
            let page = source.calls.nvme_smart(device)?;
            // What a bridge or a dying disk gives that has no log.
            if page.iter().all(|byte| *byte == u8::MAX) {
                return Err(Failure::malformed(device, "a SMART log", &page[..]));
            }
            // A disk without a readable Identify still has a log.
            let limits = identify
                .then(|| source.calls.nvme_identify(device).map(|page| parse_limits(&page)).unwrap_or_default());
            Ok((page, limits))
        };
        Smart { worker: Worker::new(LIMIT, call), logs: Vec::new(), limits: Vec::new() }
    }
}

impl Smart {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let now = input.now.elapsed;
        let answers = self.worker.poll(now, &input.source);
        self.take(now, answers);
        let mut live = nvme::live(&input.source.root)?;
        live.retain(|device| !input.volumes.has_controller(device));
        // The last log of a disk that died is no statement about now.
        self.logs.retain(|(device, _)| live.contains(device));
        self.limits.retain(|(device, at, _)| live.contains(device) && now.saturating_sub(*at) < IDENTIFY_CADENCE);
        if input.due {
            let known = |device: &String| self.limits.iter().any(|(known, ..)| known == device);
            // A disk that is stuck in one question is not asked the other.
            let asks: Vec<Ask> = live.iter().map(|device| (device.clone(), !known(device))).collect();
            let free = asks.into_iter().filter(|(device, _)| {
                !self.worker.is_out(&(device.clone(), true)) && !self.worker.is_out(&(device.clone(), false))
            });
            let free: Vec<Ask> = free.collect();
            self.worker.start(now, &input.source, free);
            self.wait(now, super::GRACE);
        }
        self.logs.sort_by(|one, other| one.0.cmp(&other.0));
        let mut worst = Worst::default();
        for (device, log) in &self.logs {
            let limits = self.limits.iter().find(|(known, ..)| known == device).map(|(.., limits)| *limits);
            match log {
                Ok(log) => put(device, log, &limits.unwrap_or_default(), out),
                Err(failure) => drop(worst.note::<()>(Err(failure.clone()))),
            }
        }
        worst.finish()
    }

    pub(super) fn pending(&self) -> bool {
        self.worker.pending()
    }

    pub(super) fn wait(&mut self, now: Duration, at_most: Duration) {
        let answers = self.worker.wait(now, at_most);
        self.take(now, answers);
    }

    fn take(&mut self, now: Duration, answers: Vec<(Ask, Answer<Read>)>) {
        for ((device, _), answer) in answers {
            let log = result(&device, LIMIT, answer);
            if let Ok((_, Some(limits))) = &log {
                self.limits.retain(|(known, ..)| *known != device);
                self.limits.push((device.clone(), now, *limits));
            }
            self.logs.retain(|(known, _)| *known != device);
            self.logs.push((device, log.map(|(page, _)| parse_smart(&page))));
        }
    }
}

/// The critical warning as a number and bit by bit.
pub(super) fn put_warning(device: &str, warning: u8, out: &mut Sample) {
    out.put("nvme_critical_warning", &[("device", device)], f64::from(warning));
    for (bit, name) in WARNINGS.iter().enumerate() {
        let set = warning >> bit & 1 == 1;
        out.put("hostler_nvme_critical_warning", &[("bit", name), ("device", device)], f64::from(set));
    }
}

fn put(device: &str, log: &SmartLog, limits: &Limits, out: &mut Sample) {
    let labels = [("device", device)];
    put_warning(device, log.critical_warning, out);
    for (name, value) in [
        ("nvme_available_spare_ratio", f64::from(log.available_spare) / 100.0),
        ("nvme_available_spare_threshold_ratio", f64::from(log.spare_threshold) / 100.0),
        ("nvme_percentage_used_ratio", f64::from(log.percentage_used) / 100.0),
        ("nvme_data_units_read_total", log.data_units_read),
        ("nvme_data_units_written_total", log.data_units_written),
        ("nvme_host_read_commands_total", log.host_reads),
        ("nvme_host_write_commands_total", log.host_writes),
        ("nvme_controller_busy_time_seconds", log.busy_minutes * 60.0),
        ("nvme_power_cycles_total", log.power_cycles),
        ("nvme_power_on_hours_total", log.power_on_hours),
        ("nvme_unsafe_shutdowns_total", log.unsafe_shutdowns),
        ("nvme_media_errors_total", log.media_errors),
        ("nvme_num_err_log_entries_total", log.error_log_entries),
        ("hostler_nvme_warning_temp_seconds_total", f64::from(log.warning_minutes) * 60.0),
        ("hostler_nvme_critical_comp_temp_seconds_total", f64::from(log.critical_minutes) * 60.0),
    ] {
        out.put(name, &labels, value);
    }
    put_temperatures(device, log, limits, out);
    for (level, (transitions, seconds)) in log.thermal_transitions.iter().zip(log.thermal_seconds).enumerate() {
        let level = if level == 0 { "1" } else { "2" };
        let labels = [("device", device), ("level", level)];
        out.put("hostler_nvme_thermal_transitions_total", &labels, f64::from(*transitions));
        out.put("hostler_nvme_thermal_seconds_total", &labels, f64::from(seconds));
    }
}

fn put_temperatures(device: &str, log: &SmartLog, limits: &Limits, out: &mut Sample) {
    let labels = [("device", device)];
    let believed = log.celsius.filter(|celsius| super::thermal::plausible(*celsius));
    out.put_some("nvme_temperature_celsius", &labels, believed);
    if log.celsius.is_some() && believed.is_none() {
        out.put("hostler_sensor_implausible", &[("chip", device), ("sensor", "composite")], 1.0);
    }
    for (sensor, celsius) in log.sensors.iter().enumerate() {
        let celsius = celsius.filter(|celsius| super::thermal::plausible(*celsius));
        let number = (sensor + 1).to_string();
        out.put_some("hostler_nvme_sensor_celsius", &[("device", device), ("sensor", &number)], celsius);
    }
    out.put_some("hostler_nvme_warn_temp_celsius", &labels, limits[0]);
    out.put_some("hostler_nvme_crit_temp_celsius", &labels, limits[1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(parts: &[(usize, &[u8])]) -> [u8; 512] {
        let mut page = [0; 512];
        for (at, bytes) in parts {
            page[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        page
    }

    /// CRC-32 (IEEE), to be sure that a test vector is the one that the reference names.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |mut crc: u32, byte| {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            }
            crc
        })
    }

    #[test]
    fn a_new_disk_of_a_raspberry_pi() {
        let bytes = page(&[
            (0x00, &[0x00, 0x2b, 0x01, 0x64, 0x0a]),
            (0x20, &[0x2e, 0xe5]),
            (0x30, &[0x8f, 0xdc]),
            (0x40, &[0x06, 0xa8, 0x0c]),
            (0x50, &[0xbb, 0xe6, 0x03]),
            (0x60, &[3]),
            (0x70, &[0x0e]),
            (0x80, &[2]),
            (0x90, &[2]),
            (0xb0, &[1]),
        ]);
        assert_eq!(crc32(&bytes), 0x655d_7807);
        let log = parse_smart(&bytes);
        assert_eq!(log.celsius, Some(26.0));
        assert_eq!((log.available_spare, log.spare_threshold, log.percentage_used), (100, 10, 0));
        assert_eq!((log.data_units_read, log.data_units_written), (58670.0, 56463.0));
        assert_eq!((log.host_reads, log.host_writes, log.busy_minutes), (829446.0, 255675.0, 3.0));
        assert_eq!((log.power_cycles, log.power_on_hours, log.unsafe_shutdowns), (14.0, 2.0, 2.0));
        assert_eq!((log.media_errors, log.error_log_entries), (0.0, 1.0));
        assert_eq!(log.sensors, [None; 8]);
    }

    #[test]
    fn a_failing_disk_with_counters_beyond_64_bits() {
        let bytes = page(&[
            (0x00, &[0x0d, 0x69, 0x01, 0x04, 0x0a, 0x67]),
            (0x20, &[0, 0, 0, 0, 0, 9]),
            (0x30, &[5, 0, 0, 0, 0, 0, 0, 0, 1]),
            (0x40, &[1]),
            (0x50, &[1]),
            (0x60, &[1]),
            (0x70, &[0x84, 3]),
            (0x80, &[0x40, 0x9c]),
            (0x90, &[0x4d]),
            (0xa0, &[0x0d]),
            (0xb0, &[0xf4, 1]),
            (0xc0, &[0xc2, 5, 0, 0, 2, 0, 0, 0, 0x69, 1, 0, 0, 0x90, 1]),
            (0xd8, &[3, 0, 0, 0, 0, 0, 0, 0, 0xc2, 5]),
        ]);
        assert_eq!(crc32(&bytes), 0xb6be_0796);
        let log = parse_smart(&bytes);
        assert_eq!((log.critical_warning, log.percentage_used), (0x0d, 103));
        assert_eq!(log.data_units_written, 18446744073709551621.0);
        assert_eq!(log.data_units_read, 9.0 * 2f64.powi(40));
        assert_eq!((log.media_errors, log.unsafe_shutdowns), (13.0, 77.0));
        assert_eq!((log.warning_minutes, log.critical_minutes), (1474, 2));
        assert_eq!(log.sensors[..3], [Some(88.0), None, Some(127.0)]);
        assert_eq!((log.thermal_transitions, log.thermal_seconds), ([3, 0], [1474, 0]));
    }

    #[test]
    fn temperatures_that_are_not_reported_are_missing() {
        assert_eq!(parse_smart(&[0; 512]).celsius, None);
        assert_eq!(parse_smart(&[0xff; 512]).celsius, None);
        let mut identify = [0; 4096];
        assert_eq!(parse_limits(&identify), [None, None]);
        identify[266..270].copy_from_slice(&[0x66, 0x01, 0x68, 0x01]);
        assert_eq!(parse_limits(&identify), [Some(85.0), Some(87.0)]);
    }

    #[test]
    fn limits_that_no_disk_means_are_missing() {
        let mut identify = [0; 4096];
        for (warning, critical, expected) in [
            (0x0001, 0x0001, [None, None]),
            (0x0000, 0x0168, [None, Some(87.0)]),
            (0x0166, 0xffff, [Some(85.0), None]),
            // 27 °C to warn at, and a critical limit below the warning.
            (0x012c, 0x0168, [None, Some(87.0)]),
            (0x0168, 0x0166, [None, None]),
        ] {
            identify[266..268].copy_from_slice(&u16::to_le_bytes(warning));
            identify[268..270].copy_from_slice(&u16::to_le_bytes(critical));
            assert_eq!(parse_limits(&identify), expected, "{warning:#x} {critical:#x}");
        }
    }
}
