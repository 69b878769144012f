//! Sensor chips: `/sys/class/hwmon`, found by name and device and never by number, which changes between boots and
//! when drivers are loaded.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::thermal::{self, plausible, plausible_limit};
use super::worker::{Answer, Worker};
use super::{Input, Root, Source};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const HWMON: &str = "sys/class/hwmon";
/// Sensors of one chip; a Super-I/O chip has about 25, and a package of 256 cores a temperature of each. Temperatures
/// come first, and of those the first ones: they are of the package.
const MAX_SENSORS: usize = 320;
/// A read of one of these is a command to a disk or a bus of seconds: once a minute and on a helper thread.
const SLOW_CHIPS: [&str; 3] = ["nvme", "drivetemp", "w1_slave_temp"];
/// A chip that took longer than this is treated like those: 23 one-wire sensors needed 22 s in one report.
const SLOW_READ: Duration = Duration::from_millis(100);
const SLOW_CADENCE: Duration = Duration::from_secs(60);
const SLOW_LIMIT: Duration = Duration::from_secs(20);

/// A chip as found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chip {
    folder: String,
    /// Tells whether `hwmon3` is still the same device.
    target: Option<PathBuf>,
    name: String,
    /// `platform_coretemp_0`, as node_exporter builds it from the device's path.
    label: String,
    sensors: Vec<Sensor>,
    /// Sensors for which there was no room.
    left_out: usize,
    slow: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Sensor {
    /// `temp1`
    id: String,
    text: Option<String>,
    inputs: Vec<(String, Quantity)>,
    limits: Vec<(&'static str, f64)>,
}

/// What a file says, with the parts of its unit in one base unit. Dividing keeps 954 mV at 0.954 V.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Quantity {
    Temperature,
    Scaled(&'static str, f64),
    UnderVoltage,
}

/// The values of one chip: sensor index, quantity, value in base units.
type Values = Vec<(usize, Quantity, f64)>;

/// Reads all chips.
#[derive(Debug)]
pub(super) struct Hwmon {
    chips: Vec<Chip>,
    seen: Vec<(String, Option<PathBuf>)>,
    worker: Worker<Chip, Result<Values, Failure>>,
    slow_round: Option<Duration>,
    slow_values: Vec<(Chip, Result<Values, Failure>)>,
    /// Whether a board's sensor may speak for the processor: nothing nearer to it is there.
    board_speaks: bool,
}

/// How near to the processor a sensor is, the nearest first: of one processor the nearest speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The package or the die as a whole.
    Die,
    /// `Tctl` is what fans are steered by: on some models it is the die's temperature plus up to 27 °C.
    Control,
    /// One core or one die of several, or a sensor without a label.
    Part,
    /// What the board or the firmware says of it.
    Board,
}

/// The hottest processor: its temperature and the limit of that sensor.
type Processor = Option<(f64, Option<f64>)>;

impl Default for Hwmon {
    fn default() -> Self {
        Hwmon {
            chips: Vec::new(),
            seen: Vec::new(),
            worker: Worker::new(SLOW_LIMIT, |source: &Source, chip: &Chip| values(&source.root, chip)),
            slow_round: None,
            slow_values: Vec::new(),
            board_speaks: false,
        }
    }
}

