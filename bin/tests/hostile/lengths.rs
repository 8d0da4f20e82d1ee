//! Lengths that lie: whatever the edge passes on, the next hop reads the same messages that the edge has read.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::letter::Letter;
use crate::report::{Line, line};
use crate::witness;
use crate::world::{EDGE, EVIL, INSIDE, PROMPT, WITNESS, World};

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    Ok(vec![requests(world).await?, honest(world).await?, answers(world).await?])
}

/// The request that shall be smuggled: it must never arrive by itself.
fn hidden(call_id: &str) -> String {
    Letter::new("smuggled.example", INSIDE, call_id).text()
}

/// Each form once in a request, followed by a good request on the same connection.
async fn requests(world: &World) -> Result<Line> {
    let (mut closed, mut answered, mut wrong) = (0, 0, Vec::new());
    let forms = forms(&hidden("look-smuggled"));
    for (number, (length, body)) in forms.iter().enumerate() {
        let call_id = format!("look-length-{number}");
        let mut link = world.place.link(EVIL).await?;
        let text = Letter::new(EVIL, INSIDE, &call_id).length(length).body(body).text();
        let after = Letter::new(EVIL, INSIDE, &format!("{call_id}-after")).text();
        let _ = link.send(text + &after, PROMPT).await;
        // Until it is closed, or the good one behind it is answered.
        let mut heard = Vec::new();
        while let Ok(answer) = link.next(Duration::from_secs(2)).await {
            heard.push(answer.status().unwrap_or_default());
            if answer.call_id().is_some_and(|call_id| call_id.ends_with("-after")) {
                break;
            }
        }
        if heard.is_empty() { closed += 1 } else { answered += 1 }
    }
    // One more round trip on the same road: everything before it has arrived.
    let mut link = world.place.link(EVIL).await?;
    link.send_and_wait(Letter::new(EVIL, INSIDE, "look-length-last").text(), PROMPT).await?;
    ensure!(!world.inside.of("look-length-last").is_empty(), "the server behind is not reached");
    let smuggled = world.inside.of("look-smuggled").len();
    if smuggled > 0 {
        wrong.push(format!("{smuggled} smuggled requests have arrived"));
    }
    let told: Vec<_> = world.inside.differences();
    let figure = format!(
        "{} forms: {closed} closed, {answered} answered; {} read differently inside {}",
        forms.len(),
        told.len(),
        wrong.join(" | ")
    );
    let bound = "0 smuggled, 0 read differently";
    Ok(line("lengths that lie, in requests", figure, bound, wrong.is_empty() && told.is_empty()))
}

/// Right lengths in odd forms: what passes arrives whole, and as one message.
async fn honest(world: &World) -> Result<Line> {
    let body = hidden("look-smuggled");
    let length = body.len();
    let forms = [
        format!("Content-Length: {length}\r\n"),
        format!("l: {length}\r\n"),
        format!("L:{length}\r\n"),
        format!("CONTENT-LENGTH:   {length}   \r\n"),
        format!("Content-Length: 000{length}\r\n"),
        format!("Content-Length : {length}\r\n"),
        format!("Content-Length\t:\t{length}\r\n"),
        format!("Content-Length:\r\n {length}\r\n"),
        format!("l :\r\n\t {length} \r\n"),
    ];
    let (mut whole, mut refused, mut wrong) = (0, 0, Vec::new());
    for (number, form) in forms.iter().enumerate() {
        let call_id = format!("look-honest-{number}");
        let mut link = world.place.link(EVIL).await?;
        let text = Letter::new(EVIL, INSIDE, &call_id).length(form).body(&body).text();
        let after = Letter::new(EVIL, INSIDE, &format!("{call_id}-after")).text();
        let answer = link.send_and_wait(text + &after, PROMPT).await.ok().and_then(|answer| answer.status());
        if answer != Some(200) {
            refused += 1;
            continue;
        }
        link.next(PROMPT).await.with_context(|| format!("{form:?}: the good one behind it is not answered"))?;
        match world.inside.of(&call_id).as_slice() {
            [one] if one.body == body.as_bytes() => whole += 1,
            other => wrong.push(format!("{form:?} arrives as {other:?}")),
        }
    }
    let figure = format!("{} forms: {whole} arrived whole, {refused} refused {}", forms.len(), wrong.join(" | "));
    let ok = wrong.is_empty() && whole >= 4 && world.inside.of("look-smuggled").is_empty();
    Ok(line("right lengths in odd forms, a request in the body", figure, "whole, or refused", ok))
}

/// The same lies in a partner's answers: our server inside must read one answer or none.
async fn answers(world: &World) -> Result<Line> {
    let hidden = "SIP/2.0 200 OK\r\nCall-ID: look-smuggled-answer\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n";
    let forms = forms(hidden);
    let (mut passed, mut wrong) = (0, Vec::new());
    for (number, (length, body)) in forms.iter().enumerate() {
        let call_id = format!("look-lying-answer-{number}");
        // The partner's manner: what stands in the body, in hexadecimal, is the end of its answer.
        let ending = hex(format!("{length}\r\n{body}").as_bytes());
        let tls = world.place.client(WITNESS)?;
        let stream = world.place.tcp(world.place.edge_inside(), 0, None).await?;
        let (mut stream, _) = tls.connect(stream, EDGE).await?;
        let text = Letter::new(INSIDE, EVIL, &call_id).body(ending).text();
        let after = format!("good behind {number}");
        let text = text + &Letter::new(INSIDE, EVIL, &after).text();
        let Read { answers, differs } = exchange(&mut stream, &text, &after).await?;
        passed += usize::from(answers.iter().any(|(_, status)| *status == 200));
        if answers.len() > 1 || answers.iter().any(|(id, _)| *id != call_id) || !differs.is_empty() {
            wrong.push(format!("{length:?}: {answers:?} {differs:?}"));
        }
    }
    let figure = format!("{} forms: {passed} passed {}", forms.len(), wrong.join(" | "));
    Ok(line("lengths that lie, in answers", figure, "one answer inside, or none", wrong.is_empty()))
}

