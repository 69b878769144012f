//! Verdicts over facts: which reading of a node means ok, degraded or critical, since when, and what to do about it.
//!
//! [`HealthEvaluator`] takes one node's readings one after the other and keeps what a single reading cannot tell: how
//! long something lasts, how fast a counter grows, what was so when this boot began. It has no clock and reads no file;
//! the time comes in with the reading. Unknown is never healthy: a required rule whose fact is missing makes the node
//! `unknown`, an optional one is noted and nothing more.

mod accepted;
mod condition;
mod cordon;
mod disks;
mod gate;
mod measure;
mod remember;
mod rule;
mod sorted;
mod thresholds;
mod trace;
mod watch;
mod words;

pub use accepted::{Acceptance, Accepted, Decided, DiskNumber, DiskNumbers, Release, device};
pub use condition::{Condition, Confirm, Row, Side};
pub use cordon::{CordonAction, Desired, Present, SETTLED_MS, desired};
pub use disks::Disks;
pub use gate::{Baseline, Regression, Vitals, blockers};
pub use measure::REQUIRED_MOUNTS;
pub use remember::Remembered;
pub use rule::Rule;
pub use thresholds::{Adjustment, HARMLESS_UNITS, TableError, ThresholdError, Thresholds};

use crate::fact::Reading;
use crate::timestamp::Timestamp;
use accepted::Finding;
use measure::{Found, Tracker};
use remember::Bad;
use serde::{Deserialize, Serialize};
use sorted::Sorted;
use std::{borrow::Cow, collections::BTreeMap, ops::RangeInclusive, time::Duration};
use watch::{Standing, Watch};

/// After this long without a report a node is unknown: six reports that did not come.
pub const SILENT_MS: u64 = 60_000;
/// How often a node may be told to report its facts, by the agent's settings, the coordinator's, or the coordinator
/// over the wire. Faster than once a second costs a small node more than it tells. Two reports fit into the time after
/// which a node is unknown and holds rollouts, so that no setting makes it silent.
pub const REPORT_INTERVAL_SECONDS: RangeInclusive<u64> = 1..=30;
/// The freshness that dashboards expect, at a few hundred bytes each.
pub const DEFAULT_REPORT_INTERVAL: Duration = Duration::from_secs(10);
const _: () = assert!(2 * 1000 * *REPORT_INTERVAL_SECONDS.end() <= SILENT_MS);

/// After this long without a report a node counts as down.
pub const DOWN_MS: u64 = 300_000;

/// What a rule makes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// Worth a look; work goes on.
    Degraded,
    /// Somebody has to act; no disruption starts anywhere.
    Critical,
    /// The fact is missing, too old or cannot be true.
    Unknown,
}

impl Level {
    /// Every level.
    pub const ALL: [Level; 4] = [Level::Ok, Level::Degraded, Level::Critical, Level::Unknown];

    /// The word for people and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Degraded => "degraded",
            Level::Critical => "critical",
            Level::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.word())
    }
}

/// What one rule says about one subject of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The rule.
    pub rule: Rule,
    /// The disk, mount point, interface or unit that it is about; empty when it is the node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// How it stands.
    pub level: Level,
    /// Whether not knowing it makes the node unknown.
    pub required: bool,
    /// The condition that made the level, or the first of the rule when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// The fact that was looked at, as a series name.
    pub fact: String,
    /// Its value, in the unit that the condition compares: shares, seconds, °C, events in the rule's window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The threshold it crossed, or would have to cross.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Since when it stands at this level: milliseconds on the clock of whoever observes.
    pub since_ms: u64,
    /// How long the number must be good before the rule is; none where no number made the level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_seconds: Option<u32>,
    /// True when the rule changed so often that it is held at its worse level until it is quiet for an hour.
    #[serde(default, rename = "held", skip_serializing_if = "std::ops::Not::not")]
    pub damped: bool,
    /// The numbers of the disk that it is about, where it is one that tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskNumbers>,
    /// Every condition of the rule that holds, with its number; the worst is the one above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<Condition, f64>,
    /// Who takes it as the new normal; then it is shown and counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// What to do, one sentence.
    pub advice: Cow<'static, str>,
}