impl Hwmon {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        self.discover(&input.source)?;
        self.poll(input);
        if self.slow_round.is_none_or(|last| input.now.elapsed.saturating_sub(last) >= SLOW_CADENCE) {
            let slow: Vec<Chip> = self.chips.iter().filter(|chip| chip.slow).cloned().collect();
            self.slow_round = Some(input.now.elapsed);
            self.worker.start(input.now.elapsed, &input.source, slow);
        }
        let mut worst = Worst::default();
        let mut cpu: Vec<(Place, f64, Option<f64>)> = Vec::new();
        let mut demoted = Vec::new();
        for (index, chip) in self.chips.iter().enumerate() {
            if chip.slow {
                let known = self.slow_values.iter().find(|(known, _)| known == chip);
                if let Some(values) = known.and_then(|(_, values)| worst.note(values.clone())) {
                    put(chip, &values, out, &mut cpu);
                }
                continue;
            }
            let started = Instant::now();
            if let Some(values) = worst.note(values(&input.source.root, chip)) {
                put(chip, &values, out, &mut cpu);
            }
            if started.elapsed() > SLOW_READ {
                demoted.push(index);
            }
        }
        for index in demoted {
            self.chips[index].slow = true;
        }
        if let Some((celsius, limit)) = hottest(&cpu, self.board_speaks) {
            out.put("hostler_node_temperature_celsius", &[("component", "cpu")], celsius);
            out.put_some("hostler_node_temperature_crit_celsius", &[("component", "cpu")], limit);
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

    fn poll(&mut self, input: &Input) {
        let answers = self.worker.poll(input.now.elapsed, &input.source);
        self.take(answers);
    }

    fn take(&mut self, answers: Vec<(Chip, Answer<Result<Values, Failure>>)>) {
        for (chip, answer) in answers {
            let values = super::worker::result(&chip.label, SLOW_LIMIT, answer);
            self.slow_values.retain(|(known, _)| *known != chip);
            self.slow_values.push((chip, values));
        }
        let chips = &self.chips;
        self.slow_values.retain(|(known, _)| chips.contains(known));
    }

    /// Looks again when a chip came, went or changed its number. Costs one listing and one readlink a chip.
    fn discover(&mut self, source: &Source) -> Result<(), Failure> {
        let root = &source.root;
        let names = root.list(HWMON)?;
        let seen: Vec<(String, Option<PathBuf>)> = names
            .into_iter()
            .filter(|name| name.starts_with("hwmon"))
            .map(|name| {
                let target = root.link(&format!("{HWMON}/{name}"));
                (name, target)
            })
            .collect();
        if seen != self.seen || seen.iter().any(|(_, target)| target.is_none()) {
            self.chips = seen.iter().filter_map(|(name, target)| chip(root, name, target.clone())).collect();
            self.chips.retain(|chip| !chip.sensors.is_empty());
            set_apart(&mut self.chips);
            // On a PC these are Super-I/O chips, which say anything.
            let pc = source.calls.uname().is_ok_and(|uname| uname.machine == "x86_64" || uname.machine == "i686");
            self.board_speaks = !pc && !thermal::knows_processor(root);
            self.seen = seen;
        }
        Ok(())
    }
}

/// Chips below one device get its label. Like node_exporter, each is then called by its name too, or by its number
/// where the names are the same as well.
fn set_apart(chips: &mut [Chip]) {
    for by_number in [false, true] {
        let before: Vec<String> = chips.iter().map(|chip| chip.label.clone()).collect();
        for chip in chips.iter_mut().filter(|chip| before.iter().filter(|label| **label == chip.label).count() > 1) {
            let number = chip.folder.rsplit('/').next().unwrap_or_default();
            let more = clean(if by_number { number } else { &chip.name });
            if !more.is_empty() {
                chip.label = format!("{}_{more}", chip.label);
            }
        }
    }
}

fn chip(root: &Root, number: &str, target: Option<PathBuf>) -> Option<Chip> {
    let folder = format!("{HWMON}/{number}");
    let name = root.text(&format!("{folder}/name")).unwrap_or_default();
    let files = root.list(&folder).ok()?;
    let mut sensors: Vec<Sensor> = Vec::new();
    for file in &files {
        let Some((kind, id, element)) = split(file) else { continue };
        let path = format!("{folder}/{file}");
        let position = sensors.iter().position(|sensor| sensor.id == id).unwrap_or_else(|| {
            sensors.push(Sensor { id: id.to_owned(), text: None, inputs: Vec::new(), limits: Vec::new() });
            sensors.len() - 1
        });
        let sensor = &mut sensors[position];
        if element == "label" {
            sensor.text = root.text(&path).ok().filter(|text| !text.is_empty());
        } else if let Some(quantity) = quantity(kind, element, &name) {
            sensor.inputs.push((path, quantity));
        } else if let Some(series) = limit(kind, element) {
            let celsius = root.number(&path).map(|value| value / 1000.0);
            sensor.limits.extend(celsius.ok().filter(|value| plausible_limit(*value)).map(|value| (series, value)));
        }
    }
    sensors.retain(|sensor| !sensor.inputs.is_empty());
    let left_out = sensors.len().saturating_sub(MAX_SENSORS);
    if left_out > 0 {
        let number =
            |id: &str| id.trim_start_matches(|first: char| !first.is_ascii_digit()).parse().unwrap_or(u32::MAX);
        sensors.sort_by_key(|sensor| (!sensor.id.starts_with("temp"), number(&sensor.id)));
        sensors.truncate(MAX_SENSORS);
    }
    let slow = SLOW_CHIPS.contains(&name.as_str());
    let label = label(root, &folder, number, &name);
    Some(Chip { folder, target, name, label, sensors, left_out, slow })
}

/// `temp1_crit_alarm` is of kind `temp`, sensor `temp1`, element `crit_alarm`.
fn split(file: &str) -> Option<(&str, &str, &str)> {
    let kind = ["temp", "fan", "in", "curr", "power", "pwm"].into_iter().find(|kind| {
        file.strip_prefix(kind).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    })?;
    let (id, element) = file.split_once('_').unwrap_or((file, ""));
    Some((kind, id, element))
}

/// Raw alarms of chips are not read: boards leave them set for ever.
fn quantity(kind: &str, element: &str, chip: &str) -> Option<Quantity> {
    Some(match (kind, element) {
        ("temp", "input") => Quantity::Temperature,
        ("fan", "input") => Quantity::Scaled("node_hwmon_fan_rpm", 1.0),
        ("pwm", "") => Quantity::Scaled("node_hwmon_pwm", 1.0),
        ("in", "input") => Quantity::Scaled("node_hwmon_in_volts", 1e3),
        ("in", "lcrit_alarm") if chip == "rpi_volt" => Quantity::UnderVoltage,
        ("curr", "input") => Quantity::Scaled("node_hwmon_curr_amps", 1e3),
        ("power", "input") => Quantity::Scaled("node_hwmon_power_watt", 1e6),
        ("power", "average") => Quantity::Scaled("node_hwmon_power_average_watt", 1e6),
        _ => return None,
    })
}

fn limit(kind: &str, element: &str) -> Option<&'static str> {
    match (kind, element) {
        ("temp", "max") => Some("node_hwmon_temp_max_celsius"),
        ("temp", "crit") => Some("node_hwmon_temp_crit_celsius"),
        _ => None,
    }
}

