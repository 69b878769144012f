//! What a single reading cannot tell: growth of counters, rates, trends, and what was so at boot.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Events kept of one counter; older ones are merged, which only makes a window forget later than it should.
const MAX_EVENTS: usize = 32;
/// Samples kept of one rate: a minute and a half at ten seconds.
const MAX_SAMPLES: usize = 32;
/// One point in five minutes for six hours.
const TREND_POINTS: usize = 72;
const TREND_STEP_MS: u64 = 300_000;
/// A trend is no trend before an hour.
const TREND_MIN_POINTS: usize = 12;

/// Increases of one counter. The first value seen is no increase: what happened before is history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Growth {
    last: Option<f64>,
    events: VecDeque<(u64, f64)>,
}

impl Growth {
    /// Takes the counter's value. A decrease is a restart of the counter: it counted up from zero since.
    pub(super) fn add(&mut self, now: u64, value: f64) {
        let increase = match self.last {
            None => 0.0,
            Some(last) if value < last => value,
            Some(last) => value - last,
        };
        self.last = Some(value);
        if increase <= 0.0 {
            return;
        }
        if self.events.len() == MAX_EVENTS
            && let Some((_, merged)) = self.events.pop_front()
            && let Some(next) = self.events.front_mut()
        {
            next.1 += merged;
        }
        self.events.push_back((now, increase));
    }

    /// Takes the value of a counter that a disk keeps for life. It does not go back, so a decrease is other firmware or
    /// a disk in the place of another: what the number was before says nothing about growth.
    pub(super) fn add_for_life(&mut self, now: u64, value: f64) {
        if self.last.is_some_and(|last| value < last) {
            self.last = Some(value);
        }
        self.add(now, value);
    }

    /// A counter that is not the same any more (other disk): history is worth nothing.
    pub(super) fn restart(&mut self, value: f64) {
        self.last = Some(value);
        self.events.clear();
    }

    /// The increase within the last so many milliseconds.
    pub(super) fn within(&self, now: u64, window_ms: u64) -> f64 {
        self.events.iter().filter(|(at, _)| now.saturating_sub(*at) < window_ms).map(|(_, increase)| increase).sum()
    }
}

/// Two counters side by side, for "seconds per operation" and "events per second".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rate {
    samples: VecDeque<(u64, f64, f64)>,
}

impl Rate {
    /// Takes both values and gives their increases and the seconds over at most the window. `None` before there are two
    /// samples, and after a counter restarted.
    pub(super) fn add(&mut self, now: u64, first: f64, second: f64, window_ms: u64) -> Option<(f64, f64, f64)> {
        if self.samples.back().is_some_and(|(at, one, other)| first < *one || second < *other || now <= *at) {
            self.samples.clear();
        }
        self.samples.push_back((now, first, second));
        // The oldest sample that is kept is the last one at or before the window's beginning.
        while self.samples.len() > MAX_SAMPLES
            || self.samples.get(1).is_some_and(|(at, ..)| now.saturating_sub(*at) >= window_ms)
        {
            self.samples.pop_front();
        }
        let (at, one, other) = *self.samples.front()?;
        let seconds = now.saturating_sub(at) as f64 / 1000.0;
        (seconds > 0.0).then_some((first - one, second - other, seconds))
    }
}

/// A value over six hours, for "full in so many hours".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Trend {
    points: VecDeque<(u64, f64)>,
}

impl Trend {
    /// Takes a value; one in five minutes is kept.
    pub(super) fn add(&mut self, now: u64, value: f64) {
        if self.points.back().is_some_and(|(at, _)| now.saturating_sub(*at) < TREND_STEP_MS) {
            return;
        }
        self.points.push_back((now, value));
        if self.points.len() > TREND_POINTS {
            self.points.pop_front();
        }
    }

