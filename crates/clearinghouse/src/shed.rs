//! What gives way when the machine runs short, of room or of time: badges and refreshes first, then messages, calls last.
//!
//! What gives way is refused request by request, with a time to come back, and at once: whoever would wait for longer than
//! is of use is told before he waits, and not after. 503 is said only by a journal that can take nothing at all, since
//! proxies abandon the whole server then (RFC 3261 §21.5.4), and calls with it.

use std::time::{Duration, Instant};

use reveille_core::{Channel, Event};
use reveille_store::Room;

/// What a push is worth beside others, least first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    /// It changes a number, or renews a binding.
    Quiet,
    /// Somebody wrote, or somebody called.
    Message,
    /// Somebody calls.
    Call,
}

impl Class {
    /// What a push for that event is worth. The channel that it takes counts, so that no message passes for a call.
    pub(crate) const fn of(event: Event, channel: Channel) -> Self {
        match (event, channel) {
            (_, Channel::Voip) => Self::Call,
            (Event::Badge | Event::RefreshWake, Channel::Message) => Self::Quiet,
            (_, Channel::Message) => Self::Message,
        }
    }
}

/// Whether a push of that class gives way while there is so much room.
pub(crate) const fn gives_way(class: Class, room: Room) -> bool {
    let Room { queue_percent, disk_bytes } = room;
    // The journal itself says that it is full at 100 and without a byte.
    let (percent, bytes) = match class {
        Class::Quiet => (50, 1024 * MIB),
        Class::Message => (75, 512 * MIB),
        Class::Call => (95, 64 * MIB),
    };
    queue_percent >= percent || disk_bytes < bytes
}

const MIB: u64 = 1024 * 1024;

/// For how long a push of that class may wait for the journal; one that would wait for longer gives way.
pub(crate) const fn patience(class: Class) -> Duration {
    match class {
        Class::Quiet => Duration::from_millis(250),
        Class::Message => Duration::from_millis(500),
        // Of the 25 s for which it rings so much may pass; beyond that it is hopeless.
        Class::Call => Duration::from_secs(10),
    }
}

/// When what has given way may come back.
pub(crate) const COME_BACK: Duration = Duration::from_secs(5);

/// Who waits for the journal, and for how long whoever comes now would: measured by those who went before him.
#[derive(Debug)]
pub(crate) struct Line {
    /// How many have come and have no answer.
    waiting: usize,
    /// When somebody was answered last, or came while nobody waited.
    moved: Instant,
    /// For how long whoever was answered last has waited.
    waited: Duration,
    /// How long one takes while others wait behind him, in seconds; 0 until that is known.
    each: f64,
    /// Since when is being measured how long one takes, and how many were answered since.
    since: Instant,
    answered: usize,
}

impl Line {
    /// A line in which nobody waits.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { waiting: 0, moved: now, waited: Duration::ZERO, each: 0.0, since: now, answered: 0 }
    }

    /// So many come.
    pub(crate) const fn enter(&mut self, count: usize, now: Instant) {
        if self.waiting == 0 {
            // Between those who are gone and those who come nobody waited: that tells nothing of how long one takes.
            (self.moved, self.since, self.answered) = (now, now, 0);
        }
        self.waiting += count;
    }

    /// So many of those who came at `entered` are answered.
    pub(crate) fn leave(&mut self, count: usize, entered: Instant, now: Instant) {
        self.waiting = self.waiting.saturating_sub(count);
        (self.moved, self.waited) = (now, now.saturating_duration_since(entered));
        self.answered += count;
        let measured = now.saturating_duration_since(self.since);
        if measured >= MEASURE && self.answered > 0 {
            let each = measured.as_secs_f64() / self.answered as f64;
            self.each = if self.each > 0.0 { f64::midpoint(self.each, each) } else { each };
            (self.since, self.answered) = (now, 0);
        }
    }

    /// Whether so many wait that whoever has little to ask for had better not wait behind them.
    pub(crate) const fn is_long(&self) -> bool {
        self.waiting >= LONG
    }

    /// For how long whoever comes now would wait, as far as can be told.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        if self.waiting == 0 {
            return Duration::ZERO;
        }
        // The first of them has waited for so long already, and it may be the disk that stands still.
        let still = now.saturating_duration_since(self.moved);
        // Many who come at once are no backlog: the more are written together, the less each takes.
        if self.waited < BACKLOG {
            return still;
        }
        still.max(Duration::try_from_secs_f64(self.each * self.waiting as f64).unwrap_or(Duration::MAX))
    }
}

