//! RFC 9113 by section: what a peer may not do, and how the connection answers.

use reveille_http2::ErrorCode;
use reveille_http2::frame::{self, HEAD_BYTES, Head, PREFACE, flag, kind, setting, u32_of};

use super::connection::{Connection, Event, Limits, Request};

/// A peer that writes frames by hand and reads the answers.
struct Peer {
    connection: Connection,
    events: Vec<Event>,
}

/// A frame that the connection wrote.
#[derive(Debug, PartialEq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Peer {
    /// A connection behind its preface, with a cap of `streams_max`.
    fn new(streams_max: u32) -> Self {
        let mut peer = Self::fresh(streams_max);
        peer.bytes(PREFACE);
        peer.send(kind::SETTINGS, 0, 0, &[]);
        peer.send(kind::SETTINGS, flag::ACK, 0, &[]);
        peer.written();
        peer
    }

    fn fresh(streams_max: u32) -> Self {
        let limits = Limits { streams_max, body_bytes_kept: 100 };
        Self { connection: Connection::new(limits), events: Vec::new() }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.connection.input.extend_from_slice(bytes);
        self.connection.process();
        while let Some(event) = self.connection.next_event() {
            self.events.push(event);
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::put_head(&mut bytes, payload.len(), kind, flags, stream);
        bytes.extend_from_slice(payload);
        self.bytes(&bytes);
    }

    /// A POST without a body, or with one to follow.
    fn request(&mut self, stream: u32, end: bool) {
        let end = if end { flag::END_STREAM } else { 0 };
        self.send(kind::HEADERS, flag::END_HEADERS | end, stream, POST);
    }

    fn written(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let out = std::mem::take(&mut self.connection.out);
        let mut rest = &out[..];
        while let Some(head) = Head::read(rest) {
            let (frame, tail) = rest.split_at(HEAD_BYTES + head.length);
            let payload = frame[HEAD_BYTES..].to_vec();
            frames.push(Frame { kind: head.kind, flags: head.flags, stream: head.stream, payload });
            rest = tail;
        }
        frames
    }

    /// The error code of the GOAWAY with which the connection ended, if it did.
    fn connection_error(&mut self) -> Option<u32> {
        let frames = self.written();
        let ended = self.connection.is_over();
        let code =
            frames.iter().find(|frame| frame.kind == kind::GOAWAY).and_then(|frame| u32_of(&frame.payload[4..8]));
        assert_eq!(code.is_some(), ended, "{frames:?}");
        code
    }

    /// The error code with which a stream was reset, if it was.
    fn stream_error(&mut self, stream: u32) -> Option<u32> {
        assert!(!self.connection.is_over());
        let frames = self.written();
        frames
            .iter()
            .find(|frame| frame.kind == kind::RST_STREAM && frame.stream == stream)
            .and_then(|frame| u32_of(&frame.payload))
    }

    fn requests(&mut self) -> Vec<Request> {
        let events = std::mem::take(&mut self.events);
        events
            .into_iter()
            .filter_map(|event| match event {
                Event::Request(request) => Some(request),
                Event::Cancelled(_) => None,
            })
            .collect()
    }
}

/// `:method: POST`, `:scheme: https`, `:path: /`
const POST: &[u8] = &[0x83, 0x87, 0x84];

