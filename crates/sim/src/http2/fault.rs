//! What can be wrong with a peer's bytes (RFC 9113 §5.4).

/// RFC 9113 §7: the error codes of RST_STREAM and GOAWAY that we send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(crate) enum ErrorCode {
    NoError = 0x0,
    ProtocolError = 0x1,
    FlowControlError = 0x3,
    StreamClosed = 0x5,
    FrameSizeError = 0x6,
    RefusedStream = 0x7,
    CompressionError = 0x9,
    EnhanceYourCalm = 0xb,
}

/// A violation, and how far it reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// §5.4.1: the connection ends with GOAWAY; the text is its debug data.
    Connection(ErrorCode, &'static str),
    /// §5.4.2: only this stream ends, with RST_STREAM.
    Stream(u32, ErrorCode),
}

impl Fault {
    pub(super) fn protocol(what: &'static str) -> Self {
        Self::Connection(ErrorCode::ProtocolError, what)
    }

    pub(super) fn size(what: &'static str) -> Self {
        Self::Connection(ErrorCode::FrameSizeError, what)
    }
}
