//! `cargo xtask test`: everything that must hold, in the order that fails soonest.

use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow};

use crate::shell::{self, has};

/// Installs what is missing, then checks form, dependencies and lints, then runs every test.
pub(crate) fn run() -> Result<()> {
    let root = crate::root();
    let cargo = |args: &[&str], env: &[(&str, &str)]| shell::run(&root, "cargo", args, env);
    cargo(&["fmt", "--all", "--check"], &[])?;
    crate::deny::run()?;
    build(&root)?;
    crate::torture::run(&[])?;
    let binary = root.join("target/release/reveille");
    let binary = binary.to_string_lossy();
    let env = [("REVEILLE_BIN", &*binary), ("REVEILLE_PARTNERS", "required")];
    if has("cargo-nextest") {
        // What failed is told at the end, and those that passed not at all: records are cut in the middle.
        let told = ["--status-level", "slow", "--final-status-level", "fail", "--failure-output", "immediate-final"];
        let run = ["nextest", "run", "--workspace", "--no-fail-fast"];
        cargo(&[&run[..], &told].concat(), &env)?;
        cargo(&["test", "--workspace", "--doc", "--quiet"], &env)
    } else {
        cargo(&["test", "--workspace", "--no-fail-fast"], &env)
    }
}

/// Everything that is compiled and installed. The release build, which the tests that start whole processes use as a
/// user would, goes beside lints and tests, since its last and longest steps leave processors idle; partners come over
/// the network meanwhile.
fn build(root: &Path) -> Result<()> {
    let release = ["build", "--release", "--package", "reveille"];
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    thread::scope(|scope| {
        let beside = [scope.spawn(|| shell::run_aside(root, "cargo", &release)), scope.spawn(crate::partners::install)];
        let lints = shell::run(root, "cargo", &lints, &[]);
        let tests =
            lints.and_then(|()| shell::run(root, "cargo", &["test", "--workspace", "--no-run", "--quiet"], &[]));
        let ended =
            beside.map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread of ours has panicked"))));
        ended.into_iter().fold(tests, |told, ended| told.and(ended))
    })
}
