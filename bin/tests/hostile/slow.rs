//! Slow senders: half a ClientHello, a handshake of one byte a second, a header of one byte a second, a body that stops.
//! They begin first and are measured last, beside everything else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::letter::Letter;
use crate::report::{Line, line};
use crate::world::{EVIL, HOUSE_DOMAIN, INSIDE, Place};

/// Connections of each kind that send half a ClientHello.
const HALVES: usize = 400;
/// Connections of each of the other kinds.
const SOME: usize = 20;
/// Beyond the bound itself: the machine is busy.
const GRACE: Duration = Duration::from_secs(4);
/// Nobody is waited for longer.
const MOST: Duration = Duration::from_secs(60);

/// The slow senders, at work.
pub(crate) struct Slow {
    kinds: Vec<(&'static str, Duration, JoinSet<Result<Duration>>)>,
}

/// Sets all of them going.
pub(crate) async fn begin(place: &Place) -> Result<Slow> {
    let (handshake, message) = (Duration::from_secs(6), Duration::from_secs(30));
    let text = Letter::new(EVIL, INSIDE, "slow").text();
    let body = Letter::new(EVIL, HOUSE_DOMAIN, "slow").length("Content-Length: 60000\r\n").text();
    let hello = client_hello();
    let mut kinds = Vec::new();
    for (name, most, count, way) in [
        ("TCP, and not a byte", handshake, HALVES, Way::Plain(Vec::new(), Vec::new())),
        ("half a ClientHello", handshake, HALVES, Way::Plain(hello[..hello.len() / 2].to_vec(), Vec::new())),
        ("a ClientHello, one byte a second", handshake, SOME, Way::Plain(Vec::new(), hello.clone())),
        ("a whole ClientHello, and nothing after", handshake, SOME, Way::Plain(hello, Vec::new())),
        ("TLS, and not a byte of SIP", message, SOME, Way::Tls(String::new(), String::new())),
        ("half a header", message, SOME, Way::Tls(text[..text.len() / 2].to_owned(), String::new())),
        ("a header, one byte a second", message, SOME, Way::Tls(String::new(), text)),
        ("a body, one byte a second", message, SOME, Way::Tls(body, "x".repeat(100))),
        ("a client's header at home, one byte a second", message, SOME, Way::Home),
    ] {
        let mut all = JoinSet::new();
        for number in 0..count {
            all.spawn(one(place.clone(), way.clone(), number));
        }
        kinds.push((name, most, all));
    }
    Ok(Slow { kinds })
}

#[derive(Clone)]
enum Way {
    /// On TCP, at once and then byte by byte.
    Plain(Vec<u8>, Vec<u8>),
    /// The same over TLS.
    Tls(String, String),
    /// At the home's port for clients.
    Home,
}

/// How long the server bears with one of them.
async fn one(place: Place, way: Way, number: usize) -> Result<Duration> {
    match way {
        Way::Plain(at_once, slowly) => {
            let stream = place.tcp(place.edge(), number, None).await?;
            drip(stream, &at_once, &slowly).await
        }
        Way::Tls(at_once, slowly) => {
            let (stream, _) = place.wire(&place.client(EVIL)?, number).await?;
            drip(stream, at_once.as_bytes(), slowly.as_bytes()).await
        }
        Way::Home => {
            let stream = place.tcp(place.at(1, 5060), number, None).await?;
            drip(stream, b"", Letter::new("contoso.com", "contoso.com", "slow").text().as_bytes()).await
        }
    }
}

async fn drip(stream: impl crate::world::Duplex, at_once: &[u8], slowly: &[u8]) -> Result<Duration> {
    let begun = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        let mut turn = interval(Duration::from_secs(1));
        writer.write_all(at_once).await?;
        writer.flush().await?;
        for byte in slowly {
            turn.tick().await;
            writer.write_all(&[*byte]).await?;
            writer.flush().await?;
        }
        std::io::Result::Ok(())
    };
    let reading = async {
        let mut rest = [0; 1024];
        while !matches!(reader.read(&mut rest).await, Ok(0) | Err(_)) {}
    };
    let talk = async {
        tokio::select! {
            () = reading => {}
            () = async {
                // The end of writing is not the end: the other side has to close.
                if writing.await.is_ok() {
                    std::future::pending::<()>().await;
                }
            } => {}
        }
    };
    timeout(MOST, talk).await.context("it is still open")?;
    Ok(begun.elapsed())
}

impl Slow {
    /// How long each kind could stay.
    pub(crate) async fn end(self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for (name, bound, all) in self.kinds {
            let mut times = Vec::new();
            for outcome in all.join_all().await {
                times.push(outcome.with_context(|| name.to_owned())?);
            }
            times.sort_unstable();
            let (Some(least), Some(most)) = (times.first(), times.last()) else { continue };
            let (least, most) = (least.as_secs_f64(), most.as_secs_f64());
            ensure!(least > 0.5, "{name}: closed after {least:.1} s, before it was slow");
            let figure = format!("{} connections, closed after {least:.1} to {most:.1} s", times.len());
            let ok = most <= (bound + GRACE).as_secs_f64();
            lines.push(line(format!("slow: {name}"), figure, format!("{} s, and some grace", bound.as_secs()), ok));
        }
        Ok(lines)
    }
}

/// A ClientHello that rustls would take (RFC 8446 §4.1.2): TLS 1.3, P-256, and a key share of 65 bytes.
fn client_hello() -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |kind: u16, data: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend((data.len() as u16).to_be_bytes());
        extensions.extend(data);
    };
    extension(43, &[2, 3, 4]);
    extension(10, &[0, 2, 0, 0x17]);
    extension(13, &[0, 2, 4, 3]);
    // The generator of P-256: a point that is on the curve.
    let point = concat!(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    );
    let point = (0..65).map(|at| u8::from_str_radix(&point[2 * at..2 * at + 2], 16).unwrap_or_default());
    let share: Vec<u8> = [0, 69, 0, 0x17, 0, 65].into_iter().chain(point).collect();
    extension(51, &share);
    let mut hello = vec![3, 3];
    hello.extend([9; 32]);
    hello.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    let mut message = vec![1, 0];
    message.extend((hello.len() as u16).to_be_bytes());
    message.extend(hello);
    let mut record = vec![0x16, 3, 1];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}
