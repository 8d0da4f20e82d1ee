//! Where the cursor stands in a line that is being typed: in which word of which command, and what feeds it.
//!
//! The parser cannot say so, since such a line is seldom whole. This reading is a rough one: it knows quotes, brackets,
//! pipes and what separates commands, and nothing else. At worst a suggestion is missing.

use std::mem;

/// Where the cursor stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Place {
    /// The words of the command before the one at the cursor, without quotes. What stands in brackets is one empty word.
    pub(super) words: Vec<String>,
    /// The word at the cursor as far as it goes, without quotes.
    pub(super) word: String,
    /// Where it begins in the line, its quotation mark included; behind the last comma of a list.
    pub(super) start: usize,
    /// The quotation mark that it began with and that is still open.
    pub(super) quote: Option<char>,
    /// The commands that feed this one, the nearest first, also from outside a script block.
    pub(super) feeding: Vec<String>,
    /// The command in the brackets that the word follows without a blank, as in `(Get-CsX).Pre`.
    pub(super) closed: Option<String>,
    /// Whether it stands in a script block.
    pub(super) in_block: bool,
}

/// One level of brackets.
#[derive(Default)]
struct Level {
    words: Vec<String>,
    feeding: Vec<String>,
    block: bool,
    // The word that the brackets are a part of goes on behind them.
    outer: Word,
}

#[derive(Default)]
struct Word {
    text: String,
    start: usize,
    begun: bool,
    after_comma: bool,
    closed: Option<String>,
}

impl Word {
    fn push(&mut self, letter: char, at: usize) {
        if !self.begun {
            (self.begun, self.start) = (true, at);
        }
        self.after_comma = false;
        self.text.push(letter);
    }

    fn begin(&mut self, at: usize) {
        if !self.begun || self.after_comma {
            (self.begun, self.start, self.after_comma) = (true, at, false);
        }
    }
}

/// Where `line` ends; nothing in comments.
pub(super) fn place(line: &str) -> Option<Place> {
    let mut levels = vec![Level::default()];
    let mut word = Word::default();
    let mut letters = line.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' | '"' => {
                word.begin(at);
                if !quoted(&mut letters, letter, &mut word.text) {
                    return Some(found(levels, word, line.len(), Some((letter, at))));
                }
            }
            '`' => match letters.next() {
                Some((_, '\n')) => finish(&mut levels, &mut word),
                Some((_, escaped)) => word.push(escaped, at),
                None => {}
            },
            '#' if !word.begun => {
                // To the end of the line. `<# … #>` is rare in what is typed.
                if !letters.any(|(_, letter)| letter == '\n') {
                    return None;
                }
                end_command(&mut levels, &mut word);
            }
            ' ' | '\t' | '\r' if word.after_comma => {}
            ' ' | '\t' | '\r' => finish(&mut levels, &mut word),
            '\n' if word.after_comma => {}
            '\n' | ';' => end_command(&mut levels, &mut word),
            '|' => {
                finish(&mut levels, &mut word);
                if let Some(level) = levels.last_mut() {
                    let words = mem::take(&mut level.words);
                    level.feeding.splice(0..0, words.into_iter().take(1));
                }
            }
            ',' => {
                word.text.clear();
                word.after_comma = true;
            }
            '(' | '{' => {
                word.begin(at);
                if word.text == "$" || word.text == "@" {
                    word.text.clear();
                }
                levels.push(Level { block: letter == '{', outer: mem::take(&mut word), ..Level::default() });
            }
            ')' | '}' if levels.len() > 1 => {
                finish(&mut levels, &mut word);
                if let Some(inner) = levels.pop() {
                    word = inner.outer;
                    word.closed = inner.words.into_iter().next();
                    word.start = at + 1;
                }
            }
            _ => {
                word.begin(at);
                word.push(letter, at);
            }
        }
    }
    Some(found(levels, word, line.len(), None))
}

/// Reads on to the closing mark; whether there is one.
fn quoted(letters: &mut std::iter::Peekable<std::str::CharIndices<'_>>, mark: char, text: &mut String) -> bool {
    while let Some((_, letter)) = letters.next() {
        match letter {
            // A mark twice is the mark.
            _ if letter == mark && letters.next_if(|(_, next)| *next == mark).is_some() => text.push(mark),
            _ if letter == mark => return true,
            '`' if mark == '"' => text.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => text.push(letter),
        }
    }
    false
}

