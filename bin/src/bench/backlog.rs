//! `reveille bench backlog`: pushes that queue while their push services are down, a kill in the middle of it, and what
//! becomes of them when the services are back.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use reveille_core::{Clock as _, DeviceToken};
use reveille_federation::PushRequest;
use reveille_federation::request::To;
use reveille_server::SystemClock;
use reveille_sim::apns::ApnsSimulator;
use reveille_sim::recorder::{Keep, Query};
use tokio_util::sync::CancellationToken;

use super::clearinghouse::{CONNECTIONS, is_journaled, message, request};
use super::source::Source;
use super::yard::{LOUD, Metronome, QUIET, Yard};
use super::{Outcome, rounded};

/// Apps whose service is down.
const DOWN: [&str; 2] = ["org.reveille.one", "org.reveille.two"];
/// And one whose service is there.
const UP: &str = "org.reveille.up";
/// How long the last pushes may take to be over.
const PATIENCE: Duration = Duration::from_secs(300);

/// How much.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// How many pushes queue
    #[arg(long, default_value_t = 1_000_000)]
    pushes: usize,
    /// Where the journal lies: a real disk; target/bench when absent
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// What was measured.
struct Figures {
    accepted_per_s: f64,
    empty_mb: f64,
    full_mb: f64,
    peak_mb: f64,
    journal_bytes_each: f64,
    /// From the start of the process to its listeners, and to a new message at a service that is there.
    ready_s: f64,
    serving_s: f64,
    restarted_mb: f64,
    drained_per_s: f64,
    drained_peak_mb: f64,
    arrived: usize,
    /// How many pushes later than in the order of acceptance one arrived, at most.
    displaced: usize,
}

/// Measures.
pub(super) async fn measure(load: &Load, dir: &Path) -> Result<Outcome> {
    let figures = figures(load, dir).await?;
    let Figures { arrived, displaced, .. } = figures;
    let bounded = (figures.full_mb - figures.empty_mb) * 1_048_576.0 / load.pushes as f64;
    let text = format!(
        "backlog: {} pushes accepted while their push services are down\n  \
         {:>10.0} accepted a second\n  \
         {:>10.0} MB of memory before, {:.0} MB with all of them waiting ({:.0} bytes each), {:.0} MB at most\n  \
         {:>10.0} bytes of journal each\n  \
         {:>10.2} s from the start after a kill to its listeners, {:.2} s to a new message at a service that is there\n  \
         {:>10.0} MB of memory then\n  \
         {:>10.0} a second when the services are back, {:.0} MB at most\n  \
         {:>10} arrived, none more than {} pushes behind its place in the order of acceptance",
        load.pushes,
        figures.accepted_per_s,
        figures.empty_mb,
        figures.full_mb,
        bounded,
        figures.peak_mb,
        figures.journal_bytes_each,
        figures.ready_s,
        figures.serving_s,
        figures.restarted_mb,
        figures.drained_per_s,
        figures.drained_peak_mb,
        arrived,
        displaced,
    );
    let json = serde_json::json!({
        "what": "backlog", "pushes": load.pushes, "accepted_per_s": figures.accepted_per_s.round(),
        "empty_mb": figures.empty_mb.round(), "full_mb": figures.full_mb.round(), "peak_rss_mb": figures.peak_mb.round(),
        "memory_bytes_each": bounded.round(), "journal_bytes_each": figures.journal_bytes_each.round(),
        "ready_s": rounded(figures.ready_s), "serving_s": rounded(figures.serving_s),
        "restarted_mb": figures.restarted_mb.round(), "rate_per_s": figures.drained_per_s.round(),
        "drained_peak_mb": figures.drained_peak_mb.round(), "arrived": arrived, "displaced": displaced,
    });
    Ok(Outcome { text, json, complete: arrived == load.pushes && figures.serving_s < 5.0 && displaced < IN_FLIGHT })
}