/// The chip's label as node_exporter builds it: the last two parts of the device's path, with other characters
/// replaced; without a device the name, else the number.
fn label(root: &Root, folder: &str, number: &str, name: &str) -> String {
    if let Some(device) = root.resolved(folder).and_then(|chip| device(&chip).map(Path::to_path_buf)) {
        let part = |path: Option<&Path>| path.and_then(Path::file_name).and_then(|part| part.to_str()).map(clean);
        let own = part(Some(&device)).unwrap_or_default();
        let kind = part(device.parent()).unwrap_or_default();
        if !own.is_empty() {
            return if kind.is_empty() { own } else { format!("{kind}_{own}") };
        }
    }
    let name = clean(name);
    if name.is_empty() { clean(number) } else { name }
}

/// The device above a chip: `…/coretemp.0` of `…/coretemp.0/hwmon/hwmon2` and `…/nvme0` of `…/nvme0/hwmon1`. A chip
/// without a device stands in `…/virtual/hwmon`, and one of a plain folder in `class/hwmon`.
fn device(chip: &Path) -> Option<&Path> {
    let above = chip.parent()?;
    let device = if above.ends_with("hwmon") { above.parent()? } else { above };
    (!device.ends_with("virtual") && !device.ends_with("class")).then_some(device)
}

fn clean(part: &str) -> String {
    let lower = part.to_ascii_lowercase();
    let replaced: String =
        lower.chars().map(|one| if one.is_ascii_alphanumeric() || one == ':' { one } else { '_' }).collect();
    replaced.trim_matches('_').to_owned()
}

/// All values of a chip. A sensor that answers EAGAIN, ENODATA or nonsense is left out; only when the chip gives
/// nothing at all is the first failure returned.
fn values(root: &Root, chip: &Chip) -> Result<Values, Failure> {
    let mut values = Values::new();
    let mut first = None;
    for (index, sensor) in chip.sensors.iter().enumerate() {
        for (path, quantity) in &sensor.inputs {
            match root.number(path) {
                Ok(number) => {
                    let parts = match quantity {
                        Quantity::Temperature => 1e3,
                        Quantity::Scaled(_, parts) => *parts,
                        Quantity::UnderVoltage => 1.0,
                    };
                    values.push((index, *quantity, number / parts));
                }
                Err(failure) if first.is_none() => first = Some(failure),
                Err(_) => {}
            }
        }
    }
    match first {
        Some(failure) if values.is_empty() => Err(failure),
        _ => Ok(values),
    }
}