/// What a peer sends, and the connection error it gets.
type Case = (&'static str, fn(&mut Peer), ErrorCode);

/// A frame that asks for nothing, again and again.
type Flood = (&'static str, fn(&mut Peer, u32));

#[test]
fn section_3_4_the_preface_and_the_first_settings() {
    for wrong in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX"] {
        let mut peer = Peer::fresh(1);
        peer.bytes(wrong);
        assert_eq!(peer.connection_error(), Some(ErrorCode::PROTOCOL_ERROR.0));
    }
    let mut peer = Peer::fresh(1);
    for byte in PREFACE {
        peer.bytes(&[*byte]);
    }
    peer.send(kind::PING, 0, 0, &[0; 8]);
    assert_eq!(peer.connection_error(), Some(ErrorCode::PROTOCOL_ERROR.0), "PING before SETTINGS");
}

#[test]
fn our_first_frame_is_settings_with_the_cap() {
    let mut peer = Peer::fresh(7);
    let first = &peer.written()[0];
    assert_eq!((first.kind, first.flags, first.stream), (kind::SETTINGS, 0, 0));
    assert_eq!(first.payload[..6], [0, setting::MAX_CONCURRENT_STREAMS as u8, 0, 0, 0, 7]);
}

#[test]
fn violations_that_end_the_connection() {
    let cases: [Case; 34] = [
        ("4.2 frame too large", |p| p.send(kind::DATA, 0, 1, &[0; 16_385]), ErrorCode::FRAME_SIZE_ERROR),
        ("4.3 block that cannot be decoded", |p| p.send(kind::HEADERS, 4, 1, &[0x80]), ErrorCode::COMPRESSION_ERROR),
        ("5.1 DATA on an idle stream", |p| p.send(kind::DATA, 0, 1, b"x"), ErrorCode::PROTOCOL_ERROR),
        (
            "5.1 WINDOW_UPDATE on an idle stream",
            |p| p.send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            ErrorCode::PROTOCOL_ERROR,
        ),
        ("5.1 RST_STREAM on an idle stream", |p| p.send(kind::RST_STREAM, 0, 1, &[0; 4]), ErrorCode::PROTOCOL_ERROR),
        ("5.1.1 even stream", |p| p.request(2, true), ErrorCode::PROTOCOL_ERROR),
        (
            "5.1 HEADERS on a closed stream",
            |p| {
                p.request(3, true);
                p.connection.respond(3, 200, &[], b"");
                p.request(3, true);
            },
            ErrorCode::STREAM_CLOSED,
        ),
        (
            "5.1.1 a lower stream",
            |p| {
                p.request(3, true);
                p.request(1, true);
            },
            ErrorCode::STREAM_CLOSED,
        ),
        (
            "5.1 DATA on a closed stream",
            |p| {
                p.request(1, true);
                p.connection.respond(1, 200, &[], b"");
                p.send(kind::DATA, 0, 1, b"x");
            },
            ErrorCode::STREAM_CLOSED,
        ),
        ("6.1 DATA on stream 0", |p| p.send(kind::DATA, 0, 0, b"x"), ErrorCode::PROTOCOL_ERROR),
        ("6.1 too much padding", |p| p.send(kind::DATA, flag::PADDED, 1, &[9, 0]), ErrorCode::PROTOCOL_ERROR),
        ("6.2 HEADERS on stream 0", |p| p.request(0, true), ErrorCode::PROTOCOL_ERROR),
        ("6.2 priority cut short", |p| p.send(kind::HEADERS, 0x24, 1, &[0; 4]), ErrorCode::FRAME_SIZE_ERROR),
        ("6.3 PRIORITY on stream 0", |p| p.send(kind::PRIORITY, 0, 0, &[0; 5]), ErrorCode::PROTOCOL_ERROR),
        ("6.4 RST_STREAM of three octets", |p| p.send(kind::RST_STREAM, 0, 1, &[0; 3]), ErrorCode::FRAME_SIZE_ERROR),
        ("6.4 RST_STREAM on stream 0", |p| p.send(kind::RST_STREAM, 0, 0, &[0; 4]), ErrorCode::PROTOCOL_ERROR),
        ("6.5 SETTINGS on a stream", |p| p.send(kind::SETTINGS, 0, 1, &[]), ErrorCode::PROTOCOL_ERROR),
        ("6.5 SETTINGS of five octets", |p| p.send(kind::SETTINGS, 0, 0, &[0; 5]), ErrorCode::FRAME_SIZE_ERROR),
        ("6.5 ACK with a payload", |p| p.send(kind::SETTINGS, flag::ACK, 0, &[0; 6]), ErrorCode::FRAME_SIZE_ERROR),
        ("6.5.2 ENABLE_PUSH of 2", |p| p.send(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), ErrorCode::PROTOCOL_ERROR),
        (
            "6.5.2 window above 2^31-1",
            |p| p.send(kind::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            ErrorCode::FLOW_CONTROL_ERROR,
        ),
        (
            "6.5.2 frames below 16384",
            |p| p.send(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]),
            ErrorCode::PROTOCOL_ERROR,
        ),
        ("6.6 PUSH_PROMISE", |p| p.send(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]), ErrorCode::PROTOCOL_ERROR),
        ("6.7 PING on a stream", |p| p.send(kind::PING, 0, 1, &[0; 8]), ErrorCode::PROTOCOL_ERROR),
        ("6.7 PING of six octets", |p| p.send(kind::PING, 0, 0, &[0; 6]), ErrorCode::FRAME_SIZE_ERROR),
        ("6.8 GOAWAY on a stream", |p| p.send(kind::GOAWAY, 0, 1, &[0; 8]), ErrorCode::PROTOCOL_ERROR),
        ("6.8 GOAWAY of four octets", |p| p.send(kind::GOAWAY, 0, 0, &[0; 4]), ErrorCode::FRAME_SIZE_ERROR),
        ("6.9 WINDOW_UPDATE by nothing", |p| p.send(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), ErrorCode::PROTOCOL_ERROR),
        (
            "6.9 WINDOW_UPDATE of three octets",
            |p| p.send(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
            ErrorCode::FRAME_SIZE_ERROR,
        ),
        (
            "6.9.1 window above 2^31-1",
            |p| p.send(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            ErrorCode::FLOW_CONTROL_ERROR,
        ),
        ("6.10 CONTINUATION alone", |p| p.send(kind::CONTINUATION, 4, 1, POST), ErrorCode::PROTOCOL_ERROR),
        (
            "6.10 interrupted block",
            |p| {
                p.send(kind::HEADERS, 0, 1, POST);
                p.send(kind::PING, 0, 0, &[0; 8]);
            },
            ErrorCode::PROTOCOL_ERROR,
        ),
        (
            "6.10 block continued on another stream",
            |p| {
                p.send(kind::HEADERS, 0, 1, POST);
                p.send(kind::CONTINUATION, 4, 3, &[]);
            },
            ErrorCode::PROTOCOL_ERROR,
        ),
        (
            "10.5.1 endless block",
            |p| {
                p.send(kind::HEADERS, 0, 1, POST);
                (0..40).for_each(|_| p.send(kind::CONTINUATION, 0, 1, &[]));
            },
            ErrorCode::ENHANCE_YOUR_CALM,
        ),
    ];
    for (what, violate, code) in cases {
        let mut peer = Peer::new(10);
        violate(&mut peer);
        assert_eq!(peer.connection_error(), Some(code.0), "{what}");
        peer.bytes(&[0; 50]);
        assert!(peer.connection.input.is_empty(), "{what}: nothing is read afterwards");
    }
}

#[test]
fn violations_that_end_one_stream_only() {
    let cases: [Case; 8] = [
        ("6.3 PRIORITY of four octets", |p| p.send(kind::PRIORITY, 0, 1, &[0; 4]), ErrorCode::FRAME_SIZE_ERROR),
        (
            "5.1 DATA after the end",
            |p| {
                p.request(1, true);
                p.send(kind::DATA, 0, 1, b"x");
            },
            ErrorCode::STREAM_CLOSED,
        ),
        ("8.1.1 malformed request", |p| p.send(kind::HEADERS, 5, 1, &[0x83, 0x87]), ErrorCode::PROTOCOL_ERROR),
        (
            "8.1 trailers that do not end the stream",
            |p| {
                p.request(1, false);
                p.send(kind::HEADERS, 4, 1, &[]);
            },
            ErrorCode::PROTOCOL_ERROR,
        ),
        (
            "8.1.1 content-length above the body",
            // content-length: 5
            |p| p.send(kind::HEADERS, 5, 1, &[POST, &[0x0f, 0x0d, 0x01, b'5']].concat()),
            ErrorCode::PROTOCOL_ERROR,
        ),
        (
            "6.9 WINDOW_UPDATE by nothing",
            |p| {
                p.request(1, false);
                p.send(kind::WINDOW_UPDATE, 0, 1, &[0; 4]);
            },
            ErrorCode::PROTOCOL_ERROR,
        ),
        (
            "6.9.1 window above 2^31-1",
            |p| {
                p.request(1, false);
                p.send(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]);
            },
            ErrorCode::FLOW_CONTROL_ERROR,
        ),
        (
            "10.5 a body without end",
            |p| {
                p.request(1, false);
                (0..80).for_each(|_| p.send(kind::DATA, 0, 1, &[0; 16_384]));
            },
            ErrorCode::ENHANCE_YOUR_CALM,
        ),
    ];
    for (what, violate, code) in cases {
        let mut peer = Peer::new(10);
        violate(&mut peer);
        assert_eq!(peer.stream_error(1), Some(code.0), "{what}");
        peer.request(101, true);
        assert_eq!(peer.requests().last().map(|request| request.stream), Some(101), "{what}: the connection goes on");
    }
}

#[test]
fn section_5_1_2_streams_above_the_cap_are_refused_and_the_cap_moves_live() {
    let mut peer = Peer::new(1);
    peer.request(1, false);
    peer.request(3, true);
    assert_eq!(peer.stream_error(3), Some(ErrorCode::REFUSED_STREAM.0));
    // The rest of a refused request is no fault.
    peer.send(kind::DATA, flag::END_STREAM, 3, b"late");
    peer.connection.cap_streams(3);
    assert_eq!(peer.written()[0].payload, [0, 3, 0, 0, 0, 3]);
    peer.request(5, true);
    peer.request(7, true);
    assert_eq!(peer.stream_error(7), None, "a raised cap counts at once");
    peer.connection.cap_streams(1);
    peer.connection.respond(5, 200, &[], b"");
    peer.request(9, true);
    assert_eq!(peer.stream_error(9), None, "a lowered cap is not known to the peer yet");
    peer.send(kind::SETTINGS, flag::ACK, 0, &[]);
    peer.send(kind::SETTINGS, flag::ACK, 0, &[]);
    peer.connection.respond(9, 200, &[], b"");
    peer.request(11, true);
    assert_eq!(peer.stream_error(11), Some(ErrorCode::REFUSED_STREAM.0), "acknowledged, it counts");
    let streams: Vec<u32> = peer.requests().iter().map(|request| request.stream).collect();
    assert_eq!(streams, [5, 7, 9]);
}

#[test]
fn what_is_allowed_is_understood() {
    let mut peer = Peer::new(10);
    // Padding, deprecated priority, a block in three frames, a body in two, trailers, an unknown frame in between.
    let head = [&[3, 0, 0, 0, 0, 16][..], &POST[..1], &[0; 3]].concat();
    peer.send(kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, &head);
    peer.send(kind::CONTINUATION, 0, 1, &POST[1..2]);
    peer.send(kind::CONTINUATION, flag::END_HEADERS, 1, &POST[2..]);
    peer.send(kind::DATA, flag::PADDED, 1, &[2, b'h', b'e', 0, 0]);
    peer.send(0xbe, 0xff, 1, b"grease");
    peer.send(kind::DATA, 0, 1, b"llo");
    peer.send(kind::PRIORITY, 0, 99, &[0; 5]);
    peer.send(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[0x00, 1, b'a', 1, b'b']);
    let requests = peer.requests();
    assert_eq!((requests.len(), requests[0].body.as_slice(), requests[0].body_bytes), (1, &b"hello"[..], 5));
    let fields: Vec<_> = requests[0].headers.iter().collect();
    assert_eq!(fields, [(&b":method"[..], &b"POST"[..]), (b":scheme", b"https"), (b":path", b"/")]);
    peer.send(kind::PING, 0, 0, b"12345678");
    peer.send(kind::PING, flag::ACK, 0, b"87654321");
    peer.send(kind::SETTINGS, 0, 0, &[0, 6, 0, 0, 1, 0]);
    let answers = peer.written();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!((answers[0].kind, answers[0].flags, answers[0].payload.as_slice()), (kind::PING, 1, &b"12345678"[..]));
    assert_eq!((answers[1].kind, answers[1].flags), (kind::SETTINGS, flag::ACK));
}

#[test]
fn section_6_9_answers_wait_for_the_peers_windows() {
    let mut peer = Peer::new(10);
    peer.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 5]);
    peer.request(1, true);
    peer.written();
    assert!(peer.connection.respond(1, 400, &[], b"hello world"));
    let data = |peer: &mut Peer| -> Vec<(u8, Vec<u8>)> {
        let frames = peer.written().into_iter().filter(|frame| frame.kind == kind::DATA);
        frames.map(|frame| (frame.flags, frame.payload)).collect()
    };
    assert_eq!(data(&mut peer), [(0, b"hello".to_vec())]);
    peer.send(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 2]);
    assert_eq!(data(&mut peer), [(0, b" w".to_vec())]);
    // A larger initial window widens streams that are open.
    peer.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]);
    assert_eq!(data(&mut peer), [(flag::END_STREAM, b"orld".to_vec())]);
    assert!(!peer.connection.respond(1, 200, &[], b""), "the stream has ended");
}

