//! Wiring: configuration to running roles; the only crate that knows every role.
