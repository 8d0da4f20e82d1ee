//! Thousands of idle connections, each with mutual TLS: what one costs, and that all of them can go again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_sip_net::TlsClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::neighbour::Neighbour;
use crate::report::{Line, line, timed};
use crate::world::{CROWDS, Duplex, EVIL, PROMPT, Place, World, crowd};

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
    let held = world.descriptors()?;
    let each = world.memory()?.saturating_sub(memory) / count as u64;
    let begun = Instant::now();
    neighbour.written(300).await?;
    let served = neighbour.served(begun);
    ensure!(idle.len() == count, "{} of {count} are there", idle.len());
    let mut lines = vec![
        line(
            format!("{count} idle connections, mutual TLS"),
            format!("{held} descriptors after {came:.1} s, {cpu} µs of processor each"),
            format!("{count}"),
            held >= count,
        ),
        line(
            "memory of an idle connection",
            format!("{each} bytes"),
            format!("{BYTES_EACH} bytes"),
            each <= BYTES_EACH,
        ),
        timed(
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
    lines.push(more_than_a_share(world).await?);
    Ok(lines)
}

/// One partner wants more connections than its share: the first that are too many are closed, and it is told why.
async fn more_than_a_share(world: &World) -> Result<Line> {
    const WANTED: usize = 1_100;
    let mut workers = JoinSet::new();
    for worker in 0..CROWD {
        let place = world.place.clone();
        let share = WANTED / CROWD + usize::from(worker < WANTED % CROWD);
        workers.spawn(async move {
            let tls = place.client(EVIL)?;
            let (mut seated, mut turned_away) = (Vec::new(), 0);
            for number in 0..share {
                match seat(&place, &tls, worker * 3 + number).await {
                    Ok(stream) => seated.push(stream),
                    Err(_) => turned_away += 1,
                }
            }
            anyhow::Ok((seated, turned_away))
        });
    }
    let (mut seated, mut turned_away) = (Vec::new(), 0);
    while let Some(outcome) = workers.join_next().await {
        let (more, away) = outcome??;
        seated.extend(more);
        turned_away += away;
    }
    let figure = format!("{} of {WANTED} seated, {turned_away} turned away", seated.len());
    tokio::task::spawn_blocking(move || drop(seated)).await?;
    Ok(line(
        "one partner wants more than its share",
        figure,
        "1000 seated, the rest turned away",
        turned_away == WANTED - 1000,
    ))
}

/// Connections that say one keep-alive, hear its answer, and nothing more.
async fn sit_down(place: Place, worker: usize, count: usize) -> Result<Vec<Box<dyn Duplex>>> {
    let tls = place.client(&crowd(worker % CROWDS))?;
    let mut seated = Vec::with_capacity(count);
    for number in 0..count {
        let stream = seat(&place, &tls, worker * 3 + number).await;
        seated.push(stream.with_context(|| format!("connection {number} of {}", crowd(worker % CROWDS)))?);
    }
    Ok(seated)
}

/// One more of them (RFC 5626 §4.4.1: a ping is answered with a pong).
async fn seat(place: &Place, tls: &TlsClient, source: usize) -> Result<Box<dyn Duplex>> {
    let (mut stream, _) = place.wire(tls, source).await?;
    stream.write_all(b"\r\n\r\n").await?;
    stream.flush().await?;
    let mut pong = [0; 2];
    timeout(PROMPT * 4, stream.read_exact(&mut pong)).await.context("no pong")??;
    ensure!(&pong == b"\r\n", "the pong is {pong:?}");
    Ok(stream)
}
