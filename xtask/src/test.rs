//! `cargo xtask test`: everything that must hold, in the order that fails soonest.

use anyhow::Result;

use crate::shell::{self, has};

/// Installs what is missing, then checks form, dependencies and lints, then runs every test.
pub(crate) fn run() -> Result<()> {
    let root = crate::root();
    let cargo = |args: &[&str], env: &[(&str, &str)]| shell::run(&root, "cargo", args, env);
    cargo(&["fmt", "--all", "--check"], &[])?;
    crate::deny::run()?;
    crate::partners::install()?;
    // The release build first: the tests that start whole processes use it, as a user would.
    cargo(&["build", "--release", "--package", "reveille"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])?;
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
