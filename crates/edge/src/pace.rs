//! How a discovered partner behaves, and what it may send therefore (lync.md §3.4). No clocks: the time is an argument.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use reveille_core::settings::AccessEdgeConfiguration;

/// What the settings allow to discovered partners.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Allowance {
    /// Requests per second while it behaves.
    pub(crate) standard_rate: u32,
    /// Addresses that it may write to in one period; `None` where nobody counts.
    pub(crate) contacts_max: Option<u32>,
    /// The period.
    pub(crate) period: Duration,
}

impl Allowance {
    pub(crate) fn of(edge: &AccessEdgeConfiguration) -> Self {
        Self {
            standard_rate: edge.discovered_partner_standard_rate,
            contacts_max: edge
                .enable_discovered_partner_contacts_limit
                .then_some(edge.max_contacts_per_discovered_partner),
            period: Duration::from_secs(60 * u64::from(edge.discovered_partner_report_period_minutes)),
        }
    }
}

/// One discovered partner's conduct.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Answers of this minute and of the one before: succeeded, failed.
    minutes: [(u32, u32); 2],
    minute_began: Instant,
    /// Hashes of the addresses written to in this period; at most one more than it may.
    contacts: HashSet<u64>,
    period_began: Instant,
    /// Since when it wrote to too many.
    watched: bool,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { minutes: [(0, 0); 2], minute_began: now, contacts: HashSet::new(), period_began: now, watched: false }
    }

    /// What it may send per second now.
    ///
    /// The ratio looks bad when, of the requests answered in this minute and the last, at least 20 were, and more of
    /// them failed than succeeded.
    pub(crate) fn rate(&mut self, allowance: Allowance, now: Instant) -> u32 {
        self.turn(now);
        let (succeeded, failed) = (self.minutes[0].0 + self.minutes[1].0, self.minutes[0].1 + self.minutes[1].1);
        let looks_bad = succeeded + failed >= ANSWERS_MIN && failed > succeeded;
        if looks_bad { SLOW_RATE.min(allowance.standard_rate) } else { allowance.standard_rate }
    }

    /// It writes to an address. Answers how many it may write to, when that is one too many: it is on the watch list
    /// from then on.
    pub(crate) fn writes_to(&mut self, contact: u64, allowance: Allowance, now: Instant) -> Result<(), u32> {
        let Some(most) = allowance.contacts_max else { return Ok(()) };
        if self.watched {
            return Err(most);
        }
        if now.saturating_duration_since(self.period_began) >= allowance.period {
            self.contacts.clear();
            self.period_began = now;
        }
        self.contacts.insert(contact);
        if self.contacts.len() > most as usize {
            self.watched = true;
            self.contacts = HashSet::new();
            return Err(most);
        }
        Ok(())
    }

    /// One of its requests was answered.
    pub(crate) fn answered(&mut self, succeeded: bool, now: Instant) {
        self.turn(now);
        let minute = &mut self.minutes[0];
        let count = if succeeded { &mut minute.0 } else { &mut minute.1 };
        *count = count.saturating_add(1);
    }

    /// It is on the watch list, since it was before it was forgotten.
    pub(crate) fn watch(&mut self) {
        self.watched = true;
    }

    /// Whether it is on the watch list.
    pub(crate) const fn is_watched(&self) -> bool {
        self.watched
    }

    /// How many addresses it has written to in this period.
    pub(crate) fn contacts(&self) -> usize {
        self.contacts.len()
    }

    fn turn(&mut self, now: Instant) {
        let minutes = now.saturating_duration_since(self.minute_began).as_secs() / 60;
        if minutes == 0 {
            return;
        }
        self.minutes = if minutes == 1 { [(0, 0), self.minutes[0]] } else { [(0, 0); 2] };
        self.minute_began += Duration::from_secs(60 * minutes);
    }
}

/// Fewer answers say nothing about anybody.
const ANSWERS_MIN: u32 = 20;
/// What is left to who looks bad.
const SLOW_RATE: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance =
        Allowance { standard_rate: 20, contacts_max: Some(1000), period: Duration::from_secs(3600) };

    #[test]
    fn the_rate_falls_to_one_when_more_fails_than_succeeds_and_comes_back() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let answers = |succeeded, failed| {
            let mut pace = Pace::new(start);
            (0..succeeded).for_each(|_| pace.answered(true, start));
            (0..failed).for_each(|_| pace.answered(false, start));
            pace
        };
        for (succeeded, failed, expected) in
            [(0, 0, 20), (0, 19, 20), (0, 20, 1), (10, 10, 20), (10, 11, 1), (500, 499, 20), (499, 500, 1)]
        {
            assert_eq!(answers(succeeded, failed).rate(ALLOWANCE, start), expected, "{succeeded}:{failed}");
        }
        let mut pace = answers(0, 50);
        assert_eq!(pace.rate(ALLOWANCE, at(59)), 1);
        assert_eq!(pace.rate(ALLOWANCE, at(119)), 1, "the minute before still counts");
        assert_eq!(pace.rate(ALLOWANCE, at(121)), 20);
        // What succeeds meanwhile tells too.
        let mut pace = answers(0, 20);
        (0..20).for_each(|_| pace.answered(true, at(61)));
        assert_eq!(pace.rate(ALLOWANCE, at(61)), 20);
    }

    #[test]
    fn who_writes_to_too_many_addresses_is_watched_from_then_on() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for contact in 0..1000 {
            assert_eq!(pace.writes_to(contact, ALLOWANCE, start), Ok(()));
        }
        assert_eq!((pace.writes_to(999, ALLOWANCE, start), pace.contacts()), (Ok(()), 1000), "an old one");
        assert_eq!(pace.writes_to(1000, ALLOWANCE, start), Err(1000));
        let later = start + Duration::from_secs(100_000);
        assert_eq!(pace.writes_to(1, ALLOWANCE, later), Err(1000), "also an old one, and also in another period");
        assert!(pace.is_watched());
    }

    #[test]
    fn addresses_are_counted_by_period_and_not_where_the_limit_is_off() {
        let start = Instant::now();
        let few = Allowance { contacts_max: Some(2), ..ALLOWANCE };
        let mut pace = Pace::new(start);
        let hour = Duration::from_secs(3600);
        for (contact, at) in [(1, start), (2, start), (3, start + hour), (4, start + hour)] {
            assert_eq!(pace.writes_to(contact, few, at), Ok(()));
        }
        let nobody_counts = Allowance { contacts_max: None, ..ALLOWANCE };
        let mut pace = Pace::new(start);
        assert!((0..5000).all(|contact| pace.writes_to(contact, nobody_counts, start).is_ok()));
        assert_eq!(pace.contacts(), 0);
    }
}
