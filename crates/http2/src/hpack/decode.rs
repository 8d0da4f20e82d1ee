//! Reading header blocks.

use std::collections::VecDeque;

use super::names::STATIC_TABLE;
use super::{BadBlock, ENTRY_BYTES, TABLE_BYTES_USUAL, huffman};

/// Reads header blocks; one per connection, fed with every block in order.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
    /// The field that is being read.
    text: Vec<u8>,
}

/// Whether a section was as small as it has to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Size {
    /// It was told whole.
    Whole,
    /// It went beyond the limit (RFC 9113 §10.5.1), and only its beginning was told.
    Beyond,
}

impl Decoder {
    /// Reads one whole block, and tells name and value of each field. Fields beyond `limit` bytes (counted as RFC 9113
    /// §6.5.2 says) are not told, yet update the table. A block that grows beyond [`SECTION_BYTES_MAX`] is not read on:
    /// whoever cannot keep his table in step must end the connection (RFC 9113 §4.3).
    pub fn decode(&mut self, block: &[u8], limit: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result<Size, BadBlock> {
        let mut rest = block;
        let (mut begun, mut size) = (false, 0usize);
        let mut tell = |name: &[u8], value: &[u8]| {
            size += name.len() + value.len() + ENTRY_BYTES;
            if size <= limit {
                each(name, value);
            }
            if size <= SECTION_BYTES_MAX.max(limit) { Ok(()) } else { Err(BadBlock) }
        };
        while let Some(&first) = rest.first() {
            match first {
                // RFC 7541 §6.1: indexed field.
                0x80.. => {
                    let (name, value) = self.table.entry(integer(&mut rest, 7)?)?;
                    tell(name, value)?;
                }
                // §6.2.1: literal with incremental indexing.
                0x40.. => {
                    let name_end = self.literal(&mut rest, 6)?;
                    let (name, value) = self.text.split_at(name_end);
                    tell(name, value)?;
                    self.table.insert(name, value);
                }
                // §6.3: dynamic table size update. §4.2: only at the beginning of a block.
                0x20.. => {
                    if begun {
                        return Err(BadBlock);
                    }
                    self.table.resize(integer(&mut rest, 5)?)?;
                    continue;
                }
                // §6.2.2 and §6.2.3: literal without indexing, literal never indexed.
                _ => {
                    let name_end = self.literal(&mut rest, 4)?;
                    let (name, value) = self.text.split_at(name_end);
                    tell(name, value)?;
                }
            }
            begun = true;
        }
        Ok(if size <= limit { Size::Whole } else { Size::Beyond })
    }

    /// Reads name and value of a literal into `text`; answers where the name ends.
    fn literal(&mut self, rest: &mut &[u8], prefix: u8) -> Result<usize, BadBlock> {
        self.text.clear();
        match integer(rest, prefix)? {
            0 => string(rest, &mut self.text)?,
            index => self.text.extend_from_slice(self.table.entry(index)?.0),
        }
        let name_end = self.text.len();
        string(rest, &mut self.text)?;
        Ok(name_end)
    }

    /// What the dynamic table takes, in bytes.
    pub fn table_bytes(&self) -> usize {
        self.table.size
    }
}

/// The dynamic table (RFC 7541 §2.3.2 and §4).
#[derive(Debug)]
struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
    /// The memory of an entry that was evicted.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    text: Vec<u8>,
    name_end: usize,
}

impl Table {
    /// RFC 7541 §2.3.3: static entries first, then the dynamic ones, newest first.
    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), BadBlock> {
        let at = index.checked_sub(1).ok_or(BadBlock)?;
        if let Some(&(name, value)) = STATIC_TABLE.get(at) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(at - STATIC_TABLE.len()).ok_or(BadBlock)?;
        Ok(entry.text.split_at(entry.name_end))
    }

    fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + ENTRY_BYTES;
        self.evict(self.size_max.saturating_sub(size));
        // §4.4: an entry larger than the table empties it and is not kept.
        if size <= self.size_max {
            let mut text = std::mem::take(&mut self.spare);
            text.clear();
            text.extend_from_slice(name);
            text.extend_from_slice(value);
            self.entries.push_front(Entry { text, name_end: name.len() });
            self.size += size;
        }
    }

    fn resize(&mut self, size_max: usize) -> Result<(), BadBlock> {
        // §6.3: never above what we announced, which is the usual.
        if size_max > TABLE_BYTES_USUAL {
            return Err(BadBlock);
        }
        self.size_max = size_max;
        self.evict(size_max);
        Ok(())
    }

    fn evict(&mut self, until: usize) {
        while self.size > until {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.text.len() + ENTRY_BYTES;
            self.spare = oldest.text;
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, size_max: TABLE_BYTES_USUAL, spare: Vec::new() }
    }
}

