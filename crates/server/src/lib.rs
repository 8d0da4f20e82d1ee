//! Wiring: configuration to running roles. The only crate that knows every role, and it decides nothing.

pub mod config;
