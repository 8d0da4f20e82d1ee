//! One server connection without its socket: bytes in, events out, bytes to write.

use std::collections::VecDeque;
use std::mem;

use bytes::{Buf as _, Bytes, BytesMut};
use reveille_http2::frame::{self, FRAME_BYTES_USUAL, HEAD_BYTES, Head, PREFACE, WINDOW_USUAL, flag, kind, setting};
use reveille_http2::{ErrorCode, Fault, hpack};

use super::Headers;
use super::streams::Streams;

/// A whole request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) stream: u32,
    pub(crate) headers: Headers,
    /// The beginning of the body, at most [`Limits::body_bytes_kept`].
    pub(crate) body: Vec<u8>,
    /// How long the body really was.
    pub(crate) body_bytes: usize,
}

/// What the peer did.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request came in whole; it waits for [`Connection::respond`], [`Connection::reset`] or GOAWAY.
    Request(Request),
    /// The peer no longer wants the answer on this stream.
    Cancelled(u32),
}

/// The bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// RFC 9113 §6.5.2 SETTINGS_MAX_CONCURRENT_STREAMS in the first SETTINGS frame.
    pub(crate) streams_max: u32,
    /// How much of a body is kept; the rest is counted and thrown away.
    pub(crate) body_bytes_kept: usize,
}

/// The protocol state of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) limits: Limits,
    /// Bytes from the peer that are not yet a whole frame.
    pub(super) input: BytesMut,
    /// Bytes for the peer.
    pub(super) out: Vec<u8>,
    pub(super) events: VecDeque<Event>,
    pub(super) phase: Phase,
    pub(super) decoder: hpack::Decoder,
    /// A header block that goes on in CONTINUATION frames.
    pub(super) block: Option<Block>,
    pub(super) streams: Streams,
    pub(super) caps: Caps,
    pub(super) receive_window: i64,
    pub(super) send_window: i64,
    pub(super) peer: PeerSettings,
    /// GOAWAY was sent; streams above are ignored (§6.8).
    pub(super) last_stream: Option<u32>,
    /// Frames since the last answer that moved no request forward.
    pub(super) idle_frames: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    AwaitPreface,
    AwaitSettings,
    Running,
    /// Nothing more is read; what is in `out` is written, then the transport is closed.
    Ending,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: u32,
}

/// SETTINGS_MAX_CONCURRENT_STREAMS as the peer may see it: the value that it acknowledged, and those under way.
#[derive(Debug)]
pub(super) struct Caps {
    pub(super) acknowledged: u32,
    /// One for each SETTINGS frame not yet acknowledged.
    pub(super) under_way: VecDeque<u32>,
}

impl Caps {
    /// A raised cap counts from the moment it is sent, a lowered one from its acknowledgement (§6.5.3).
    pub(super) fn in_force(&self) -> u32 {
        self.under_way.iter().copied().max().unwrap_or(0).max(self.acknowledged)
    }
}

#[derive(Debug)]
pub(super) struct PeerSettings {
    pub(super) initial_window: i64,
    pub(super) frame_bytes_max: usize,
}

