//! Somebody who reads both directions of a connection and knows what a client may write (RFC 9113 §4 to §6, §8.1).

use std::collections::{BTreeMap, VecDeque};

use reveille_http2::Request;
use reveille_http2::frame::{HEAD_BYTES, Head, PREFACE, WINDOW_USUAL, flag, kind, setting, u32_of};
use reveille_http2::hpack::{Decoder, TABLE_BYTES_USUAL};

/// What was said so far.
pub(crate) struct Onlooker {
    seen: Vec<u8>,
    heard: Vec<u8>,
    has_preface: bool,
    has_settings: bool,
    /// Requests whose HEADERS are to come, oldest first.
    requests: VecDeque<Request>,
    streams: BTreeMap<u32, Stream>,
    decoder: Decoder,
    block: Option<(u32, u8, Vec<u8>)>,
    /// How many bytes stand before the frame that is judged, and where the last HEADERS began.
    at: usize,
    began: usize,
    /// Bytes that the peer lets out on the connection.
    window: i64,
    initial_window: i64,
    /// By number, for each stream that was opened.
    limits: BTreeMap<u32, Limit>,
    frame_bytes_max: usize,
    /// For each SETTINGS that is to be acknowledged, the table size that it sets.
    tables: VecDeque<Option<usize>>,
    table_max: usize,
    pings: u32,
}

/// How much of a stream's body the peer lets out.
struct Limit {
    now: i64,
    /// The most that it was since the client was last seen to write. It may have written at that moment.
    most: i64,
}

impl Limit {
    fn add(&mut self, more: i64) {
        self.now += more;
        self.most = self.most.max(self.now);
    }
}

struct Stream {
    /// How many bytes of the connection stand before it.
    at: usize,
    body: usize,
    sent: usize,
    has_ended: bool,
    is_reset: bool,
}

impl Default for Onlooker {
    fn default() -> Self {
        Self {
            seen: Vec::new(),
            heard: Vec::new(),
            has_preface: false,
            has_settings: false,
            requests: VecDeque::new(),
            streams: BTreeMap::new(),
            decoder: Decoder::default(),
            block: None,
            at: 0,
            began: 0,
            window: WINDOW_USUAL,
            initial_window: WINDOW_USUAL,
            limits: BTreeMap::new(),
            frame_bytes_max: 16_384,
            tables: VecDeque::new(),
            table_max: TABLE_BYTES_USUAL,
            pings: 0,
        }
    }
}

impl Onlooker {
    /// The client has taken this request.
    pub(crate) fn requested(&mut self, request: Request) {
        self.requests.push_back(request);
        let id = self.limits.last_key_value().map_or(1, |(id, _)| id + 2);
        self.limits.insert(id, Limit { now: self.initial_window, most: self.initial_window });
    }

    /// How many bytes of the connection stand before the request with this number.
    pub(crate) fn begins_at(&self, number: usize) -> usize {
        self.streams[&(2 * number as u32 + 1)].at
    }

    /// Whether the client has reset the stream of the request with this number.
    pub(crate) fn is_reset(&self, number: usize) -> bool {
        self.streams[&(2 * number as u32 + 1)].is_reset
    }

