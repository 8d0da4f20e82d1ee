//! `reveille backup`, `reveille backup verify`, `reveille restore` (docs/backup.md).

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use reveille_server::backup::{self, Kept, Manifest};
use reveille_server::config;

use crate::{WRONG_CONFIGURATION, out};

/// What to copy where.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Backup {
    /// The configuration whose store is copied; its server may run
    #[arg(short, long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// The folder that it is copied into; it is made, or is empty
    #[arg(long, value_name = "DIR", required = true)]
    to: Option<PathBuf>,
    #[command(subcommand)]
    then: Option<Then>,
}

#[derive(Debug, Subcommand)]
enum Then {
    /// Looks whether a backup is what it was when it was taken
    Verify {
        /// Its folder
        dir: PathBuf,
    },
}

/// What to put back.
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// The configuration whose store is put back; its server must not run
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The backup's folder
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Puts aside what is there
    #[arg(long)]
    force: bool,
}

/// Takes or verifies a backup.
pub(crate) async fn run(options: Backup) -> Result<ExitCode> {
    tokio::task::spawn_blocking(move || match (options.then, options.config, options.to) {
        (Some(Then::Verify { dir }), ..) => {
            let manifest = backup::verify(&dir, &mut tell)?;
            said(&manifest, "is good");
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(config), Some(to)) => with(&config, |raw| {
            let manifest = backup::take(raw, &to, &mut tell)?;
            said(&manifest, "is taken");
            Ok(ExitCode::SUCCESS)
        }),
        (None, ..) => anyhow::bail!("give --config and --to"),
    })
    .await?
}

/// Puts a backup back.
pub(crate) async fn restore(options: Restore) -> Result<ExitCode> {
    tokio::task::spawn_blocking(move || {
        with(&options.config, |raw| {
            let restored = backup::restore(raw, &options.from, options.force, &mut tell)?;
            for path in &restored.put_aside {
                out::note(&format!("what was there is now {}", path.display()));
            }
            if restored.calls_ended > 0 {
                let calls = restored.calls_ended;
                out::note(&format!(
                    "{calls} calls were open then, and end as outcome-unknown: they may have rung since"
                ));
            }
            said(&restored.manifest, "is restored; start the server");
            Ok(ExitCode::SUCCESS)
        })
    })
    .await?
}

fn with(config: &std::path::Path, run: impl FnOnce(&config::Raw) -> Result<ExitCode>) -> Result<ExitCode> {
    match config::read(config) {
        Ok(raw) => run(&raw),
        Err(error) => {
            out::note(&format!("reveille: {error}"));
            Ok(ExitCode::from(WRONG_CONFIGURATION))
        }
    }
}

fn tell(file: &Kept) {
    let took = file.ended.since(file.begun);
    out::note(&format!("{} ({}): {} bytes in {} ms", file.name, file.kind.as_str(), file.bytes, took.as_millis()));
}

fn said(manifest: &Manifest, what: &str) {
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let (files, at) = (manifest.files.len(), &manifest.ended_text);
    out::data(&format!("the backup of {at} with {files} files and {bytes} bytes {what}"));
}
