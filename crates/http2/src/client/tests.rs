//! What a peer may do to a connection, frame by frame.

use super::*;
use crate::frame::Head;
use crate::hpack::{put_field, put_status};
use crate::request::{Keep, name};

const OPTIONS: Options = Options { wanted: &["date"], body_bytes_max: 64, window: 1 << 20 };

/// A connection whose server has sent its SETTINGS; what was written until then is gone.
fn client(settings: &[(u16, u32)]) -> Client<char> {
    let mut client = Client::new(OPTIONS);
    client.receive(&of(|out| frame::put_settings(out, settings)));
    client.written(usize::MAX);
    client
}

/// As [`client`], with requests `a`, `b` and `c` under way on streams 1, 3 and 5.
fn with_three() -> Client<char> {
    let mut client = client(&[]);
    ('a'..='c').for_each(|cargo| client.send(cargo, &request(10)).unwrap());
    client.written(usize::MAX);
    client
}

fn request(body_bytes: usize) -> Request {
    let mut request = Request::new();
    request.field(name::METHOD, b"POST", Keep::Table);
    request.field(name::SCHEME, b"https", Keep::Table);
    request.field(name::AUTHORITY, b"localhost", Keep::Table);
    request.field(name::PATH, b"/x", Keep::Secret);
    request.body = vec![b'x'; body_bytes];
    request
}

fn of(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    of(|out| {
        frame::put_head(out, payload.len(), kind, flags, stream);
        out.extend_from_slice(payload);
    })
}

fn block(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    of(|out| {
        put_status(out, status);
        fields.iter().for_each(|(name, value)| put_field(out, name, value));
    })
}

fn head(stream: u32, status: u16, end: bool) -> Vec<u8> {
    let end = if end { flag::END_STREAM } else { 0 };
    frame(kind::HEADERS, flag::END_HEADERS | end, stream, &block(status, &[]))
}

fn data(stream: u32, bytes: usize, end: bool) -> Vec<u8> {
    frame(kind::DATA, u8::from(end), stream, &vec![b'y'; bytes])
}

fn go_away(last: u32, code: ErrorCode, debug: &str) -> Vec<u8> {
    of(|out| frame::put_go_away(out, last, code, debug.as_bytes()))
}

/// What has ended, as one word each: the status and how much of the body was kept, or why there is no answer.
fn ended(client: &mut Client<char>) -> Vec<String> {
    std::iter::from_fn(|| client.next_ended())
        .map(|Ended { cargo, how }| match how {
            Ok(answer) => format!("{cargo} {} {}/{}", answer.status, answer.body.len(), answer.body_bytes),
            Err(lost) => format!("{cargo} {}: {}", if lost.unprocessed { "unprocessed" } else { "lost" }, lost.why),
        })
        .collect()
}

/// Kinds, flags and streams of what waits to be written, which is then gone.
fn written(client: &mut Client<char>) -> Vec<(u8, u8, u32, usize)> {
    let mut rest = client.output();
    let mut seen = Vec::new();
    while let Some(Head { length, kind, flags, stream }) = Head::read(rest) {
        seen.push((kind, flags, stream, length));
        rest = &rest[HEAD_BYTES + length..];
    }
    assert_eq!(rest, b"", "whole frames");
    client.written(usize::MAX);
    seen
}

/// The code of the GOAWAY by which the connection was ended, if it was.
fn failure(client: &Client<char>) -> Option<ErrorCode> {
    let mut rest = client.output();
    while let Some(head) = Head::read(rest) {
        let payload = &rest[HEAD_BYTES..HEAD_BYTES + head.length];
        if head.kind == kind::GOAWAY {
            assert!(client.is_over());
            return frame::u32_of(&payload[4..8]).map(ErrorCode);
        }
        rest = &rest[HEAD_BYTES + head.length..];
    }
    assert!(!client.is_over());
    None
}

