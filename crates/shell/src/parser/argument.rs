//! A command and its arguments: here a word is text without quotation marks.

use super::{Parser, unsupported};
use crate::ast::{Argument, Command, Expression, ExpressionKind, Number, Part};
use crate::error::Fault;
use crate::lexer::{Lexer, ends_word, is_blank, is_dash, is_double, is_line_end, is_name, is_single, no_blank_before};
use crate::span::Span;

impl Parser<'_> {
    /// A command with its arguments.
    pub(super) fn command(&mut self) -> Result<Command, Fault> {
        if let Some(fault) = unsupported::ahead(&self.lexer).or_else(|| unsupported::dot_sourcing(&self.lexer)) {
            return Err(fault);
        }
        let start = self.lexer.at();
        let name = self.lexer.take_while(|found| !ends_word(found) && found != '$').to_owned();
        let name_span = self.lexer.span_since(start);
        if name.is_empty() || name.starts_with(is_dash) {
            self.lexer.go(start);
            return Err(self.unexpected(" The name of a command is expected, or a value."));
        }
        if self.lexer.peek() == Some('$') {
            let span = Span::new(start, self.lexer.at() + 1);
            let said = "The name of a command cannot be put together from variables. Write the command out.";
            return Err(Fault::new(span, "CommandNameNotLiteral", said));
        }
        if !is_command_name(&name) {
            let said = match name.split_once('=') {
                Some((variable, _)) if is_command_name(variable) => {
                    format!("A variable begins with $, and a blank stands before =: ${variable} = …")
                }
                _ => format!("{name} cannot be the name of a command: those are words, like Get-CsMcxConfiguration."),
            };
            return Err(Fault::new(name_span, "CommandNameNotAWord", said));
        }
        if self.lexer.peek() == Some('(') {
            let at = Span::new(self.lexer.at(), self.lexer.at() + 1);
            let said = format!("Arguments of a command stand behind blanks, without parentheses: {name} -Name value");
            return Err(Fault::new(at, "BlankMissing", said));
        }
        if self.lexer.peek().is_some_and(|next| is_single(next) || is_double(next)) {
            let at = Span::new(self.lexer.at(), self.lexer.at() + 1);
            return Err(Fault::new(at, "BlankMissing", format!("A blank is missing after {name}.")));
        }
        let mut arguments = Vec::new();
        let mut end = self.lexer.at();
        loop {
            self.argument_blanks()?;
            if self.ends_command() {
                break;
            }
            // `x = 5` and `x += 5` are assignments without their dollar sign.
            if arguments.is_empty() && is_assignment(self.lexer.rest()) {
                break;
            }
            arguments.push(self.argument()?);
            end = self.lexer.at();
        }
        self.lexer.go(end);
        Ok(Command { name, name_span, arguments, span: Span::new(start, end) })
    }

    /// Passes blanks and comments; a comment does not touch an argument.
    fn argument_blanks(&mut self) -> Result<(), Fault> {
        let start = self.lexer.at();
        self.lexer.blanks()?;
        let passed = self.lexer.since(start);
        // In a comment to the end of the line these are letters like others.
        let to_the_end = passed.trim_start().starts_with('#');
        let touches = passed.starts_with("<#")
            || (passed.contains("#>#") && !to_the_end)
            || (passed.ends_with("#>") && !self.ends_command());
        match touches {
            true => {
                let span = self.lexer.span_since(start);
                Err(Fault::new(
                    span,
                    "BlankMissing",
                    "A blank is missing between the comment and what stands beside it.",
                ))
            }
            false => Ok(()),
        }
    }

    fn ends_command(&self) -> bool {
        self.lexer.peek().is_none_or(|next| is_line_end(next) || matches!(next, ';' | '|' | ')' | '}'))
    }

    fn at_parameter(&self) -> bool {
        self.lexer.peek().is_some_and(is_dash)
            && self.lexer.second().is_some_and(|next| next.is_alphabetic() || matches!(next, '_' | '?'))
    }

    fn argument(&mut self) -> Result<Argument, Fault> {
        if !self.at_parameter() {
            return self.argument_value().map(Argument::Value);
        }
        let start = self.lexer.at();
        self.lexer.bump();
        let name = self.lexer.take_while(|found| is_name(found) || matches!(found, '?' | '-')).to_owned();
        let span = self.lexer.span_since(start);
        if ["join", "split"].iter().any(|operator| name.eq_ignore_ascii_case(operator)) {
            let said = format!(
                "-{name} is an operator, and the arguments of a command are none. Write the command in parentheses: \
                 (Get-…) -{name} ','"
            );
            return Err(Fault::new(span, "OperatorAsParameter", said));
        }
        let mut value = None;
        if self.lexer.take(":") {
            self.lexer.blanks()?;
            if self.ends_command() {
                let said = format!("No value follows -{name}: - write it after the colon.");
                return Err(Fault::new(span, "ParameterRequiresArgument", said));
            }
            value = Some(self.argument_value()?);
        } else if !self.at_argument_end() {
            return Err(self.unexpected(&format!(" A blank is missing after -{name}.")));
        }
        Ok(Argument::Parameter { name, span, value })
    }

    /// A value, or several with commas between.
    fn argument_value(&mut self) -> Result<Expression, Fault> {
        let start = self.lexer.at();
        let first = self.argument_item()?;
        let mut items = vec![first];
        loop {
            let back = self.lexer.at();
            self.argument_blanks()?;
            if self.lexer.peek() != Some(',') {
                self.lexer.go(back);
                break;
            }
            let comma = self.lexer.at();
            self.lexer.bump();
            self.lexer.blank_lines()?;
            if self.at_parameter() || self.ends_command() {
                let said = "A value is missing after the comma.";
                return Err(Fault::new(Span::new(comma, comma + 1), "MissingArgument", said));
            }
            items.push(self.argument_item()?);
        }
        match (items.pop(), items.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                items.extend(last);
                Ok(Expression { kind: ExpressionKind::List(items), span: self.lexer.span_since(start) })
            }
        }
    }

    fn argument_item(&mut self) -> Result<Expression, Fault> {
        if let Some(fault) = unsupported::ahead(&self.lexer) {
            return Err(fault);
        }
        let item = match self.lexer.peek() {
            Some('$') if self.at_value() => self.primary_with_steps()?,
            // Nothing is asked of a script block but to be carried out.
            Some('{') => self.primary()?,
            Some('@' | '(') => self.primary_with_steps()?,
            Some(found) if is_single(found) || is_double(found) => self.primary_with_steps()?,
            _ => return self.word(None),
        };
        if self.at_argument_end() {
            return Ok(item);
        }
        if let Some(fault) = unsupported::count(&self.lexer) {
            return Err(fault);
        }
        // A word may begin with a value: $user@contoso.com.
        let part = match item.kind {
            ExpressionKind::Variable(variable) => Part::Variable(variable, item.span),
            ExpressionKind::Sub(block) => Part::Sub(block),
            _ => {
                let said = " Nothing may follow this value without a blank; put the whole into \"quotation marks\".";
                return Err(self.unexpected(said));
            }
        };
        self.word(Some((part, item.span.start)))
    }

    fn at_argument_end(&self) -> bool {
        self.lexer.peek().is_none_or(|next| {
            is_blank(next) || is_line_end(next) || matches!(next, ';' | '|' | ')' | '}' | ',' | '&' | '<' | '>')
        })
    }

    /// A word without quotation marks, which may have begun with a value.
    fn word(&mut self, begun: Option<(Part, usize)>) -> Result<Expression, Fault> {
        let start = begun.as_ref().map_or_else(|| self.lexer.at(), |(_, start)| *start);
        let mut parts: Vec<Part> = begun.into_iter().map(|(part, _)| part).collect();
        let mut text = String::new();
        while let Some(found) = self.lexer.peek() {
            if is_single(found) || is_double(found) {
                let at = Span::new(self.lexer.at(), self.lexer.at() + found.len_utf8());
                let said = "A quotation mark stands within a word. Put the whole argument into quotation marks.";
                return Err(Fault::new(at, "QuoteWithinWord", said));
            }
            if found == '`' && self.lexer.second().is_none_or(is_line_end) {
                return Err(no_blank_before(self.lexer.at()));
            }
            if matches!(found, '(' | '{') && self.lexer.at() > start {
                let at = Span::new(self.lexer.at(), self.lexer.at() + 1);
                let said = format!("A blank is missing before the {found}. As text it stands in quotation marks.");
                return Err(Fault::new(at, "BlankMissing", said));
            }
            if ends_word(found) {
                break;
            }
            if found == '$' && !self.at_value() {
                let at = Span::new(self.lexer.at(), self.lexer.at() + 1);
                let said =
                    "The name of a variable is missing after the dollar sign. As text, $ stands in 'quotation marks'.";
                return Err(Fault::new(at, "VariableNameMissing", said));
            }
            match found {
                '`' => {
                    self.lexer.bump();
                    text.extend(self.lexer.bump());
                }
                '$' if self.at_value() => {
                    flush(&mut text, &mut parts);
                    parts.push(self.value_in_text()?);
                }
                _ => {
                    self.lexer.bump();
                    text.push(found);
                }
            }
        }
        let span = self.lexer.span_since(start);
        if span.start == span.end {
            return Err(self.unexpected(" A value is expected."));
        }
        if let Some(fault) = unsupported::word(self.lexer.since(start), span) {
            return Err(fault);
        }
        let raw = self.lexer.since(start);
        if matches!(raw, "!" | "+" | "-" | ":") || raw.starts_with("++") {
            let said = format!(
                "{raw} is an operator, and the arguments of a command are none. As text it stands in 'quotation marks'."
            );
            return Err(Fault::new(span, "UnexpectedToken", said));
        }
        if raw.starts_with(is_dash) && raw.chars().count() > 1 && number(raw).is_none() {
            let said = format!("{raw} is neither a parameter nor a number. As text it stands in quotation marks.");
            return Err(Fault::new(span, "UnexpectedToken", said));
        }
        let kind = if parts.is_empty() {
            // What was written with a grave accent is text.
            match number(&text).filter(|_| self.lexer.since(start) == text) {
                Some(number) => ExpressionKind::Number(number),
                None => ExpressionKind::Text(text),
            }
        } else {
            flush(&mut text, &mut parts);
            ExpressionKind::Expand(parts)
        };
        Ok(Expression { kind, span })
    }
}

