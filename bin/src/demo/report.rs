//! What the journeys showed: a table that a person likes to read, or one line of JSON.

use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;

use super::witness::Hop;

/// All journeys.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    pub(crate) journeys: Vec<Journey>,
}

/// One journey.
#[derive(Debug, Serialize)]
pub(crate) struct Journey {
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    pub(crate) total_ms: f64,
    pub(crate) hops: Vec<Step>,
    pub(crate) detail: String,
}

/// One hop.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) role: &'static str,
    pub(crate) step: String,
    pub(crate) at_ms: f64,
}

impl Journey {
    /// A journey from what was seen since `begun`.
    pub(crate) fn new(name: &'static str, begun: Instant, hops: Vec<Hop>, outcome: anyhow::Result<String>) -> Self {
        let ms = |at: Instant| (at.saturating_duration_since(begun).as_secs_f64() * 10_000.0).round() / 10.0;
        let hops = hops.into_iter().filter(|hop| hop.at >= begun);
        let steps = hops.map(|hop| Step { role: hop.role, step: hop.step, at_ms: ms(hop.at) }).collect();
        let (ok, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(error) => (false, format!("{error:#}")),
        };
        Self { name, ok, total_ms: ms(Instant::now()), hops: steps, detail }
    }

    /// The journey as a table.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let mark = if self.ok { "✓" } else { "✗ FAILED" };
        let _ = writeln!(text, "\n{mark} {}   ({:.0} ms)", self.name, self.total_ms);
        let _ = writeln!(text, "  {}", self.detail);
        for Step { role, step, at_ms } in &self.hops {
            let _ = writeln!(text, "  {at_ms:>9.1} ms  {role:<13}  {step}");
        }
        text
    }
}

impl Report {
    /// The last lines: every journey with its mark.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from("\n");
        for journey in &self.journeys {
            let mark = if journey.ok { "ok    " } else { "FAILED" };
            let _ = writeln!(text, "  {mark}  {:>8.0} ms  {}", journey.total_ms, journey.name);
        }
        text
    }
}