fn put(chip: &Chip, values: &Values, out: &mut Sample, cpu: &mut Vec<(Place, f64, Option<f64>)>) {
    // A name that could not be read is missing, not empty.
    if !chip.name.is_empty() {
        out.put("node_hwmon_chip_names", &[("chip", &chip.label), ("chip_name", &chip.name)], 1.0);
    }
    out.leave_out(chip.left_out);
    for (index, sensor) in chip.sensors.iter().enumerate() {
        let labels = [("chip", chip.label.as_str()), ("sensor", sensor.id.as_str())];
        for (_, quantity, value) in values.iter().filter(|(owner, ..)| *owner == index) {
            match quantity {
                Quantity::Temperature if !plausible(*value) => out.put("hostler_sensor_implausible", &labels, 1.0),
                Quantity::Temperature => {
                    out.put("node_hwmon_temp_celsius", &labels, *value);
                    if let Some(place) = place(chip, sensor) {
                        let limit = sensor.limits.iter().find(|limit| limit.0.ends_with("crit_celsius"));
                        cpu.push((place, *value, limit.map(|limit| limit.1)));
                    }
                }
                Quantity::Scaled(name, _) => out.put(name, &labels, *value),
                Quantity::UnderVoltage => {
                    // node_exporter scales an alarm like millivolts: 0.001 is on. Dashboards know it so.
                    out.put("node_hwmon_in_lcrit_alarm_volts", &labels, *value * 0.001);
                    out.put("hostler_rpi_under_voltage", &[], *value);
                }
            }
        }
        for (name, celsius) in &sensor.limits {
            out.put(name, &labels, *celsius);
        }
        if let Some(text) = &sensor.text {
            let labels = [labels[0], labels[1], ("label", text.as_str())];
            out.put("node_hwmon_sensor_label", &labels, 1.0);
        }
    }
}

/// The hottest of the sensors that are nearest to the processor.
fn hottest(cpu: &[(Place, f64, Option<f64>)], board_speaks: bool) -> Processor {
    let may = |place: &Place| *place != Place::Board || board_speaks;
    let nearest = cpu.iter().map(|(place, ..)| *place).filter(may).min()?;
    let near = cpu.iter().filter(|(place, ..)| *place == nearest);
    near.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(_, celsius, limit)| (*celsius, *limit))
}

/// Where a temperature is taken. The label tells; drivers of processors that give none measure nothing else.
fn place(chip: &Chip, sensor: &Sensor) -> Option<Place> {
    let Some(text) = sensor.text.as_deref() else {
        let unlabelled = ["coretemp", "k10temp", "k8temp", "via_cputemp"];
        return unlabelled.contains(&chip.name.as_str()).then_some(Place::Part);
    };
    let text = text.to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    if begins(&["package id", "tdie"]) {
        Some(Place::Die)
    } else if text == "tctl" {
        Some(Place::Control)
    } else if begins(&["core ", "core0 ", "core1 ", "tccd"]) {
        Some(Place::Part)
    } else if begins(&["cpu", "soc"]) {
        Some(Place::Board)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_split_into_kind_sensor_and_element() {
        assert_eq!(split("temp1_input"), Some(("temp", "temp1", "input")));
        assert_eq!(split("in0_lcrit_alarm"), Some(("in", "in0", "lcrit_alarm")));
        assert_eq!(split("pwm1"), Some(("pwm", "pwm1", "")));
        assert_eq!(split("intrusion0_alarm"), None);
        assert_eq!(split("name"), None);
    }

    #[test]
    fn raw_codes_and_alarms_are_no_values() {
        assert_eq!(quantity("temp", "raw", "rp1_adc"), None);
        assert_eq!(quantity("in", "raw", "rp1_adc"), None);
        assert_eq!(quantity("in", "lcrit_alarm", "w83627dhg"), None);
        assert_eq!(quantity("in", "lcrit_alarm", "rpi_volt"), Some(Quantity::UnderVoltage));
    }

    #[test]
    fn labels_are_cleaned_like_node_exporter_does() {
        assert_eq!(clean("soc:firmware"), "soc:firmware");
        assert_eq!(clean("raspberrypi-hwmon"), "raspberrypi_hwmon");
        assert_eq!(clean("coretemp.0"), "coretemp_0");
    }
}
