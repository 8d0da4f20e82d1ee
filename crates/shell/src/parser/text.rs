//! Text in quotation marks, here-strings, and the variables within.

use super::Parser;
use super::argument::flush;
use crate::ast::{ExpressionKind, Part, Variable};
use crate::error::Fault;
use crate::lexer::{is_blank, is_double, is_line_end, is_name, is_single};
use crate::span::Span;

impl Parser<'_> {
    /// `'text'`, where two quotation marks stand for one.
    pub(super) fn plain_text(&mut self) -> Result<String, Fault> {
        let start = self.lexer.at();
        self.lexer.bump();
        let mut text = String::new();
        loop {
            text.push_str(self.lexer.take_while(|found| !is_single(found)));
            let Some(mark) = self.lexer.bump() else { return Err(self.unterminated(start)) };
            if !self.lexer.peek().is_some_and(is_single) {
                return Ok(text);
            }
            text.push(mark);
            self.lexer.bump();
        }
    }

    /// `"text"` with values.
    pub(super) fn text(&mut self) -> Result<ExpressionKind, Fault> {
        let start = self.lexer.at();
        self.lexer.bump();
        let (mut parts, mut text) = (Vec::new(), String::new());
        loop {
            let Some(found) = self.lexer.peek() else { return Err(self.unterminated(start)) };
            if is_double(found) {
                self.lexer.bump();
                if !self.lexer.peek().is_some_and(is_double) {
                    return Ok(joined(parts, text));
                }
                self.lexer.bump();
                text.push(found);
            } else {
                self.piece(found, &mut text, &mut parts)?;
            }
        }
    }

    /// `@"`, lines, `"@`; or the same with single quotation marks, without values.
    pub(super) fn here_text(&mut self) -> Result<ExpressionKind, Fault> {
        let start = self.lexer.at();
        self.lexer.bump();
        let expands = self.lexer.bump().is_some_and(is_double);
        let ends: fn(char) -> bool = if expands { is_double } else { is_single };
        self.lexer.take_while(is_blank);
        match self.lexer.peek() {
            Some(found) if is_line_end(found) => self.lexer.line_end(),
            None => return Err(self.unterminated(start)),
            Some(_) => {
                let said = "Nothing may follow the opening of a here-string; its text begins on the next line.";
                let at = self.lexer.at();
                return Err(Fault::new(Span::new(at, at + 1), "UnexpectedCharactersAfterHereStringHeader", said));
            }
        }
        let (mut parts, mut text) = (Vec::new(), String::new());
        let mut line_begins = true;
        loop {
            let Some(found) = self.lexer.peek() else { return Err(self.unterminated(start)) };
            if line_begins && ends(found) && self.lexer.second() == Some('@') {
                self.lexer.bump();
                self.lexer.bump();
                // The last line end belongs to the closing mark.
                let last = text.strip_suffix("\r\n").or_else(|| text.strip_suffix(['\n', '\r'])).map(str::len);
                text.truncate(last.unwrap_or(text.len()));
                return Ok(joined(parts, text));
            }
            line_begins = is_line_end(found);
            if expands && !line_begins {
                self.piece(found, &mut text, &mut parts)?;
            } else {
                self.lexer.bump();
                text.push(found);
            }
        }
    }

    /// One character, escape or value of text that is put together.
    fn piece(&mut self, found: char, text: &mut String, parts: &mut Vec<Part>) -> Result<(), Fault> {
        match found {
            '`' => {
                self.lexer.bump();
                match self.lexer.bump() {
                    Some('0') => text.push('\0'),
                    Some('a') => text.push('\u{7}'),
                    Some('b') => text.push('\u{8}'),
                    Some('e') => text.push('\u{1b}'),
                    Some('f') => text.push('\u{c}'),
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('u') => text.push(self.code_point()?),
                    Some('v') => text.push('\u{b}'),
                    other => text.extend(other),
                }
            }
            '$' if self.at_value() => {
                flush(text, parts);
                parts.push(self.value_in_text()?);
            }
            _ => {
                self.lexer.bump();
                text.push(found);
            }
        }
        Ok(())
    }

    /// `{1F600}` behind `` `u ``: a character by its number.
    fn code_point(&mut self) -> Result<char, Fault> {
        let start = self.lexer.at();
        let said = "After `u comes the number of a character, one to six hexadecimal digits in braces: `u{1F600}.";
        let opened = self.lexer.take("{");
        let digits = self.lexer.take_while(|found| found.is_ascii_hexdigit());
        let named = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 6).and_then(char::from_u32);
        match named.filter(|_| opened && self.lexer.take("}")) {
            Some(named) => Ok(named),
            None => Err(Fault::new(self.lexer.span_since(start), "InvalidUnicodeEscapeSequence", said)),
        }
    }

    /// Whether the dollar sign that comes next begins a variable or `$(`.
    pub(super) fn at_value(&self) -> bool {
        let second = self.lexer.second();
        second.is_some_and(|next| is_name(next) || matches!(next, '(' | '{' | '?' | '$' | '^'))
    }

    pub(super) fn value_in_text(&mut self) -> Result<Part, Fault> {
        if self.lexer.second() == Some('(') {
            return self.block("$(", ')').map(Part::Sub);
        }
        let start = self.lexer.at();
        let variable = self.variable()?;
        Ok(Part::Variable(variable, self.lexer.span_since(start)))
    }

    /// `$name`, `${name}`, `$env:NAME`.
    pub(super) fn variable(&mut self) -> Result<Variable, Fault> {
        let start = self.lexer.at();
        self.lexer.bump();
        let braced = self.lexer.take("{");
        let name = if braced {
            let name = self.lexer.take_while(|found| found != '}' && !is_line_end(found)).to_owned();
            if !self.lexer.take("}") {
                let said = "The ${ is not closed: a } is missing.";
                return Err(Fault::new(self.lexer.span_since(start), "IncompleteDollarVariableReference", said));
            }
            name
        } else if self.lexer.take("?") {
            "?".to_owned()
        } else {
            self.lexer.take_while(is_name).to_owned()
        };
        if name.is_empty() {
            let said = "The name of a variable is missing after the dollar sign.";
            return Err(Fault::new(self.lexer.span_since(start), "VariableNameMissing", said));
        }
        let (scope, name) = if braced {
            match name.split_once(':') {
                Some((scope, name)) => (Some(scope.to_owned()), name.to_owned()),
                None => (None, name),
            }
        } else if name != "?" && self.lexer.peek() == Some(':') && self.lexer.second() != Some(':') {
            self.lexer.bump();
            (Some(name), self.lexer.take_while(is_name).to_owned())
        } else {
            (None, name)
        };
        let Some(scope) = scope else { return Ok(Variable::Name(name)) };
        let span = self.lexer.span_since(start);
        match scope.to_ascii_lowercase().as_str() {
            _ if name.is_empty() => Err(not_a_scope(&scope, span)),
            "env" => Ok(Variable::Environment(name)),
            "global" | "local" | "private" | "script" | "variable" => Ok(Variable::Name(name)),
            _ => Err(not_a_scope(&scope, span)),
        }
    }

    fn unterminated(&self, start: usize) -> Fault {
        let here = self.lexer.text()[start..].starts_with('@');
        let mark: String = self.lexer.text()[start..].chars().take(if here { 2 } else { 1 }).collect();
        let said = match here {
            false => format!("The text is not closed: a {mark} is missing."),
            true => {
                let mark: String = mark.chars().rev().collect();
                format!("The here-string is not closed: {mark} is missing at the beginning of a line.")
            }
        };
        Fault::incomplete(Span::new(start, start + mark.len()), "TerminatorExpectedAtEndOfString", said)
    }
}

fn joined(mut parts: Vec<Part>, mut text: String) -> ExpressionKind {
    if parts.is_empty() {
        return ExpressionKind::Text(text);
    }
    flush(&mut text, &mut parts);
    ExpressionKind::Expand(parts)
}

fn not_a_scope(scope: &str, span: Span) -> Fault {
    let said = format!(
        "The colon makes ${scope} the name of a drive, and there is none of that name. If the colon is text, write \
         ${{{scope}}}: instead."
    );
    Fault::new(span, "InvalidVariableReferenceWithDrive", said)
}
