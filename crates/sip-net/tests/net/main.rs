//! Connections on loopback: TLS and its refusals, listeners, the pool, real name servers.

mod listening;
mod pooling;
mod refusals;
mod resolving;
mod support;
