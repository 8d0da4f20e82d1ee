//! The Access Edge: who may come in, and which way out.
//!
//! A message from a partner passes [`inbound`]: certificate, lists and levels decide, and what is admitted is stamped
//! and relayed to the server behind. A message from inside passes [`outbound`]: settings and SRV records decide where
//! it goes and whom to expect there. Both leave through the [`relay`], which remembers the way back.
#![warn(missing_docs)]

mod edge;
mod inbound;
mod outbound;
mod refusals;
mod relay;

pub use edge::{Config, Edge, Served};
pub use refusals::Refused;
