//! A bucket that fills at a rate, kept as one number: until when it owes.
//!
//! Whoever takes one out of it makes it owe for a moment longer; it is full when it owes nothing, and empty when it owes
//! for as long as it takes to fill. A debt that no bucket can have is of another clock, or of another rate: it is forgiven, since
//! whoever has it would otherwise be refused until the clock is there again.

use std::time::Duration;

/// How large a bucket is, and how fast it fills.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Rate {
    /// In how many nanoseconds one comes back.
    step: u64,
    /// In how many it is full again.
    full: u64,
}

impl Rate {
    pub(crate) fn per_second(rate: u32, burst: u32) -> Self {
        let step = 1_000_000_000 / u64::from(rate.max(1));
        Self { step, full: step * u64::from(burst.max(1)) }
    }

    pub(crate) fn one_in(seconds: u32, burst: u32) -> Self {
        let step = 1_000_000_000 * u64::from(seconds.max(1));
        Self { step, full: step * u64::from(burst.max(1)) }
    }

    /// How long one takes to come back.
    pub(crate) const fn step(self) -> Duration {
        Duration::from_nanos(self.step)
    }

    /// How many it holds.
    fn burst(self) -> u64 {
        self.full.checked_div(self.step).unwrap_or_default()
    }
}

/// Until when it owes, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Bucket(u64);

impl Bucket {
    /// Takes one out; or says in how long there is one again.
    pub(crate) fn take(&mut self, rate: Rate, now: Nanos) -> Result<(), Duration> {
        let owing = self.owing(rate, now) + rate.step;
        if owing > rate.full {
            return Err(Duration::from_nanos(owing - rate.full));
        }
        self.0 = now.0 + owing;
        Ok(())
    }

    /// Takes out the one that comes next, ahead of its time.
    pub(crate) fn promise(&mut self, rate: Rate, now: Nanos) {
        self.0 = now.0 + self.owing(rate, now) + rate.step;
    }

    /// How many it holds at most, how many are left, and how long until it is full.
    pub(crate) fn shown(&self, rate: Rate, now: Nanos) -> (u64, u64, Duration) {
        let owing = self.owing(rate, now);
        let left = (rate.full - owing.min(rate.full)).checked_div(rate.step).unwrap_or_default();
        (rate.burst(), left, Duration::from_nanos(owing))
    }

    /// For how long it owes, in nanoseconds.
    pub(crate) const fn debt(&self, now: Nanos) -> u64 {
        self.0.saturating_sub(now.0)
    }

    fn owing(&self, rate: Rate, now: Nanos) -> u64 {
        // What is promised is owed too, one more than is full at a time.
        match self.debt(now) {
            debt if debt > rate.full + 2 * rate.step + SLEWED => 0,
            debt => debt.min(rate.full + rate.step),
        }
    }
}

/// What a clock that is kept in step may go back by, in nanoseconds.
const SLEWED: u64 = 1_000_000_000;

/// A moment, in nanoseconds since the Unix epoch: milliseconds are too coarse for a rate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Nanos(u64);

impl From<reveille_core::Timestamp> for Nanos {
    fn from(at: reveille_core::Timestamp) -> Self {
        Self(at.millis().saturating_mul(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reveille_core::Timestamp;

    fn at(millis: u64) -> Nanos {
        Timestamp::from_millis(1_700_000_000_000 + millis).into()
    }

    #[test]
    fn the_burst_goes_at_once_and_then_one_at_a_time() {
        let (rate, mut bucket) = (Rate::per_second(10, 3), Bucket::default());
        assert_eq!(bucket.shown(rate, at(0)), (3, 3, Duration::ZERO));
        let taken =
            [0, 0, 0, 0, 99, 100, 100].map(|millis| bucket.take(rate, at(millis)).map_err(|wait| wait.as_millis()));
        assert_eq!(taken, [Ok(()), Ok(()), Ok(()), Err(100), Err(1), Ok(()), Err(100)]);
        assert_eq!(bucket.shown(rate, at(100)), (3, 0, Duration::from_millis(300)));
        assert_eq!(bucket.shown(rate, at(10_000)), (3, 3, Duration::ZERO));
    }

    #[test]
    fn a_debt_from_before_the_clock_was_set_back_is_forgiven() {
        let (rate, mut bucket) = (Rate::one_in(2, 5), Bucket::default());
        bucket.take(rate, at(1_000_000_000)).unwrap();
        let taken = [0, 0, 0, 0, 0, 0].map(|millis| bucket.take(rate, at(millis)).is_ok());
        assert_eq!(taken, [true, true, true, true, true, false], "however far ahead the clock has been");
        // A clock that is kept in step forgives nothing.
        assert_eq!(bucket.take(rate, at(1_900)), Err(Duration::from_millis(100)));
    }

    #[test]
    fn what_is_promised_is_not_there_for_others() {
        let (rate, mut bucket) = (Rate::one_in(1, 1), Bucket::default());
        bucket.take(rate, at(0)).unwrap();
        bucket.promise(rate, at(0));
        assert_eq!(bucket.take(rate, at(0)), Err(Duration::from_secs(2)));
        assert_eq!(bucket.take(rate, at(1000)), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(rate, at(2000)), Ok(()));
    }
}
