//! Processor times, load and process counts: `/proc/stat` and `/proc/loadavg`.

use super::failure::Failure;
use super::sample::Sample;
use super::{Input, text};

/// Ticks a second in /proc/stat. USER_HZ is 100 on every architecture that Kubernetes runs on.
const TICKS: f64 = 100.0;
/// Columns of a `cpuN` line that are modes of their own, in order.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
/// A step back of idle or iowait beyond this is a processor that went off and on again, not the kernel's rounding.
const RESTART_SECONDS: f64 = 3.0;

/// Reads `/proc/stat`.
#[derive(Debug, Default)]
pub(super) struct Stat {
    before: Vec<(u32, [f64; 10])>,
}

impl Stat {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        input.source.root.read_into("proc/stat", &mut input.bytes)?;
        let mut known = false;
        for line in text::lines(&input.bytes) {
            let mut words = text::words(line);
            let Some(key) = words.next() else { continue };
            if let Some(digits) = key.strip_prefix(b"cpu") {
                let Ok(cpu) = text::word(digits).parse::<u32>() else { continue };
                let times = self.steady(cpu, &mut words);
                put_times(text::word(digits), &times, out);
                known = true;
                continue;
            }
            let name = match key {
                b"btime" => "node_boot_time_seconds",
                b"ctxt" => "node_context_switches_total",
                b"intr" => "node_intr_total",
                b"processes" => "node_forks_total",
                b"procs_running" => "node_procs_running",
                b"procs_blocked" => "node_procs_blocked",
                _ => continue,
            };
            out.put_some(name, &[], words.next().and_then(text::number));
        }
        if known { Ok(()) } else { Err(Failure::malformed("proc/stat", "lines cpu0, cpu1 …", &input.bytes)) }
    }

    /// Seconds per mode. The kernel lets idle and iowait step back a little; a counter must not.
    fn steady<'line>(&mut self, cpu: u32, words: &mut impl Iterator<Item = &'line [u8]>) -> [f64; 10] {
        let mut times = [f64::NAN; 10];
        for time in &mut times {
            *time = words.next().and_then(text::number).map_or(f64::NAN, |ticks| ticks / TICKS);
        }
        match self.before.iter_mut().find(|(known, _)| *known == cpu) {
            Some((_, before)) => {
                for mode in [3, 4] {
                    let back = before[mode] - times[mode];
                    if back > 0.0 && back < RESTART_SECONDS {
                        times[mode] = before[mode];
                    }
                }
                *before = times;
            }
            None => self.before.push((cpu, times)),
        }
        times
    }
}

fn put_times(cpu: &str, times: &[f64; 10], out: &mut Sample) {
    for (mode, seconds) in MODES.iter().zip(times) {
        out.put("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], *seconds);
    }
    out.put("node_cpu_guest_seconds_total", &[("cpu", cpu), ("mode", "user")], times[8]);
    out.put("node_cpu_guest_seconds_total", &[("cpu", cpu), ("mode", "nice")], times[9]);
}

/// Reads `/proc/loadavg`.
pub(super) fn load(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    input.source.root.read_into("proc/loadavg", &mut input.bytes)?;
    let mut words = text::words(&input.bytes);
    for name in ["node_load1", "node_load5", "node_load15"] {
        let value = words.next().and_then(text::number);
        let value = value.ok_or_else(|| Failure::malformed("proc/loadavg", "three numbers", &input.bytes))?;
        out.put(name, &[], value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(stat: &mut Stat, line: &[u8]) -> [f64; 10] {
        stat.steady(0, &mut text::words(line))
    }

    #[test]
    fn idle_and_iowait_do_not_step_back_but_a_restarted_processor_does() {
        let mut stat = Stat::default();
        assert_eq!(times(&mut stat, b"100 0 50 1000 300 0 0 0 0 0")[3..5], [10.0, 3.0]);
        assert_eq!(times(&mut stat, b"101 0 51 999 290 0 0 0 0 0")[3..5], [10.0, 3.0]);
        assert_eq!(times(&mut stat, b"1 0 1 10 2 0 0 0 0 0")[3], 0.1);
    }

    #[test]
    fn missing_columns_are_missing() {
        let mut stat = Stat::default();
        let old = times(&mut stat, b"100 0 50 1000");
        assert_eq!(old[3], 10.0);
        assert!(old[4].is_nan());
    }
}
