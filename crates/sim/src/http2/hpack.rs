//! HPACK (RFC 7541): a decoder with its dynamic table, and an encoder that never indexes.

use std::collections::VecDeque;

use bytes::{BufMut as _, BytesMut};

use super::headers::Headers;
use super::huffman;

/// The header block cannot be read; the tables of both sides no longer agree (RFC 9113 §4.3: COMPRESSION_ERROR).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BadBlock;

impl From<huffman::BadHuffman> for BadBlock {
    fn from(_: huffman::BadHuffman) -> Self {
        Self
    }
}

/// Reads header blocks; one per connection, fed with every block in order.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    table: DynamicTable,
}

impl Decoder {
    /// Reads one whole block. Fields beyond `limit` (RFC 9113 §6.5.2) are dropped and flagged, yet update the table.
    pub(super) fn decode(&mut self, block: &[u8], limit: usize) -> Result<Headers, BadBlock> {
        let mut headers = Headers::default();
        let mut rest = block;
        let mut fields_seen = false;
        while let Some(&first) = rest.first() {
            match first {
                // RFC 7541 §6.1: indexed field.
                0x80.. => {
                    let index = integer(&mut rest, 7)?;
                    let (name, value) = self.entry(index)?;
                    headers.buffer().extend_from_slice(name);
                    let name_end = headers.buffer().len();
                    headers.buffer().extend_from_slice(value);
                    headers.close_field(name_end, limit);
                }
                // §6.2.1: literal with incremental indexing.
                0x40.. => {
                    let (start, name_end) = self.literal(&mut rest, 6, &mut headers)?;
                    self.table.insert(&headers.buffer()[start..], name_end - start);
                    headers.close_field(name_end, limit);
                }
                // §6.3: dynamic table size update. §4.2: only at the beginning of a block.
                0x20.. => {
                    if fields_seen {
                        return Err(BadBlock);
                    }
                    self.table.resize(integer(&mut rest, 5)?)?;
                    continue;
                }
                // §6.2.2 and §6.2.3: literal without indexing, literal never indexed.
                _ => {
                    let (_, name_end) = self.literal(&mut rest, 4, &mut headers)?;
                    headers.close_field(name_end, limit);
                }
            }
            fields_seen = true;
        }
        Ok(headers)
    }

    /// Appends name and value of a literal; returns where the field begins and where its name ends.
    fn literal(&self, rest: &mut &[u8], prefix: u8, headers: &mut Headers) -> Result<(usize, usize), BadBlock> {
        let start = headers.end();
        match integer(rest, prefix)? {
            0 => string(rest, headers.buffer())?,
            index => headers.buffer().extend_from_slice(self.entry(index)?.0),
        }
        let name_end = headers.buffer().len();
        string(rest, headers.buffer())?;
        Ok((start, name_end))
    }

    /// RFC 7541 §2.3.3: static entries first, then the dynamic ones, newest first.
    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), BadBlock> {
        let at = index.checked_sub(1).ok_or(BadBlock)?;
        if let Some(&(name, value)) = STATIC_TABLE.get(at) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.table.entries.get(at - STATIC_TABLE.len()).ok_or(BadBlock)?;
        Ok(entry.bytes.split_at(entry.name_bytes))
    }
}

/// RFC 7541 §2.3.2 and §4.
#[derive(Debug)]
struct DynamicTable {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
}

#[derive(Debug)]
struct Entry {
    bytes: Box<[u8]>,
    name_bytes: usize,
}

impl DynamicTable {
    fn insert(&mut self, field: &[u8], name_bytes: usize) {
        let size = field.len() + 32;
        self.evict(self.size_max.saturating_sub(size));
        // §4.4: an entry larger than the table empties it and is not kept.
        if size <= self.size_max {
            self.entries.push_front(Entry { bytes: field.into(), name_bytes });
            self.size += size;
        }
    }

    fn resize(&mut self, size_max: usize) -> Result<(), BadBlock> {
        // §6.3: never above what we announced, which is the default.
        if size_max > TABLE_BYTES_MAX {
            return Err(BadBlock);
        }
        self.size_max = size_max;
        self.evict(size_max);
        Ok(())
    }

    fn evict(&mut self, until: usize) {
        while self.size > until {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.bytes.len() + 32;
        }
    }
}

impl Default for DynamicTable {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, size_max: TABLE_BYTES_MAX }
    }
}

/// RFC 9113 §6.5.2: SETTINGS_HEADER_TABLE_SIZE stays at its default.
const TABLE_BYTES_MAX: usize = 4096;

/// RFC 7541 §5.1: an integer with a prefix of so many bits; larger than 2^28 is refused.
fn integer(rest: &mut &[u8], prefix: u8) -> Result<usize, BadBlock> {
    let (&first, mut tail) = rest.split_first().ok_or(BadBlock)?;
    let mask = u8::MAX >> (8 - prefix);
    let mut value = usize::from(first & mask);
    if first & mask == mask {
        let mut shift = 0;
        loop {
            let (&byte, after) = tail.split_first().ok_or(BadBlock)?;
            tail = after;
            if shift > 21 {
                return Err(BadBlock);
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = tail;
    Ok(value)
}

/// RFC 7541 §5.2: a string, plain or Huffman coded, appended to `out`.
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), BadBlock> {
    let coded = rest.first().ok_or(BadBlock)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (text, tail) = rest.split_at_checked(length).ok_or(BadBlock)?;
    *rest = tail;
    if coded {
        huffman::decode(text, out)?;
    } else {
        out.extend_from_slice(text);
    }
    Ok(())
}

/// Appends `:status`, indexed where the static table has it (RFC 7541 §6.1).
pub(super) fn put_status(out: &mut BytesMut, status: u16) {
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
            out.put_u8(0x08);
            put_string(out, &[digit(status / 100), digit(status / 10), digit(status)]);
            return;
        }
    };
    out.put_u8(0x80 | indexed);
}

