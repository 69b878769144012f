//! Series that many readings spell alike, kept once.

use std::{collections::BTreeSet, sync::Arc};

use super::Series;

/// The pool is looked through when it has more than this, and twice what was alive at the last time.
const LEAST_SWEEP: usize = 1024;

/// Every series that is alive somewhere. The nodes of a fleet are machines of a few kinds: they spell nearly all of
/// their series alike, and a coordinator that holds a reading of each holds the text once.
#[derive(Debug, Default)]
pub struct SeriesPool {
    known: BTreeSet<Series>,
    sweep_at: usize,
}

impl SeriesPool {
    /// An empty pool.
    pub fn new() -> Self {
        Self { known: BTreeSet::new(), sweep_at: LEAST_SWEEP }
    }

    /// Puts the copy that is known in the place of an equal series, or remembers this one.
    pub fn share(&mut self, series: &mut Series) {
        if let Some(known) = self.known.get(series) {
            *series = known.clone();
            return;
        }
        if self.known.len() >= self.sweep_at.max(LEAST_SWEEP) {
            self.known.retain(|series| Arc::strong_count(&series.0) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        self.known.insert(series.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(n: usize) -> Series {
        Series::new("node_cpu_seconds_total", &[("cpu", &n.to_string())])
    }

    #[test]
    fn equal_series_are_one_and_what_nobody_holds_is_forgotten() {
        let mut pool = SeriesPool::new();
        let (mut one, mut other) = (series(7), series(7));
        pool.share(&mut one);
        pool.share(&mut other);
        assert!(Arc::ptr_eq(&one.0, &other.0));
        for n in 0..100_000 {
            pool.share(&mut series(n));
            assert!(pool.known.len() <= LEAST_SWEEP + 1);
        }
        let mut again = series(7);
        pool.share(&mut again);
        assert!(Arc::ptr_eq(&one.0, &again.0), "what is held stays");
    }
}
