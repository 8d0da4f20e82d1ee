//! HTTP/2 (RFC 9113) and HPACK (RFC 7541) without sockets, clocks or tasks: what a sender of many small requests needs.
//!
//! A [`Client`] is one connection's state: bytes of the peer go in by [`Client::receive`], requests by [`Client::send`],
//! bytes for the peer pile up in one buffer ([`Client::output`]) and are written by whoever has the socket, many requests
//! in one write. Each request that was sent has exactly one [`Ended`].
//!
//! It is ours, and not the published one, because sending pushes is what the product is for: a request is written
//! straight into the output buffer, what all requests of a connection share is one byte each after the first (HPACK's
//! dynamic table), and neither a request nor an ordinary answer allocates. Peers are hostile: all that they can make us
//! keep is bounded, and so is what they can make us do without an answer ([`IDLE_FRAMES_MAX`]).

mod client;
mod fault;
mod fields;
pub mod frame;
pub mod hpack;
mod request;

pub use client::{Answer, Client, Ended, Farewell, IDLE_FRAMES_MAX, Lost, OUT_BYTES_HIGH, Options};
pub use fault::{ErrorCode, Fault};
pub use fields::Fields;
pub use request::{Keep, Name, Request, name};
