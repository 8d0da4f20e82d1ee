//! Writing header blocks.

use std::collections::VecDeque;

use super::names::STATIC_TABLE;
use super::{ENTRY_BYTES, TABLE_BYTES_USUAL};
use crate::request::{Keep, Name};

/// Writes header blocks; one per connection, since both sides must see every block in order.
#[derive(Debug)]
pub struct Encoder {
    /// What the peer's table holds too, newest first.
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
    /// The peer's limit has changed: the smallest it was since the last block, and what it is now (RFC 7541 §4.2).
    announce: Option<(usize, usize)>,
}

struct Entry {
    name: Name,
    value: Box<[u8]>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values hold credentials.
        f.write_str(self.name.as_str())
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, size_max: TABLE_BYTES_USUAL, announce: None }
    }
}

impl Encoder {
    /// Heeds the peer's SETTINGS_HEADER_TABLE_SIZE. More than the usual is not used.
    pub fn limit(&mut self, bytes: usize) {
        let now = bytes.min(TABLE_BYTES_USUAL);
        if now == self.size_max && self.announce.is_none() {
            return;
        }
        let least = self.announce.map_or(self.size_max, |(least, _)| least).min(now);
        // RFC 7541 §4.2: a reduction is always told, even one that was taken back before the next block.
        self.announce = Some((least, now));
        self.evict(now.min(least));
        self.size_max = now;
    }

    /// Begins a block: tells what has changed about the table.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, now)) = self.announce.take() {
            if least < now {
                put_integer(out, 0x20, least, 5);
            }
            put_integer(out, 0x20, now, 5);
        }
    }

    /// Appends one field.
    pub fn field(&mut self, out: &mut Vec<u8>, name: Name, value: &[u8], keep: Keep) {
        match keep {
            Keep::Table => self.indexed(out, name, value),
            Keep::Passing => self.passing(out, name, value),
            Keep::Secret => literal(out, 0x10, 4, name.index().into(), name, value),
        }
    }

    fn indexed(&mut self, out: &mut Vec<u8>, name: Name, value: &[u8]) {
        let place = usize::from(name.index());
        // The constants of the static table point at the entry with the value that we send.
        if place > 0 && STATIC_TABLE[place - 1].1.as_bytes() == value && !value.is_empty() {
            return put_integer(out, 0x80, place, 7);
        }
        let known =
            self.entries.iter().position(|entry| entry.name.as_str() == name.as_str() && *entry.value == *value);
        if let Some(at) = known {
            return put_integer(out, 0x80, STATIC_TABLE.len() + 1 + at, 7);
        }
        let size = name.as_str().len() + value.len() + ENTRY_BYTES;
        // It would empty the table and not be kept (§4.4).
        if size > self.size_max {
            return literal(out, 0x00, 4, place, name, value);
        }
        literal(out, 0x40, 6, place, name, value);
        self.evict(self.size_max - size);
        self.entries.push_front(Entry { name, value: value.into() });
        self.size += size;
    }

    /// The first value of a name brings the name into the table, and later ones point at it.
    fn passing(&mut self, out: &mut Vec<u8>, name: Name, value: &[u8]) {
        if name.index() > 0 {
            return literal(out, 0x00, 4, name.index().into(), name, value);
        }
        match self.entries.iter().position(|entry| entry.name.as_str() == name.as_str()) {
            Some(at) => literal(out, 0x00, 4, STATIC_TABLE.len() + 1 + at, name, value),
            None => self.indexed(out, name, value),
        }
    }

    fn evict(&mut self, until: usize) {
        while self.size > until {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.name.as_str().len() + oldest.value.len() + ENTRY_BYTES;
        }
    }
}

/// RFC 7541 §6.2: a literal of the kind that `bits` say. `place` is where its name stands, 0 if nowhere.
fn literal(out: &mut Vec<u8>, bits: u8, prefix: u8, place: usize, name: Name, value: &[u8]) {
    put_integer(out, bits, place, prefix);
    if place == 0 {
        put_string(out, name.as_str().as_bytes());
    }
    put_string(out, value);
}

/// Appends `:status`, indexed where the static table has it (RFC 7541 §6.1).
pub fn put_status(out: &mut Vec<u8>, status: u16) {
    let indexed = match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            // A literal without indexing whose name is that of entry 8.
            out.push(0x08);
            put_string(out, &[digit(status / 100), digit(status / 10), digit(status)]);
            return;
        }
    };
    out.push(0x80 | indexed);
}

const fn digit(number: u16) -> u8 {
    b'0' + (number % 10) as u8
}

/// Appends a literal without indexing (RFC 7541 §6.2.2), for whoever keeps no table.
pub fn put_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0x00);
    put_string(out, name.as_bytes());
    put_string(out, value.as_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    put_integer(out, 0, text.len(), 7);
    out.extend_from_slice(text);
}

