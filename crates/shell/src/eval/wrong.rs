//! Why an operation on values cannot be carried out, before it is known where in the script it stands.

use reveille_admin::Category;

use super::Report;
use crate::span::Span;

/// The sentence and the stable name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wrong {
    pub(crate) id: &'static str,
    pub(crate) message: String,
}

impl Wrong {
    pub(crate) fn new(id: &'static str, message: impl Into<String>) -> Self {
        Self { id, message: message.into() }
    }

    pub(crate) fn at(self, span: Span) -> Report {
        Report::of_language(span, Category::InvalidArgument, self.id, self.message)
    }
}

/// How much text, and how many values, an expression may give.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 20;
/// How many objects a stage of a pipeline may hold.
pub(crate) const OBJECTS_MAX: usize = 1_000_000;

/// Text, unless it is too long.
pub(crate) fn bounded(length: usize) -> Result<(), Wrong> {
    if length > TEXT_BYTES_MAX {
        let said = format!("The text would have {length} bytes; an expression gives at most {TEXT_BYTES_MAX}.");
        return Err(Wrong::new("TextTooLong", said));
    }
    Ok(())
}

/// A number of values, unless it is too great.
pub(crate) fn few_enough(count: usize) -> Result<(), Wrong> {
    if count > OBJECTS_MAX {
        let said =
            format!("There would be {count} objects at once; at most {OBJECTS_MAX} are held. Filter them earlier.");
        return Err(Wrong::new("TooManyObjects", said));
    }
    Ok(())
}
