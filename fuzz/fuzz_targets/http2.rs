//! `cargo xtask fuzz http2`.
#![no_main]

#[path = "../../crates/http2/tests/fuzz/client.rs"]
mod client;
#[path = "../../crates/http2/tests/fuzz/onlooker.rs"]
mod onlooker;

libfuzzer_sys::fuzz_target!(|data: &[u8]| client::client(data));
