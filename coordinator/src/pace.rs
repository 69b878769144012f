//! The bandwidth that downloads of artifacts may take, all of them together.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

/// Bytes a second that one stream after another takes its part of.
#[derive(Debug)]
pub(crate) struct Pace {
    /// None for as fast as it goes.
    bytes_per_second: Option<u64>,
    /// When everything that was let through so far would have been sent.
    next: Mutex<Instant>,
}

impl Pace {
    /// At most so many bytes a second; more than 0.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, next: Mutex::new(Instant::now()) }
    }

    /// Waits until so many more bytes may be sent. Who comes first goes first, so that streams share what there is;
    /// nothing is saved up while nobody downloads.
    pub(crate) async fn wait(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else { return };
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + Duration::from_secs_f64(bytes as f64 / rate as f64);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_streams_share_the_bytes_of_a_second_and_a_pause_saves_none_up() {
        let pace = Pace::new(Some(1000));
        tokio::time::sleep(Duration::from_secs(100)).await;
        let began = Instant::now();
        let stream = async || {
            for _ in 0..10 {
                pace.wait(100).await;
            }
            began.elapsed()
        };
        let (one, other) = tokio::join!(stream(), stream());
        // 2,000 bytes, of which the last part has not to wait for itself.
        assert_eq!(one.max(other).as_millis(), 1900);
        assert!(one.min(other).as_millis() >= 1700, "neither waits for the other to end: {one:?} {other:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let began = Instant::now();
        Pace::new(None).wait(u64::MAX).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
