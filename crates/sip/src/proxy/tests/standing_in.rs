//! Servers of one place that stand in for each other.

use super::*;

const SERVERS: &[Planned] = &[(1000, None), (1000, Some(0)), (1000, Some(1))];

impl Story {
    /// A request on its way to one place with several servers.
    fn to_servers(method: &str) -> Self {
        let mut story = Self::taken(method, Reliability::Reliable, "");
        story.again = true;
        assert_eq!(story.forward(SERVERS, Reliability::Reliable), format!("0:{method}"));
        story
    }
}

#[test]
fn the_servers_of_a_place_are_asked_one_after_the_other() {
    // What happens to the first, what follows, and what goes back when none of the others helps either.
    type Happens = fn(&mut Story) -> String;
    let table: [(&str, &str, Happens, &str); 6] = [
        ("INVITE", "503", |story| story.hears_with(0, 503, "Retry-After: 7\r\n"), "0:ACK, 1:INVITE"),
        ("MESSAGE", "503", |story| story.hears_with(0, 503, "Retry-After: 7\r\n"), "1:MESSAGE"),
        ("INVITE", "its connection ends", |story| story.parted(0), "1:INVITE"),
        ("MESSAGE", "its connection ends", |story| story.parted(0), "1:MESSAGE"),
        ("INVITE", "silence", |story| story.passes(32_000), "up 100, 1:INVITE"),
        ("INVITE", "none can be reached", |story| story.failed(0), "up 500"),
    ];
    for (method, what, happens, expected) in table {
        let mut story = Story::to_servers(method);
        assert_eq!(happens(&mut story), expected, "{method}: {what}");
        if expected.ends_with("500") {
            continue;
        }
        let branches: Vec<&str> = story
            .left
            .iter()
            .filter(|(_, sent)| sent.method() != Some(Method::Ack))
            .map(|(_, sent)| sent.top_via().unwrap().branch().unwrap())
            .collect();
        assert_eq!(branches, ["z9hG4bKp1.0.2.3", "z9hG4bKp1.1.2.3"], "a transaction of its own: {method}: {what}");
        // There is no second server after all: the first one's word counts, and the third never begins.
        assert_eq!(story.failed(1), if what == "silence" { "up 408" } else { "up 500" }, "{method}: {what}");
        let retry = story.back.last().and_then(|answer| answer.header(Name::RetryAfter));
        assert_eq!(retry, (what == "503").then_some("7"), "{method}: {what}");
        let mut helped = Story::to_servers(method);
        happens(&mut helped);
        assert!(helped.hears(1, 200).contains("up 200"), "{method}: {what}");
        helped.passes(64_000);
        assert!(helped.context.is_over(), "{method}: {what}: nothing is left of the third");
    }
}

#[test]
fn servers_stand_in_for_a_bounded_time_and_number() {
    let mut silent = Story::to_servers("INVITE");
    assert_eq!(silent.passes(64_000), "up 100, 1:INVITE, up 408", "a third would find nobody waiting");
    let mut other = Story::to_servers("MESSAGE");
    assert_eq!(other.passes(64_000), "", "the sender has given up with us");
    assert!(other.context.is_over());
    let mut busy = Story::to_servers("INVITE");
    assert_eq!(busy.hears(0, 503), "0:ACK, 1:INVITE");
    assert_eq!(busy.hears(1, 503), "1:ACK, 2:INVITE");
    assert_eq!(busy.hears_with(2, 503, "Retry-After: 9\r\n"), "2:ACK, up 500", "and never a 503");
    let mut rang = Story::to_servers("INVITE");
    rang.hears(0, 180);
    assert!(rang.passes(181_000 + 32_000).ends_with("up 408"), "what has rung for so long rings nowhere else");
    let mut cancelled = Story::to_servers("INVITE");
    cancelled.cancelled();
    assert_eq!(cancelled.hears(0, 503), "0:ACK, up 500");
}

#[test]
fn whoever_stood_by_is_forgotten_with_the_answer() {
    for (status, again) in [(486, false), (486, true), (200, false), (603, true)] {
        let mut story = Story::taken("INVITE", Reliability::Reliable, "");
        story.again = again;
        story.forward(SERVERS, Reliability::Reliable);
        story.hears(0, status);
        story.context.on_ack(story.now);
        story.passes(64_000);
        assert!(story.context.is_over(), "{status}");
    }
}
