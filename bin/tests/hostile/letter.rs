//! Requests as a partner writes them, right or wrong.

use std::borrow::Cow;

use reveille_sip::Message;

/// A request, a MESSAGE at first, of which every part may be changed. What it becomes is exactly what stands in it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) method: &'static str,
    pub(crate) uri: String,
    pub(crate) via: String,
    /// The whole lines, without their ends.
    pub(crate) from: String,
    /// The tag on To, if it has one.
    pub(crate) to_tag: Option<String>,
    /// The number in CSeq.
    pub(crate) count: u32,
    pub(crate) hops: Option<String>,
    pub(crate) call_id: String,
    /// Further header lines, each with its end.
    pub(crate) more: String,
    /// The line or lines of the length, with their ends; that of the body when absent.
    pub(crate) length: Option<String>,
    pub(crate) body: String,
}

impl Letter {
    /// A good one, from a domain to somebody at another.
    pub(crate) fn new(from: &str, to: &str, call_id: &str) -> Self {
        Self {
            method: "MESSAGE",
            uri: format!("sip:somebody@{to}"),
            via: format!("SIP/2.0/TLS edge.{from};branch=z9hG4bK{:016x}", rand::random::<u64>()),
            from: format!("From: <sip:mallory@{from}>;tag=1"),
            to_tag: None,
            count: 1,
            hops: Some("70".to_owned()),
            call_id: call_id.to_owned(),
            more: String::new(),
            length: None,
            body: String::new(),
        }
    }

    /// With these header lines.
    pub(crate) fn with(mut self, more: impl Into<String>) -> Self {
        self.more = more.into();
        self
    }

    /// With this line instead of the right length.
    pub(crate) fn length(mut self, line: impl Into<String>) -> Self {
        self.length = Some(line.into());
        self
    }

    /// With this body.
    pub(crate) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// With this From line.
    pub(crate) fn from(mut self, line: impl Into<String>) -> Self {
        self.from = line.into();
        self
    }

    pub(crate) fn text(&self) -> String {
        let Self { method, uri, via, from, to_tag, count, hops, call_id, more, length, body } = self;
        let to_tag = to_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let length: Cow<'_, str> = match length {
            Some(lines) => lines.into(),
            None => format!("Content-Length: {}\r\n", body.len()).into(),
        };
        let hops = hops.as_ref().map(|hops| format!("Max-Forwards: {hops}\r\n")).unwrap_or_default();
        format!(
            "{method} {uri} SIP/2.0\r\nVia: {via}\r\n{hops}{from}\r\nTo: <{uri}>{to_tag}\r\nCall-ID: {call_id}\r\n\
             CSeq: {count} {method}\r\n{more}{length}\r\n{body}"
        )
    }
}

/// The status of an answer, and the word for why.
pub(crate) fn told(answer: &Message) -> String {
    crate::support::push::told(answer).unwrap_or_else(|fault| fault.to_string())
}
