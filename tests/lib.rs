//! Shared parts of the world tests.