#[test]
fn the_first_bytes_are_the_preface_our_settings_and_a_wider_window() {
    let mut client: Client<char> = Client::new(OPTIONS);
    assert_eq!(client.output()[..PREFACE.len()], *PREFACE);
    client.written(PREFACE.len());
    let (settings, window) = ((kind::SETTINGS, 0, 0, 12), (kind::WINDOW_UPDATE, 0, 0, 4));
    assert_eq!(written(&mut client), [settings, window]);
}

#[test]
fn one_request_is_taken_before_the_settings_and_as_many_as_they_allow_after() {
    let mut client = Client::new(OPTIONS);
    assert_eq!(client.room(), 1);
    client.send('a', &request(5)).unwrap();
    assert_eq!((client.room(), client.send('b', &request(5))), (0, Err('b')));
    client.receive(&of(|out| frame::put_settings(out, &[(setting::MAX_CONCURRENT_STREAMS, 3)])));
    assert_eq!(client.room(), 2);
    client.receive(&of(|out| frame::put_settings(out, &[(setting::MAX_CONCURRENT_STREAMS, 0)])));
    assert_eq!((client.room(), client.under_way(), client.streams_max()), (0, 1, 0));
}

#[test]
fn many_requests_are_one_piece_of_output_and_a_body_ends_its_stream() {
    let mut client = client(&[]);
    client.send('a', &request(20_000)).unwrap();
    client.send('b', &request(0)).unwrap();
    let frames = written(&mut client);
    let kinds: Vec<_> = frames.iter().map(|(kind, flags, stream, _)| (*kind, *flags, *stream)).collect();
    assert_eq!(
        kinds,
        [
            (kind::HEADERS, flag::END_HEADERS, 1),
            (kind::DATA, 0, 1),
            (kind::DATA, flag::END_STREAM, 1),
            (kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 3),
        ]
    );
    assert_eq!((frames[1].3, frames[2].3), (16_384, 3_616));
    // Three fields of one byte each, and a path of four.
    assert_eq!(frames[3].3, 7);
}

#[test]
fn a_header_block_above_the_peers_frames_goes_on_in_continuation() {
    let mut client = client(&[]);
    let mut long = request(3);
    long.field(name::AUTHORIZATION, &[b'x'; 40_000], Keep::Table);
    client.send('a', &long).unwrap();
    let frames = written(&mut client);
    let kinds: Vec<_> = frames.iter().map(|(kind, flags, ..)| (*kind, *flags)).collect();
    let more = (kind::CONTINUATION, 0);
    let expected = [(kind::HEADERS, 0), more, (kind::CONTINUATION, flag::END_HEADERS), (kind::DATA, flag::END_STREAM)];
    assert_eq!(kinds, expected);
    assert_eq!((frames[0].3, frames[1].3), (16_384, 16_384));
}

#[test]
fn answers_come_in_any_order_with_what_was_wanted_of_them() {
    let mut client = with_three();
    let fields = block(410, &[("date", "now"), ("server", "x")]);
    client.receive(&[frame(kind::HEADERS, flag::END_HEADERS, 3, &fields), head(1, 200, true)].concat());
    client.receive(&[data(3, 40, false), head(5, 103, false), data(3, 40, true), head(5, 204, true)].concat());
    let first = client.next_ended().unwrap();
    assert_eq!((first.cargo, first.how.unwrap().status), ('a', 200));
    let second = client.next_ended().unwrap().how.unwrap();
    assert_eq!((second.status, second.body.len(), second.body_bytes), (410, 64, 80));
    assert_eq!(second.fields.iter().collect::<Vec<_>>(), [(&b"date"[..], &b"now"[..])]);
    client.recycle(second);
    assert_eq!(ended(&mut client), ["c 204 0/0"]);
    client.send('d', &request(1)).unwrap();
    client.receive(&head(7, 200, true));
    assert_eq!(client.next_ended().unwrap().how.unwrap(), Answer { status: 200, ..Answer::default() });
}

