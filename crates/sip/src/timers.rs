//! The timers of §17 and of RFC 4320 as data.

use std::ops::Add;

/// A time or a span in milliseconds, on whatever monotonic clock the caller keeps.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub u64);

impl Add for Millis {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Whether the transport repeats lost packets by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reliability {
    /// TCP, TLS, WebSocket.
    Reliable,
    /// UDP.
    Unreliable,
}

/// The three values from which all others derive (§17.1.1.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timers {
    /// The round-trip time to be expected.
    pub t1: Millis,
    /// The longest interval between repetitions of a non-INVITE request or an INVITE response.
    pub t2: Millis,
    /// How long a message may stay in the network.
    pub t4: Millis,
}

impl Default for Timers {
    /// §17, table 4.
    fn default() -> Self {
        Self { t1: Millis(500), t2: Millis(4000), t4: Millis(5000) }
    }
}

/// The timers of the transaction state machines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timer {
    /// INVITE client: first repetition.
    A,
    /// INVITE client: gives up.
    B,
    /// Proxied INVITE: gives up waiting for a final response.
    C,
    /// INVITE client: absorbs repeated responses.
    D,
    /// Non-INVITE client: first repetition.
    E,
    /// Non-INVITE client: gives up.
    F,
    /// INVITE server: first repetition of the response.
    G,
    /// INVITE server: gives up waiting for ACK.
    H,
    /// INVITE server: absorbs repeated ACKs.
    I,
    /// Non-INVITE server: absorbs repeated requests.
    J,
    /// Non-INVITE client: absorbs repeated responses.
    K,
    /// INVITE server in state Accepted (RFC 6026).
    L,
    /// INVITE client in state Accepted (RFC 6026).
    M,
    /// Non-INVITE server: before it no 100 may go out on an unreliable transport (RFC 4320 §4.1).
    Provisional,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct TimerRow {
    /// Which timer.
    pub timer: Timer,
    /// How long on an unreliable transport.
    pub unreliable: Length,
    /// How long on a reliable one.
    pub reliable: Length,
    /// Where it is defined.
    pub section: &'static str,
}

/// How a timer derives from the three base values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Length {
    /// A fixed span.
    Fixed(Millis),
    /// Not used on this transport.
    Never,
    /// So many times T1.
    T1(u64),
    /// T4.
    T4,
    /// The time by which Timer E has been reset to T2: T1 + 2·T1 + 4·T1 … while below T2.
    UntilT2,
    /// No waiting at all.
    Zero,
}

impl Timers {
    /// All timers (§17 table 4; RFC 6026 §7.1; RFC 4320 §4.1).
    pub const TABLE: &'static [TimerRow] = &[
        row(Timer::A, Length::T1(1), Length::Never, "RFC 3261 §17.1.1.2"),
        row(Timer::B, Length::T1(64), Length::T1(64), "RFC 3261 §17.1.1.2"),
        row(Timer::C, Length::Fixed(Millis(181_000)), Length::Fixed(Millis(181_000)), "RFC 3261 §16.6 step 11"),
        row(Timer::D, Length::Fixed(Millis(32_000)), Length::Zero, "RFC 3261 §17.1.1.2"),
        row(Timer::E, Length::T1(1), Length::Never, "RFC 3261 §17.1.2.2"),
        row(Timer::F, Length::T1(64), Length::T1(64), "RFC 3261 §17.1.2.2"),
        row(Timer::G, Length::T1(1), Length::Never, "RFC 3261 §17.2.1"),
        row(Timer::H, Length::T1(64), Length::T1(64), "RFC 3261 §17.2.1"),
        row(Timer::I, Length::T4, Length::Zero, "RFC 3261 §17.2.1"),
        row(Timer::J, Length::T1(64), Length::Zero, "RFC 3261 §17.2.2"),
        row(Timer::K, Length::T4, Length::Zero, "RFC 3261 §17.1.2.2"),
        row(Timer::L, Length::T1(64), Length::T1(64), "RFC 6026 §7.1"),
        row(Timer::M, Length::T1(64), Length::T1(64), "RFC 6026 §7.2"),
        row(Timer::Provisional, Length::UntilT2, Length::Zero, "RFC 4320 §4.1"),
    ];

    /// How long a timer runs on a transport; `None` if it is not used there.
    pub fn span(&self, timer: Timer, reliability: Reliability) -> Option<Millis> {
        let row = Self::TABLE.iter().find(|row| row.timer == timer)?;
        let length = match reliability {
            Reliability::Reliable => row.reliable,
            Reliability::Unreliable => row.unreliable,
        };
        match length {
            Length::Fixed(span) => Some(span),
            Length::Never => None,
            Length::T1(times) => Some(Millis(self.t1.0.saturating_mul(times))),
            Length::T4 => Some(self.t4),
            Length::UntilT2 => Some(self.until_t2()),
            Length::Zero => Some(Millis(0)),
        }
    }

    /// The interval after one of `interval`: doubled, at most T2 (§17.1.2.2).
    pub fn backed_off(&self, interval: Millis) -> Millis {
        Millis(interval.0.saturating_mul(2)).min(self.t2)
    }

    fn until_t2(&self) -> Millis {
        let (mut sum, mut interval) = (Millis(0), self.t1);
        while interval < self.t2 && interval > Millis(0) {
            sum = sum + interval;
            interval = self.backed_off(interval);
        }
        sum
    }
}

const fn row(timer: Timer, unreliable: Length, reliable: Length, section: &'static str) -> TimerRow {
    TimerRow { timer, unreliable, reliable, section }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_spans_are_those_of_table_4() {
        let timers = Timers::default();
        for (timer, unreliable, reliable) in [
            (Timer::B, Some(32_000), Some(32_000)),
            (Timer::E, Some(500), None),
            (Timer::F, Some(32_000), Some(32_000)),
            (Timer::J, Some(32_000), Some(0)),
            (Timer::K, Some(5_000), Some(0)),
            (Timer::Provisional, Some(3_500), Some(0)),
        ] {
            assert_eq!(timers.span(timer, Reliability::Unreliable), unreliable.map(Millis), "{timer:?}");
            assert_eq!(timers.span(timer, Reliability::Reliable), reliable.map(Millis), "{timer:?}");
        }
    }

    #[test]
    fn intervals_double_up_to_t2() {
        let timers = Timers::default();
        assert_eq!(timers.backed_off(Millis(500)), Millis(1000));
        assert_eq!(timers.backed_off(Millis(3000)), Millis(4000));
        assert_eq!(timers.backed_off(Millis(4000)), Millis(4000));
    }
}
