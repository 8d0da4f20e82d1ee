//! Frames as bytes (RFC 9113 §4 and §6): reading heads, cutting padding, and writing each kind.

use crate::fault::{ErrorCode, Fault};

/// RFC 9113 §4.1: nine octets before each payload.
pub const HEAD_BYTES: usize = 9;

/// RFC 9113 §3.4: what a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9113 §6.5.2: the least and usual SETTINGS_MAX_FRAME_SIZE, in bytes.
pub const FRAME_BYTES_USUAL: usize = 16_384;

/// RFC 9113 §6.9.2: the window of a new stream, and of a connection before WINDOW_UPDATE.
pub const WINDOW_USUAL: i64 = 65_535;

/// RFC 9113 §6.9.1: the largest window.
pub const WINDOW_MAX: i64 = 0x7fff_ffff;

/// RFC 9113 §6: the kinds of frames.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the standard's")]
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const PRIORITY: u8 = 0x2;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PUSH_PROMISE: u8 = 0x5;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
    pub const WINDOW_UPDATE: u8 = 0x8;
    pub const CONTINUATION: u8 = 0x9;
}

/// RFC 9113 §6: flags, of which each kind knows some.
pub mod flag {
    #![allow(missing_docs, reason = "the names are the standard's")]
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// RFC 9113 §6.5.2: settings by number.
pub mod setting {
    #![allow(missing_docs, reason = "the names are the standard's")]
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    pub const ENABLE_PUSH: u16 = 0x2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
}

/// RFC 9113 §4.1: the head of one frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Bytes of payload.
    pub length: usize,
    /// One of [`kind`], or one that nobody knows.
    pub kind: u8,
    /// Of [`flag`].
    pub flags: u8,
    /// The stream, 0 for the connection.
    pub stream: u32,
}

impl Head {
    /// Reads a head, or says that nine octets are not there yet.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
        Some(Self {
            length: usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]),
            kind: head[3],
            flags: head[4],
            // The reserved bit is ignored when receiving.
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
        })
    }

    /// Whether a flag is set.
    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// RFC 9113 §6.1: the payload without its padding.
pub fn unpadded(head: Head, payload: &[u8]) -> Result<&[u8], Fault> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    let Some((&padding, rest)) = payload.split_first() else {
        return Err(Fault::size("a padded frame without a pad length"));
    };
    match rest.len().checked_sub(usize::from(padding)) {
        Some(length) => Ok(&rest[..length]),
        None => Err(Fault::protocol("padding longer than its frame")),
    }
}

/// Four octets as a number.
pub fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// Appends a head.
pub fn put_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    debug_assert!(length < 1 << 24, "a frame's length has 24 bits");
    let [_, high, middle, low] = (length as u32).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    out.extend_from_slice(&[high, middle, low, kind, flags, a, b, c, d]);
}

/// Writes the length into the head that begins at `at`, and whose payload is all that follows.
pub fn close_head(out: &mut [u8], at: usize) {
    let length = out.len() - at - HEAD_BYTES;
    debug_assert!(length < 1 << 24, "a frame's length has 24 bits");
    out[at..at + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
}

/// Appends SETTINGS.
pub fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_head(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for &(name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends WINDOW_UPDATE.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put_head(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends RST_STREAM.
pub fn put_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    put_head(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends PING, or the answer to one.
pub fn put_ping(out: &mut Vec<u8>, flags: u8, opaque: [u8; 8]) {
    put_head(out, 8, kind::PING, flags, 0);
    out.extend_from_slice(&opaque);
}

/// Appends GOAWAY.
pub fn put_go_away(out: &mut Vec<u8>, last_stream: u32, code: ErrorCode, debug: &[u8]) {
    // A peer's SETTINGS_MAX_FRAME_SIZE is never below 16,384 (§6.5.2); debug data stays far below that.
    let debug = &debug[..debug.len().min(1024)];
    put_head(out, 8 + debug.len(), kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(debug);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let mut out = Vec::new();
        put_head(&mut out, 0x01_02_03, kind::DATA, flag::END_STREAM, 7);
        let head = Head::read(&out).unwrap();
        assert_eq!(head, Head { length: 0x01_02_03, kind: kind::DATA, flags: 1, stream: 7 });
        assert_eq!(Head::read(&out[..8]), None);
    }

    #[test]
    fn a_head_is_closed_over_all_that_follows_it() {
        let mut out = b"before".to_vec();
        put_head(&mut out, 0, kind::HEADERS, 0, 1);
        out.extend_from_slice(&[7; 300]);
        close_head(&mut out, 6);
        assert_eq!(Head::read(&out[6..]).unwrap().length, 300);
    }

    #[test]
    fn the_reserved_bit_of_a_stream_number_is_ignored() {
        let head = Head::read(&[0, 0, 0, 0, 0, 0x80, 0, 0, 5]).unwrap();
        assert_eq!(head.stream, 5);
    }

    #[test]
    fn padding_is_cut_and_may_not_exceed_the_frame() {
        let head = Head { length: 0, kind: kind::DATA, flags: flag::PADDED, stream: 1 };
        assert_eq!(unpadded(head, &[2, b'h', b'i', 0, 0]), Ok(&b"hi"[..]));
        assert_eq!(unpadded(head, &[0]), Ok(&b""[..]));
        assert_eq!(unpadded(head, &[3, b'h', b'i']), Err(Fault::protocol("padding longer than its frame")));
        assert!(matches!(unpadded(head, &[]), Err(Fault::Connection(ErrorCode::FRAME_SIZE_ERROR, _))));
    }

    #[test]
    fn each_kind_is_written_with_the_length_that_it_has() {
        let mut out = Vec::new();
        put_settings(&mut out, &[(setting::ENABLE_PUSH, 0), (setting::MAX_FRAME_SIZE, 16_384)]);
        put_window_update(&mut out, 3, 70_000);
        put_reset(&mut out, 5, ErrorCode::CANCEL);
        put_ping(&mut out, flag::ACK, *b"12345678");
        put_go_away(&mut out, 0, ErrorCode::NO_ERROR, &[b'x'; 5000]);
        let (mut rest, mut seen) = (&out[..], Vec::new());
        while let Some(head) = Head::read(rest) {
            seen.push((head.kind, head.length, head.stream));
            rest = &rest[HEAD_BYTES + head.length..];
        }
        let expected = [
            (kind::SETTINGS, 12, 0),
            (kind::WINDOW_UPDATE, 4, 3),
            (kind::RST_STREAM, 4, 5),
            (kind::PING, 8, 0),
            (kind::GOAWAY, 1032, 0),
        ];
        assert_eq!((seen, rest.len()), (expected.to_vec(), 0));
    }
}