/// RFC 7541 §5.1: an integer behind the bits that say what it is.
fn put_integer(out: &mut Vec<u8>, bits: u8, mut value: usize, prefix: u8) {
    let mask = usize::from(u8::MAX >> (8 - prefix));
    if value < mask {
        out.push(bits | value as u8);
        return;
    }
    out.push(bits | mask as u8);
    value -= mask;
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::Decoder;
    use crate::request::name;

    const ID: Name = Name::new("apns-id");
    const TOPIC: Name = Name::new("apns-topic");

    fn block(encoder: &mut Encoder, fields: &[(Name, &[u8], Keep)]) -> Vec<u8> {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        fields.iter().for_each(|(name, value, keep)| encoder.field(&mut out, *name, value, *keep));
        out
    }

    #[test]
    fn the_integers_of_rfc_7541_appendix_c_1_are_written() {
        for (value, prefix, expected) in [(10, 5, &[10][..]), (1337, 5, &[31, 154, 10]), (42, 8, &[42])] {
            let mut out = Vec::new();
            put_integer(&mut out, 0, value, prefix);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn what_all_requests_share_is_one_byte_each_after_the_first() {
        let mut encoder = Encoder::default();
        let shared = [
            (name::METHOD, &b"POST"[..], Keep::Table),
            (name::SCHEME, b"https", Keep::Table),
            (name::AUTHORITY, b"api.push.apple.com", Keep::Table),
            (TOPIC, b"com.example", Keep::Table),
        ];
        assert_eq!(block(&mut encoder, &shared)[..2], [0x83, 0x87], "the static table has these");
        assert_eq!(block(&mut encoder, &shared), [0x83, 0x87, 0xbf, 0xbe]);
    }

    #[test]
    fn what_is_secret_is_never_indexed_and_what_passes_is_not_either() {
        let mut encoder = Encoder::default();
        let fields = [(name::PATH, &b"/3"[..], Keep::Secret), (TOPIC, b"t", Keep::Secret)];
        // RFC 7541 §6.2.3: 0001 and the name's index, or the name.
        let secret = [&[0x14, 2][..], b"/3", &[0x10, 10], b"apns-topic", &[1], b"t"].concat();
        for (value, keep, expected) in [
            (&b"t"[..], Keep::Secret, secret.clone()),
            // Its name enters the table with the first value (§6.2.1), and later ones point at it (§6.2.2).
            (b"t", Keep::Passing, [&[0x14, 2][..], b"/3", &[0x40, 10], b"apns-topic", &[1], b"t"].concat()),
            (b"u", Keep::Passing, [&[0x14, 2][..], b"/3", &[0x0f, 62 - 15, 1], b"u"].concat()),
            (b"t", Keep::Secret, secret),
        ] {
            assert_eq!(block(&mut encoder, &[fields[0], (TOPIC, value, keep)]), expected);
        }
    }

    /// Reads with a decoder that others wrote, and with ours.
    #[test]
    fn two_decoders_read_the_same_over_many_blocks_and_changes_of_the_table() {
        let mut encoder = Encoder::default();
        let (mut theirs, mut ours) = (fluke_hpack::Decoder::new(), Decoder::default());
        for round in 0..600u32 {
            match round {
                100 => encoder.limit(0),
                200 => encoder.limit(150),
                300 => {
                    encoder.limit(0);
                    encoder.limit(90);
                }
                400 => encoder.limit(1 << 20),
                _ => {}
            }
            let value = format!("value-{}", round % 90);
            let fields = [
                (name::METHOD, &b"POST"[..], Keep::Table),
                (name::AUTHORITY, b"localhost", Keep::Table),
                (TOPIC, value.as_bytes(), Keep::Table),
                (name::AUTHORIZATION, if round % 7 < 5 { b"one" } else { b"two" }, Keep::Table),
                (name::PATH, value.as_bytes(), Keep::Secret),
                (ID, value.as_bytes(), Keep::Passing),
            ];
            let out = block(&mut encoder, &fields);
            let expected: Vec<_> =
                fields.iter().map(|(name, value, _)| (name.as_str().as_bytes().to_vec(), value.to_vec())).collect();
            assert_eq!(theirs.decode(&out).unwrap(), expected, "{round}");
            let mut read = Vec::new();
            ours.decode(&out, 1 << 20, |name, value| read.push((name.to_vec(), value.to_vec()))).unwrap();
            assert_eq!((read, ours.table_bytes()), (expected, encoder.size), "{round}");
            assert!(encoder.size <= encoder.size_max);
        }
    }

    #[test]
    fn a_smaller_table_is_announced_even_when_it_has_grown_again() {
        let mut encoder = Encoder::default();
        encoder.limit(10);
        encoder.limit(100);
        // RFC 7541 §4.2: the smallest, then the last.
        assert_eq!(block(&mut encoder, &[]), [0x2a, 0x3f, 0x45]);
        assert_eq!(block(&mut encoder, &[]), [0; 0]);
    }

    #[test]
    fn what_would_empty_the_table_is_not_put_there() {
        let mut encoder = Encoder::default();
        block(&mut encoder, &[(TOPIC, b"kept", Keep::Table)]);
        block(&mut encoder, &[(TOPIC, &[b'x'; 5000], Keep::Table)]);
        assert_eq!(block(&mut encoder, &[(TOPIC, b"kept", Keep::Table)]), [0xbe]);
    }

    #[test]
    fn a_published_decoder_understands_a_servers_answers() {
        for status in [200, 410, 413, 429, 503, 404] {
            let mut block = Vec::new();
            put_status(&mut block, status);
            put_field(&mut block, "apns-id", "eabeae54-14a8-11e5-b60b-1697f925ec7b");
            put_field(&mut block, "x-long", &"y".repeat(300));
            let fields = fluke_hpack::Decoder::new().decode(&block).unwrap();
            assert_eq!(fields[0], (b":status".to_vec(), status.to_string().into_bytes()));
            assert_eq!(fields[1].0, b"apns-id");
            assert_eq!(fields[2].1.len(), 300);
        }
    }
}
