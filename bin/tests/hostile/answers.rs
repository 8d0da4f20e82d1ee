//! Answers that nobody asked for: doubled, guessed, from the wrong connection, by the ten thousand. And the manners of
//! the servers that this test plays.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_sim::phone::RawSip;
use tokio::time::timeout;

use crate::MB;
use crate::call::{Call, callee};
use crate::letter::Letter;
use crate::neighbour::ms;
use crate::report::{Line, line};
use crate::witness::{Heard, Witness};
use crate::world::{EDGE, EVIL, INSIDE, PROMPT, SILENT, WITNESS, World};

/// Answers to nothing.
const STRAY: usize = 10_000;
const GROWTH_MB: u64 = 8;

/// The server behind the edge: it answers everything with 200, and throws back what is to loop.
pub(crate) fn inside() -> Witness {
    Witness::with(|heard| match heard.call_id().starts_with("look-bounce") {
        true => bounced(heard, INSIDE, EVIL),
        false => callee(heard).unwrap_or_else(|| heard.answer("200 OK", "")),
    })
}

/// The hostile partner's edge: what it does is said by the Call-ID.
pub(crate) fn evil() -> Witness {
    Witness::with(|heard| {
        let id = heard.call_id();
        if id.starts_with("look-lying-answer") {
            // The end of the header and what follows stands in the request's body.
            let text = String::from_utf8_lossy(&heard.answer("200 OK", "")).into_owned();
            let head = text.split("Content-Length").next().unwrap_or_default().to_owned();
            return [head.as_bytes(), &unhex(&heard.body)].concat();
        }
        if id.starts_with("look-stamp-answer") {
            let forged = "ms-edge-proxy-message-trust: ms-source-type=DirectPartner;ms-remote-fqdn=forged.example\r\n";
            return heard.answer("200 OK", forged);
        }
        match id {
            _ if id.starts_with("look-ten") => heard.answer("200 OK", "").repeat(10),
            _ if id.starts_with("look-bounce") => bounced(heard, EVIL, INSIDE),
            _ => callee(heard).unwrap_or_else(|| heard.answer("200 OK", "")),
        }
    })
}

/// The same request on its way back, and an answer for whoever sent it: nobody waits for ever.
fn bounced(heard: &Heard, from: &str, to: &str) -> Vec<u8> {
    if heard.status().is_some() || heard.method() == Some("ACK") {
        return Vec::new();
    }
    let mut letter = Letter::new(from, to, heard.call_id());
    letter.method = if heard.method() == Some("INVITE") { "INVITE" } else { "MESSAGE" };
    // As many hops as it had: whoever does this counts none.
    letter.hops = heard.field("max-forwards").map(str::to_owned);
    if !heard.call_id().contains("spiral") {
        for via in heard.fields("via") {
            letter.via = format!("{}\r\nVia: {via}", letter.via);
        }
    } else {
        // With so many Vias it would soon be too long.
        letter.uri = format!("sip:somebody{}@{to}", letter.hops.as_deref().unwrap_or_default());
    }
    [letter.text().into_bytes(), heard.answer("480 Temporarily Unavailable", "")].concat()
}

fn unhex(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let pairs = (0..text.len() / 2).map(|at| text.get(2 * at..2 * at + 2).unwrap_or_default());
    pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    let mut lines = vec![doubled(world).await?];
    for (method, counter, prefix) in [
        ("MESSAGE", "reveille_edge_stray_responses_total", 'e'),
        ("INVITE", "reveille_proxy_stray_responses_total", 'p'),
    ] {
        lines.push(stray(world, method, counter, prefix).await?);
        lines.push(wrong_connection(world, method).await?);
    }
    Ok(lines)
}

/// A partner gives each final answer ten times.
async fn doubled(world: &World) -> Result<Line> {
    const REQUESTS: usize = 100;
    let mut link = world.place.link_to(world.place.edge_inside(), EDGE, WITNESS).await?;
    for number in 0..REQUESTS {
        link.send(Letter::new(INSIDE, EVIL, &format!("look-ten-{number}")).text(), PROMPT).await?;
    }
    let mut heard = Vec::new();
    for _ in 0..REQUESTS {
        heard.push(link.next(PROMPT).await.context("an answer is missing")?.call_id().map(str::to_owned));
    }
    // Each of these follows the doubled ones of its connection, whichever of the few connections it takes.
    for number in 0..16 {
        let answer = link.send_and_wait(Letter::new(INSIDE, EVIL, &format!("behind {number}")).text(), PROMPT).await?;
        heard.extend(answer.call_id().filter(|id| id.starts_with("look-ten")).map(|id| Some(id.to_owned())));
    }
    let count = heard.len();
    heard.sort();
    heard.dedup();
    let figure = format!("{count} answers to {REQUESTS} requests, {} of them different", heard.len());
    Ok(line("each final answer ten times", figure, format!("{REQUESTS}"), count == REQUESTS && heard.len() == count))
}

