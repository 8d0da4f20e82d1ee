//! When to try again: pure timetables; randomness and the time come in as values.

use std::time::Duration;

use crate::clock::Timestamp;

/// A timetable of exponential backoff with full jitter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The longest wait before the first repeat.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Backoff {
    /// How home repeats a push request that was not answered.
    pub const OUTBOX: Self = Self { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
    /// How the clearing house repeats a message push.
    pub const PROVIDER: Self = Self { base: Duration::from_secs(2), cap: Duration::from_secs(300) };
    /// How the clearing house repeats feedback.
    pub const FEEDBACK: Self = Self { base: Duration::from_secs(2), cap: Duration::from_secs(300) };

    /// When attempt number `attempt` (1 is the first repeat) may be made; `None` if that would be at or past `expires`.
    ///
    /// `unit` is a random number in `0.0..1.0`. What the other side asked for with Retry-After is the least wait.
    pub fn next(
        &self,
        attempt: u32,
        unit: f64,
        now: Timestamp,
        retry_after: Option<Duration>,
        expires: Timestamp,
    ) -> Option<Timestamp> {
        let ceiling = self.base.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(self.cap);
        // Never quite zero: a full-jitter wait of nothing would hammer a server that has just failed.
        let wait = ceiling.mul_f64(unit.clamp(0.05, 1.0));
        let at = now.plus(wait.max(retry_after.unwrap_or_default()));
        (at < expires).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(10) };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_wait_doubles_up_to_its_cap() {
        for (attempt, longest) in [(1, 1000), (2, 2000), (3, 4000), (4, 8000), (5, 10_000), (99, 10_000)] {
            let next = BACKOFF.next(attempt, 1.0, at(0), None, at(u64::MAX)).unwrap();
            assert_eq!(next, at(longest), "attempt {attempt}");
        }
    }

    #[test]
    fn the_jitter_is_full_but_never_nothing() {
        assert_eq!(BACKOFF.next(3, 0.5, at(0), None, at(u64::MAX)), Some(at(2000)));
        assert_eq!(BACKOFF.next(3, 0.0, at(0), None, at(u64::MAX)), Some(at(200)));
    }

    #[test]
    fn retry_after_is_obeyed_and_life_is_never_crossed() {
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(BACKOFF.next(1, 1.0, at(0), hour, at(u64::MAX)), Some(at(3_600_000)));
        assert_eq!(BACKOFF.next(1, 1.0, at(0), hour, at(3_600_000)), None);
    }
}
