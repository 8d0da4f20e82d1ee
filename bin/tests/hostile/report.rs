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
    /// Whether it is a time, which whatever else this machine does can spoil.
    pub(crate) timed: bool,
}

/// A line whose figure is within its bound, or not.
pub(crate) fn line(attack: impl Into<String>, figure: impl Into<String>, bound: impl Into<String>, ok: bool) -> Line {
    Line { attack: attack.into(), figure: figure.into(), bound: bound.into(), ok, timed: false }
}

/// The same for a time: one that is beyond its bound is measured again before it is called wrong.
pub(crate) fn timed(attack: impl Into<String>, figure: impl Into<String>, bound: impl Into<String>, ok: bool) -> Line {
    Line { timed: true, ..line(attack, figure, bound, ok) }
}

/// Whether measuring again may help: nothing but times is beyond its bound.
pub(crate) fn is_only_late(lines: &[Line]) -> bool {
    let mut wrong = lines.iter().filter(|line| !line.ok).peekable();
    wrong.peek().is_some() && wrong.all(|line| line.timed)
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
        self.write(chapter, lines, took, others, "WRONG");
    }

    /// The same for what is measured again, because nothing but times is beyond its bound.
    pub(crate) fn set_aside(&mut self, chapter: &str, lines: Vec<Line>, took: Duration, others: &str) {
        self.write(chapter, lines, took, others, AGAIN);
    }

    fn write(&mut self, chapter: &str, lines: Vec<Line>, took: Duration, others: &str, otherwise: &str) {
        let seconds = took.as_secs_f64();
        let _ = writeln!(self.text, "-- {chapter}: {seconds:.1} s; a good partner meanwhile: {others}");
        for Line { attack, figure, bound, ok, .. } in lines {
            let mark = if ok { "ok" } else { otherwise };
            let _ = writeln!(self.text, "{attack:<58}  {figure:<62}  {bound:<44}  {mark}");
            if !ok && otherwise != AGAIN {
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

/// The mark of a time that is measured again.
const AGAIN: &str = "again";
