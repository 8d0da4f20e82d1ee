//! What a fuzzer does with its bytes: they are read as things that an owner and a peer do to a connection, one after the
//! other, and all that the connection says is judged by an [`Onlooker`] that reads both directions.

use std::collections::BTreeSet;

use reveille_http2::frame::{self, flag, kind, setting};
use reveille_http2::hpack::{put_field, put_status};
use reveille_http2::{Client, ErrorCode, Keep, Name, OUT_BYTES_HIGH, Options, Request, name};

use crate::onlooker::Onlooker;

/// Panics when a promise is broken: no request ends twice or never, what is kept and written is bounded, and what is
/// written is legal.
pub(crate) fn client(data: &[u8]) {
    let mut run = Run::new();
    let mut script = Script(data);
    if script.byte() % 4 != 0 {
        run.feed(&settings(&[]));
        (1..4).for_each(|size| run.send(40 * size));
    }
    while !script.0.is_empty() {
        run.step(&mut script);
        run.judge();
    }
    run.end();
}

/// The fuzzer's bytes; zeros behind their end.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn number(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// The number of a stream: mostly one of the latest, seldom one that is idle or that nobody could have.
    fn stream(&mut self, opened: usize) -> u32 {
        match self.byte() {
            0 => 0,
            255 => 2 * opened as u32 + 1,
            254 => self.number(),
            byte => (2 * opened as u32).saturating_sub(2 + 2 * (u32::from(byte) % 50)) | 1,
        }
    }
}

struct Run {
    client: Client<usize>,
    /// Requests that were sent and have not ended.
    open: BTreeSet<usize>,
    sent: usize,
    onlooker: Onlooker,
    /// How much of the output the onlooker has seen.
    seen: usize,
    /// How much was written so far.
    written: usize,
}

impl Run {
    fn new() -> Self {
        let options = Options { wanted: &["date", "retry-after"], body_bytes_max: BODY_BYTES_MAX, window: 100_000 };
        Self {
            client: Client::new(options),
            open: BTreeSet::new(),
            sent: 0,
            onlooker: Onlooker::default(),
            seen: 0,
            written: 0,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0..=2 => self.send(usize::from(script.byte())),
            3 => self.write(usize::from(script.byte())),
            4 => self.write(usize::MAX),
            5 => self.take_back(usize::from(script.byte() % 8) + 1),
            6 => drop(self.client.ping()),
            7 => match script.byte() {
                255 => self.client.say_goodbye(),
                200..240 => {
                    let (last, code) = (script.stream(self.sent), ErrorCode(script.byte().into()));
                    self.feed(&made(|out| frame::put_go_away(out, last, code, b"bye")));
                }
                count @ 240.. => self.feed(script.bytes(count.into())),
                _ => {}
            },
            8 | 9 => self.feed(&setting_of(script)),
            10 => {
                let (stream, more) = (script.stream(self.sent), script.number());
                self.feed(&made(|out| frame::put_window_update(out, stream, more)));
            }
            11..=14 => self.feed(&answer(script, self.sent)),
            _ => self.feed(&any_frame(script, self.sent)),
        }
    }

    /// A request whose body has the square of `size` bytes, within reason.
    fn send(&mut self, size: usize) {
        let mut request = Request::new();
        let number = self.sent.to_string();
        request.field(name::METHOD, b"POST", Keep::Table);
        request.field(name::PATH, number.as_bytes(), Keep::Secret);
        request.field(Name::new("x-same"), b"same", Keep::Table);
        request.field(Name::new("x-other"), number.as_bytes(), Keep::Passing);
        request.field(Name::new("x-grows"), &vec![b'x'; size], Keep::Table);
        request.body.resize((size * size).min(20_000), b'y');
        let room = self.client.room();
        let taken = self.client.send(self.sent, &request).is_ok();
        assert_eq!(taken, room > 0, "room is what it says");
        if taken {
            self.onlooker.requested(request);
            self.show();
            self.open.insert(self.sent);
            self.sent += 1;
        }
    }