/// Moves text that has been gathered behind the parts before it.
pub(super) fn flush(text: &mut String, parts: &mut Vec<Part>) {
    if !text.is_empty() {
        parts.push(Part::Text(std::mem::take(text)));
    }
}

/// A word as a number, unless that would lose how it is written: 0123 and 1.10 may be names.
fn number(word: &str) -> Option<Number> {
    let digits = word.strip_prefix(is_dash).unwrap_or(word);
    let mut lexer = Lexer::new(digits);
    let number = lexer.number(|_| false)?;
    if !lexer.rest().is_empty() {
        return None;
    }
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let (number, shown) = match number {
        Number::Int(whole) => (Number::Int(if digits.len() < word.len() { -whole } else { whole }), whole.to_string()),
        Number::Double(any) => (Number::Double(if digits.len() < word.len() { -any } else { any }), any.to_string()),
    };
    (!plain || shown == digits).then_some(number)
}

/// `Get-CsMcxConfiguration`, `Lync\Get-CsMcxConfiguration`, `?`, `%`.
fn is_command_name(name: &str) -> bool {
    let within = |found: char| is_name(found) || matches!(found, '-' | '.' | '\\');
    matches!(name, "?" | "%")
        || (name.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && !name.ends_with('-')
            && name.chars().all(within))
}

fn is_assignment(rest: &str) -> bool {
    let rest = rest.strip_prefix(['+', '-', '*', '/']).unwrap_or(rest);
    rest.strip_prefix('=').is_some_and(|after| after.starts_with(is_blank))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_number_when_nothing_of_how_it_is_written_is_lost() {
        for (word, expected) in [
            ("5", Some(Number::Int(5))),
            ("-5", Some(Number::Int(-5))),
            ("10kb", Some(Number::Int(10_240))),
            ("0x10", Some(Number::Int(16))),
            ("1.5", Some(Number::Double(1.5))),
            ("0123", None),
            ("1.10", None),
            ("00:05:00", None),
            ("-", None),
        ] {
            assert_eq!(number(word), expected, "{word}");
        }
    }
}
