//! Properties which hold for all input: nothing panics, cuts do not matter, what is printed reads back.

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::sample::Index;
use reveille_sip::auth::{Challenge, Credentials};
use reveille_sip::{
    CSeq, Forward, Frame, Limits, Message, Method, Name, NameAddr, ParseError, PushOffer, RequestBuilder,
    ResponseBuilder, Side, StreamFramer, Uri, Via, elements, escape_param, parse_datagram, quote, strip_push_params,
    unescape, unquote,
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        exercise_bytes(bytes.into());
    }

    #[test]
    fn no_mutilated_message_makes_anything_panic(
        mut bytes in fixture(),
        wounds in prop::collection::vec((any::<Index>(), prop_oneof![interesting_byte(), any::<u8>()]), 1..8),
    ) {
        for (at, byte) in wounds {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        exercise_bytes(bytes.into());
    }

    #[test]
    fn no_text_makes_a_value_parser_panic(text in "[ -~\\t\"<>;,=:@%é€\\\\]{0,80}") {
        exercise_text(&text);
    }

    #[test]
    fn cuts_never_change_what_a_stream_means(
        pieces in prop::collection::vec(prop_oneof![3 => fixture(), 1 => Just(b"\r\n".to_vec())], 1..5),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
        side in prop_oneof![Just(Side::Accepted), Just(Side::Initiated)],
    ) {
        let stream = pieces.concat();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        ends.push(stream.len());
        ends.sort_unstable();
        prop_assert_eq!(frames(&stream, &[stream.len()], side), frames(&stream, &ends, side));
    }

    #[test]
    fn what_is_printed_reads_back(
        method in token(),
        user in "[a-z0-9%;?&=+$,/]{0,12}",
        headers in prop::collection::vec((token(), "[ -~é]{0,40}"), 0..20),
        subject in "[ -~€]{0,30}",
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let uri = format!("sip:{user}x@example.com");
        let mut out = BytesMut::new();
        let mut builder = RequestBuilder::new(&mut out, Method::parse(&method), &uri);
        builder
            .header(Name::Via, "SIP/2.0/TLS a.example;branch=z9hG4bKx")
            .header(Name::From, format_args!("{} <sip:a@b>;tag=1", quote(&subject)))
            .header(Name::To, "<sip:c@d>")
            .header(Name::CallId, "1")
            .header(Name::CSeq, format_args!("5 {method}"));
        for (name, value) in &headers {
            builder.other_header(&format!("X-{name}"), value.as_str());
        }
        builder.content("application/octet-stream", &body).finish().unwrap();
        drop(builder);
        let whole = out.clone().freeze();
        let message = match StreamFramer::new(Limits::default(), Side::Accepted).next(&mut out) {
            Ok(Some(Frame::Message(message))) => message,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert!(out.is_empty());
        prop_assert_eq!(message.method().map(|method| method.as_str()), Some(method.as_str()));
        prop_assert_eq!(message.request_uri(), Some(uri.as_str()));
        let from = message.from().unwrap();
        let shown = from.display_name();
        prop_assert_eq!(shown.as_deref(), Some(subject.as_str()));
        let others: Vec<_> = message
            .fields()
            .filter(|field| field.name == Name::Other)
            .map(|field| (field.name_text[2..].to_owned(), field.value.to_owned()))
            .collect();
        let written: Vec<_> =
            headers.iter().map(|(name, value)| (name.clone(), value.trim_matches(' ').to_owned())).collect();
        prop_assert_eq!(others, written);
        prop_assert_eq!(&message.body()[..], &body[..]);

        let mut forwarded = BytesMut::new();
        Forward::request(&message).write(&mut forwarded).unwrap();
        prop_assert_eq!(&forwarded[..], &whole[..]);
    }

    #[test]
    fn a_via_pushed_by_a_proxy_is_popped_from_the_response(bytes in fixture(), hops in 1..4_u8) {
        let Ok(request) = parse_datagram(bytes.into(), &Limits::default()) else { return Ok(()) };
        if !request.is_request() {
            return Ok(());
        }
        let mut message = request.clone();
        for hop in 0..hops {
            let via = format!("SIP/2.0/TLS hop{hop}.example;branch=z9hG4bK{hop}");
            let mut out = BytesMut::new();
            Forward::request(&message).push_via(via.as_str()).max_forwards(9).write(&mut out).unwrap();
            message = parse_datagram(out.freeze(), &Limits::default()).unwrap();
        }
        let mut out = BytesMut::new();
        ResponseBuilder::to(&mut out, &message, 202).to_tag("t").finish().unwrap();
        let mut response = parse_datagram(out.freeze(), &Limits::default()).unwrap();
        for hop in (0..hops).rev() {
            let expected = format!("hop{hop}.example");
            prop_assert_eq!(response.top_via().unwrap().sent_by(), expected);
            let mut out = BytesMut::new();
            Forward::response(&response).pop_via().write(&mut out).unwrap();
            response = parse_datagram(out.freeze(), &Limits::default()).unwrap();
        }
        let (ours, theirs): (Vec<_>, Vec<_>) = (response.values(Name::Via).collect(), request.values(Name::Via).collect());
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn quoting_and_escaping_lose_nothing(text in "[^\\r\\n\\x00]{0,60}") {
        let quoted = quote(&text);
        prop_assert_eq!(unquote(&quoted), text.as_str());
        let escaped = escape_param(&text);
        let unescaped = unescape(&escaped);
        prop_assert_eq!(unescaped.as_deref(), Ok(text.as_str()));
    }
}

#[test]
fn no_single_cut_changes_what_any_fixture_means() {
    // Header bombs are long and monotonous; a step which shares no factor with their lines finds every place.
    assert!(cut_everywhere(211) > 40_000, "too few cuts");
}

#[test]
#[ignore = "takes minutes; run it when the framer changes"]
fn no_single_cut_changes_what_any_fixture_means_at_any_byte_of_a_header_bomb_either() {
    let every: usize = fixtures().iter().map(|bytes| 2 * (bytes.len() + 1)).sum();
    assert_eq!(cut_everywhere(1), every);
}

/// Cuts every fixture at every byte, those of many kilobytes in steps; says how many cuts that were.
fn cut_everywhere(step: usize) -> usize {
    let mut cuts = 0;
    for bytes in fixtures() {
        for side in [Side::Accepted, Side::Initiated] {
            let whole = frames(&bytes, &[bytes.len()], side);
            for cut in (0..=bytes.len()).step_by(if bytes.len() > 8 * 1024 { step } else { 1 }) {
                let seen = frames(&bytes, &[cut, bytes.len()], side);
                assert_eq!(seen, whole, "cut at {cut} of {:?}", bytes.escape_ascii());
                cuts += 1;
            }
        }
    }
    cuts
}

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9.!%*_+`'~-]{1,12}"
}

fn interesting_byte() -> impl Strategy<Value = u8> {
    prop::sample::select(b"\r\n\0 \t:;,<>\"\\@=%/[]0-".as_slice())
}

fn fixture() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(fixtures())
}

fn fixtures() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut all: Vec<_> = ["wire", "wire/bad", "torture/rfc4475", "torture/rfc5118"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).expect("the folder of fixtures"))
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sip"))
        .collect();
    all.sort();
    all.iter().map(|path| fs::read(path).expect("a fixture")).collect()
}

/// What a framer makes of a stream which arrives in pieces ending at `ends`: words, and the bytes that they are about.
fn frames(stream: &[u8], ends: &[usize], side: Side) -> Vec<(String, Bytes)> {
    let mut framer = StreamFramer::new(Limits::default(), side);
    let (mut buffer, mut frames, mut begin) = (BytesMut::new(), Vec::new(), 0);
    for end in ends {
        buffer.extend_from_slice(&stream[begin..*end]);
        begin = *end;
        loop {
            match framer.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Frame::Message(message))) => frames.push((String::new(), message.as_bytes().clone())),
                Ok(Some(Frame::Bad { message, fault })) => frames.push((fault.to_string(), message.as_bytes().clone())),
                Ok(Some(keep_alive)) => frames.push((format!("{keep_alive:?}"), Bytes::new())),
                Err(error) => {
                    frames.push((error.to_string(), Bytes::new()));
                    assert_eq!(framer.next(&mut buffer).unwrap_err(), error);
                    return frames;
                }
            }
        }
    }
    frames
}

fn exercise_bytes(bytes: Bytes) {
    let mut buffer = BytesMut::from(&bytes[..]);
    let mut framer = StreamFramer::new(Limits::default(), Side::Accepted);
    while let Ok(Some(frame)) = framer.next(&mut buffer) {
        match frame {
            Frame::Message(message) | Frame::Bad { message, .. } => exercise(&message),
            Frame::Ping | Frame::Pong => {}
        }
    }
    match parse_datagram(bytes, &Limits::default()) {
        Ok(message) => exercise(&message),
        Err(ParseError::Bad { message, fault }) => {
            assert!(matches!(fault.status(), 400 | 413 | 416 | 505 | 513));
            exercise(&message);
        }
        Err(ParseError::Unreadable(_)) => {}
    }
}

/// Reads everything that a message offers, and answers and forwards it.
fn exercise(message: &Message) {
    let _ = (message.method(), message.status(), message.reason_phrase(), message.request_uri());
    let _ = (message.check(), message.transaction_key(), message.top_via(), message.cseq(), message.media_type());
    let _ = format!("{message:?}");
    for field in message.fields() {
        assert_eq!(message.headers(field.name).next().is_some(), field.name != Name::Other);
        exercise_text(field.value);
    }
    let source = "192.0.2.1:5060".parse().unwrap();
    let mut out = BytesMut::new();
    let written = ResponseBuilder::to(&mut out, message, 400).to_tag("t").source(source).finish();
    assert_eq!(written, Ok(()));
    let forward = Forward::request(message).push_via("SIP/2.0/TLS a;branch=z9hG4bK1").source(source);
    let written = forward.max_forwards(3).strip(Name::Route).strip_other("x").write(&mut out);
    assert_eq!(written, Ok(()));
    let _ = Forward::response(message).pop_via().pop_route().write(&mut out);
}

fn exercise_text(text: &str) {
    let _ = (CSeq::parse(text), Via::parse(text), Challenge::parse(text), Credentials::parse(text), unescape(text));
    let _ = (unquote(text), strip_push_params(text));
    for element in elements(text) {
        if let Ok(address) = NameAddr::parse(element) {
            let _ = (address.display_name(), address.expires(), address.q_thousandths(), address.instance());
            assert_eq!(&element[address.uri_range()], address.uri_text());
        }
    }
    for uri in [text, &format!("sip:{text}"), &format!("sip:a@b;{text}")] {
        if let Ok(uri) = Uri::parse(uri) {
            assert!(uri.equivalent(&uri), "{uri}");
            let _ = PushOffer::read(uri.params());
        }
    }
}
