//! What becomes of a request with one leg or several, each story told as events and what they cause.

mod reunion;
mod standing_in;

use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::framing::{Limits, parse_datagram};
use crate::message::Message;
use crate::method::Method;
use crate::name::Name;
use crate::timers::{Millis, Reliability, Timers};

/// Notes how it ended.
#[derive(Default)]
struct Noting {
    ended: Mutex<Vec<(u16, Option<usize>)>>,
}

impl Owner for Noting {
    fn unfit(&self, response: &Message) -> Option<Reply> {
        response.other_header("X-Long").map(|_| Reply::new(513).header("X-Why", "too long"))
    }

    fn edits(&self, _response: &Message) -> Edits {
        Edits::default().strip(Name::Warning).insert("X-Edited", "yes")
    }

    fn ended(&self, status: u16, leg: Option<usize>) {
        self.ended.lock().unwrap().push((status, leg));
    }
}

struct Story {
    context: Context,
    owner: Arc<Noting>,
    now: Millis,
    /// Whether legs that stand in have the same servers to choose from.
    again: bool,
    /// The requests that left last, by leg.
    left: Vec<(usize, Message)>,
    /// The responses that went back last.
    back: Vec<Message>,
}

/// q, and instead of which leg.
type Planned = (u16, Option<usize>);

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, label: "test", sentence: "nobody there".into(), cause: None }
}

fn read(bytes: Bytes) -> Message {
    parse_datagram(bytes, &Limits::default()).expect("what we write is sound")
}

impl Story {
    /// A request taken and not decided.
    fn taken(method: &str, reliability: Reliability, more: &str) -> Self {
        let text = format!(
            "{method} sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/TCP a.example;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
             From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{more}\
             Content-Length: 0\r\n\r\n"
        );
        let upstream = Upstream {
            source: ([192, 0, 2, 1], 5060).into(),
            reliability,
            tag: "ours".into(),
            timers: Timers::default(),
            timer_c: Millis(181_000),
            decide_within: Millis(32_000),
            return_within: Millis(10_000),
            bytes_max: 20_000,
        };
        let context = Context::new(&read(text.into()), upstream, Millis(0));
        Self { context, owner: Arc::default(), now: Millis(0), again: false, left: Vec::new(), back: Vec::new() }
    }

    fn forward(&mut self, legs: &[Planned], reliability: Reliability) -> String {
        let plan = |(at, (q, instead_of)): (usize, &Planned)| LegPlan {
            via: format!("SIP/2.0/TCP us;branch=z9hG4bKp1.{at}.2.3"),
            request_uri: Some(format!("sip:b@phone{at}.example")),
            q: *q,
            instead_of: *instead_of,
            again: self.again && instead_of.is_some(),
            record_route: vec!["sip:us;lr".into()],
            edits: Edits::default(),
            reliability,
        };
        let routed = Routed { request_uri: "sip:b@b.example".into(), ..Routed::default() };
        let legs: Vec<LegPlan> = legs.iter().enumerate().map(plan).collect();
        let todo = self.context.forward(routed, Edits::default(), legs, Arc::clone(&self.owner) as _, self.now);
        self.did(todo)
    }

    /// An INVITE on its way to these legs, all over TCP.
    fn calling(legs: &[Planned]) -> Self {
        let mut story = Self::taken("INVITE", Reliability::Reliable, "");
        story.forward(legs, Reliability::Reliable);
        story
    }

    fn did(&mut self, todo: Todo) -> String {
        let mut words = Vec::new();
        for done in todo {
            match done {
                Do::Ack => words.push("pass".to_owned()),
                Do::Down(leg, bytes) => {
                    let request = read(bytes);
                    words.push(format!("{leg}:{}", request.method().expect("a request").as_str()));
                    self.left.push((leg, request));
                }
                Do::Up(bytes) => {
                    let response = read(bytes);
                    words.push(format!("up {}", response.status().expect("a response")));
                    self.back.push(response);
                }
            }
        }
        words.join(", ")
    }

    fn hears(&mut self, leg: usize, status: u16) -> String {
        self.hears_with(leg, status, "")
    }

