//! Push requests as a partner of the publisher sends them, and what is said to them.

#![allow(clippy::disallowed_methods, reason = "the tests play partners, and partners have the wall clock")]

use std::fmt::Write as _;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use reveille_core::{PushId, Timestamp};
use reveille_sip::{Message, Name};
use serde_json::{Value, json};

/// What the body of a MESSAGE with push requests is.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.reveille.push+json;v=1";

/// A push request that is right.
pub(crate) fn request() -> Value {
    let now = millis();
    json!({
        "id": ulid(), "identity": ulid(), "event": "message", "channel": "message",
        "to": { "provider": "apns", "app": "org.reveille.demo", "token": format!("{:064x}", rand::random::<u128>()) },
        "sent": now, "expires": now + 600_000, "registered": 1,
    })
}

/// A MESSAGE with this body from one domain's home to another domain's clearing house.
pub(crate) fn message(body: &str, from: &str, to: &str) -> Vec<u8> {
    message_with(CONTENT_TYPE, body.as_bytes(), from, to)
}

/// The same with another content type.
pub(crate) fn message_with(content_type: &str, body: &[u8], from: &str, to: &str) -> Vec<u8> {
    let head = format!(
        "MESSAGE sip:push@{to} SIP/2.0\r\nVia: SIP/2.0/TLS edge.{from};branch=z9hG4bK{:x}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:mcx@{from}>;tag=1\r\nTo: <sip:push@{to}>\r\nCall-ID: push\r\n\
         CSeq: 1 MESSAGE\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        rand::random::<u64>(),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An answer in a few words: status, and what became of the push requests or why it was refused.
pub(crate) fn told(answer: &Message) -> Result<String> {
    let mut text = answer.status().context("a request came where an answer was due")?.to_string();
    if let Some(result) = answer.header(Name::PushResult) {
        let _ = write!(text, " {result}");
    }
    if answer.content_type() == Some("application/problem+json") {
        let problem: Value = serde_json::from_slice(answer.body_bytes())?;
        let kind = problem["type"].as_str().and_then(|kind| kind.strip_prefix("urn:reveille:refusal:"));
        let _ = write!(text, " {}", kind.context("a problem without type")?);
    }
    Ok(text)
}

/// A ULID of now.
pub(crate) fn ulid() -> String {
    PushId::from_parts(Timestamp::from_millis(millis()), rand::random()).to_string()
}

/// Milliseconds since 1970.
pub(crate) fn millis() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
