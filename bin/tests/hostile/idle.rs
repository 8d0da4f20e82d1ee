//! Thousands of idle connections, each with mutual TLS: what one costs, and that all of them can go again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::neighbour::Neighbour;
use crate::report::{Line, line};
use crate::world::{Duplex, EVIL, PROMPT, Place, World};

/// Fewer on a machine that allows fewer descriptors.
const VARIABLE: &str = "REVEILLE_HOSTILE_IDLE";
const CONNECTIONS: usize = 8_000;
/// Handshakes at once.
const CROWD: usize = 64;
/// What one idle connection may cost.
const BYTES_EACH: u64 = 40 * 1024;

pub(crate) async fn play(world: &World, neighbour: &Neighbour) -> Result<Vec<Line>> {
    let count = std::env::var(VARIABLE).ok().and_then(|value| value.parse().ok()).unwrap_or(CONNECTIONS);
    let (open, memory, cpu) = (world.descriptors()?, world.memory()?, world.cpu());
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..CROWD {
        let share = count / CROWD + usize::from(worker < count % CROWD);
        workers.spawn(sit_down(world.place.clone(), worker, share));
    }
    let mut idle = Vec::new();
    while let Some(outcome) = workers.join_next().await {
        idle.extend(outcome??);
    }
    let came = begun.elapsed().as_secs_f64();
    let cpu = (world.cpu() - cpu).as_micros() as u64 / count as u64;
    let held = world.descriptors()?.saturating_sub(open);
    let each = world.memory()?.saturating_sub(memory) / count as u64;
    let begun = Instant::now();
    neighbour.written(300).await?;
    let served = neighbour.served(begun);
    ensure!(idle.len() == count, "{} of {count} are there", idle.len());
    let mut lines = vec![
        line(
            format!("{count} idle connections, mutual TLS"),
            format!("{held} held after {came:.1} s, {cpu} µs of processor each"),
            format!("{count}"),
            held >= count,
        ),
        line(
            "memory of an idle connection",
            format!("{each} bytes"),
            format!("{BYTES_EACH} bytes"),
            each <= BYTES_EACH,
        ),
        line(
            "the good partner beside them",
            served.to_string(),
            "p99 of 100 ms",
            served.p99 <= Duration::from_millis(100),
        ),
    ];
    let begun = Instant::now();
    // On the side, since each says farewell.
    tokio::task::spawn_blocking(move || drop(idle)).await?;
    let left = world.until_descriptors(open + 8)?;
    let went = begun.elapsed().as_secs_f64();
    lines.push(line(
        "all of them hang up",
        format!("{left} descriptors {went:.1} s later"),
        format!("{}", open + 8),
        true,
    ));
    Ok(lines)
}

/// Connections that say one keep-alive, hear its answer (RFC 5626 §4.4.1), and nothing more.
async fn sit_down(place: Place, worker: usize, count: usize) -> Result<Vec<Box<dyn Duplex>>> {
    let tls = place.client(EVIL)?;
    let mut seated = Vec::with_capacity(count);
    for number in 0..count {
        let (mut stream, _) =
            place.wire(&tls, worker * 3 + number).await.with_context(|| format!("number {number}"))?;
        stream.write_all(b"\r\n\r\n").await?;
        stream.flush().await?;
        let mut pong = [0; 2];
        timeout(PROMPT * 4, stream.read_exact(&mut pong)).await.context("no pong")??;
        ensure!(&pong == b"\r\n", "the pong is {pong:?}");
        seated.push(stream);
    }
    Ok(seated)
}