/// What evaluates one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthEvaluator {
    thresholds: Thresholds,
    // The word in evaluators that were stored.
    #[serde(rename = "memory")]
    tracker: Tracker,
    /// Of every condition and subject that was ever looked at.
    watches: Sorted<(Condition, Box<str>), Watch>,
    /// Of every rule and subject of the last reading.
    standings: Sorted<(Rule, Box<str>), Standing>,
    observed_at_ms: Option<u64>,
    verdicts: Vec<Verdict>,
    /// What people decided about this node and counts now.
    #[serde(skip)]
    decided: Decided,
}

impl HealthEvaluator {
    /// One without memory.
    pub fn new(thresholds: Thresholds) -> Self {
        HealthEvaluator { thresholds, ..HealthEvaluator::default() }
    }

    /// Other thresholds from the next observation on.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// What people decided about the node, as of the next observation: whoever evaluates knows what counts by then.
    pub fn set_decided(&mut self, decided: Decided) {
        self.decided = decided;
    }

    /// How far the date (Unix milliseconds) is ahead of the clock that [`observe`](Self::observe) is told, where that
    /// one does not step and the date does. Certificates expire by the date.
    pub fn set_wall_ahead_ms(&mut self, ahead: i64) {
        self.tracker.wall_ahead_ms = ahead;
    }

    /// Judges a reading that was taken now (milliseconds on the observer's clock, from reading to reading the same
    /// clock). Every rule that applies to the node gives a verdict for each of its subjects, the worst first.
    pub fn observe(&mut self, now: u64, reading: &Reading) -> &[Verdict] {
        for (release, at_ms) in &self.decided.released {
            self.tracker.remembered.release(release, *at_ms);
        }
        let found = self.tracker.measure(now, reading, &self.thresholds);
        self.observed_at_ms = Some(now);
        let mut cases: BTreeMap<(Rule, Box<str>), Case> = BTreeMap::new();
        for one in found {
            if !self.thresholds.off.contains(&one.rule()) {
                self.weigh(now, one, &mut cases);
            }
        }
        self.standings.retain(|key, _| cases.contains_key(key));
        let mut verdicts: Vec<Verdict> = Vec::with_capacity(cases.len());
        for (key, case) in cases {
            let level = case.verdict.level;
            let standing = self.standings.or_insert(key, Standing::new(now, level));
            let damped = standing.step(now, level);
            let mut verdict = case.verdict;
            // Held at a worse level it is not what was accepted.
            let is_more = verdict.level == Level::Critical && verdict.required && !case.accepts_required;
            verdict.accepted.take_if(|_| is_more || standing.level != level);
            verdict.level = standing.level;
            verdict.since_ms = standing.since_ms;
            verdict.damped = damped;
            verdicts.push(verdict);
        }
        let place = |verdict: &Verdict| (verdict.weight(), verdict.accepted.is_some(), std::cmp::Reverse(verdict.rule));
        verdicts.sort_by_key(|verdict| std::cmp::Reverse(place(verdict)));
        self.verdicts = verdicts;
        &self.verdicts
    }

    /// The verdicts as of now: those of the last reading or, when it is too old, that the node is silent. A node that
    /// never reported is silent from the beginning.
    pub fn verdicts(&self, now: u64) -> Vec<Verdict> {
        match self.observed_at_ms {
            Some(at) if now.saturating_sub(at) <= SILENT_MS => self.verdicts.clone(),
            last => vec![Verdict::silent(now, last, now)],
        }
    }

    /// What must outlive this evaluator, on its clock.
    pub fn remembered(&self) -> &Remembered {
        &self.tracker.remembered
    }

    /// Takes over what an earlier evaluator remembered, on this one's clock.
    pub fn remember(&mut self, remembered: Remembered) {
        self.tracker.remembered = remembered;
    }

