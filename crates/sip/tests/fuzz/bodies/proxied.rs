//! What a stateful proxy makes of a message: it passes on, is cancelled, acknowledged and answered, and every word of that
//! can be written and read.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reveille_sip::proxy::{Context, Do, Edits, LegPlan, Nobody, Passage, Reply, Routed, Todo, Upstream, pass, route};
use reveille_sip::{
    Forward, Message, Method, Millis, Name, PrintError, Reliability, ResponseBuilder, Timers, parse_datagram,
};

use super::wide;

/// A message that was taken.
pub(crate) fn proxied(message: &Message) {
    said_again(message);
    if message.is_request() {
        for (ours, reliability) in [(false, Reliability::Reliable), (true, Reliability::Unreliable)] {
            let routed = route(message, &|_| ours);
            passed(message, &routed);
            if message.method() != Some(Method::Ack) {
                under_way(message, routed, reliability);
            }
        }
    }
}

/// Whatever a field says can be said again in another one, in an answer or beside it. From and To, where alone a NUL may
/// stand, are only copied whole.
fn said_again(message: &Message) {
    let mut out = BytesMut::new();
    for field in message.fields().filter(|field| !matches!(field.name, Name::From | Name::To)) {
        let value = field.value.to_owned();
        if message.is_request() {
            let reply = Reply::new(420).header("Unsupported", value);
            reply.write(message, "ours", None).expect("an answer that quotes its request");
        } else if message.values(Name::Via).next().is_some() {
            let edited = Forward::response(message).pop_via().insert_other("X-Said", &value);
            edited.write(&mut out).expect("an answer that goes back with more in it");
        }
    }
}

/// It leaves for wherever its Routes lead.
fn passed(request: &Message, routed: &Routed) {
    let record_route = ["sip:t@ours.example;lr".to_owned()];
    let passage = Passage {
        via: "SIP/2.0/TLS ours.example;branch=z9hG4bKp0",
        request_uri: None,
        routed,
        record_route: &record_route,
        edits: [&Edits::default(), &Edits::default()],
        source: SOURCE.parse().expect("an address"),
        breadth: Some(1),
    };
    let left = read(pass(request, &passage).expect("what was taken can be passed on"));
    assert_eq!(left.method(), request.method());
    assert_eq!(left.body_bytes(), request.body_bytes());
}

/// It rings, is cancelled, and is refused.
fn under_way(request: &Message, routed: Routed, reliability: Reliability) {
    let upstream = Upstream {
        source: SOURCE.parse().expect("an address"),
        reliability,
        tag: "ours".into(),
        timers: Timers::default(),
        timer_c: Millis(181_000),
        decide_within: Millis(32_000),
        return_within: Millis(10_000),
        bytes_max: 1 << 24,
    };
    let invite = request.method() == Some(Method::Invite);
    let mut context = Context::new(request, upstream, Millis(0));
    let plan = LegPlan {
        via: "SIP/2.0/TLS ours.example;branch=z9hG4bKp0".into(),
        request_uri: None,
        q: 1000,
        instead_of: None,
        again: false,
        record_route: Vec::new(),
        edits: Edits::default(),
        reliability,
    };
    let left = said(&context.forward(routed, Edits::default(), [plan], Arc::new(Nobody), Millis(0)));
    let sent = match &left[..] {
        [(false, sent)] => sent,
        // It may be divided among no branch at all (RFC 5393 §5.3.3).
        [(true, answer)] if answer.status() == Some(440) => return,
        other => panic!("it was not passed on: {other:?}"),
    };
    let rings = context.on_response(0, &answered(sent, 180), Millis(1));
    if invite {
        assert_eq!(words(&said(&rings)), ["up 180"]);
        // Nothing has to be said of an answer of ours to a CANCEL.
        assert_eq!(words(&said(&context.on_cancel(None, Millis(2)))), ["CANCEL"]);
        assert_eq!(words(&said(&context.on_response(0, &answered(sent, 487), Millis(3)))), ["ACK", "up 487"]);
    } else {
        assert_eq!(words(&said(&context.on_response(0, &answered(sent, 404), Millis(3)))), ["up 404"]);
    }
}

/// The answer of whoever the request was sent to.
fn answered(request: &Message, status: u16) -> Message {
    let mut out = BytesMut::new();
    let written: Result<(), PrintError> = ResponseBuilder::to(&mut out, request, status).to_tag("theirs").finish();
    written.expect("what was passed on can be answered");
    read(out.freeze())
}

/// What is to be said, and whether upstream.
fn said(todo: &Todo) -> Vec<(bool, Message)> {
    let spoken = todo.iter().filter_map(|done| match done {
        Do::Ack => None,
        Do::Down(_, bytes) => Some((false, read(bytes.clone()))),
        Do::Up(bytes) => Some((true, read(bytes.clone()))),
    });
    spoken.collect()
}

fn words(said: &[(bool, Message)]) -> Vec<String> {
    let word = |(up, message): &(bool, Message)| match (up, message.method()) {
        (false, Some(method)) => method.to_string(),
        _ => format!("up {}", message.status().unwrap_or_default()),
    };
    said.iter().map(word).collect()
}

fn read(bytes: Bytes) -> Message {
    parse_datagram(bytes, &wide()).expect("what we write is sound")
}

const SOURCE: &str = "192.0.2.9:5062";
