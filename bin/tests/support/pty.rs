//! A terminal with somebody at its keyboard: what is typed goes through a real pseudo-terminal, and what is shown is read
//! from it.
//!
//! `setsid --ctty` of util-linux makes it the process's own, which we could not without unsafe code.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{STEP, TURN};

/// A program with a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// How much of what was shown was looked at, in bytes of [`plain`] text.
    read: usize,
}

impl Terminal {
    /// Starts `program` with a terminal of 100 columns.
    pub(crate) fn start(program: &Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 })?;
        let path = ptsname(&master, Vec::new())?;
        let path = std::ffi::OsStr::from_bytes(path.as_bytes());
        let side = || -> Result<File> {
            Ok(File::from(rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?))
        };
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg("--wait").arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(side()?).stdout(side()?).stderr(side()?);
        let child = command.spawn().context("setsid of util-linux is missing")?;
        let keyboard = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        watch(keyboard.try_clone()?, Arc::clone(&shown));
        Ok(Self { child, keyboard, shown, read: 0 })
    }

    /// Types these bytes.
    pub(crate) fn types(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("nobody reads the keyboard")
    }

    /// Waits until what is shown behind the last part that was waited for holds `part`, and gives it up to there.
    pub(crate) fn until(&mut self, part: &str) -> Result<String> {
        let end = Instant::now() + STEP;
        let mut gone = None;
        loop {
            let all = plain(&self.everything());
            let text = all.get(self.read..).unwrap_or_default();
            if let Some(at) = text.find(part) {
                self.read += at + part.len();
                return Ok(text[..at + part.len()].to_owned());
            }
            if let Some(status) = gone {
                bail!("it ended with {status} and not with {part:?}:\n{text}");
            }
            // Looked at once more: what it said last may be on its way.
            gone = self.child.try_wait()?;
            ensure!(Instant::now() < end, "{part:?} is not shown, but:\n{text}");
            std::thread::sleep(TURN);
        }
    }

    /// Everything that was ever shown, with its controls.
    pub(crate) fn everything(&self) -> String {
        self.shown.lock().map(|shown| String::from_utf8_lossy(&shown).into_owned()).unwrap_or_default()
    }

    /// How much of a processor it has had, in hundredths of a second (proc(5), field 14 of stat).
    pub(crate) fn processor_ticks(&self) -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is a name in brackets, which may hold blanks.
        let after = stat.rsplit_once(')').context("a name")?.1;
        after.split_whitespace().nth(11).context("field 14")?.parse().context("a number")
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        let end = Instant::now() + STEP;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < end, "it did not end, and showed:\n{}", plain(&self.everything()));
            std::thread::sleep(TURN);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects what is shown, and answers the one question that line editors ask of a terminal: where the cursor is.
fn watch(mut screen: File, into: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = screen.read(&mut piece) {
            for _ in String::from_utf8_lossy(&piece[..length]).matches("\x1b[6n") {
                let _ = screen.write_all(b"\x1b[1;1R");
            }
            if let Ok(mut shown) = into.lock() {
                shown.extend_from_slice(&piece[..length]);
            }
        }
    });
}

/// What a person reads: without escape sequences (ECMA-48) and carriage returns.
pub(crate) fn plain(shown: &str) -> String {
    let mut text = String::new();
    let mut letters = shown.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => match letters.next() {
                // A control sequence ends with a letter or one of @ ~ ` and the like.
                Some('[') => drop(letters.find(|letter| ('@'..='~').contains(letter))),
                // A string for the operating system ends with BEL or ESC \.
                Some(']') => drop(letters.find(|letter| matches!(letter, '\x07' | '\\'))),
                _ => {}
            },
            '\r' | '\x07' => {}
            letter => text.push(letter),
        }
    }
    text
}
