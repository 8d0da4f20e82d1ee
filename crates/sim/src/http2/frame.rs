//! Frames as bytes (RFC 9113 §4 and §6): reading heads, cutting padding, and writing the few kinds a server sends.

use bytes::{BufMut as _, BytesMut};

use super::fault::{ErrorCode, Fault};

/// RFC 9113 §4.1: nine octets before each payload.
pub(super) const HEAD_BYTES: usize = 9;

/// RFC 9113 §3.4: what a client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0x0;
    pub(in super::super) const HEADERS: u8 = 0x1;
    pub(in super::super) const PRIORITY: u8 = 0x2;
    pub(in super::super) const RST_STREAM: u8 = 0x3;
    pub(in super::super) const SETTINGS: u8 = 0x4;
    pub(in super::super) const PUSH_PROMISE: u8 = 0x5;
    pub(in super::super) const PING: u8 = 0x6;
    pub(in super::super) const GOAWAY: u8 = 0x7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 0x8;
    pub(in super::super) const CONTINUATION: u8 = 0x9;
}

pub(super) mod flag {
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// RFC 9113 §6.5.2: settings by number.
pub(super) mod setting {
    pub(in super::super) const ENABLE_PUSH: u16 = 0x2;
    pub(in super::super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(in super::super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(in super::super) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(in super::super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
}

/// RFC 9113 §4.1: the head of one frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// Reads a head, or says that nine octets are not there yet.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
        Some(Self {
            length: usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]),
            kind: head[3],
            flags: head[4],
            // The reserved bit is ignored when receiving.
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// RFC 9113 §6.1: the payload without its padding.
pub(super) fn unpadded(head: Head, payload: &[u8]) -> Result<&[u8], Fault> {
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

pub(super) fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

pub(super) fn put_head(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    debug_assert!(length < 1 << 24, "a frame's length has 24 bits");
    out.put_uint(length as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
}

pub(super) fn put_settings(out: &mut BytesMut, settings: &[(u16, u32)]) {
    put_head(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for &(name, value) in settings {
        out.put_u16(name);
        out.put_u32(value);
    }
}

pub(super) fn put_window_update(out: &mut BytesMut, stream: u32, increment: u32) {
    put_head(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.put_u32(increment);
}

pub(super) fn put_reset(out: &mut BytesMut, stream: u32, code: ErrorCode) {
    put_head(out, 4, kind::RST_STREAM, 0, stream);
    out.put_u32(code as u32);
}

pub(super) fn put_go_away(out: &mut BytesMut, last_stream: u32, code: ErrorCode, debug: &[u8]) {
    // A peer's SETTINGS_MAX_FRAME_SIZE is never below 16,384 (§6.5.2); debug data stays far below that.
    let debug = &debug[..debug.len().min(1024)];
    put_head(out, 8 + debug.len(), kind::GOAWAY, 0, 0);
    out.put_u32(last_stream);
    out.put_u32(code as u32);
    out.put_slice(debug);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let mut out = BytesMut::new();
        put_head(&mut out, 0x01_02_03, kind::DATA, flag::END_STREAM, 7);
        let head = Head::read(&out).unwrap();
        assert_eq!(head, Head { length: 0x01_02_03, kind: kind::DATA, flags: 1, stream: 7 });
        assert_eq!(Head::read(&out[..8]), None);
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
        assert!(matches!(unpadded(head, &[]), Err(Fault::Connection(ErrorCode::FrameSizeError, _))));
    }
}
