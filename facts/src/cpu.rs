//! Processor times, load and process counts: `/proc/stat` and `/proc/loadavg`.

use super::failure::Failure;
use super::sample::Sample;
use super::{Input, text};
use std::collections::BTreeMap;

/// Ticks a second in /proc/stat. USER_HZ is 100 on every architecture that Kubernetes runs on.
const TICKS: f64 = 100.0;
/// Columns of a `cpuN` line that are modes of their own, in order.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
/// A step back of idle or iowait beyond this is a processor that went off and on again, not the kernel's rounding.
const RESTART_SECONDS: f64 = 3.0;

/// Beyond this many processors one sum stands for all of them, as `cpu="all"`.
pub(super) const MAX_PROCESSORS: usize = 32;

/// Reads `/proc/stat`.
#[derive(Debug, Default)]
pub(super) struct Stat {
    before: BTreeMap<u32, [f64; 10]>,
}

impl Stat {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        input.source.root.read_into("proc/stat", &mut input.bytes)?;
        let processor = |line| {
            let digits = text::words(line).next()?.strip_prefix(b"cpu")?;
            text::word(digits).parse::<u32>().ok()
        };
        let processors = text::lines(&input.bytes).filter_map(processor).count();
        let mut sum = None;
        for line in text::lines(&input.bytes) {
            let mut words = text::words(line);
            let Some(key) = words.next() else { continue };
            if let Some(cpu) = processor(line) {
                let times = self.steady(cpu, &mut words);
                if processors > MAX_PROCESSORS {
                    let sum = sum.get_or_insert([0.0; 10]);
                    sum.iter_mut().zip(times).for_each(|(sum, seconds)| *sum += seconds);
                } else {
                    put_times(&cpu.to_string(), &times, out);
                }
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
        if let Some(times) = sum {
            put_times("all", &times, out);
        }
        if processors == 0 {
            return Err(Failure::malformed("proc/stat", "lines cpu0, cpu1 …", &input.bytes));
        }
        out.put("hostler_processors", &[], processors as f64);
        Ok(())
    }

    /// Seconds per mode. The kernel lets idle and iowait step back a little; a counter must not.
    fn steady<'line>(&mut self, cpu: u32, words: &mut impl Iterator<Item = &'line [u8]>) -> [f64; 10] {
        let mut times = [f64::NAN; 10];
        for time in &mut times {
            *time = words.next().and_then(text::number).map_or(f64::NAN, |ticks| ticks / TICKS);
        }
        if let Some(before) = self.before.insert(cpu, times) {
            for mode in [3, 4] {
                let back = before[mode] - times[mode];
                if back > 0.0 && back < RESTART_SECONDS {
                    times[mode] = before[mode];
                }
            }
            self.before.insert(cpu, times);
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
    fn very_many_processors_are_one_sum() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let rows =
            |count: u32| (0..count).map(|cpu| format!("cpu{cpu} 100 0 50 1000 0 0 0 0 0 0\n")).collect::<String>();
        let read = |count: u32| {
            std::fs::write(folder.path().join("proc/stat"), format!("cpu 1 2 3\n{}btime 5\n", rows(count))).unwrap();
            let mut input = Input::new(crate::Source::recorded(folder.path()).unwrap(), crate::Now::default());
            let mut sample = Sample::default();
            sample.begin();
            Stat::default().read(&mut input, &mut sample).unwrap();
            sample.finish();
            let idle = sample.entries().iter().filter(|(series, _)| series.labels().get("mode") == Some("idle"));
            let idle: Vec<(String, f64)> =
                idle.map(|(series, value)| (series.labels().get("cpu").unwrap().to_owned(), *value)).collect();
            let count = sample.entries().iter().find(|(series, _)| series.name() == "hostler_processors");
            (idle.len(), idle[0].clone(), count.unwrap().1)
        };
        assert_eq!(read(32), (32, ("0".to_owned(), 10.0), 32.0));
        assert_eq!(read(512), (1, ("all".to_owned(), 5120.0), 512.0));
    }

    #[test]
    fn missing_columns_are_missing() {
        let mut stat = Stat::default();
        let old = times(&mut stat, b"100 0 50 1000");
        assert_eq!(old[3], 10.0);
        assert!(old[4].is_nan());
    }
}
