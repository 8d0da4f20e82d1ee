//! What is wrong with a script, and where.

use crate::span::{self, Span};
use crate::visible::visible;

/// Why a script cannot be read, or a statement not be carried out: with the place, so that a caret can stand under it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Where it is.
    pub span: Span,
    /// What kind of mistake it is: the last line of what is printed.
    pub id: &'static str,
    /// Whole sentences: what is wrong, and what could stand there instead.
    pub message: String,
    /// Whether the script only ends too early, so that a person at the keyboard may go on typing.
    pub incomplete: bool,
}

impl Fault {
    /// Something that cannot stand there.
    pub(crate) fn new(span: Span, id: &'static str, message: impl Into<String>) -> Self {
        Self { span, id, message: message.into(), incomplete: false }
    }

    /// Something that has not ended.
    pub(crate) fn incomplete(span: Span, id: &'static str, message: impl Into<String>) -> Self {
        Self { span, id, message: message.into(), incomplete: true }
    }

    /// As it is printed under the script that it is about.
    pub fn render(&self, script: &str) -> String {
        let place = span::position(script, self.span.start);
        let (line, start) = span::line(script, self.span.start);
        let within = self.span.start.saturating_sub(start).min(line.len());
        let marked = script
            .get(self.span.range())
            .map_or(1, |marked| marked.chars().take_while(|found| !matches!(found, '\n' | '\r')).count().max(1));
        // What stands before is repeated as blanks, its tabs as tabs, so that the mark stands under what it means.
        let before: String = line[..within].chars().map(|found| if found == '\t' { '\t' } else { ' ' }).collect();
        let text = format!(
            "At line:{} char:{}\n+ {line}\n+ {before}{}\n{}\n    + CategoryInfo          : ParserError: (:) [], \
             ParseException\n    + FullyQualifiedErrorId : {}\n",
            place.line,
            place.char,
            "~".repeat(marked),
            self.message,
            self.id
        );
        visible(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_under_what_is_meant() {
        let script = "Get-A\n\tGet-B > x";
        let fault = Fault::new(Span::new(13, 14), "RedirectionNotSupported", "No.");
        assert_eq!(
            fault.render(script),
            "At line:2 char:8\n+ \tGet-B > x\n+ \t      ~\nNo.\n    + CategoryInfo          : ParserError: (:) [], \
             ParseException\n    + FullyQualifiedErrorId : RedirectionNotSupported\n"
        );
    }
}
