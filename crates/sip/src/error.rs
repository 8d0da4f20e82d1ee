//! What can be wrong with SIP text, sorted by what the receiver may still do about it.
//!
//! - [`FrameError`]: the place where the message ends is in doubt: close the connection. Where enough of a request was
//!   read, a [`Fault::Framing`] comes first, so that it can be answered.
//! - [`Fault`]: the message ends where it says, but is wrong. It may be answered with [`Fault::status`].
//! - [`HeaderError`], [`SyntaxError`]: one value does not read as what it should be.
//! - [`PrintError`]: what we were asked to write would not be SIP.

use crate::message::Message;
use crate::name::Name;

/// Why a byte stream (or datagram) cannot be cut into messages any more. The connection has to be closed.
///
/// Offsets count bytes from the start of the message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// A CR which no LF follows.
    #[error("byte {offset} of the header is a CR without LF")]
    BareCr {
        /// Where it stands.
        offset: u32,
    },
    /// A LF which no CR precedes.
    #[error("byte {offset} of the header is a LF without CR")]
    BareLf {
        /// Where it stands.
        offset: u32,
    },
    /// The body announced is so long that it is not even worth skipping.
    #[error("Content-Length announces {length} bytes; at most {limit} are read")]
    BodyTooLong {
        /// What Content-Length says.
        length: u64,
        /// [`crate::Limits::skip_bytes_max`].
        limit: u32,
    },
    /// Content-Length is not a plain decimal number: signed, empty, a list, with letters, or beyond 64 bits.
    #[error("Content-Length is not a decimal number")]
    ContentLengthMalformed,
    /// §18.3: on a stream Content-Length is mandatory.
    #[error("Content-Length is missing on a stream")]
    ContentLengthMissing,
    /// Content-Length appears twice, even if both are equal.
    #[error("Content-Length appears more than once")]
    ContentLengthRepeated,
    /// The datagram ends before the empty line.
    #[error("the datagram ends inside the header")]
    HeaderIncomplete,
    /// No empty line within the limit.
    #[error("the header does not end within {limit} bytes")]
    HeaderTooLong {
        /// [`crate::Limits::header_bytes_max`].
        limit: u32,
    },
    /// The first line is neither a request line nor a status line.
    #[error("the first line is not SIP")]
    NotSip,
    /// A NUL in the first line.
    #[error("byte {offset} of the first line is NUL")]
    Nul {
        /// Where it stands.
        offset: u32,
    },
    /// Too many header fields.
    #[error("the header has {count} fields or more; at most {limit} are read")]
    TooManyHeaders {
        /// How many were seen when counting stopped.
        count: u16,
        /// [`crate::Limits::header_count_max`].
        limit: u16,
    },
}

/// What is wrong with a message whose framing is sound.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The body is longer than we take. The message given beside it has no body.
    #[error("the body is {length} bytes long; at most {limit} are taken")]
    BodyTooLong {
        /// What Content-Length says.
        length: u64,
        /// [`crate::Limits::body_bytes_max`].
        limit: u32,
    },
    /// §18.3: a datagram shorter than its Content-Length.
    #[error("Content-Length says {declared}, the datagram holds {present}")]
    BodyTruncated {
        /// What Content-Length says.
        declared: u64,
        /// How many bytes follow the header.
        present: u64,
    },
    /// §8.2.1: CSeq names another method than the request line.
    #[error("the method of CSeq is not that of the request line")]
    CSeqMethodMismatch,
    /// Where the message ends is not known. It may be answered once; then nothing more may be read from its stream.
    #[error(transparent)]
    Framing(FrameError),
    /// A header line without colon, or whose name is not a token.
    #[error("header line {line} is not a name, a colon and a value")]
    HeaderLineMalformed {
        /// Counted from 1, the line after the first line of the message.
        line: u16,
    },
    /// §8.1.1: a mandatory header field is absent.
    #[error("{name} is missing")]
    HeaderMissing {
        /// Which.
        name: Name,
    },
    /// A header field which may stand only once stands twice.
    #[error("{name} appears more than once")]
    HeaderRepeated {
        /// Which.
        name: Name,
    },
    /// The value of a header field does not follow its grammar.
    #[error(transparent)]
    HeaderValue(#[from] HeaderError),
    /// A NUL elsewhere than behind a backslash in the quoted display name of From or To (RFC 4475 §3.1.1.2).
    #[error("the header holds a NUL outside of the quoted display names of From and To")]
    NulInHeader,
    /// §7.3.1: header text is UTF-8.
    #[error("the header is not UTF-8")]
    NotUtf8,
    /// The request line is not method, space, URI, space, version.
    #[error("the request line is malformed")]
    RequestLineMalformed,
    /// The Request-URI does not read as a URI.
    #[error("the Request-URI is malformed: {problem}")]
    RequestUriMalformed {
        /// What exactly.
        problem: &'static str,
    },
    /// The Request-URI is neither sip, sips nor tel.
    #[error("the scheme of the Request-URI is not supported")]
    SchemeUnsupported,
    /// The status line is malformed, for instance a status beyond 699.
    #[error("the status line is malformed")]
    StatusLineMalformed,
    /// A SIP version other than 2.0.
    #[error("the message is not SIP/2.0")]
    VersionUnsupported,
}

