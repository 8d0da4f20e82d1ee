//! `cargo xtask fuzz stream`.
#![no_main]

#[path = "../../crates/sip/tests/fuzz/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::stream(data));
