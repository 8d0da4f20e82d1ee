//! The letters of a script: blanks, comments, words, names, numbers, operators.
//!
//! What a character means depends on where it stands (`a-b` is a word as an argument and a subtraction in an
//! expression), so there is no list of tokens: the parser asks for what can stand next. What Word processors and web
//! pages make of quotation marks and hyphens counts as what it was, as it does in PowerShell.

use crate::ast::Number;
use crate::error::Fault;
use crate::span::Span;

/// A place in a script, with what can be read from there.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        // A byte order mark is no character of the script.
        Self { text, at: if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 } }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn go(&mut self, at: usize) {
        self.at = at;
    }

    /// The whole script.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// All that comes.
    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// What has been read since `start`.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    pub(crate) fn span_since(&self, start: usize) -> Span {
        Span::new(start, self.at)
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    pub(crate) fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Takes `text` if it comes next.
    pub(crate) fn take(&mut self, text: &str) -> bool {
        let comes = self.rest().starts_with(text);
        if comes {
            self.at += text.len();
        }
        comes
    }

    /// Takes characters as long as they are wanted.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let length = self.rest().find(|found| !wanted(found)).unwrap_or_else(|| self.rest().len());
        let taken = &self.rest()[..length];
        self.at += length;
        taken
    }

    /// Passes blanks, comments, and line ends behind a grave accent.
    pub(crate) fn blanks(&mut self) -> Result<(), Fault> {
        loop {
            match self.peek() {
                Some(found) if is_blank(found) => {
                    self.bump();
                }
                Some('#') => {
                    self.take_while(|found| !is_line_end(found));
                }
                Some('<') if self.rest().starts_with("<#") => self.block_comment()?,
                Some('`') => {
                    let start = self.at;
                    let after = self.rest()[1..].trim_start_matches(is_blank);
                    if after.trim_start_matches(['\n', '\r', ' ', '\t']).is_empty() {
                        self.at = self.text.len();
                        let said = "The line goes on after a grave accent (`), and nothing comes.";
                        return Err(Fault::incomplete(Span::new(start, start + 1), "IncompleteLine", said));
                    }
                    if self.second().is_some_and(is_line_end) {
                        if !self.text[..start].is_empty()
                            && !self.text[..start].ends_with(|it| is_blank(it) || is_line_end(it))
                        {
                            return Err(no_blank_before(start));
                        }
                        self.bump();
                        self.line_end();
                    } else if after.starts_with(is_line_end) {
                        let said = "A blank follows the grave accent (`), so that the line does not go on: remove the \
                                    blank at the end of the line.";
                        return Err(Fault::new(Span::new(start, start + 1), "BlankAfterContinuation", said));
                    } else {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Passes blanks, comments and line ends.
    pub(crate) fn blank_lines(&mut self) -> Result<(), Fault> {
        loop {
            self.blanks()?;
            if !self.peek().is_some_and(is_line_end) {
                return Ok(());
            }
            self.line_end();
        }
    }

    /// Passes one line end.
    pub(crate) fn line_end(&mut self) {
        if !self.take("\r\n") {
            self.bump();
        }
    }

    fn block_comment(&mut self) -> Result<(), Fault> {
        let start = self.at;
        // `<#>` opens and does not close.
        match self.rest()[2..].find("#>") {
            Some(length) => {
                self.at += length + 4;
                Ok(())
            }
            None => {
                self.at = self.text.len();
                let said = "The comment that begins with <# does not end with #>.";
                Err(Fault::incomplete(Span::new(start, start + 2), "MissingTerminatorMultiLineComment", said))
            }
        }
    }

    /// A name: a letter or underscore, then also digits.
    pub(crate) fn name(&mut self) -> Option<&'a str> {
        if !self.peek().is_some_and(|found| found.is_alphabetic() || found == '_') {
            return None;
        }
        Some(self.take_while(is_name))
    }

    /// Takes the word if it comes next and ends there.
    pub(crate) fn take_keyword(&mut self, word: &str) -> bool {
        let comes = self.peek_word().eq_ignore_ascii_case(word);
        if comes {
            self.at += word.len();
        }
        comes
    }

    /// The word of letters that comes next, if nothing follows that would make it a longer word.
    pub(crate) fn peek_word(&self) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|found: char| !found.is_ascii_alphabetic()).unwrap_or(rest.len());
        let ends = rest[length..].chars().next().is_none_or(|next| ends_word(next) || next == '(' || next == '{');
        if ends { &rest[..length] } else { "" }
    }

    /// A number without a sign, if one comes next and ends there: `7`, `0x1F`, `1.5`, `2e3`, `10kb`.
    pub(crate) fn number(&mut self, ends: impl Fn(char) -> bool) -> Option<Number> {
        let start = self.at;
        let number = self.number_unchecked();
        let complete = self.peek().is_none_or(|next| ends(next) || self.rest().starts_with(".."));
        if number.is_none() || !complete {
            self.at = start;
            return None;
        }
        number
    }

    fn number_unchecked(&mut self) -> Option<Number> {
        if self.take("0x") || self.take("0X") {
            let digits = self.take_while(|found| found.is_ascii_hexdigit());
            return i64::from_str_radix(digits, 16).ok().and_then(|number| self.multiplied(Number::Int(number)));
        }
        let start = self.at;
        self.take_while(|found| found.is_ascii_digit());
        let mut whole = true;
        let fraction = self.peek() == Some('.') && self.second().is_some_and(|found| found.is_ascii_digit());
        if fraction {
            whole = false;
            self.bump();
            self.take_while(|found| found.is_ascii_digit());
        }
        if self.at == start {
            return None;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            let back = self.at;
            self.bump();
            if matches!(self.peek(), Some('+' | '-')) {
                self.bump();
            }
            if self.take_while(|found| found.is_ascii_digit()).is_empty() {
                self.at = back;
            } else {
                whole = false;
            }
        }
        let digits = self.since(start);
        let number = match digits.parse::<i64>() {
            Ok(number) if whole => Number::Int(number),
            _ => Number::Double(digits.parse().ok()?),
        };
        self.multiplied(number)
    }

    fn multiplied(&mut self, number: Number) -> Option<Number> {
        let unit = self.rest().get(..2).map(str::to_ascii_lowercase);
        let shift = match unit.as_deref() {
            Some("kb") => 10,
            Some("mb") => 20,
            Some("gb") => 30,
            Some("tb") => 40,
            Some("pb") => 50,
            _ => return Some(number),
        };
        self.at += 2;
        let factor = 1i64 << shift;
        Some(match number {
            Number::Int(whole) => match whole.checked_mul(factor) {
                Some(product) => Number::Int(product),
                None => Number::Double(whole as f64 * factor as f64),
            },
            Number::Double(any) => Number::Double(any * factor as f64),
        })
    }
}

/// A line that goes on, with the word before it running into the mark.
pub(crate) fn no_blank_before(at: usize) -> Fault {
    let said = "A blank is missing before the grave accent (`) at the end of the line.";
    Fault::new(Span::new(at, at + 1), "BlankBeforeContinuation", said)
}

pub(crate) const fn is_blank(found: char) -> bool {
    matches!(found, ' ' | '\t' | '\u{b}' | '\u{c}' | '\u{a0}' | '\u{85}')
}

pub(crate) const fn is_line_end(found: char) -> bool {
    matches!(found, '\n' | '\r')
}

pub(crate) fn is_name(found: char) -> bool {
    found.is_alphanumeric() || found == '_'
}

/// Whether a bare word ends before this.
pub(crate) const fn ends_word(found: char) -> bool {
    is_blank(found)
        || is_line_end(found)
        || matches!(found, '{' | '}' | '(' | ')' | ';' | ',' | '|' | '&' | '<' | '>')
        || is_single(found)
        || is_double(found)
}

/// A single quotation mark, straight or typographic.
pub(crate) const fn is_single(found: char) -> bool {
    matches!(found, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}')
}

/// A double quotation mark, straight or typographic.
pub(crate) const fn is_double(found: char) -> bool {
    matches!(found, '"' | '\u{201c}' | '\u{201d}' | '\u{201e}')
}

/// A hyphen, or a dash that was one.
pub(crate) const fn is_dash(found: char) -> bool {
    matches!(found, '-' | '\u{2013}' | '\u{2014}' | '\u{2015}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units_and_only_when_they_end() {
        for (text, expected) in [
            ("7", Some(Number::Int(7))),
            ("0x1F ", Some(Number::Int(31))),
            ("1.5)", Some(Number::Double(1.5))),
            ("2e3", Some(Number::Double(2000.0))),
            ("10kb", Some(Number::Int(10_240))),
            ("1GB,", Some(Number::Int(1 << 30))),
            ("9999999999999999999", Some(Number::Double(1e19))),
            ("1..3", Some(Number::Int(1))),
            ("00:05:00", None),
            ("1.2.3.4", None),
            ("7zip", None),
            ("1.", None),
            (".5", Some(Number::Double(0.5))),
            ("x", None),
        ] {
            assert_eq!(Lexer::new(text).number(ends_word), expected, "{text}");
        }
    }

    #[test]
    fn blanks_are_comments_and_continued_lines_too() {
        for (text, rest) in
            [(" \t# to the end\nx", "\nx"), ("<# a\nb #> x", "x"), ("`\r\n  x", "x"), ("`x", "`x"), ("\u{a0}x", "x")]
        {
            let mut lexer = Lexer::new(text);
            lexer.blanks().unwrap();
            assert_eq!(lexer.rest(), rest, "{text:?}");
        }
        assert!(Lexer::new("<# a").blanks().unwrap_err().incomplete);
        assert!(Lexer::new(" `").blanks().unwrap_err().incomplete);
        assert_eq!(Lexer::new("` \nx").blanks().unwrap_err().id, "BlankAfterContinuation");
    }
}
