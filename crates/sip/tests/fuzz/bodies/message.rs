//! A datagram: whatever it is, reading it is safe; what is taken can be answered and passed on, and then means the same.

use bytes::{Bytes, BytesMut};
use reveille_sip::{
    Forward, Frame, Limits, Message, Name, NameAddr, ParseError, ResponseBuilder, Side, StreamFramer, parse_datagram,
};

use super::proxied::proxied;
use super::{Reading, wide};

/// Bytes as one datagram.
pub(crate) fn message(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    match parse_datagram(bytes, &Limits::default()) {
        Ok(message) => {
            read_all(&message);
            answered(&message, true);
            passed_on(&message);
            proxied(&message);
        }
        Err(ParseError::Bad { message, fault }) => {
            assert!(matches!(fault.status(), 400 | 413 | 416 | 505 | 513), "{fault}");
            read_all(&message);
            answered(&message, false);
        }
        Err(ParseError::Unreadable(_)) => {}
    }
}

/// Every typed reading; none may panic.
fn read_all(message: &Message) {
    let _ = (message.method(), message.status(), message.reason_phrase(), message.request_uri(), message.check());
    let _ =
        (message.transaction_key(), message.cseq(), message.max_forwards(), message.expires(), message.media_type());
    let _ = (message.from().map(|from| from.tag()), message.to().map(|to| to.tag()), message.top_via());
    let _ = format!("{message:?}");
    for name in Name::ALL {
        for value in message.values(*name) {
            super::headers::value(value);
        }
    }
}

/// An answer ends where it says, whatever of the request stands in it; a sound request has a sound answer.
fn answered(request: &Message, sound: bool) {
    let source = "192.0.2.9:5062".parse().expect("an address");
    let mut out = BytesMut::new();
    let written = ResponseBuilder::to(&mut out, request, 400).to_tag("t").source(source).finish();
    written.expect("every message can be answered");
    let mut framer = StreamFramer::new(wide(), Side::Accepted);
    let frame = framer.next(&mut out).expect("an answer ends where it says");
    assert!(out.is_empty(), "an answer is one message");
    match frame {
        Some(Frame::Message(answer)) if sound => {
            for name in [Name::CallId, Name::CSeq, Name::From] {
                assert_eq!(answer.header(name), request.header(name));
            }
            assert_eq!(answer.values(Name::Via).count(), request.values(Name::Via).count());
            passed_back(&answer);
            // Only what cannot be read, or has a tag without a value, is repeated without one of ours.
            let repeated = |to: NameAddr<'_>| to.params().any(|(name, _)| name.eq_ignore_ascii_case("tag"));
            match request.to() {
                Err(_) => assert!(answer.to().is_err()),
                Ok(to) if repeated(to) => assert_eq!(answer.header(Name::To), request.header(Name::To)),
                Ok(_) => assert_eq!(answer.to().expect("as readable as before").tag(), Some("t")),
            }
        }
        Some(Frame::Message(_) | Frame::Bad { .. }) if !sound => {}
        other => panic!("the answer reads as {other:?}"),
    }
}

/// A message which was taken is passed on as it was understood.
fn passed_on(message: &Message) {
    let as_is = forwarded(Forward::request(message), message);
    let added = message.header(Name::ContentLength).is_none().then_some(Name::ContentLength);
    assert_eq!(Reading::of(&as_is).without(added.as_slice()), Reading::of(message));

    let source = "[2001:db8::7]:5061".parse().expect("an address");
    let edited = Forward::request(message)
        .push_via("SIP/2.0/TLS ours.example;branch=z9hG4bKours")
        .max_forwards(7)
        .source(source)
        .strip(Name::EdgeTrust)
        .insert(Name::RecordRoute, "<sip:ours.example;lr>");
    let edited = forwarded(edited, message);
    assert_eq!(edited.values(Name::Via).count(), message.values(Name::Via).count() + 1);
    assert_eq!(edited.top_via().expect("our own").branch(), Some("z9hG4bKours"));
    assert_eq!((edited.max_forwards(), edited.header(Name::EdgeTrust)), (Some(7), None));
    let touched = [Name::Via, Name::MaxForwards, Name::EdgeTrust, Name::RecordRoute, Name::ContentLength];
    assert_eq!(Reading::of(&edited).without(&touched), Reading::of(message).without(&touched));

    if !message.is_request() {
        passed_back(message);
    }
    let routes: Vec<&str> = message.values(Name::Route).collect();
    if !routes.is_empty() {
        let popped = forwarded(Forward::request(message).pop_route(), message);
        assert_eq!(popped.values(Name::Route).collect::<Vec<_>>(), routes[1..]);
    }
}

/// A response loses one Via on its way back, and nothing else.
fn passed_back(response: &Message) {
    let hops: Vec<&str> = response.values(Name::Via).collect();
    if hops.len() > 1 {
        let popped = forwarded(Forward::response(response).pop_via(), response);
        assert_eq!(popped.values(Name::Via).collect::<Vec<_>>(), hops[1..]);
    }
}

/// Writes it, and reads it back as datagram and as stream, which must agree.
fn forwarded(forward: Forward<'_>, message: &Message) -> Message {
    let mut out = BytesMut::new();
    forward.write(&mut out).expect("what was taken can be passed on");
    let datagram = parse_datagram(out.clone().freeze(), &wide()).expect("what is passed on is taken");
    assert_eq!(datagram.body_bytes(), message.body_bytes());
    match StreamFramer::new(wide(), Side::Accepted).next(&mut out) {
        Ok(Some(Frame::Message(streamed))) => assert_eq!(Reading::of(&streamed), Reading::of(&datagram)),
        other => panic!("on a stream it reads as {other:?}"),
    }
    assert!(out.is_empty(), "what is passed on is one message");
    datagram
}