#[test]
fn padding_priority_and_trailers_do_not_change_an_answer() {
    let mut client = with_three();
    let padded = [&[3][..], &[0, 0, 0, 0, 9], &block(200, &[]), &[0; 3]].concat();
    let flags = flag::END_HEADERS | flag::PADDED | flag::PRIORITY;
    client.receive(&frame(kind::HEADERS, flags, 1, &padded));
    client.receive(&frame(kind::DATA, flag::PADDED, 1, &[2, b'h', b'i', 0, 0]));
    let trailers = of(|out| put_field(out, "date", "late"));
    client.receive(&frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &trailers));
    let answer = client.next_ended().unwrap().how.unwrap();
    assert_eq!((answer.body, answer.fields), (b"hi".to_vec(), crate::Fields::new()));
}

#[test]
fn what_a_stream_may_not_do_costs_that_stream_alone() {
    let bad = |status: u16, fields: &[(&str, &str)]| {
        frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block(status, fields))
    };
    let long = "x".repeat(600);
    let many: Vec<_> = (0..26).map(|_| ("x-many", &*long)).collect();
    let lost = "a lost: the answer is malformed: ";
    for (bytes, expected) in [
        (bad(200, &[("Date", "x")]), lost),
        (bad(200, &[("connection", "close")]), lost),
        (bad(103, &[]), lost),
        (frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[]), lost),
        (bad(200, &many), "a lost: the answer is malformed: a header section above"),
        (data(1, 3, true), "a lost: the answer is malformed: DATA before HEADERS"),
        (
            frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4]),
            "a lost: the peer violates HTTP/2 on the stream: WINDOW_UPDATE by 0",
        ),
        (
            frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
            "a lost: the peer violates HTTP/2 on the stream: a stream's window",
        ),
        (frame(kind::PRIORITY, 0, 1, &[0; 4]), "a lost: the peer violates HTTP/2 on the stream: PRIORITY is not 5"),
        // What is malformed at its end is malformed as a whole.
        ([head(1, 410, false), head(1, 410, true)].concat(), lost),
        ([head(1, 410, false), frame(kind::HEADERS, flag::END_HEADERS, 1, &[])].concat(), lost),
        // What is wrong about the stream says nothing against the answer.
        ([head(1, 410, false), frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), "a 410 0/0"),
    ] {
        let mut client = with_three();
        client.receive(&bytes);
        assert_eq!(failure(&client), None, "{expected}");
        let reset = (kind::RST_STREAM, 0, 1, 4);
        assert!(written(&mut client).contains(&reset), "{expected}");
        client.receive(&head(3, 200, true));
        let told = ended(&mut client);
        assert!(told[0].starts_with(expected), "{told:?} {expected}");
        assert_eq!(told[1..], ["b 200 0/0"]);
    }
}

#[test]
fn an_answer_whose_body_is_not_as_long_as_it_says_is_none() {
    let says = |status: u16, length: &str, end: bool| {
        let end = if end { flag::END_STREAM } else { 0 };
        frame(kind::HEADERS, flag::END_HEADERS | end, 1, &block(status, &[("content-length", length)]))
    };
    let trailers = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[]);
    let lost = "a lost: the answer is malformed: a body of another length than its content-length";
    for (bytes, expected) in [
        ([says(410, "40", false), data(1, 39, true)].concat(), lost),
        // It need not end to be too long.
        ([says(410, "40", false), data(1, 41, false)].concat(), lost),
        ([says(200, "40", false), data(1, 30, false), trailers.clone()].concat(), lost),
        (says(200, "1", true), lost),
        ([says(204, "40", false), data(1, 39, true)].concat(), lost),
        ([says(410, "40", false), data(1, 30, false), data(1, 10, true)].concat(), "a 410 40/40"),
        // Padding is no part of the body.
        ([says(410, "2", false), frame(kind::DATA, 9, 1, &[2, b'h', b'i', 0, 0])].concat(), "a 410 2/2"),
        ([says(410, "40", false), data(1, 40, false), trailers].concat(), "a 410 40/40"),
        (says(200, "0", true), "a 200 0/0"),
        // RFC 9110 §8.6: these have no body, and may name the length of another answer's.
        (says(204, "40", true), "a 204 0/0"),
        (says(304, "40", true), "a 304 0/0"),
        // Cut off by the peer: what has come is whole as far as it goes.
        ([says(410, "40", false), of(|out| frame::put_reset(out, 1, ErrorCode::CANCEL))].concat(), "a 410 0/0"),
    ] {
        let mut client = with_three();
        client.receive(&bytes);
        assert_eq!(ended(&mut client), [expected]);
        let reset = written(&mut client).iter().any(|(kind, _, stream, _)| (*kind, *stream) == (kind::RST_STREAM, 1));
        assert_eq!(reset, expected == lost, "{expected}");
        client.receive(&head(3, 200, true));
        assert_eq!(ended(&mut client), ["b 200 0/0"], "the connection goes on");
    }
}

