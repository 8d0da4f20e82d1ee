//! What the fuzzers do with their bytes: plain functions that panic when a promise is broken.
//!
//! `fuzz/fuzz_targets` calls them under libFuzzer, `../main.rs` with the corpus and with mutations of it in every test
//! run. So both keep the same promises, and CI needs no fuzzer.

#![allow(dead_code, reason = "each fuzz target uses one of them")]

mod differential;
mod headers;
mod message;
mod proxied;
mod stream;

pub(crate) use differential::{Standing, differential, standing};
pub(crate) use headers::headers;
pub(crate) use message::message;
pub(crate) use stream::stream;

use reveille_sip::{Limits, Message, Name};

/// Bounds wide enough for what we make of a message that is itself within [`Limits::default`].
fn wide() -> Limits {
    Limits { header_bytes_max: 256 * 1024, header_count_max: 512, body_bytes_max: 1 << 20, skip_bytes_max: 1 << 20 }
}

/// Everything that a message says, spelling apart.
#[derive(Debug, Eq, PartialEq)]
struct Reading {
    start: String,
    fields: Vec<(Name, String, String)>,
    body: Vec<u8>,
}

impl Reading {
    fn of(message: &Message) -> Self {
        let start = match message.status() {
            Some(status) => format!("{status} {}", message.reason_phrase().unwrap_or_default()),
            None => format!(
                "{} {}",
                message.method().map_or("", |method| method.as_str()),
                message.request_uri().unwrap_or_default()
            ),
        };
        let fields = message.fields().map(|field| {
            let name = match field.name {
                Name::Other => field.name_text.to_ascii_lowercase(),
                known => known.as_str().to_owned(),
            };
            let value = match field.name {
                // A length is the same with zeros in front, and is passed on without them.
                Name::ContentLength => field.value.trim_start_matches('0').to_owned(),
                _ => field.value.to_owned(),
            };
            (field.name, name, value)
        });
        Self { start, fields: fields.collect(), body: message.body_bytes().to_vec() }
    }

    /// Without the fields of these names.
    fn without(mut self, names: &[Name]) -> Self {
        self.fields.retain(|(name, ..)| !names.contains(name));
        self
    }
}
