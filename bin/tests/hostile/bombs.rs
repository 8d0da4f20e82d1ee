//! Headers that are too long, too many, too deep or without end, and the dearest ones that are allowed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reveille_sim::phone::{RawError, RawSip};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::MB;
use crate::letter::{Letter, told};
use crate::neighbour::ms;
use crate::report::{Line, line, timed};
use crate::world::{EVIL, INSIDE, PROMPT, World};

/// How often each bomb is sent, on new connections.
const TIMES: usize = 10;
/// What all of it may add to the edge's memory.
const GROWTH_MB: u64 = 48;

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    let before = world.memory()?;
    let mut lines = Vec::new();
    for (name, text, expected) in bombs() {
        lines.push(throw(world, name, &text, expected).await?);
    }
    lines.push(endless(world).await?);
    let grown = world.memory()?.saturating_sub(before) / MB;
    lines.push(line(
        "memory after all bombs",
        format!("{grown} MB more"),
        format!("{GROWTH_MB} MB"),
        grown <= GROWTH_MB,
    ));
    lines.push(dearest(world).await?);
    Ok(lines)
}

/// What may come back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    /// Closed, or refused with 4xx or 5xx, at once.
    Stopped,
    /// It is odd, and allowed.
    Passed,
}

async fn throw(world: &World, name: &str, text: &str, expected: Expected) -> Result<Line> {
    let (mut heard, mut most) = (String::new(), Duration::ZERO);
    for _ in 0..TIMES {
        let mut link = world.place.link(EVIL).await?;
        let begun = Instant::now();
        // The other side may close before it has taken all of it.
        let _ = link.send(text, PROMPT).await;
        heard = match link.next(PROMPT).await {
            Ok(answer) => told(&answer),
            Err(RawError::Closed | RawError::Io(_)) => "closed".into(),
            Err(other) => other.to_string(),
        };
        most = most.max(begun.elapsed());
    }
    let stopped = heard == "closed" || heard.starts_with('4') || heard.starts_with('5');
    let (ok, bound) = match expected {
        Expected::Stopped => (stopped, "closed or refused at once"),
        Expected::Passed => (heard == "200", "200"),
    };
    let figure = format!("{heard}; {} kB, {:.0} ms at most", text.len() / 1024, ms(most));
    Ok(line(format!("bomb: {name}"), figure, bound, ok && most < PROMPT))
}

fn bombs() -> Vec<(&'static str, String, Expected)> {
    use Expected::{Passed, Stopped};
    let with = |more: String| Letter::new(EVIL, INSIDE, "bomb").with(more).text();
    let via = "SIP/2.0/TLS a.example;branch=z9hG4bKx";
    let compact =
        "v: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\nc: text/plain\r\ne: gzip\r\nk: a\r\ns: a\r\nm: <sip:a@b>\r\n";
    let quoted = format!("\"{}\"", "\\\"".repeat(500));
    vec![
        ("10,000 header fields", with("X-Bomb: 1\r\n".repeat(10_000)), Stopped),
        ("a header field of 1 MB", with(format!("X-Bomb: {}\r\n", "x".repeat(1_000_000))), Stopped),
        ("a header name of 1 MB", with(format!("{}: 1\r\n", "x".repeat(1_000_000))), Stopped),
        ("1,000 Via fields", with(format!("Via: {via}\r\n").repeat(1000)), Stopped),
        ("1,000 Vias in one field", with(format!("Via: {}\r\n", vec![via; 1000].join(", "))), Stopped),
        (
            "a Request-URI of 1 MB",
            Letter { uri: format!("sip:{}@b", "x".repeat(1_000_000)), ..letter() }.text(),
            Stopped,
        ),
        ("a first line that does not end", "MESSAGE ".repeat(20_000), Stopped),
        ("a thousand compact fields", with(compact.repeat(170)), Stopped),
        ("folded ten thousand times", with(format!("Subject: a{}\r\n", "\r\n b".repeat(10_000))), Stopped),
        ("quotes that do not end", with(format!("Contact: \"{}\r\n", "\\\"".repeat(20_000))), Stopped),
        (
            "10,000 parameters in From",
            letter().from(format!("From: <sip:m@evil.example>;tag=1{}", ";a=b".repeat(10_000))).text(),
            Stopped,
        ),
        (
            "angle brackets in angle brackets",
            letter().from(format!("From: {}sip:m@evil.example{};tag=1", "<".repeat(9_000), ">".repeat(9_000))).text(),
            Stopped,
        ),
        (
            "12 kB of quoted parameters in From",
            letter().from(format!("From: <sip:m@evil.example>;tag=1{}", format!(";a={quoted}").repeat(12))).text(),
            Passed,
        ),
        ("100 header fields more", with("X-Fill: 1\r\n".repeat(100)), Stopped),
        ("80 header fields more", with("X-Fill: 1\r\n".repeat(80)), Passed),
        ("80 compact and long forms mixed", with("s: a\r\nSubject: b\r\nk: c\r\nSupported: d\r\n".repeat(20)), Passed),
        (
            "a header of 28 kB, folded",
            with(format!("Subject: a{}\r\n", "\r\n bcdefghijklmnopqrstuvwxyz".repeat(1000))),
            Stopped,
        ),
        (
            "a header of 22 kB, folded",
            with(format!("Subject: a{}\r\n", "\r\n bcdefghijklmnopqrstuvwxyz".repeat(800))),
            Passed,
        ),
    ]
}