#[test]
fn what_a_connection_may_not_do_ends_it() {
    use ErrorCode as Code;
    let stream = |kind| frame(kind, 0, 0, &[0; 8]);
    let setting = |name: u16, value: u32| of(|out| frame::put_settings(out, &[(name, value)]));
    let open = frame(kind::HEADERS, 0, 1, &[0x88]);
    for (bytes, expected) in [
        (frame(kind::DATA, 0, 0, b""), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 2, b""), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 7, b""), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, flag::PADDED, 1, &[9, 0]), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, flag::PADDED, 1, &[]), Code::FRAME_SIZE_ERROR),
        (head(0, 200, true), Code::PROTOCOL_ERROR),
        (head(2, 200, true), Code::PROTOCOL_ERROR),
        (head(7, 200, true), Code::PROTOCOL_ERROR),
        (frame(kind::HEADERS, flag::PRIORITY | flag::END_HEADERS, 1, &[0; 4]), Code::FRAME_SIZE_ERROR),
        (frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x80]), Code::COMPRESSION_ERROR),
        (frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[0x88]), Code::PROTOCOL_ERROR),
        ([open.clone(), data(1, 1, true)].concat(), Code::PROTOCOL_ERROR),
        ([open.clone(), frame(kind::CONTINUATION, 0, 3, &[])].concat(), Code::PROTOCOL_ERROR),
        ([open.clone(), frame(kind::CONTINUATION, 0, 1, &[]).repeat(20)].concat(), Code::ENHANCE_YOUR_CALM),
        ([open, frame(kind::CONTINUATION, 0, 1, &[0; 16_000]).repeat(3)].concat(), Code::ENHANCE_YOUR_CALM),
        (frame(kind::RST_STREAM, 0, 0, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 7, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 1, &[0; 5]), Code::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, 0, 1, &[]), Code::PROTOCOL_ERROR),
        (frame(kind::SETTINGS, 0, 0, &[0; 7]), Code::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]), Code::FRAME_SIZE_ERROR),
        (setting(setting::ENABLE_PUSH, 1), Code::PROTOCOL_ERROR),
        (setting(setting::INITIAL_WINDOW_SIZE, 1 << 31), Code::FLOW_CONTROL_ERROR),
        (setting(setting::MAX_FRAME_SIZE, 16_383), Code::PROTOCOL_ERROR),
        (setting(setting::MAX_FRAME_SIZE, 1 << 24), Code::PROTOCOL_ERROR),
        (frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2]), Code::PROTOCOL_ERROR),
        (frame(kind::PING, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        (frame(kind::PING, 0, 0, &[0; 7]), Code::FRAME_SIZE_ERROR),
        (frame(kind::GOAWAY, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        (frame(kind::GOAWAY, 0, 0, &[0; 7]), Code::FRAME_SIZE_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), Code::FLOW_CONTROL_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 7, &[0, 0, 0, 1]), Code::PROTOCOL_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 1, &[0; 3]), Code::FRAME_SIZE_ERROR),
        (stream(kind::PRIORITY), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 1, &vec![0; 16_385]), Code::FRAME_SIZE_ERROR),
    ] {
        let mut client = with_three();
        client.receive(&bytes);
        assert_eq!(failure(&client), Some(expected), "{:?}", Head::read(&bytes));
        let told = ended(&mut client);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().all(|told| told.contains(" lost: the peer violates HTTP/2: ")), "{told:?}");
        // Nothing of what comes after is read.
        client.receive(&head(1, 200, true));
        assert_eq!((ended(&mut client).len(), client.room()), (0, 0));
    }
}

