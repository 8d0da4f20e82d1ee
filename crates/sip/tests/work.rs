//! How long a message takes grows with its length and not faster, whatever a hostile sender fills it with: the work is
//! done ahead of any credential.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reveille_sip::auth::{Challenge, Credentials};
use reveille_sip::proxy::{Context, Edits, LegPlan, LoopHash, Nobody, Upstream, check, route};
use reveille_sip::{
    Frame, Limits, Message, Millis, Name, ParseError, PushOffer, Reliability, ResponseBuilder, Side, StreamFramer,
    Timers, Uri, parse_datagram,
};
use rustix::time::{ClockId, clock_gettime};

/// A field, and what stands in it before the filling.
const FIELDS: [(&str, &str); 13] = [
    ("Via", "SIP/2.0/UDP b.example;branch=z9hG4bK1"),
    ("From", "<sip:a@a.example>;tag=1"),
    ("From", "\"a"),
    ("To", "<sip:b@b.example>"),
    ("To", "<sip:b@b.example;x=1"),
    ("Contact", "<sip:a@192.0.2.1>"),
    ("Contact", "<sip:a@192.0.2.1;x=1"),
    ("Route", "<sip:ours.example;lr>"),
    ("Record-Route", "<sip:p.example;lr>"),
    ("Proxy-Require", "x"),
    ("Proxy-Authorization", "Digest username=\"a\""),
    ("WWW-Authenticate", "Digest realm=\"a\""),
    ("X-Other", ""),
];

const FILLINGS: [&str; 21] = [
    ";",
    ",",
    " ",
    "\r\n ",
    "\r\n \r\n  x",
    ";a",
    ",a",
    ";a=1",
    ";tag=1",
    ";lr",
    "\"",
    "\\\"",
    "<",
    ">",
    ";a=\"b\"",
    ";\"",
    ",<",
    ",\"a\" <sip:a>",
    ",<sip:ours.example;lr>",
    "%41",
    "&a=1",
];

/// Whole lines, repeated.
const LINES: [&str; 9] = [
    "Via: SIP/2.0/UDP c.example;branch=z9hG4bK2\r\n",
    "v:,\r\n",
    "Route: <sip:ours.example;lr>\r\n",
    "Route:\r\n",
    "X: 1\r\n",
    "X:\r\n \r\n",
    "Content-Length: 0\r\n",
    "Contact: <sip:c@d>\r\n",
    "no colon\r\n",
];

#[test]
fn four_times_as_long_a_message_is_no_more_than_that_much_more_work() {
    let fields = FIELDS
        .iter()
        .flat_map(|(name, begin)| FILLINGS.iter().map(move |filling| (format!("{name}: {begin}"), *filling, "\r\n")));
    let lines = LINES.iter().map(|line| (String::new(), *line, ""));
    let targets = ["sip:b@b.example", "sip:", "b"].iter().flat_map(|begin| {
        [";", "@", ":", "%41", ";a", ";a=1", "?a=1", "&a", "["]
            .iter()
            .map(move |filling| (format!("\0{begin}"), *filling, ""))
    });
    let mut seen = 0;
    for (begin, filling, end) in fields.chain(lines).chain(targets) {
        let of = |length: usize| message(&begin, filling, end, length);
        let (short, long) = (of(SHORT), of(4 * SHORT));
        // A busy machine takes longer now and then, but a square stays one.
        let steep = (0..15).all(|_| {
            let (one, four) = (least(&short), least(&long));
            four > ENOUGH && four > one * 9
        });
        assert!(!steep, "{begin:?} and {filling:?} again and again: {:?} and {:?}", least(&short), least(&long));
        seen += 1;
    }
    assert!(seen > 300, "{seen}");
}

