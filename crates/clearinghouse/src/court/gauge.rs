//! How many answers of late have rejected a token: by app and by organisation, in a window that slides. Pure.
//!
//! One organisation with a list of rubbish must not freeze what others' tokens are told, and a wrong key of the
//! publisher's must freeze everybody's even if each organisation by itself sends little. So both are measured, and the
//! whole app is braked only if those without the worst organisation are in a storm too.

use std::collections::HashMap;

use reveille_core::settings::PushApp;
use reveille_core::{SipDomain, Timestamp};

/// What counts as a storm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Limits {
    /// Rejected tokens, at least.
    pub(super) rejections: u32,
    /// Of a hundred answers, at least.
    pub(super) percent: u32,
    /// The window's length.
    pub(super) minutes: u32,
}

impl Limits {
    /// The app's; `None` where its brake is switched off. An app without a record has no brake and no pushes either.
    pub(super) fn of(app: Option<&PushApp>) -> Option<Self> {
        let app = app.filter(|app| app.brake_enabled)?;
        Some(Self {
            rejections: app.brake_rejections.max(1),
            percent: app.brake_percent.max(1),
            minutes: app.brake_minutes.max(1),
        })
    }

    /// The window's length in milliseconds.
    pub(super) const fn window(self) -> u64 {
        self.minutes as u64 * 60_000
    }

    const fn slot(self, now: Timestamp) -> u64 {
        now.millis() / (self.window() / SLOTS as u64)
    }

    fn storms(self, count: Count) -> bool {
        count.rejected >= self.rejections && self.rates(count)
    }

    fn rates(self, Count { answers, rejected }: Count) -> bool {
        u64::from(rejected) * 100 >= u64::from(self.percent) * u64::from(answers)
    }
}

/// Answers, and those of them that rejected a token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Count {
    pub(super) answers: u32,
    pub(super) rejected: u32,
}

impl Count {
    const fn add(&mut self, other: Self) {
        self.answers = self.answers.saturating_add(other.answers);
        self.rejected = self.rejected.saturating_add(other.rejected);
    }

    const fn without(self, other: Self) -> Self {
        Self {
            answers: self.answers.saturating_sub(other.answers),
            rejected: self.rejected.saturating_sub(other.rejected),
        }
    }
}

/// Counts of the last [`SLOTS`] parts of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    newest: u64,
    slots: [Count; SLOTS],
}

impl Tally {
    fn move_to(&mut self, slot: u64) {
        // A clock that goes back is in the slot that it was in.
        for passed in 0..slot.saturating_sub(self.newest).min(SLOTS as u64) {
            self.slots[((self.newest + 1 + passed) % SLOTS as u64) as usize] = Count::default();
        }
        if slot.saturating_sub(self.newest) > SLOTS as u64 {
            self.slots = [Count::default(); SLOTS];
        }
        self.newest = self.newest.max(slot);
    }

    fn add(&mut self, slot: u64, count: Count) {
        self.move_to(slot);
        self.slots[(self.newest % SLOTS as u64) as usize].add(count);
    }

    fn sum(&mut self, slot: u64) -> Count {
        self.move_to(slot);
        let mut sum = Count::default();
        self.slots.iter().for_each(|count| sum.add(*count));
        sum
    }
}

/// Who is in a storm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Storm {
    /// The app as a whole.
    App(Count),
    /// One organisation's tokens of it.
    Origin(SipDomain, Count),
}

/// The answers of one app.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    all: Tally,
    origins: HashMap<SipDomain, Tally>,
}

impl Gauge {
    /// Takes answers in.
    pub(super) fn add(&mut self, origin: &SipDomain, count: Count, limits: Limits, now: Timestamp) {
        let slot = limits.slot(now);
        self.all.add(slot, count);
        if let Some(tally) = self.origins.get_mut(origin) {
            return tally.add(slot, count);
        }
        if self.origins.len() >= ORIGINS_MAX {
            self.origins.retain(|_, tally| tally.sum(slot).answers > 0);
        }
        // Beyond that, organisations are measured together only.
        if self.origins.len() < ORIGINS_MAX {
            self.origins.entry(origin.clone()).or_default().add(slot, count);
        }
    }

    /// Whether the app or an organisation is in a storm, after a token of `origin` was rejected.
    pub(super) fn storm(&mut self, origin: &SipDomain, limits: Limits, now: Timestamp) -> Option<Storm> {
        let slot = limits.slot(now);
        let all = self.all.sum(slot);
        if limits.storms(all) {
            let counts = self.origins.iter_mut().map(|(origin, tally)| (origin, tally.sum(slot)));
            let (worst, count) = counts.max_by_key(|(_, count)| count.rejected)?;
            let rest = all.without(count);
            if rest.rejected > limits.rejections / 10 && limits.rates(rest) {
                return Some(Storm::App(all));
            }
            if limits.storms(count) {
                return Some(Storm::Origin(worst.clone(), count));
            }
        }
        let own = self.origins.get_mut(origin)?.sum(slot);
        limits.storms(own).then(|| Storm::Origin(origin.clone(), own))
    }