impl Fault {
    /// The status code to answer a *request* with. A faulty response is dropped instead (§18.1.2).
    pub fn status(&self) -> u16 {
        match self {
            Self::BodyTooLong { .. } => 413,
            Self::Framing(FrameError::HeaderTooLong { .. } | FrameError::TooManyHeaders { .. }) => 513,
            Self::SchemeUnsupported => 416,
            Self::VersionUnsupported => 505,
            Self::BodyTruncated { .. }
            | Self::CSeqMethodMismatch
            | Self::Framing(_)
            | Self::HeaderLineMalformed { .. }
            | Self::HeaderMissing { .. }
            | Self::HeaderRepeated { .. }
            | Self::HeaderValue(_)
            | Self::NotUtf8
            | Self::NulInHeader
            | Self::RequestLineMalformed
            | Self::RequestUriMalformed { .. }
            | Self::StatusLineMalformed => 400,
        }
    }
}

/// Why a datagram was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ParseError {
    /// It may be answered with [`Fault::status`] if `message` is a request.
    #[error("{fault}")]
    Bad {
        /// As far as it could be read; enough for [`crate::ResponseBuilder`].
        message: Box<Message>,
        /// What is wrong.
        fault: Fault,
    },
    /// It has to be dropped without answer.
    #[error(transparent)]
    Unreadable(#[from] FrameError),
}

/// A header field which is absent or does not read as its type.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// The value does not follow the field's grammar.
    #[error("{name} is malformed: {problem}")]
    Malformed {
        /// Which field.
        name: Name,
        /// What exactly.
        problem: &'static str,
    },
    /// The field is absent.
    #[error("{name} is missing")]
    Missing {
        /// Which field.
        name: Name,
    },
}

/// A value (URI, address, Via, credentials, ...) which does not follow its grammar.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct SyntaxError {
    /// A sentence; never contains the value itself, since values hold tokens.
    pub problem: &'static str,
}

impl SyntaxError {
    pub(crate) const fn new(problem: &'static str) -> Self {
        Self { problem }
    }

    /// The same complaint, told of a header field.
    pub(crate) const fn of(self, name: Name) -> HeaderError {
        HeaderError::Malformed { name, problem: self.problem }
    }
}

/// Why a message was not written. The output buffer is as it was before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PrintError {
    /// A CR, LF or NUL in something which has to stay on its line.
    #[error("a header value or start line holds a CR, LF or NUL")]
    ControlCharacter,
    /// A header name which is not a token.
    #[error("a header name is not a token")]
    NameNotToken,
    /// The message to forward has nothing of that kind to remove.
    #[error("there is no {name} to take off")]
    NothingToPop {
        /// Via or Route.
        name: Name,
    },
    /// Reason phrase, tag or source given behind the first header field of a response.
    #[error("what stands above the header fields was given below them")]
    OutOfOrder,
    /// A field which the printer writes itself was given by hand.
    #[error("{name} is written by the printer and cannot be given")]
    Reserved {
        /// Which field.
        name: Name,
    },
    /// A Request-URI or method which is empty or holds white space.
    #[error("the request line would not have three parts")]
    StartLine,
    /// A status code outside 100 to 699.
    #[error("{status} is not a SIP status code")]
    Status {
        /// The code given.
        status: u16,
    },
}
