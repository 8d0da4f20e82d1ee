//! Coming and going: thousands of connections that end at once, in every way there is. Nothing is left of them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::MB;
use crate::letter::Letter;
use crate::report::{Line, line};
use crate::world::{EVIL, INSIDE, Place, World};

/// Connections of one round.
const CONNECTIONS: usize = 2_000;
/// At once.
const CROWD: usize = 40;
/// A second round, after the first has grown whatever grows once, may add so much.
const GROWTH_MB: u64 = 8;

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let open = world.descriptors()?;
    let mut memory = Vec::new();
    for round in 1..=2 {
        let begun = Instant::now();
        let mut all = JoinSet::new();
        for worker in 0..CROWD {
            all.spawn(come_and_go(world.place.clone(), worker));
        }
        while let Some(outcome) = all.join_next().await {
            outcome?.context("a connection is not even accepted")?;
        }
        let took = begun.elapsed().as_secs_f64();
        // Those to the next hops may have come meanwhile.
        let left = world.until_descriptors(open + 8)?;
        memory.push(world.memory()?);
        let grown = (memory[memory.len() - 1]).saturating_sub(memory[0]) / MB;
        lines.push(line(
            format!("{CONNECTIONS} connections that end at once, round {round}"),
            format!("{open} descriptors before, {left} after {took:.1} s; {grown} MB more than after round 1"),
            format!("{} descriptors; {GROWTH_MB} MB", open + 8),
            grown <= GROWTH_MB,
        ));
    }
    Ok(lines)
}

/// One worker's share: it hangs up after TCP, in the handshake, after it, in a request, or by a reset.
async fn come_and_go(place: Place, worker: usize) -> Result<()> {
    let tls = place.client(EVIL)?;
    for number in 0..CONNECTIONS / CROWD {
        let source = worker * 5 + number;
        match number % 5 {
            0 => drop(place.tcp(place.edge(), source, None).await?),
            1 => {
                let mut stream = place.tcp(place.edge(), source, None).await?;
                stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await?;
            }
            2 => {
                let stream = place.tcp(place.edge(), source, None).await?;
                // A reset instead of a farewell.
                stream.set_zero_linger()?;
            }
            3 => drop(place.wire(&tls, source).await?),
            _ => {
                let (mut stream, _) = place.wire(&tls, source).await?;
                let text = Letter::new(EVIL, INSIDE, "gone").text();
                stream.write_all(&text.as_bytes()[..text.len() / 2]).await?;
                tokio::time::timeout(Duration::from_secs(1), stream.flush()).await??;
            }
        }
    }
    Ok(())
}