    /// What was counted in the window, of one organisation or of all.
    pub(super) fn count(&mut self, origin: Option<&SipDomain>, limits: Limits, now: Timestamp) -> Count {
        let slot = limits.slot(now);
        match origin {
            None => self.all.sum(slot),
            Some(origin) => self.origins.get_mut(origin).map(|tally| tally.sum(slot)).unwrap_or_default(),
        }
    }

    /// Begins to count anew, for one organisation or for all.
    pub(super) fn reset(&mut self, origin: Option<&SipDomain>) {
        match origin {
            None => *self = Self::default(),
            Some(origin) => {
                if let Some(tally) = self.origins.remove(origin) {
                    for (all, own) in self.all.slots.iter_mut().zip(tally.slots) {
                        *all = all.without(own);
                    }
                }
            }
        }
    }
}

/// Parts that the window slides by.
const SLOTS: usize = 10;
/// Organisations of one app that are measured by themselves.
const ORIGINS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { rejections: 50, percent: 25, minutes: 10 };

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + minutes * 60_000)
    }

    fn domain(name: &str) -> SipDomain {
        name.parse().unwrap()
    }

    /// The storm after these answers, each of an organisation: how many, and how many of them rejected.
    fn after(counts: &[(&str, u32, u32)]) -> Option<Storm> {
        let mut gauge = Gauge::default();
        let mut last = None;
        for (origin, answers, rejected) in counts {
            gauge.add(&domain(origin), Count { answers: *answers, rejected: *rejected }, LIMITS, at(0));
            last = gauge.storm(&domain(origin), LIMITS, at(0));
        }
        last
    }

    #[test]
    fn a_storm_has_both_a_number_and_a_share_and_strikes_whom_it_must() {
        let count = |answers, rejected| Count { answers, rejected };
        for (counts, expected) in [
            (vec![("a.example", 49, 49)], None),
            (vec![("a.example", 50, 50)], Some(Storm::Origin(domain("a.example"), count(50, 50)))),
            (vec![("a.example", 1000, 50)], None),
            (vec![("a.example", 200, 50)], Some(Storm::Origin(domain("a.example"), count(200, 50)))),
            // One organisation's rubbish, and others who are well.
            (
                vec![("b.example", 1000, 5), ("a.example", 500, 500)],
                Some(Storm::Origin(domain("a.example"), count(500, 500))),
            ),
            (
                vec![("b.example", 100_000, 5), ("a.example", 50, 50)],
                Some(Storm::Origin(domain("a.example"), count(50, 50))),
            ),
            // Many who each send little: together they show what is wrong.
            (
                vec![("a.example", 20, 20), ("b.example", 20, 20), ("c.example", 10, 10)],
                Some(Storm::App(count(50, 50))),
            ),
            (vec![("a.example", 20, 20), ("b.example", 20, 20), ("c.example", 200, 10)], None),
            (vec![("b.example", 20, 20), ("a.example", 60, 60)], Some(Storm::App(count(80, 80)))),
        ] {
            assert_eq!(after(&counts), expected, "{counts:?}");
        }
    }

    #[test]
    fn the_window_slides_and_a_clock_put_back_changes_nothing() {
        let (mut gauge, a) = (Gauge::default(), domain("a.example"));
        let rejected = |n| Count { answers: n, rejected: n };
        gauge.add(&a, rejected(30), LIMITS, at(0));
        gauge.add(&a, rejected(15), LIMITS, at(9));
        assert_eq!(gauge.count(None, LIMITS, at(9)), rejected(45));
        assert_eq!(gauge.count(Some(&a), LIMITS, at(10)), rejected(15), "ten minutes on, the first are out");
        gauge.add(&a, rejected(1), LIMITS, at(5));
        assert_eq!(gauge.count(None, LIMITS, at(10)), rejected(16));
        assert_eq!(gauge.count(None, LIMITS, at(1000)), rejected(0));
        gauge.add(&a, rejected(2), LIMITS, at(1000));
        gauge.add(&domain("b.example"), rejected(3), LIMITS, at(1000));
        gauge.reset(Some(&a));
        assert_eq!(gauge.count(None, LIMITS, at(1000)), rejected(3));
    }

    #[test]
    fn an_app_whose_brake_is_off_has_no_limits() {
        let app = PushApp::new("org.example", Vec::new());
        assert_eq!(Limits::of(Some(&app)), Some(LIMITS));
        assert_eq!(Limits::of(Some(&PushApp { brake_enabled: false, ..app })), None);
        assert_eq!(Limits::of(None), None);
    }
}
