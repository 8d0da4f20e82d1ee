//! The executable: parses, starts, waits, drains.

mod backup;
mod bench;
mod demo;
mod manual;
mod out;
mod seal_handle;
mod serve;
mod settings;
mod shell;
mod simulate;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every push is some dozens of small pieces that one thread asks for and another gives back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wakes suspended phones: push notifications for voice and messaging that organisations run themselves.
#[derive(Debug, Parser)]
#[command(name = "reveille", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copies everything durable of a configuration, while it serves
    Backup(backup::Backup),
    /// Measures the parts under load
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Validates a configuration; prints the effective one without secrets
    Check {
        /// The configuration
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Prints the script that completes these commands in bash, zsh or fish
    Completions(manual::Completions),
    /// Runs two organisations, all roles and the provider simulators on loopback
    Demo(demo::Options),
    /// Writes the manual pages
    Man(manual::Man),
    /// Puts a backup in the place of the store
    Restore(backup::Restore),
    /// Seals a device's token so that only the publisher can open it, as an app does
    SealHandle(seal_handle::Options),
    /// Runs the roles of a configuration
    Serve(serve::Options),
    /// Imports and exports what the organisation wants
    #[command(subcommand)]
    Settings(settings::Settings),
    /// The management shell: at a terminal, for one line, or for a script
    Shell(shell::Options),
    /// Runs strict provider simulators with a control API
    Simulate(simulate::Options),
    /// Prints the walk of one push in plain words
    Trace(trace::Options),
}

/// The thing asked for failed.
const FAILED: u8 = 1;
/// The configuration is wrong.
const WRONG_CONFIGURATION: u8 = 64;
/// Turns of tasks between two looks at connections and timers.
const TURNS_PER_LOOK: u32 = 7;

fn main() -> ExitCode {
    // Clap ends with 2 on wrong usage by itself.
    let cli = Cli::parse();
    // A turn may handle 32 KiB of messages. With tokio's own 61 turns between two looks, a few connections that send all
    // they can keep everybody else's bytes and timers waiting: seconds in a debug build.
    let runtime = tokio::runtime::Builder::new_multi_thread().event_interval(TURNS_PER_LOOK).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            out::note(&format!("reveille: no threads can be started: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Backup(options) => backup::run(options).await,
            Command::Bench(bench) => bench::run(bench).await,
            Command::Check { config } => serve::check(&config),
            Command::Completions(options) => manual::completions(&options),
            Command::Demo(options) => demo::run(options).await,
            Command::Man(options) => manual::man(&options),
            Command::Restore(options) => backup::restore(options).await,
            Command::SealHandle(options) => seal_handle::run(&options),
            Command::Serve(options) => serve::run(options).await,
            Command::Settings(settings) => settings::run(settings).await,
            Command::Shell(options) => shell::run(options).await,
            Command::Simulate(options) => simulate::run(options).await,
            Command::Trace(options) => trace::run(options).await,
        }
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            out::note(&format!("reveille: {}", sentence(&error)));
            ExitCode::from(FAILED)
        }
    }
}

/// The error with its causes; a cause that the sentence before it holds already is not said twice.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match said.as_str() {
            "" => cause,
            said if said.contains(&cause) => said.to_owned(),
            said => format!("{said}: {cause}"),
        }
    })
}
