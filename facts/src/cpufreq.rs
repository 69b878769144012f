//! Clock of the processors, and how often an Intel processor was throttled for its temperature.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::{Input, Slow, cpu::MAX_PROCESSORS, text};
use std::collections::{BTreeMap, BTreeSet};

const CPU: &str = "sys/devices/system/cpu";

/// Reads `cpufreq/policy*` once per policy and not once per processor.
#[derive(Debug, Default)]
pub(super) struct Cpufreq {
    limits: Slow<Vec<Policy>>,
}

/// What changes rarely: asked once a minute.
#[derive(Debug)]
struct Policy {
    current: String,
    cpus: Vec<String>,
    governor: Option<String>,
    /// Name of the series and hertz.
    limits: Vec<(&'static str, f64)>,
}

const LIMITS: [(&str, &str); 4] = [
    ("node_cpu_frequency_min_hertz", "cpuinfo_min_freq"),
    ("node_cpu_frequency_max_hertz", "cpuinfo_max_freq"),
    ("node_cpu_scaling_frequency_min_hertz", "scaling_min_freq"),
    ("node_cpu_scaling_frequency_max_hertz", "scaling_max_freq"),
];

impl Cpufreq {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let mut worst = Worst::default();
        let root = &input.source.root;
        let policies = self.limits.get(input.now, || {
            let mut policies = Vec::new();
            for name in root.list(&format!("{CPU}/cpufreq"))? {
                if name.starts_with("policy") {
                    policies.push(policy(input.source.root.clone(), &name));
                }
            }
            Ok(policies)
        })?;
        if policies.iter().map(|policy| policy.cpus.len()).sum::<usize>() > MAX_PROCESSORS {
            put_all(root, policies, out);
            return Ok(());
        }
        for policy in policies {
            let hertz = worst.note(root.number(&policy.current)).map(|kilohertz| kilohertz * 1000.0);
            for cpu in &policy.cpus {
                out.put_some("node_cpu_scaling_frequency_hertz", &[("cpu", cpu)], hertz);
                for (name, hertz) in &policy.limits {
                    out.put(name, &[("cpu", cpu)], *hertz);
                }
                if let Some(governor) = &policy.governor {
                    out.put("node_cpu_scaling_governor", &[("cpu", cpu), ("governor", governor)], 1.0);
                }
            }
        }
        worst.finish()
    }
}

/// Of very many processors the mean clock, the lowest limit below and the highest above.
fn put_all(root: &super::Root, policies: &[Policy], out: &mut Sample) {
    let all = [("cpu", "all")];
    let hertz: Vec<f64> = policies.iter().filter_map(|policy| root.number(&policy.current).ok()).collect();
    if !hertz.is_empty() {
        let mean = hertz.iter().sum::<f64>() * 1000.0 / hertz.len() as f64;
        out.put("node_cpu_scaling_frequency_hertz", &all, mean.round());
    }
    for (name, _) in LIMITS {
        let of = |policy: &Policy| policy.limits.iter().find(|(known, _)| *known == name).map(|(_, hertz)| *hertz);
        let widest = if name.ends_with("_min_hertz") { f64::min } else { f64::max };
        out.put_some(name, &all, policies.iter().filter_map(of).reduce(widest));
    }
}

fn policy(root: super::Root, name: &str) -> Policy {
    let folder = format!("{CPU}/cpufreq/{name}");
    let cpus = root.text(&format!("{folder}/affected_cpus")).unwrap_or_default();
    let mut limits = Vec::new();
    for (series, file) in LIMITS {
        if let Ok(kilohertz) = root.number(&format!("{folder}/{file}")) {
            limits.push((series, kilohertz * 1000.0));
        }
    }
    Policy {
        current: format!("{folder}/scaling_cur_freq"),
        cpus: cpus.split_whitespace().map(str::to_owned).collect(),
        governor: root.text(&format!("{folder}/scaling_governor")).ok().filter(|governor| !governor.is_empty()),
        limits,
    }
}

/// Reads the throttle counters of Intel processors: a core's counter once per core, a package's once per package,
/// although every thread shows both. AMD has no such folder.
pub(super) fn throttles(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    // The counter of each core, by package and core.
    let (mut cores, mut packages) = (BTreeMap::new(), BTreeSet::new());
    for name in root.list(CPU)? {
        let digits = name.strip_prefix("cpu").unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let folder = format!("{CPU}/{name}");
        let Ok(core_count) = root.number(&format!("{folder}/thermal_throttle/core_throttle_count")) else {
            // The first processor without it speaks for all: AMD, ARM and virtual machines.
            if cores.is_empty() && digits == "0" {
                return Err(Failure::Absent("thermal_throttle".to_owned()));
            }
            continue;
        };
        let package = worst.note(root.text(&format!("{folder}/topology/physical_package_id")));
        let core = worst.note(root.text(&format!("{folder}/topology/core_id")));
        let (Some(package), Some(core)) = (package, core) else { continue };
        cores.entry((package.clone(), core)).or_insert(core_count);
        if packages.insert(package.clone()) {
            let count = root.number(&format!("{folder}/thermal_throttle/package_throttle_count"));
            out.put_some("node_cpu_package_throttles_total", &[("package", &package)], worst.note(count));
        }
    }
    if cores.len() > MAX_PROCESSORS {
        let mut sums = BTreeMap::new();
        cores
            .into_iter()
            .for_each(|((package, _), count)| *sums.entry((package, "all".to_owned())).or_insert(0.0) += count);
        cores = sums;
    }
    for ((package, core), count) in &cores {
        out.put("node_cpu_core_throttles_total", &[("package", package), ("core", core)], *count);
    }
    worst.finish()?;
    if packages.is_empty() { Err(Failure::Absent("thermal_throttle".to_owned())) } else { Ok(()) }
}

/// Reads the energy of processor packages, root only since it tells secrets of other processes.
pub(super) fn rapl(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    for zone in root.list("sys/class/powercap")? {
        let Some(index) = zone.strip_prefix("intel-rapl:").filter(|index| !index.contains(':')) else { continue };
        let Some(name) = worst.note(root.text(&format!("sys/class/powercap/{zone}/name"))) else { continue };
        if !name.starts_with("package") {
            continue;
        }
        let energy = worst.note(root.number(&format!("sys/class/powercap/{zone}/energy_uj")));
        let path = format!("/sys/class/powercap/{zone}");
        let labels = [("index", index), ("path", path.as_str())];
        out.put_some("node_rapl_package_joules_total", &labels, energy.map(|microjoules| microjoules / 1e6));
    }
    worst.finish()
}

/// Machine checks: the sum of the `MCE` row of `/proc/interrupts` over all processors. `MCP` counts polls, not errors.
pub(super) fn machine_checks(bytes: &[u8]) -> Option<f64> {
    let line = text::lines(bytes).find(|line| line.trim_ascii_start().starts_with(b"MCE:"))?;
    text::words(line).skip(1).map_while(text::number).reduce(|sum, count| sum + count)
}

#[cfg(test)]
mod tests {
    use super::machine_checks;

    #[test]
    fn machine_checks_are_summed_and_polls_are_not() {
        let text = b" NMI:   1   2   Non-maskable interrupts\n MCE:   0   3   Machine check exceptions\n MCP:  60 61  \
            Machine check polls\n";
        assert_eq!(machine_checks(text), Some(3.0));
        assert_eq!(machine_checks(b" 10: 1 2 GIC\n"), None);
    }
}
