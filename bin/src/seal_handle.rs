//! `reveille seal-handle`: what an app does with its token on a device, for whoever develops one (docs/handles.md).

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use reveille_core::SipDomain;
use reveille_sim::handle::{Bound, seal};

use crate::out;

/// Far longer than any token.
const TOKEN_BYTES_MAX: u64 = 4096;

/// What to seal, and for whom.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What the publisher publishes for devices: Get-CsPushHandleKey -Document, or its /.well-known/reveille-handle-keys
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The push service
    #[arg(long)]
    provider: Provider,
    /// Its name for the app: bundle id, project id
    #[arg(long)]
    app: String,
    /// The world that the token is of
    #[arg(long, default_value = "production")]
    environment: Environment,
    /// The organisation whose home the device signs in to
    #[arg(long, value_name = "DOMAIN")]
    origin: SipDomain,
    /// The file with the token; standard input when absent
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    Apns,
    Fcm,
    Mpns,
    Webpush,
    Wns,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Environment {
    Production,
    Sandbox,
}

/// Prints the handle of a token. The token comes from a file or a pipe, and not from the command line, where everybody on
/// the machine could read it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let keys =
        std::fs::read_to_string(&options.keys).with_context(|| format!("{} cannot be read", options.keys.display()))?;
    let mut token = String::new();
    match &options.file {
        Some(file) => std::fs::File::open(file)
            .and_then(|from| from.take(TOKEN_BYTES_MAX).read_to_string(&mut token))
            .with_context(|| format!("{} cannot be read", file.display()))?,
        None => std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut token).context("standard input")?,
    };
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("what was given is no token: those of push services are one word of visible ASCII characters");
    }
    let (provider, environment) = (options.provider.to_possible_value(), options.environment.to_possible_value());
    let (provider, environment) = provider.zip(environment).context("every value has its word")?;
    let bound = Bound {
        provider: provider.get_name(),
        app: &options.app,
        environment: environment.get_name(),
        origin: options.origin.as_str(),
    };
    out::data(&seal(&keys, bound, token)?);
    Ok(ExitCode::SUCCESS)
}
