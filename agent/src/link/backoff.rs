//! How long to wait before the next connection.

use std::time::Duration;

use super::random_fraction;

/// A coordinator that was restarted is found again within a second.
const FIRST: Duration = Duration::from_millis(500);

/// A coordinator that was off for a day is found again within a minute, and a thousand nodes do not overrun it.
const LAST: Duration = Duration::from_secs(60);

/// Waits that double up to a limit, each cut at random to between one and two halves of itself.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST)
    }

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0.mul_f64(0.5 + random_fraction() / 2.0);
        self.0 = (self.0 * 2).min(LAST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_their_limits() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[19] >= LAST / 2 && waits.iter().all(|w| *w <= LAST));
    }
}
