//! From readings to the numbers that the conditions compare.
//!
//! A finding is one number for one condition, or the statement that it is not known. What does not apply to a node
//! (NVMe rules without an NVMe disk) gives no finding at all.

mod disk;
mod drive;
mod node;
mod pi;
mod redundancy;
mod service;

pub use disk::REQUIRED_MOUNTS;

use super::condition::Condition;
use super::remember::{Bad, Remembered};
use super::rule::Rule;
use super::thresholds::Thresholds;
use super::trace::{Growth, NewBits, Past, Rate, Trend};
use crate::fact::Reading;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(super) const MINUTE_MS: u64 = 60_000;
pub(super) const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;

/// One number for one condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) condition: Option<Condition>,
    rule: Rule,
    pub(super) subject: String,
    pub(super) fact: String,
    /// `None` with `known`: nothing happened that could be judged (no I/O in the window).
    pub(super) value: Option<f64>,
    pub(super) known: bool,
    pub(super) required: bool,
    /// Thresholds that the hardware itself reports.
    pub(super) raise: Option<f64>,
    pub(super) clear: Option<f64>,
}

impl Found {
    fn new(condition: Condition, subject: &str, fact: String, value: Option<f64>, known: bool) -> Self {
        let rule = condition.row().rule;
        let condition = Some(condition);
        let subject = subject.to_owned();
        Found { condition, rule, subject, fact, value, known, required: false, raise: None, clear: None }
    }

    /// A value that is known.
    fn value(condition: Condition, subject: &str, fact: String, value: f64) -> Self {
        Found::new(condition, subject, fact, Some(value), true)
    }

    /// A value when there is one; otherwise the fact is missing.
    fn maybe(condition: Condition, subject: &str, fact: String, value: Option<f64>) -> Self {
        Found::new(condition, subject, fact, value, value.is_some())
    }

    /// Nothing happened: good, but without a number.
    fn quiet(condition: Condition, subject: &str, fact: String) -> Self {
        Found::new(condition, subject, fact, None, true)
    }

    /// What was bad when it was last told, and is not told now.
    fn untold(bad: &Bad) -> Self {
        Found::new(bad.condition, &bad.subject, bad.fact.clone(), None, false).required(bad.required)
    }

    /// Something to tell that is never bad.
    fn note(rule: Rule, subject: &str, fact: String, value: f64) -> Self {
        let subject = subject.to_owned();
        let (raise, clear) = (None, None);
        Found { condition: None, rule, subject, fact, value: Some(value), known: true, required: false, raise, clear }
    }

    fn required(mut self, required: bool) -> Self {
        self.required = required;
        self
    }

    fn limits(mut self, raise: f64, clear: f64) -> Self {
        self.raise = Some(raise);
        self.clear = Some(clear);
        self
    }

    pub(super) fn rule(&self) -> Rule {
        self.rule
    }
}

/// What is kept from reading to reading.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tracker {
    boot_id: String,
    /// Counters that restart with the node.
    boot_growths: BTreeMap<String, Growth>,
    /// Counters that a disk keeps.
    disk_growths: BTreeMap<String, Growth>,
    rates: BTreeMap<String, Rate>,
    trends: BTreeMap<String, Trend>,
    bits: BTreeMap<String, NewBits>,
    /// The best that was ever seen of a link.
    best: BTreeMap<String, f64>,
    /// Mount points that were writable in this boot, and how often an error had made them read-only until then.
    was_writable: BTreeMap<String, f64>,
    /// What is kept over restarts.
    #[serde(default)]
    pub(super) remembered: Remembered,
    #[serde(default)]
    default_routes: Vec<String>,
    offset: Past,
    /// What the date is, seen from the observer's steady clock; only certificates ask.
    #[serde(default)]
    pub(super) wall_ahead_ms: i64,
    /// Whether this boot has shown an input voltage: only a Pi 5 does.
    measures_input: bool,
}

