//! What one reader found: a list of series that is refilled in place, so that a quiet node allocates nothing.

use hostler_plan::fact::Series;

/// The most series one reader may give: what the coordinator takes of a node. The logs of 60 NVMe disks have 2000.
const MAX_SERIES: usize = hostler_plan::fact::MAX_SERIES;

/// The series of one reader. [`Sample::begin`], any number of [`Sample::put`], [`Sample::finish`].
#[derive(Debug, Default)]
pub(crate) struct Sample {
    entries: Vec<(Series, f64)>,
    next: usize,
    reshaped: bool,
    dropped: u64,
    /// In the round that runs, and in the one before.
    left_out: [u64; 2],
}

impl Sample {
    /// Starts a new round.
    pub(crate) fn begin(&mut self) {
        self.next = 0;
        self.reshaped = false;
        self.left_out = [0, self.left_out[0]];
    }

    /// Says that so many things of this round have no series, because a limit was reached.
    pub(crate) fn leave_out(&mut self, things: usize) {
        self.left_out[0] += things as u64;
    }

    /// Adds a series. A value that is not finite is not known and not added.
    pub(crate) fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        if !value.is_finite() {
            return;
        }
        if self.next == MAX_SERIES {
            self.dropped += 1;
            return;
        }
        match self.entries.get_mut(self.next) {
            Some(entry) if entry.0.name() == name && entry.0.labels().are(labels) => entry.1 = value,
            Some(entry) => {
                *entry = (Series::new(name, labels), value);
                self.reshaped = true;
            }
            None => {
                self.entries.push((Series::new(name, labels), value));
                self.reshaped = true;
            }
        }
        self.next += 1;
    }

    /// Adds a series when there is a value.
    pub(crate) fn put_some(&mut self, name: &str, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.put(name, labels, value);
        }
    }

    /// Ends the round: series that were not given again are gone.
    pub(crate) fn finish(&mut self) {
        if self.next < self.entries.len() {
            self.entries.truncate(self.next);
            self.reshaped = true;
        }
        self.reshaped |= self.left_out[0] != self.left_out[1];
    }

    /// Whether series came or went in the last round.
    pub(crate) fn reshaped(&self) -> bool {
        self.reshaped
    }

    /// Series that did not fit, since the start, and things that a limit left out in the last round.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped + self.left_out[0]
    }

    /// The series with their values.
    pub(crate) fn entries(&self) -> &[(Series, f64)] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_with_the_same_series_is_not_a_new_shape() {
        let mut sample = Sample::default();
        for (round, reshaped) in [(1.0, true), (2.0, false)] {
            sample.begin();
            sample.put("a", &[("x", "1")], round);
            sample.put("b", &[], round);
            sample.put("c", &[], f64::NAN);
            sample.finish();
            assert_eq!(sample.reshaped(), reshaped);
            assert_eq!(sample.entries().len(), 2);
        }
        sample.begin();
        sample.put("b", &[], 3.0);
        sample.finish();
        assert!(sample.reshaped());
        assert_eq!(sample.entries(), [(Series::new("b", &[]), 3.0)]);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut sample = Sample::default();
        sample.begin();
        for number in 0..4102 {
            sample.put("a", &[("n", &number.to_string())], 1.0);
        }
        sample.finish();
        assert_eq!((sample.entries().len(), sample.dropped()), (4096, 6));
    }
}