#[test]
fn section_6_9_the_connections_window_bounds_all_streams_together() {
    let mut peer = Peer::new(10);
    let body = vec![b'x'; 40_000];
    peer.request(1, true);
    peer.request(3, true);
    peer.connection.respond(1, 200, &[], &body);
    peer.connection.respond(3, 200, &[], &body);
    let sent = |peer: &mut Peer| -> usize {
        peer.written().iter().filter(|frame| frame.kind == kind::DATA).map(|frame| frame.payload.len()).sum()
    };
    assert_eq!(sent(&mut peer), 65_535);
    peer.send(kind::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]);
    assert_eq!(sent(&mut peer), 80_000 - 65_535);
}

#[test]
fn long_bodies_are_counted_cut_and_given_new_window() {
    let mut peer = Peer::new(10);
    peer.request(1, false);
    for _ in 0..9 {
        peer.send(kind::DATA, 0, 1, &[7; 10_000]);
    }
    peer.send(kind::DATA, flag::END_STREAM, 1, &[]);
    let requests = peer.requests();
    assert_eq!((requests[0].body.len(), requests[0].body_bytes), (100, 90_000));
    let updates = peer.written().iter().filter(|frame| frame.kind == kind::WINDOW_UPDATE).count();
    assert!(updates >= 2, "{updates}");
}

