//! What a Raspberry Pi's firmware says: the throttle word, the measured clock, and the rails of a Pi 5.
//!
//! Through `/dev/vcio_gencmd` or `/dev/vcio`. The file `get_throttled` in sysfs is never read: it is deprecated, prints
//! a stack dump into the kernel log, taints the kernel and has answered 0 while the firmware said 0x80008.

use super::failure::Failure;
use super::sample::Sample;
use super::worker::{Worker, result};
use super::{Input, Source, text};
use std::time::Duration;

/// A mailbox call takes some milliseconds; one that takes seconds does not come back.
const LIMIT: Duration = Duration::from_secs(5);
const SLOW_CADENCE: Duration = Duration::from_secs(60);
/// The bits that mean something. An error word such as 0x80000001 has others and is no value.
const KNOWN_BITS: u32 = 0x000f_000f;
const REASONS: [(&str, u32); 4] =
    [("under_voltage", 0x1), ("frequency_capped", 0x2), ("throttled", 0x4), ("soft_temperature_limit", 0x8)];

/// Which commands a round asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Throttled,
    InputVoltage,
    ArmClock,
    Rails,
}

/// Reads the firmware. Only on a Raspberry Pi; elsewhere it costs nothing.
#[derive(Debug)]
pub(super) struct Firmware {
    is_pi: Option<bool>,
    worker: Worker<Ask, Result<String, Failure>>,
    slow_round: Option<Duration>,
    throttled: Option<Result<u32, Failure>>,
    input: Option<Result<f64, Failure>>,
    clock: Option<Result<f64, Failure>>,
    rails: Option<Result<Vec<Rail>, Failure>>,
}

/// One line of `pmic_read_adc`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rail {
    /// `VDD_CORE`
    pub name: String,
    /// Whether `value` is amperes; volts otherwise.
    pub is_current: bool,
    /// Amperes or volts.
    pub value: f64,
}

impl Default for Firmware {
    fn default() -> Self {
        let call = |source: &Source, ask: &Ask| source.calls.firmware(command(*ask));
        Firmware {
            is_pi: None,
            worker: Worker::new(LIMIT, call),
            slow_round: None,
            throttled: None,
            input: None,
            clock: None,
            rails: None,
        }
    }
}

fn command(ask: Ask) -> &'static str {
    match ask {
        Ask::Throttled => "get_throttled",
        Ask::InputVoltage => "pmic_read_adc EXT5V_V",
        Ask::ArmClock => "measure_clock arm",
        Ask::Rails => "pmic_read_adc",
    }
}

impl Firmware {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let is_pi = *self.is_pi.get_or_insert_with(|| super::identity::is_raspberry_pi(&input.source.root));
        if !is_pi {
            return Err(Failure::Absent("raspberry pi firmware".to_owned()));
        }
        let now = input.now.elapsed;
        let answers = self.worker.poll(now, &input.source);
        self.take(answers);
        // A poll of a round in flight is not a new round.
        if !self.worker.busy() {
            let mut asks = vec![Ask::Throttled];
            let no_rails = matches!(&self.input, Some(Err(failure)) if failure.is_absent());
            if !no_rails {
                asks.push(Ask::InputVoltage);
            }
            if self.slow_round.is_none_or(|last| now.saturating_sub(last) >= SLOW_CADENCE) {
                self.slow_round = Some(now);
                asks.push(Ask::ArmClock);
                if !no_rails {
                    asks.push(Ask::Rails);
                }
            }
            self.worker.start(now, &input.source, asks);
            self.wait(now, super::GRACE);
        }
        self.put(out)
    }

    pub(super) fn pending(&self) -> bool {
        self.worker.pending()
    }

    pub(super) fn wait(&mut self, now: Duration, at_most: Duration) {
        let answers = self.worker.wait(now, at_most);
        self.take(answers);
    }

    fn take(&mut self, answers: Vec<(Ask, super::worker::Answer<Result<String, Failure>>)>) {
        for (ask, answer) in answers {
            let said = result(command(ask), LIMIT, answer);
            match ask {
                Ask::Throttled => self.throttled = Some(said.and_then(|said| throttle_word(&said))),
                Ask::InputVoltage => self.input = Some(said.and_then(|said| one_rail(&said))),
                Ask::ArmClock => self.clock = Some(said.and_then(|said| clock(&said))),
                Ask::Rails => self.rails = Some(said.and_then(|said| rails(&said))),
            }
        }
    }

    fn put(&self, out: &mut Sample) -> Result<(), Failure> {
        let mut worst = super::failure::Worst::default();
        let word = self.throttled.clone().and_then(|word| worst.note(word));
        if let Some(word) = word {
            out.put("hostler_rpi_throttled_state", &[], f64::from(word));
            for (scope, shift) in [("now", 0), ("since_boot", 16)] {
                for (reason, bit) in REASONS {
                    let set = word >> shift & bit != 0;
                    out.put("hostler_rpi_throttle", &[("reason", reason), ("scope", scope)], f64::from(set));
                }
            }
        }
        let volts = self.input.clone().and_then(|volts| worst.note(volts));
        out.put_some("hostler_rpi_pmic_volts", &[("rail", "EXT5V")], volts);
        let hertz = self.clock.clone().and_then(|hertz| worst.note(hertz));
        out.put_some("hostler_rpi_arm_frequency_hertz", &[], hertz);
        if let Some(rails) = self.rails.clone().and_then(|rails| worst.note(rails)) {
            for rail in rails.iter().filter(|rail| rail.name != "EXT5V") {
                let name = if rail.is_current { "hostler_rpi_pmic_amps" } else { "hostler_rpi_pmic_volts" };
                out.put(name, &[("rail", &rail.name)], rail.value);
            }
            out.put("hostler_rpi_power_watts", &[], power(&rails));
        }
        worst.finish()
    }
}

