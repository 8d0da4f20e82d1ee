//! Small instruments for one partner: messages per second, and how long answers take. No clocks: the time is an
//! argument.

use std::time::{Duration, Instant};

/// Messages of the last minute, second by second.
#[derive(Debug)]
pub(crate) struct Meter {
    seconds: [u32; 60],
    /// The second that `seconds[at]` counts.
    at: usize,
    began: Instant,
}

impl Meter {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { seconds: [0; 60], at: 0, began: now }
    }

    /// One message.
    pub(crate) fn count(&mut self, now: Instant) {
        self.turn(now);
        self.seconds[self.at] = self.seconds[self.at].saturating_add(1);
    }

    /// Messages in the last whole second, and in the last minute.
    pub(crate) fn rates(&mut self, now: Instant) -> (u32, u32) {
        self.turn(now);
        let before = self.seconds[(self.at + 59) % 60];
        (before, self.seconds.iter().fold(0, |sum, count| sum.saturating_add(*count)))
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began).as_secs();
        for _ in 0..passed.min(60) {
            self.at = (self.at + 1) % 60;
            self.seconds[self.at] = 0;
        }
        self.began += Duration::from_secs(passed);
    }
}

/// How long answers took in this minute and in the one before, in steps of a fifth.
#[derive(Debug)]
pub(crate) struct Latency {
    minutes: [Box<[u32; STEPS]>; 2],
    began: Instant,
}

impl Latency {
    pub(crate) fn new(now: Instant) -> Self {
        Self { minutes: [Box::new([0; STEPS]), Box::new([0; STEPS])], began: now }
    }

    /// One answer.
    pub(crate) fn count(&mut self, took: Duration, now: Instant) {
        self.turn(now);
        let step = &mut self.minutes[0][step(took)];
        *step = step.saturating_add(1);
    }

    /// The time within which this share of the answers came (0.5: the median); `None` if there was none.
    pub(crate) fn quantile(&mut self, share: f64, now: Instant) -> Option<Duration> {
        self.turn(now);
        let count = |at: usize| u64::from(self.minutes[0][at]) + u64::from(self.minutes[1][at]);
        let all: u64 = (0..STEPS).map(count).sum();
        if all == 0 {
            return None;
        }
        let wanted = ((all as f64 * share).ceil() as u64).clamp(1, all);
        let mut sum = 0;
        let at = (0..STEPS).find(|at| {
            sum += count(*at);
            sum >= wanted
        });
        at.map(|at| Duration::from_micros(upper(at)))
    }

    fn turn(&mut self, now: Instant) {
        let minutes = now.saturating_duration_since(self.began).as_secs() / 60;
        if minutes == 0 {
            return;
        }
        self.minutes.swap(0, 1);
        self.minutes[0].fill(0);
        if minutes > 1 {
            self.minutes[1].fill(0);
        }
        self.began += Duration::from_secs(60 * minutes);
    }
}

/// Four steps for each doubling, from 1 µs to about a minute.
const STEPS: usize = 104;

/// The step that a time falls into.
fn step(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let octave = micros.ilog2() as usize;
    // The two bits below the leading one say which quarter of the octave it is.
    let quarter = if octave >= 2 { (micros >> (octave - 2)) & 3 } else { (micros << (2 - octave)) & 3 };
    (octave * 4 + quarter as usize).min(STEPS - 1)
}

/// The longest time of a step, in microseconds.
const fn upper(step: usize) -> u64 {
    let (octave, quarter) = (step / 4, step as u64 % 4);
    ((1_u64 << octave) * (5 + quarter)) / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_whole_second_and_the_last_minute() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut meter = Meter::new(start);
        (0..30).for_each(|_| meter.count(at(100)));
        (0..5).for_each(|_| meter.count(at(1100)));
        assert_eq!(meter.rates(at(1900)), (30, 35));
        assert_eq!(meter.rates(at(2100)), (5, 35));
        assert_eq!(meter.rates(at(60_500)), (0, 5), "the first second is a minute ago");
        assert_eq!(meter.rates(at(3_600_000)), (0, 0));
    }

    #[test]
    fn quantiles_are_right_within_a_quarter() {
        let start = Instant::now();
        let mut latency = Latency::new(start);
        assert_eq!(latency.quantile(0.5, start), None);
        for micros in 1..=10_000 {
            latency.count(Duration::from_micros(micros), start);
        }
        for (share, exact) in [(0.5, 5000.0), (0.99, 9900.0), (0.01, 100.0), (1.0, 10_000.0)] {
            let found = latency.quantile(share, start).unwrap().as_micros() as f64;
            assert!((0.99..1.26).contains(&(found / exact)), "{share}: {found}");
        }
        let later = start + Duration::from_secs(61);
        latency.count(Duration::from_secs(30), later);
        assert!(latency.quantile(0.5, later).unwrap() < Duration::from_millis(7), "the minute before still counts");
        let late = start + Duration::from_secs(125);
        assert!(latency.quantile(0.5, late).unwrap() > Duration::from_secs(29));
        assert_eq!(latency.quantile(0.5, start + Duration::from_secs(600)), None);
    }

    #[test]
    fn every_time_has_a_step_that_holds_it() {
        for micros in (0..70_000_000_u64).step_by(9973).chain([1, 2, 3, 4, 5, 6, 7, 8]) {
            let at = step(Duration::from_micros(micros));
            assert!(upper(at) >= micros.max(1) || at == STEPS - 1, "{micros}");
            assert!(at == 0 || upper(at - 1) <= micros.max(1), "{micros}");
        }
        assert_eq!(step(Duration::from_secs(100_000)), STEPS - 1);
    }
}
