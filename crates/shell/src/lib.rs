//! The management shell: the needed part of PowerShell, its commands on objects, and how objects are printed.
//!
//! [`parser`] and what it rests on are pure and know nobody.
#![warn(missing_docs)]

pub mod ast;
pub mod builtin;
pub mod credential;
pub mod encoding;
pub mod error;
mod eval;
mod format;
pub mod host;
pub mod interactive;
mod lexer;
pub mod parser;
pub mod reference;
pub mod remote;
mod session;
pub mod span;
mod visible;

pub use error::Fault;
pub use parser::parse;
pub use session::{Ended, Session};
