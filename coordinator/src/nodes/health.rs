//! Verdicts over the facts that arrive, with the thresholds of the fleet file.

use std::collections::BTreeMap;

use hostler_plan::{
    fact::Reading,
    fleet::Fleet,
    health::{HealthEvaluator, Remembered, Thresholds, Verdict, Vitals},
    id::NodeName,
    timestamp::Timestamp,
    trust::NodeDecisions,
    written,
};

use crate::clock::ClockReading;

/// An evaluator for every node that reported.
#[derive(Debug, Default)]
pub(crate) struct HealthEvaluators {
    evaluators: BTreeMap<NodeName, HealthEvaluator>,
    /// Of the fleet file; a node that is not here has the usual ones.
    thresholds: BTreeMap<NodeName, Thresholds>,
    /// What was kept before this start, by the steady clock, until the node reports.
    restored: BTreeMap<NodeName, Remembered>,
    /// What was kept last, but for its times.
    kept: BTreeMap<NodeName, Remembered>,
}

impl HealthEvaluators {
    /// Evaluates a reading that arrived now, and gives what the gates of a rollout look at.
    pub(crate) fn observe(
        &mut self,
        node: &NodeName,
        at: ClockReading,
        reading: &Reading,
        decisions: Option<&NodeDecisions>,
    ) -> Vitals {
        let thresholds = || self.thresholds.get(node).cloned().unwrap_or_default();
        let restored = &mut self.restored;
        let evaluator = self.evaluators.entry(node.clone()).or_insert_with(|| {
            let mut evaluator = HealthEvaluator::new(thresholds());
            if let Some(remembered) = restored.remove(node) {
                evaluator.remember(remembered);
            }
            evaluator
        });
        evaluator.set_wall_ahead_ms(at.wall_ahead_ms());
        let steady = |date: Timestamp| date.unix_milliseconds().saturating_add_signed(-at.wall_ahead_ms());
        evaluator.set_decided(decisions.map(|d| d.for_health(at.wall, steady)).unwrap_or_default());
        evaluator.observe(at.steady_ms, reading);
        Vitals::of(at.wall.unix_milliseconds(), &self.verdicts(node, at), reading)
    }

    /// What an earlier process kept of that node, by the machine's clock.
    pub(crate) fn restore(&mut self, node: NodeName, remembered: &Remembered, now: ClockReading) {
        self.restored.insert(node, remembered.moved(-now.wall_ahead_ms()));
    }

    /// What must not be forgotten of that node, by the machine's clock.
    pub(crate) fn remembered(&self, node: &NodeName, now: ClockReading) -> Option<Remembered> {
        Some(self.evaluators.get(node)?.remembered().moved(now.wall_ahead_ms()))
    }

    /// The same when something in it is new since it was asked last.
    pub(crate) fn news(&mut self, node: &NodeName, now: ClockReading) -> Option<Remembered> {
        let remembered = self.evaluators.get(node)?.remembered();
        if self.kept.get(node).is_some_and(|kept| kept.is_like(remembered)) {
            return None;
        }
        self.kept.insert(node.clone(), remembered.clone());
        self.remembered(node, now)
    }

    /// The verdicts as of now; a node that fell silent has one that says so. Empty for a node that never reported.
    pub(crate) fn verdicts(&self, node: &NodeName, now: ClockReading) -> Vec<Verdict> {
        let mut verdicts = self.evaluators.get(node).map(|e| e.verdicts(now.steady_ms)).unwrap_or_default();
        for verdict in &mut verdicts {
            verdict.since_ms = now.wall_of_steady_ms(verdict.since_ms).unix_milliseconds();
        }
        verdicts
    }

