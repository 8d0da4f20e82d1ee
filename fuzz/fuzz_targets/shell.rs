//! `cargo xtask fuzz shell`.
#![no_main]

#[path = "../../crates/shell/tests/language/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|text: &str| assert_eq!(oracle::check(text), Ok(())));
