//! A short number that stands for a request, to tell a repetition from another request under the same id.

/// The fingerprint of `bytes`: the same in every version of Reveille, since it is kept in the journal.
///
/// It guards an origin against its own mistakes and nobody against malice: origins cannot see each other's ids.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    // Two multiplications for 16 bytes; a byte-wise hash would cost more than the insert it is for.
    let mut state = mix(bytes.len() as u64 ^ SEED[0], SEED[1]);
    let (pairs, rest) = bytes.as_chunks::<16>();
    for pair in pairs {
        state = absorb(state, pair);
    }
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    mix(absorb(state, &last), SEED[2])
}

fn absorb(state: u64, pair: &[u8; 16]) -> u64 {
    let pair = u128::from_le_bytes(*pair);
    mix(state ^ pair as u64 ^ SEED[2], (pair >> 64) as u64 ^ SEED[3] ^ state.rotate_left(29))
}

/// Both halves of the full product, folded.
const fn mix(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// The first 256 bits of the fraction of pi: nothing up our sleeve.
const SEED: [u64; 4] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn it_never_changes_between_versions() {
        assert_eq!(fingerprint(b""), EMPTY);
        assert_eq!(fingerprint(b"{\"id\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"}"), SAMPLE);
    }

    const EMPTY: u64 = 892_912_167_603_434_028;
    const SAMPLE: u64 = 12_474_439_373_156_448_791;

    #[test]
    fn one_changed_bit_or_one_more_zero_changes_it() {
        let text = [0x5a_u8; 70];
        let mut seen = HashSet::from([fingerprint(&text)]);
        for bit in 0..text.len() * 8 {
            let mut other = text;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(fingerprint(&other)), "bit {bit}");
        }
        for length in 0..64 {
            assert!(seen.insert(fingerprint(&vec![0; length])), "length {length}");
        }
    }
}
