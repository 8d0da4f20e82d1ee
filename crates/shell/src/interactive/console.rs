//! The terminal, or whatever stands in its place: data to standard output, the rest to standard error, questions to
//! whoever sits at the keyboard.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reveille_admin::Secret;
use reveille_core::{Clock, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::host::Terminal;
use crate::visible::{harmless, visible};

/// Standard input, output and error.
pub struct Console {
    keyboard: bool,
    interrupts: Interrupts,
    clock: Arc<dyn Clock>,
}

impl Console {
    /// The process's own. Questions are asked only if standard input is a terminal that a script is not read from.
    pub fn new(interrupts: Interrupts, clock: Arc<dyn Clock>) -> Self {
        Self { keyboard: io::stdin().is_terminal(), interrupts, clock }
    }

    /// One line of the keyboard, without its end; nothing at its end or after Ctrl-C.
    pub(super) fn line(&self, prompt: &str) -> Option<String> {
        if !self.keyboard {
            return None;
        }
        let mut stderr = io::stderr();
        let _ = stderr.write_all(visible(prompt).as_bytes()).and_then(|()| stderr.flush());
        let line = self.read();
        if line.is_none() {
            let _ = stderr.write_all(b"\n");
        }
        line
    }

    /// Whether Ctrl-C was pressed since the last command began.
    pub(super) fn was_interrupted(&self) -> bool {
        self.interrupts.is_set()
    }

    /// Reads the bytes themselves: what Rust's own reader holds in advance would be lost to the line editor.
    fn read(&self) -> Option<String> {
        let stdin = io::stdin();
        let mut line = Vec::new();
        loop {
            if self.interrupts.is_set() {
                return None;
            }
            let look_again = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&look_again)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => return None,
            }
            let mut byte = [0];
            match rustix::io::read(&stdin, &mut byte) {
                Ok(0) if line.is_empty() => return None,
                Ok(0) => break,
                Ok(_) if byte[0] == b'\n' => break,
                Ok(_) if line.len() < LINE_BYTES_MAX => line.push(byte[0]),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        Some(line.trim_end_matches('\r').to_owned())
    }
}

impl Terminal for Console {
    fn out(&mut self, text: &str) {
        // Whoever reads may have gone; that is no fault of ours.
        let mut stdout = io::stdout();
        // A pipe may lead to a terminal as well, for instance over ssh; who needs every character has ConvertTo-Json and
        // files. Marks that only change the order of reading are data there.
        let text = if stdout.is_terminal() { visible(text) } else { harmless(text) };
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }

    fn say(&mut self, text: &str) {
        let _ = io::stderr().write_all(visible(text).as_bytes());
    }

    fn clear(&mut self) {
        let mut stdout = io::stdout();
        if stdout.is_terminal() {
            // ECMA-48: the cursor to the beginning, then everything erased.
            let _ = stdout.write_all(b"\x1b[H\x1b[2J").and_then(|()| stdout.flush());
        }
    }

    fn ask(&mut self, prompt: &str) -> Option<String> {
        self.line(prompt)
    }

    fn gave_up(&self) -> bool {
        self.was_interrupted()
    }

    fn ask_secret(&mut self, prompt: &str) -> Option<Secret> {
        if !self.keyboard {
            return None;
        }
        let quiet = Quiet::begin()?;
        let line = self.line(prompt);
        drop(quiet);
        // The key that ended the line was not shown either.
        let _ = io::stderr().write_all(b"\n");
        line.map(Secret::new)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn width(&self) -> usize {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 20 => size.ws_col.into(),
            _ => WIDTH_WITHOUT_TERMINAL,
        }
    }
}

/// While it lives, what is typed is not shown.
struct Quiet(rustix::termios::Termios);

impl Quiet {
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // What was typed ahead of the question was typed in the open, and is not its answer.
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Whether Ctrl-C was pressed since it was last asked.
#[derive(Clone, Default)]
pub struct Interrupts(Arc<Pressed>);

#[derive(Default)]
struct Pressed {
    set: AtomicBool,
    told: Notify,
}

impl Interrupts {
    /// Listens for Ctrl-C, from now on and until `owner` is dropped.
    pub fn listen(owner: &mut JoinSet<()>) -> Self {
        let interrupts = Self::default();
        let pressed = interrupts.0.clone();
        owner.spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                pressed.set.store(true, Ordering::SeqCst);
                pressed.told.notify_waiters();
            }
        });
        interrupts
    }

    /// Whether it was pressed.
    fn is_set(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }

    /// What was pressed before counts no more.
    pub fn forget(&self) {
        self.0.set.store(false, Ordering::SeqCst);
    }

    /// Waits until it is pressed.
    pub async fn pressed(&self) {
        let told = self.0.told.notified();
        tokio::pin!(told);
        // In the list of those who are told before the look, so that none is missed in between.
        told.as_mut().enable();
        if !self.is_set() {
            told.await;
        }
    }
}

const LINE_BYTES_MAX: usize = 64 << 10;
const WIDTH_WITHOUT_TERMINAL: usize = 120;
