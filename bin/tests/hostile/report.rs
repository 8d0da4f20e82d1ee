//! What was measured: one line for each attack, with its bound, printed as one table at the end.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// One line of the table.
pub(crate) struct Line {
    pub(crate) attack: String,
    /// What was measured.
    pub(crate) figure: String,
    /// What it may be.
    pub(crate) bound: String,
    pub(crate) ok: bool,
}

/// A line whose figure is within its bound, or not.
pub(crate) fn line(attack: impl Into<String>, figure: impl Into<String>, bound: impl Into<String>, ok: bool) -> Line {
    Line { attack: attack.into(), figure: figure.into(), bound: bound.into(), ok }
}

/// The table as it grows.
pub(crate) struct Report {
    begun: Instant,
    text: String,
    wrong: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), text: String::new(), wrong: String::new() }
    }

    /// What one attack gave, and how somebody else was served meanwhile.
    pub(crate) fn add(&mut self, chapter: &str, lines: Vec<Line>, took: Duration, others: &str) {
        let seconds = took.as_secs_f64();
        let _ = writeln!(self.text, "-- {chapter}: {seconds:.1} s; a good partner meanwhile: {others}");
        for Line { attack, figure, bound, ok } in lines {
            let mark = if ok { "ok" } else { "WRONG" };
            let _ = writeln!(self.text, "{attack:<58}  {figure:<62}  {bound:<44}  {mark}");
            if !ok {
                let _ = writeln!(self.wrong, "{attack}: {figure}; the bound is: {bound}");
            }
        }
    }

    /// The table, and what in it is wrong.
    pub(crate) fn close(mut self) -> (String, String) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let _ = writeln!(self.text, "-- all of it took {seconds:.1} s");
        let head = format!("{:<58}  {:<62}  {:<44}\n", "attack", "figure", "bound");
        (head + &self.text, self.wrong)
    }
}
