//! The documents' own commands, in order and unchanged, as transcripts against a running demo: each has the result that its
//! document promises.

mod support;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::support::pty::Terminal;
use crate::support::transcript::{PROMPT, play};
use crate::support::{Demo, reveille};

#[test]
fn push_is_configured_and_tested_as_the_first_and_third_document_say() -> Result<()> {
    let demo = Demo::start("seed-000")?;
    let mut terminal = shell(&demo)?;
    // A working setup first, then what to do when it does not work.
    for name in ["seed-000.txt", "one-provider-per-edge.txt", "seed-002.txt", "filter-without-http.txt"] {
        play(&transcript(name), &mut terminal)?;
    }
    end(terminal)?;
    demo.stop()
}

#[test]
fn push_is_configured_as_the_second_document_says_and_fails_and_is_mended_as_the_third_does() -> Result<()> {
    let demo = Demo::start("seed-001")?;
    let mut terminal = shell(&demo)?;
    for name in ["seed-001.txt", "failures.txt"] {
        play(&transcript(name), &mut terminal)?;
    }
    end(terminal)?;
    demo.stop()
}

#[test]
fn a_direct_partner_of_the_2007_r2_edge_works_from_an_empty_store() -> Result<()> {
    let demo = Demo::start("direct-partner")?;
    let mut terminal = shell(&demo)?;
    play(&transcript("direct-partner.txt"), &mut terminal)?;
    end(terminal)?;
    demo.stop()
}

fn shell(demo: &Demo) -> Result<Terminal> {
    let mut command = reveille();
    command.arg("shell").arg("--socket").arg(demo.told("/organisations/contoso.com/admin_socket")?);
    // Line by line, as into a typewriter: what is shown is then what can be written down.
    command.env("TERM", "dumb");
    let mut terminal = Terminal::start(&command)?;
    terminal.until(PROMPT)?;
    Ok(terminal)
}

fn end(mut terminal: Terminal) -> Result<()> {
    terminal.types("exit\n")?;
    ensure!(terminal.wait()?.success(), "the shell ends well");
    Ok(())
}

fn transcript(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/transcripts").join(name)
}
