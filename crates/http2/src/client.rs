//! The client's side of one connection, as state: what was sent and not yet answered, the windows of both sides, what
//! the peer allows, and the bytes that wait to be written.

mod answer;
mod receive;
mod streams;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use crate::fault::ErrorCode;
use crate::frame::{self, FRAME_BYTES_USUAL, HEAD_BYTES, PREFACE, WINDOW_USUAL, flag, kind, setting};
use crate::hpack;
use crate::request::Request;
pub use answer::Answer;
use receive::Block;
use streams::{Stream, Streams};

/// One connection. `T` is what its owner wants back with the answer to a request. `Debug` shows nothing that was sent.
pub struct Client<T> {
    options: Options,
    streams: Streams<T>,
    ended: VecDeque<Ended<T>>,
    /// Answers that were read and given back, whose memory is used again.
    spare: Vec<Answer>,
    encoder: hpack::Encoder,
    decoder: hpack::Decoder,
    /// Bytes of the peer that are not yet a whole frame.
    input: Vec<u8>,
    /// A header block that goes on in CONTINUATION frames.
    block: Option<Block>,
    out: Vec<u8>,
    /// How many bytes of output were written so far.
    written: u64,
    peer: Peer,
    /// How much we may still send on the connection.
    send_window: i64,
    /// How much the peer may still send on the connection.
    receive_window: i64,
    /// Streams with a part of their body that the windows do not let out, oldest first.
    blocked: VecDeque<u32>,
    /// Frames since the last answers that moved nothing forward.
    idle_frames: u32,
    pings: Pings,
    farewell: Option<Farewell>,
    said_goodbye: bool,
}

/// What is the same for a connection from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The fields of answers that are kept, in lower case; all others are read and thrown away.
    pub wanted: &'static [&'static str],
    /// How much of an answer's body is kept; the rest is counted and thrown away.
    pub body_bytes_max: usize,
    /// The connection's window for what the peer sends, in bytes, at least [`WINDOW_USUAL`].
    pub window: u32,
}

/// What became of a request. Each that was sent has exactly one, unless its owner took it back.
#[derive(Debug)]
pub struct Ended<T> {
    /// What was given with the request.
    pub cargo: T,
    /// Its answer, or why there is none.
    pub how: Result<Answer, Lost>,
}

/// Why a request has no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lost {
    /// Whether it is certain that the peer did not process it: it stood above GOAWAY's last stream, or was refused with
    /// REFUSED_STREAM (RFC 9113 §8.7), or not one byte of it was written.
    pub unprocessed: bool,
    /// A sentence. It may hold what the peer said.
    pub why: Cow<'static, str>,
}

/// The connection takes no more requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Farewell {
    /// A sentence. It may hold what the peer said.
    pub why: Cow<'static, str>,
    /// Whether nothing more is read: once what is in the output is written, the transport is closed.
    pub now: bool,
}

/// What the peer allows.
#[derive(Debug)]
struct Peer {
    /// Its SETTINGS have come: they are its first frame (RFC 9113 §3.4).
    begun: bool,
    streams_max: usize,
    initial_window: i64,
    frame_bytes_max: usize,
}

/// Our own pings. One is under way at most.
#[derive(Debug, Default)]
struct Pings {
    count: u64,
    waiting: bool,
    heard: bool,
}

impl<T> Client<T> {
    /// A connection that has just been opened: the preface and our SETTINGS are the first output.
    pub fn new(options: Options) -> Self {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(PREFACE);
        let settings = [(setting::ENABLE_PUSH, 0), (setting::MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES_MAX as u32)];
        frame::put_settings(&mut out, &settings);
        let window = i64::from(options.window).clamp(WINDOW_USUAL, frame::WINDOW_MAX);
        if window > WINDOW_USUAL {
            // §6.9.2: only WINDOW_UPDATE can widen the connection's window.
            frame::put_window_update(&mut out, 0, (window - WINDOW_USUAL) as u32);
        }
        let options = Options { window: window as u32, ..options };
        let peer = Peer {
            begun: false,
            // RFC 9113 §6.5.2 lets a client assume no limit until SETTINGS arrive. APNs begins with one stream, and
            // would refuse the rest of a burst.
            streams_max: 1,
            initial_window: WINDOW_USUAL,
            frame_bytes_max: FRAME_BYTES_USUAL,
        };
        Self {
            options,
            streams: Streams::default(),
            ended: VecDeque::new(),
            spare: Vec::new(),
            encoder: hpack::Encoder::default(),
            decoder: hpack::Decoder::default(),
            input: Vec::new(),
            block: None,
            out,
            written: 0,
            peer,
            send_window: WINDOW_USUAL,
            receive_window: window,
            blocked: VecDeque::new(),
            idle_frames: 0,
            pings: Pings::default(),
            farewell: None,
            said_goodbye: false,
        }
    }

    /// How many requests it takes now.
    pub fn room(&self) -> usize {
        if self.farewell.is_some() || self.out.len() >= OUT_BYTES_HIGH || self.blocked.len() >= BLOCKED_MAX {
            return 0;
        }
        self.peer.streams_max.saturating_sub(self.streams.count()).min(self.streams.room())
    }