    /// The peer says this.
    pub(crate) fn hears(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        while let Some((head, payload)) = next(&mut self.heard) {
            match head.kind {
                kind::SETTINGS if !head.has(flag::ACK) => self.hears_settings(&payload),
                kind::PING if !head.has(flag::ACK) => self.pings += 1,
                kind::WINDOW_UPDATE => {
                    let more = i64::from(u32_of(&payload).unwrap_or(0) & 0x7fff_ffff);
                    match head.stream {
                        0 => self.window += more,
                        id => {
                            if let Some(limit) = self.limits.get_mut(&id) {
                                limit.add(more);
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn hears_settings(&mut self, payload: &[u8]) {
        let mut table = None;
        for &[a, b, c, d, e, f] in payload.as_chunks::<6>().0 {
            let value = u32::from_be_bytes([c, d, e, f]);
            match u16::from_be_bytes([a, b]) {
                setting::HEADER_TABLE_SIZE => table = Some(value as usize),
                setting::INITIAL_WINDOW_SIZE => {
                    let more = i64::from(value) - self.initial_window;
                    self.initial_window += more;
                    self.limits.values_mut().for_each(|limit| limit.add(more));
                }
                setting::MAX_FRAME_SIZE => self.frame_bytes_max = self.frame_bytes_max.max(value as usize),
                _ => {}
            }
        }
        self.tables.push_back(table);
    }

    /// The client writes this.
    pub(crate) fn sees(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
        if !self.has_preface {
            if self.seen.len() < PREFACE.len() {
                return;
            }
            assert_eq!(self.seen.drain(..PREFACE.len()).collect::<Vec<u8>>(), PREFACE);
            self.has_preface = true;
            self.at = PREFACE.len();
        }
        while let Some((head, payload)) = next(&mut self.seen) {
            let length = HEAD_BYTES + payload.len();
            self.judge(head, payload);
            self.at += length;
        }
        self.limits.values_mut().for_each(|limit| limit.most = limit.now);
    }

    fn judge(&mut self, head: Head, payload: Vec<u8>) {
        assert!(payload.len() <= self.frame_bytes_max, "{head:?}");
        assert!(self.has_settings || (head.kind == kind::SETTINGS && !head.has(flag::ACK)), "{head:?} is the first");
        self.has_settings = true;
        let goes_on = self.block.as_ref().is_none_or(|(id, ..)| (head.kind, head.stream) == (kind::CONTINUATION, *id));
        assert!(goes_on, "{head:?} inside of a block");
        match head.kind {
            kind::HEADERS => {
                let next = self.streams.last_key_value().map_or(1, |(id, _)| id + 2);
                assert_eq!((head.stream, head.flags & !5), (next, 0), "numbers rise by two");
                self.began = self.at;
                self.block(head.stream, head.flags, payload);
            }
            kind::CONTINUATION => {
                let (id, flags, mut bytes) = self.block.take().expect("HEADERS before it");
                bytes.extend(payload);
                self.block(id, flags | head.flags, bytes);
            }
            kind::DATA => self.judge_data(head, &payload),
            kind::RST_STREAM => {
                let stream = self.streams.get_mut(&head.stream).expect("a stream that was opened");
                assert!(payload.len() == 4 && !std::mem::replace(&mut stream.is_reset, true), "{head:?}");
            }
            kind::SETTINGS if head.has(flag::ACK) => {
                let table = self.tables.pop_front().expect("SETTINGS to acknowledge");
                self.table_max = table.map_or(self.table_max, |size| size.min(TABLE_BYTES_USUAL));
                assert_eq!((head.stream, payload.len()), (0, 0));
            }
            kind::SETTINGS => assert_eq!((head.stream, payload.len() % 6), (0, 0)),
            kind::PING => {
                assert_eq!((head.stream, payload.len()), (0, 8));
                if head.has(flag::ACK) {
                    self.pings = self.pings.checked_sub(1).expect("a PING to answer");
                }
            }
            kind::WINDOW_UPDATE => {
                let more = u32_of(&payload).expect("four octets");
                assert!((1..1 << 31).contains(&more), "{more}");
                assert!(head.stream == 0 || self.streams.contains_key(&head.stream), "{head:?}");
            }
            kind::GOAWAY => assert!(head.stream == 0 && payload.len() >= 8 && payload[..4] == [0; 4]),
            other => panic!("a client writes no frame of kind {other}"),
        }
    }

    fn block(&mut self, id: u32, flags: u8, bytes: Vec<u8>) {
        if flags & flag::END_HEADERS == 0 {
            self.block = Some((id, flags, bytes));
            return;
        }
        let request = self.requests.pop_front().expect("a request");
        let mut fields = Vec::new();
        self.decoder
            .decode(&bytes, 1 << 20, |name, value| fields.push((name.to_vec(), value.to_vec())))
            .expect("a block that can be read");
        let wanted: Vec<_> =
            request.fields().map(|(name, value, _)| (name.as_str().as_bytes().to_vec(), value.to_vec())).collect();
        assert_eq!(fields, wanted);
        assert!(self.decoder.table_bytes() <= self.table_max, "the table is as small as the peer wants it");
        let (body, has_ended) = (request.body.len(), flags & flag::END_STREAM != 0);
        assert_eq!(has_ended, body == 0);
        self.streams.insert(id, Stream { at: self.began, body, sent: 0, has_ended, is_reset: false });
    }

    fn judge_data(&mut self, head: Head, payload: &[u8]) {
        let stream = self.streams.get_mut(&head.stream).expect("a stream that was opened");
        assert!(!stream.has_ended && !stream.is_reset && !payload.is_empty(), "{head:?}");
        stream.sent += payload.len();
        stream.has_ended = head.has(flag::END_STREAM);
        assert_eq!(stream.has_ended, stream.sent == stream.body, "{} of {}", stream.sent, stream.body);
        let most = self.limits[&head.stream].most;
        assert!(stream.sent as i64 <= most, "{} where {most} were allowed", stream.sent);
        self.window -= payload.len() as i64;
        assert!(self.window >= 0, "more than the connection's window");
    }
}

/// Cuts off the next whole frame.
fn next(bytes: &mut Vec<u8>) -> Option<(Head, Vec<u8>)> {
    let head = Head::read(bytes)?;
    if bytes.len() < HEAD_BYTES + head.length {
        return None;
    }
    let frame: Vec<u8> = bytes.drain(..HEAD_BYTES + head.length).collect();
    Some((head, frame[HEAD_BYTES..].to_vec()))
}