/// A partner sends answers to nothing, with branches of its own and of our form. Which part of the edge a branch is of
/// says the letter in `prefix`, and that part counts them; what is not of our form at all, the relay.
async fn stray(world: &World, method: &str, counter: &str, prefix: char) -> Result<Line> {
    let (before, counted) = (world.memory()?, world.counted(counter)?);
    let mut link = world.place.link(EVIL).await?;
    let begun = Instant::now();
    for chunk in 0..STRAY / 100 {
        let mut text = String::new();
        for number in 0..100 {
            let (count, key) = (chunk * 100 + number, rand::random::<u64>());
            let status = ["100 Trying", "180 Ringing", "200 OK", "486 Busy Here"][number % 4];
            let branch = match (prefix, number % 3) {
                // Two numbers and a key that has to be guessed.
                ('p', 0) => format!("z9hG4bKp{count:x}.0.{key:016x}.{key:016x}"),
                ('p', 1) => format!("z9hG4bKp{count:x}.ff.0.0"),
                ('p', _) => format!("z9hG4bKp{:x}.0.{key:016x}.{key:016x}", u64::MAX),
                (_, 0) => format!("z9hG4bK{key:x}"),
                // As ours look: a small number, and a key that has to be guessed.
                (_, 1) => format!("z9hG4bKe{count:016x}.{key:016x}.{key:016x}"),
                (_, _) => format!("z9hG4bKe{count:016x}.{:016x}.{key:016x}", 0),
            };
            text += &format!(
                "SIP/2.0 {status}\r\nVia: SIP/2.0/TLS {EDGE};branch={branch}\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\n\
                 From: <sip:a@{INSIDE}>;tag=1\r\nTo: <sip:b@{EVIL}>;tag=2\r\nCall-ID: stray\r\nCSeq: 1 {method}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
        }
        link.send(text, PROMPT).await?;
    }
    let answer = link.send_and_wait(Letter::new(EVIL, INSIDE, "behind them").text(), PROMPT * 2).await?;
    let took = ms(begun.elapsed());
    ensure!(answer.status() == Some(200), "what follows them is answered {:?}", answer.status());
    let grown = world.memory()?.saturating_sub(before) / MB;
    let counted = world.counted(counter)? - counted;
    let figure = format!("dropped in {took:.0} ms, {counted} counted; {grown} MB more");
    let ok = grown <= GROWTH_MB && counted == STRAY as f64;
    let attack = format!("{STRAY} answers to nothing, to {method}");
    Ok(line(attack, figure, format!("all dropped and counted; {GROWTH_MB} MB"), ok))
}

/// The right branch on the wrong connection, while the request waits for its answer.
async fn wrong_connection(world: &World, method: &'static str) -> Result<Line> {
    const REQUESTS: usize = 50;
    let mut link = world.place.link_to(world.place.edge_inside(), EDGE, WITNESS).await?;
    let mut waiting = Vec::new();
    for number in 0..REQUESTS {
        let id = format!("look-silent-{method}-{number}");
        let mut call = Call::new(INSIDE, SILENT, &id);
        call.letter.method = method;
        link.send(call.invite(), PROMPT).await?;
        let heard = timeout(PROMPT * 2, world.silent.wait(&id, 1)).await.context("the silent partner hears nothing")?;
        waiting.extend(heard);
    }
    // The hostile partner knows everything that the silent one was told, and answers in its place.
    let mut other = world.place.link(EVIL).await?;
    for heard in &waiting {
        for status in ["180 Ringing", "200 OK", "603 Decline"] {
            other.send(heard.answer(status, "Contact: <sip:mallory@evil.example>\r\n"), PROMPT).await?;
        }
    }
    other.send_and_wait(Letter::new(EVIL, INSIDE, "behind them").text(), PROMPT).await?;
    // Whatever of it came inside is there by now.
    let probe = Letter { method: "OPTIONS", uri: format!("sip:{EDGE}"), ..Letter::new(INSIDE, EDGE, "probe") };
    link.send(probe.text(), PROMPT).await?;
    let heard = until(&mut link, "probe").await?;
    let figure = format!("{} of {REQUESTS} were taken", heard.len());
    Ok(line(format!("right answers to {method}, wrong connection"), figure, "0", heard.is_empty()))
}

/// The Call-IDs of all answers that come before that of `last`.
async fn until(link: &mut RawSip, last: &str) -> Result<Vec<String>> {
    let (mut heard, end) = (Vec::new(), Instant::now() + Duration::from_secs(10));
    loop {
        let answer = link.next(end.saturating_duration_since(Instant::now())).await?;
        let id = answer.call_id().unwrap_or_default().to_owned();
        if id == last {
            return Ok(heard);
        }
        // The edge's own word that it has an INVITE.
        if answer.status() != Some(100) {
            heard.push(id);
        }
    }
}