    /// Takes one finding into the case of its rule and subject.
    fn weigh(&mut self, now: u64, mut found: Found, cases: &mut BTreeMap<(Rule, Box<str>), Case>) {
        let rule = found.rule();
        let key = (rule, Box::from(found.subject.as_str()));
        let Weighed { level, mut rank, limit, clear_seconds } = self.stand(now, &mut found);
        let required = found.required && !self.thresholds.optional.contains(&rule);
        let disk = match level {
            Level::Ok => DiskNumbers::default(),
            Level::Degraded | Level::Critical | Level::Unknown => self.disk_of(&found),
        };
        let accepted = found.condition.and_then(|condition| {
            let (subject, value) = (found.subject.as_str(), found.value);
            self.decided.accepts(&Finding { condition, subject, disk: &disk, level, value })
        });
        if accepted.is_some() {
            rank -= RANKS_ACCEPTED;
        }
        let (accepted, accepts_required) = accepted.unzip();
        let holds = matches!(level, Level::Degraded | Level::Critical);
        let numbers: BTreeMap<_, _> = found.condition.zip(found.value).filter(|_| holds).into_iter().collect();
        let verdict = Verdict {
            rule,
            subject: found.subject,
            level,
            required,
            condition: found.condition,
            fact: found.fact,
            value: found.value,
            threshold: limit,
            since_ms: now,
            clear_seconds,
            damped: false,
            disk: Some(disk).filter(|disk| !disk.is_empty()),
            numbers,
            accepted,
            advice: rule.advice().into(),
        };
        let case = Case { verdict, rank, accepts_required: accepts_required.unwrap_or_default() };
        match cases.get_mut(&key) {
            // Of several conditions the worst one speaks; one that is unknown does not hide one that is known.
            Some(before) if before.rank >= rank => before.add(required, case.verdict.numbers),
            Some(before) => {
                let Verdict { required, numbers, .. } = std::mem::replace(before, case).verdict;
                before.add(required, numbers);
            }
            None => drop(cases.insert(key, case)),
        }
    }

    /// How one finding stands. One that is not told and was bad has its number from then.
    fn stand(&mut self, now: u64, found: &mut Found) -> Weighed {
        let rule = found.rule();
        let required = found.required && !self.thresholds.optional.contains(&rule);
        let Some(condition) = found.condition else {
            let level = if found.known { Level::Ok } else { Level::Unknown };
            return Weighed { level, rank: rank(level), limit: None, clear_seconds: None };
        };
        let row = condition.row();
        let limit = self.thresholds.limit(condition, found.raise, found.clear);
        let clear_seconds = Some(limit.clear_seconds);
        // What was watched of a disk goes with it to its next name, and not to the disk that has its name.
        let watched = self.tracker.remembered.disks.key(&found.subject);
        let watch = self.watches.or_default((condition, Box::from(&*watched)));
        let (level, rank, limit) = if found.known {
            let active = watch.step(now, found.value, row.side, &limit);
            let level = if active { row.level } else { Level::Ok };
            if condition.stays() {
                let numbers = (found.value, Some(limit.raise));
                let (subject, fact) = (&found.subject, &found.fact);
                let disks = &self.tracker.remembered.disks;
                let bad = active.then(|| Bad::new(now, disks, condition, subject, fact, numbers, required));
                self.tracker.remembered.told(bad, condition, subject);
            }
            (level, rank(level), Some(limit.raise))
        } else if let Some(bad) = self.tracker.remembered.bad(condition, &found.subject) {
            // Whatever became of the disk, it did not get well by not answering.
            (found.value, found.required) = (bad.value, found.required || bad.required);
            (row.level, rank(row.level), bad.threshold)
        } else if watch.forget() {
            // What was bad and cannot be seen any more must not look well because of its neighbour.
            (Level::Unknown, rank(row.level), Some(limit.raise))
        } else {
            (Level::Unknown, rank(Level::Unknown), Some(limit.raise))
        };
        Weighed { level, rank, limit, clear_seconds }
    }

    /// The numbers of the disk that a finding is about: as it told them last where it does not now.
    fn disk_of(&self, found: &Found) -> DiskNumbers {
        let remembered = &self.tracker.remembered;
        if found.condition.is_some_and(Condition::is_gone) {
            // Another one may have its name now.
            return remembered.numbers_of_gone(&found.subject);
        }
        if let Some((_, numbers, part)) = remembered.disks.split(&found.subject) {
            return DiskNumbers::of(numbers, part);
        }
        let bad = found.condition.and_then(|c| remembered.bad(c, &found.subject));
        let part = found.subject.strip_prefix(device(&found.subject)).unwrap_or_default();
        bad.map(|bad| DiskNumbers::of(&bad.disk, part)).unwrap_or_default()
    }
}

