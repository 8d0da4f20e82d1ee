//! When to say that something ends: each of four marks once, every day in the last week, never twice on one day.

use std::collections::HashMap;

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Days before an end at which it is said.
const MARKS: [i64; 4] = [30, 14, 7, 1];
/// Within these days it is said again every day.
const DAILY: i64 = 7;
/// How long what was said is remembered: longer than between two marks.
const REMEMBERED: i64 = 32 * DAY;

/// Ends remembered; one more is not said, since a crowd of strangers could bring any number.
const TOLD_MAX: usize = 10_000;

/// How near an end is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Urgency {
    /// Within this many days: one of the marks.
    Within(i64),
    /// It is over.
    Over,
}

/// What was said already, of which certificate, and when.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    told: HashMap<String, (Urgency, i64)>,
}

impl Urgency {
    /// How near the end at `not_after` is at `now`; `None` while it is far.
    pub(crate) fn of(not_after: i64, now: i64) -> Option<Self> {
        let left = not_after - now;
        if left < 0 {
            return Some(Self::Over);
        }
        MARKS.into_iter().rev().find(|mark| left <= mark * DAY).map(Self::Within)
    }

    /// What happens when, for a sentence about a certificate.
    pub(crate) fn sentence(self, day: &str) -> String {
        match self {
            Self::Within(1) => format!("ends within a day, on {day}"),
            Self::Within(days) => format!("ends within {days} days, on {day}"),
            Self::Over => format!("has expired, on {day}"),
        }
    }

    /// Whether it cannot wait for tomorrow.
    pub(crate) fn is_now(self) -> bool {
        match self {
            Self::Within(days) => days <= 1,
            Self::Over => true,
        }
    }
}

impl Diary {
    /// Whether the end of `what` is to be said now, and how near it is; then it counts as said.
    pub(crate) fn due(&mut self, what: &str, not_after: i64, now: i64) -> Option<Urgency> {
        let urgency = Urgency::of(not_after, now)?;
        let daily = match urgency {
            Urgency::Within(days) => days <= DAILY,
            Urgency::Over => true,
        };
        let today = now.div_euclid(DAY);
        if let Some((told, at)) = self.told.get(what) {
            let new_day = at.div_euclid(DAY) != today;
            if !new_day || (*told == urgency && !daily) {
                return None;
            }
        }
        if self.told.len() >= TOLD_MAX && !self.told.contains_key(what) {
            return None;
        }
        self.told.insert(what.to_owned(), (urgency, now));
        Some(urgency)
    }

    /// Forgets what has not been said for long: it was renewed, or its owner comes no more.
    pub(crate) fn forget_before(&mut self, now: i64) {
        self.told.retain(|_, (_, at)| now - *at < REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_said_at_its_marks_and_daily_in_the_last_week() {
        let (mut diary, end) = (Diary::default(), 100 * DAY + 5);
        let mut said = Vec::new();
        // Every hour of forty-one days; the last three come after the end, of which the first was a day of its own already.
        for hour in 0..41 * 24 {
            let now = end - 38 * DAY + hour * 3600;
            if let Some(urgency) = diary.due("one", end, now) {
                said.push((urgency, (end - now).div_euclid(DAY)));
            }
        }
        let within = |days: Vec<(i64, i64)>| days.into_iter().map(|(mark, left)| (Urgency::Within(mark), left));
        let wanted: Vec<_> =
            within(vec![(30, 30), (14, 14), (7, 7), (7, 6), (7, 5), (7, 4), (7, 3), (7, 2), (1, 1), (1, 0)]).collect();
        let days_of = |said: &[(Urgency, i64)]| said.iter().map(|(urgency, _)| *urgency).collect::<Vec<_>>();
        assert_eq!(days_of(&said[..wanted.len()]), days_of(&wanted), "{said:?}");
        let after = &said[wanted.len()..];
        assert_eq!(days_of(after), [Urgency::Over, Urgency::Over]);
    }

    #[test]
    fn nothing_is_said_twice_on_one_day_nor_of_one_for_another() {
        let mut diary = Diary::default();
        let (end, now) = (DAY * 10 + 100, DAY * 9 + 200);
        assert_eq!(diary.due("one", end, now), Some(Urgency::Within(1)));
        assert_eq!(diary.due("one", end, now + 3600), None);
        assert_eq!(diary.due("two", end, now + 3600), Some(Urgency::Within(1)));
        assert_eq!(diary.due("far", end + 31 * DAY, now), None);
    }

    #[test]
    fn what_was_renewed_is_forgotten() {
        let mut diary = Diary::default();
        diary.due("one", 100, 50);
        diary.forget_before(50 + REMEMBERED);
        assert!(diary.told.is_empty());
    }
}