/// A message of about that length.
fn message(begin: &str, filling: &str, end: &str, length: usize) -> Bytes {
    let filled = filling.repeat(length / filling.len());
    let (target, field) = match begin.strip_prefix('\0') {
        Some(begin) => (format!("{begin}{filled}"), String::new()),
        None => ("sip:b@b.example".to_owned(), format!("{begin}{filled}{end}")),
    };
    let name = field.split(':').next().unwrap_or_default();
    let rest = [
        "Via: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n",
        "From: <sip:a@a.example>;tag=1\r\n",
        "To: <sip:b@b.example>\r\n",
        "Call-ID: 1\r\n",
        "CSeq: 1 INVITE\r\n",
    ];
    let rest: String =
        rest.into_iter().filter(|line| name.is_empty() || !line.starts_with(&format!("{name}:"))).collect();
    format!("INVITE {target} SIP/2.0\r\n{field}{rest}Content-Length: 0\r\n\r\n").into()
}

/// The least of some measurements: what it takes when nothing is in its way.
fn least(bytes: &Bytes) -> Duration {
    let measured = (0..4).map(|_| {
        let begin = spent();
        work(bytes.clone());
        spent() - begin
    });
    measured.min().unwrap_or_default()
}

/// What this thread has had of a processor: another's work beside it does not count.
fn spent() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.unsigned_abs() as u32)
}

/// What is done for a message that comes from anybody.
fn work(bytes: Bytes) {
    let mut buffer = BytesMut::from(&bytes[..]);
    let mut framer = StreamFramer::new(LIMITS, Side::Accepted);
    while let Ok(Some(frame)) = framer.next(&mut buffer) {
        if let Frame::Bad { message, .. } = frame {
            answer(&message, 400);
        }
    }
    match parse_datagram(bytes, &LIMITS) {
        Ok(message) => {
            read(&message);
            answer(&message, 407);
            pass_on(&message);
        }
        Err(ParseError::Bad { message, .. }) => answer(&message, 400),
        Err(ParseError::Unreadable(_)) => {}
    }
}

fn read(message: &Message) {
    let _ = black_box((message.check(), message.transaction_key(), check(message, LoopHash(1), &["known"])));
    let _ = black_box((message.from().map(|from| from.tag()), message.to().map(|to| to.tag())));
    let uris = [message.request_uri(), message.address(Name::Contact).ok().map(|contact| contact.uri_text())];
    for uri in uris.into_iter().flatten().filter_map(|text| Uri::parse(text).ok()) {
        let upper = uri.as_str().to_ascii_uppercase();
        let _ = black_box((PushOffer::read(uri.params()), Uri::parse(&upper).map(|upper| upper.equivalent(&uri))));
    }
    for value in message.headers(Name::ProxyAuthorization) {
        let _ = black_box(Credentials::parse(value));
    }
    for value in message.headers(Name::WwwAuthenticate) {
        let _ = black_box(Challenge::parse(value));
    }
}

fn answer(request: &Message, status: u16) {
    let (mut out, source) = (BytesMut::new(), ([192, 0, 2, 1], 5060).into());
    let mut response = ResponseBuilder::to(&mut out, request, status);
    response.to_tag("t").source(source).copy(Name::RecordRoute).finish().expect("an answer");
}

fn pass_on(request: &Message) {
    let upstream = Upstream {
        source: ([192, 0, 2, 1], 5060).into(),
        reliability: Reliability::Reliable,
        tag: "ours".into(),
        timers: Timers::default(),
        timer_c: Millis(181_000),
        decide_within: Millis(32_000),
        return_within: Millis(10_000),
        bytes_max: 1 << 20,
    };
    let plan = LegPlan {
        via: "SIP/2.0/TLS ours.example;branch=z9hG4bKp0".into(),
        request_uri: None,
        q: 1000,
        instead_of: None,
        again: false,
        record_route: Vec::new(),
        edits: Edits::default(),
        reliability: Reliability::Reliable,
    };
    let routed = route(request, &|uri| uri.host().and_then(|host| host.domain()) == Some("ours.example"));
    let mut context = Context::new(request, upstream, Millis(0));
    let _ = black_box(context.forward(routed, Edits::default(), [plan], Arc::new(Nobody), Millis(0)));
    let _ = black_box(context.on_cancel(None, Millis(1)));
}

const SHORT: usize = 7 * 1024;

/// Below that a measurement says nothing; and a message may take that long.
const ENOUGH: Duration = Duration::from_millis(2);

const LIMITS: Limits =
    Limits { header_bytes_max: 64 * 1024, header_count_max: 16_000, body_bytes_max: 1024, skip_bytes_max: 1024 };
