//! Transcripts: what an administrator types and sees, as a file that can be read and is true.
//!
//! ```text
//! # A remark.
//! reveille> Get-CsMcxConfiguration
//! Identity : Global
//! …
//! ```
//!
//! After the prompt stands what is typed, with `>> ` before further lines of it; `<< ` is the answer to a question, which is
//! not shown. The rest is what is shown: `…` within a line is anything, and a line of its own any number of lines.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::pty::Terminal;

/// The prompt of the shell.
pub(crate) const PROMPT: &str = "reveille> ";

/// One command and what it shows.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Where it stands in its file.
    pub(crate) line: usize,
    /// What is typed.
    pub(crate) typed: Vec<String>,
    /// Answers to its questions.
    pub(crate) answers: Vec<String>,
    /// What is shown then.
    pub(crate) shown: Vec<String>,
}

/// Reads a transcript.
pub(crate) fn read(path: &Path) -> Result<Vec<Exchange>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut exchanges: Vec<Exchange> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        if let Some(typed) = line.strip_prefix(PROMPT) {
            exchanges.push(Exchange { line: index + 1, typed: vec![typed.to_owned()], ..Exchange::default() });
            continue;
        }
        let Some(exchange) = exchanges.last_mut() else {
            if line.trim().is_empty() {
                continue;
            }
            bail!("{}:{}: nothing was typed before this", path.display(), index + 1);
        };
        match (line.strip_prefix(">> "), line.strip_prefix("<< ")) {
            (Some(more), _) => exchange.typed.push(more.to_owned()),
            (None, Some(answer)) => exchange.answers.push(answer.to_owned()),
            (None, None) => exchange.shown.push(line.trim_end().to_owned()),
        }
    }
    exchanges.iter_mut().for_each(|exchange| trim(&mut exchange.shown));
    Ok(exchanges)
}

/// Types everything, and compares what is shown; all differences together. With `REVEILLE_UPDATE` in the environment what
/// does not fit is written into the file instead, to be read before it is kept.
pub(crate) fn play(path: &Path, terminal: &mut Terminal) -> Result<()> {
    let update = std::env::var_os("REVEILLE_UPDATE").is_some();
    let mut differences = Vec::new();
    for (index, mut exchange) in read(path)?.into_iter().enumerate() {
        let place = format!("{}:{}", path.file_name().unwrap_or_default().to_string_lossy(), exchange.line);
        let shown = type_in(terminal, &exchange).with_context(|| format!("{place}: {}", exchange.typed.join("\n")))?;
        if update && !fits(&exchange.shown, &shown) {
            exchange.shown = shown;
            replace(path, index, &exchange)?;
        } else if !fits(&exchange.shown, &shown) {
            differences.push(format!(
                "{place}: {}\n── expected\n{}\n── shown\n{}\n",
                exchange.typed.join("\n"),
                exchange.shown.join("\n"),
                shown.join("\n")
            ));
        }
    }
    if differences.is_empty() { Ok(()) } else { bail!("{}", differences.join("\n")) }
}

/// Writes what was shown behind what was typed.
fn replace(path: &Path, index: usize, exchange: &Exchange) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let mut lines: Vec<&str> = text.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| line.starts_with(PROMPT)).map(|(at, _)| at);
    let start = starts.clone().nth(index).context("what was typed")?;
    let begin = start + exchange.typed.len() + exchange.answers.len();
    let ends = |line: &&str| line.starts_with(PROMPT) || line.starts_with('#');
    let end = lines[begin..].iter().position(ends).map_or(lines.len(), |at| begin + at);
    let shown = exchange.shown.iter().map(String::as_str).chain([""]).collect::<Vec<_>>();
    lines.splice(begin..end, shown);
    std::fs::write(path, lines.join("\n").trim_end().to_owned() + "\n").context("the transcript")
}

fn type_in(terminal: &mut Terminal, exchange: &Exchange) -> Result<Vec<String>> {
    let mut text = String::new();
    for (index, typed) in exchange.typed.iter().enumerate() {
        if index > 0 {
            terminal.until(">> ")?;
        }
        terminal.types(&format!("{typed}\n"))?;
    }
    for answer in &exchange.answers {
        text += &terminal.until(": ")?;
        terminal.types(&format!("{answer}\n"))?;
    }
    text += &terminal.until(PROMPT)?;
    // The terminal shows what is typed too; that is not the answer.
    let last = exchange.typed.last().map(String::as_str).unwrap_or_default();
    let text = text.trim_end_matches(PROMPT);
    let text = text.find(last).map_or(text, |at| &text[at + last.len()..]);
    let mut lines: Vec<_> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    trim(&mut lines);
    Ok(lines)
}

fn trim(lines: &mut Vec<String>) {
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let blank = lines.iter().take_while(|line| line.is_empty()).count();
    lines.drain(..blank);
}

/// Whether what is shown fits what was expected.
pub(crate) fn fits(expected: &[String], shown: &[String]) -> bool {
    match expected.split_first() {
        None => shown.is_empty(),
        Some((first, rest)) if first == "…" => (0..=shown.len()).any(|skipped| fits(rest, &shown[skipped..])),
        Some((first, rest)) => {
            shown.split_first().is_some_and(|(line, more)| line_fits(first, line) && fits(rest, more))
        }
    }
}

fn line_fits(expected: &str, line: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut line) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return line.is_empty() };
    for part in parts {
        let Some(at) = line.find(part) else { return false };
        line = &line[at + part.len()..];
    }
    line.ends_with(last)
}
