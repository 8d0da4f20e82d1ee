//! What a clock is. Nothing here reads one: the time comes in as a value, so that rules can be tested and replayed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant on the wall clock, in milliseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant that lies `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// This instant moved later by `span`; stops at the end of time rather than wrapping.
    #[must_use]
    pub const fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_millis() as u64))
    }

    /// The instant in the form that HTTP and SIP give to dates (RFC 3261 §20.17): `Sat, 13 Nov 2010 23:29:00 GMT`.
    pub fn to_http_date(self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.0.min(i64::MAX as u64) as i64).unwrap_or(jiff::Timestamp::MAX);
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// How long after `earlier` this instant is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0.min(i64::MAX as u64) as i64) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Where a role learns the time. `server` has the one that asks the system; tests turn theirs by hand.
pub trait Clock: Send + Sync + 'static {
    /// The time now, by the wall.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_goes_below_zero_nor_past_the_end() {
        let (early, late) = (Timestamp::from_millis(10), Timestamp::from_millis(25));
        assert_eq!(late.since(early), Duration::from_millis(15));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(u64::MAX).plus(Duration::from_secs(1)).millis(), u64::MAX);
    }

    #[test]
    fn the_http_date_has_the_form_of_the_standard() {
        let date = Timestamp::from_millis(1_289_690_940_000).to_http_date();
        assert_eq!(date, "Sat, 13 Nov 2010 23:29:00 GMT");
    }

    #[test]
    fn it_prints_as_a_date_in_utc() {
        assert_eq!(Timestamp::from_millis(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
    }
}
