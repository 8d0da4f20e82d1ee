//! The shell at a terminal: the line is edited, completed and remembered here, and run by a [`crate::Session`].

mod console;
mod editor;
mod history;
mod meaning;
mod place;
mod run;
mod suggest;

pub use console::{Console, Interrupts};
pub use run::run;
