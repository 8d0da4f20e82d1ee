//! `reveille bench fairness`: what a quiet organisation and calls wait for, from 202 to their push service, alone, while
//! another organisation floods the same app, and while the service of another app stands still under a flood.
//!
//! The flood is made by a thread of low priority: elsewhere it would have a machine of its own, and the time for which it
//! keeps a processor from the clearing house, and from whoever looks at the clock here, is nobody's waiting.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use reveille_core::{Channel, Clock as _, DeviceToken, Event};
use reveille_federation::PushRequest;
use reveille_federation::request::{Call, Media, To};
use reveille_server::SystemClock;
use reveille_sim::apns::ApnsSimulator;
use reveille_sim::recorder::Keep;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::clearinghouse::{CONNECTIONS, is_journaled, message, request};
use super::source::Source;
use super::yard::{LOUD, Metronome, QUIET, Way, Yard, arrivals, percentile};
use super::{Outcome, rounded};

/// The app that everybody shares, and the one whose service stands still.
const SHARED: &str = "org.reveille.shared";
const STILL: &str = "org.reveille.still";
/// What the flood is kept at, of pushes that were accepted and have not arrived.
const BACKLOG: u64 = 100_000;
/// The priority of the thread that makes it, as nice(1) has it.
const NICE: i32 = 5;
/// How long that may take to be queued.
const FLOODED: Duration = Duration::from_secs(60);

/// How much.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// How many pushes of the quiet organisation are timed in each phase, and how many calls
    #[arg(long, default_value_t = 1000)]
    samples: usize,
    /// How many of each a second
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// How long the shared push service takes for an answer, in milliseconds
    #[arg(long, default_value_t = 20)]
    answer_ms: u64,
    /// How many pushes it lets be under way on one connection
    #[arg(long, default_value_t = 100)]
    streams: u32,
    /// Where the journal lies: a real disk; target/bench when absent
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// The times of one phase, in milliseconds.
struct Phase {
    name: &'static str,
    /// Of messages and of calls.
    figures: [Times; 2],
    samples: usize,
    /// The least that waited of the flood, once it had come.
    backlog: Option<u64>,
}

/// Milliseconds of one kind of pushes.
#[derive(Clone, Copy, Default)]
struct Times {
    /// From 202 to the push service: half of them, and 99 in 100.
    half: f64,
    most: f64,
    /// From sending to 202, 99 in 100.
    taken: f64,
    /// From sending to the push service, 99 in 100.
    whole: f64,
}

/// Measures.
pub(super) async fn measure(load: &Load, dir: &Path) -> Result<Outcome> {
    let mut yard = Yard::new(dir, &[SHARED, STILL], CONNECTIONS).await?;
    let keep = Keep::Newest { entries_max: 4_000_000, bytes_max: 3 << 30 };
    let shared = yard.service(SHARED, load.streams, keep).await?;
    shared.delay(Duration::from_millis(load.answer_ms));
    let still = yard.service(STILL, 1000, Keep::CountOnly).await?;
    yard.open().await?;
    let mut phases = Vec::new();
    for (name, flooded) in [("alone", None), ("another floods the same app", Some((SHARED, &shared)))] {
        phases.push(phase(load, &yard, &shared, name, flooded).await?);
    }
    still.hold();
    phases.push(phase(load, &yard, &shared, "another app's service stands still", Some((STILL, &still))).await?);
    let (peak, _) = yard.memory()?;
    yard.kill().await?;
    shared.shutdown().await;
    still.shutdown().await;
    Ok(told(load, &phases, peak as f64 / 1_048_576.0))
}

