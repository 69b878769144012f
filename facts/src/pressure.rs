//! Pressure stall information: `/proc/pressure/*`. Off on Raspberry Pi OS unless the kernel has `psi=1`.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::{Input, text};

/// Resource, name of `some`, name of `full`. `full` of cpu means nothing for a whole machine.
const RESOURCES: [(&str, &str, Option<&str>, Option<&str>); 4] = [
    ("cpu", "proc/pressure/cpu", Some("node_pressure_cpu_waiting_seconds_total"), None),
    (
        "io",
        "proc/pressure/io",
        Some("node_pressure_io_waiting_seconds_total"),
        Some("node_pressure_io_stalled_seconds_total"),
    ),
    ("irq", "proc/pressure/irq", None, Some("node_pressure_irq_stalled_seconds_total")),
    (
        "memory",
        "proc/pressure/memory",
        Some("node_pressure_memory_waiting_seconds_total"),
        Some("node_pressure_memory_stalled_seconds_total"),
    ),
];

/// Reads every resource that the kernel has.
pub(super) fn read(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let mut worst = Worst::default();
    let mut known = false;
    for (resource, path, some, full) in RESOURCES {
        if worst.note(input.source.root.read_into(path, &mut input.bytes)).is_none() {
            continue;
        }
        known = true;
        for line in text::lines(&input.bytes) {
            let Some((kind, minute, total)) = parse(line) else { continue };
            let name = match kind {
                "some" => some,
                "full" => full,
                _ => None,
            };
            if let Some(name) = name {
                out.put(name, &[], total);
                out.put("hostler_pressure_ratio", &[("resource", resource), ("kind", kind)], minute);
            }
        }
    }
    worst.finish()?;
    if known { Ok(()) } else { Err(Failure::Absent("proc/pressure".to_owned())) }
}

/// Kind, share of the last minute (0 to 1), total seconds.
fn parse(line: &[u8]) -> Option<(&str, f64, f64)> {
    let mut words = text::words(line);
    let kind = text::word(words.next()?);
    let (mut minute, mut total) = (None, None);
    for word in words {
        minute = minute.or(word.strip_prefix(b"avg60=").and_then(text::number));
        total = total.or(word.strip_prefix(b"total=").and_then(text::number));
    }
    // Two decimals of percent are four of a share; the division alone would add noise behind them.
    Some((kind, (minute? * 100.0).round() / 1e4, total? / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_share_and_seconds() {
        let line = b"some avg10=0.18 avg60=0.34 avg300=0.10 total=159886802";
        assert_eq!(parse(line), Some(("some", 0.0034, 159.886802)));
        assert_eq!(parse(b"full avg10=0.00 avg60=0.00 avg300=0.00 total=8494"), Some(("full", 0.0, 0.008494)));
        assert_eq!(parse(b"full avg10=0.00"), None);
    }
}