    /// Takes the thresholds of a fleet file. A file or a table that cannot be read says why and leaves those of before.
    pub(crate) fn set_fleet_file(&mut self, content: &[u8]) -> Result<(), String> {
        let text = written::read(content).map_err(|e| e.to_string())?;
        let (fleet, _) = Fleet::without_lock(("fleet.toml", &text)).map_err(|e| e.to_string())?;
        let mut all = BTreeMap::new();
        for node in &fleet.nodes {
            let group = node.group.as_ref().and_then(|g| fleet.groups.get(g));
            if let Some(table) = group.and_then(|g| g.health.as_ref()) {
                all.insert(node.name.clone(), Thresholds::from_table(table).map_err(|e| e.to_string())?);
            }
        }
        self.thresholds = all;
        for (node, evaluator) in &mut self.evaluators {
            evaluator.set_thresholds(self.thresholds.get(node).cloned().unwrap_or_default());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plan::{
        fact::Series,
        health::{Level, Rule},
    };

    const YEAR_MS: i64 = 366 * 86_400_000;
    const START_MS: u64 = 1_800_000_000_000;

    /// So many seconds after the start, on a clock that is off by so much.
    fn moment(seconds: u64, off_ms: i64) -> ClockReading {
        let steady_ms = START_MS + seconds * 1000;
        ClockReading { wall: Timestamp::from_unix_milliseconds(steady_ms.saturating_add_signed(off_ms)), steady_ms }
    }

    fn reading(at: ClockReading, oom_kills: f64, available: f64) -> Reading {
        let mut reading = Reading::new(at.wall.unix_milliseconds());
        reading.set(Series::new("hostler_node_oom_kills_total", &[]), oom_kills);
        reading.set(Series::new("node_memory_MemTotal_bytes", &[]), 8e9);
        reading.set(Series::new("node_memory_MemAvailable_bytes", &[]), available);
        let labels = [("kind", "leaf"), ("path", "/x.crt")];
        let expires = Series::new("hostler_certificate_not_after_timestamp_seconds", &labels);
        // Between the date and the same a year later.
        reading.set(expires, START_MS as f64 / 1000.0 + 100.0 * 86_400.0);
        reading
    }

    fn level(verdicts: &[Verdict], rule: Rule) -> Option<Level> {
        verdicts.iter().filter(|v| v.rule == rule).map(|v| v.level).max()
    }

    #[test]
    fn a_clock_that_steps_by_a_year_neither_raises_nor_clears_nor_hides_a_verdict() {
        let node = NodeName::new("a").unwrap();
        for step in [YEAR_MS, -YEAR_MS] {
            let mut evaluators = HealthEvaluators::default();
            let mut see = |seconds, off, kills, available| {
                let at = moment(seconds, off);
                evaluators.observe(&node, at, &reading(at, kills, available), None);
                evaluators.verdicts(&node, at)
            };
            // Memory is short from second 10 on, which counts after 15 minutes; somebody was killed in second 20.
            see(0, 0, 0.0, 4e9);
            see(10, 0, 0.0, 0.5e9);
            assert_eq!(level(&see(20, 0, 1.0, 0.5e9), Rule::OomKill), Some(Level::Degraded));
            let after = see(30, step, 1.0, 0.5e9);
            assert_eq!(level(&after, Rule::Memory), Some(Level::Ok), "20 seconds are no 15 minutes");
            assert_eq!(level(&after, Rule::OomKill), Some(Level::Degraded), "half a minute is no half hour");
            let expired = if step > 0 { Level::Critical } else { Level::Ok };
            assert_eq!(level(&after, Rule::Certificate), Some(expired), "a certificate ends by the date");
            let since = after.iter().find(|v| v.rule == Rule::OomKill).unwrap().since_ms;
            assert_eq!(since, moment(20, step).wall.unix_milliseconds(), "told by the clock as it goes now");
            for seconds in (40..=900).step_by(10) {
                see(seconds, step, 1.0, 0.5e9);
            }
            assert_eq!(level(&see(920, step, 1.0, 0.5e9), Rule::Memory), Some(Level::Degraded), "after 15 minutes");
            for seconds in (930..=1900).step_by(10) {
                see(seconds, step, 1.0, 4e9);
            }
            assert_eq!(level(&see(1910, step, 1.0, 4e9), Rule::OomKill), Some(Level::Ok), "after half an hour");
            // Nobody is silent because the clock says so, and everybody is who does not report.
            assert_eq!(level(&evaluators.verdicts(&node, moment(1930, 0)), Rule::Report), None);
            assert_eq!(level(&evaluators.verdicts(&node, moment(1990, 0)), Rule::Report), Some(Level::Unknown));
            assert_eq!(level(&evaluators.verdicts(&node, moment(2300, step)), Rule::Report), Some(Level::Critical));
        }
    }

    #[test]
    fn a_disk_that_was_failing_before_a_restart_is_failing_after_it_until_it_is_seen_well() {
        let node = NodeName::new("a").unwrap();
        let labels = [("device", "sda"), ("serial_number", "A")];
        let disk = |at: ClockReading, passed: Option<f64>| {
            let mut reading = reading(at, 0.0, 4e9);
            reading.set(Series::new("hostler_disk_carries", &[("device", "sda"), ("what", "nothing")]), 1.0);
            if let Some(passed) = passed {
                reading.set(Series::new("smartctl_device", &labels), 1.0);
                reading.set(Series::new("smartctl_device_smart_status", &labels[..1]), passed);
            }
            reading
        };
        let smart = |evaluators: &mut HealthEvaluators, at, passed| {
            evaluators.observe(&node, at, &disk(at, passed), None);
            level(&evaluators.verdicts(&node, at), Rule::DiskSmart)
        };
        let mut evaluators = HealthEvaluators::default();
        let at = moment(0, YEAR_MS);
        assert_eq!(smart(&mut evaluators, at, Some(0.0)), Some(Level::Critical));
        let kept = evaluators.news(&node, at).unwrap();
        assert_eq!(evaluators.news(&node, moment(10, YEAR_MS)), None, "nothing new");
        // The next process looks at a clock that was set right meanwhile, and the disk sleeps.
        let kept: Remembered = serde_json::from_slice(&serde_json::to_vec(&kept).unwrap()).unwrap();
        let mut evaluators = HealthEvaluators::default();
        evaluators.restore(node.clone(), &kept, moment(600, 0));
        assert!(evaluators.verdicts(&node, moment(600, 0)).is_empty(), "it did not report yet");
        assert_eq!(smart(&mut evaluators, moment(600, 0), None), Some(Level::Critical));
        assert_eq!(smart(&mut evaluators, moment(610, 0), Some(1.0)), Some(Level::Ok));
        assert_eq!(smart(&mut evaluators, moment(620, 0), None), None);
    }
}