/// What one block may grow to, in bytes: a reference of two octets can stand for four thousand.
pub const SECTION_BYTES_MAX: usize = 256 << 10;

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
        huffman::decode(text, out).map_err(|_| BadBlock)?;
    } else {
        out.extend_from_slice(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, BadBlock> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut fields = Vec::new();
        decoder.decode(block, 16_384, |name, value| fields.push((text(name), text(value))))?;
        Ok(fields)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_single_fields_of_rfc_7541_appendix_c_2_are_read() {
        for (block, field, table) in [
            ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", ("custom-key", "custom-header"), 55),
            ("040c 2f73 616d 706c 652f 7061 7468", (":path", "/sample/path"), 0),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", ("password", "secret"), 0),
            ("82", (":method", "GET"), 0),
        ] {
            let mut decoder = Decoder::default();
            assert_eq!(read(&mut decoder, &hex(block)).unwrap(), [pair(field.0, field.1)]);
            assert_eq!(decoder.table_bytes(), table, "{field:?}");
        }
    }

    #[test]
    fn the_requests_of_rfc_7541_appendices_c_3_and_c_4_are_read_with_their_table() {
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let coded = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::default();
            let get = |scheme, path| {
                let authority = pair(":authority", "www.example.com");
                vec![pair(":method", "GET"), pair(":scheme", scheme), pair(":path", path), authority]
            };
            assert_eq!(read(&mut decoder, &hex(blocks[0])).unwrap(), get("http", "/"));
            let second = [get("http", "/"), vec![pair("cache-control", "no-cache")]].concat();
            assert_eq!(read(&mut decoder, &hex(blocks[1])).unwrap(), second);
            let third = [get("https", "/index.html"), vec![pair("custom-key", "custom-value")]].concat();
            assert_eq!(read(&mut decoder, &hex(blocks[2])).unwrap(), third);
            assert_eq!(decoder.table_bytes(), 164);
        }
    }

    #[test]
    fn the_answers_of_rfc_7541_appendices_c_5_and_c_6_are_read_though_entries_are_evicted() {
        let plain = [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
             474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
        ];
        let coded = [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
             63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::default();
            // The examples are of a table of 256 bytes.
            decoder.table.resize(256).unwrap();
            let answer = |status| {
                vec![
                    pair(":status", status),
                    pair("cache-control", "private"),
                    pair("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
                    pair("location", "https://www.example.com"),
                ]
            };
            assert_eq!(read(&mut decoder, &hex(blocks[0])).unwrap(), answer("302"));
            assert_eq!(decoder.table_bytes(), 222);
            assert_eq!(read(&mut decoder, &hex(blocks[1])).unwrap(), answer("307"));
            assert_eq!(decoder.table_bytes(), 222);
        }
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
        let mut told = 0;
        assert_eq!(decoder.decode(&block, 120, |_, _| told += 1), Ok(Size::Beyond));
        assert_eq!(told, 0);
        assert_eq!(read(&mut decoder, &[0xbe]).unwrap(), [pair("b", "w")]);
    }

    #[test]
    fn a_block_that_grows_a_thousandfold_is_not_read_to_its_end() {
        // 0x7f 0xa1 0x1e: 4000 octets of value, then references to them.
        let entry = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4000]].concat();
        let mut decoder = Decoder::default();
        let mut told = 0;
        let mut tell = |name: &[u8], value: &[u8]| told += name.len() + value.len();
        assert_eq!(decoder.decode(&[&entry[..], &[0xbe; 50]].concat(), 16_384, &mut tell), Ok(Size::Beyond));
        assert_eq!(decoder.decode(&[0xbe; 30_000], 16_384, &mut tell), Err(BadBlock));
        assert!(told <= 2 * 16_384, "{told}");
        // Names alone do as well, and nothing of them would be told.
        let name = [&[0x40, 0x7f, 0xa1, 0x1e][..], &[b'n'; 4000], &[0]].concat();
        let names = [&name[..], &[0x0f, 62 - 15, 0].repeat(9000)].concat();
        assert_eq!(Decoder::default().decode(&names, 0, |_, _| {}), Err(BadBlock));
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut decoder = Decoder::default();
        read(&mut decoder, &[0x40, 1, b'a', 1, b'b']).unwrap();
        // 0x7f 0x89 0x26: 5000 octets of value.
        let block = [&[0x40, 1, b'c', 0x7f, 0x89, 0x26][..], &[b'v'; 5000]].concat();
        read(&mut decoder, &block).unwrap();
        assert_eq!(decoder.table_bytes(), 0);
        assert_eq!(read(&mut decoder, &[0xbe]), Err(BadBlock));
    }

    #[test]
    fn random_bytes_never_panic_and_the_table_keeps_its_bound() {
        let mut seed = 99u64;
        let mut decoder = Decoder::default();
        for _ in 0..20_000 {
            let mut block = [0u8; 24];
            for chunk in block.chunks_mut(8) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                chunk.copy_from_slice(&(seed ^ seed >> 29).to_be_bytes());
            }
            let _ = decoder.decode(&block[..(seed % 24) as usize], 4096, |_, _| {});
            assert!(decoder.table_bytes() <= TABLE_BYTES_USUAL);
        }
    }
}