fn told(load: &Load, phases: &[Phase], peak_mb: f64) -> Outcome {
    let mut text = format!(
        "fairness: from 202 to the push service, which answers after {} ms, {} under way on each of its connections\n",
        load.answer_ms, load.streams
    );
    for (kind, name) in ["messages", "calls"].into_iter().enumerate() {
        text.push_str(&format!(
            "  {name:<36} {:>10} {:>10} {:>12} {:>12} {:>14}\n",
            "p50 ms", "p99 ms", "p99 to 202", "p99 of all", "least backlog"
        ));
        for phase in phases {
            let Times { half, most, taken, whole } = phase.figures[kind];
            let backlog = phase.backlog.map(|least| least.to_string()).unwrap_or_default();
            text.push_str(&format!(
                "    {:<34} {half:>10.2} {most:>10.2} {taken:>12.2} {whole:>12.2} {backlog:>14}\n",
                phase.name
            ));
        }
    }
    let within = |kind: usize, which: fn(&Times) -> f64| {
        let quiet = which(&phases[0].figures[kind]);
        phases[1..].iter().all(|phase| which(&phase.figures[kind]) <= (2.0 * quiet).max(quiet + 10.0))
    };
    let complete = phases.iter().all(|phase| phase.samples == load.samples);
    let (messages, calls) = (within(0, |times| times.most), within(1, |times| times.most));
    let whole = (within(0, |times| times.whole), within(1, |times| times.whole));
    let word = |fair| if fair { "within" } else { "NOT within" };
    text.push_str(&format!(
        "  messages {}, calls {} twice the quiet p99 or 10 ms more, from 202; from sending, messages {}, calls {}; \
         {peak_mb:.0} MB peak memory",
        word(messages),
        word(calls),
        word(whole.0),
        word(whole.1)
    ));
    let json = phases.iter().map(|phase| {
        let kind = |Times { half, most, taken, whole }: Times| {
            serde_json::json!({
                "p50_ms": rounded(half), "p99_ms": rounded(most), "p99_to_202_ms": rounded(taken),
                "p99_of_all_ms": rounded(whole),
            })
        };
        serde_json::json!({
            "phase": phase.name, "samples": phase.samples, "least_backlog": phase.backlog,
            "messages": kind(phase.figures[0]), "calls": kind(phase.figures[1]),
        })
    });
    let json = serde_json::json!({
        "what": "fairness", "rate": load.rate, "answer_ms": load.answer_ms, "streams": load.streams,
        "phases": json.collect::<Vec<_>>(), "fair_messages": messages, "fair_calls": calls,
        "fair_messages_of_all": whole.0, "fair_calls_of_all": whole.1, "peak_rss_mb": peak_mb.round(),
    });
    Outcome { text, json, complete: complete && messages && calls }
}