async fn figures(load: &Load, dir: &Path) -> Result<Figures> {
    let mut yard = Yard::new(dir, &[DOWN[0], DOWN[1], UP], CONNECTIONS).await?;
    let up = yard.service(UP, 1000, Keep::default()).await?;
    yard.open().await?;
    let mb = |bytes: u64| bytes as f64 / 1_048_576.0;
    let empty_mb = mb(yard.memory()?.1);
    let begun = Instant::now();
    accept(&yard, load.pushes).await?;
    let accepted_per_s = load.pushes as f64 / begun.elapsed().as_secs_f64();
    let (peak, full) = yard.memory()?;
    let journal = yard.journal_bytes();
    yard.kill().await?;

    let begun = Instant::now();
    yard.open().await?;
    let ready_s = begun.elapsed().as_secs_f64();
    one_more(&yard, &up).await?;
    let serving_s = begun.elapsed().as_secs_f64();
    let restarted_mb = mb(yard.memory()?.1);

    let keep = Keep::Newest { entries_max: load.pushes, bytes_max: 4 << 30 };
    let services = [yard.service(DOWN[0], 1000, keep).await?, yard.service(DOWN[1], 1000, keep).await?];
    let begun = Instant::now();
    drained(&yard, &services, load.pushes).await?;
    let drained_per_s = load.pushes as f64 / begun.elapsed().as_secs_f64();
    let (drained_peak, _) = yard.memory()?;
    let (mut arrived, mut displaced) = (0, 0);
    for service in &services {
        let (here, behind) = order(service);
        (arrived, displaced) = (arrived + here, displaced.max(behind));
    }
    yard.kill().await?;
    for service in services.into_iter().chain([up]) {
        service.shutdown().await;
    }
    Ok(Figures {
        accepted_per_s,
        empty_mb,
        full_mb: mb(full),
        peak_mb: mb(peak),
        journal_bytes_each: journal as f64 / load.pushes as f64,
        ready_s,
        serving_s,
        restarted_mb,
        drained_per_s,
        drained_peak_mb: mb(drained_peak),
        arrived,
        displaced,
    })
}

/// Has everything accepted.
async fn accept(yard: &Yard, pushes: usize) -> Result<()> {
    let stop = CancellationToken::new();
    let write = |index| message(LOUD, index, &queued(index));
    let source = Source::new(pushes, Box::new(write), is_journaled);
    let (pool, target) = yard.way().pool(Arc::clone(&source) as _, Arc::clone(&source) as _, 4, &stop);
    source.push_through(&pool, &target, pushes, 512).await;
    stop.cancel();
    pool.finish().await;
    match source.answers() {
        (_, 0) => Ok(()),
        (_, failed) => bail!("{failed} requests were not answered with 202"),
    }
}

fn queued(index: usize) -> PushRequest {
    let mut wanted = request(index, SystemClock.now());
    wanted.expires = wanted.sent.plus(Duration::from_secs(12 * 3600));
    wanted.to = wanted.to.map(|to| To { app: DOWN[index % DOWN.len()].into(), ..to });
    wanted
}

/// A new message of another organisation, to the service that is there.
async fn one_more(yard: &Yard, up: &ApnsSimulator) -> Result<()> {
    let stop = CancellationToken::new();
    let metronome = Arc::new(Metronome::default());
    let (pool, target) = yard.way().pool(Arc::clone(&metronome) as _, Arc::clone(&metronome) as _, 1, &stop);
    let write = |index| {
        let mut wanted = request(index, SystemClock.now());
        let token = DeviceToken::new(format!("{:064x}", 0xf00d));
        wanted.to = wanted.to.map(|to| To { app: UP.into(), token, ..to });
        message(QUIET, index, &wanted)
    };
    metronome.beat((&pool, &target), (1, Duration::from_secs(1)), write).await?;
    tokio::time::timeout(PATIENCE, up.recorder().wait_delivered(1)).await.context("the new message does not arrive")?;
    stop.cancel();
    pool.finish().await;
    Ok(())
}

/// Waits until everything has arrived and is over.
async fn drained(yard: &Yard, services: &[ApnsSimulator], pushes: usize) -> Result<()> {
    let begun = Instant::now();
    let arrived = || services.iter().map(|service| service.recorder().counts().delivered).sum::<u64>();
    while arrived() < pushes as u64 || yard.load().await? != (0, false) {
        ensure!(begun.elapsed() < PATIENCE, "after {PATIENCE:?} {} of {pushes} have arrived", arrived());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// How many different pushes have arrived, and how far behind its place one has, at most.
fn order(service: &ApnsSimulator) -> (usize, usize) {
    let (mut after, mut first) = (0, HashMap::new());
    loop {
        let page = service.recorder().entries(Query { after, ..Query::default() }, 50_000);
        let Some(last) = page.last() else { break };
        after = last.seq;
        for entry in page {
            let at = first.len();
            first.entry(usize::from_str_radix(&entry.push.token, 16).unwrap_or_default()).or_insert(at);
        }
    }
    let mut places: Vec<_> = first.into_iter().collect();
    places.sort_unstable();
    let behind = places.iter().enumerate().map(|(place, (_, arrived))| arrived.saturating_sub(place));
    (places.len(), behind.max().unwrap_or_default())
}

/// So many may be under way at once, on the way in and on the way out: their order among each other is nobody's.
const IN_FLIGHT: usize = 8192;
