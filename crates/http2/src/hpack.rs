//! HPACK (RFC 7541): a decoder with its dynamic table, and an encoder that uses one for what every request repeats.
//!
//! Our own strings go without Huffman coding: it would save the wire a fifth of a request of some 700 bytes, and costs
//! both sides more time than all the rest of the coding.

mod decode;
mod encode;
mod huffman;
mod names;

pub use decode::{Decoder, SECTION_BYTES_MAX, Size};
pub use encode::{Encoder, put_field, put_status};

/// The header block cannot be read; the tables of both sides no longer agree (RFC 9113 §4.3: COMPRESSION_ERROR).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the header block cannot be read")]
pub struct BadBlock;

/// RFC 9113 §6.5.2: the usual SETTINGS_HEADER_TABLE_SIZE, which ours stays at, in bytes.
pub const TABLE_BYTES_USUAL: usize = 4096;

/// RFC 7541 §4.1: what an entry costs beside its name and value.
const ENTRY_BYTES: usize = 32;
