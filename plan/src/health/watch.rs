//! The two small state machines of a verdict: does a condition hold, and at which level does a rule stand.

use super::Level;
use super::condition::{Confirm, Side};
use super::thresholds::Limit;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// More changes than this within [`FLAP_WINDOW_MS`] and a rule stays at its worse level until it was quiet for as long.
const MAX_CHANGES: usize = 4;
const FLAP_WINDOW_MS: u64 = 3_600_000;

/// Whether one condition holds for one subject.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Watch {
    active: bool,
    bad_since: Option<u64>,
    good_since: Option<u64>,
    /// The last samples as bits, 1 where one was bad and the newest lowest; only for conditions that count samples.
    samples: u64,
}

impl Watch {
    /// One observation. `None` is "nothing happened that could be judged": it counts as good.
    pub(super) fn step(&mut self, now: u64, value: Option<f64>, side: Side, limit: &Limit) -> bool {
        let (bad, good) = match (value, side) {
            (None, _) => (false, true),
            (Some(value), Side::Above) => (value >= limit.raise, value <= limit.clear),
            (Some(value), Side::Below) => (value < limit.raise, value > limit.clear),
        };
        // Where raise and clear are the same number, good is the opposite of bad.
        let good = good || (!bad && limit.raise == limit.clear);
        self.bad_since = bad.then(|| self.bad_since.map_or(now, |since| since.min(now)));
        self.good_since = good.then(|| self.good_since.map_or(now, |since| since.min(now)));
        let confirmed = match limit.confirm {
            Confirm::Seconds(seconds) => lasts(self.bad_since, now, u64::from(seconds) * 1000),
            Confirm::Samples(wanted, of) => {
                let kept = u64::MAX.checked_shr(u64::BITS.saturating_sub(of.into())).unwrap_or(0);
                self.samples = (self.samples << 1 | u64::from(bad)) & kept;
                self.samples.count_ones() >= u32::from(wanted)
            }
        };
        let cleared = !bad && lasts(self.good_since, now, u64::from(limit.clear_seconds) * 1000);
        if self.active && cleared {
            self.active = false;
            self.samples = 0;
        } else if confirmed {
            self.active = true;
        }
        self.active
    }

    /// The number is not known: nothing lasts on. True: the condition held when it was known last.
    pub(super) fn forget(&mut self) -> bool {
        self.bad_since = None;
        self.good_since = None;
        self.active
    }
}

fn lasts(since: Option<u64>, now: u64, milliseconds: u64) -> bool {
    since.is_some_and(|since| now.saturating_sub(since) >= milliseconds)
}

/// Where one rule stands for one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) level: Level,
    pub(super) since_ms: u64,
    changes: VecDeque<u64>,
    better_since: Option<u64>,
}

impl Standing {
    pub(super) fn new(now: u64, level: Level) -> Self {
        Standing { level, since_ms: now, changes: VecDeque::new(), better_since: None }
    }

    /// Takes over the level that the conditions give, unless the rule flaps. True: it is held at a worse level.
    pub(super) fn step(&mut self, now: u64, level: Level) -> bool {
        self.changes.retain(|at| now.saturating_sub(*at) < FLAP_WINDOW_MS);
        if level == self.level {
            self.better_since = None;
            return false;
        }
        let better = self.level != Level::Unknown && level != Level::Unknown && level < self.level;
        if better && self.changes.len() > MAX_CHANGES {
            let since = *self.better_since.get_or_insert(now);
            if now.saturating_sub(since) < FLAP_WINDOW_MS {
                return true;
            }
        }
        if self.level != Level::Unknown && level != Level::Unknown {
            self.changes.push_back(now);
        }
        self.better_since = None;
        self.level = level;
        self.since_ms = now;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(confirm: Confirm, clear_seconds: u32) -> Limit {
        Limit { raise: 80.0, clear: 75.0, confirm, clear_seconds }
    }

    #[test]
    fn it_raises_after_the_hold_and_clears_at_the_other_threshold() {
        let limit = limit(Confirm::Seconds(60), 300);
        let mut watch = Watch::default();
        let mut step = |seconds: u64, value: f64| watch.step(seconds * 1000, Some(value), Side::Above, &limit);
        assert!(!step(0, 81.0));
        assert!(!step(50, 80.0));
        assert!(step(60, 80.0));
        assert!(step(70, 76.0), "between the thresholds nothing changes");
        assert!(step(80, 75.0));
        assert!(step(370, 75.0));
        assert!(!step(380, 75.0));
        assert!(!step(390, 81.0), "a new hold begins");
    }

    #[test]
    fn a_break_starts_the_hold_anew_and_a_clock_that_steps_back_raises_nothing() {
        let limit = limit(Confirm::Seconds(60), 0);
        let mut watch = Watch::default();
        let mut step = |seconds: u64, value: f64| watch.step(seconds * 1000, Some(value), Side::Above, &limit);
        assert!(!step(1000, 81.0));
        assert!(!step(1050, 70.0));
        assert!(!step(1060, 81.0));
        assert!(!step(5, 81.0), "the clock stepped back");
        assert!(!step(60, 81.0));
        assert!(step(65, 81.0));
    }

    #[test]
    fn samples_count_through_a_chatter() {
        let limit = limit(Confirm::Samples(3, 5), 60);
        let mut watch = Watch::default();
        let run = [81.0, 60.0, 81.0, 60.0, 81.0];
        let found: Vec<bool> =
            (0..).zip(run).map(|(at, value)| watch.step(at, Some(value), Side::Above, &limit)).collect();
        assert_eq!(found, [false, false, false, false, true]);
    }

    #[test]
    fn a_rule_that_flaps_is_held_at_the_worse_level_until_it_is_quiet() {
        let mut standing = Standing::new(0, Level::Ok);
        let minute = 60_000;
        for (at, level) in
            [(1, Level::Critical), (2, Level::Ok), (3, Level::Critical), (4, Level::Ok), (5, Level::Critical)]
        {
            assert!(!standing.step(at * minute, level));
        }
        assert!(standing.step(6 * minute, Level::Ok), "the fifth change within an hour was the last");
        assert_eq!(standing.level, Level::Critical);
        assert!(!standing.step(64 * minute, Level::Critical), "bad again: the quiet hour starts anew");
        assert_eq!(standing.level, Level::Critical);
        standing.step(65 * minute, Level::Ok);
        assert_eq!(standing.level, Level::Ok, "the changes are an hour old");
    }
}