    /// The leg answers its INVITE (or whatever it was sent first).
    fn hears_with(&mut self, leg: usize, status: u16, more: &str) -> String {
        let method = self.method();
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/TCP us;branch=z9hG4bKp1.{leg}.2.3\r\n\
             Via: SIP/2.0/TCP a.example;branch=z9hG4bKa\r\nFrom: <sip:a@a.example>;tag=1\r\n\
             To: <sip:b@b.example>;tag={leg}\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n"
        );
        let todo = self.context.on_response(leg, &read(text.into()), self.now);
        self.did(todo)
    }

    fn method(&self) -> Method<'_> {
        self.left.first().and_then(|(_, request)| request.method()).unwrap_or(Method::Invite)
    }

    fn cancelled(&mut self) -> String {
        let todo = self.context.on_cancel(None, self.now);
        self.did(todo)
    }

    fn failed(&mut self, leg: usize) -> String {
        let todo = self.context.on_failed(leg, &failure(FailureKind::Unreachable), self.now);
        self.did(todo)
    }

    /// The leg's connection is gone, and its peer may come back.
    fn parted(&mut self, leg: usize) -> String {
        let todo = self.context.on_leg_away(leg, &failure(FailureKind::Gone), self.now);
        self.did(todo)
    }

    /// The caller is back on another connection.
    fn returns(&mut self) -> String {
        let todo = self.context.on_upstream_back();
        self.did(todo)
    }

    /// Lets the time pass until the next deadline.
    fn waits(&mut self) -> String {
        self.now = self.context.next_deadline().expect("a deadline");
        let todo = self.context.on_timer(self.now);
        self.did(todo)
    }

    fn ended(&self) -> Vec<(u16, Option<usize>)> {
        self.owner.ended.lock().unwrap().clone()
    }

    /// Lets this time pass, with everything that is due in it.
    fn passes(&mut self, millis: u64) -> String {
        let until = self.now + Millis(millis);
        let mut words = Vec::new();
        while self.context.next_deadline().is_some_and(|at| at <= until) {
            words.push(self.waits());
        }
        self.now = until;
        words.retain(|word| !word.is_empty());
        words.join(", ")
    }
}

const ONE: &[Planned] = &[(1000, None)];
const TWO: &[Planned] = &[(1000, None), (1000, None)];

#[test]
fn a_call_is_passed_rings_and_is_answered() {
    let mut story = Story::taken("INVITE", Reliability::Reliable, "");
    assert_eq!(story.forward(ONE, Reliability::Reliable), "0:INVITE");
    let (_, invite) = &story.left[0];
    assert_eq!(invite.request_uri(), Some("sip:b@phone0.example"));
    assert_eq!(invite.max_forwards(), Some(69));
    assert_eq!(invite.header(Name::RecordRoute), Some("<sip:us;lr>"));
    assert_eq!(invite.other_header("Max-Breadth"), Some("60"));
    assert_eq!(story.hears(0, 100), "", "a 100 is hop by hop");
    assert_eq!(story.waits(), "up 100", "ours leaves 200 ms after the INVITE");
    assert_eq!(story.hears_with(0, 180, "Warning: 399 x \"y\"\r\n"), "up 180");
    assert_eq!(story.hears(0, 200), "up 200");
    for response in &story.back[1..] {
        assert_eq!(response.values(Name::Via).count(), 1, "our Via is gone");
        assert_eq!((response.header(Name::Warning), response.other_header("X-Edited")), (None, Some("yes")));
    }
    assert_eq!(story.ended(), [(200, Some(0))]);
    assert_eq!(story.hears(0, 200), "up 200", "a repeated 2xx passes: its ACK may be lost");
    let todo = story.context.on_ack(story.now);
    assert_eq!(story.did(todo), "pass");
    assert_eq!(story.waits(), "", "timers L and M");
    assert!(story.context.is_over());
}

#[test]
fn a_refusal_is_acknowledged_on_both_sides_and_frees_everything_on_tcp() {
    let mut story = Story::calling(ONE);
    assert_eq!(story.hears(0, 486), "0:ACK, up 486");
    assert!(!story.context.is_over(), "its ACK is still to come");
    let todo = story.context.on_ack(story.now);
    assert_eq!(story.did(todo), "");
    assert!(story.context.is_over());
    assert_eq!(story.ended(), [(486, Some(0))]);
}

