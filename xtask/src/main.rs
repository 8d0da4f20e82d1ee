//! The verbs of this workspace: `cargo xtask test | deny | tidy | partners`.

mod deny;
mod partners;
mod shell;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test       installs what is missing, builds, lints, and runs every test
cargo xtask partners   installs the programs others wrote that the tests talk to
cargo xtask deny       licences, bans and sources of all dependencies, by deny.toml
cargo xtask tidy       the map is true, files are in form, nothing is left undone";

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let outcome = match verb.as_str() {
        "test" => test::run(),
        "partners" => partners::install(),
        "deny" => deny::run(),
        "tidy" => tidy::run(),
        _ => {
            shell::say(USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("cargo xtask {verb}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The folder that holds the workspace.
pub(crate) fn root() -> PathBuf {
    // xtask's own folder is one below it.
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map(PathBuf::from).unwrap_or(own)
}
