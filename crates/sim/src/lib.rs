//! Strict simulators of the providers, phones, and certificates for demos and tests.
//!
//! [`apns::ApnsSimulator`] and [`fcm::FcmSimulator`] are servers on a real socket with real TLS which follow the
//! providers' documented rules, answer as scripted, and remember every push. [`control`] steers both over HTTP;
//! [`certs`] makes the certificates and keys that all of it needs. [`phone::Phone`] is a SIP user agent with a push
//! identity, and [`office`] other servers of a test; they are built on crates of ours (`sip` and `sip-net`). The rest
//! knows none: it is the other side, as is [`turn`], a TURN server.

#![allow(clippy::disallowed_methods, reason = "the simulators are the outside world, and it has its own clock")]

pub mod apns;
pub mod certs;
pub mod clock;
pub mod control;
pub mod fcm;
pub mod handle;
pub mod office;
pub mod phone;
pub mod recorder;
pub mod script;
pub mod turn;

mod hold;
mod http2;
mod jwt;
mod line;

pub use line::{Outage, StartFailure};
