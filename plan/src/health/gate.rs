//! Verdicts as a gate: may work on this node begin, and is the node no worse after it than before.

use super::{DiskNumbers, Disks, Level, Rule, Verdict, words};
use crate::fact::Reading;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rules that may be degraded when work begins: an upgrade neither causes nor cures them.
const TOLERATED: [Rule; 6] =
    [Rule::NvmeWear, Rule::EmmcWear, Rule::DiskWear, Rule::Maintenance, Rule::PiThrottledSinceBoot, Rule::DiskFilling];
/// Rules that images, logs and caches disturb for some minutes after a boot.
const SETTLING: [Rule; 4] = [Rule::SlowIo, Rule::MemoryPressure, Rule::PiTemperature, Rule::CpuTemperature];
/// How long they may.
const SETTLING_SECONDS: f64 = 600.0;
/// Counters that restart with the node.
const BOOT_COUNTERS: [&str; 6] = [
    "hostler_node_oom_kills_total",
    "node_edac_correctable_errors_total",
    "node_edac_uncorrectable_errors_total",
    "hostler_machine_check_exceptions_total",
    "node_kernel_hung_tasks_total",
    "node_cpu_package_throttles_total",
];
/// Counters that a disk keeps over a boot.
const DISK_COUNTERS: [&str; 4] = [
    "nvme_media_errors_total",
    "hostler_ext4_errors_total",
    "hostler_btrfs_errors_total",
    "smartctl_read_total_uncorrected_errors",
];

/// The verdicts that forbid to take this node out of service now: anything critical, a required fact that is not known,
/// and whatever is degraded without being tolerated. What is accepted forbids nothing.
pub fn blockers(verdicts: &[Verdict]) -> Vec<&Verdict> {
    let blocks = |verdict: &&Verdict| match verdict.counts_as() {
        Level::Critical => true,
        Level::Unknown => verdict.required,
        Level::Degraded => !TOLERATED.contains(&verdict.rule),
        Level::Ok => false,
    };
    verdicts.iter().filter(blocks).collect()
}

/// Verdicts that are kept of one node, the worst first: a Raspberry Pi has a handful, sixty disks that are worn and
/// warm have 120.
const MAX_VERDICTS: usize = 256;
/// Counters that are kept of one node: 60 disks with a file system each and 8 packages of processors have 200.
const MAX_COUNTERS: usize = 512;
/// The longest series of a counter in bytes; longer ones are left out, so that a baseline fits into a record.
const MAX_COUNTER_BYTES: usize = 256;

/// What the gates of a rollout look at in one report of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// The boot that the node says it is in; empty where it does not say.
    pub boot_id: String,
    /// Whether images, logs and caches may still disturb it because it booted a moment ago.
    pub is_settling: bool,
    /// Every verdict that is not ok, the worst first.
    pub verdicts: Vec<Verdict>,
    /// Counters that must not grow, by series. Integers, because a baseline stands in the ledger.
    pub counters: BTreeMap<String, u64>,
    /// Which disk has which name.
    pub disks: Disks,
}

impl Vitals {
    /// Picks them out of a reading that arrived now and was judged. A reading of which nothing was judged is as good as
    /// none: missing is never healthy.
    pub fn of(now: u64, verdicts: &[Verdict], reading: &Reading) -> Self {
        let boot = reading.get("node_boot_time_seconds", &[]);
        let mut bad: Vec<Verdict> =
            verdicts.iter().filter(|v| v.level != Level::Ok).take(MAX_VERDICTS).cloned().collect();
        if verdicts.is_empty() {
            bad.push(Verdict::silent(now, None, now));
        }
        Vitals {
            boot_id: reading.label("hostler_node_info", "boot_id").unwrap_or_default().to_owned(),
            is_settling: boot.is_some_and(|boot| reading.at_ms() as f64 / 1000.0 - boot < SETTLING_SECONDS),
            verdicts: bad,
            counters: counters(reading).take(MAX_COUNTERS).collect(),
            disks: Disks::of(reading),
        }
    }
}

/// How a node was before the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The boot it was taken in.
    pub boot_id: String,
    /// When, on the observer's clock.
    pub at_ms: u64,
    /// Every rule that was not ok and weighed something: rule, subject, level.
    pub levels: Vec<(Rule, String, Level)>,
    /// Counters that must not grow, by series. Integers, because a baseline stands in the ledger.
    pub counters: BTreeMap<String, u64>,
    /// Which disk had which name: after a reboot it may have another one.
    #[serde(default, skip_serializing_if = "Disks::is_empty")]
    pub disks: Disks,
    /// The numbers of disks that were gone, by the names that they had: another one may be called so by now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gone: BTreeMap<String, DiskNumbers>,
}

/// In what a node is worse than its baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regression {
    /// A rule stands at a worse level, or is not known any more.
    Rule {
        /// How it stood.
        was: Level,
        /// How it stands.
        verdict: Box<Verdict>,
    },
    /// It has not reported since it was disrupted, or not for long.
    Silent {},
    /// A counter of errors grew.
    Counter {
        /// The series.
        fact: String,
        /// Its value in the baseline, 0 when it restarted with the node.
        was: u64,
        /// Its value now.
        is: u64,
    },
}

