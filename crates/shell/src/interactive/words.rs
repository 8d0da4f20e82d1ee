//! The shell's own commands and other names, for completion.

use super::suggest::{Own, Takes};

/// Commands that the shell carries out itself.
pub(super) const OWN: &[Own] = &[];

/// Other names of commands.
pub(super) const ALIASES: &[(&str, &str)] = &[];

const fn own(name: &'static str, summary: &'static str, takes: Takes) -> Own {
    Own { name, summary, parameters: &[], takes }
}