#[test]
fn the_first_success_wins_and_the_others_stop_ringing() {
    let mut story = Story::calling(TWO);
    assert_eq!(story.left.len(), 2);
    let breadths: Vec<_> = story.left.iter().map(|(_, invite)| invite.other_header("Max-Breadth")).collect();
    assert_eq!(breadths, [Some("30"), Some("30")]);
    assert_eq!(story.hears(0, 180), "up 180");
    assert_eq!(story.hears(1, 180), "up 180");
    assert_eq!(story.hears(1, 200), "up 200, 0:CANCEL");
    let reason = story.left.last().and_then(|(_, cancel)| cancel.header(Name::Reason));
    assert_eq!(reason, Some("SIP;cause=200;text=\"Call completed elsewhere\""));
    assert_eq!(story.hears(0, 487), "0:ACK", "nobody upstream hears of it");
    assert_eq!(story.ended(), [(200, Some(1))]);
}

#[test]
fn a_success_that_crosses_the_cancel_passes_too() {
    let mut story = Story::calling(TWO);
    story.hears(0, 180);
    assert_eq!(story.hears(1, 200), "up 200, 0:CANCEL");
    assert_eq!(story.hears(0, 200), "up 200");
    assert_eq!(story.ended(), [(200, Some(1)), (200, Some(0))]);
}

#[test]
fn refusals_wait_for_the_others_and_the_best_one_goes_back() {
    let mut story = Story::calling(TWO);
    assert_eq!(story.hears(0, 503), "0:ACK");
    assert_eq!(story.hears(1, 404), "1:ACK, up 404");
    let mut challenged = Story::calling(TWO);
    challenged.hears_with(0, 407, "Proxy-Authenticate: Digest realm=\"a\"\r\n");
    assert_eq!(challenged.hears_with(1, 401, "WWW-Authenticate: Digest realm=\"b\"\r\n"), "1:ACK, up 407");
    let both = [Name::ProxyAuthenticate, Name::WwwAuthenticate].map(|name| challenged.back[0].headers(name).count());
    assert_eq!(both, [1, 1], "both challenges, and each once");
}

#[test]
fn a_6xx_cancels_the_rest_and_goes_back_when_they_have_ended() {
    let mut story = Story::calling(&[(1000, None), (1000, None), (500, None)]);
    story.hears(1, 180);
    assert_eq!(story.hears(0, 603), "0:ACK, 1:CANCEL");
    assert_eq!(story.hears(1, 487), "1:ACK, up 603", "and the one of lower q never rang");
    assert_eq!(story.left.iter().filter(|(leg, _)| *leg == 2).count(), 0);
    let mut crossed = Story::calling(TWO);
    crossed.hears(1, 180);
    crossed.hears(0, 603);
    assert_eq!(crossed.hears(1, 200), "up 200", "somebody answered nevertheless");
}

#[test]
fn a_503_alone_becomes_500_with_its_retry_after() {
    let mut story = Story::calling(ONE);
    assert_eq!(story.hears_with(0, 503, "Retry-After: 30\r\n"), "0:ACK, up 500");
    assert_eq!(story.back[0].header(Name::RetryAfter), Some("30"));
    let mut unreachable = Story::calling(ONE);
    assert_eq!(unreachable.failed(0), "up 500");
}

#[test]
fn legs_of_lower_q_are_tried_after_those_above_have_failed() {
    let mut story = Story::taken("INVITE", Reliability::Reliable, "");
    assert_eq!(story.forward(&[(300, None), (1000, None), (1000, None)], Reliability::Reliable), "1:INVITE, 2:INVITE");
    assert_eq!(story.hears(1, 486), "1:ACK");
    assert_eq!(story.failed(2), "0:INVITE");
    assert_eq!(story.left[3].1.other_header("Max-Breadth"), Some("60"), "the whole breadth is free again");
    assert_eq!(story.hears(0, 480), "0:ACK, up 486", "of equals the first");
}

#[test]
fn another_server_stands_in_for_one_that_fails_or_is_overloaded() {
    let alternatives = &[(1000, None), (1000, Some(0)), (1000, Some(1))];
    let mut story = Story::taken("INVITE", Reliability::Reliable, "");
    assert_eq!(story.forward(alternatives, Reliability::Reliable), "0:INVITE");
    assert_eq!(story.failed(0), "1:INVITE");
    assert_eq!(story.hears(1, 503), "1:ACK, 2:INVITE");
    assert_eq!(story.hears(2, 404), "2:ACK, up 404");
    let mut busy = Story::calling(alternatives);
    assert_eq!(busy.hears(0, 486), "0:ACK, up 486", "a busy callee is the same on every server");
}

