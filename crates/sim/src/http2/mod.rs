//! A small HTTP/2 server (RFC 9113, HPACK by RFC 7541) that shows what a push provider's clients must cope with.
//!
//! Published server libraries cannot change SETTINGS_MAX_CONCURRENT_STREAMS on a live connection, nor send GOAWAY
//! with debug data; APNs does both. [`Connection`] is the protocol without sockets: bytes in, events out, bytes to
//! write. [`serve`] moves it over a transport and writes the answers of one wake together.
//!
//! HPACK is ours as well: the published coder builds its Huffman table anew for each string (tens of microseconds)
//! and panics on a truncated table size update. It serves the tests as a second opinion.

mod connection;
mod fault;
mod frame;
mod headers;
mod hpack;
mod huffman;
mod receive;
mod serve;
mod stream;
mod streams;

#[cfg(test)]
mod conformance;

pub(crate) use connection::{Connection, Event, Limits, Request};
pub(crate) use fault::ErrorCode;
pub(crate) use headers::Headers;
pub(crate) use serve::{Service, close, serve};
