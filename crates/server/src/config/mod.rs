//! What this machine is: one TOML file, read, checked, and turned into the roles' own configurations.
//!
//! Nothing that an organisation *wants* stands here (domains, providers, switches: those are settings). Secrets are
//! named by file path and read when the roles start.

mod admin;
mod av;
mod check;
mod handles;
mod proxies;
mod raw;
mod rest;

use std::path::{Path, PathBuf};

pub use admin::{Admin, AdminGroups};
pub use av::{Av, AvServer};
pub use check::{Fault, check, warnings};
pub use handles::HandleKeys;
pub use proxies::{Proxies, ProxyHop};
pub use raw::{
    App, ClearingHouse, Digest, Edge, EdgeLimits, Home, Hop, Log, LogFormat, Names, Ops, Raw, Resolver, RunOut,
    ServedDomain, SrvRecord, Store, Tls,
};
pub use rest::{Rest, Webhooks};
use reveille_core::spelling::distance;

/// Why a configuration cannot be used. The administrator's to mend; every variant names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Values that parse but cannot work.
    #[error("{}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults {
        /// Each of them, in the order of the file.
        faults: Vec<Fault>,
    },
    /// The file itself.
    #[error("the configuration {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{}:{line}:{column}: {sentence}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// Where, counted from 1.
        column: usize,
        /// What is wrong, with the key.
        sentence: String,
    },
}

/// Reads a configuration file. Relative paths in it are meant from the file's own folder.
pub fn read(path: &Path) -> Result<Raw, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let mut raw = parse(&text, path)?;
    if let Some(folder) = path.parent() {
        raw.resolve_paths(folder);
    }
    Ok(raw)
}

/// Reads configuration text; `path` is only for the error's sentence.
pub fn parse(text: &str, path: &Path) -> Result<Raw, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        ConfigError::Wrong { path: path.to_owned(), line, column, sentence: sentence(error.message()) }
    })
}

/// Turns the reader's words about an unknown key into a sentence with the nearest known one.
fn sentence(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else { return message.to_owned() };
    let mut names = rest.split('`').step_by(2);
    let Some(unknown) = names.next() else { return message.to_owned() };
    let known: Vec<&str> = names.collect();
    match known.iter().copied().min_by_key(|name| distance(unknown, name)) {
        Some(nearest) if distance(unknown, nearest) <= unknown.len().div_ceil(2) => {
            format!("the key \"{unknown}\" is not known here; did you mean \"{nearest}\"?")
        }
        _ => format!("the key \"{unknown}\" is not known here; known are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_refused_with_its_place_and_the_nearest_name() {
        let text = "[store]\ndir = \"x\"\n\n[ops]\nlistne = \"127.0.0.1:1\"\n";
        let said = parse(text, Path::new("reveille.toml")).unwrap_err().to_string();
        assert_eq!(said, "reveille.toml:5:1: the key \"listne\" is not known here; did you mean \"listen\"?");
    }

    #[test]
    fn a_key_like_no_other_gets_the_list() {
        let said = parse("[ops]\nzzzzzzzzzzz = 1\n", Path::new("r.toml")).unwrap_err().to_string();
        assert!(said.contains("known are: listen"), "{said}");
    }
}