#[test]
fn a_cancel_waits_for_a_provisional_answer_and_ends_with_487() {
    let mut story = Story::calling(ONE);
    assert_eq!(story.cancelled(), "");
    assert_eq!(story.hears(0, 180), "up 180, 0:CANCEL");
    assert_eq!(story.cancelled(), "", "again changes nothing");
    let (_, cancel) = story.left.last().expect("sent");
    assert_eq!(cancel.top_via().expect("one").branch(), Some("z9hG4bKp1.0.2.3"));
    assert_eq!(story.hears(0, 487), "0:ACK, up 487");
    assert_eq!(story.ended(), [(487, Some(0))]);
}

#[test]
fn a_late_success_after_a_cancel_still_passes() {
    let mut story = Story::calling(ONE);
    story.hears(0, 180);
    assert_eq!(story.cancelled(), "0:CANCEL");
    assert_eq!(story.hears(0, 200), "up 200");
}

#[test]
fn a_cancel_reaches_legs_that_have_not_begun_and_undecided_requests() {
    let mut story = Story::calling(&[(1000, None), (500, None)]);
    story.hears(0, 180);
    assert_eq!(story.cancelled(), "0:CANCEL");
    assert_eq!(story.hears(0, 487), "0:ACK, up 487", "the second leg never begins");
    let mut undecided = Story::taken("INVITE", Reliability::Reliable, "");
    assert_eq!(undecided.cancelled(), "up 487");
    assert_eq!(undecided.forward(ONE, Reliability::Reliable), "", "what is decided too late goes nowhere");
}

#[test]
fn a_leg_that_ignores_its_cancel_is_given_up_after_64_t1() {
    let mut story = Story::calling(ONE);
    story.hears(0, 180);
    story.now = Millis(10_000);
    assert_eq!(story.cancelled(), "0:CANCEL");
    assert_eq!((story.waits().as_str(), story.now), ("up 487", Millis(42_000)));
    assert_eq!(story.hears(0, 200), "", "too late for anybody");
}

#[test]
fn timer_c_cancels_a_call_that_rings_for_ever_and_is_reset_by_provisional_answers() {
    let mut story = Story::calling(ONE);
    story.hears(0, 180);
    story.now = Millis(100_000);
    story.hears(0, 180);
    let mut fired = String::new();
    while fired != "0:CANCEL" {
        fired = story.waits();
    }
    assert_eq!(story.now, Millis(281_000));
    assert_eq!(story.hears(0, 487), "0:ACK, up 487");
}

#[test]
fn silence_is_a_408_for_an_invite_and_nothing_for_another_request() {
    let mut story = Story::calling(ONE);
    assert_eq!(story.waits(), "up 100");
    assert_eq!(story.waits(), "up 408");
    assert_eq!(story.now, Millis(32_000));
    let mut other = Story::taken("MESSAGE", Reliability::Reliable, "");
    assert_eq!(other.forward(ONE, Reliability::Reliable), "0:MESSAGE");
    // RFC 4320 §4.2.
    assert_eq!(other.waits(), "");
    assert_eq!((other.now, other.context.is_over()), (Millis(32_000), true));
    assert_eq!(other.ended(), [(408, Some(0))]);
}

#[test]
fn a_request_that_is_no_invite_is_over_with_its_answer_on_tcp() {
    for (status, back) in [(202, "up 202"), (404, "up 404"), (100, ""), (183, "")] {
        let mut story = Story::taken("MESSAGE", Reliability::Reliable, "");
        story.forward(ONE, Reliability::Reliable);
        assert_eq!(story.hears(0, status), back, "{status}");
        assert_eq!(story.context.is_over(), status >= 200, "{status}");
    }
}

#[test]
fn over_udp_a_slow_answer_to_another_request_is_announced_by_a_100_after_3_5_s() {
    let mut story = Story::taken("MESSAGE", Reliability::Unreliable, "");
    story.forward(ONE, Reliability::Reliable);
    assert_eq!(story.waits(), "up 100");
    assert_eq!(story.now, Millis(3_500));
    assert_eq!(story.hears(0, 200), "up 200");
    let todo = story.context.on_repetition();
    assert_eq!(story.did(todo), "up 200", "repetitions hear it again");
    assert_eq!((story.waits().as_str(), story.now, story.context.is_over()), ("", Millis(35_500), true));
}