fn finish(levels: &mut [Level], word: &mut Word) {
    let word = mem::take(word);
    let (true, Some(level)) = (word.begun, levels.last_mut()) else { return };
    let assigns = matches!(word.text.as_str(), "=" | "+=") && level.words.len() == 1 && level.words[0].starts_with('$');
    if assigns {
        // What is assigned begins like a command.
        level.words.clear();
    } else {
        level.words.push(word.text);
    }
}

fn end_command(levels: &mut [Level], word: &mut Word) {
    finish(levels, word);
    if let Some(level) = levels.last_mut() {
        // A line that ends with a pipe goes on with the next.
        if !mem::take(&mut level.words).is_empty() {
            level.feeding.clear();
        }
    }
}

fn found(mut levels: Vec<Level>, word: Word, end: usize, open: Option<(char, usize)>) -> Place {
    let inner = levels.pop().unwrap_or_default();
    let mut feeding = inner.feeding;
    feeding.extend(levels.into_iter().rev().flat_map(|level| level.feeding));
    let start = match open {
        Some((_, at)) => at,
        None if word.begun && !word.after_comma => word.start,
        None => end,
    };
    Place {
        words: inner.words,
        word: word.text,
        start,
        quote: open.map(|(mark, _)| mark),
        feeding,
        closed: word.closed,
        in_block: inner.block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_found_in_lines_that_are_not_whole() {
        for (line, words, word, start) in [
            ("", &[][..], "", 0),
            ("Get-Cs", &[], "Get-Cs", 0),
            ("Get-CsX -Id", &["Get-CsX"], "-Id", 8),
            ("Get-CsX -Identity ", &["Get-CsX", "-Identity"], "", 18),
            ("Get-CsX -Identity \"site:R", &["Get-CsX", "-Identity"], "site:R", 18),
            ("Set-CsX -Prefixes http:,ht", &["Set-CsX", "-Prefixes"], "ht", 24),
            ("Set-CsX -Prefixes 'http:', ht", &["Set-CsX", "-Prefixes"], "ht", 27),
            ("Get-CsX; Set", &[], "Set", 9),
            ("Get-CsX\nSet", &[], "Set", 8),
            ("Get-CsX `\n-Id", &["Get-CsX"], "-Id", 10),
            ("$x = Get", &[], "Get", 5),
            ("Set-CsX @{Remove=\"a\"} -F", &["Set-CsX", ""], "-F", 22),
            ("Set-CsX 'it''s' -F", &["Set-CsX", "it's"], "-F", 16),
            ("Set-CsX (Get-CsY -I", &["Get-CsY"], "-I", 17),
            ("Get-CsX # no\nGet", &[], "Get", 13),
        ] {
            let place = place(line).unwrap();
            assert_eq!(
                (&place.words[..], place.word.as_str(), place.start),
                (&words.iter().map(ToString::to_string).collect::<Vec<_>>()[..], word, start),
                "{line}"
            );
        }
        assert_eq!(place("Get-CsX # a comm"), None);
        assert_eq!(place("Get-CsX \"a").unwrap().quote, Some('"'));
    }

    #[test]
    fn what_feeds_a_command_is_known_through_pipes_and_blocks() {
        for (line, feeding, word) in [
            ("Get-CsX | Where-Object Ena", &["Get-CsX"][..], "Ena"),
            ("Get-CsX | Where-Object {$_.Ena", &["Get-CsX"], "$_.Ena"),
            ("Get-CsX |\n  Sort-Object A | Select-Object ", &["Sort-Object", "Get-CsX"], ""),
            ("Get-CsX | Out-Null; Get-CsY | Select ", &["Get-CsY"], ""),
            ("Get-CsX\nGet-CsY | Select ", &["Get-CsY"], ""),
        ] {
            let place = place(line).unwrap();
            assert_eq!(
                (&place.feeding.iter().map(String::as_str).collect::<Vec<_>>()[..], place.word.as_str()),
                (feeding, word),
                "{line}"
            );
        }
        let member = place("(Get-CsX -Identity Global).Pre").unwrap();
        assert_eq!((member.closed.as_deref(), member.word.as_str(), member.start), (Some("Get-CsX"), ".Pre", 26));
    }

    #[test]
    fn no_line_is_too_odd() {
        for line in [")", "}}", "((((", "\"", "'", "`", "|", ",", "$(", "@{", "a,", "{'\"", "é|ü -ö", "a)b}c"] {
            for end in (0..=line.len()).filter(|end| line.is_char_boundary(*end)) {
                if let Some(place) = place(&line[..end]) {
                    assert!(place.start <= end && line.is_char_boundary(place.start), "{line:?} {end}");
                }
            }
        }
    }
}
