//! What can be wrong with a peer's bytes (RFC 9113 §5.4), and the codes by which both sides say so (§7).

use std::fmt;

/// RFC 9113 §7: an error code of RST_STREAM or GOAWAY. Codes without a name are kept as they came.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// A violation without a code of its own.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// The peer failed.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More was sent than a window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame for a stream that has ended.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a length that it cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The request was not processed.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The answer is no longer wanted.
    pub const CANCEL: Self = Self(0x8);
    /// A header block that cannot be read.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// CONNECT failed.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer does what costs much and brings nothing.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// TLS is too weak.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// HTTP/1.1 is wanted.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The name of the registry, if it has one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NO_ERROR => "NO_ERROR",
            Self::PROTOCOL_ERROR => "PROTOCOL_ERROR",
            Self::INTERNAL_ERROR => "INTERNAL_ERROR",
            Self::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
            Self::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT",
            Self::STREAM_CLOSED => "STREAM_CLOSED",
            Self::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
            Self::REFUSED_STREAM => "REFUSED_STREAM",
            Self::CANCEL => "CANCEL",
            Self::COMPRESSION_ERROR => "COMPRESSION_ERROR",
            Self::CONNECT_ERROR => "CONNECT_ERROR",
            Self::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
            Self::INADEQUATE_SECURITY => "INADEQUATE_SECURITY",
            Self::HTTP_1_1_REQUIRED => "HTTP_1_1_REQUIRED",
            _ => return None,
        })
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error {:#x}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A violation, and how far it reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// §5.4.1: the connection ends with GOAWAY; the text is its debug data.
    Connection(ErrorCode, &'static str),
    /// §5.4.2: only this stream ends, with RST_STREAM.
    Stream(u32, ErrorCode, &'static str),
    /// §8.1.1: the message on this stream is malformed. The stream ends with PROTOCOL_ERROR, and nothing of the message
    /// counts.
    Malformed(u32, &'static str),
}

impl Fault {
    /// A violation of the protocol that ends the connection.
    pub const fn protocol(what: &'static str) -> Self {
        Self::Connection(ErrorCode::PROTOCOL_ERROR, what)
    }

    /// A frame of a length that it cannot have.
    pub const fn size(what: &'static str) -> Self {
        Self::Connection(ErrorCode::FRAME_SIZE_ERROR, what)
    }

    /// A header block after which both sides' tables no longer agree (RFC 9113 §4.3).
    pub const fn compression(what: &'static str) -> Self {
        Self::Connection(ErrorCode::COMPRESSION_ERROR, what)
    }

    /// More than was allowed.
    pub const fn flow(what: &'static str) -> Self {
        Self::Connection(ErrorCode::FLOW_CONTROL_ERROR, what)
    }
}
