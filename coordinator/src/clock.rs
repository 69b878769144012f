//! The one place that reads the clocks.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hostler_plan::timestamp::Timestamp;

/// The present time; 1970 on a clock before that.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_milliseconds(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What both clocks of this process show at one moment. The machine's clock may step by a year, as that of a Pi without
/// a battery does; "how long ago" is asked of the steady one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockReading {
    /// By the machine's clock.
    pub wall: Timestamp,
    /// Milliseconds that no step moves. They begin with the machine's clock as it was at the first look.
    pub steady_ms: u64,
}

impl ClockReading {
    /// The present.
    pub(crate) fn now() -> Self {
        static BEGAN: OnceLock<(Instant, Timestamp)> = OnceLock::new();
        let wall = now();
        let (began, base) = BEGAN.get_or_init(|| (Instant::now(), wall));
        Self { wall, steady_ms: base.plus(began.elapsed()).unix_milliseconds() }
    }

    /// How far the machine's clock is ahead of the steady one.
    pub(crate) fn wall_ahead_ms(self) -> i64 {
        let (wall, steady) = (self.wall.unix_milliseconds(), self.steady_ms);
        let apart = i64::try_from(wall.abs_diff(steady)).unwrap_or(i64::MAX);
        if wall >= steady { apart } else { -apart }
    }

    /// The time that passed since `earlier`.
    pub(crate) fn since(self, earlier: ClockReading) -> Duration {
        self.since_steady_ms(earlier.steady_ms)
    }

    /// When that was, by the machine's clock as it goes now.
    pub(crate) fn wall_of(self, earlier: ClockReading) -> Timestamp {
        self.wall_of_steady_ms(earlier.steady_ms)
    }

    /// The same for bare steady milliseconds.
    pub(crate) fn wall_of_steady_ms(self, earlier: u64) -> Timestamp {
        let ago = u64::try_from(self.since_steady_ms(earlier).as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_unix_milliseconds(self.wall.unix_milliseconds().saturating_sub(ago))
    }

    /// What they showed so long ago.
    pub(crate) fn before(self, ago: Duration) -> Self {
        let steady_ms = self.steady_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
        Self { wall: self.wall_of_steady_ms(steady_ms), steady_ms }
    }

    fn since_steady_ms(self, earlier: u64) -> Duration {
        Duration::from_millis(self.steady_ms.saturating_sub(earlier))
    }
}
