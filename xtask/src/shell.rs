//! Running other programs, and saying so.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// Tells the person who waits.
#[allow(clippy::print_stderr, reason = "a tool for people at a terminal")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Whether a program of that name is on the path. Debian keeps servers where only root looks.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(program).is_file())
}

/// Runs a program in a folder, shows its output, and fails if it does.
pub(crate) fn run(folder: &Path, program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let line = format!("{program} {}", args.join(" "));
    say(&format!("── {line}"));
    let begun = Instant::now();
    let status = Command::new(program)
        .args(args)
        .current_dir(folder)
        .envs(env.iter().copied())
        .status()
        .with_context(|| format!("{program} cannot be started"))?;
    say(&format!("── {line}: {} s", begun.elapsed().as_secs()));
    if !status.success() {
        bail!("`{line}` failed with {status}");
    }
    Ok(())
}

/// Runs a program beside others: what it prints is shown when it has failed, and not in the middle of theirs.
pub(crate) fn run_aside(folder: &Path, program: &str, args: &[&str]) -> Result<()> {
    let line = format!("{program} {}", args.join(" "));
    say(&format!("── {line}, beside the others"));
    let begun = Instant::now();
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .output()
        .with_context(|| format!("{program} cannot be started"))?;
    say(&format!("── {line}: {} s", begun.elapsed().as_secs()));
    if !output.status.success() {
        say(&String::from_utf8_lossy(&output.stdout));
        say(&String::from_utf8_lossy(&output.stderr));
        bail!("`{line}` failed with {}", output.status);
    }
    Ok(())
}
