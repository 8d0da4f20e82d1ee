//! `reveille bench`: the parts under load, each as a process of its own, measured by what the operating system counts.

mod backlog;
mod child;
mod clearinghouse;
mod edge;
mod fairness;
mod kamailio;
mod source;
mod yard;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::{FAILED, out};

/// No run may take longer.
const LIMIT: Duration = Duration::from_secs(900);

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Pushes that queue while their push service is down: memory, a restart over them, how fast they go afterwards
    Backlog(backlog::Load),
    /// SIP over mutual TLS in, journal, APNs out, verdict journaled; one push request per MESSAGE
    Clearinghouse(clearinghouse::Load),
    /// MESSAGE relayed, mutual TLS in and mutual TLS out; with --kamailio the same load on Kamailio in the same run
    Edge(edge::Load),
    /// What a quiet organisation and calls wait for while another organisation floods, and a push service stands still
    Fairness(fairness::Load),
}

/// What one run found: for people, for machines, and whether everything was answered rightly.
struct Outcome {
    text: String,
    json: serde_json::Value,
    complete: bool,
}

/// Measures.
pub(crate) async fn run(bench: Bench) -> Result<ExitCode> {
    let (dir, json) = match &bench {
        Bench::Backlog(load) => (&load.dir, load.json),
        Bench::Clearinghouse(load) => (&load.dir, load.json),
        Bench::Edge(load) => (&load.dir, load.json),
        Bench::Fairness(load) => (&load.dir, load.json),
    };
    let dir = dir.clone().unwrap_or_else(|| PathBuf::from("target/bench")).join(std::process::id().to_string());
    std::fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let outcome = tokio::time::timeout(LIMIT, measure(&bench, &dir)).await;
    std::fs::remove_dir_all(&dir).with_context(|| format!("{} cannot be removed", dir.display()))?;
    let outcome = outcome.context("the run took too long")??;
    match json {
        true => out::data(&outcome.json.to_string()),
        false => out::data(&outcome.text),
    }
    Ok(if outcome.complete { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn measure(bench: &Bench, dir: &Path) -> Result<Outcome> {
    let dir = &dir.canonicalize()?;
    match bench {
        Bench::Backlog(load) => backlog::measure(load, dir).await,
        Bench::Clearinghouse(load) => clearinghouse::measure(load, dir).await,
        Bench::Edge(load) => edge::measure(load, dir).await,
        Bench::Fairness(load) => fairness::measure(load, dir).await,
    }
}

/// To two decimals, as figures are printed.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
