//! Ten thousand requests that are refused, one by one: what is kept and written of them is bounded.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::MB;
use crate::letter::Letter;
use crate::report::{Line, line};
use crate::world::{EVIL, GOOD, INSIDE, PROMPT, World, parsed};

const REQUESTS: usize = 10_000;
/// On one connection under way at once.
const BATCH: usize = 100;
const GROWTH_MB: u64 = 8;
/// A log that a peer can fill is a disk that a peer can fill.
const LOGGED_KB: usize = 512;

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    let (memory, logged, cpu) = (world.memory()?, world.logged(), world.cpu());
    let mut link = world.place.link(EVIL).await?;
    // Somebody who is known: strangers are not listened to for so long.
    link.send_and_wait(Letter::new(EVIL, INSIDE, "its own").text(), PROMPT).await?;
    let begun = Instant::now();
    for _ in 0..REQUESTS / BATCH {
        // It speaks for somebody else.
        let batch: String = (0..BATCH).map(|_| Letter::new(GOOD, INSIDE, "refused").text()).collect();
        link.send(batch, PROMPT).await?;
        for _ in 0..BATCH {
            let status = link.next(PROMPT).await?.status();
            ensure!(matches!(status, Some(403 | 480 | 503)), "a request that speaks for another hears {status:?}");
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let grown = world.memory()?.saturating_sub(memory) / MB;
    let logged = (world.logged() - logged) / 1024;
    let cost = (world.cpu() - cpu).as_micros() / REQUESTS as u128;
    let listed = parsed(world.page("/status")?)?["edge"]["refusals"].as_array().map_or(0, Vec::len);
    Ok(vec![
        line(
            format!("{REQUESTS} refused requests"),
            format!("{took:.1} s, {cost} µs of processor each; {listed} listed; {grown} MB more"),
            format!("100 listed; {GROWTH_MB} MB"),
            listed <= 100 && grown <= GROWTH_MB,
        ),
        line("the log of them", format!("{logged} kB"), format!("{LOGGED_KB} kB"), logged <= LOGGED_KB),
    ])
}