impl std::fmt::Display for Regression {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Regression::Rule { was, verdict } => {
                write!(formatter, "was {was}, is {}: {}", verdict.level, verdict.sentence())
            }
            Regression::Silent {} => {
                write!(formatter, "no report came from it since; {}", Rule::Report.advice())
            }
            Regression::Counter { fact, was, is } => {
                write!(
                    formatter,
                    "{} grew from {was} to {is}: read the kernel log before going on",
                    words::counter(fact)
                )
            }
        }
    }
}

impl Baseline {
    /// Takes the baseline of a node.
    pub fn take(now: u64, vitals: &Vitals) -> Self {
        // What was not known and need not be weighs nothing: it is as good as ok, so that what shows later counts.
        let weighs = |verdict: &&Verdict| verdict.level != Level::Unknown || verdict.required;
        let levels = vitals.verdicts.iter().filter(weighs);
        let gone = levels.clone().filter(|verdict| verdict.rule == Rule::DiskGone);
        let gone = gone.filter_map(|verdict| Some((verdict.subject.clone(), verdict.disk.clone()?))).collect();
        Baseline {
            boot_id: vitals.boot_id.clone(),
            at_ms: now,
            levels: levels.map(|verdict| (verdict.rule, verdict.subject.clone(), verdict.level)).collect(),
            counters: vitals.counters.clone(),
            disks: vitals.disks.clone(),
            gone,
        }
    }

    /// In what the node is worse now. Empty is "no worse than this baseline".
    pub fn regressions(&self, vitals: &Vitals) -> Vec<Regression> {
        let mut found = Vec::new();
        for verdict in &vitals.verdicts {
            if vitals.is_settling && SETTLING.contains(&verdict.rule) {
                continue;
            }
            let was = self.level(verdict, &vitals.disks);
            if rank(verdict.counts_as(), verdict.required) > rank(was, true) {
                found.push(Regression::Rule { was, verdict: Box::new(verdict.clone()) });
            }
        }
        let rebooted = !vitals.boot_id.is_empty() && vitals.boot_id != self.boot_id;
        for (fact, &is) in &vitals.counters {
            let restarted = rebooted && BOOT_COUNTERS.iter().any(|name| fact.starts_with(name));
            // What nobody counted before is history, as is what another disk counted.
            let was = if restarted { Some(0) } else { self.counter(fact, &vitals.disks) }.unwrap_or(is);
            if is > was {
                found.push(Regression::Counter { fact: fact.clone(), was, is });
            }
        }
        found
    }

    /// What was not ok, in a few words for people.
    pub fn sentence(&self) -> String {
        if self.levels.is_empty() {
            return "all ok".to_owned();
        }
        let one = |(rule, subject, level): &(Rule, String, Level)| match subject.as_str() {
            "" => format!("{rule} {level}"),
            subject => format!("{rule} {subject} {level}"),
        };
        self.levels.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// How the rule stood for that subject, whatever the disk was called.
    fn level(&self, verdict: &Verdict, disks: &Disks) -> Level {
        let of_rule = self.levels.iter().filter(|(rule, ..)| *rule == verdict.rule);
        let level = |found: Option<&(Rule, String, Level)>| found.map_or(Level::Ok, |(_, _, level)| *level);
        if verdict.rule == Rule::DiskGone {
            // By its numbers where they are known: two disks that are gone may have had one name, one after the other.
            let same = |name: &str| match (&verdict.disk, self.gone.get(name)) {
                (Some(now), Some(before)) => now.is(before),
                (None, None) | (None, Some(_)) | (Some(_), None) => name == verdict.subject,
            };
            return level(of_rule.clone().find(|(_, subject, _)| same(subject)));
        }
        let subject = disks.earlier(&verdict.subject, &self.disks);
        level(of_rule.clone().find(|(_, of, _)| Some(&**of) == subject.as_deref()))
    }

    /// What the counter was, whatever the disk was called.
    fn counter(&self, fact: &str, disks: &Disks) -> Option<u64> {
        let device = fact.split_once("device=\"").and_then(|(_, rest)| Some(rest.split_once('"')?.0));
        let Some(device) = device else { return self.counters.get(fact).copied() };
        let earlier = disks.earlier(device, &self.disks)?;
        let label = |device: &str| format!("device=\"{device}\"");
        self.counters.get(&fact.replacen(&label(device), &label(&earlier), 1)).copied()
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

fn counters(reading: &Reading) -> impl Iterator<Item = (String, u64)> {
    let series = BOOT_COUNTERS.iter().chain(&DISK_COUNTERS).flat_map(move |name| {
        reading.all(name).map(move |(labels, value)| {
            let labels: Vec<String> = labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
            let labels = labels.join(",");
            let series = if labels.is_empty() { (*name).to_owned() } else { format!("{name}{{{labels}}}") };
            // A float that is no integer or none of 64 bits is cut to the nearest that is.
            (series, value as u64)
        })
    });
    series.filter(|(series, _)| series.len() <= MAX_COUNTER_BYTES)
}