#[test]
fn whatever_comes_late_for_a_stream_that_has_ended_is_read_and_thrown_away() {
    let mut client = with_three();
    client.receive(&head(1, 200, true));
    assert_eq!(client.take_back(|cargo| *cargo == 'b'), ['b']);
    assert_eq!(written(&mut client), [(kind::RST_STREAM, 0, 3, 4)]);
    ended(&mut client);
    for stream in [1, 3] {
        // The block adds to the table, and the next one points there.
        let indexed = [&[0x88, 0x40, 4][..], b"date", &[1], b"x"].concat();
        client.receive(&frame(kind::HEADERS, flag::END_HEADERS, stream, &indexed));
        client.receive(&[data(stream, 100, true), frame(kind::RST_STREAM, 0, stream, &[0; 4])].concat());
        client.receive(&frame(kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]));
    }
    assert_eq!((failure(&client), ended(&mut client).len()), (None, 0));
    client.receive(&frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 5, &[0x88, 0xbe]));
    let answer = client.next_ended().unwrap().how.unwrap();
    assert_eq!((answer.status, answer.fields.get("date")), (200, Some("x")));
}

#[test]
fn the_first_frame_of_a_server_is_settings() {
    let ack = frame(kind::SETTINGS, flag::ACK, 0, &[]);
    for bytes in [frame(kind::PING, 0, 0, &[0; 8]), ack, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()] {
        let mut client: Client<char> = Client::new(OPTIONS);
        client.written(usize::MAX);
        client.receive(&bytes);
        assert!(client.is_over() && failure(&client).is_some(), "{bytes:?}");
    }
}

