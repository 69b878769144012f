//! Verdicts as a gate: may work on this node begin, and is the node no worse after it than before.

use super::{Level, Rule, Verdict};
use crate::fact::Reading;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rules that may be degraded when work begins: an upgrade neither causes nor cures them.
const TOLERATED: [Rule; 5] =
    [Rule::NvmeWear, Rule::EmmcWear, Rule::Maintenance, Rule::PiThrottledSinceBoot, Rule::DiskFilling];
/// Rules that images, logs and caches disturb for some minutes after a boot.
const SETTLING: [Rule; 4] = [Rule::SlowIo, Rule::MemoryPressure, Rule::PiTemperature, Rule::CpuTemperature];
/// How long they may.
const SETTLING_SECONDS: f64 = 600.0;
/// Counters that restart with the node.
const BOOT_COUNTERS: [&str; 6] = [
    "node_vmstat_oom_kill",
    "node_edac_correctable_errors_total",
    "node_edac_uncorrectable_errors_total",
    "hostler_machine_check_exceptions_total",
    "node_kernel_hung_tasks_total",
    "node_cpu_package_throttles_total",
];
/// Counters that a disk keeps over a boot.
const DISK_COUNTERS: [&str; 2] = ["nvme_media_errors_total", "hostler_ext4_errors_total"];

/// The verdicts that forbid to take this node out of service now: anything critical, a required fact that is not known,
/// and whatever is degraded without being tolerated.
pub fn blockers(verdicts: &[Verdict]) -> Vec<&Verdict> {
    let blocks = |verdict: &&Verdict| match verdict.level {
        Level::Critical => true,
        Level::Unknown => verdict.required,
        Level::Degraded => !TOLERATED.contains(&verdict.rule),
        Level::Ok => false,
    };
    verdicts.iter().filter(blocks).collect()
}

/// How a node was before the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The boot it was taken in.
    pub boot_id: String,
    /// When, on the observer's clock.
    pub at_ms: u64,
    /// Every rule that was not ok: rule, subject, level, and whether it was required.
    pub levels: Vec<(Rule, String, Level)>,
    /// Counters that must not grow, by series.
    pub counters: BTreeMap<String, f64>,
}

/// In what a node is worse than its baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worse {
    /// A rule stands at a worse level, or is not known any more.
    Rule {
        /// How it stood.
        was: Level,
        /// How it stands.
        verdict: Box<Verdict>,
    },
    /// A counter of errors grew.
    Counter {
        /// The series.
        fact: String,
        /// Its value in the baseline, 0 when it restarted with the node.
        was: f64,
        /// Its value now.
        is: f64,
    },
}

impl std::fmt::Display for Worse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Worse::Rule { was, verdict } => {
                write!(formatter, "was {was:?}, is {:?}: {}", verdict.level, verdict.sentence())
            }
            Worse::Counter { fact, was, is } => {
                write!(formatter, "{fact} grew from {was} to {is}: read the kernel log before going on")
            }
        }
    }
}

impl Baseline {
    /// Takes the baseline of a node.
    pub fn take(now: u64, verdicts: &[Verdict], reading: &Reading) -> Self {
        let levels = verdicts.iter().filter(|verdict| verdict.level != Level::Ok);
        Baseline {
            boot_id: reading.label("hostler_node_info", "boot_id").unwrap_or_default().to_owned(),
            at_ms: now,
            levels: levels.map(|verdict| (verdict.rule, verdict.subject.clone(), verdict.level)).collect(),
            counters: counters(reading).collect(),
        }
    }

    /// In what the node is worse now. Empty is "no worse than this baseline".
    pub fn worse(&self, verdicts: &[Verdict], reading: &Reading) -> Vec<Worse> {
        let boot = reading.get("node_boot_time_seconds", &[]);
        let settling = boot.is_some_and(|boot| reading.at_ms() as f64 / 1000.0 - boot < SETTLING_SECONDS);
        let mut worse = Vec::new();
        for verdict in verdicts {
            if settling && SETTLING.contains(&verdict.rule) {
                continue;
            }
            let was = self.level(verdict.rule, &verdict.subject);
            if rank(verdict.level, verdict.required) > rank(was, true) {
                worse.push(Worse::Rule { was, verdict: Box::new(verdict.clone()) });
            }
        }
        let rebooted = reading.label("hostler_node_info", "boot_id").is_some_and(|boot_id| boot_id != self.boot_id);
        for (fact, is) in counters(reading) {
            let restarted = rebooted && BOOT_COUNTERS.iter().any(|name| fact.starts_with(name));
            let was = if restarted { 0.0 } else { self.counters.get(&fact).copied().unwrap_or(is) };
            if is > was {
                worse.push(Worse::Counter { fact, was, is });
            }
        }
        worse
    }

    fn level(&self, rule: Rule, subject: &str) -> Level {
        let known = self.levels.iter().find(|(known, of, _)| *known == rule && of == subject);
        known.map_or(Level::Ok, |(_, _, level)| *level)
    }
}

/// Not knowing a required fact is worse than degraded and better than critical; an optional one weighs nothing.
fn rank(level: Level, required: bool) -> u8 {
    match level {
        Level::Ok => 0,
        Level::Unknown if !required => 0,
        Level::Degraded => 1,
        Level::Unknown => 2,
        Level::Critical => 3,
    }
}

fn counters(reading: &Reading) -> impl Iterator<Item = (String, f64)> {
    BOOT_COUNTERS.iter().chain(&DISK_COUNTERS).flat_map(move |name| {
        reading.all(name).map(move |(labels, value)| {
            let labels: Vec<String> = labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
            let labels = labels.join(",");
            (if labels.is_empty() { (*name).to_owned() } else { format!("{name}{{{labels}}}") }, value)
        })
    })
}
