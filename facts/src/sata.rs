//! Health of SATA, SAS and USB disks through `smartctl`, where it is installed: four times an hour, never waking one.
//!
//! What a disk is says the protocol that it was asked by: behind many USB bridges is an NVMe disk, and a SAS disk has
//! no table of attributes.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::worker::{Answer, Worker, result};
use super::{Input, Source, smart};
use serde_json::Value;
use std::time::Duration;

/// A USB bridge may take its time; the program itself is killed after 30 s.
const LIMIT: Duration = Duration::from_secs(40);
/// Exit bits 0 and 1: the command line was wrong or the disk could not be opened (or sleeps). The others describe the
/// disk and come with a full answer.
const NO_ANSWER: i32 = 0b11;
/// Bits of an NVMe disk's critical warning that speak of the disk and not of its temperature: spare blocks,
/// reliability, read-only. smartctl lets SMART fail for any bit, so for a disk that is only warm.
const NVME_FAILS: u8 = 0b1101;

/// What is kept of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
struct Health {
    model: String,
    serial: String,
    /// Series without further labels.
    values: Vec<(&'static str, f64)>,
    /// Present temperature and the limits that the disk names, °C.
    temperatures: Vec<(&'static str, f64)>,
    /// Bits of an NVMe disk's critical warning.
    warning: Option<u8>,
}

/// Reads all `sd*` disks.
#[derive(Debug)]
pub(super) struct Sata {
    worker: Worker<String, Result<Health, Failure>>,
    disks: Vec<(String, Result<Health, Failure>)>,
}

impl Default for Sata {
    fn default() -> Self {
        let call = |source: &Source, device: &String| {
            let output = source.calls.smartctl(device)?;
            parse(device, output.code, &output.text)
        };
        Sata { worker: Worker::new(LIMIT, call), disks: Vec::new() }
    }
}

impl Sata {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let now = input.now.elapsed;
        let answers = self.worker.poll(now, &input.source);
        self.take(answers);
        if input.due {
            let root = &input.source.root;
            let mut devices = root.list("sys/block")?;
            devices.retain(|device| device.starts_with("sd") && !input.volumes.has(device));
            self.disks.retain(|(known, _)| devices.contains(known));
            let tool = ["usr/sbin/smartctl", "usr/bin/smartctl"].iter().any(|path| root.exists(path));
            if devices.is_empty() || !tool {
                return Err(Failure::Absent("smartctl and a SATA disk".to_owned()));
            }
            self.worker.start(now, &input.source, devices);
        }
        self.disks.sort_by(|one, other| one.0.cmp(&other.0));
        let mut worst = Worst::default();
        for (device, health) in &self.disks {
            let labels = [("device", device.as_str())];
            let Some(health) = worst.note(health.clone()) else { continue };
            if !health.serial.is_empty() {
                let (model, serial) = (health.model.as_str(), health.serial.as_str());
                let labels = [("device", device.as_str()), ("model_name", model), ("serial_number", serial)];
                out.put("smartctl_device", &labels, 1.0);
            }
            for (name, value) in &health.values {
                out.put(name, &labels, *value);
            }
            for (kind, celsius) in &health.temperatures {
                let labels = [("device", device.as_str()), ("temperature_type", kind)];
                out.put("smartctl_device_temperature", &labels, *celsius);
            }
            if let Some(warning) = health.warning {
                smart::put_warning(device, warning, out);
            }
        }
        worst.finish()
    }

    pub(super) fn pending(&self) -> bool {
        self.worker.pending()
    }

    pub(super) fn wait(&mut self, now: Duration, at_most: Duration) {
        let answers = self.worker.wait(now, at_most);
        self.take(answers);
    }

    fn take(&mut self, answers: Vec<(String, Answer<Result<Health, Failure>>)>) {
        for (device, answer) in answers {
            let health = result(&device, LIMIT, answer);
            self.disks.retain(|(known, _)| *known != device);
            self.disks.push((device, health));
        }
    }
}

fn parse(device: &str, code: i32, text: &str) -> Result<Health, Failure> {
    let json: Value =
        serde_json::from_str(text).map_err(|_| Failure::malformed(device, "JSON of smartctl", text.as_bytes()))?;
    let passed = json.pointer("/smart_status/passed").and_then(Value::as_bool);
    if code & NO_ANSWER != 0 && passed.is_none() {
        return Err(Failure::Absent(format!("an answer of {device} (asleep or without SMART)")));
    }
    let number = |path: &str| json.pointer(path).and_then(Value::as_f64);
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    // SAS disks have a model name since smartctl 7.0, and older ones a product.
    let model = [text("model_name"), text("scsi_model_name"), text("scsi_product"), text("product")];
    let mut health = Health {
        model: model.into_iter().find(|name| !name.is_empty()).unwrap_or_default(),
        serial: text("serial_number"),
        ..Health::default()
    };
    let mut put = |name: &'static str, value: Option<f64>| health.values.extend(value.map(|value| (name, value)));
    put("smartctl_device_exit_status", Some(f64::from(code)));
    let minutes = number("/power_on_time/minutes").unwrap_or_default();
    let hours = number("/power_on_time/hours").map(|hours| hours * 3600.0 + minutes * 60.0);
    put("smartctl_device_power_on_seconds", hours);
    let log = json.get("nvme_smart_health_information_log");
    match (log, json.pointer("/device/protocol").and_then(Value::as_str)) {
        (Some(log), _) => health.warning = nvme(log, &mut put),
        (None, Some("SCSI")) => scsi(&number, &mut put),
        (None, _) => ata(&json, &number, &mut put),
    }
    let passed = health.warning.map(|warning| warning & NVME_FAILS == 0).or(passed);
    health.values.extend(passed.map(|passed| ("smartctl_device_smart_status", f64::from(passed))));
    health.temperatures = temperatures(&number);
    Ok(health)
}

/// A word of a raw value: makers split its six bytes into three of two, of which the lowest is the count.
const WORD: u64 = 0xFFFF;

/// The sectors that a raw value counts; none where it has all bits set, of two, four or six bytes, which is what a disk
/// writes that does not count.
fn sectors(raw: u64) -> Option<f64> {
    let words = [raw & WORD, (raw >> 16) & WORD, raw >> 32];
    // More than the sectors of any disk, or a word that is not counted beside one that is: these are words.
    let split = words[2] != 0 || words.contains(&WORD);
    let count = if split { words[0] } else { raw };
    (count != WORD).then_some(count as f64)
}

/// Attributes that every maker means the same by.
fn ata(json: &Value, number: &dyn Fn(&str) -> Option<f64>, put: &mut dyn FnMut(&'static str, Option<f64>)) {
    let table = json.pointer("/ata_smart_attributes/table").and_then(Value::as_array);
    let raw = |id: u64| {
        let row = table?.iter().find(|row| row.get("id").and_then(Value::as_u64) == Some(id))?;
        row.pointer("/raw/value").and_then(Value::as_u64).and_then(sectors)
    };
    put("smartctl_device_reallocated_sectors", raw(5));
    put("smartctl_device_pending_sectors", raw(197));
    put("smartctl_device_percentage_used", number("/endurance_used/current_percent"));
}

/// Defects that grew since the disk was made, sectors that wait, and data that could not be had.
fn scsi(number: &dyn Fn(&str) -> Option<f64>, put: &mut dyn FnMut(&'static str, Option<f64>)) {
    put("smartctl_scsi_grown_defect_list", number("/scsi_grown_defect_list"));
    put("smartctl_device_pending_sectors", number("/scsi_pending_defects/count"));
    for (name, path) in [
        ("smartctl_read_total_uncorrected_errors", "/scsi_error_counter_log/read/total_uncorrected_errors"),
        ("smartctl_write_total_uncorrected_errors", "/scsi_error_counter_log/write/total_uncorrected_errors"),
        ("smartctl_verify_total_uncorrected_errors", "/scsi_error_counter_log/verify/total_uncorrected_errors"),
    ] {
        put(name, number(path));
    }
    let worn =
        number("/scsi_percentage_used_endurance_indicator").or_else(|| number("/endurance_used/current_percent"));
    put("smartctl_device_percentage_used", worn);
}

/// The same series as of a disk on PCIe, so that it is judged like one.
fn nvme(log: &Value, put: &mut dyn FnMut(&'static str, Option<f64>)) -> Option<u8> {
    let number = |name: &str| log.get(name).and_then(Value::as_f64);
    let share = |name: &str| number(name).map(|percent| percent / 100.0);
    put("nvme_available_spare_ratio", share("available_spare"));
    put("nvme_available_spare_threshold_ratio", share("available_spare_threshold"));
    put("nvme_percentage_used_ratio", share("percentage_used"));
    put("nvme_media_errors_total", number("media_errors"));
    put("nvme_num_err_log_entries_total", number("num_err_log_entries"));
    put("nvme_unsafe_shutdowns_total", number("unsafe_shutdowns"));
    put("nvme_power_on_hours_total", number("power_on_hours"));
    put("nvme_data_units_written_total", number("data_units_written"));
    put("nvme_temperature_celsius", number("temperature").filter(|celsius| is_disk_celsius(*celsius)));
    log.get("critical_warning").and_then(Value::as_u64).and_then(|word| u8::try_from(word).ok())
}

/// smartctl gives whole degrees; 0 and less, as of 0 or 1 K, is a disk without a sensor.
fn is_disk_celsius(celsius: f64) -> bool {
    celsius > 0.0 && super::thermal::plausible(celsius)
}

fn temperatures(number: &dyn Fn(&str) -> Option<f64>) -> Vec<(&'static str, f64)> {
    let current = number("/temperature/current").filter(|celsius| is_disk_celsius(*celsius));
    let limit = |path: &str| number(path).filter(|celsius| smart::is_limit(*celsius));
    let highest = limit("/temperature/op_limit_max");
    let trip = limit("/temperature/drive_trip").or_else(|| limit("/temperature/limit_max"));
    // Limits in the wrong order are none.
    let (highest, trip) =
        if highest.zip(trip).is_some_and(|(one, other)| other < one) { (None, None) } else { (highest, trip) };
    let all = [("current", current), ("op_limit_max", highest), ("drive_trip", trip)];
    all.into_iter().filter_map(|(kind, celsius)| Some((kind, celsius?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_bits_that_describe_the_disk_come_with_an_answer() {
        let text = r#"{"smart_status":{"passed":false},"ata_smart_attributes":{"table":[
            {"id":5,"raw":{"value":8}},{"id":197,"raw":{"value":3}}]}}"#;
        let found = parse("sda", 8, text).unwrap();
        for (name, value) in [
            ("smartctl_device_exit_status", 8.0),
            ("smartctl_device_smart_status", 0.0),
            ("smartctl_device_reallocated_sectors", 8.0),
            ("smartctl_device_pending_sectors", 3.0),
        ] {
            assert!(found.values.contains(&(name, value)), "{name}: {found:?}");
        }
        let all_bits = text.replace(r#""value":3"#, r#""value":65535"#);
        let found = parse("sda", 8, &all_bits).unwrap();
        let names: Vec<&str> = found.values.iter().map(|(name, _)| *name).collect();
        assert!(!names.contains(&"smartctl_device_pending_sectors"), "it does not count them: {found:?}");
        assert!(names.contains(&"smartctl_device_reallocated_sectors"), "{found:?}");
        let named = parse("sda", 0, r#"{"model_name":"WDC WD40EFRX","serial_number":"WD-1 "}"#).unwrap();
        assert_eq!((named.model.as_str(), named.serial.as_str()), ("WDC WD40EFRX", "WD-1"));
        assert!(parse("sda", 2, "{}").unwrap_err().is_absent(), "asleep");
        assert!(parse("sda", 0, "no json").is_err());
    }

    #[test]
    fn sectors_are_counted_in_the_lowest_word_of_a_raw_value_that_is_split() {
        for (raw, count) in [
            (0, Some(0.0)),
            (8, Some(8.0)),
            (65_535, None),
            (70_000, Some(70_000.0)),
            (4_294_967_295, None),
            (281_474_976_710_655, None),
            (0x0002_0000_0005, Some(5.0)),
            (0xFFFF_0000_0000, Some(0.0)),
            (0x0000_FFFF_0003, Some(3.0)),
            (0x0007_0001_FFFF, None),
        ] {
            assert_eq!(sectors(raw), count, "{raw:#x}");
        }
    }

    #[test]
    fn a_sas_disk_tells_defects_errors_hours_and_heat() {
        let text = r#"{"device":{"type":"scsi","protocol":"SCSI"},"model_name":"SEAGATE ST8000NM0075",
            "serial_number":"ZA1","smart_status":{"passed":true},"temperature":{"current":41,"drive_trip":60},
            "power_on_time":{"hours":20000,"minutes":30},"scsi_grown_defect_list":7,"scsi_pending_defects":{"count":2},
            "scsi_error_counter_log":{"read":{"total_uncorrected_errors":3},"write":{"total_uncorrected_errors":0}},
            "scsi_percentage_used_endurance_indicator":255}"#;
        let found = parse("sda", 0, text).unwrap();
        for (name, value) in [
            ("smartctl_scsi_grown_defect_list", 7.0),
            ("smartctl_device_pending_sectors", 2.0),
            ("smartctl_read_total_uncorrected_errors", 3.0),
            ("smartctl_write_total_uncorrected_errors", 0.0),
            ("smartctl_device_power_on_seconds", 20_000.0 * 3600.0 + 1800.0),
        ] {
            assert!(found.values.contains(&(name, value)), "{name}: {found:?}");
        }
        assert_eq!(found.temperatures, [("current", 41.0), ("drive_trip", 60.0)]);
    }

    #[test]
    fn an_nvme_disk_behind_a_bridge_has_the_series_of_one_on_pcie() {
        let text = r#"{"device":{"type":"sntjmicron","protocol":"NVMe"},"smart_status":{"passed":false},
            "nvme_smart_health_information_log":{"critical_warning":4,"temperature":-272,"available_spare":11,
            "available_spare_threshold":10,"percentage_used":104,"media_errors":812}}"#;
        let found = parse("sda", 8, text).unwrap();
        assert_eq!(found.warning, Some(4));
        for (name, value) in [
            ("nvme_available_spare_threshold_ratio", 0.1),
            ("nvme_percentage_used_ratio", 1.04),
            ("nvme_media_errors_total", 812.0),
        ] {
            assert!(found.values.contains(&(name, value)), "{name}: {found:?}");
        }
        assert!(found.values.contains(&("smartctl_device_smart_status", 0.0)), "not reliable: {found:?}");
        let cold = found.values.iter().any(|(name, _)| *name == "nvme_temperature_celsius");
        assert!(!cold, "1 K is no temperature: {found:?}");
    }

    #[test]
    fn an_nvme_disk_that_is_only_warm_passes_smart() {
        let text = r#"{"device":{"type":"sntasmedia","protocol":"NVMe"},
            "smart_status":{"passed":false,"nvme":{"value":2}},"nvme_smart_health_information_log":
            {"critical_warning":2,"temperature":84,"available_spare":100,"available_spare_threshold":10}}"#;
        let found = parse("sda", 8, text).unwrap();
        assert!(found.values.contains(&("smartctl_device_smart_status", 1.0)), "{found:?}");
        assert_eq!(found.warning, Some(2));
    }
}
