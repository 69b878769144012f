//! Buckets of permissions that refill with time.

use std::{collections::HashMap, hash::Hash};

use hostler_plan::timestamp::Timestamp;

/// One bucket per key. `burst` at once, then one more every `milliseconds_per_permit`.
#[derive(Debug)]
pub(crate) struct RateLimit<K> {
    burst: u32,
    milliseconds_per_permit: u64,
    /// Keys that are counted; beyond it the longest unseen half is forgotten.
    most_keys: usize,
    /// When each bucket will be full again, in Unix milliseconds.
    full_at: HashMap<K, u64>,
}

impl<K: Hash + Eq> RateLimit<K> {
    /// Buckets that all begin full.
    pub(crate) fn new(burst: u32, milliseconds_per_permit: u64, most_keys: usize) -> Self {
        Self { burst, milliseconds_per_permit, most_keys, full_at: HashMap::new() }
    }

    /// Takes one permission; false when there is none.
    pub(crate) fn take(&mut self, key: K, now: Timestamp) -> bool {
        self.take_some(key, 1, now)
    }

    /// Takes so many permissions, or none of them.
    pub(crate) fn take_some(&mut self, key: K, permits: u32, now: Timestamp) -> bool {
        let now = now.unix_milliseconds();
        if self.full_at.len() >= self.most_keys && !self.full_at.contains_key(&key) {
            self.forget(now);
        }
        let full_at = self.full_at.entry(key).or_insert(now);
        let capacity = u64::from(self.burst) * self.milliseconds_per_permit;
        // A clock that stepped back must not lock anybody out for longer than an empty bucket does.
        *full_at = (*full_at).clamp(now, now + capacity);
        let next = *full_at + u64::from(permits) * self.milliseconds_per_permit;
        let allowed = next <= now + capacity;
        if allowed {
            *full_at = next;
        }
        allowed
    }

    fn forget(&mut self, now: u64) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= self.most_keys {
            let mut times: Vec<u64> = self.full_at.values().copied().collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.full_at.retain(|_, full_at| *full_at > median);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_refills() {
        let mut limit = RateLimit::new(3, 1000, 8);
        let at = Timestamp::from_unix_milliseconds;
        assert!((0..3).all(|_| limit.take("a", at(10_000))));
        assert!(!limit.take("a", at(10_999)));
        assert!(limit.take("b", at(10_999)), "another key has its own");
        assert!(limit.take("a", at(11_000)));
        assert!(!limit.take("a", at(11_000)));
        assert!((0..3).all(|_| limit.take("a", at(60_000))));
        assert!(!limit.take("a", at(5_000)), "a clock that went back gives nothing");
        assert!(limit.take("a", at(6_000)), "and takes no more than an empty bucket");
    }

    #[test]
    fn many_keys_do_not_fill_memory() {
        let mut limit = RateLimit::new(1, 1000, 8);
        for key in 0..1000 {
            assert!(limit.take(key, Timestamp::from_unix_milliseconds(1_000_000 + key)));
            assert!(limit.full_at.len() <= 8);
        }
    }
}
