//! Connections on loopback: TLS and its refusals, listeners, the pool, calls, real name servers.

mod calls;
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