/// Sends a request and a good one behind it, and reads every answer, as a careless reader does, until that of the good
/// one.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str, after: &str) -> Result<Read> {
    let (mut read, mut inbox, mut piece) = (Read::default(), Vec::new(), [0; 4096]);
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    // What swallows the answer behind it swallows this one too: then there is silence. The good one may also have gone
    // by another connection and be first: then the other is waited for, but not long.
    let mut silence = SILENCE;
    while let Ok(Ok(length @ 1..)) = timeout(silence, stream.read(&mut piece)).await {
        inbox.extend_from_slice(&piece[..length]);
        while let Some(((one, end), differs)) = witness::read(&inbox) {
            inbox.drain(..end);
            read.differs.extend(differs);
            if one.call_id() == after {
                silence = SILENCE / 20;
                continue;
            }
            read.answers.push((one.call_id().to_owned(), one.status().unwrap_or_default()));
        }
    }
    Ok(read)
}

/// What came back, as a careless reader has it.
#[derive(Default)]
struct Read {
    answers: Vec<(String, u16)>,
    differs: Vec<String>,
}

/// When nothing more is expected.
const SILENCE: Duration = Duration::from_millis(1500);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Header lines that say something else than the length of the body behind them, and that body.
fn forms(hidden: &str) -> Vec<(String, String)> {
    let n = hidden.len();
    let line = |text: String| (text, hidden.to_owned());
    vec![
        line(format!("Content-Length: 0\r\nContent-Length: {n}\r\n")),
        line(format!("Content-Length: {n}\r\nContent-Length: 0\r\n")),
        line(format!("Content-Length: {n}\r\nContent-Length: {n}\r\n")),
        line(format!("Content-Length: {n}\r\nl: 0\r\n")),
        line(format!("l: 0\r\nContent-Length: {n}\r\n")),
        line(format!("l: {n}\r\nl: 0\r\n")),
        line(format!("Content-Length: {n}, 0\r\n")),
        line(format!("Content-Length: 0, {n}\r\n")),
        line(format!("Content-Length: +{n}\r\n")),
        line(format!("Content-Length: -{n}\r\n")),
        line("Content-Length: -0\r\n".to_owned()),
        line(format!("Content-Length: 0x{n:x}\r\n")),
        line(format!("Content-Length: {n}.0\r\n")),
        line(format!("Content-Length: {n}e0\r\n")),
        line(format!("Content-Length: {n} 0\r\n")),
        line(format!("Content-Length: \"{n}\"\r\n")),
        line(format!("Content-Length: {n};x=1\r\n")),
        line("Content-Length:\r\n".to_owned()),
        line(String::new()),
        line("Content-Length: \u{664}\r\n".to_owned()),
        line("Content-Length: 18446744073709551616\r\n".to_owned()),
        line(format!("Content-Length: {}\r\n", u64::MAX)),
        line(format!("Content-Length: {}\r\n", i64::MAX)),
        line(format!("Content-Length:\r\n 0\r\nContent-Length : {n}\r\n")),
        line(format!("Content-Length : 0\r\nContent-Length: {n}\r\n")),
        line(format!("Content-Length\t: {n}\r\nContent-Length: 0\r\n")),
        line(format!("Subject: a\rContent-Length: {n}\r\nContent-Length: 0\r\n")),
        line(format!("Subject: a\nContent-Length: {n}\r\nContent-Length: 0\r\n")),
        line(format!("Subject: a\0Content-Length: {n}\r\nContent-Length: 0\r\n")),
        line(format!("Subject: a\r\n Content-Length: {n}\r\nContent-Length: 0\r\n")),
        line(format!("Content-Length: 0\r\n {n}\r\n")),
        line(format!("Content-Length\r\n: {n}\r\nContent-Length: 0\r\n")),
        line(format!("Content_Length: {n}\r\nContent-Length: 0\r\n")),
        line(format!("\u{feff}Content-Length: {n}\r\nContent-Length: 0\r\n")),
        line("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n".to_owned()),
        // Shorter than what follows: the rest is the beginning of something.
        line(format!("Content-Length: {}\r\n", n / 2)),
        line(format!("Content-Length: {}\r\n", n - 1)),
        // Longer: it takes from the next one.
        line(format!("Content-Length: {}\r\n", n + 1)),
        line(format!("Content-Length: {}\r\n", n + 40)),
        // The end of the header in other ways.
        ("Content-Length: 0\r\n\n".to_owned(), hidden.to_owned()),
        ("Content-Length: 0\n\n".to_owned(), hidden.to_owned()),
        ("Content-Length: 0\r\r".to_owned(), hidden.to_owned()),
        (format!("Subject: a\n\n{hidden}\r\nContent-Length: 0\r\n"), String::new()),
    ]
}
