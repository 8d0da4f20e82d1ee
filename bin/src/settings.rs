//! `reveille settings import|export|remove`: what the organisation wants, as a file: to carry it elsewhere, keep it, or read
//! it where no server runs. One change at a time is what the management shell is for.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use reveille_server::settings_file::Place;
use reveille_server::{config, settings_file};

use crate::{WRONG_CONFIGURATION, out};

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Settings {
    /// Writes all settings as JSON
    Export {
        #[command(flatten)]
        store: Store,
        /// Where to; standard output when absent
        file: Option<PathBuf>,
    },
    /// Puts every record of a JSON file, all or none; running roles follow at once
    Import {
        #[command(flatten)]
        store: Store,
        /// Who is named as author
        #[arg(long, value_name = "NAME")]
        author: Option<String>,
        /// The file
        file: PathBuf,
    },
    /// Removes one record; a global one falls back to its defaults
    Remove {
        #[command(flatten)]
        store: Store,
        /// Who is named as author
        #[arg(long, value_name = "NAME")]
        author: Option<String>,
        /// What it is, for instance AllowedDomain
        kind: String,
        /// Its name or scope, for instance contoso.com
        identity: String,
    },
}

fn author_or_user(author: Option<String>) -> String {
    author.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "import".into())
}

/// Which settings.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Store {
    /// Those of this configuration
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Those in this settings.db; the sites that roles name are believed then
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

impl Store {
    fn place(&self) -> Result<Place> {
        let place = match (&self.config, &self.store) {
            (Some(config), _) => Place::of(&config::read(config)?),
            (None, Some(store)) => Place::at(store),
            (None, None) => anyhow::bail!("give --config or --store"),
        };
        if let Some(folder) = place.settings().parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        Ok(place)
    }
}

/// Imports or exports.
pub(crate) async fn run(settings: Settings) -> Result<ExitCode> {
    match change(settings).await {
        Err(error) if error.is::<config::ConfigError>() => {
            out::note(&format!("reveille: {error}"));
            Ok(ExitCode::from(WRONG_CONFIGURATION))
        }
        outcome => outcome,
    }
}

async fn change(settings: Settings) -> Result<ExitCode> {
    match settings {
        Settings::Export { store, file } => {
            let text = settings_file::export(&store.place()?)?;
            match file {
                Some(file) => {
                    std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
                }
                None => out::data(text.trim_end()),
            }
        }
        Settings::Import { store, author, file } => {
            let version = settings_file::import(&store.place()?, &file, &author_or_user(author)).await?;
            out::note(&format!("{} is imported; the settings are at version {version}", file.display()));
        }
        Settings::Remove { store, author, kind, identity } => {
            let removed = settings_file::remove(&store.place()?, &kind, &identity, &author_or_user(author)).await?;
            let Some(version) = removed else {
                anyhow::bail!("there is no {kind} \"{identity}\"; `reveille settings export` shows what there is");
            };
            out::note(&format!("{kind} \"{identity}\" is removed; the settings are at version {version}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
