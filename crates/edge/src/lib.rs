//! The Access Edge: who may come in, and which way out.