#[test]
fn when_the_caller_is_gone_its_call_is_cancelled_and_still_acknowledged() {
    let mut story = Story::calling(TWO);
    story.hears(0, 180);
    let todo = story.context.on_upstream_gone(story.now);
    assert_eq!(story.did(todo), "0:CANCEL");
    assert_eq!(story.hears(0, 487), "0:ACK", "nobody is left to tell");
    assert_eq!(story.hears(1, 486), "1:ACK");
    assert!(story.context.is_over());
    assert_eq!(story.ended(), [(486, Some(1))]);
    let mut other = Story::taken("MESSAGE", Reliability::Reliable, "");
    other.forward(ONE, Reliability::Reliable);
    other.context.on_upstream_gone(Millis(1));
    assert!(other.context.is_over());
}

#[test]
fn when_the_caller_goes_after_the_answer_the_losers_are_still_acknowledged() {
    let mut story = Story::calling(TWO);
    story.hears(0, 180);
    assert_eq!(story.hears(1, 200), "up 200, 0:CANCEL");
    story.context.on_upstream_gone(story.now);
    assert!(!story.context.is_over());
    assert_eq!(story.hears(0, 487), "0:ACK");
    assert!(story.context.is_over());
}

#[test]
fn a_request_nobody_decides_about_is_answered_500() {
    let mut story = Story::taken("INVITE", Reliability::Reliable, "");
    assert_eq!(story.waits(), "up 100");
    assert_eq!((story.waits().as_str(), story.now), ("up 500", Millis(32_000)));
}

#[test]
fn a_request_may_not_be_spread_wider_than_it_says() {
    let mut story = Story::taken("INVITE", Reliability::Reliable, "Max-Breadth: 2\r\n");
    assert_eq!(story.forward(&[(1000, None); 3], Reliability::Reliable), "up 440");
    let mut serial = Story::taken("INVITE", Reliability::Reliable, "Max-Breadth: 1\r\n");
    assert_eq!(serial.forward(&[(1000, None), (900, None)], Reliability::Reliable), "0:INVITE");
    assert_eq!(serial.failed(0), "1:INVITE", "one after the other needs no breadth");
}

#[test]
fn answers_of_our_own_are_repeated_and_acknowledged_over_udp() {
    let mut story = Story::taken("INVITE", Reliability::Unreliable, "");
    let refusal = Bytes::from_static(
        b"SIP/2.0 403 Forbidden\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKa\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\n\
          Call-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
    );
    let todo = story.context.answer(403, refusal, Millis(0));
    assert_eq!(story.did(todo), "up 403");
    assert_eq!(story.waits(), "up 403");
    let todo = story.context.on_repetition();
    assert_eq!(story.did(todo), "up 403");
    story.context.on_ack(story.now);
    assert_eq!(story.waits(), "");
    assert!(story.context.is_over());
}

#[test]
fn nothing_of_the_messages_is_kept_behind_an_accepted_call() {
    let mut story = Story::calling(ONE);
    story.hears(0, 200);
    assert!(!story.context.keeps_messages());
    let mut refused = Story::calling(ONE);
    refused.hears(0, 404);
    assert!(!refused.context.keeps_messages());
}

#[test]
fn an_answer_that_is_too_long_for_its_way_back_is_replaced_by_one_that_is_not() {
    let padding = format!("X-Padding: {}\r\n", "x".repeat(21_000));
    for (method, status, more, back) in [
        ("INVITE", 183, padding.as_str(), ""),
        ("INVITE", 200, &padding, "up 513"),
        ("INVITE", 404, &padding, "0:ACK, up 513"),
        ("MESSAGE", 200, &padding, "up 513"),
        ("INVITE", 183, "X-Long: yes\r\n", ""),
        ("INVITE", 200, "X-Long: yes\r\n", "up 513"),
        ("INVITE", 404, "X-Long: yes\r\n", "0:ACK, up 513"),
        ("MESSAGE", 404, "X-Long: yes\r\n", "up 513"),
    ] {
        let mut story = Story::taken(method, Reliability::Unreliable, "");
        story.forward(ONE, Reliability::Reliable);
        assert_eq!(story.hears_with(0, status, more), back, "{method} {status} {}", &more[..6]);
        let why = story.back.last().and_then(|answer| answer.other_header("X-Why"));
        assert_eq!(why.is_some(), more.len() < 100 && status >= 200, "{method} {status}");
    }
}
