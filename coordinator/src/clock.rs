//! The one place that reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use hostler_plan::timestamp::Timestamp;

/// The present time; 1970 on a clock before that.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_milliseconds(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
