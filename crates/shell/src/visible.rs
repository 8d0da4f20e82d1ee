//! Text for people: what a terminal would obey, or what would change the order in which text is read, is shown as
//! U+FFFD. Names and comments come from servers and from other administrators, who are not believed.

use std::borrow::Cow;

/// `text` with each character that is obeyed instead of shown replaced by one U+FFFD, so that columns stay where they
/// are. Line ends and tabs are left.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    without(text, is_obeyed)
}

/// `text` for a program: without what commands a terminal that it may pass it on to. The marks that change the order in
/// which text is read are left.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    without(text, |found| is_obeyed(found) && found.is_control())
}

fn without(text: &str, is_obeyed: fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(found) = rest.next() {
        let ends_line = found == '\r' && rest.peek() == Some(&'\n');
        out.push(if is_obeyed(found) && !ends_line { char::REPLACEMENT_CHARACTER } else { found });
    }
    Cow::Owned(out)
}

/// Whether a terminal does something at it: C0 but line feed and tab, DEL, C1, and the controls of UAX #9 §2.
pub(crate) fn is_obeyed(found: char) -> bool {
    match found {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left_and_columns_stay() {
        for (text, expected) in [
            ("x\u{1b}[31mRED", "x\u{fffd}[31mRED"),
            ("\u{1b}]0;title\u{7}", "\u{fffd}]0;title\u{fffd}"),
            ("\u{9b}2J\u{7f}\0", "\u{fffd}2J\u{fffd}\u{fffd}"),
            ("one\rtwo\r\nthree\r", "one\u{fffd}two\r\nthree\u{fffd}"),
            ("\u{202e}rtl\u{2069}\u{200f}\u{61c}", "\u{fffd}rtl\u{fffd}\u{fffd}\u{fffd}"),
            ("\u{200e}\u{202a}\u{2066}", "\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(visible(text), expected, "{text:?}");
            assert_eq!(visible(text).chars().count(), text.chars().count(), "{text:?}");
        }
    }

    #[test]
    fn a_program_gets_marks_of_direction_and_nothing_that_a_terminal_does() {
        let text = "\u{200f}\u{202e}x\u{1b}[2J\r\n\u{9b}2J\ty\r";
        assert_eq!(harmless(text), "\u{200f}\u{202e}x\u{fffd}[2J\r\n\u{fffd}2J\ty\u{fffd}");
        assert!(matches!(harmless("Grüße\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_people_write_is_shown_as_it_is() {
        let text = "Grüße, שלום\u{200d}, 👩\u{200d}💻\tand\nmore";
        assert!(matches!(visible(text), Cow::Borrowed(same) if same == text));
    }
}