#[test]
fn a_header_section_above_the_limit_is_answered_431() {
    let mut peer = Peer::new(10);
    let field = [&[0x00, 1, b'a', 0x7f, 0x81, 0x7d][..], &[b'v'; 16_128]].concat();
    peer.send(kind::HEADERS, 0, 1, POST);
    peer.send(kind::CONTINUATION, 0, 1, &field);
    peer.send(kind::CONTINUATION, flag::END_HEADERS | flag::END_STREAM, 1, &field);
    let answers = peer.written();
    assert_eq!((answers[0].kind, answers[0].stream), (kind::HEADERS, 1));
    assert_eq!(&answers[0].payload[2..], b"431");
    assert!(peer.requests().is_empty());
}

#[test]
fn section_6_8_goaway_drops_what_is_above_and_waits_for_what_is_below() {
    let mut peer = Peer::new(10);
    peer.request(1, true);
    peer.request(3, true);
    peer.request(5, true);
    assert_eq!(peer.connection.go_away(1, ErrorCode::NO_ERROR, b"{}"), [3, 5]);
    let frame = peer.written().pop().unwrap();
    assert_eq!((frame.kind, frame.payload.as_slice()), (kind::GOAWAY, &b"\0\0\0\x01\0\0\0\0{}"[..]));
    peer.request(7, false);
    peer.send(kind::DATA, flag::END_STREAM, 7, b"ignored");
    assert!(peer.written().is_empty() && !peer.connection.is_over());
    assert_eq!(peer.requests().len(), 3, "those before GOAWAY had been handed out");
    assert!(!peer.connection.respond(3, 200, &[], b""));
    assert!(peer.connection.respond(1, 200, &[], b""));
    assert!(peer.connection.is_over());
}