    /// How many streams the peer allows at once.
    pub const fn streams_max(&self) -> usize {
        self.peer.streams_max
    }

    /// How many requests are under way.
    pub fn under_way(&self) -> usize {
        self.streams.count()
    }

    /// What was given with the oldest request under way.
    pub fn oldest(&self) -> Option<&T> {
        self.streams.oldest()
    }

    /// Writes a request. Gives `cargo` back if there is no [`Self::room`].
    pub fn send(&mut self, cargo: T, request: &Request) -> Result<(), T> {
        if self.room() == 0 {
            return Err(cargo);
        }
        let Self { streams, out, encoder, peer, .. } = self;
        let answer = self.spare.pop().unwrap_or_default();
        let at = out.len();
        let id = streams.open(cargo, answer, peer.initial_window, self.written + at as u64);
        let end = if request.body.is_empty() { flag::END_STREAM } else { 0 };
        frame::put_head(out, 0, kind::HEADERS, flag::END_HEADERS | end, id);
        encoder.begin(out);
        request.fields().for_each(|(name, value, keep)| encoder.field(out, name, value, keep));
        if out.len() - at - HEAD_BYTES > peer.frame_bytes_max {
            split(out, at, id, end, peer.frame_bytes_max);
        } else {
            frame::close_head(out, at);
        }
        let sent = self.send_part(id, &request.body);
        if sent < request.body.len()
            && let Some(stream) = self.streams.at(id)
        {
            stream.unsent.extend_from_slice(&request.body[sent..]);
            self.blocked.push_back(id);
        }
        if !self.streams.has_numbers() {
            self.farewell.get_or_insert(Farewell { why: Cow::Borrowed("its stream numbers are used up"), now: false });
        }
        Ok(())
    }

    /// Writes as much of the rest of a body as the windows allow; answers how much that was.
    fn send_part(&mut self, id: u32, body: &[u8]) -> usize {
        let Some(stream) = self.streams.at(id) else { return 0 };
        let mut sent = 0;
        while sent < body.len() {
            let window = usize::try_from(self.send_window.min(stream.send_window)).unwrap_or(0);
            let length = (body.len() - sent).min(window).min(self.peer.frame_bytes_max);
            if length == 0 {
                break;
            }
            let end = if sent + length == body.len() { flag::END_STREAM } else { 0 };
            frame::put_head(&mut self.out, length, kind::DATA, end, id);
            self.out.extend_from_slice(&body[sent..sent + length]);
            self.send_window -= length as i64;
            stream.send_window -= length as i64;
            sent += length;
        }
        sent
    }

    /// Windows have opened: goes on with the bodies that wait, oldest first.
    fn send_blocked(&mut self) {
        for _ in 0..self.blocked.len() {
            let Some(id) = self.blocked.pop_front() else { return };
            let Some(stream) = self.streams.at(id) else { continue };
            let mut unsent = std::mem::take(&mut stream.unsent);
            let sent = self.send_part(id, &unsent);
            if sent < unsent.len() {
                unsent.drain(..sent);
                self.blocked.push_back(id);
                if let Some(stream) = self.streams.at(id) {
                    stream.unsent = unsent;
                }
            }
        }
    }

    /// What became of a request, the first that ended first.
    pub fn next_ended(&mut self) -> Option<Ended<T>> {
        self.ended.pop_front()
    }

    /// Gives back an answer that was read, so that its memory serves the next.
    pub fn recycle(&mut self, mut answer: Answer) {
        if self.spare.len() < SPARE_MAX && answer.body.capacity() <= SPARE_BODY_BYTES {
            answer.clear();
            self.spare.push(answer);
        }
    }

    /// Closes a stream; the rest of its body is not waited with any longer.
    fn close(&mut self, id: u32) -> Option<Stream<T>> {
        let stream = self.streams.close(id)?;
        if !stream.unsent.is_empty() {
            self.blocked.retain(|waiting| *waiting != id);
        }
        Some(stream)
    }

    /// Bytes for the peer.
    pub fn output(&self) -> &[u8] {
        &self.out
    }

    /// So many bytes of the output were written: the peer may have them. Whoever writes into something that can fail
    /// half way tells so little at once that of what is not told nothing can have arrived.
    pub fn written(&mut self, count: usize) {
        self.written += count.min(self.out.len()) as u64;
        if count >= self.out.len() {
            self.out.clear();
            // A burst's memory is not kept for ever.
            self.out.shrink_to(2 * OUT_BYTES_HIGH);
        } else {
            self.out.drain(..count);
        }
    }

    /// Asks the peer whether it is still there (RFC 9113 §6.7). False if a ping is under way already.
    pub fn ping(&mut self) -> bool {
        if self.pings.waiting || self.farewell.as_ref().is_some_and(|farewell| farewell.now) {
            return false;
        }
        self.pings.count += 1;
        self.pings.waiting = true;
        frame::put_ping(&mut self.out, 0, self.pings.count.to_be_bytes());
        true
    }

