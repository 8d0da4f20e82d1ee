//! What is sent and what must come back, and the table as it is printed.

use std::fmt::Write as _;
use std::time::Duration;

use crate::scene::Way;

/// One line of the table.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) way: Way,
    pub(crate) wire: Vec<u8>,
    /// What comes back on this connection, and what becomes of it.
    pub(crate) expected: &'static str,
}

pub(crate) fn row(name: impl Into<String>, way: Way, wire: impl Into<Vec<u8>>, expected: &'static str) -> Row {
    Row { name: name.into(), way, wire: wire.into(), expected }
}

/// The table as it is printed, and what was not as expected.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) text: String,
    pub(crate) wrong: String,
    pub(crate) slowest: Duration,
}

impl Table {
    pub(crate) fn add(&mut self, name: &str, way: &str, expected: &str, seen: &str) {
        let _ = write!(self.text, "{name:<58} {way:<26} {seen}");
        let _ = match seen {
            _ if seen == expected => writeln!(self.text),
            _ => {
                let _ = writeln!(self.wrong, "{name}, {way}: {seen}; expected {expected}");
                writeln!(self.text, "   (WRONG)")
            }
        };
    }

    pub(crate) fn note(&mut self, text: &str) {
        let slowest = self.slowest.as_secs_f64() * 1000.0;
        let _ = writeln!(self.text, "-- {text}; the slowest good request until here took {slowest:.0} ms");
    }
}