impl Connection {
    /// A connection that has just been accepted. Its own SETTINGS are the first bytes to write.
    pub(crate) fn new(limits: Limits) -> Self {
        let mut out = Vec::with_capacity(4096);
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, limits.streams_max),
            (setting::MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES_MAX as u32),
        ];
        frame::put_settings(&mut out, &settings);
        // §6.9.2: only WINDOW_UPDATE can widen the connection's window.
        frame::put_window_update(&mut out, 0, (CONNECTION_WINDOW - WINDOW_USUAL) as u32);
        Self {
            limits,
            input: BytesMut::new(),
            out,
            events: VecDeque::new(),
            phase: Phase::AwaitPreface,
            decoder: hpack::Decoder::default(),
            block: None,
            streams: Streams::default(),
            caps: Caps { acknowledged: limits.streams_max, under_way: VecDeque::from([limits.streams_max]) },
            receive_window: CONNECTION_WINDOW,
            send_window: WINDOW_USUAL,
            peer: PeerSettings { initial_window: WINDOW_USUAL, frame_bytes_max: FRAME_BYTES_USUAL },
            last_stream: None,
            idle_frames: 0,
        }
    }

    /// Reads all whole frames of `input`.
    pub(super) fn process(&mut self) {
        let mut input = mem::take(&mut self.input);
        while self.phase != Phase::Ending {
            match self.step(&input) {
                Ok(0) => break,
                Ok(read) => input.advance(read),
                Err(Fault::Connection(code, why)) => self.fail(code, why),
                Err(Fault::Stream(..) | Fault::Malformed(..)) => break,
            }
        }
        if self.phase == Phase::Ending {
            input.clear();
        }
        self.input = input;
    }

    /// The next thing that the peer did.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the connection has come to its end once `out` is written.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Ending || (self.last_stream.is_some() && self.streams.count() == 0)
    }

    /// The highest stream number the peer has used.
    pub(crate) fn highest_stream(&self) -> u32 {
        self.streams.highest()
    }

    /// Changes SETTINGS_MAX_CONCURRENT_STREAMS on the live connection.
    pub(crate) fn cap_streams(&mut self, streams_max: u32) {
        frame::put_settings(&mut self.out, &[(setting::MAX_CONCURRENT_STREAMS, streams_max)]);
        self.caps.under_way.push_back(streams_max);
    }

    /// Answers a request and ends its stream. False if the peer is no longer interested.
    pub(crate) fn respond(&mut self, stream: u32, status: u16, fields: &[(&str, &str)], body: &[u8]) -> bool {
        let Some(open) = self.streams.at(stream) else { return false };
        self.idle_frames = self.idle_frames.saturating_sub(IDLE_FRAMES_FORGIVEN);
        let at = self.out.len();
        let end = if body.is_empty() { flag::END_STREAM } else { 0 };
        frame::put_head(&mut self.out, 0, kind::HEADERS, flag::END_HEADERS | end, stream);
        hpack::put_status(&mut self.out, status);
        for (name, value) in fields {
            hpack::put_field(&mut self.out, name, value);
        }
        // Our answers have a few short fields: far below the smallest SETTINGS_MAX_FRAME_SIZE.
        frame::close_head(&mut self.out, at);
        if body.is_empty() {
            self.streams.close(stream);
        } else {
            open.unsent = Bytes::copy_from_slice(body);
            self.send_unsent(stream);
        }
        true
    }

    /// Ends one stream without an answer.
    pub(crate) fn reset(&mut self, stream: u32, code: ErrorCode) {
        frame::put_reset(&mut self.out, stream, code);
        self.streams.reset(stream);
    }

    /// Sends GOAWAY (§6.8): streams above `last_stream` were not and will not be processed, and are dropped; the
    /// connection ends when the others are answered. Answers the streams that were open and are dropped.
    pub(crate) fn go_away(&mut self, last_stream: u32, code: ErrorCode, debug: &[u8]) -> Vec<u32> {
        // §6.8: a later GOAWAY may only lower the number.
        let last_stream = self.last_stream.unwrap_or(u32::MAX >> 1).min(last_stream);
        frame::put_go_away(&mut self.out, last_stream, code, debug);
        self.last_stream = Some(last_stream);
        let dropped = self.streams.ids_above(last_stream);
        for &id in &dropped {
            self.streams.reset(id);
        }
        self.events.retain(|event| !matches!(event, Event::Request(request) if request.stream > last_stream));
        dropped
    }

    /// Ends the connection without GOAWAY and without the answers still owed, after writing what is in `out`.
    pub(crate) fn abandon(&mut self) {
        self.phase = Phase::Ending;
    }

    fn fail(&mut self, code: ErrorCode, why: &'static str) {
        frame::put_go_away(&mut self.out, self.streams.highest(), code, why.as_bytes());
        self.phase = Phase::Ending;
    }

    /// Reads one frame (or the preface) at the beginning of `input`; answers how long it was, 0 if it is not whole.
    fn step(&mut self, input: &[u8]) -> Result<usize, Fault> {
        if self.phase == Phase::AwaitPreface {
            let there = input.len().min(PREFACE.len());
            if input[..there] != PREFACE[..there] {
                return Err(Fault::protocol("not the HTTP/2 connection preface"));
            }
            if there < PREFACE.len() {
                return Ok(0);
            }
            self.phase = Phase::AwaitSettings;
            return Ok(PREFACE.len());
        }
        let Some(head) = Head::read(input) else { return Ok(0) };
        if head.length > FRAME_BYTES_USUAL {
            return Err(Fault::size("a frame above SETTINGS_MAX_FRAME_SIZE"));
        }
        let Some(payload) = input.get(HEAD_BYTES..HEAD_BYTES + head.length) else { return Ok(0) };
        match self.frame(head, payload) {
            Ok(()) => {}
            Err(Fault::Stream(stream, code, _)) => self.punish(stream, code)?,
            Err(Fault::Malformed(stream, _)) => self.punish(stream, ErrorCode::PROTOCOL_ERROR)?,
            Err(fault @ Fault::Connection(..)) => return Err(fault),
        }
        Ok(HEAD_BYTES + head.length)
    }

    fn punish(&mut self, stream: u32, code: ErrorCode) -> Result<(), Fault> {
        self.count_idle_frame()?;
        self.reset(stream, code);
        Ok(())
    }

    /// Writes as much of an answer's body as the windows allow.
    pub(super) fn send_unsent(&mut self, id: u32) {
        let Some(stream) = self.streams.at(id) else { return };
        while !stream.unsent.is_empty() {
            let window = usize::try_from(self.send_window.min(stream.send_window)).unwrap_or(0);
            let length = stream.unsent.len().min(window).min(self.peer.frame_bytes_max);
            if length == 0 {
                return;
            }
            let part = stream.unsent.split_to(length);
            let end = if stream.unsent.is_empty() { flag::END_STREAM } else { 0 };
            frame::put_head(&mut self.out, length, kind::DATA, end, id);
            self.out.extend_from_slice(&part);
            self.send_window -= length as i64;
            stream.send_window -= length as i64;
            if end != 0 {
                self.streams.close(id);
                return;
            }
        }
    }

    pub(super) fn send_all_unsent(&mut self) {
        let waiting: Vec<u32> =
            self.streams.each().filter(|(_, stream)| !stream.unsent.is_empty()).map(|(id, _)| *id).collect();
        for id in waiting {
            self.send_unsent(id);
        }
    }
}

/// Credit only: bodies are taken from the socket at once and cut to what is kept.
pub(super) const CONNECTION_WINDOW: i64 = 8 << 20;
pub(super) const HEADER_LIST_BYTES_MAX: usize = 16 << 10;
const IDLE_FRAMES_FORGIVEN: u32 = 100;
