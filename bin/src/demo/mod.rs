//! `reveille demo`: contoso.com and its publisher push.example.net on loopback, every role on its own listeners and
//! store files, with the provider simulators beside them.

mod journeys;
pub(crate) mod layout;
mod report;
mod witness;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::{FAILED, out};
use report::Report;
use witness::Witness;
use world::World;

/// How to demonstrate.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Keeps everything here, and writes DIR/demo.json with all addresses, credentials and certificates
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Runs the journeys and exits; the exit status tells
    #[arg(long)]
    once: bool,
    /// With --once: one line of JSON on standard output
    #[arg(long, requires = "once")]
    json: bool,
}

/// Runs the demo.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("reveille-demo-{}", std::process::id())),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let dir = dir.canonicalize()?;
    let witness = Witness::default();
    log_to(&dir.join("demo.log"), witness.clone())?;
    let outcome = match options.once {
        true => once(&dir, witness, options.json).await,
        false => until_interrupted(&dir, witness).await,
    };
    if options.dir.is_none() {
        // Nobody asked to keep it. A demo that failed leaves its log.
        if matches!(outcome, Ok(code) if code == ExitCode::SUCCESS) {
            std::fs::remove_dir_all(&dir).with_context(|| format!("{} cannot be removed", dir.display()))?;
        } else {
            out::note(&format!("everything is kept in {}", dir.display()));
        }
    }
    outcome
}

async fn once(dir: &std::path::Path, witness: Witness, json: bool) -> Result<ExitCode> {
    let mut world = World::start(dir, witness).await?;
    let mut report = Report { ok: true, journeys: Vec::new() };
    for journey in journeys::ALL {
        let done = journeys::run(&mut world, journey).await;
        report.ok &= done.ok;
        if !json {
            out::data(done.to_text().trim_end());
        }
        report.journeys.push(done);
    }
    world.stop().await;
    match json {
        true => out::data(&serde_json::to_string(&report)?),
        false => out::data(&report.summary()),
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn until_interrupted(dir: &std::path::Path, witness: Witness) -> Result<ExitCode> {
    let world = World::start(dir, witness).await?;
    out::data(&world.welcome());
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome?,
        _ = terminate.recv() => {}
    }
    out::note("stopping");
    world.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The roles' logs go to a file, and to the witness.
fn log_to(path: &std::path::Path, witness: Witness) -> Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::sync::Mutex::new(file));
    let roles = EnvFilter::new("off,reveille_home=debug,reveille_edge=debug,reveille_clearinghouse=debug");
    let told = std::env::var("REVEILLE_LOG").unwrap_or_else(|_| "info,reveille=debug,h2=warn,hickory=warn".into());
    tracing_subscriber::registry()
        .with(lines.with_filter(EnvFilter::new(told)))
        .with(witness.with_filter(roles))
        .init();
    Ok(())
}
