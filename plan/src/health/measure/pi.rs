//! Temperature, throttling and supply.

use super::super::condition::Condition as C;
use super::{DAY_MS, Evaluation, Found, MINUTE_MS, fact};

const REASONS: [&str; 4] = ["under_voltage", "frequency_capped", "throttled", "soft_temperature_limit"];

impl Evaluation<'_> {
    /// The rules of a Raspberry Pi. Temperature, throttling and supply are required there: a Pi of which these are not
    /// known is not known to be well.
    pub(super) fn raspberry_pi(&mut self) {
        let celsius = self.temperature();
        let series = fact("hostler_node_temperature_celsius", "component", "cpu");
        for condition in [C::PiHot, C::PiTooHot] {
            self.push(Found::maybe(condition, "", series.clone(), celsius).required(true));
        }
        let bit = |reason: &str, scope: &str| {
            self.reading.get("hostler_rpi_throttle", &[("reason", reason), ("scope", scope)])
        };
        let slowed = REASONS[1..].iter().filter_map(|reason| bit(reason, "now")).reduce(f64::max);
        let throttled = bit("throttled", "now");
        let low = bit("under_voltage", "now");
        let word = self.get("hostler_rpi_throttled_state");
        let series = "hostler_rpi_throttle{scope=\"now\"}".to_owned();
        self.push(Found::maybe(C::PiSlowed, "", series.clone(), slowed).required(true));
        self.push(Found::maybe(C::PiThrottledLong, "", series, throttled).required(true));
        self.supply(low);
        if let Some(word) = word {
            // Old bits from before the agent are information; new ones count for a day.
            let sticky = word as u64 >> 16 & 0xf;
            let new = self.tracker.bits.entry("throttle".to_owned()).or_default().of(sticky);
            let grown = self.growth("throttle bits".to_owned(), f64::from(new.count_ones()), DAY_MS);
            let series = "hostler_rpi_throttle{scope=\"since_boot\"}".to_owned();
            self.push(Found::value(C::NewThrottleBits, "", series, grown));
        }
    }

    fn supply(&mut self, low: Option<f64>) {
        let alarm = self.get("hostler_rpi_under_voltage");
        let either = [low, alarm].into_iter().flatten().reduce(f64::max);
        let series = "hostler_rpi_under_voltage".to_owned();
        for condition in [C::UnderVoltage, C::UnderVoltageOften] {
            self.push(Found::maybe(condition, "", series.clone(), either).required(true));
        }
        // Only a Pi 5 measures its input. One that did and does not any more is not known.
        let volts = self.reading.get("hostler_rpi_pmic_volts", &[("rail", "EXT5V")]);
        self.tracker.measures_input |= volts.is_some();
        if self.tracker.measures_input {
            let series = fact("hostler_rpi_pmic_volts", "rail", "EXT5V");
            for condition in [C::SupplyTooLow, C::InputLow, C::InputTooLow] {
                self.push(Found::maybe(condition, "", series.clone(), volts).required(condition == C::SupplyTooLow));
            }
        }
    }

    /// The processor of other machines, against the limits that its sensor reports.
    pub(super) fn processor(&mut self) {
        let labels = [("component", "cpu")];
        let limit = self.reading.get("hostler_node_temperature_crit_celsius", &labels);
        if let Some(celsius) = self.temperature() {
            let series = fact("hostler_node_temperature_celsius", "component", "cpu");
            for (condition, raise, clear) in [(C::CpuHot, 10.0, 15.0), (C::CpuTooHot, 3.0, 10.0)] {
                let found = Found::value(condition, "", series.clone(), celsius);
                self.push(limit.map_or(found.clone(), |limit| found.limits(limit - raise, limit - clear)));
            }
        }
        let name = "node_cpu_package_throttles_total";
        let packages: Vec<(String, f64)> = self
            .reading
            .all(name)
            .filter_map(|(labels, count)| Some((labels.get("package")?.to_owned(), count)))
            .collect();
        for (package, count) in packages {
            let grown = self.growth(format!("{name} {package}"), count, 5 * MINUTE_MS);
            self.push(Found::value(C::PackageThrottles, &package, fact(name, "package", &package), grown));
        }
    }

    /// Degrees, when they can be true.
    fn temperature(&self) -> Option<f64> {
        let celsius = self.reading.get("hostler_node_temperature_celsius", &[("component", "cpu")]);
        celsius.filter(|celsius| (-40.0..=150.0).contains(celsius))
    }
}
