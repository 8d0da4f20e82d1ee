//! From text to statements: the needed part of PowerShell, by recursive descent, in one pass without going back over
//! anything that is nested.
//!
//! What PowerShell knows and this shell does not is told apart from mistakes: [`unsupported`] names the nearest form.

mod argument;
mod expression;
mod statement;
mod text;
mod unsupported;

pub use expression::METHODS;

use crate::ast::Block;
use crate::error::Fault;
use crate::lexer::{Lexer, is_line_end};
use crate::span::Span;

/// How deep brackets, strings with values, and operators of one side may stand within each other.
pub const NESTING_MAX: usize = 64;
/// How long a script may be.
pub const SCRIPT_BYTES_MAX: usize = 1 << 20;

/// The statements of a script.
///
/// # Errors
///
/// The first thing that cannot be understood; [`Fault::incomplete`] says whether the script could go on.
pub fn parse(text: &str) -> Result<Block, Fault> {
    if text.len() > SCRIPT_BYTES_MAX {
        let said = format!("The script has {} bytes; at most {SCRIPT_BYTES_MAX} are read. Divide it.", text.len());
        return Err(Fault::new(Span::new(0, 0), "ScriptTooLong", said));
    }
    if let Some((at, found)) = text.char_indices().find(|(_, found)| is_control(*found)) {
        let said = format!(
            "A control character, U+{:04X}, cannot stand in a script, not in text or comments either. Remove it.",
            u32::from(found)
        );
        return Err(Fault::new(Span::new(at, at + 1), "ControlCharacter", said));
    }
    let mut parser = Parser { lexer: Lexer::new(text), depth: 0, loops: 0, after_body: false, comma_separates: false };
    let statements = parser.statements(None)?;
    Ok(Block { statements, span: Span::new(0, text.len()) })
}

/// A control character of ASCII that is no blank and ends no line: what is run could not be seen by who reads it.
const fn is_control(found: char) -> bool {
    found < ' ' && !matches!(found, '\t' | '\n' | '\r')
}

/// Where the parser is, and within what.
#[derive(Debug)]
struct Parser<'a> {
    lexer: Lexer<'a>,
    /// What it is nested in.
    depth: usize,
    /// The loops around, within the innermost braces.
    loops: usize,
    /// Whether the last thing read was the braces of a statement, which end it.
    after_body: bool,
    /// Whether a comma ends an expression, as between the arguments of a method.
    comma_separates: bool,
}

/// A bracket that must be closed.
#[derive(Clone, Copy, Debug)]
struct Open {
    span: Span,
    closed_by: char,
}

impl Parser<'_> {
    /// Does something one level deeper.
    fn nested<T>(&mut self, span: Span, within: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == NESTING_MAX {
            let said = format!("This is nested more than {NESTING_MAX} deep. Keep a part of it in a variable first.");
            return Err(Fault::new(span, "NestedTooDeep", said));
        }
        self.depth += 1;
        let separates = std::mem::replace(&mut self.comma_separates, false);
        let done = within(self);
        self.comma_separates = separates;
        self.depth -= 1;
        done
    }

    /// Takes an opening bracket that is known to come next.
    fn open(&mut self, text: &str, closed_by: char) -> Open {
        let start = self.lexer.at();
        self.lexer.take(text);
        Open { span: self.lexer.span_since(start), closed_by }
    }

    /// Takes the closing bracket, or says what stands there instead.
    fn close(&mut self, open: Open) -> Result<(), Fault> {
        self.lexer.blank_lines()?;
        if self.lexer.peek() == Some(open.closed_by) {
            self.lexer.bump();
            return Ok(());
        }
        match self.lexer.peek() {
            None => Err(self.unclosed(open)),
            Some(_) => Err(self.unexpected(&format!(" A {} is missing before it.", open.closed_by))),
        }
    }

    fn unclosed(&self, open: Open) -> Fault {
        let opened = &self.lexer.text()[open.span.range()];
        let id = match open.closed_by {
            '}' => "MissingEndCurlyBrace",
            ']' => "MissingEndSquareBracket",
            _ => "MissingEndParenthesis",
        };
        Fault::incomplete(open.span, id, format!("The {opened} is not closed: a {} is missing.", open.closed_by))
    }

    /// What comes next cannot stand here. Known forms of PowerShell are named.
    fn unexpected(&self, more: &str) -> Fault {
        if let Some(fault) = unsupported::ahead(&self.lexer).or_else(|| unsupported::count(&self.lexer)) {
            return fault;
        }
        let start = self.lexer.at();
        let mut ahead = self.lexer.clone();
        let word = ahead.take_while(|found| !crate::lexer::ends_word(found)).to_owned();
        if word.is_empty() {
            ahead.bump();
        }
        let span = ahead.span_since(start);
        let shown = ahead.since(start);
        match self.lexer.peek() {
            None => Fault::incomplete(Span::new(start, start), "UnexpectedEnd", format!("The script ends here.{more}")),
            Some(found) if is_line_end(found) => {
                Fault::new(Span::new(start, start), "UnexpectedToken", format!("The line ends here.{more}"))
            }
            Some(_) => Fault::new(span, "UnexpectedToken", format!("{shown} cannot stand here.{more}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_character_is_refused_wherever_it_stands_and_not_printed() {
        for (script, at) in [
            ("Get-Date # a\0b", 12),
            ("Get-Date a\0b", 10),
            ("'\u{1b}[31m'", 1),
            ("<# \u{c} #>", 3),
            ("1\u{b}+ 1", 1),
            ("\u{1}", 0),
            ("if (1) {\n  \u{1f}", 11),
        ] {
            let fault = parse(script).unwrap_err();
            assert_eq!((fault.id, fault.span, fault.incomplete), ("ControlCharacter", Span::new(at, at + 1), false));
            let printed = fault.render(script);
            assert!(!printed.chars().any(|it| it.is_control() && !matches!(it, '\n' | '\t')), "{printed:?}");
            assert!(printed.contains(&format!("U+{:04X}", u32::from(script.as_bytes()[at]))), "{printed}");
        }
    }

    #[test]
    fn tabs_and_line_ends_are_no_control_characters() {
        for script in ["\tGet-Date\r\n# a\tb\rGet-Date\n", "'a\nb\tc'"] {
            assert!(parse(script).is_ok(), "{script:?}");
        }
    }
}
