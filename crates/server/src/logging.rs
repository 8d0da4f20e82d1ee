//! Log lines: text for people, JSON for machines, always on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// What is told when nothing is configured.
const DEFAULT: &str = "info,hickory=warn,h2=warn,rustls=warn,hyper=warn";

/// Sets up logging for this process; `REVEILLE_LOG` wins over the configuration. A second call changes nothing.
pub fn start(log: &Log) {
    let named = std::env::var("REVEILLE_LOG").ok().or_else(|| log.filter.clone());
    // What these crates trace has the keys that they sign with: nobody may ask for it.
    let filter = ["stun_types=info", "stun_proto=info", "turn_types=info"]
        .into_iter()
        .filter_map(|quiet| quiet.parse().ok())
        .fold(EnvFilter::new(named.as_deref().unwrap_or(DEFAULT)), EnvFilter::add_directive);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Whoever came first has set it up; tests start many servers in one process.
    let _ = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init().map_err(|_| ()),
        LogFormat::Text => builder.with_ansi(coloured).try_init().map_err(|_| ()),
    };
}