/// So many are written in about a millisecond.
const LONG: usize = 128;
/// For how long is measured how long one takes.
const MEASURE: Duration = Duration::from_millis(50);
/// Who has waited for less has not waited behind others, but for a batch or two.
const BACKLOG: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn badges_go_first_then_messages_and_calls_last() {
        let room = |queue_percent, disk_mib: u64| Room { queue_percent, disk_bytes: disk_mib * MIB };
        for (room, expected) in [
            (room(0, 5000), [false, false, false]),
            (room(49, 1024), [false, false, false]),
            (room(50, 5000), [true, false, false]),
            (room(0, 1023), [true, false, false]),
            (room(75, 5000), [true, true, false]),
            (room(0, 511), [true, true, false]),
            (room(95, 5000), [true, true, true]),
            (room(0, 63), [true, true, true]),
        ] {
            let found = [Class::Quiet, Class::Message, Class::Call].map(|class| gives_way(class, room));
            assert_eq!(found, expected, "{room:?}");
        }
    }

    /// A line that `offered` a second come into, of whom `served` a second are answered in batches every 10 ms, and where
    /// whoever would wait for longer than a message may turns back. Answers how long each of those answered has waited, in
    /// milliseconds, and how many turned back.
    fn day(offered: usize, served: usize, millis: u64) -> (Vec<u128>, usize) {
        let begun = Instant::now();
        let (mut line, mut waiting) = (Line::new(begun), std::collections::VecDeque::new());
        let (mut waited, mut turned_back) = (Vec::new(), 0);
        for milli in 0..millis {
            let now = begun + Duration::from_millis(milli);
            for _ in 0..offered / 1000 {
                if line.wait(now) > patience(Class::Message) {
                    turned_back += 1;
                } else {
                    line.enter(1, now);
                    waiting.push_back(now);
                }
            }
            if milli % 10 == 9 {
                for entered in waiting.drain(..waiting.len().min(served / 100)) {
                    line.leave(1, entered, now);
                    waited.push(now.duration_since(entered).as_millis());
                }
            }
        }
        (waited, turned_back)
    }

    #[test]
    fn who_comes_twice_as_fast_as_goes_is_turned_back_at_once_and_the_journal_is_never_idle() {
        for factor in [2, 5] {
            let (waited, turned_back) = day(factor * 20_000, 20_000, 10_000);
            assert!(waited.len() >= 190_000, "{} of the 200,000 that go", waited.len());
            let late = waited.iter().skip(waited.len() / 4).filter(|waited| **waited > 650).count();
            assert!(late == 0, "{late} have waited for longer than they should have, at {factor} times the most");
            assert!(turned_back > (factor - 1) * 180_000, "{turned_back}");
        }
        let (waited, turned_back) = day(18_000, 20_000, 10_000);
        assert_eq!((waited.len(), turned_back), (180_000, 0), "who comes slower than goes waits for nobody");
    }

    #[test]
    fn a_crowd_that_comes_at_once_is_no_backlog() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut line = Line::new(begun);
        // Two at a time, each waiting for a sync of its own.
        for millis in (0..1000).step_by(5) {
            line.enter(2, after(millis));
            line.leave(2, after(millis), after(millis + 5));
        }
        line.enter(10_000, after(1000));
        assert_eq!(line.wait(after(1004)), Duration::from_millis(4));
    }

    #[test]
    fn a_disk_that_stands_still_is_noticed_while_it_does_and_forgotten_when_it_goes_on() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut line = Line::new(begun);
        line.enter(3, after(0));
        assert_eq!(line.wait(after(700)), Duration::from_millis(700));
        line.leave(3, after(0), after(2000));
        assert_eq!(line.wait(after(2001)), Duration::ZERO);
        // What was slow then says little about later, and not for long.
        for batch in 0..20 {
            line.enter(100, after(2010 + 10 * batch));
            line.leave(100, after(2010 + 10 * batch), after(2020 + 10 * batch));
        }
        line.enter(2000, after(3000));
        assert!(line.wait(after(3000)) < patience(Class::Quiet));
    }

    #[test]
    fn a_class_is_what_the_push_is_and_not_what_it_is_called() {
        for event in Event::ALL {
            assert_eq!(Class::of(event, Channel::Voip), Class::Call);
            let quiet = matches!(event, Event::Badge | Event::RefreshWake);
            let class = if quiet { Class::Quiet } else { Class::Message };
            assert_eq!(Class::of(event, Channel::Message), class, "{event:?}");
        }
    }
}
