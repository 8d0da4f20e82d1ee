//! `reveille completions` and `reveille man`: what a package installs beside the program, made from its own options.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::Cli;

/// Which shell.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell that completes
    shell: Shell,
}

/// Where to.
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// A folder, made where there is none; without it the main page goes to standard output
    dir: Option<PathBuf>,
}

/// Writes the script to standard output.
pub(crate) fn completions(options: &Completions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "reveille", &mut script);
    crate::out::bytes(&script);
    Ok(ExitCode::SUCCESS)
}

/// Writes a page for the program and one for each of its commands.
pub(crate) fn man(options: &Man) -> Result<ExitCode> {
    match &options.dir {
        Some(dir) => write_pages(dir)?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            crate::out::bytes(&page);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write_pages(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(|| format!("{} cannot be written to", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_a_script_that_knows_it() {
        let dir = std::env::temp_dir().join(format!("reveille-man-{}", std::process::id()));
        write_pages(&dir).unwrap();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let page = std::fs::read_to_string(dir.join(format!("reveille-{}.1", command.get_name()))).unwrap();
            assert!(page.contains(".SH"), "{}", command.get_name());
            for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "reveille", &mut script);
                assert!(String::from_utf8(script).unwrap().contains(command.get_name()), "{shell}");
            }
        }
        let page = std::fs::read_to_string(dir.join("reveille-shell.1")).unwrap();
        assert!(page.contains("\\-\\-socket"), "the options of reveille shell");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