    fn take_back(&mut self, every: usize) {
        for cargo in self.client.take_back(|cargo| cargo % every == 0) {
            assert!(self.open.remove(&cargo), "{cargo} is given back once");
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        // As whoever has the socket does.
        if !self.client.is_choked() {
            self.onlooker.hears(bytes);
            self.client.receive(bytes);
            self.show();
        }
    }

    /// At once, since what may be written changes with what is heard.
    fn show(&mut self) {
        self.onlooker.sees(&self.client.output()[self.seen..]);
        self.seen = self.client.output().len();
    }

    fn write(&mut self, count: usize) {
        self.show();
        let count = count.min(self.client.output().len());
        self.client.written(count);
        self.seen -= count;
        self.written += count;
    }

    fn judge(&mut self) {
        self.show();
        while let Some(ended) = self.client.next_ended() {
            assert!(self.open.remove(&ended.cargo), "{} ends once", ended.cargo);
            if let Err(lost) = &ended.how
                && lost.why == BROKEN
            {
                let was_written = self.onlooker.begins_at(ended.cargo) < self.written;
                assert_eq!(lost.unprocessed, !was_written, "{}", ended.cargo);
            }
            if let Err(lost) = &ended.how
                && ["the answer is malformed", "the peer violates HTTP/2 on"]
                    .iter()
                    .any(|why| lost.why.starts_with(why))
            {
                assert!(self.onlooker.is_reset(ended.cargo), "{} is reset", ended.cargo);
            }
            if let Ok(answer) = ended.how {
                assert!((100..1000).contains(&answer.status) && answer.body.len() <= BODY_BYTES_MAX);
                let fields: usize = answer.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
                assert!(fields <= 16 << 10, "{fields}");
                self.client.recycle(answer);
            }
        }
        assert_eq!(self.client.under_way(), self.open.len());
        assert!(self.client.output().len() <= 8 * OUT_BYTES_HIGH, "{}", self.client.output().len());
        if self.client.is_over() {
            assert_eq!((self.client.room(), self.open.len()), (0, 0), "what is over has ended");
        }
    }

    fn end(mut self) {
        self.client.end(BROKEN);
        self.judge();
        assert!(self.client.is_over() && self.open.is_empty());
    }
}

/// One setting, whose value mostly is one that it can have.
fn setting_of(script: &mut Script<'_>) -> Vec<u8> {
    let (byte, value) = (script.byte(), script.number());
    let name = u16::from(byte % 8);
    let value = match name {
        _ if byte > 240 => value,
        setting::ENABLE_PUSH => 0,
        setting::INITIAL_WINDOW_SIZE => value % 70_000,
        setting::MAX_FRAME_SIZE => 16_384 + value % 10_000,
        setting::MAX_CONCURRENT_STREAMS => value % 300,
        setting::HEADER_TABLE_SIZE => value % 5000 * u32::from(byte & 8 != 0),
        _ => value,
    };
    settings(&[(name, value)])
}

/// A frame of any kind, which mostly has a length and a stream that its kind can have.
fn any_frame(script: &mut Script<'_>, opened: usize) -> Vec<u8> {
    let (kind, flags, stream, count) = (script.byte() % 11, script.byte(), script.stream(opened), script.byte());
    let (stream, count) = match kind {
        _ if flags & 0xc0 == 0xc0 => (stream, count),
        kind::CONTINUATION | kind::PUSH_PROMISE => return Vec::new(),
        kind::SETTINGS if flags & flag::ACK != 0 => (0, 0),
        kind::SETTINGS => (0, count / 6 * 6),
        kind::PING => (0, 8),
        kind::GOAWAY => (0, count.max(8)),
        kind::RST_STREAM | kind::WINDOW_UPDATE => (stream, 4),
        kind::PRIORITY => (stream, 5),
        _ => (stream, count),
    };
    framed(kind, flags, stream, script.bytes(count.into()))
}

/// An answer that is well formed, but for what the script has against it.
fn answer(script: &mut Script<'_>, opened: usize) -> Vec<u8> {
    let (stream, flags, length) = (script.stream(opened), script.byte(), 4 * usize::from(script.byte()));
    let status = [200, 410, 204, 103, 503, 304][usize::from(script.byte() % 6)];
    let mut block = Vec::new();
    put_status(&mut block, status);
    if flags & 0x10 != 0 {
        put_field(&mut block, "content-length", &length.to_string());
    }
    if flags & 0x20 != 0 {
        put_field(&mut block, "date", "now");
    }
    let end = flags & flag::END_STREAM;
    let mut out = framed(kind::HEADERS, flag::END_HEADERS | (end & (flags >> 1)), stream, &block);
    if flags & 2 == 0 {
        out.extend(framed(kind::DATA, end, stream, &vec![b'z'; length + usize::from(flags >> 7)]));
    }
    out
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    made(|out| frame::put_settings(out, settings))
}

fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    made(|out| {
        frame::put_head(out, payload.len(), kind, flags, stream);
        out.extend_from_slice(payload);
    })
}

fn made(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

const BODY_BYTES_MAX: usize = 500;
const BROKEN: &str = "the script is over";