#[test]
fn a_goaway_leaves_out_what_is_above_its_last_stream_and_the_rest_goes_on() {
    let mut client = with_three();
    // RFC 9113 §6.8: the announcement first, then the real one.
    client.receive(&go_away(0x7fff_ffff, ErrorCode::NO_ERROR, ""));
    assert_eq!((ended(&mut client).len(), client.room(), client.under_way()), (0, 0, 3));
    assert_eq!(client.send('d', &request(1)), Err('d'));
    client.receive(&go_away(3, ErrorCode::NO_ERROR, r#"{"reason":"Shutdown"}"#));
    let why = r#"c unprocessed: the peer goes away with NO_ERROR: {"reason":"Shutdown"}"#;
    assert_eq!(ended(&mut client), [why]);
    client.receive(&head(3, 200, true));
    client.end("it closed");
    let rest = r#"a lost: the peer goes away with NO_ERROR: {"reason":"Shutdown"}"#;
    assert_eq!(ended(&mut client), ["b 200 0/0", rest]);
    assert!(client.is_over());
}

#[test]
fn a_goaway_that_rises_again_brings_nothing_back_and_one_that_falls_takes_more() {
    let mut client = with_three();
    client.receive(&[go_away(3, ErrorCode::NO_ERROR, ""), go_away(5, ErrorCode::NO_ERROR, "")].concat());
    client.receive(&[head(5, 200, true), go_away(1, ErrorCode::INTERNAL_ERROR, "")].concat());
    let c = "c unprocessed: the peer goes away with NO_ERROR";
    assert_eq!(ended(&mut client), [c, "b unprocessed: the peer goes away with INTERNAL_ERROR"]);
    assert_eq!((failure(&client), client.under_way()), (None, 1));
}

#[test]
fn what_has_been_answered_is_never_called_unprocessed() {
    let mut client = with_three();
    client.receive(&[head(5, 200, false), go_away(1, ErrorCode::NO_ERROR, "")].concat());
    assert_eq!(ended(&mut client), ["b unprocessed: the peer goes away with NO_ERROR", "c 200 0/0"]);
    let mut client = with_three();
    client.receive(&[head(1, 200, false), of(|out| frame::put_reset(out, 1, ErrorCode::REFUSED_STREAM))].concat());
    assert_eq!(ended(&mut client), ["a 200 0/0"]);
}

#[test]
fn a_refused_stream_is_unprocessed_and_any_other_reset_may_not_be() {
    for (code, expected) in [
        (ErrorCode::REFUSED_STREAM, "a unprocessed: the peer reset the stream: REFUSED_STREAM"),
        (ErrorCode::ENHANCE_YOUR_CALM, "a lost: the peer reset the stream: ENHANCE_YOUR_CALM"),
        (ErrorCode(77), "a lost: the peer reset the stream: error 0x4d"),
    ] {
        let mut client = with_three();
        client.receive(&of(|out| frame::put_reset(out, 1, code)));
        assert_eq!((ended(&mut client), client.room() > 0), (vec![expected.to_owned()], true));
    }
    let mut client = with_three();
    client.receive(&[head(1, 410, false), of(|out| frame::put_reset(out, 1, ErrorCode::NO_ERROR))].concat());
    assert_eq!(ended(&mut client), ["a 410 0/0"]);
}

#[test]
fn a_body_waits_for_the_windows_and_goes_on_when_they_open() {
    // A stream's window: 100 bytes, then less than nothing, then enough.
    let window = |bytes: u32| of(|out| frame::put_settings(out, &[(setting::INITIAL_WINDOW_SIZE, bytes)]));
    let mut client = client(&[(setting::INITIAL_WINDOW_SIZE, 100)]);
    client.send('a', &request(250)).unwrap();
    let sent = |client: &mut Client<char>| -> Vec<_> {
        let all = written(client);
        all.into_iter().filter(|(kind, ..)| *kind == kind::DATA).map(|(_, flags, _, length)| (flags, length)).collect()
    };
    assert_eq!(sent(&mut client), [(0, 100)]);
    client.receive(&window(40));
    client.receive(&of(|out| frame::put_window_update(out, 1, 60)));
    assert_eq!(sent(&mut client), [], "100 sent, 40 and 60 allowed");
    client.receive(&of(|out| frame::put_window_update(out, 1, 30)));
    assert_eq!(sent(&mut client), [(0, 30)]);
    client.receive(&window(1000));
    assert_eq!(sent(&mut client), [(flag::END_STREAM, 120)]);
    client.receive(&window(2000));
    assert_eq!(sent(&mut client), []);
}

#[test]
fn the_connections_window_holds_back_all_bodies_in_their_order_and_boundedly() {
    let mut client = client(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]);
    client.send('a', &request(65_535)).unwrap();
    client.written(usize::MAX);
    let mut taken = 0;
    while client.room() > 0 {
        client.send('b', &request(5000)).unwrap();
        taken += 1;
    }
    assert_eq!(taken, BLOCKED_MAX);
    assert!(written(&mut client).iter().all(|(kind, ..)| *kind == kind::HEADERS));
    client.receive(&of(|out| frame::put_window_update(out, 0, 12_000)));
    let data: Vec<_> = written(&mut client).into_iter().filter(|(kind, ..)| *kind == kind::DATA).collect();
    let (data_of, end) = (|flags, stream, length| (kind::DATA, flags, stream, length), flag::END_STREAM);
    assert_eq!(data, [data_of(end, 3, 5000), data_of(end, 5, 5000), data_of(0, 7, 2000)]);
    assert!(client.room() > 0);
    // An answer before the end of its request: the rest is not sent.
    client.receive(&head(7, 413, true));
    assert_eq!(written(&mut client), [(kind::RST_STREAM, 0, 7, 4)]);
}

#[test]
fn requests_that_end_while_the_windows_are_shut_leave_their_places_to_others() {
    let mut client = client(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    let reset = |stream| of(|out| frame::put_reset(out, stream, ErrorCode::REFUSED_STREAM));
    for number in 0..4 * BLOCKED_MAX as u32 {
        let stream = 2 * number + 1;
        client.send('a', &request(10)).expect("there is room");
        match number % 4 {
            0 => client.receive(&reset(stream)),
            1 => client.receive(&head(stream, 413, true)),
            2 => client.receive(&frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4])),
            _ => drop(client.take_back(|_| true)),
        }
        client.written(usize::MAX);
        assert_eq!((client.under_way(), client.blocked.len()), (0, 0));
    }
    client.send('a', &request(10)).unwrap();
    client.receive(&go_away(1, ErrorCode::NO_ERROR, ""));
    assert_eq!((client.under_way(), client.blocked.len()), (0, 0));
}

