//! Frames from the peer, kind by kind (RFC 9113 §6), and what each asks of the connection.

use super::answer::{Kind, Said, Section, agrees};
use super::{
    Client, Ended, Farewell, HEADER_LIST_BYTES_MAX, IDLE_FRAMES_FORGIVEN, IDLE_FRAMES_MAX, Lost, OUT_BYTES_HIGH, Stream,
};
use crate::fault::{ErrorCode, Fault};
use crate::frame::{
    self, FRAME_BYTES_USUAL, HEAD_BYTES, Head, WINDOW_MAX, WINDOW_USUAL, flag, kind, setting, u32_of, unpadded,
};
use crate::hpack::Size;

/// A header block that goes on in CONTINUATION frames.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    end_stream: bool,
    bytes: Vec<u8>,
    frames: u32,
}

impl<T> Client<T> {
    /// Takes bytes of the peer, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.is_over() {
            return;
        }
        if self.input.is_empty() {
            let read = self.read(bytes);
            self.input.extend_from_slice(&bytes[read..]);
        } else {
            self.input.extend_from_slice(bytes);
            let mut input = std::mem::take(&mut self.input);
            let read = self.read(&input);
            input.drain(..read);
            self.input = input;
        }
        if self.is_over() {
            self.input = Vec::new();
        }
    }

    /// Whether the peer has to read what waits for it before we read any more of it.
    pub fn is_choked(&self) -> bool {
        self.out.len() >= 4 * OUT_BYTES_HIGH
    }

    /// Reads all whole frames; answers how long they were.
    fn read(&mut self, bytes: &[u8]) -> usize {
        let mut read = 0;
        while !self.is_over() {
            match self.step(&bytes[read..]) {
                Ok(0) => break,
                Ok(length) => read += length,
                Err((code, why)) => self.fail(code, why),
            }
        }
        read
    }

    /// Reads one frame; answers how long it was, 0 if it is not whole.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, (ErrorCode, &'static str)> {
        let Some(head) = Head::read(bytes) else { return Ok(0) };
        if head.length > FRAME_BYTES_USUAL {
            // RFC 9113 §4.2: ours stays at the usual.
            return Err((ErrorCode::FRAME_SIZE_ERROR, "a frame above SETTINGS_MAX_FRAME_SIZE"));
        }
        let Some(payload) = bytes.get(HEAD_BYTES..HEAD_BYTES + head.length) else { return Ok(0) };
        self.frame(head, payload).or_else(|fault| self.contain(fault))?;
        Ok(HEAD_BYTES + head.length)
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if !self.peer.begun && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            // RFC 9113 §3.4: the server's preface is a SETTINGS frame.
            return Err(Fault::protocol("the first frame is not SETTINGS"));
        }
        // §6.10: nothing may come between the parts of a block.
        if let Some(block) = &self.block
            && (head.kind != kind::CONTINUATION || head.stream != block.stream)
        {
            return Err(Fault::protocol("a frame inside of a header block"));
        }
        match head.kind {
            kind::DATA => self.on_data(head, payload),
            kind::HEADERS => self.on_headers(head, payload),
            kind::CONTINUATION => self.on_continuation(head, payload),
            kind::RST_STREAM => self.on_reset(head, payload),
            kind::SETTINGS => self.on_settings(head, payload),
            kind::PUSH_PROMISE => Err(Fault::protocol("PUSH_PROMISE, which our SETTINGS exclude")),
            kind::PING => self.on_ping(head, payload),
            kind::GOAWAY => self.on_go_away(head, payload),
            kind::WINDOW_UPDATE => self.on_window_update(head, payload),
            kind::PRIORITY => self.on_priority(head, payload),
            // §4.1: unknown kinds are ignored.
            _ => self.count_idle(),
        }
    }

    fn on_data(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        self.must_be_ours(head.stream)?;
        // §6.9.1: padding counts, and so does what comes for a stream that has ended. Windows are given back when half of
        // them is used, which no single frame can outrun: whoever sends more than they allow gains nothing by it.
        let length = payload.len() as i64;
        self.receive_window -= length;
        let whole = i64::from(self.options.window);
        if self.receive_window <= whole / 2 {
            frame::put_window_update(&mut self.out, 0, (whole - self.receive_window) as u32);
            self.receive_window = whole;
        }
        let data = unpadded(head, payload)?;
        let (kept_max, id) = (self.options.body_bytes_max, head.stream);
        let Some(stream) = self.streams.at(id) else { return self.count_idle() };
        stream.used += length;
        if stream.answer.status == 0 {
            return Err(Fault::Malformed(id, "DATA before HEADERS"));
        }
        let room = kept_max.saturating_sub(stream.answer.body.len());
        let kept = &data[..data.len().min(room)];
        stream.answer.body.extend_from_slice(kept);
        stream.answer.body_bytes += data.len() as u64;
        let moves = !kept.is_empty();
        if stream.length.is_some_and(|length| stream.answer.body_bytes > length) {
            return Err(Fault::Malformed(id, LENGTH_DIFFERS));
        }
        if head.has(flag::END_STREAM) {
            return self.finish(id);
        }
        if stream.used > WINDOW_USUAL / 2 {
            frame::put_window_update(&mut self.out, id, stream.used as u32);
            stream.used = 0;
        }
        // CVE-2019-9518: frames that bring nothing.
        if moves { Ok(()) } else { self.count_idle() }
    }

    fn on_headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        self.must_be_ours(head.stream)?;
        let mut block = unpadded(head, payload)?;
        if head.has(flag::PRIORITY) {
            // §6.2: five octets that nobody heeds any more.
            block = block.get(5..).ok_or(Fault::size("HEADERS too short for its priority"))?;
        }
        let end_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.on_block(head.stream, end_stream, block);
        }
        self.block = Some(Block { stream: head.stream, end_stream, bytes: block.to_vec(), frames: 1 });
        Ok(())
    }

    fn on_continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let Some(block) = &mut self.block else { return Err(Fault::protocol("CONTINUATION without HEADERS")) };
        block.bytes.extend_from_slice(payload);
        block.frames += 1;
        // CVE-2024-27316: a block without end.
        if block.bytes.len() > BLOCK_BYTES_MAX || block.frames > BLOCK_FRAMES_MAX {
            return Err(Fault::Connection(ErrorCode::ENHANCE_YOUR_CALM, "a header block that does not end"));
        }
        if head.has(flag::END_HEADERS)
            && let Some(block) = self.block.take()
        {
            return self.on_block(block.stream, block.end_stream, &block.bytes);
        }
        Ok(())
    }

    /// A whole header block. It is read in any case, so that both sides' tables agree (§4.3).
    fn on_block(&mut self, id: u32, end_stream: bool, block: &[u8]) -> Result<(), Fault> {
        let Self { decoder, streams, options, .. } = self;
        let bad = |_| Fault::compression("a header block that cannot be read");
        let Some(stream) = streams.at(id) else {
            decoder.decode(block, 0, |_, _| {}).map_err(bad)?;
            return self.count_idle();
        };
        let malformed = |why| Fault::Malformed(id, why);
        let kind = if stream.answer.status == 0 { Kind::Head } else { Kind::Trailers };
        let mut section = Section::new(&mut stream.answer.fields, options.wanted, kind);
        let size =
            decoder.decode(block, HEADER_LIST_BYTES_MAX, |name, value| section.take(name, value)).map_err(bad)?;
        let said = section.close().map_err(malformed)?;
        if size == Size::Beyond {
            return Err(malformed("a header section above SETTINGS_MAX_HEADER_LIST_SIZE"));
        }
        match (said, end_stream) {
            (Said::Final { status, length }, _) => (stream.answer.status, stream.length) = (status, length),
            (Said::Interim, false) => return self.count_idle(),
            // RFC 9113 §8.1: neither ends here.
            (Said::Interim, true) => return Err(malformed("an interim answer that ends its stream")),
            (Said::Trailers, false) => return Err(malformed("trailers that do not end their stream")),
            (Said::Trailers, true) => {}
        }
        if end_stream { self.finish(id) } else { Ok(()) }
    }

    /// An answer has come to its end.
    fn finish(&mut self, id: u32) -> Result<(), Fault> {
        let is_whole = |stream: &mut Stream<T>| agrees(stream.answer.status, stream.length, stream.answer.body_bytes);
        if !self.streams.at(id).is_none_or(is_whole) {
            return Err(Fault::Malformed(id, LENGTH_DIFFERS));
        }
        let Some(stream) = self.close(id) else { return Ok(()) };
        if !stream.unsent.is_empty() {
            // RFC 9113 §8.1: the peer did not need the rest of the request.
            frame::put_reset(&mut self.out, id, ErrorCode::CANCEL);
        }
        self.idle_frames = self.idle_frames.saturating_sub(IDLE_FRAMES_FORGIVEN);
        self.ended.push_back(Ended { cargo: stream.cargo, how: Ok(stream.answer) });
        Ok(())
    }

    fn on_reset(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let code = ErrorCode(u32_of(payload).ok_or(Fault::size("RST_STREAM is not 4 octets long"))?);
        self.must_be_ours(head.stream)?;
        let Some(stream) = self.close(head.stream) else { return self.count_idle() };
        // The status has come, and with it what it means; a body that breaks off costs only its end.
        let how = if stream.answer.status == 0 {
            let why = format!("the peer reset the stream: {code}").into();
            Err(Lost { unprocessed: code == ErrorCode::REFUSED_STREAM, why })
        } else {
            Ok(stream.answer)
        };
        self.ended.push_back(Ended { cargo: stream.cargo, how });
        self.count_idle()
    }

    fn on_settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::protocol("SETTINGS on a stream"));
        }
        if head.has(flag::ACK) {
            return if payload.is_empty() {
                self.count_idle()
            } else {
                Err(Fault::size("a SETTINGS ack with a payload"))
            };
        }
        let (settings, []) = payload.as_chunks::<6>() else { return Err(Fault::size("SETTINGS cut short")) };
        if !self.peer.begun {
            self.peer.begun = true;
            // RFC 9113 §6.5.2: without the setting there is no limit.
            self.peer.streams_max = usize::MAX;
        }
        for &[a, b, c, d, e, f] in settings {
            self.on_setting(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))?;
            // A window that changes costs a look at every stream, and a frame has room for thousands of changes.
            self.count_idle()?;
        }
        frame::put_head(&mut self.out, 0, kind::SETTINGS, flag::ACK, 0);
        self.count_idle()
    }

    fn on_setting(&mut self, name: u16, value: u32) -> Result<(), Fault> {
        let length = usize::try_from(value).unwrap_or(usize::MAX);
        match name {
            setting::HEADER_TABLE_SIZE => self.encoder.limit(length),
            // §6.5.2: a server must not.
            setting::ENABLE_PUSH if value != 0 => return Err(Fault::protocol("a server that wants to be pushed to")),
            setting::MAX_CONCURRENT_STREAMS => self.peer.streams_max = length,
            setting::INITIAL_WINDOW_SIZE => return self.on_initial_window(i64::from(value)),
            setting::MAX_FRAME_SIZE => {
                if !(FRAME_BYTES_USUAL..1 << 24).contains(&length) {
                    return Err(Fault::protocol("a SETTINGS_MAX_FRAME_SIZE that there is not"));
                }
                self.peer.frame_bytes_max = length;
            }
            // MAX_HEADER_LIST_SIZE is advice (§6.5.2), and our lists are some hundred bytes long. Others are not known.
            _ => {}
        }
        Ok(())
    }

    /// §6.9.2: open streams change by the difference, and may become negative.
    fn on_initial_window(&mut self, window: i64) -> Result<(), Fault> {
        if window > WINDOW_MAX {
            return Err(Fault::flow("a SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1"));
        }
        let more = window - self.peer.initial_window;
        self.peer.initial_window = window;
        for stream in self.streams.each() {
            stream.send_window += more;
            if stream.send_window > WINDOW_MAX {
                return Err(Fault::flow("a stream's window above 2^31-1"));
            }
        }
        self.send_blocked();
        Ok(())
    }

    fn on_ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let opaque: [u8; 8] = payload.try_into().map_err(|_| Fault::size("PING is not 8 octets long"))?;
        if head.stream != 0 {
            return Err(Fault::protocol("PING on a stream"));
        }
        if !head.has(flag::ACK) {
            frame::put_ping(&mut self.out, flag::ACK, opaque);
        } else if self.pings.waiting && opaque == self.pings.count.to_be_bytes() {
            (self.pings.waiting, self.pings.heard) = (false, true);
            return Ok(());
        }
        self.count_idle()
    }

    /// §6.8: streams above the last one were not processed, those below go on. Apple and others send two: the first
    /// with the highest number there is. A number that rises again changes nothing: what was above is over.
    fn on_go_away(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::protocol("GOAWAY on a stream"));
        }
        let (Some(last), Some(code)) = (payload.get(..4).and_then(u32_of), payload.get(4..8).and_then(u32_of)) else {
            return Err(Fault::size("GOAWAY cut short"));
        };
        let (last, code, debug) = (last & 0x7fff_ffff, ErrorCode(code), &payload[8..]);
        let debug = String::from_utf8_lossy(&debug[..debug.len().min(DEBUG_BYTES_MAX)]);
        let colon = if debug.is_empty() { "" } else { ": " };
        let why = format!("the peer goes away with {code}{colon}{debug}");
        for id in self.streams.above(last) {
            if let Some(stream) = self.close(id) {
                // Whoever has answered it has processed it, whatever is said now: it must not be sent again.
                let how = if stream.answer.status == 0 {
                    Err(Lost { unprocessed: true, why: why.clone().into() })
                } else {
                    Ok(stream.answer)
                };
                self.ended.push_back(Ended { cargo: stream.cargo, how });
            }
        }
        // A later one that tells of an error, or gives a reason, says more than the announcement.
        if self.farewell.is_none() || code != ErrorCode::NO_ERROR || !debug.is_empty() {
            self.farewell = Some(Farewell { why: why.into(), now: false });
        }
        self.count_idle()
    }

    fn on_window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let more = u32_of(payload).ok_or(Fault::size("WINDOW_UPDATE is not 4 octets long"))? & 0x7fff_ffff;
        let id = head.stream;
        if id == 0 {
            // §6.9: an increment of 0 is an error.
            if more == 0 {
                return Err(Fault::protocol("WINDOW_UPDATE by 0"));
            }
            self.send_window += i64::from(more);
            if self.send_window > WINDOW_MAX {
                return Err(Fault::flow("a connection's window above 2^31-1"));
            }
        } else {
            self.must_be_ours(id)?;
            let Some(stream) = self.streams.at(id) else { return self.count_idle() };
            if more == 0 {
                return Err(Fault::Stream(id, ErrorCode::PROTOCOL_ERROR, "WINDOW_UPDATE by 0"));
            }
            stream.send_window += i64::from(more);
            if stream.send_window > WINDOW_MAX {
                return Err(Fault::Stream(id, ErrorCode::FLOW_CONTROL_ERROR, "a stream's window above 2^31-1"));
            }
        }
        self.send_blocked();
        self.count_idle()
    }

    fn on_priority(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(Fault::protocol("PRIORITY on no stream"));
        }
        if payload.len() != 5 {
            return Err(Fault::Stream(head.stream, ErrorCode::FRAME_SIZE_ERROR, "PRIORITY is not 5 octets long"));
        }
        self.count_idle()
    }

    /// §5.1: on a stream that nobody has opened nothing but PRIORITY may come.
    fn must_be_ours(&self, id: u32) -> Result<(), Fault> {
        if self.streams.is_idle(id) { Err(Fault::protocol("a frame on a stream that we never opened")) } else { Ok(()) }
    }

    /// §10.5: what costs something and brings nothing.
    fn count_idle(&mut self) -> Result<(), Fault> {
        self.idle_frames += 1;
        if self.idle_frames > IDLE_FRAMES_MAX {
            return Err(Fault::Connection(ErrorCode::ENHANCE_YOUR_CALM, "frames without an answer among them"));
        }
        Ok(())
    }

    /// Ends the stream of a fault that reaches no further.
    ///
    /// An answer that is malformed is none, not even its status (§8.1.1: a client must not accept it), so its request may
    /// have been processed or not. A 410 among them kills no token: that could not be taken back, while a token that is
    /// dead says so again at the next push. A 200 among them may bring a message twice, with one id for both.
    /// Any other fault of a stream takes nothing back of what has come whole.
    fn contain(&mut self, fault: Fault) -> Result<(), (ErrorCode, &'static str)> {
        let (id, code, why, is_malformed) = match fault {
            Fault::Connection(code, why) => return Err((code, why)),
            Fault::Stream(id, code, why) => (id, code, why, false),
            Fault::Malformed(id, why) => (id, ErrorCode::PROTOCOL_ERROR, why, true),
        };
        if let Err(Fault::Connection(code, why)) = self.count_idle() {
            return Err((code, why));
        }
        // Never for a stream that we have not opened: that would be a violation of our own.
        let Some(stream) = self.close(id) else { return Ok(()) };
        frame::put_reset(&mut self.out, id, code);
        let how = if is_malformed {
            Err(Lost { unprocessed: false, why: format!("the answer is malformed: {why}").into() })
        } else if stream.answer.status == 0 {
            Err(Lost { unprocessed: false, why: format!("the peer violates HTTP/2 on the stream: {why}").into() })
        } else {
            Ok(stream.answer)
        };
        self.ended.push_back(Ended { cargo: stream.cargo, how });
        Ok(())
    }

    fn fail(&mut self, code: ErrorCode, why: &'static str) {
        frame::put_go_away(&mut self.out, 0, code, why.as_bytes());
        self.farewell = None;
        // What waits in the output is still written, before the farewell.
        self.end_all(format!("the peer violates HTTP/2: {why} ({code})").into(), |_| false);
    }
}

/// The most bytes of a header block.
const BLOCK_BYTES_MAX: usize = 32 << 10;
/// The most frames of a header block.
const BLOCK_FRAMES_MAX: u32 = 16;
const LENGTH_DIFFERS: &str = "a body of another length than its content-length";
/// How much of a GOAWAY's debug data is kept.
const DEBUG_BYTES_MAX: usize = 256;
