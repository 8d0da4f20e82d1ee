//! Whether the partners of a test are installed: without one it says so and is skipped, unless
//! REVEILLE_PARTNERS=required.

use anyhow::{Result, bail};

/// That a partner is there, or what is missing.
pub(crate) type Presence = std::result::Result<(), String>;

/// Whether every partner is there; where all are required a missing one is a failure.
pub(crate) fn here(partners: &[Presence]) -> Result<bool> {
    let missing: Vec<&str> = partners.iter().filter_map(|partner| partner.as_ref().err()).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(true);
    }
    let sentence = format!("{}; `cargo xtask partners` installs it", missing.join(", and "));
    if std::env::var("REVEILLE_PARTNERS").is_ok_and(|wish| wish == "required") {
        bail!(sentence);
    }
    skipped(&sentence);
    Ok(false)
}

/// Whether a program can be started by its name. Debian keeps servers where only root looks.
pub(crate) fn on_path(program: &str) -> Presence {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    match folders.any(|folder| folder.join(program).is_file()) {
        true => Ok(()),
        false => Err(format!("{program} is not installed")),
    }
}

#[allow(clippy::print_stderr, reason = "who reads the test's output learns that it showed nothing")]
fn skipped(sentence: &str) {
    eprintln!("skipped: {sentence}");
}
