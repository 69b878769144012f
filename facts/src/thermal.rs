//! Thermal zones and cooling devices: `/sys/class/thermal`.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::{Input, Root};

const THERMAL: &str = "sys/class/thermal";
/// Beginnings of the words by which boards call the zones of their processor: `cpu-thermal`, `cpu_thermal`,
/// `cpu0-thermal`, `cpuss1-thermal`, `CPU-therm`, `soc-thermal`, `package-thermal`, `x86_pkg_temp`, `bigcore0-thermal`,
/// `littlecore-thermal`, `cluster0-thermal`. Zones have no fixed number.
const CPU_WORDS: [&str; 7] = ["cpu", "soc", "package", "pkg", "bigcore", "littlecore", "cluster"];
/// Cooling devices that slow the processor down; a zone that is bound to one watches it, whatever it is called.
const CPU_BRAKES: [&str; 3] = ["cpufreq-", "thermal-cpufreq-", "cpuidle-"];
/// Often a constant: reported and never judged.
const FIRMWARE_ZONE: &str = "acpitz";
/// Cooling devices of a zone that are looked at.
const MAX_BRAKES: usize = 12;
/// Trip points of a zone that are looked at.
const MAX_TRIPS: usize = 12;

/// Whether a temperature can be true. Broken sensors say −44 000, −273.15, 65 261 or 3 892 314 °C.
pub(super) fn plausible(celsius: f64) -> bool {
    (-40.0..=150.0).contains(&celsius)
}

/// Whether a limit can be meant: 0, −273.15 and 65 261 are "not set".
pub(super) fn plausible_limit(celsius: f64) -> bool {
    celsius > 0.0 && celsius < 200.0
}

/// Reads every zone and cooling device; a zone that cannot be read leaves the others alone.
pub(super) fn read(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let mut hottest = None::<(f64, String)>;
    for name in root.list(THERMAL)? {
        if let Some(zone) = name.strip_prefix("thermal_zone") {
            let folder = format!("{THERMAL}/{name}");
            let Some(kind) = worst.note(root.text(&format!("{folder}/type"))) else { continue };
            let Some(celsius) = worst.note(root.number(&format!("{folder}/temp"))) else { continue };
            let celsius = celsius / 1000.0;
            if !plausible(celsius) {
                let labels = [("chip", name.as_str()), ("sensor", kind.as_str())];
                out.put("hostler_sensor_implausible", &labels, 1.0);
                continue;
            }
            out.put("node_thermal_zone_temp", &[("zone", zone), ("type", &kind)], celsius);
            if is_processor(root, &folder, &kind) && hottest.as_ref().is_none_or(|(hot, _)| celsius > *hot) {
                hottest = Some((celsius, folder));
            }
        } else if let Some(device) = name.strip_prefix("cooling_device") {
            cooling(root, device, &mut worst, out);
        }
    }
    if let Some((celsius, folder)) = hottest {
        out.put("hostler_node_temperature_celsius", &[("component", "cpu")], celsius);
        let limit = critical_trip(root, &folder);
        out.put_some("hostler_node_temperature_crit_celsius", &[("component", "cpu")], limit);
    }
    worst.finish()
}

/// Whether a zone is the processor's: by its name, or because the kernel slows the processor down when it is hot.
fn is_processor(root: &Root, folder: &str, kind: &str) -> bool {
    if kind == FIRMWARE_ZONE {
        return false;
    }
    let lower = kind.to_ascii_lowercase();
    let mut words = lower.split(|one: char| !one.is_ascii_alphanumeric());
    let brake = |number: usize| {
        let kind = root.text(&format!("{folder}/cdev{number}/type"));
        kind.is_ok_and(|kind| CPU_BRAKES.iter().any(|brake| kind.starts_with(brake)))
    };
    words.any(|word| CPU_WORDS.iter().any(|known| word.starts_with(known))) || (0..MAX_BRAKES).any(brake)
}

/// Whether any zone tells the processor's temperature.
pub(super) fn knows_processor(root: &Root) -> bool {
    let zones = root.list(THERMAL).unwrap_or_default();
    zones.iter().filter(|name| name.starts_with("thermal_zone")).any(|name| {
        let folder = format!("{THERMAL}/{name}");
        root.text(&format!("{folder}/type")).is_ok_and(|kind| is_processor(root, &folder, &kind))
    })
}

fn cooling(root: &Root, device: &str, worst: &mut Worst, out: &mut Sample) {
    let folder = format!("{THERMAL}/cooling_device{device}");
    let Some(kind) = worst.note(root.text(&format!("{folder}/type"))) else { return };
    // One per hardware thread, and never news.
    if kind == "Processor" {
        return;
    }
    for (name, file) in [("node_cooling_device_cur_state", "cur_state"), ("node_cooling_device_max_state", "max_state")]
    {
        // intel_powerclamp says -1 when it is off: not a state.
        let state = worst.note(root.number(&format!("{folder}/{file}"))).filter(|state| *state >= 0.0);
        out.put_some(name, &[("name", device), ("type", &kind)], state);
    }
}

/// The limit by its type, because the order of trip points differs between kernels.
fn critical_trip(root: &Root, folder: &str) -> Option<f64> {
    let trip = (0..MAX_TRIPS)
        .find(|number| root.text(&format!("{folder}/trip_point_{number}_type")).is_ok_and(|kind| kind == "critical"))?;
    let celsius = root.number(&format!("{folder}/trip_point_{trip}_temp")).ok()? / 1000.0;
    plausible_limit(celsius).then_some(celsius)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_of_broken_sensors_are_not_believed() {
        for good in [-40.0, 0.0, 54.5, 110.0, 150.0] {
            assert!(plausible(good), "{good}");
        }
        for bad in [-44.0, -273.15, 65261.85, 3_892_314.0, 151.0] {
            assert!(!plausible(bad), "{bad}");
        }
        assert!(plausible_limit(82.85) && plausible_limit(110.0));
        assert!(!plausible_limit(0.0) && !plausible_limit(-273.15) && !plausible_limit(65261.85));
    }
}
