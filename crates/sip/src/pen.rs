//! Writing SIP into a buffer: what is written either is whole and safe, or is not there at all.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use memchr::memchr3;

use crate::error::PrintError;
use crate::list::Params;
use crate::name::Name;
use crate::text::{ends_uri, is_token, split_before, trim_end_bytes};
use crate::uri::Host;
use crate::via::Via;

/// The value of a header field to write: text, or `format_args!(…)` which is then written without a `String` between.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Written while the message is.
    Format(fmt::Arguments<'a>),
    /// Text.
    Text(&'a str),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<fmt::Arguments<'a>> for Value<'a> {
    fn from(arguments: fmt::Arguments<'a>) -> Self {
        Value::Format(arguments)
    }
}

/// Values may be credentials or tokens.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value")
    }
}

/// Appends one message to a buffer. Dropped before [`Pen::finish`], or after a mistake, it takes everything back.
#[derive(Debug)]
pub(crate) struct Pen<'a> {
    out: &'a mut BytesMut,
    start: usize,
    error: Option<PrintError>,
    finished: bool,
}

impl<'a> Pen<'a> {
    pub(crate) fn new(out: &'a mut BytesMut) -> Self {
        let start = out.len();
        Self { out, start, error: None, finished: false }
    }

    /// Makes room, so that the many small writes which follow allocate at most once.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Remembers the first mistake; the message will not be written.
    pub(crate) fn fail(&mut self, error: PrintError) {
        self.error.get_or_insert(error);
    }

    /// Bytes known to be sound: our own, or header fields of a parsed message.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Text which has to stay on its line.
    pub(crate) fn value<'v>(&mut self, value: impl Into<Value<'v>>) {
        let before = self.out.len();
        match value.into() {
            Value::Text(text) => self.out.extend_from_slice(text.as_bytes()),
            Value::Format(arguments) => {
                if self.out.write_fmt(arguments).is_err() {
                    self.fail(PrintError::ControlCharacter);
                }
            }
        }
        if memchr3(b'\r', b'\n', 0, &self.out[before..]).is_some() {
            self.fail(PrintError::ControlCharacter);
        }
    }

    pub(crate) fn number(&mut self, number: usize) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.raw(&digits[at..]);
    }

    /// One header field.
    pub(crate) fn field<'v>(&mut self, name: Name, value: impl Into<Value<'v>>) {
        match name {
            Name::Other => self.fail(PrintError::NameNotToken),
            known => self.line(known.as_str(), value),
        }
    }

    /// One header field whose name is given as text.
    pub(crate) fn named_field<'v>(&mut self, name: &str, value: impl Into<Value<'v>>) {
        if !is_token(name.as_bytes()) {
            return self.fail(PrintError::NameNotToken);
        }
        self.line(name, value);
    }

    fn line<'v>(&mut self, name: &str, value: impl Into<Value<'v>>) {
        self.raw(name.as_bytes());
        self.raw(b": ");
        self.value(value);
        self.raw(b"\r\n");
    }

    /// `METHOD URI SIP/2.0`.
    pub(crate) fn request_line(&mut self, method: &str, uri: &str) {
        if !is_token(method.as_bytes()) || uri.is_empty() || uri.bytes().any(ends_uri) {
            return self.fail(PrintError::StartLine);
        }
        self.raw(method.as_bytes());
        self.raw(b" ");
        self.raw(uri.as_bytes());
        self.raw(b" SIP/2.0\r\n");
    }

    pub(crate) fn content_length(&mut self, bytes: usize) {
        self.raw(b"Content-Length: ");
        self.number(bytes);
        self.raw(b"\r\n");
    }

    /// A Via value of a request that came from `source`, with `received` and `rport` as they really are (§18.2.1,
    /// RFC 3581 §4). Whatever the sender wrote into these two is replaced: it may lie.
    pub(crate) fn stamped_via(&mut self, element: &str, source: SocketAddr) {
        let (head, params) = split_before(element, b';');
        self.raw(trim_end_bytes(head.as_bytes()));
        let mut asked_for_port = false;
        for (name, value) in Params::new(params) {
            if name.eq_ignore_ascii_case("received") {
                continue;
            }
            self.raw(b";");
            if name.eq_ignore_ascii_case("rport") {
                asked_for_port = true;
                self.raw(b"rport=");
                self.number(usize::from(source.port()));
                continue;
            }
            self.raw(name.as_bytes());
            if let Some(value) = value {
                self.raw(b"=");
                self.raw(value.as_bytes());
            }
        }
        let came_from = source.ip().to_canonical();
        // No address ends in a letter, with or without a port.
        let is_name = head.ends_with(|last: char| last.is_ascii_alphabetic());
        let wrote = || Via::parse(element).ok().and_then(|via| via.host().ip()).map(|ip| ip.to_canonical());
        if asked_for_port || is_name || wrote() != Some(came_from) {
            self.raw(b";received");
            match came_from {
                // Nearly all, and written faster without the formatter.
                IpAddr::V4(ip) => {
                    for (at, octet) in ip.octets().into_iter().enumerate() {
                        self.raw(if at == 0 { b"=" } else { b"." });
                        self.number(usize::from(octet));
                    }
                }
                IpAddr::V6(ip) => self.value(format_args!("={ip}")),
            }
        }
    }

    /// Keeps what was written, whatever it is.
    pub(crate) fn keep(mut self) {
        self.finished = true;
    }

    /// Keeps what was written, or takes it back and says why.
    pub(crate) fn finish(&mut self) -> Result<(), PrintError> {
        self.finished = self.error.is_none();
        self.error.map_or(Ok(()), Err)
    }
}

impl Drop for Pen<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

/// `host` or `host:port` as Via and URIs write it.
impl Host<'_> {
    /// The host of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(address) => Host::V4(address),
            IpAddr::V6(address) => Host::V6(address),
        }
    }
}
