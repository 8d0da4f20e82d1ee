//! The desk: the catalogue of cmdlets, who may run them, and what they do.
//!
//! A cmdlet is a unit struct in the file of its noun under [`cmdlets`], with all that is known about it as data
//! ([`cmdlet::About`]). The binder ([`bind`]) makes a [`Call`] of arguments; the shell uses it before it asks the server,
//! and the server again.
#![warn(missing_docs)]

pub mod accounts;
pub mod api;
pub mod audit;
pub mod bind;
mod call;
pub mod cmdlet;
pub mod cmdlets;
mod desk;
mod failure;
mod family;
pub mod help;
mod kind;
pub mod ports;
pub mod probes;
mod recipe;
pub mod reference;
pub mod roles;
pub mod room;
pub mod run;
#[cfg(test)]
pub(crate) mod testing;
pub mod value;

pub use call::{Call, Caller};
pub use cmdlet::{About, Cmdlet, Outcome};
pub use desk::Desk;
pub use failure::{Category, Failure, Trail};
pub use kind::Kind;
pub use value::{Object, Secret, Value};
