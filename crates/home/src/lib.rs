//! The mobility service: registration, sessions, kept messages, outbox.