#[test]
fn windows_are_given_back_for_a_body_that_nobody_keeps() {
    let mut client = with_three();
    client.receive(&head(1, 200, false));
    let mut given = [0u64; 2];
    for _ in 0..500 {
        client.receive(&data(1, 16_384, false));
        let (mut rest, stream) = (client.output(), |id: u32| usize::from(id == 1));
        while let Some(head) = Head::read(rest) {
            assert_eq!(head.kind, kind::WINDOW_UPDATE);
            given[stream(head.stream)] += u64::from(frame::u32_of(&rest[HEAD_BYTES..HEAD_BYTES + 4]).unwrap());
            rest = &rest[HEAD_BYTES + 4..];
        }
        client.written(usize::MAX);
    }
    let sent = 500 * 16_384;
    assert!(
        given[0] > sent - (1 << 20) && given[1] > sent - 65_536 && given[0] <= sent && given[1] <= sent,
        "{given:?}"
    );
    client.receive(&data(1, 0, true));
    assert_eq!(ended(&mut client), [format!("a 200 64/{sent}")]);
}

#[test]
fn pings_are_answered_and_ours_are_known_by_what_they_carry() {
    let mut client = with_three();
    client.receive(&frame(kind::PING, 0, 0, b"12345678"));
    assert_eq!(client.output(), frame(kind::PING, flag::ACK, 0, b"12345678"));
    client.written(usize::MAX);
    assert!(client.ping() && !client.ping(), "one at a time");
    let ours = client.output()[HEAD_BYTES..].to_vec();
    client.receive(&frame(kind::PING, flag::ACK, 0, b"12345678"));
    assert!(!client.pong());
    client.receive(&frame(kind::PING, flag::ACK, 0, &ours));
    assert!(client.pong() && !client.pong() && client.ping());
}

#[test]
fn a_flood_of_frames_that_bring_nothing_ends_the_connection_and_answers_make_up_for_some() {
    let floods: [(&str, Vec<u8>); 8] = [
        ("SETTINGS", frame(kind::SETTINGS, 0, 0, &[])),
        ("PING", frame(kind::PING, 0, 0, &[0; 8])),
        ("empty DATA", data(1, 0, false)),
        ("late DATA", data(5, 0, false)),
        ("late RST_STREAM", frame(kind::RST_STREAM, 0, 5, &[0; 4])),
        ("PRIORITY", frame(kind::PRIORITY, 0, 9, &[0; 5])),
        ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0x77, 0, 0, &[])),
    ];
    for (what, flood) in floods {
        let mut client = with_three();
        client.receive(&[head(1, 200, false), head(5, 200, true)].concat());
        let mut count = 0;
        while !client.is_over() {
            client.receive(&flood);
            count += 1;
            assert!(client.output().len() < 20 * IDLE_FRAMES_MAX as usize);
        }
        assert!((IDLE_FRAMES_MAX - 10..=IDLE_FRAMES_MAX + 1).contains(&count), "{what}: {count}");
        assert_eq!(failure(&client), Some(ErrorCode::ENHANCE_YOUR_CALM), "{what}");
    }
    // One frame has room for thousands of settings, each of which costs a look at all streams.
    let many = [(setting::INITIAL_WINDOW_SIZE, 7), (setting::INITIAL_WINDOW_SIZE, 8)].repeat(1300);
    let mut flooded = with_three();
    let count = (0..100).take_while(|_| {
        flooded.receive(&of(|out| frame::put_settings(out, &many)));
        !flooded.is_over()
    });
    assert_eq!(count.count(), IDLE_FRAMES_MAX as usize / 2600);
    assert_eq!(failure(&flooded), Some(ErrorCode::ENHANCE_YOUR_CALM));
    // Two for each answer, as many servers do, is no flood.
    let mut client = client(&[]);
    for number in 0..30_000u32 {
        client.send('a', &request(1)).unwrap();
        client.written(usize::MAX);
        let (stream, window) = (2 * number + 1, [0, 0, 0, 1]);
        client.receive(&frame(kind::WINDOW_UPDATE, 0, stream, &window));
        client.receive(&[frame(kind::WINDOW_UPDATE, 0, 0, &window), head(stream, 200, true)].concat());
        client.next_ended().unwrap();
    }
    assert_eq!(failure(&client), None);
}

