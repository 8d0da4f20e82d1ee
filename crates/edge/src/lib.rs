//! The Access Edge: who may come in, and which way out.
//!
//! A message from a partner passes [`inbound`]: certificate, lists and levels decide, and what is admitted is stamped
//! and relayed to the server behind. A message from inside passes [`outbound`]: settings and SRV records decide where
//! it goes and whom to expect there. Both are a [`crossing`] when they may pass, hold the places of their [`partners`],
//! and leave through the [`relay`], which remembers the way back, or as part of the [`calls`], whose
//! [`dialogs`] it writes down in them. What our users ask of media relays [`av`] answers.
#![warn(missing_docs)]

mod asking;
mod av;
mod calls;
mod crossing;
mod dialogs;
mod edge;
mod gauge;
mod inbound;
mod led;
mod limits;
mod meters;
mod now;
mod outbound;
mod pace;
mod partners;
mod probe;
mod refusals;
mod relay;
mod said;
mod seats;
mod status;
mod unfound;
mod ways;
mod ways_back;

pub use av::{AvConfig, RelaySecret};
pub use edge::{Config, Edge, Served};
pub use limits::Limits;
pub use refusals::Refused;
pub use status::{
    Address, Answers, Border, CertificateSummary, Direction, Failing, LastError, NextHop, NotFound, PartnerStatus,
    State,
};
