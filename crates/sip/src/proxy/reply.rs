//! Answers of our own, edits on what is passed on, and whoever decides about both.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::error::PrintError;
use crate::message::Message;
use crate::name::Name;
use crate::print::ResponseBuilder;

/// A response of our own making, before it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header fields besides those which every response has.
    pub headers: Vec<(&'static str, String)>,
    /// Media type and body.
    pub content: Option<(&'static str, Bytes)>,
}

/// What to change in a message that is passed on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Edits {
    /// Fields to leave out.
    pub strip: SmallVec<[Name; 4]>,
    /// Fields to leave out whose names are not in [`Name`].
    pub strip_other: SmallVec<[&'static str; 2]>,
    /// Fields to add, above others of their name.
    pub insert: SmallVec<[(&'static str, String); 4]>,
}

/// Why a leg gave no final answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// A stable word for metrics.
    pub label: &'static str,
    /// What an administrator reads.
    pub sentence: String,
    /// What the transport said, for an owner that knows its kind.
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of [`Failure`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureKind {
    /// Its connection ended before it answered.
    Gone,
    /// It did not answer in time, or not to a CANCEL.
    TimedOut,
    /// The request never left.
    Unreachable,
}

/// Whoever decided where a request goes, asked while its answers come back.
///
/// Called in the midst of work on the context: be quick, and do not call back.
pub trait Owner: Send + Sync {
    /// Edits on a response, provisional or final, before it goes back upstream. Our Via is taken off without asking.
    fn edits(&self, _response: &Message) -> Edits {
        Edits::default()
    }

    /// What is answered instead of a response that its way back would not take, being too long for it as it would leave.
    /// A provisional one is then dropped.
    fn unfit(&self, _response: &Message) -> Option<Reply> {
        None
    }

    /// The response that a leg without an answer counts as in the choice (§16.7 step 6, §16.9).
    fn failed(&self, _leg: usize, why: &Failure) -> Reply {
        Reply::new(why.kind.status())
    }

    /// A final response has gone upstream: the best one, each 2xx of an INVITE, or one of our own (`leg` is `None`).
    fn ended(&self, _status: u16, _leg: Option<usize>) {}
}

/// An [`Owner`] without wishes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Owner for Nobody {}

impl FailureKind {
    /// §16.8: a branch that times out counts as 408; §16.9: one whose transport fails as 503.
    pub fn status(self) -> u16 {
        match self {
            Self::TimedOut => 408,
            Self::Gone | Self::Unreachable => 503,
        }
    }
}

impl Reply {
    /// A bare response with this status.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), content: None }
    }

    /// The same with one more header field.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes it as the answer to `request`, with this tag on To if the request has none there.
    pub fn write(
        &self,
        request: &Message,
        tag: &str,
        source: Option<std::net::SocketAddr>,
    ) -> Result<Bytes, PrintError> {
        let mut out = BytesMut::with_capacity(512);
        let mut response = ResponseBuilder::to(&mut out, request, self.status);
        response.to_tag(tag);
        if let Some(source) = source {
            response.source(source);
        }
        if self.status == 100 {
            // §8.2.6.1.
            response.copy(Name::Timestamp);
        }
        for (name, value) in &self.headers {
            response.other_header(name, value);
        }
        if let Some((content_type, body)) = &self.content {
            response.content(content_type, body);
        }
        response.finish()?;
        drop(response);
        Ok(out.freeze())
    }
}

impl Edits {
    /// The same without fields of this name.
    #[must_use]
    pub fn strip(mut self, name: Name) -> Self {
        self.strip.push(name);
        self
    }

    /// The same with one more field.
    #[must_use]
    pub fn insert(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.insert.push((name, value.into()));
        self
    }
}
