//! Connections on loopback: TLS and its refusals, listeners, the pool, real name servers.

mod foreign;
mod knot;
mod listening;
mod lists;
mod naming;
mod pooling;
mod refusals;
mod resolving;
mod support;
mod websocket;