fn digit(number: u16) -> u8 {
    b'0' + (number % 10) as u8
}

/// Appends a literal without indexing (RFC 7541 §6.2.2), so that no table has to be kept in step with the peer's.
pub(super) fn put_field(out: &mut BytesMut, name: &str, value: &str) {
    out.put_u8(0x00);
    put_string(out, name.as_bytes());
    put_string(out, value.as_bytes());
}

fn put_string(out: &mut BytesMut, text: &[u8]) {
    put_integer(out, text.len(), 7);
    out.put_slice(text);
}

fn put_integer(out: &mut BytesMut, mut value: usize, prefix: u8) {
    let mask = usize::from(u8::MAX >> (8 - prefix));
    if value < mask {
        out.put_u8(value as u8);
        return;
    }
    out.put_u8(mask as u8);
    value -= mask;
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// RFC 7541 appendix A.
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, BadBlock> {
        let headers = decoder.decode(block, 16_384)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok(headers.iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn the_requests_of_rfc_7541_appendix_c_4_are_read_with_their_table() {
        let mut decoder = Decoder::default();
        let first = [
            &[0x82, 0x86, 0x84, 0x41, 0x8c][..],
            &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
        ]
        .concat();
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        let third = [
            0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89, 0x25, 0xa8, 0x49,
            0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
        ];
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let get = |path, scheme| {
            vec![
                pair(":method", "GET"),
                pair(":scheme", scheme),
                pair(":path", path),
                pair(":authority", "www.example.com"),
            ]
        };
        assert_eq!(read(&mut decoder, &first).unwrap(), get("/", "http"));
        let mut with_cache = get("/", "http");
        with_cache.push(pair("cache-control", "no-cache"));
        assert_eq!(read(&mut decoder, &second).unwrap(), with_cache);
        let mut custom = get("/index.html", "https");
        custom.push(pair("custom-key", "custom-value"));
        assert_eq!(read(&mut decoder, &third).unwrap(), custom);
        assert_eq!(decoder.table.size, 164);
    }

    #[test]
    fn a_published_encoder_is_understood_over_many_blocks() {
        let mut theirs = fluke_hpack::Encoder::new();
        let mut ours = Decoder::default();
        for round in 0..200 {
            let fields: Vec<(String, String)> = (0..round % 7)
                .map(|n| (format!("x-name-{}", (round * n) % 40), format!("value-{round}-{}", "v".repeat(round))))
                .chain([(":method".to_owned(), "POST".to_owned())])
                .collect();
            let block = theirs.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
            assert_eq!(read(&mut ours, &block).unwrap(), fields);
        }
    }

    #[test]
    fn a_published_decoder_understands_our_answers() {
        for status in [200, 410, 413, 429, 503, 404] {
            let mut block = BytesMut::new();
            put_status(&mut block, status);
            put_field(&mut block, "apns-id", "eabeae54-14a8-11e5-b60b-1697f925ec7b");
            put_field(&mut block, "x-long", &"y".repeat(300));
            let fields = fluke_hpack::Decoder::new().decode(&block).unwrap();
            assert_eq!(fields[0], (b":status".to_vec(), status.to_string().into_bytes()));
            assert_eq!(fields[1].0, b"apns-id");
            assert_eq!(fields[2].1.len(), 300);
        }
    }

    #[test]
    fn broken_blocks_are_refused_and_never_panic() {
        let bad: [&[u8]; 9] = [
            &[0x80],                               // index 0
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], // an index beyond reason
            &[0xc0],                               // an empty dynamic table
            &[0x3f],                               // a size update cut short
            &[0x3f, 0xe2, 0x1f],                   // a table above 4096
            &[0x82, 0x20],                         // a size update after a field
            &[0x00, 0x05, b'a'],                   // a name cut short
            &[0x00, 0x01, b'a'],                   // no value
            &[0x41],                               // no value of a name from the table
        ];
        for block in bad {
            assert_eq!(read(&mut Decoder::default(), block), Err(BadBlock), "{block:x?}");
        }
    }

    #[test]
    fn a_section_above_the_limit_is_cut_but_still_updates_the_table() {
        let mut decoder = Decoder::default();
        let block = [&[0x40, 1, b'a', 100][..], &[b'v'; 100], &[0x40, 1, b'b', 1, b'w']].concat();
        let headers = decoder.decode(&block, 120).unwrap();
        assert!(headers.overflowed);
        assert_eq!(headers.iter().count(), 0);
        assert_eq!(read(&mut decoder, &[0xbe]).unwrap(), [("b".to_owned(), "w".to_owned())]);
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut decoder = Decoder::default();
        read(&mut decoder, &[0x40, 1, b'a', 1, b'b']).unwrap();
        let mut block = BytesMut::from(&[0x40, 1, b'c'][..]);
        put_string(&mut block, &[b'v'; 5000]);
        read(&mut decoder, &block).unwrap();
        assert_eq!(decoder.table.size, 0);
        assert_eq!(read(&mut decoder, &[0xbe]), Err(BadBlock));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut seed = 99u64;
        let mut decoder = Decoder::default();
        for _ in 0..20_000 {
            let mut block = [0u8; 24];
            for chunk in block.chunks_mut(8) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                chunk.copy_from_slice(&(seed ^ seed >> 29).to_be_bytes());
            }
            let _ = decoder.decode(&block[..(seed % 24) as usize], 4096);
            assert!(decoder.table.size <= TABLE_BYTES_MAX);
        }
    }
}