/// How one finding stands.
struct Weighed {
    level: Level,
    rank: u8,
    limit: Option<f64>,
    clear_seconds: Option<u32>,
}

/// The worst that was found so far for one rule and subject.
#[derive(Debug)]
struct Case {
    verdict: Verdict,
    rank: u8,
    /// Whether who accepts it accepts it as a required one.
    accepts_required: bool,
}

impl Case {
    /// What else is found of it.
    fn add(&mut self, required: bool, numbers: BTreeMap<Condition, f64>) {
        self.verdict.required |= required;
        self.verdict.numbers.extend(numbers);
    }
}

/// Within one rule: a condition that is known speaks before one that is not.
fn rank(level: Level) -> u8 {
    match level {
        Level::Unknown => 0,
        Level::Ok => 1,
        Level::Degraded => 2 + RANKS_ACCEPTED,
        Level::Critical => 3 + RANKS_ACCEPTED,
    }
}

/// One that is accepted is shown, and hides none that is not.
const RANKS_ACCEPTED: u8 = 2;

impl Verdict {
    /// What is said of a node that does not report: unknown, and critical when it has been silent for long. `last` is
    /// its last report; one that never came is waited for since `waiting_since`.
    pub fn silent(now: u64, last: Option<u64>, waiting_since: u64) -> Self {
        let age = now.saturating_sub(last.unwrap_or(waiting_since));
        Verdict {
            rule: Rule::Report,
            subject: String::new(),
            level: if age > DOWN_MS { Level::Critical } else { Level::Unknown },
            required: true,
            condition: None,
            fact: "hostler_node_last_report_timestamp_seconds".to_owned(),
            value: last.filter(|_| age > SILENT_MS).map(|_| age as f64 / 1000.0),
            threshold: Some(SILENT_MS as f64 / 1000.0),
            since_ms: last.unwrap_or(waiting_since),
            clear_seconds: None,
            damped: false,
            disk: None,
            numbers: BTreeMap::new(),
            accepted: None,
            advice: Rule::Report.advice().into(),
        }
    }

    /// The level with which it counts: what is accepted is as good as well.
    pub fn counts_as(&self) -> Level {
        if self.accepted.is_some() { Level::Ok } else { self.level }
    }

    /// How much it weighs for the node: critical, then a required fact that is not known, then degraded.
    fn weight(&self) -> u8 {
        match self.counts_as() {
            Level::Critical => 4,
            Level::Unknown if self.required => 3,
            Level::Degraded => 2,
            Level::Unknown => 1,
            Level::Ok => 0,
        }
    }

    /// One line for a person: what, how much of it, threshold, and what to do.
    pub fn sentence(&self) -> String {
        let subject = if self.subject.is_empty() { String::new() } else { format!(" {}", self.subject) };
        let then = match &self.accepted {
            Some(accepted) => accepted.to_string(),
            None => self.advice.to_string(),
        };
        format!("{}{subject}: {}; {then}", self.rule.name(), words::said(self))
    }
}

/// How a verdict stands in a list of them: its level, its sentence, and since when.
pub fn line(level: impl std::fmt::Display, sentence: &str, since: Timestamp) -> String {
    format!("{:<9} {sentence} (since {since})", level.to_string())
}

/// At most four decimals, without zeros at the end.
fn plain(value: f64) -> String {
    let text = format!("{value:.4}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        // A sum that came out a hair below zero.
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// The node's level: critical when any rule is, else unknown when a required one is, else degraded when any rule is.
pub fn worst(verdicts: &[Verdict]) -> Level {
    match verdicts.iter().map(Verdict::weight).max().unwrap_or(3) {
        4 => Level::Critical,
        3 => Level::Unknown,
        2 => Level::Degraded,
        _ => Level::Ok,
    }
}

#[cfg(test)]
mod tests;
