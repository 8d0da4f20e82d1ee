//! The verbs of this workspace: `cargo xtask test | crash | deny | tidy | reference | partners | peers | torture | fuzz`.

mod crash;
mod deny;
mod fuzz;
mod partners;
mod peers;
mod reference;
mod shell;
mod test;
mod tidy;
mod torture;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test       installs what is missing, builds, lints, and runs every test
cargo xtask crash [--seconds N] [--seed S] [--strict]
                       the crash campaign: kills, power cuts and full disks under load
cargo xtask partners   installs the programs others wrote that the tests talk to
cargo xtask peers [PUSHES]
                       what a push to APNs costs others, and us
cargo xtask deny       licences, bans and sources of all dependencies, by deny.toml
cargo xtask tidy       the map is true, files are in form, nothing is left undone
cargo xtask reference  writes docs/reference anew, from the catalogue of cmdlets
cargo xtask torture [--home ADDRESS:PORT]
                       sends the messages of RFC 4475 and 5118 to a home, and compares
cargo xtask fuzz TARGET [--minutes N]
                       a long run of one fuzz target";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let outcome = match verb.as_str() {
        "test" => test::run(),
        "crash" => crash::run(&arguments),
        "partners" => partners::install(),
        "peers" => peers::run(&arguments),
        "deny" => deny::run(),
        "tidy" => tidy::run(),
        "reference" => reference::write(),
        "torture" => torture::run(&arguments),
        "fuzz" => fuzz::run(&arguments),
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
