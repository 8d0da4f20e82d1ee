//! The Huffman code of HPACK (RFC 7541 §5.2, appendix B).
//!
//! The code is canonical: the length of each symbol's code is enough to know all codes, so only lengths are written
//! down. Decoding looks the first eight bits up in a table and follows the few longer codes by their length.

/// The string is not a valid Huffman encoding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BadHuffman;

/// Appends the decoded form of `coded` to `out`.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), BadHuffman> {
    // The next `bits` bits of the string stand at the top of `window`.
    let mut window: u64 = 0;
    let mut bits: u32 = 0;
    let mut rest = coded.iter();
    loop {
        while bits <= 56 {
            let Some(&byte) = rest.next() else { break };
            window |= u64::from(byte) << (56 - bits);
            bits += 8;
        }
        if bits == 0 {
            return Ok(());
        }
        let short = TABLE.short[(window >> 56) as usize];
        let (symbol, length) = if short.length != 0 { (u16::from(short.symbol), short.length) } else { long(window) };
        if u32::from(length) > bits {
            // RFC 7541 §5.2: padding is at most seven bits, all of them ones (the beginning of EOS).
            let padding = window >> (64 - bits);
            return if bits < 8 && padding == (1 << bits) - 1 { Ok(()) } else { Err(BadHuffman) };
        }
        // RFC 7541 §5.2: a string that holds EOS is an error.
        let symbol = u8::try_from(symbol).map_err(|_| BadHuffman)?;
        out.push(symbol);
        window <<= length;
        bits -= u32::from(length);
    }
}

/// The symbol whose code of more than eight bits stands at the top of `window`, and the code's length.
fn long(window: u64) -> (u16, u8) {
    let top = (window >> 32) as u32;
    let mut length = 9;
    while length < LONGEST && top >= TABLE.limit[length] {
        length += 1;
    }
    let offset = (top >> (32 - length)).wrapping_sub(TABLE.first[length]) as usize;
    let symbol = TABLE.symbols.get(TABLE.start[length] as usize + offset).copied().unwrap_or(EOS);
    (symbol, length as u8)
}

const LONGEST: usize = 30;
const EOS: u16 = 256;

#[derive(Clone, Copy)]
struct Short {
    symbol: u8,
    /// Zero: the code is longer than eight bits.
    length: u8,
}

struct Table {
    short: [Short; 256],
    /// By length: the first code, right aligned.
    first: [u32; LONGEST + 1],
    /// By length: one past the last code, aligned to the left of 32 bits.
    limit: [u32; LONGEST + 1],
    /// By length: where its symbols begin in `symbols`.
    start: [u16; LONGEST + 1],
    /// All symbols, ordered by code.
    symbols: [u16; 257],
}

static TABLE: Table = build();

const fn build() -> Table {
    let mut table = Table {
        short: [Short { symbol: 0, length: 0 }; 256],
        first: [0; LONGEST + 1],
        limit: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let mut code: u32 = 0;
    let mut placed: usize = 0;
    let mut length = 1;
    while length <= LONGEST {
        code <<= 1;
        table.first[length] = code;
        table.start[length] = placed as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                table.symbols[placed] = symbol as u16;
                placed += 1;
                if length <= 8 {
                    let from = (code << (8 - length)) as usize;
                    let mut at = from;
                    while at < from + (1 << (8 - length)) {
                        table.short[at] = Short { symbol: symbol as u8, length: length as u8 };
                        at += 1;
                    }
                }
                code += 1;
            }
            symbol += 1;
        }
        // The code is complete, so only the longest length reaches past 32 bits, where no limit is asked for.
        table.limit[length] = if length < LONGEST { code << (32 - length) } else { u32::MAX };
        length += 1;
    }
    table
}

/// RFC 7541 appendix B: bits in the code of each octet, then of EOS.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

#[cfg(test)]
mod tests {
    use fluke_hpack::huffman::HuffmanDecoder;

    use super::*;

    /// Encodes by the same canonical order; the published decoder must understand it.
    fn encode(text: &[u8]) -> Vec<u8> {
        let (mut out, mut window, mut bits) = (Vec::new(), 0u64, 0u32);
        for &byte in text {
            let length = u32::from(LENGTHS[usize::from(byte)]);
            let start = usize::from(TABLE.start[length as usize]);
            let rank = TABLE.symbols[start..].iter().position(|&symbol| symbol == u16::from(byte)).unwrap();
            let code = u64::from(TABLE.first[length as usize]) + rank as u64;
            window = window << length | code;
            bits += length;
            while bits >= 8 {
                out.push((window >> (bits - 8)) as u8);
                bits -= 8;
                window &= (1 << bits) - 1;
            }
        }
        if bits > 0 {
            out.push((window << (8 - bits)) as u8 | ((1u16 << (8 - bits)) - 1) as u8);
        }
        out
    }

    #[test]
    fn every_octet_reads_the_same_here_and_in_the_published_decoder() {
        for octet in 0..=255u8 {
            for text in [vec![octet], vec![octet; 9], vec![b'a', octet, 0, octet, b'z']] {
                let coded = encode(&text);
                let mut ours = Vec::new();
                decode(&coded, &mut ours).unwrap();
                assert_eq!(ours, text);
                assert_eq!(HuffmanDecoder::new().decode(&coded).unwrap(), text);
            }
        }
    }

    #[test]
    fn the_examples_of_rfc_7541_appendix_c_4_are_read() {
        let examples: [(&[u8], &[u8]); 3] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], b"www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], b"no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], b"custom-value"),
        ];
        for (coded, text) in examples {
            let mut out = Vec::new();
            decode(coded, &mut out).unwrap();
            assert_eq!(out, text);
        }
    }

    #[test]
    fn long_padding_padding_of_zeros_and_eos_are_refused() {
        for coded in [&[0xff][..], &[0xff, 0xff, 0xff, 0xff], &[0b0001_1000], &[0x00, 0x00]] {
            assert_eq!(decode(coded, &mut Vec::new()), Err(BadHuffman), "{coded:x?}");
        }
    }

    #[test]
    fn whatever_the_bytes_the_answer_is_that_of_the_published_decoder() {
        let mut seed = 7u64;
        for _ in 0..3000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bytes = &seed.to_be_bytes()[..(seed >> 60) as usize % 8];
            let mut ours = Vec::new();
            let ours = decode(bytes, &mut ours).map(|()| ours).ok();
            assert_eq!(ours, HuffmanDecoder::new().decode(bytes).ok(), "{bytes:x?}");
        }
    }
}
