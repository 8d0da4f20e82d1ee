//! Readers that do not read: a partner that asks and never listens, and a partner's edge that takes nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::MB;
use crate::letter::Letter;
use crate::neighbour::ms;
use crate::report::{Line, line};
use crate::world::{DEAF, EDGE, EVIL, INSIDE, WITNESS, World};

/// 1 MiB of answers may wait on one connection; the rest is what it takes to serve at that moment.
const GROWTH_MB: u64 = 24;
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    Ok(vec![asks_and_never_listens(world).await?, takes_nothing(world).await?])
}

async fn asks_and_never_listens(world: &World) -> Result<Line> {
    let before = world.memory()?;
    let tls = world.place.client(EVIL)?;
    let stream = world.place.tcp(world.place.edge(), 7, Some(4096)).await?;
    let (mut stream, _) = tls.connect(stream, EDGE).await?;
    // Half of them are answered by the edge itself, half by the server behind it.
    let two = Letter::new(EVIL, "nobody.example", "deaf").text() + &Letter::new(EVIL, INSIDE, "plain").text();
    let batch = two.repeat(50);
    let (begun, mut sent, mut peak) = (Instant::now(), 0_usize, before);
    let asking = async {
        while stream.write_all(batch.as_bytes()).await.is_ok() {
            sent += 100;
            peak = peak.max(world.memory().unwrap_or_default());
        }
    };
    let closed = timeout(PATIENCE, asking).await.is_ok();
    let grown = peak.max(world.memory()?).saturating_sub(before) / MB;
    let took = begun.elapsed().as_secs_f64();
    let figure = format!("closed: {closed}, after {sent} requests and {took:.1} s; {grown} MB more");
    let bound = format!("closed at 1 MiB of answers; {GROWTH_MB} MB");
    Ok(line("a partner that asks and never reads", figure, bound, closed && grown <= GROWTH_MB))
}

/// We write to a partner whose edge reads nothing: its queue is bounded, and whoever writes is told.
async fn takes_nothing(world: &World) -> Result<Line> {
    const REQUESTS: usize = 10_000;
    let before = world.memory()?;
    world.deaf.stop_reading();
    let tls = world.place.client(WITNESS)?;
    let stream = world.place.tcp(world.place.edge_inside(), 0, None).await?;
    let (stream, _) = tls.connect(stream, EDGE).await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let begun = Instant::now();
    let writing = async {
        for number in 0..REQUESTS {
            let text = Letter::new(INSIDE, DEAF, &format!("to-the-deaf-{number}")).body("x".repeat(4096)).text();
            writer.write_all(text.as_bytes()).await?;
        }
        writer.flush().await
    };
    let mut inbox = Vec::new();
    let reading = async {
        let mut piece = vec![0; 64 * 1024];
        // Whatever cannot leave is answered; what lies in the kernels' buffers is not.
        while let Ok(Ok(length @ 1..)) = timeout(Duration::from_secs(2), reader.read(&mut piece)).await {
            inbox.extend_from_slice(&piece[..length]);
        }
    };
    let (written, ()) = tokio::join!(writing, reading);
    written.context("the edge has closed its own server's connection")?;
    let heard = String::from_utf8_lossy(&inbox);
    // Its share is full, or the next hop does not take more.
    let told =
        ["SIP/2.0 480", "SIP/2.0 503", "SIP/2.0 504"].iter().map(|line| heard.matches(line).count()).sum::<usize>();
    let grown = world.memory()?.saturating_sub(before) / MB;
    let figure =
        format!("{told} of {REQUESTS} told 480, 503 or 504 within {:.0} ms; {grown} MB more", ms(begun.elapsed()));
    let bound = format!("what does not fit is told; {GROWTH_MB} MB");
    Ok(line("40 MB for a partner whose edge reads nothing", figure, bound, told > REQUESTS / 5 && grown <= GROWTH_MB))
}
