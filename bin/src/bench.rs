//! `reveille bench`: the parts under load.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// SIP over mutual TLS in, journal, APNs out
    Clearinghouse,
}

/// Measures.
pub(crate) async fn run(bench: Bench) -> Result<ExitCode> {
    match bench {
        Bench::Clearinghouse => Ok(ExitCode::SUCCESS),
    }
}
