//! Frames from the peer, kind by kind (RFC 9113 §6), and what each asks of the connection.

use std::mem;

use reveille_http2::frame::{self, Head, WINDOW_MAX, WINDOW_USUAL, flag, kind, setting};
use reveille_http2::hpack::Size;
use reveille_http2::{ErrorCode, Fault};

use super::Headers;
use super::connection::{Block, CONNECTION_WINDOW, Connection, Event, HEADER_LIST_BYTES_MAX, Phase, Request};
use super::stream::{Malformed, Stream, check_request, check_trailers};
use super::streams::State;

impl Connection {
    /// One whole frame.
    pub(super) fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if self.phase == Phase::AwaitSettings {
            // §3.4: the client's preface ends with SETTINGS.
            if head.kind != kind::SETTINGS || head.has(flag::ACK) {
                return Err(Fault::protocol("the first frame is not SETTINGS"));
            }
            self.phase = Phase::Running;
        }
        // §6.10: nothing may come between HEADERS and the end of its block.
        if let Some(block) = &self.block
            && (head.kind != kind::CONTINUATION || head.stream != block.stream)
        {
            return Err(Fault::protocol("a header block was interrupted"));
        }
        match head.kind {
            kind::DATA => self.data(head, payload),
            kind::HEADERS => self.headers(head, payload),
            kind::PRIORITY => {
                self.count_idle_frame()?;
                match (head.stream, payload.len()) {
                    (0, _) => Err(Fault::protocol("PRIORITY on stream 0")),
                    (_, 5) => Ok(()),
                    // §6.3
                    (stream, _) => Err(Fault::Stream(stream, ErrorCode::FRAME_SIZE_ERROR, "PRIORITY")),
                }
            }
            kind::RST_STREAM => self.reset_received(head, payload),
            kind::SETTINGS => self.settings(head, payload),
            // §8.4: a client cannot push.
            kind::PUSH_PROMISE => Err(Fault::protocol("PUSH_PROMISE from a client")),
            kind::PING => self.ping(head, payload),
            kind::GOAWAY => {
                self.count_idle_frame()?;
                if head.stream != 0 {
                    return Err(Fault::protocol("GOAWAY on a stream"));
                }
                // §6.8: the peer will open no more streams; those that are open are answered.
                if payload.len() < 8 { Err(Fault::size("GOAWAY")) } else { Ok(()) }
            }
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            kind::CONTINUATION => self.continuation(head, payload),
            // §5.5: unknown kinds are ignored.
            _ => self.count_idle_frame(),
        }
    }

    /// RFC 9113 §6.1.
    fn data(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(Fault::protocol("DATA on stream 0"));
        }
        // §6.9.1: padding counts, and frames on dead streams count as well.
        let size = payload.len() as i64;
        self.receive_window -= size;
        if self.receive_window < 0 {
            return Err(Fault::Connection(ErrorCode::FLOW_CONTROL_ERROR, "more DATA than the window allows"));
        }
        if self.receive_window < CONNECTION_WINDOW / 2 {
            frame::put_window_update(&mut self.out, 0, (CONNECTION_WINDOW - self.receive_window) as u32);
            self.receive_window = CONNECTION_WINDOW;
        }
        let content = frame::unpadded(head, payload)?;
        if content.is_empty() && !head.has(flag::END_STREAM) {
            self.count_idle_frame()?;
        }
        match self.streams.state(head.stream) {
            State::Open => {}
            State::Idle => return Err(Fault::protocol("DATA on an idle stream")),
            State::Reset => return self.count_idle_frame(),
            State::Closed => return Err(Fault::Connection(ErrorCode::STREAM_CLOSED, "DATA on a closed stream")),
        }
        let Some(stream) = self.streams.at(head.stream) else { return Ok(()) };
        if stream.remote_closed {
            // §5.1, half-closed (remote).
            self.events.push_back(Event::Cancelled(head.stream));
            return Err(Fault::Stream(head.stream, ErrorCode::STREAM_CLOSED, "DATA after END_STREAM"));
        }
        stream.receive_window -= size;
        if stream.receive_window < 0 {
            let what = "more DATA than the stream's window allows";
            return Err(Fault::Stream(head.stream, ErrorCode::FLOW_CONTROL_ERROR, what));
        }
        stream.body_bytes += content.len();
        if stream.body_bytes > BODY_BYTES_MAX {
            return Err(Fault::Stream(head.stream, ErrorCode::ENHANCE_YOUR_CALM, "a body without end"));
        }
        let room = self.limits.body_bytes_kept.saturating_sub(stream.body.len());
        stream.body.extend_from_slice(&content[..content.len().min(room)]);
        if head.has(flag::END_STREAM) {
            return self.request_complete(head.stream);
        }
        if stream.receive_window < WINDOW_USUAL / 2 {
            frame::put_window_update(&mut self.out, head.stream, (WINDOW_USUAL - stream.receive_window) as u32);
            stream.receive_window = WINDOW_USUAL;
        }
        Ok(())
    }

    /// RFC 9113 §6.2.
    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        // §5.1.1: clients use odd numbers.
        if head.stream.is_multiple_of(2) {
            return Err(Fault::protocol("a client's stream has an odd number"));
        }
        let mut fragment = frame::unpadded(head, payload)?;
        if head.has(flag::PRIORITY) {
            // §5.3.2: five octets of deprecated priority, ignored.
            fragment = fragment.get(5..).ok_or_else(|| Fault::size("HEADERS without its priority fields"))?;
        }
        let end_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.block_complete(head.stream, end_stream, fragment);
        }
        self.block = Some(Block { stream: head.stream, end_stream, bytes: fragment.to_vec(), frames: 0 });
        Ok(())
    }

    /// RFC 9113 §6.10.
    fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let Some(mut block) = self.block.take() else {
            return Err(Fault::protocol("CONTINUATION without HEADERS"));
        };
        block.bytes.extend_from_slice(payload);
        block.frames += 1;
        // §10.5.1: an endless header block would never reach the limit on its decoded size.
        if block.bytes.len() > BLOCK_BYTES_MAX || block.frames > BLOCK_FRAMES_MAX {
            return Err(Fault::Connection(ErrorCode::ENHANCE_YOUR_CALM, "an endless header block"));
        }
        if head.has(flag::END_HEADERS) {
            return self.block_complete(block.stream, block.end_stream, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    fn block_complete(&mut self, id: u32, end_stream: bool, block: &[u8]) -> Result<(), Fault> {
        // §4.3: the block is decoded whatever becomes of the stream, or the tables would diverge.
        let mut headers = Headers::new();
        let size = self
            .decoder
            .decode(block, HEADER_LIST_BYTES_MAX, |name, value| headers.push(name, value))
            .map_err(|_| Fault::compression("the header block cannot be decoded"))?;
        match self.streams.state(id) {
            State::Idle => self.open(id, end_stream, headers, size),
            State::Open => self.trailers(id, end_stream, &headers),
            State::Reset => self.count_idle_frame(),
            // §5.1.1 and §5.1: numbers only rise, and nothing follows END_STREAM.
            State::Closed => Err(Fault::Connection(ErrorCode::STREAM_CLOSED, "HEADERS on a closed stream")),
        }
    }

    fn open(&mut self, id: u32, end_stream: bool, headers: Headers, size: Size) -> Result<(), Fault> {
        self.streams.use_up(id);
        if self.last_stream.is_some_and(|last| id > last) {
            // §6.8: ignored, which is what lets the peer repeat it elsewhere.
            self.streams.reset(id);
            return self.count_idle_frame();
        }
        if self.streams.count() >= self.caps.in_force() as usize {
            // §5.1.2, §8.7: not processed, safe to repeat.
            return Err(Fault::Stream(id, ErrorCode::REFUSED_STREAM, "more streams than SETTINGS allow"));
        }
        if size == Size::Beyond {
            self.streams.open(id, Stream::new(Headers::default(), None, 0, self.peer.initial_window));
            self.respond(id, 431, &[], b"");
            // §8.1: an answer before the end of the request is followed by RST_STREAM with NO_ERROR.
            return if end_stream { Ok(()) } else { Err(Fault::Stream(id, ErrorCode::NO_ERROR, "it is answered")) };
        }
        let content_length = check_request(&headers).map_err(|Malformed| Fault::Malformed(id, "a header section"))?;
        self.streams.open(id, Stream::new(headers, content_length, WINDOW_USUAL, self.peer.initial_window));
        if end_stream { self.request_complete(id) } else { Ok(()) }
    }

    fn trailers(&mut self, id: u32, end_stream: bool, headers: &Headers) -> Result<(), Fault> {
        let Some(stream) = self.streams.at(id) else { return Ok(()) };
        if stream.remote_closed {
            self.events.push_back(Event::Cancelled(id));
            return Err(Fault::Stream(id, ErrorCode::STREAM_CLOSED, "HEADERS after END_STREAM"));
        }
        // §8.1: a second header section is the trailers, and the last thing of a request.
        if !end_stream || check_trailers(headers).is_err() {
            return Err(Fault::Malformed(id, "trailers"));
        }
        self.request_complete(id)
    }

    fn request_complete(&mut self, id: u32) -> Result<(), Fault> {
        let Some(stream) = self.streams.at(id) else { return Ok(()) };
        // §8.1.1: content-length must be true.
        if stream.content_length.is_some_and(|length| length != stream.body_bytes) {
            return Err(Fault::Malformed(id, "a body of another length than its content-length"));
        }
        stream.remote_closed = true;
        self.events.push_back(Event::Request(Request {
            stream: id,
            headers: mem::take(&mut stream.headers),
            body: mem::take(&mut stream.body),
            body_bytes: stream.body_bytes,
        }));
        Ok(())
    }

    /// RFC 9113 §6.4.
    fn reset_received(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        self.count_idle_frame()?;
        if payload.len() != 4 {
            return Err(Fault::size("RST_STREAM"));
        }
        if head.stream == 0 || self.streams.state(head.stream) == State::Idle {
            return Err(Fault::protocol("RST_STREAM on an idle stream"));
        }
        if self.streams.reset(head.stream) {
            self.events.push_back(Event::Cancelled(head.stream));
        }
        Ok(())
    }

    /// RFC 9113 §6.5.
    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::protocol("SETTINGS on a stream"));
        }
        if head.has(flag::ACK) {
            if !payload.is_empty() {
                return Err(Fault::size("an acknowledgement of SETTINGS"));
            }
            if let Some(cap) = self.caps.under_way.pop_front() {
                self.caps.acknowledged = cap;
            }
            return Ok(());
        }
        self.count_idle_frame()?;
        let (settings, odd) = payload.as_chunks::<6>();
        if !odd.is_empty() {
            return Err(Fault::size("SETTINGS"));
        }
        for &[n1, n2, v1, v2, v3, v4] in settings {
            let value = u32::from_be_bytes([v1, v2, v3, v4]);
            match u16::from_be_bytes([n1, n2]) {
                setting::ENABLE_PUSH if value > 1 => return Err(Fault::protocol("SETTINGS_ENABLE_PUSH")),
                setting::INITIAL_WINDOW_SIZE => self.peer_window(value)?,
                setting::MAX_FRAME_SIZE => {
                    if !(16_384..=0x00ff_ffff).contains(&value) {
                        return Err(Fault::protocol("SETTINGS_MAX_FRAME_SIZE"));
                    }
                    self.peer.frame_bytes_max = value as usize;
                }
                // Our encoder keeps no table, and our answers are short.
                _ => {}
            }
        }
        frame::put_head(&mut self.out, 0, kind::SETTINGS, flag::ACK, 0);
        self.send_all_unsent();
        Ok(())
    }

    /// RFC 9113 §6.9.2: a changed initial window moves the window of every open stream.
    fn peer_window(&mut self, value: u32) -> Result<(), Fault> {
        if i64::from(value) > WINDOW_MAX {
            return Err(Fault::Connection(ErrorCode::FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE"));
        }
        let change = i64::from(value) - self.peer.initial_window;
        self.peer.initial_window = i64::from(value);
        for (_, stream) in self.streams.each() {
            stream.send_window += change;
            if stream.send_window > WINDOW_MAX {
                return Err(Fault::Connection(ErrorCode::FLOW_CONTROL_ERROR, "a stream's window is too large"));
            }
        }
        Ok(())
    }

    /// RFC 9113 §6.7.
    fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        self.count_idle_frame()?;
        if head.stream != 0 {
            return Err(Fault::protocol("PING on a stream"));
        }
        if payload.len() != 8 {
            return Err(Fault::size("PING"));
        }
        if !head.has(flag::ACK) {
            frame::put_head(&mut self.out, 8, kind::PING, flag::ACK, 0);
            self.out.extend_from_slice(payload);
        }
        Ok(())
    }

    /// RFC 9113 §6.9.
    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        self.count_idle_frame()?;
        let increment = frame::u32_of(payload).ok_or_else(|| Fault::size("WINDOW_UPDATE"))? & 0x7fff_ffff;
        if head.stream == 0 {
            if increment == 0 {
                return Err(Fault::protocol("WINDOW_UPDATE by nothing"));
            }
            self.send_window += i64::from(increment);
            if self.send_window > WINDOW_MAX {
                return Err(Fault::Connection(ErrorCode::FLOW_CONTROL_ERROR, "the connection's window is too large"));
            }
            self.send_all_unsent();
            return Ok(());
        }
        match self.streams.state(head.stream) {
            State::Idle => return Err(Fault::protocol("WINDOW_UPDATE on an idle stream")),
            // §5.1: it may have been under way when the stream ended.
            State::Reset | State::Closed => return Ok(()),
            State::Open => {}
        }
        let Some(stream) = self.streams.at(head.stream) else { return Ok(()) };
        stream.send_window += i64::from(increment);
        let code = match (increment, stream.send_window) {
            (0, _) => ErrorCode::PROTOCOL_ERROR,
            (_, window) if window > WINDOW_MAX => ErrorCode::FLOW_CONTROL_ERROR,
            _ => {
                self.send_unsent(head.stream);
                return Ok(());
            }
        };
        if stream.remote_closed {
            self.events.push_back(Event::Cancelled(head.stream));
        }
        Err(Fault::Stream(head.stream, code, "WINDOW_UPDATE"))
    }

    /// RFC 9113 §10.5: a peer that only keeps us busy is sent away.
    pub(super) fn count_idle_frame(&mut self) -> Result<(), Fault> {
        self.idle_frames += 1;
        if self.idle_frames > IDLE_FRAMES_MAX {
            return Err(Fault::Connection(ErrorCode::ENHANCE_YOUR_CALM, "too many frames that ask for nothing"));
        }
        Ok(())
    }
}

const BLOCK_BYTES_MAX: usize = 64 << 10;
const BLOCK_FRAMES_MAX: u32 = 32;
const BODY_BYTES_MAX: usize = 1 << 20;
const IDLE_FRAMES_MAX: u32 = 20_000;