#[test]
fn debug_output_has_nothing_of_what_was_sent_or_answered() {
    let mut client = client(&[]);
    let mut secret = request(0);
    secret.field(name::AUTHORIZATION, b"bearer s3cret", Keep::Table);
    secret.body.extend_from_slice(b"s3cret");
    client.send('a', &secret).unwrap();
    client.receive(&[head(1, 200, false), frame(kind::DATA, 1, 1, b"s3cret")].concat());
    let ended = client.next_ended().unwrap();
    // As text, and as the bytes that a derived one would show.
    for text in [format!("{client:?}"), format!("{secret:?}"), format!("{ended:?}")] {
        assert!(!text.contains("s3cret") && !text.contains("115, 51, 99"), "{text}");
    }
}

#[test]
fn goodbye_is_said_once_and_what_is_under_way_goes_on() {
    let mut client = with_three();
    client.say_goodbye();
    client.say_goodbye();
    assert_eq!(written(&mut client), [(kind::GOAWAY, 0, 0, 8)]);
    assert_eq!((client.room(), client.is_over()), (0, false));
    client.receive(&head(1, 200, true));
    assert_eq!(ended(&mut client), ["a 200 0/0"]);
}

#[test]
fn a_request_of_which_no_byte_was_written_is_unprocessed_when_the_transport_ends() {
    let mut client = client(&[]);
    let mut lengths = vec![0];
    for cargo in 'a'..='d' {
        client.send(cargo, &request(10)).unwrap();
        lengths.push(client.output().len());
    }
    // The first two, and one byte of the third; the fourth waits.
    client.written(lengths[1] + 5);
    client.written(lengths[2] + 1 - lengths[1] - 5);
    client.receive(&head(1, 200, true));
    client.end("it broke");
    let expected = ["a 200 0/0", "b lost: it broke", "c lost: it broke", "d unprocessed: it broke"];
    assert_eq!(ended(&mut client), expected);
}

#[test]
fn numbers_that_are_used_up_are_a_farewell() {
    let mut client = client(&[]);
    client.streams = Streams::begin_at(0x7fff_fffd);
    assert_eq!(client.room(), 2);
    client.send('a', &request(1)).unwrap();
    assert_eq!(client.farewell(), None);
    client.send('b', &request(1)).unwrap();
    assert_eq!((client.room(), &*client.farewell().unwrap().why), (0, "its stream numbers are used up"));
    client.receive(&head(0x7fff_ffff, 200, true));
    assert_eq!(ended(&mut client), ["b 200 0/0"]);
}

#[test]
fn a_smaller_header_table_is_heeded_from_the_next_request_on() {
    let mut client = with_three();
    client.receive(&of(|out| frame::put_settings(out, &[(setting::HEADER_TABLE_SIZE, 0)])));
    client.written(usize::MAX);
    client.send('d', &request(0)).unwrap();
    // RFC 7541 §6.3: 001 and the size.
    assert_eq!(client.output()[HEAD_BYTES], 0x20);
}
