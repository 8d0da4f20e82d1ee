//! The feedback outbox against an edge of our own making, over mutual TLS.