    /// Whether our ping was answered since this was last asked.
    pub const fn pong(&mut self) -> bool {
        std::mem::replace(&mut self.pings.heard, false)
    }

    /// Why it takes no more requests, if it does not.
    pub const fn farewell(&self) -> Option<&Farewell> {
        self.farewell.as_ref()
    }

    /// Whether nothing more is read, and the transport is to be closed once the output is written.
    pub fn is_over(&self) -> bool {
        self.farewell.as_ref().is_some_and(|farewell| farewell.now)
    }

    /// Takes no more requests, for a reason of the transport: nothing more can be written. What the peer has said is
    /// still read, and says more than this if it is a farewell.
    pub fn take_no_more(&mut self, why: impl Into<Cow<'static, str>>) {
        self.farewell.get_or_insert_with(|| Farewell { why: why.into(), now: false });
    }

    /// Takes no more requests, and says so to the peer (RFC 9113 §6.8). Those under way go on.
    pub fn say_goodbye(&mut self) {
        self.farewell.get_or_insert(Farewell { why: Cow::Borrowed("it was ended here"), now: false });
        if !std::mem::replace(&mut self.said_goodbye, true) {
            // The peer opens no streams, so none of its own was processed.
            frame::put_go_away(&mut self.out, 0, ErrorCode::NO_ERROR, b"");
        }
    }

    /// Takes back the requests that `which` points at: their answers are not waited for, and the peer is told with
    /// CANCEL.
    pub fn take_back(&mut self, which: impl FnMut(&T) -> bool) -> Vec<T> {
        let Self { out, streams, blocked, .. } = self;
        let taken = streams.take_if(which);
        blocked.retain(|id| streams.at(*id).is_some());
        taken
            .into_iter()
            .map(|(id, cargo)| {
                frame::put_reset(out, id, ErrorCode::CANCEL);
                cargo
            })
            .collect()
    }

    /// The transport has ended, and nothing more is written: what is under way has the answer that has come so far, or
    /// none.
    pub fn end(&mut self, why: impl Into<Cow<'static, str>>) {
        let written = self.written;
        self.end_all(why.into(), |stream| stream.at >= written);
    }

    fn end_all(&mut self, why: Cow<'static, str>, is_unwritten: impl Fn(&Stream<T>) -> bool) {
        let whole = Farewell { why, now: true };
        let why = match &self.farewell {
            // What the peer said before it closed says more.
            Some(known) => known.why.clone(),
            None => whole.why.clone(),
        };
        self.farewell = Some(Farewell { why: why.clone(), now: true });
        self.blocked.clear();
        for stream in self.streams.take_all() {
            let how = if stream.answer.status == 0 {
                Err(Lost { unprocessed: is_unwritten(&stream), why: why.clone() })
            } else {
                Ok(stream.answer)
            };
            self.ended.push_back(Ended { cargo: stream.cargo, how });
        }
    }
}

impl<T> fmt::Debug for Client<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Output, input and streams hold tokens, credentials and what people write.
        f.debug_struct("Client")
            .field("under_way", &self.streams.count())
            .field("streams_max", &self.peer.streams_max)
            .field("output", &self.out.len())
            .field("farewell", &self.farewell)
            .finish_non_exhaustive()
    }
}

/// RFC 9113 §6.10: a block that is larger than a frame goes on in CONTINUATION frames. `at` is where its HEADERS begin.
fn split(out: &mut Vec<u8>, at: usize, id: u32, end: u8, frame_bytes_max: usize) {
    let block = out.split_off(at + HEAD_BYTES);
    out.truncate(at);
    let parts = block.len().div_ceil(frame_bytes_max);
    for (number, part) in block.chunks(frame_bytes_max).enumerate() {
        let last = if number + 1 == parts { flag::END_HEADERS } else { 0 };
        let (kind, flags) = if number == 0 { (kind::HEADERS, end | last) } else { (kind::CONTINUATION, last) };
        frame::put_head(out, part.len(), kind, flags, id);
        out.extend_from_slice(part);
    }
}

/// So many frames, or settings in them, may come without an answer among them before the peer is taken for one that floods (CVE-2019-9512 and
/// those beside it).
pub const IDLE_FRAMES_MAX: u32 = 10_000;
/// An answer makes up for so many frames.
const IDLE_FRAMES_FORGIVEN: u32 = 100;
/// No request is taken while more bytes than this wait to be written.
pub const OUT_BYTES_HIGH: usize = 256 << 10;
/// RFC 9113 §6.5.2: SETTINGS_MAX_HEADER_LIST_SIZE, in bytes.
const HEADER_LIST_BYTES_MAX: usize = 16 << 10;
/// Requests whose body the windows hold back, at most.
const BLOCKED_MAX: usize = 64;
/// Answers whose memory is kept.
const SPARE_MAX: usize = 64;
/// The most memory of a body that is kept, in bytes.
const SPARE_BODY_BYTES: usize = 1024;