/// One phase: the quiet organisation's pushes and calls at their rate, with or without a flood.
async fn phase(
    load: &Load,
    yard: &Yard,
    shared: &ApnsSimulator,
    name: &'static str,
    flooded: Option<(&'static str, &ApnsSimulator)>,
) -> Result<Phase> {
    let stop = CancellationToken::new();
    let (messages, calls) = (Arc::new(Metronome::default()), Arc::new(Metronome::default()));
    let each = Duration::from_secs(1) / load.rate.max(1);
    let beat = async |metronome: &Arc<Metronome>, channel| {
        let (pool, target) = yard.way().pool(Arc::clone(metronome) as _, Arc::clone(metronome) as _, 1, &stop);
        let sent = metronome.beat((&pool, &target), (load.samples, each), |index| timed(name, channel, index)).await;
        (pool, sent)
    };
    let flood = match flooded {
        Some((app, service)) => Some(Flood::begin(app, service, yard.way(), &stop).await?),
        None => None,
    };
    let ((first, sent), (second, rung)) = tokio::join!(beat(&messages, Channel::Message), beat(&calls, Channel::Voip));
    sent?;
    rung?;
    let backlog = match flood {
        Some(flood) => Some(flood.end().await?),
        None => None,
    };
    let arrived = settle(shared, name, load.samples).await;
    stop.cancel();
    tokio::join!(first.finish(), second.finish());
    let mut samples = usize::MAX;
    let mut figures = [Times::default(); 2];
    for (kind, (metronome, channel)) in [(&messages, Channel::Message), (&calls, Channel::Voip)].into_iter().enumerate()
    {
        let (mut waited, mut taken, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (sent, answered)) in metronome.times().into_iter().enumerate() {
            let answered = answered.context("a request has no answer")?;
            taken.push((answered - sent) as f64 / 1000.0);
            if let Some(arrived) = arrived.get(&*token(name, channel, index)) {
                // Their clock tells milliseconds; half of one is lost in the middle.
                let since = |then: u64| (*arrived as f64 + 0.5 - then as f64 / 1000.0).max(0.0);
                waited.push(since(answered));
                whole.push(since(sent));
            }
        }
        samples = samples.min(waited.len());
        figures[kind] = Times {
            half: percentile(&mut waited, 0.5)?,
            most: percentile(&mut waited, 0.99)?,
            taken: percentile(&mut taken, 0.99)?,
            whole: percentile(&mut whole, 0.99)?,
        };
    }
    Ok(Phase { name, figures, samples, backlog })
}

/// Waits a while for the last ones to arrive.
async fn settle(shared: &ApnsSimulator, name: &str, samples: usize) -> std::collections::HashMap<Box<str>, u64> {
    let prefix = prefix(name);
    for _ in 0..40 {
        let arrived = arrivals(shared, |token| token.starts_with(&prefix));
        if arrived.len() == 2 * samples {
            return arrived;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    arrivals(shared, |token| token.starts_with(&prefix))
}

/// Keeps up to a hundred thousand pushes of the loud organisation waiting until it is ended, as many as a service that
/// answers leaves waiting.
struct Flood {
    aside: Aside,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<Result<()>>,
}

/// A runtime that may be let go of on another's thread.
struct Aside(Option<Runtime>);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a flood and whoever has begun it tell each other.
#[derive(Default)]
struct Shared {
    /// So many have been accepted.
    queued: Notify,
    over: AtomicBool,
    /// The least that waited since then.
    least: AtomicU64,
}

impl Flood {
    /// Begins it, and waits until so many have been accepted.
    async fn begin(app: &'static str, service: &ApnsSimulator, way: &Way, stop: &CancellationToken) -> Result<Self> {
        let lower = || {
            if let Err(error) = rustix::process::nice(NICE) {
                crate::out::note(&format!("the flood has the priority of all: {error}"));
            }
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).on_thread_start(lower).enable_all().build()?;
        let shared = Arc::new(Shared::default());
        let recorder = Arc::clone(service.recorder());
        let before = recorder.counts().delivered;
        let delivered = move || recorder.counts().delivered - before;
        let task = runtime.spawn(flood(app, delivered, way.clone(), Arc::clone(&shared), stop.clone()));
        let aside = Aside(Some(runtime));
        tokio::time::timeout(FLOODED, shared.queued.notified()).await.context("the flood does not queue")?;
        Ok(Self { aside, shared, task })
    }

    /// Ends it. Answers the least that has waited of it.
    async fn end(self) -> Result<u64> {
        let Self { aside, shared, task } = self;
        shared.over.store(true, Ordering::Release);
        task.await??;
        drop(aside);
        Ok(shared.least.load(Ordering::Relaxed))
    }
}

async fn flood(
    app: &'static str,
    delivered: impl Fn() -> u64,
    way: Way,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> Result<()> {
    let write = move |index| message(LOUD, index, &loud(app, index));
    let source = Source::new(20_000_000, Box::new(write), is_journaled);
    let stop = stop.child_token();
    let (pool, target) = way.pool(Arc::clone(&source) as _, Arc::clone(&source) as _, 4, &stop);
    let mut goal = 0;
    shared.least.store(u64::MAX, Ordering::Relaxed);
    while !shared.over.load(Ordering::Acquire) {
        let waiting = source.answers().0.saturating_sub(delivered());
        if source.answers().0 >= BACKLOG {
            shared.queued.notify_one();
            shared.least.fetch_min(waiting, Ordering::Relaxed);
        }
        if waiting >= BACKLOG {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        goal += 5000;
        source.push_through(&pool, &target, goal, 512).await;
    }
    stop.cancel();
    pool.finish().await;
    match source.answers() {
        (_, 0) => Ok(()),
        (_, failed) => anyhow::bail!("{failed} requests of the flood were not answered with 202"),
    }
}

fn loud(app: &'static str, index: usize) -> PushRequest {
    let mut wanted = request(index, SystemClock.now());
    if let Some(to) = &mut wanted.to {
        to.app = app.into();
    }
    wanted
}

/// A push of the quiet organisation, by whose token its time of arrival is found.
fn timed(name: &str, channel: Channel, index: usize) -> Bytes {
    let now = SystemClock.now();
    let mut wanted = request(index, now);
    wanted.collapse = None;
    wanted.to =
        wanted.to.map(|to| To { app: SHARED.into(), token: DeviceToken::new(token(name, channel, index)), ..to });
    if channel == Channel::Voip {
        let call = Call { id: format!("call-{index}").into(), media: Media::Audio, caller: None };
        (wanted.channel, wanted.event, wanted.call) = (channel, Event::Call, Some(call));
        (wanted.badge, wanted.expires) = (None, now.plus(Duration::from_secs(25)));
    }
    message(QUIET, index, &wanted)
}

/// Hexadecimal, as Apple's are.
fn prefix(name: &str) -> String {
    format!("{:08x}", name.bytes().fold(0x0f0f_u32, |sum, byte| sum.rotate_left(5) ^ u32::from(byte)) | 0x8000_0000)
}

fn token(name: &str, channel: Channel, index: usize) -> String {
    let channel = if channel == Channel::Voip { "ca11" } else { "beef" };
    format!("{}{channel}{index:052x}", prefix(name))
}