/// One observation in the making.
struct Evaluation<'reading> {
    now: u64,
    reading: &'reading Reading,
    tracker: &'reading mut Tracker,
    thresholds: &'reading Thresholds,
    uptime_seconds: Option<f64>,
    found: Vec<Found>,
}

impl Tracker {
    /// Every number of a reading, in the order of the rules.
    pub(super) fn measure(&mut self, now: u64, reading: &Reading, thresholds: &Thresholds) -> Vec<Found> {
        let boot_id = reading.label("hostler_node_info", "boot_id").unwrap_or_default();
        let is_new = boot_id != self.boot_id && !boot_id.is_empty();
        if is_new {
            self.begin_boot(boot_id);
        }
        // The link of another disk in the same place is another one.
        if self.remembered.look(now, reading, &self.boot_id, !is_new) {
            self.best.retain(|key, _| !key.starts_with("link"));
        }
        let boot = reading.get("node_boot_time_seconds", &[]);
        let uptime = boot.map(|boot| reading.at_ms() as f64 / 1000.0 - boot);
        let model = reading.label("hostler_node_info", "model").unwrap_or_default();
        let is_pi = model.starts_with("Raspberry Pi");
        let found = Vec::new();
        let mut evaluation = Evaluation { now, reading, tracker: self, thresholds, uptime_seconds: uptime, found };
        evaluation.filesystems();
        evaluation.memory_and_load();
        evaluation.disks();
        if is_pi {
            evaluation.raspberry_pi();
        } else {
            evaluation.processor();
        }
        evaluation.nvme();
        evaluation.smartctl();
        evaluation.redundancy();
        evaluation.errors();
        evaluation.clock();
        evaluation.services();
        evaluation.network();
        let mut found = evaluation.found;
        let untold =
            self.remembered.bad.values().filter(|bad| {
                !found.iter().any(|one| one.condition == Some(bad.condition) && one.subject == bad.subject)
            });
        let untold: Vec<Found> = untold.map(Found::untold).collect();
        found.extend(untold);
        found
    }

    fn begin_boot(&mut self, boot_id: &str) {
        // The first boot id after a start is no reboot, but then there is nothing to forget either.
        self.boot_id = boot_id.to_owned();
        // A link that comes up at boot is no flap.
        self.boot_growths.retain(|key, _| !key.starts_with("carrier "));
        self.boot_growths.values_mut().for_each(|growth| growth.restart(0.0));
        self.rates.clear();
        self.bits.clear();
        self.was_writable.clear();
        self.measures_input = false;
    }
}

impl Evaluation<'_> {
    fn push(&mut self, found: Found) {
        self.found.push(found);
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.reading.get(name, &[])
    }

    /// Growth of a counter that restarts with the node, over the last so many milliseconds.
    fn growth(&mut self, key: String, value: f64, window_ms: u64) -> f64 {
        let growth = self.tracker.boot_growths.entry(key).or_default();
        growth.add(self.now, value);
        growth.within(self.now, window_ms)
    }

    /// What a disk counted for its whole life, whatever it is called now.
    fn disk_growth(&mut self, what: &str, device: &str) -> &mut Growth {
        let growths = &mut self.tracker.disk_growths;
        let (name, key) = (format!("{what} {device}"), self.tracker.remembered.disks.key(device));
        let key = format!("{what} {key}");
        // What was counted before its number was known.
        if key != name
            && let Some(growth) = growths.remove(&name)
        {
            growths.entry(key.clone()).or_insert(growth);
        }
        growths.entry(key).or_default()
    }

    /// Whether the node is up for less than this. Not knowing it is "no".
    fn younger_than(&self, seconds: f64) -> bool {
        self.uptime_seconds.is_some_and(|uptime| uptime < seconds)
    }
}

/// `name{label="value"}` for a verdict.
fn fact(name: &str, label: &str, value: &str) -> String {
    format!("{name}{{{label}=\"{value}\"}}")
}
