//! `reveille bench clearinghouse`: SIP over mutual TLS in, journal, APNs out, verdict journaled.

mod distance;
mod house;
mod overload;
mod paced;
mod push;
mod steady;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

pub(super) use house::configuration;
pub(super) use push::{is_journaled, message, request};

use self::house::House;
use super::{Outcome, rounded};

/// Three apps, so that three lanes work side by side.
const APPS: [&str; 3] = ["org.reveille.one", "org.reveille.two", "org.reveille.three"];
/// To the push service in each lane, as a configuration has them that says nothing of it.
pub(super) const CONNECTIONS: RangeInclusive<usize> = 2..=8;

/// How much.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// How many pushes, each with an id and a token of its own
    #[arg(long, default_value_t = 100_000)]
    pushes: usize,
    /// How many wait for their 202 at once
    #[arg(long, default_value_t = 512)]
    in_flight: usize,
    /// Over how many connections
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// What else is measured then
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PHASE")]
    also: Vec<Phase>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// How long half and twice the rate are offered
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// How long the push service that is far away takes for an answer, in milliseconds
    #[arg(long, default_value_t = 50)]
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

/// What can be measured besides as much as goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Phase {
    /// At half the rate that goes
    Half,
    /// Pushes that wait, their push service being away
    Queued,
    /// At twice the rate that goes
    Overload,
    /// With a push service that is far away
    Distance,
}

impl Load {
    /// What is measured besides.
    fn also(&self) -> &[Phase] {
        if self.all { Phase::value_variants() } else { &self.also }
    }

    /// Over how many connections an edge comes, with how many requests under way.
    fn wide(&self) -> (usize, usize) {
        (self.connections, self.in_flight)
    }
}

/// What was measured with as much as goes.
struct Figures {
    seconds: f64,
    accepted: u64,
    cpu_us_per_unit: f64,
    p50_ms: f64,
    p99_ms: f64,
    peak_rss_mb: f64,
}

impl Figures {
    fn rate(&self) -> f64 {
        self.accepted as f64 / self.seconds
    }

    fn to_json(&self, load: &Load) -> serde_json::Value {
        serde_json::json!({
            "what": "clearinghouse",
            "pushes": load.pushes, "in_flight": load.in_flight, "connections": load.connections, "apps": APPS.len(),
            "rate_per_s": self.rate().round(),
            "cpu_us_per_unit": rounded(self.cpu_us_per_unit),
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms,
            "peak_rss_mb": self.peak_rss_mb.round(),
        })
    }

    fn to_text(&self, load: &Load) -> String {
        format!(
            "clearing house: SIP over mutual TLS in, journal synced, APNs out, verdict journaled\n  \
             {} pushes, {} in flight over {} connections, {} apps\n  \
             {:>10.0} notifications/s   (simulator and load on the same machine)\n  \
             {:>10.2} CPU µs per notification of the clearing house\n  \
             {:>10.2} ms p50, {:.2} ms p99 from request to 202\n  \
             {:>10.0} MB peak memory",
            load.pushes,
            load.in_flight,
            load.connections,
            APPS.len(),
            self.rate(),
            self.cpu_us_per_unit,
            self.p50_ms,
            self.p99_ms,
            self.peak_rss_mb
        )
    }
}

/// Measures.
pub(super) async fn measure(load: &Load, dir: &Path) -> Result<Outcome> {
    let most = most(load, &dir.join("most")).await?;
    let complete = most.accepted == load.pushes as u64;
    let mut whole = Outcome { text: most.to_text(load), json: most.to_json(load), complete };
    for phase in load.also() {
        let (name, part) = match phase {
            Phase::Half => ("half", steady::measure(load, &dir.join("half"), most.rate() / 2.0).await?),
            Phase::Queued => ("queued", steady::queue(load, &dir.join("queued")).await?),
            Phase::Overload => ("overload", overload::measure(load, &dir.join("overload"), most.rate()).await?),
            Phase::Distance => ("distance", distance::measure(load, &dir.join("distance")).await?),
        };
        whole.text.push('\n');
        whole.text.push_str(&part.text);
        whole.json[name] = part.json;
        whole.complete &= part.complete;
    }
    Ok(whole)
}

/// As much as goes, with a bounded number under way: each answer makes room for the next request.
async fn most(load: &Load, dir: &Path) -> Result<Figures> {
    let house = House::open(dir).await?;
    let before = house.usage();
    let begun = Instant::now();
    let source = house.push(1..=load.pushes, load.wide()).await?;
    house.until_idle().await?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = house.usage();
    let [p50_ms, p99_ms] = source.percentiles(0, [0.5, 0.99]);
    let delivered = house.delivered().await?;
    ensure!(delivered == load.pushes as u64, "{} pushes were sent, and the simulator counts {delivered}", load.pushes);
    house.close().await?;
    Ok(Figures {
        seconds,
        accepted: source.answers().0,
        cpu_us_per_unit: (after.cpu - before.cpu).as_micros() as f64 / load.pushes as f64,
        p50_ms,
        p99_ms,
        peak_rss_mb: megabytes(after.peak_rss_bytes),
    })
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
