//! How much may be under way: of all partners together, of one, and which class of request gives way first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reveille_sip::{Message, Method, Name};

/// What one partner may have of this edge. Every partner has the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Requests per second that a listed partner may send; what it saves it may spend at once, up to one second's worth.
    pub messages_per_s: u32,
    /// Requests of one partner, or to one, that may wait for their answers.
    pub in_flight_per_partner: usize,
    /// Bytes of them.
    pub bytes_in_flight_per_partner: usize,
    /// Connections that one partner may have to this edge.
    pub connections_per_partner: usize,
    /// How long a stop waits for the answers to what is under way.
    pub drain: Duration,
    /// How long a call may ring (RFC 3261 §16.6 step 11 wants more than three minutes).
    pub ring: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_per_s: 2000,
            in_flight_per_partner: 1_000,
            bytes_in_flight_per_partner: 32 * 1024 * 1024,
            connections_per_partner: 1000,
            drain: Duration::from_secs(5),
            ring: Duration::from_secs(181),
        }
    }
}

/// Requests under way, all partners together.
pub(crate) const IN_FLIGHT_MAX: usize = 100_000;
/// Bytes of them.
pub(crate) const BYTES_IN_FLIGHT_MAX: usize = 512 * 1024 * 1024;

/// Which requests give way to which when places become few.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    /// Whatever else: subscriptions, capabilities.
    Other,
    /// Messages, and push requests that may wait.
    Message,
    /// Calls, what belongs to them, and whatever its sender calls urgent.
    Call,
    /// What ends something, or completes it.
    Ending,
}

impl Class {
    /// The class of a request.
    ///
    /// A push for a call is a MESSAGE; reading every body to know would cost too much, and so home says it in Priority
    /// (RFC 3261 §20.26). A partner that calls everything urgent fills its own share only.
    pub(crate) fn of(request: &Message) -> Self {
        let within = || request.to().is_ok_and(|to| to.tag().is_some());
        match request.method() {
            Some(Method::Cancel) => return Self::Ending,
            // Without a dialog there is nothing to end.
            Some(Method::Ack | Method::Bye | Method::Prack) if within() => return Self::Ending,
            _ => {}
        }
        let urgent = |value: &str| value.eq_ignore_ascii_case("urgent") || value.eq_ignore_ascii_case("emergency");
        if request.header(Name::Priority).is_some_and(urgent) {
            return Self::Call;
        }
        match request.method() {
            Some(Method::Invite | Method::Update) => Self::Call,
            // What is sent within a call keeps it alive.
            Some(Method::Info | Method::Refer) if within() => Self::Call,
            Some(Method::Message) => Self::Message,
            _ => Self::Other,
        }
    }

    /// What it is called in an answer.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Call | Self::Ending => "calls",
            Self::Message => "messages",
            Self::Other => "subscriptions and the like",
        }
    }

    /// Its share of `whole` places.
    pub(crate) const fn share(self, whole: usize) -> usize {
        match self {
            Self::Call | Self::Ending => whole,
            Self::Message => whole - whole / 7,
            Self::Other => whole - whole * 3 / 10,
        }
    }
}

/// Requests and their bytes under way: of one partner, or of all.
#[derive(Debug, Default)]
pub(crate) struct Load {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// Which bound one more request would cross.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Full {
    /// The number of requests.
    Requests(usize),
    /// Their bytes.
    Bytes(usize),
}

impl Load {
    /// Takes places for one request, if its class still finds any of so many.
    pub(crate) fn take(&self, class: Class, bytes: usize, requests_max: usize, bytes_max: usize) -> Result<(), Full> {
        let requests_max = class.share(requests_max);
        let bytes_max = class.share(bytes_max);
        if self.requests.fetch_add(1, Ordering::Relaxed) >= requests_max {
            self.requests.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Requests(requests_max));
        }
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > bytes_max {
            self.give(bytes);
            return Err(Full::Bytes(bytes_max));
        }
        Ok(())
    }

    /// Gives them back.
    pub(crate) fn give(&self, bytes: usize) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Requests(most) => write!(f, "{most} requests wait for their answers"),
            Self::Bytes(most) => write!(f, "{most} bytes of requests wait for their answers"),
        }
    }
}

