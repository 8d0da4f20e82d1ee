//! A small HTTP/2 server (RFC 9113, HPACK by RFC 7541) that shows what a push provider's clients must cope with.
//!
//! Published server libraries cannot change SETTINGS_MAX_CONCURRENT_STREAMS on a live connection, nor send GOAWAY
//! with debug data; APNs does both. [`Connection`] is the protocol without sockets: bytes in, events out, bytes to
//! write. [`serve`] moves it over a transport and writes the answers of one wake together.
//!
//! Frames and HPACK are those of the senders ([`reveille_http2`]). So a mistake in them would be made on both sides and
//! pass unseen here: that is what others' programs are for, with which both are tested. The state of a connection and the
//! judgement of what a client does are this module's own.

mod connection;
mod receive;
mod serve;
mod stream;
mod streams;

#[cfg(test)]
mod conformance;

pub(crate) use connection::{Connection, Event, Limits, Request};
pub(crate) use reveille_http2::{ErrorCode, Fields as Headers};
pub(crate) use serve::{Service, close, serve};
