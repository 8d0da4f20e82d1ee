//! One partner sends all that it can, on several connections: the flooder is told, and the good partner notices nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::hose::{Ear, Tally};
use crate::letter::Letter;
use crate::neighbour::{Neighbour, ms};
use crate::report::{Line, line, timed};
use crate::world::{FLOOD, INSIDE, Place, World, parsed};

/// The flooder's connections.
const CONNECTIONS: usize = 8;
/// Quiet and flood by turns, so that whatever else this machine does falls on both.
const ROUNDS: usize = 5;
/// The good partner's messages in each.
const SAMPLES: usize = 250;
/// How much slower the good partner may be served.
const SLACK: Duration = Duration::from_millis(10);

pub(crate) async fn play(world: &World, neighbour: &Neighbour) -> Result<Vec<Line>> {
    let open_before = world.descriptors()?;
    let tally = Arc::new(Tally::default());
    let (tap, open) = watch::channel(false);
    let mut flooders = JoinSet::new();
    for number in 0..CONNECTIONS {
        flooders.spawn(flooder(world.place.clone(), number, Arc::clone(&tally), open.clone()));
    }
    let (mut quiet, mut flood) = (Vec::new(), Vec::new());
    let mut flooded = Duration::ZERO;
    'rounds: for _ in 0..ROUNDS {
        for (on, times) in [(false, &mut quiet), (true, &mut flood)] {
            tap.send_replace(on);
            let opened = Instant::now();
            // What the other state has left is over by then. Too few samples are told below.
            let settled = neighbour.written(20).await.is_ok();
            let begun = Instant::now();
            let served = settled && neighbour.written(SAMPLES).await.is_ok();
            times.push((begun, Instant::now()));
            if on {
                flooded += opened.elapsed();
            }
            if !served {
                break 'rounds;
            }
        }
    }
    tap.send_replace(false);
    let (quiet, flood) = (neighbour.served_in(&quiet), neighbour.served_in(&flood));
    let sent = tally.sent.load(Ordering::Relaxed);
    let statuses = tally.statuses();
    let bound = quiet.bound(&flood, SLACK);
    let mut lines = vec![timed(
        format!("flood on {CONNECTIONS} connections: the good partner's p99"),
        format!("quiet {:.1} ms, flooded {:.1} ms ({} samples)", ms(quiet.p99), ms(flood.p99), flood.count),
        format!("{:.1} ms", ms(bound)),
        flood.p99 <= bound && quiet.count >= 1000 && flood.count >= 1000,
    )];
    let told: u64 = statuses.iter().filter(|(status, _)| matches!(**status, 480 | 503)).map(|(_, count)| count).sum();
    let retry = tally.retry_after();
    let passed = statuses.get(&200).copied().unwrap_or_default();
    let seconds = flooded.as_secs_f64().max(0.001);
    lines.push(line(
        "flood: the flooder is told",
        format!(
            "{:.0}/s sent, {:.0}/s passed, {statuses:?}, {retry} with Retry-After",
            sent as f64 / seconds,
            passed as f64 / seconds
        ),
        "480 or 503, with Retry-After",
        // The last answers are cut off in the middle.
        told > 0 && retry + 100 >= told,
    ));
    lines.push(visible(world)?);
    flooders.shutdown().await;
    // What comes next counts descriptors.
    world.until_descriptors(open_before + 8)?;
    Ok(lines)
}

/// One connection of the flooder: it writes whenever the tap is open, and reads always.
async fn flooder(place: Place, number: usize, tally: Arc<Tally>, mut open: watch::Receiver<bool>) -> Result<()> {
    const BATCH: u64 = 50;
    let tls = place.client(FLOOD)?;
    let batch = || (0..BATCH).map(|_| Letter::new(FLOOD, INSIDE, "plain").text()).collect::<String>();
    let batches: Vec<String> = (0..20).map(|_| batch()).collect();
    let mut batches = batches.iter().cycle();
    loop {
        let (stream, _) = place.wire(&tls, 20 + number).await?;
        let (reader, mut writer) = tokio::io::split(stream);
        let mut ear = Ear::new(reader);
        let writing = async {
            loop {
                open.wait_for(|open| *open).await?;
                let batch = batches.next().map(String::as_str).unwrap_or_default();
                writer.write_all(batch.as_bytes()).await?;
                writer.flush().await?;
                tally.sent.fetch_add(BATCH, Ordering::Relaxed);
            }
        };
        let ended: Result<()> = tokio::select! {
            ended = writing => ended,
            ended = ear.listen(&tally, |_| false) => ended.map(drop),
        };
        // The tap has gone: it is over.
        if ended.is_err_and(|error| error.is::<watch::error::RecvError>()) {
            return Ok(());
        }
    }
}

/// The flooder can be seen by the administrator.
fn visible(world: &World) -> Result<Line> {
    let page = world.page("/edge/partners")?;
    let shown = match parsed(page) {
        Ok(page) => page.to_string().contains(FLOOD),
        Err(_) => false,
    };
    let (_, metrics) = world.page("/metrics")?;
    let measured = metrics.lines().any(|line| line.contains(FLOOD));
    let figure = format!("/edge/partners: {shown}; /metrics: {measured}");
    Ok(line("flood: the flooder can be seen", figure, "on both", shown && measured))
}
