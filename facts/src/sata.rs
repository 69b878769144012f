//! Health of SATA and USB disks through `smartctl`, where it is installed: four times an hour, never waking a disk.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::worker::{Answer, Worker, result};
use super::{Input, Source};
use std::time::Duration;

/// A USB bridge may take its time; the program itself is killed after 30 s.
const LIMIT: Duration = Duration::from_secs(40);
/// Exit bits 0 and 1: the command line was wrong or the disk could not be opened (or sleeps). The others describe the
/// disk and come with a full answer.
const NO_ANSWER: i32 = 0b11;

/// What is kept of an answer.
#[derive(Debug, Clone, PartialEq)]
struct Health {
    model: String,
    serial: String,
    exit: f64,
    passed: Option<f64>,
    reallocated: Option<f64>,
    pending: Option<f64>,
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
            devices.retain(|device| device.starts_with("sd"));
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
            out.put("smartctl_device_exit_status", &labels, health.exit);
            out.put_some("smartctl_device_smart_status", &labels, health.passed);
            out.put_some("smartctl_device_reallocated_sectors", &labels, health.reallocated);
            out.put_some("smartctl_device_pending_sectors", &labels, health.pending);
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
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|_| Failure::malformed(device, "JSON of smartctl", text.as_bytes()))?;
    let passed = json.pointer("/smart_status/passed").and_then(serde_json::Value::as_bool);
    if code & NO_ANSWER != 0 && passed.is_none() {
        return Err(Failure::Absent(format!("an answer of {device} (asleep or without SMART)")));
    }
    let table = json.pointer("/ata_smart_attributes/table").and_then(serde_json::Value::as_array);
    let raw = |id: u64| {
        let row = table?.iter().find(|row| row.get("id").and_then(serde_json::Value::as_u64) == Some(id))?;
        row.pointer("/raw/value").and_then(serde_json::Value::as_f64)
    };
    let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().trim().to_owned();
    Ok(Health {
        model: text("model_name"),
        serial: text("serial_number"),
        exit: f64::from(code),
        passed: passed.map(|passed| f64::from(u8::from(passed))),
        reallocated: raw(5),
        pending: raw(197),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_bits_that_describe_the_disk_come_with_an_answer() {
        let text = r#"{"smart_status":{"passed":false},"ata_smart_attributes":{"table":[
            {"id":5,"raw":{"value":8}},{"id":197,"raw":{"value":3}}]}}"#;
        let (model, serial) = (String::new(), String::new());
        let wanted = Health { model, serial, exit: 8.0, passed: Some(0.0), reallocated: Some(8.0), pending: Some(3.0) };
        assert_eq!(parse("sda", 8, text), Ok(wanted));
        let named = parse("sda", 0, r#"{"model_name":"WDC WD40EFRX","serial_number":"WD-1 "}"#).unwrap();
        assert_eq!((named.model.as_str(), named.serial.as_str()), ("WDC WD40EFRX", "WD-1"));
        assert!(parse("sda", 2, "{}").unwrap_err().is_absent(), "asleep");
        assert!(parse("sda", 0, "no json").is_err());
    }
}