/// A token bucket that holds one second's worth, and a seventh more that only calls may take.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self { tokens: f64::from(per_second) + kept_for_calls(f64::from(per_second)), filled: now }
    }

    /// Takes one token, if there is one for this class at this rate.
    pub(crate) fn take(&mut self, class: Class, per_second: u32, now: Instant) -> bool {
        let rate = f64::from(per_second);
        let kept = kept_for_calls(rate);
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = since.mul_add(rate, self.tokens).min(rate.max(1.0) + kept);
        self.filled = now;
        let needed = if class >= Class::Call { 1.0 } else { 1.0 + kept };
        let has = self.tokens >= needed;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

/// What is left of a rate's worth when messages get no more: whoever is somewhat above its rate loses those, and no calls.
/// Of a very small one, nothing.
fn kept_for_calls(rate: f64) -> f64 {
    (rate / 7.0).floor()
}

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits as Framing, parse_datagram};

    use super::*;

    fn class(method: &str, more: &str) -> Class {
        let text = format!(
            "{method} sip:a@b.example SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:x@a.example>;tag=1\r\n\
             Call-ID: 1\r\nCSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n"
        );
        Class::of(&parse_datagram(text.into(), &Framing::default()).unwrap())
    }

    #[test]
    fn calls_give_way_last_and_an_urgent_push_counts_as_one() {
        let (out, within) = ("To: <sip:a@b.example>\r\n", "To: <sip:a@b.example>;tag=2\r\n");
        for (method, more, expected) in [
            ("INVITE", out, Class::Call),
            ("BYE", within, Class::Ending),
            ("BYE", out, Class::Other),
            ("ACK", within, Class::Ending),
            ("ACK", out, Class::Other),
            ("CANCEL", out, Class::Ending),
            ("INFO", within, Class::Call),
            ("INFO", out, Class::Other),
            ("MESSAGE", out, Class::Message),
            ("MESSAGE", "To: <sip:a@b.example>\r\nPriority: urgent\r\n", Class::Call),
            ("MESSAGE", "To: <sip:a@b.example>\r\nPriority: Emergency\r\n", Class::Call),
            ("MESSAGE", "To: <sip:a@b.example>\r\nPriority: normal\r\n", Class::Message),
            ("SUBSCRIBE", out, Class::Other),
            ("OPTIONS", out, Class::Other),
        ] {
            assert_eq!(class(method, more), expected, "{method} {more}");
        }
    }

    #[test]
    fn places_become_few_for_others_first_then_for_messages_and_for_calls_never_before_the_end() {
        let load = Load::default();
        let mut taken = [0; 3];
        for (at, class) in [Class::Other, Class::Message, Class::Call].into_iter().enumerate() {
            while load.take(class, 1, 100, 1000).is_ok() {
                taken[at] += 1;
            }
        }
        assert_eq!((taken, load.requests(), load.bytes()), ([70, 16, 14], 100, 100));
        assert_eq!(load.take(Class::Call, 1, 100, 1000), Err(Full::Requests(100)));
        load.give(1);
        assert_eq!(load.take(Class::Message, 1, 100, 1000), Err(Full::Requests(86)), "the place is kept for a call");
        assert_eq!(load.take(Class::Call, 902, 100, 1000), Err(Full::Bytes(1000)));
        assert_eq!((load.requests(), load.bytes()), (99, 99), "what was refused holds no place");
        assert_eq!(load.take(Class::Call, 901, 100, 1000), Ok(()));
    }

    #[test]
    fn a_bucket_gives_one_seconds_worth_at_once_and_then_its_rate() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::new(20, start);
        let at_once = (0..100).filter(|_| bucket.take(Class::Message, 20, start)).count();
        assert_eq!(at_once, 20);
        assert!(!bucket.take(Class::Message, 20, at(49)));
        assert!(bucket.take(Class::Message, 20, at(100)));
        let in_ten_seconds = (0..10_000).filter(|ms| bucket.take(Class::Message, 20, at(1000 + ms))).count();
        assert!((200..=221).contains(&in_ten_seconds), "{in_ten_seconds}");
        // Cut to one a second it keeps no more than one.
        let slow = (0..10_000).filter(|ms| bucket.take(Class::Message, 1, at(20_000 + ms))).count();
        assert!((10..=11).contains(&slow), "{slow}");
    }

    #[test]
    fn the_last_seventh_of_a_rate_is_for_calls_whatever_messages_come() {
        let start = Instant::now();
        let mut bucket = Bucket::new(70, start);
        let at_once = |bucket: &mut Bucket, class| (0..200).filter(|_| bucket.take(class, 70, start)).count();
        assert_eq!((at_once(&mut bucket, Class::Message), at_once(&mut bucket, Class::Other)), (70, 0));
        assert_eq!((at_once(&mut bucket, Class::Call), at_once(&mut bucket, Class::Ending)), (10, 0));
        // Messages at ten times the rate all the while, and calls at half of it.
        let (mut calls, mut messages) = (0, 0);
        for tenth_of_ms in 0..100_000 {
            let now = start + Duration::from_micros(100) * tenth_of_ms;
            messages += u32::from(tenth_of_ms % 14 == 0 && bucket.take(Class::Message, 70, now));
            calls += u32::from(tenth_of_ms % 286 == 0 && bucket.take(Class::Call, 70, now));
        }
        assert!(calls >= 340 && (300..=360).contains(&messages), "{calls} of 350 calls, {messages} messages");
    }
}
