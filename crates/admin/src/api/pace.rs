//! How many requests an account may make: a burst, and then so many a second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What each account has left. There is an entry only for accounts that exist, of which the store has a bound.
#[derive(Default)]
pub(super) struct Pace {
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Pace {
    /// Takes one request of an account; else how long to wait for the next.
    pub(super) fn take(&self, account: &str) -> Result<(), Duration> {
        self.take_at(account, Instant::now())
    }

    fn take_at(&self, account: &str, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        // Full buckets need not be remembered.
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| bucket.filled(now) < BURST);
        }
        let bucket = buckets.entry(account.to_owned()).or_insert(Bucket { left: BURST, at: now });
        *bucket = Bucket { left: bucket.filled(now), at: now };
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / PER_SECOND));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

impl Bucket {
    fn filled(&self, now: Instant) -> f64 {
        (self.left + now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND).min(BURST)
    }
}

const BURST: f64 = 200.0;
const PER_SECOND: f64 = 20.0;
const BUCKETS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_so_many_a_second_and_others_are_not_touched() {
        let (pace, now) = (Pace::default(), Instant::now());
        let taken = |account: &str, at: Instant| (0..300).filter(|_| pace.take_at(account, at).is_ok()).count();
        assert_eq!(taken("bob", now), 200);
        assert_eq!(taken("ann", now), 200);
        assert_eq!(taken("bob", now + Duration::from_secs(1)), 20);
        assert!(pace.take_at("bob", now + Duration::from_secs(1)).unwrap_err() <= Duration::from_millis(50));
    }
}
