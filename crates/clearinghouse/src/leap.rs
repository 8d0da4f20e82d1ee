//! The wall clock may be set while we run (docs/journal.md, "Clocks"). What waits for a time that now lies hours ahead must not
//! wait for hours.

use std::time::Duration;

use reveille_core::Timestamp;

/// Notices when the clock is set back.
#[derive(Debug)]
pub(crate) struct Leaps {
    latest: Timestamp,
}

impl Leaps {
    /// From now on.
    pub(crate) const fn since(now: Timestamp) -> Self {
        Self { latest: now }
    }

    /// By how much the clock was set back since it was looked at last, if it was.
    pub(crate) fn back(&mut self, now: Timestamp) -> Option<Duration> {
        let back = self.latest.since(now);
        self.latest = now;
        (back > SLEWED).then_some(back)
    }
}

/// Whether something waits for `due`; not if that lies so far ahead that nobody can have meant it: then it was said before
/// the clock was set.
pub(crate) fn waits(due: Timestamp, now: Timestamp, at_most: Duration) -> bool {
    due > now && due <= now.plus(at_most)
}

/// What a clock that is kept in step may go back by.
const SLEWED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_clock_that_is_set_back_is_noticed_once_and_one_that_runs_or_is_set_forth_is_not() {
        let mut leaps = Leaps::since(at(10 * HOUR));
        for (now, back) in [
            (10 * HOUR + 500, None),
            (10 * HOUR + 400, None),
            (7 * HOUR, Some(3 * HOUR + 400)),
            (7 * HOUR + 500, None),
            (12 * HOUR, None),
            (12 * HOUR - 2000, Some(2000)),
        ] {
            assert_eq!(leaps.back(at(now)), back.map(Duration::from_millis), "{now}");
        }
    }

    #[test]
    fn nothing_waits_for_longer_than_anybody_can_have_meant() {
        let most = Duration::from_secs(300);
        for (due, waits_for_it) in [(0, false), (1000, false), (1001, true), (301_000, true), (301_001, false)] {
            assert_eq!(waits(at(due), at(1000), most), waits_for_it, "{due}");
        }
    }
}