/// The word of `throttled=0x50005`.
pub fn throttle_word(said: &str) -> Result<u32, Failure> {
    let bad = || Failure::malformed("get_throttled", "throttled=0x…", said.as_bytes());
    refused("get_throttled", said)?;
    let word = text::trimmed(said.as_bytes()).strip_prefix("throttled=").and_then(text::hex).ok_or_else(bad)?;
    if word & !KNOWN_BITS == 0 { Ok(word) } else { Err(bad()) }
}

/// Hertz of `frequency(48)=1000212864`.
fn clock(said: &str) -> Result<f64, Failure> {
    refused("measure_clock", said)?;
    let hertz = said.trim().rsplit_once('=').and_then(|(_, digits)| text::number(digits.as_bytes()));
    hertz.ok_or_else(|| Failure::malformed("measure_clock arm", "frequency(N)=HERTZ", said.as_bytes()))
}

fn one_rail(said: &str) -> Result<f64, Failure> {
    let found = rails(said)?.into_iter().find(|rail| rail.name == "EXT5V" && !rail.is_current);
    found
        .map(|rail| rail.value)
        .ok_or_else(|| Failure::malformed("pmic_read_adc", "EXT5V_V volt(24)=…V", said.as_bytes()))
}

/// The rails of `pmic_read_adc`, lines like `  VDD_CORE_A current(7)=1.11625000A`, in any order.
pub fn rails(said: &str) -> Result<Vec<Rail>, Failure> {
    refused("pmic_read_adc", said)?;
    let bad = |line: &str| Failure::malformed("pmic_read_adc", "NAME_A current(N)=…A", line.as_bytes());
    let mut found = Vec::new();
    for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once(' ').ok_or_else(|| bad(line))?;
        let (_, value) = rest.split_once('=').ok_or_else(|| bad(line))?;
        let (name, is_current) = match (name.strip_suffix("_A"), name.strip_suffix("_V")) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => return Err(bad(line)),
        };
        let digits = value.strip_suffix(if is_current { 'A' } else { 'V' }).ok_or_else(|| bad(line))?;
        let value = text::number(digits.as_bytes()).ok_or_else(|| bad(line))?;
        found.push(Rail { name: name.to_owned(), is_current, value });
    }
    Ok(found)
}

/// Watts over the rails that have both a voltage and a current. Not the power at the socket.
fn power(rails: &[Rail]) -> f64 {
    let amps = rails.iter().filter(|rail| rail.is_current);
    amps.filter_map(|amps| {
        let volts = rails.iter().find(|rail| !rail.is_current && rail.name == amps.name)?;
        Some(volts.value * amps.value)
    })
    .sum()
}

/// `error=1 error_msg="Command not registered"` is a board without the command, such as the rails of a Pi 4.
fn refused(path: &str, said: &str) -> Result<(), Failure> {
    if !said.trim_start().starts_with("error=") {
        return Ok(());
    }
    if said.contains("not registered") {
        return Err(Failure::Absent(path.to_owned()));
    }
    Err(Failure::Refused { path: path.to_owned(), reason: said.trim().chars().take(80).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_words() {
        for (said, word) in [
            ("throttled=0x0", 0),
            ("throttled=0x50000", 0x50000),
            ("throttled=0x50005\n", 0x50005),
            ("throttled=0xe0008", 0xe0008),
        ] {
            assert_eq!(throttle_word(said), Ok(word));
        }
        for bad in ["throttled=0x80000001", "throttled=", "", "0x0", "throttled=0xfffffffff", "error=2 error_msg=\"x\""]
        {
            assert!(throttle_word(bad).is_err(), "{bad}");
        }
        assert!(throttle_word("error=1 error_msg=\"Command not registered\"").unwrap_err().is_absent());
    }

    #[test]
    fn rails_in_any_order_and_the_power_of_those_with_both() {
        let said = "  VDD_CORE_A current(7)=1.5A\n   EXT5V_V volt(24)=5.08530000V\n  VDD_CORE_V volt(15)=0.8V\n \
            BATT_V volt(25)=0.00000000V\n";
        let found = rails(said).unwrap();
        assert_eq!(found.len(), 4);
        assert!((power(&found) - 1.2).abs() < 1e-9);
        assert_eq!(one_rail(said), Ok(5.0853));
        assert!(rails("VDD_CORE_A current(7)=1.5").is_err(), "cut off");
        assert!(rails("error=1 error_msg=\"Command not registered\"").unwrap_err().is_absent());
    }

    #[test]
    fn measured_clock() {
        assert_eq!(clock("frequency(48)=1000212864\n"), Ok(1000212864.0));
        assert!(clock("frequency(48)").is_err());
    }
}
