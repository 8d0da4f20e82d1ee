//! Times at which something is to be looked at. What has gone meanwhile is not searched for: it is passed over when its
//! time comes, and swept out when it makes up more than half.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use reveille_core::Timestamp;

/// Alarms of things with a key, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    heap: BinaryHeap<Reverse<(Timestamp, u64)>>,
}

impl Alarms {
    /// Sets an alarm. `live` is how many are of use at the most, and `is_live` tells whether one is.
    pub(crate) fn set(&mut self, at: Timestamp, key: u64, live: usize, is_live: impl Fn(Timestamp, u64) -> bool) {
        if self.heap.len() >= 2 * live + SLACK {
            self.heap.retain(|Reverse((at, key))| is_live(*at, *key));
        }
        self.heap.push(Reverse((at, key)));
    }

    /// Takes out one that is due.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<(Timestamp, u64)> {
        match self.heap.peek() {
            Some(Reverse((at, _))) if *at <= now => self.heap.pop().map(|Reverse(alarm)| alarm),
            _ => None,
        }
    }

    /// When the next one is due, of use or not.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

/// So many that are of no use are never swept.
const SLACK: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn they_ring_in_the_order_of_their_times_and_not_before() {
        let mut alarms = Alarms::default();
        for (time, key) in [(5, 1), (3, 2), (9, 3), (3, 1)] {
            alarms.set(at(time), key, 4, |_, _| true);
        }
        assert_eq!((alarms.due(at(2)), alarms.next()), (None, Some(at(3))));
        let rung: Vec<_> = std::iter::from_fn(|| alarms.due(at(5))).collect();
        assert_eq!(rung, [(at(3), 1), (at(3), 2), (at(5), 1)]);
        assert_eq!(alarms.next(), Some(at(9)));
    }

    #[test]
    fn what_has_gone_is_swept_out_and_what_lives_stays() {
        let mut alarms = Alarms::default();
        for key in 0..100_000 {
            alarms.set(at(key), key, 10, |_, key| key.is_multiple_of(10_000));
            assert!(alarms.heap.len() <= 2 * 10 + SLACK, "{} at {key}", alarms.heap.len());
        }
        let live = std::iter::from_fn(|| alarms.due(at(u64::MAX))).filter(|(_, key)| key.is_multiple_of(10_000));
        assert_eq!(live.count(), 10);
    }
}
