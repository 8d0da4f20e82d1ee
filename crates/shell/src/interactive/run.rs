//! Reads a line, runs it, and again.

use std::io;
use std::sync::Arc;

use reedline::{Reedline, Signal};
use reveille_core::Clock;
use tokio::task::block_in_place;

use super::console::{Console, Interrupts};
use super::editor::{Plain, Shared, editor, goes_on};
use super::history::{self, Discreet};
use crate::host::{Host, Terminal as _};
use crate::session::Session;

/// What is said when the shell begins and ends.
const GREETING: &str = "Get-Help tells what there is; Tab completes, Ctrl-D leaves.\n";
const PROMPT: &str = "reveille> ";
const GOES_ON: &str = ">> ";

/// Reads lines and runs them until `exit` or Ctrl-D. Gives the exit status: 0, or what `exit` was given.
pub async fn run(host: Arc<dyn Host>, interrupts: Interrupts, clock: Arc<dyn Clock>) -> io::Result<u8> {
    let mut console = Console::new(interrupts.clone(), clock);
    let environment = |name: &str| std::env::var(name).ok();
    let shared = Shared::default();
    // Without a place of its own the cursor cannot be moved: a line is then read as it comes.
    let moves = environment("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    let mut lines = if moves {
        let kept = history::place(&environment);
        let history = Discreet::new(kept.as_ref()).or_else(|why| {
            console.say(&format!("WARNING: What you enter is not kept: {why}.\n"));
            Discreet::new(None)
        })?;
        // https://no-color.org: any value but the empty one.
        let plain = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
        Lines::Edited(Box::new(editor(host.clone(), shared.clone(), history, plain)))
    } else {
        Lines::Plain
    };
    console.say(GREETING);
    let mut session = Session::new();
    loop {
        interrupts.forget();
        let entered = block_in_place(|| lines.next(&console))?;
        // Behind a blocking section the rest of this turn has no budget, and a busy command would never let Ctrl-C be heard.
        tokio::task::yield_now().await;
        let line = match entered {
            Entered::Line(line) => line,
            Entered::Nothing => continue,
            Entered::End => return Ok(0),
        };
        interrupts.forget();
        let ended = tokio::select! {
            ended = session.run(&line, &*host, &mut console) => ended,
            () = interrupts.pressed() => {
                console.say("\nThe command was given up. What the server was asked for already may still be done.\n");
                continue;
            }
        };
        if ended.exit {
            return Ok(ended.status);
        }
        shared.renew(session.variables().map(|(name, _)| name.to_owned()).collect());
    }
}

/// Where lines come from.
enum Lines {
    Edited(Box<Reedline>),
    Plain,
}

/// What somebody at the keyboard has done.
enum Entered {
    Line(String),
    Nothing,
    End,
}

impl Lines {
    fn next(&mut self, console: &Console) -> io::Result<Entered> {
        match self {
            Self::Edited(editor) => match editor.read_line(&Plain).map_err(io::Error::other)? {
                Signal::Success(line) => {
                    // At once, so that a session that is killed keeps it as well.
                    let _ = editor.sync_history();
                    Ok(Entered::Line(line))
                }
                Signal::CtrlD => Ok(Entered::End),
                // Ctrl-C, and what is never asked for.
                _ => Ok(Entered::Nothing),
            },
            Self::Plain => Ok(plain(console)),
        }
    }
}

fn plain(console: &Console) -> Entered {
    let Some(mut text) = console.line(PROMPT) else {
        return if console.was_interrupted() { Entered::Nothing } else { Entered::End };
    };
    while goes_on(&text) {
        let Some(more) = console.line(GOES_ON) else { return Entered::Nothing };
        text.push('\n');
        text.push_str(&more);
    }
    Entered::Line(text)
}