    /// Hours until the straight line through the points reaches zero. `None` before an hour; infinity is "never".
    pub(super) fn hours_to_zero(&self, now: u64) -> Option<f64> {
        if self.points.len() < TREND_MIN_POINTS {
            return None;
        }
        let hours = |at: u64| at as f64 / 3.6e6 - now as f64 / 3.6e6;
        let count = self.points.len() as f64;
        let mean_x = self.points.iter().map(|(at, _)| hours(*at)).sum::<f64>() / count;
        let mean_y = self.points.iter().map(|(_, value)| value).sum::<f64>() / count;
        let spread: f64 = self.points.iter().map(|(at, _)| (hours(*at) - mean_x).powi(2)).sum();
        let slope =
            self.points.iter().map(|(at, value)| (hours(*at) - mean_x) * (value - mean_y)).sum::<f64>() / spread;
        let here = mean_y - slope * mean_x;
        Some(if slope < 0.0 { (here / -slope).max(0.0) } else { f64::INFINITY })
    }
}

/// What a value was some minutes ago.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    samples: VecDeque<(u64, f64)>,
}

impl Past {
    /// Takes a value and gives the one from that long ago. `None` before there is one.
    pub(super) fn add(&mut self, now: u64, value: f64, window_ms: u64) -> Option<f64> {
        // A sample in so many milliseconds is enough to fill the window without going over the limit.
        let step = window_ms / (MAX_SAMPLES as u64 - 2);
        if self.samples.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= step) {
            self.samples.push_back((now, value));
        }
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= window_ms) {
            self.samples.pop_front();
        }
        self.samples.truncate(MAX_SAMPLES);
        let (at, before) = *self.samples.front()?;
        (now.saturating_sub(at) >= window_ms).then_some(before)
    }
}

/// Bits of a word that were not set when this boot was first seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct NewBits {
    first: Option<u64>,
}

impl NewBits {
    /// The new bits of this value.
    pub(super) fn of(&mut self, word: u64) -> u64 {
        word & !*self.first.get_or_insert(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_counts_increases_only_and_survives_a_restart_of_the_counter() {
        let mut growth = Growth::default();
        growth.add(0, 500.0);
        assert_eq!(growth.within(0, 1000), 0.0, "old errors are history");
        growth.add(10, 502.0);
        growth.add(20, 1.0);
        assert_eq!(growth.within(20, 1000), 3.0);
        assert_eq!(growth.within(1015, 1000), 1.0);
        growth.restart(9.0);
        growth.add(30, 9.0);
        assert_eq!(growth.within(30, 1000), 0.0);
    }

    #[test]
    fn a_counter_that_grows_all_the_time_stays_small() {
        let mut growth = Growth::default();
        for at in 0..10_000 {
            growth.add(at, at as f64);
        }
        assert!(growth.events.len() <= MAX_EVENTS);
        assert_eq!(growth.within(9_999, u64::MAX), 9_999.0);
    }

    #[test]
    fn rates_over_a_window_and_none_after_a_restart() {
        let mut rate = Rate::default();
        assert_eq!(rate.add(0, 0.0, 0.0, 60_000), None);
        assert_eq!(rate.add(10_000, 5.0, 50.0, 60_000), Some((5.0, 50.0, 10.0)));
        for at in 2..20 {
            rate.add(at * 10_000, 5.0 * at as f64, 50.0, 60_000);
        }
        assert_eq!(rate.add(200_000, 100.0, 50.0, 60_000), Some((30.0, 0.0, 60.0)));
        assert_eq!(rate.add(210_000, 1.0, 1.0, 60_000), None);
    }

    #[test]
    fn a_trend_needs_an_hour() {
        let mut trend = Trend::default();
        for step in 0..24 {
            trend.add(step * TREND_STEP_MS, 100.0 - step as f64);
            let known = trend.hours_to_zero(step * TREND_STEP_MS);
            assert_eq!(known.is_some(), step >= 11, "{step}");
        }
        // 77 left at 12 an hour.
        let hours = trend.hours_to_zero(23 * TREND_STEP_MS).unwrap();
        assert!((hours - 77.0 / 12.0).abs() < 1e-6, "{hours}");
        let mut flat = Trend::default();
        (0..20).for_each(|step| flat.add(step * TREND_STEP_MS, 5.0));
        assert_eq!(flat.hours_to_zero(20 * TREND_STEP_MS), Some(f64::INFINITY));
    }
}
