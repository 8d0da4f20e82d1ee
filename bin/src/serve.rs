//! `reveille serve` and `reveille check`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use reveille_core::Clock as _;
use reveille_server::config::{self, ConfigError};
use reveille_server::{Server, StartError, SystemClock, logging};
use tokio::signal::unix::{SignalKind, signal};

use crate::{FAILED, WRONG_CONFIGURATION, out};

/// How to serve.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Writes "ready" to this file descriptor when every role listens
    #[arg(long, value_name = "N")]
    ready_fd: Option<u32>,
}

/// Runs the roles of a configuration until SIGTERM or SIGINT; SIGHUP reads certificates, roots and revocation lists
/// again.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let raw = match config::read(&options.config) {
        Ok(raw) => raw,
        Err(error) => return Ok(wrong(&error.to_string())),
    };
    logging::start(&raw.log);
    let mut server = match Server::start(&raw).await {
        Ok(server) => server,
        Err(error @ (StartError::Store(_) | StartError::Listen { .. })) => {
            out::note(&format!("reveille: {error}"));
            return Ok(ExitCode::from(FAILED));
        }
        Err(error) => return Ok(wrong(&error.to_string())),
    };
    server.follow(&options.config);
    say_ready(options.ready_fd)?;
    let (mut hangup, mut terminate) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let mut failed = false;
    loop {
        tokio::select! {
            _ = hangup.recv() => server.reload(),
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            () = server.failed() => {
                failed = true;
                break;
            }
        }
    }
    let in_time = server.stop().await;
    out::note(if in_time { "reveille: stopped" } else { "reveille: stopped, and not everything finished in time" });
    Ok(if in_time && !failed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Tells whoever started this process that it serves: on a file descriptor, and to systemd if it listens.
fn say_ready(fd: Option<u32>) -> Result<()> {
    if let Some(fd) = fd {
        OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}"))?.write_all(b"ready\n")?;
    }
    // sd_notify(3): one datagram to the socket that the environment names; "@" begins an abstract one.
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.to_string_lossy().starts_with('@')) {
        UnixDatagram::unbound()?.send_to(b"READY=1", socket)?;
    }
    Ok(())
}

/// Validates a configuration, ports and all, and prints the effective one.
pub(crate) fn check(path: &Path) -> Result<ExitCode> {
    let raw = match config::read(path) {
        Ok(raw) => raw,
        Err(error) => return Ok(wrong(&error.to_string())),
    };
    let faults = config::check(&raw, true);
    if !faults.is_empty() {
        return Ok(wrong(&ConfigError::Faults { faults }.to_string()));
    }
    out::data(&toml::to_string_pretty(&raw)?);
    let warnings = config::warnings(&raw, SystemClock.now());
    for warning in &warnings {
        out::note(&format!("warning: {warning}"));
    }
    let what = match warnings.len() {
        0 => "nothing is wrong",
        _ => "nothing is wrong yet; see the warnings",
    };
    out::note(&format!("{}: {what}", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn wrong(sentences: &str) -> ExitCode {
    for sentence in sentences.lines() {
        out::note(sentence);
    }
    ExitCode::from(WRONG_CONFIGURATION)
}