#[test]
fn section_10_5_a_flood_is_told_to_calm_down() {
    let floods: [Flood; 4] = [
        ("PING", |p, _| p.send(kind::PING, 0, 0, &[0; 8])),
        ("SETTINGS", |p, _| p.send(kind::SETTINGS, 0, 0, &[])),
        ("empty DATA", |p, n| {
            if n == 0 {
                p.request(1, false);
            }
            p.send(kind::DATA, 0, 1, &[]);
        }),
        ("rapid reset", |p, n| {
            p.request(2 * n + 1, true);
            p.send(kind::RST_STREAM, 0, 2 * n + 1, &[0; 4]);
        }),
    ];
    for (what, flood) in floods {
        let mut peer = Peer::new(10);
        for n in 0..20_001 {
            flood(&mut peer, n);
        }
        assert_eq!(peer.connection_error(), Some(ErrorCode::ENHANCE_YOUR_CALM.0), "{what}");
    }
}

#[test]
fn a_busy_but_honest_peer_is_never_told_to_calm_down() {
    let mut peer = Peer::new(10);
    for n in 0..30_000 {
        peer.request(2 * n + 1, true);
        peer.send(kind::PING, 0, 0, &[0; 8]);
        peer.send(kind::WINDOW_UPDATE, 0, 2 * n + 1, &[0, 0, 0, 1]);
        assert!(peer.connection.respond(2 * n + 1, 200, &[], b""));
        peer.connection.out.clear();
    }
    assert_eq!(peer.connection_error(), None);
}

#[test]
fn whatever_the_bytes_nothing_panics() {
    let mut seed = 3u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32
    };
    for round in 0..2000 {
        let mut peer = Peer::new(3);
        for _ in 0..60 {
            let payload: Vec<u8> = (0..next() % 24)
                .map(|_| if round % 2 == 0 { POST[(next() % 3) as usize] } else { next() as u8 })
                .collect();
            peer.send((next() % 11) as u8, next() as u8, next() % 12, &payload);
            if next().is_multiple_of(4) {
                for request in peer.requests() {
                    peer.connection.respond(request.stream, 200, &[("a", "b")], b"body");
                }
            }
            if next().is_multiple_of(50) {
                peer.connection.go_away(next() % 9, ErrorCode::NO_ERROR, b"");
            }
        }
        peer.written();
    }
}