fn letter() -> Letter {
    Letter::new(EVIL, INSIDE, "bomb")
}

/// A folded header that never ends, as fast as it is taken: how much of it is taken?
async fn endless(world: &World) -> Result<Line> {
    let (stream, _) = world.place.wire(&world.place.client(EVIL)?, 3).await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let head = Letter::new(EVIL, INSIDE, "endless").text();
    let head = head.split("Content-Length").next().unwrap_or_default();
    let fold = "Subject: a\r\n ".to_owned() + &"b\r\n ".repeat(1000);
    let begun = Instant::now();
    let mut taken = 0;
    let writing = async {
        let mut more = head;
        while writer.write_all(more.as_bytes()).await.is_ok() {
            taken += more.len();
            more = &fold;
        }
    };
    let reading = async {
        let mut rest = [0; 1024];
        while !matches!(reader.read(&mut rest).await, Ok(0) | Err(_)) {}
    };
    let either = async {
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
    };
    timeout(PROMPT, either).await.context("an endless header is taken for ever")?;
    let took = ms(begun.elapsed());
    let figure = format!("closed after {took:.0} ms, {} kB written", taken / 1024);
    // 24 KiB of header, and what lay in the buffers of both kernels when it was refused.
    Ok(line(
        "bomb: a folded header without end",
        figure,
        "closed within 3 s; 16 MB in buffers",
        taken as u64 <= 16 * MB,
    ))
}

/// The dearest header that is allowed, against plain ones of the same length: no form costs out of proportion.
async fn dearest(world: &World) -> Result<Line> {
    const EACH: usize = 100;
    let mut costs = Vec::new();
    let fill = 20_000;
    let plain = (fill / 280, "X-Fill: ".to_owned() + &"x".repeat(270) + "\r\n");
    let forms = [
        ("plain", plain.1.repeat(plain.0)),
        ("From with parameters", String::new()),
        ("one folded field", format!("Subject: a{}\r\n", "\r\n b".repeat(fill / 4))),
        ("Vias", format!("Via: {}\r\n", vec!["SIP/2.0/TLS a;branch=z9hG4bKx"; fill / 33].join(", "))),
        ("quoted pairs", format!("Contact: \"{}\" <sip:a@b>\r\n", "\\\"".repeat(fill / 2 - 20))),
        ("Routes", format!("Route: {}\r\n", vec!["<sip:a;lr>"; fill / 12].join(","))),
    ];
    for (name, more) in forms {
        let from = match name {
            "From with parameters" => format!("From: <sip:m@evil.example>;tag=1{}", ";a=b".repeat(fill / 4)),
            _ => "From: <sip:m@evil.example>;tag=1".to_owned(),
        };
        let text = letter().with(more).from(from).text();
        let mut link = world.place.link(EVIL).await?;
        let before = world.cpu();
        let heard = in_a_row(&mut link, &text, EACH).await.with_context(|| name.to_owned())?;
        let cost = (world.cpu() - before).as_micros() as u64 / EACH as u64;
        costs.push((name, cost, heard));
    }
    let plain = costs[0].1;
    let worst = costs.iter().max_by_key(|(_, cost, _)| *cost).context("some forms")?;
    let figure = format!("plain {plain} µs of processor; {} {} µs ({})", worst.0, worst.1, worst.2);
    // The clock of processes ticks every 10 ms, and the good partner's messages count in both.
    let bound = plain * 8 + 1000;
    Ok(timed("the dearest header of 20 kB", figure, format!("{bound} µs"), worst.1 <= bound))
}

/// The same request again and again; answers what the last one heard.
async fn in_a_row(link: &mut RawSip, text: &str, times: usize) -> Result<String> {
    let mut heard = String::new();
    for _ in 0..times {
        heard = told(&link.send_and_wait(text, PROMPT).await?);
    }
    Ok(heard)
}
