//! Bodies of a gigabyte: announced, and sent fast, slowly or not at all.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::MB;
use crate::letter::Letter;
use crate::neighbour::ms;
use crate::report::{Line, line};
use crate::world::{Duplex, EVIL, INSIDE, PROMPT, Place, World};

/// Connections that announce at the same time.
const CROWD: usize = 100;
const GROWTH_MB: u64 = 48;

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (name, length, bytes) in [
        ("1 GB announced, nothing sent", 1 << 30, 0),
        ("1 GB announced, sent as fast as it goes", 1 << 30, 1 << 30),
        ("8 EB announced, some of it sent", u64::MAX / 2, 1 << 20),
        ("1 MB announced, half of it sent", 1 << 20, 1 << 19),
    ] {
        lines.push(crowd(world, name, length, bytes).await?);
    }
    Ok(lines)
}

/// Many do it at once: each is answered or closed at once, and the edge's memory stays as it is.
async fn crowd(world: &World, name: &str, length: u64, bytes: usize) -> Result<Line> {
    let before = world.memory()?;
    let mut all = JoinSet::new();
    for number in 0..CROWD {
        all.spawn(one(world.place.clone(), number, length, bytes));
    }
    let (mut most, mut taken, mut heard) = (Duration::ZERO, 0, String::new());
    let mut peak = before;
    while let Some(outcome) = all.join_next().await {
        let (took, written, said) = outcome?.with_context(|| name.to_owned())?;
        most = most.max(took);
        taken = taken.max(written);
        heard = said;
        peak = peak.max(world.memory()?);
    }
    let grown = peak.saturating_sub(before) / MB;
    let figure =
        format!("{heard} after {:.0} ms at most; {} kB written at most; {grown} MB more", ms(most), taken / 1024);
    let ok = grown <= GROWTH_MB && heard.starts_with("413") && taken as u64 <= 16 * MB;
    Ok(line(format!("{CROWD} times {name}"), figure, format!("413 at once; {GROWTH_MB} MB"), ok))
}

/// How long until it is answered, what could be written until the end, and the answer.
async fn one(place: Place, number: usize, length: u64, bytes: usize) -> Result<(Duration, usize, String)> {
    let (stream, _) = place.wire(&place.client(EVIL)?, number).await?;
    let letter = Letter::new(EVIL, INSIDE, "gigabyte").length(format!("Content-Length: {length}\r\n"));
    talk(stream, &letter.text(), bytes).await
}

async fn talk(stream: impl Duplex, head: &str, bytes: usize) -> Result<(Duration, usize, String)> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let begun = Instant::now();
    writer.write_all(head.as_bytes()).await?;
    writer.flush().await?;
    let mut taken = 0;
    let writing = async {
        let piece = vec![b'x'; 64 * 1024];
        while taken < bytes && writer.write_all(&piece).await.is_ok() {
            taken += piece.len();
        }
        let _ = writer.flush().await;
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        while let Ok(Ok(length @ 1..)) = timeout(PROMPT * 2, reader.read(&mut piece)).await {
            said.extend_from_slice(&piece[..length]);
            if said.windows(4).any(|window| window == b"\r\n\r\n") {
                break;
            }
        }
        begun.elapsed()
    };
    let took = tokio::select! {
        () = writing => Duration::ZERO,
        took = reading => took,
    };
    let said = String::from_utf8_lossy(&said);
    let said = said.strip_prefix("SIP/2.0 ").unwrap_or(&said).lines().next().unwrap_or("closed").to_owned();
    Ok((took, taken, said))
}
