//! SIP that is wrong in one way each, on streams and in datagrams.

use crate::scene::Way;
use crate::table::{Row, row};
use crate::{EDGE, HOME, HOUSE};

/// Whom an OPTIONS is for, by the door that it is sent to.
fn host(way: Way) -> &'static str {
    match way {
        Way::Home | Way::HomeTls | Way::HomeInside(_) => HOME,
        Way::Edge(_) | Way::EdgeInside(_) => EDGE,
        Way::House(_) => HOUSE,
    }
}

/// A good OPTIONS.
pub(crate) fn options(way: Way, call_id: &str) -> Vec<u8> {
    good(way).replace("Call-ID: 1\r\n", &format!("Call-ID: {call_id}\r\n")).into_bytes()
}

/// The text that malformed requests are made from.
fn good(way: Way) -> String {
    format!(
        "OPTIONS sip:{} SIP/2.0\r\nVia: SIP/2.0/TLS HERE;branch=z9hG4bK{:x};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:test@contoso.com>;tag=1\r\nTo: <sip:{}>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        host(way),
        rand::random::<u64>(),
        host(way),
    )
}

/// SIP that is wrong in one way each.
pub(crate) fn malformed(way: Way) -> Vec<Row> {
    let good = || good(way);
    let first = |line: &str| {
        let text = good();
        format!("{line}\r\n{}", text.split_once("\r\n").map(|(_, rest)| rest).unwrap_or_default())
    };
    let line = good().lines().next().unwrap_or_default().to_owned();
    let with = |field: &str, other: &str| {
        let text = good();
        let from = text.find(&format!("\r\n{field}:")).expect("the good request has this field") + 2;
        let to = from + text[from..].find("\r\n").expect("each line ends") + 2;
        format!("{}{other}{}", &text[..from], &text[to..])
    };
    let more = |lines: &str| good().replace("Call-ID: 1\r\n", &format!("Call-ID: 1\r\n{lines}"));
    let length = |text: &str| with("Content-Length", text);
    let uri = line.split(' ').nth(1).unwrap_or_default().to_owned();
    // A length that cannot be trusted is told, and nothing behind it is read.
    let (bad, told, gone) = ("400, goes on", "400, closed", "closed");
    // The edge names its reason to partners.
    let unknown_scheme = if matches!(way, Way::Edge(_)) { "416 unknown-scheme, goes on" } else { "416, goes on" };
    let mut rows = vec![
        row("a good request", way, good(), "200, goes on"),
        // The first line.
        row("no SIP at all", way, first("MAKE ME A SANDWICH"), gone),
        row("HTTP", way, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", gone),
        row("two blanks in the request line", way, first(&line.replace(" sip:", "  sip:")), bad),
        row("a request line without URI", way, first("OPTIONS SIP/2.0"), bad),
        row("a method that is no token", way, first(&line.replace("OPTIONS", "OPT(IONS")), bad),
        row("a URI in angle brackets", way, first(&format!("OPTIONS <{uri}> SIP/2.0")), bad),
        row("SIP/7.0", way, first(&line.replace("SIP/2.0", "SIP/7.0")), "505, goes on"),
        row("a scheme that nobody knows", way, first("OPTIONS nobody-knows-this:something SIP/2.0"), unknown_scheme),
        // Line ends and control characters.
        row("bare LF instead of CRLF", way, good().replace("\r\n", "\n"), gone),
        row("one bare LF in a header", way, more("Subject: a\nb\r\n"), gone),
        row("one bare CR in a header", way, more("Subject: a\rb\r\n"), gone),
        row("NUL in a header", way, more("Subject: a\0b\r\n"), bad),
        // Content-Length.
        row("a negative Content-Length", way, length("Content-Length: -1\r\n"), told),
        row("Content-Length +0", way, length("Content-Length: +0\r\n"), told),
        row("Content-Length 0x10", way, length("Content-Length: 0x10\r\n"), told),
        row("an empty Content-Length", way, length("Content-Length:\r\n"), told),
        row("Content-Length 2^64", way, length("Content-Length: 18446744073709551616\r\n"), told),
        row("a list in Content-Length", way, length("Content-Length: 0, 0\r\n"), told),
        row("Content-Length twice, equal", way, length("Content-Length: 0\r\nContent-Length: 0\r\n"), told),
        row("Content-Length twice, different", way, length("Content-Length: 0\r\nContent-Length: 9\r\n"), told),
        row("Content-Length in both forms", way, length("l: 0\r\nContent-Length: 5\r\n"), told),
        row("a folded Content-Length", way, length("Content-Length:\r\n 0\r\n"), "200, goes on"),
        row("a blank before the colon of Content-Length", way, length("Content-Length : 0\r\n"), "200, goes on"),
        row("no Content-Length on a stream", way, length(""), told),
        row("a Content-Length that is too small", way, good() + "what is this\r\n", "200, closed"),
        row("a gigabyte announced", way, length("Content-Length: 1073741824\r\n"), "413, closed"),
        // Bombs.
        row("70 header fields more", way, more(&"X-Bomb: 1\r\n".repeat(70)), "200, goes on"),
        row("100 header fields more", way, more(&"X-Bomb: 1\r\n".repeat(100)), "513, closed"),
        row("1000 header fields more", way, more(&"X-Bomb: 1\r\n".repeat(1000)), "513, closed"),
        row("a header field of 40 kB", way, more(&format!("X-Bomb: {}\r\n", "x".repeat(40_000))), "513, closed"),
        row("a first line of 40 kB", way, format!("OPTIONS sip:{}", "x".repeat(40_000)), gone),
        // Mandatory fields and their values.
        row("CSeq of another method", way, with("CSeq", "CSeq: 1 INVITE\r\n"), bad),
        row("CSeq without a number", way, with("CSeq", "CSeq: one OPTIONS\r\n"), bad),
        row("CSeq 2^32", way, with("CSeq", "CSeq: 4294967296 OPTIONS\r\n"), bad),
        row("Max-Forwards: many", way, with("Max-Forwards", "Max-Forwards: many\r\n"), bad),
        row("Max-Forwards: 256", way, with("Max-Forwards", "Max-Forwards: 256\r\n"), bad),
        row("a header line without colon", way, more("this is no header\r\n"), bad),
        row("a first header line that is folded", way, first(&format!("{line}\r\n folded")), bad),
        row("a header that is not UTF-8", way, latin1(&more("Subject: caf\u{e9}\r\n")), bad),
        // Responses, and what may not be answered.
        row("an answer to nothing", way, first("SIP/2.0 200 OK"), "nothing, goes on"),
        row("an answer with status 999", way, first("SIP/2.0 999 What"), "nothing, goes on"),
        row("a wrong ACK", way, good().replace("OPTIONS", "ACK").replace("Call-ID: 1\r\n", ""), "nothing, goes on"),
        row("keep-alives", way, "\r\n\r\n", "nothing, goes on"),
    ];
    for field in ["Via", "From", "To", "Call-ID", "CSeq"] {
        rows.push(row(format!("no {field}"), way, with(field, ""), bad));
    }
    for field in ["From", "To", "Call-ID", "CSeq", "Max-Forwards"] {
        let text = good();
        let own = text.lines().find(|line| line.starts_with(&format!("{field}:"))).unwrap_or_default().to_owned();
        rows.push(row(format!("{field} twice"), way, with(field, &format!("{own}\r\n{own}\r\n")), bad));
    }
    let body = "x".repeat(100_000);
    let big = length("Content-Length: 100000\r\n") + &body;
    rows.push(row("a body of 100 kB, wholly sent", way, big, "413, goes on"));
    rows
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

pub(crate) fn datagrams() -> Vec<(String, Vec<u8>, &'static str)> {
    let udp = || good(Way::Home).replace("SIP/2.0/TLS", "SIP/2.0/UDP");
    let length = |length: &str| udp().replace("Content-Length: 0\r\n", length);
    [
        ("a good datagram", udp(), "200"),
        ("a datagram without Content-Length", length(""), "200"),
        ("a datagram shorter than its Content-Length", length("Content-Length: 10\r\n"), "400"),
        ("a datagram longer than its Content-Length", udp() + "and more", "200"),
        ("a datagram with a negative Content-Length", length("Content-Length: -1\r\n"), "400"),
        ("a datagram that stops in its header", udp()[..60].to_owned(), "nothing"),
        ("a datagram with bare LF", udp().replace("\r\n", "\n"), "nothing"),
        ("a datagram with NUL", udp().replace("Call-ID: 1", "Call-ID: 1\0"), "400"),
        ("noise in a datagram", "\u{1}\u{2}\u{3}\u{4}".repeat(200), "nothing"),
        ("an empty datagram", String::new(), "nothing"),
    ]
    .map(|(name, text, expected)| (name.to_owned(), text.into_bytes(), expected))
    .into()
}
