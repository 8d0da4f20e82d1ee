//! Up to 64 pushes that were taken one after the other, as three values of one row each.
//!
//! A row of its own for each push costs several times what the push itself does: finding the place, building the row,
//! splitting and joining pages. So pushes that come in one batch are kept together. A push's number tells its block and
//! its slot in it.

use reveille_core::Timestamp;

use crate::columns;

/// Pushes of one block at most.
pub(super) const SLOTS: usize = 64;

/// The number of the push in that slot of that block.
pub(super) const fn seq(block: u64, slot: usize) -> u64 {
    block * SLOTS as u64 + slot as u64
}

/// The block and the slot of the push with that number.
pub(super) const fn place(seq: u64) -> (u64, usize) {
    (seq / SLOTS as u64, (seq % SLOTS as u64) as usize)
}

/// What never changes about a push, without its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Key {
    pub(super) origin_no: u32,
    pub(super) lane_no: u32,
    pub(super) id: u128,
    pub(super) received: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) request_bytes: u32,
}

/// What changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct State {
    pub(super) code: Code,
    /// When it came into that state.
    pub(super) at: Timestamp,
}

/// Where a push is, as far as a byte can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Code {
    /// Accepted by the provider, with nothing more to say.
    Accepted,
    /// Over, and how is told in `push_end`.
    Ended,
    /// Over, and its key is free again.
    Forgotten,
    /// Not over, and all that changes about it is in `push_late`, with its request.
    Late,
    /// Not over, its request is in the block.
    Open,
    /// The same, and its first byte may have gone out.
    Sending,
}

impl Code {
    /// Whether the request in the block is still needed.
    pub(super) const fn needs_request(self) -> bool {
        match self {
            Self::Open | Self::Sending => true,
            Self::Accepted | Self::Ended | Self::Forgotten | Self::Late => false,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Sending => 1,
            Self::Late => 2,
            Self::Accepted => 3,
            Self::Ended => 4,
            Self::Forgotten => 5,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Open,
            1 => Self::Sending,
            2 => Self::Late,
            3 => Self::Accepted,
            4 => Self::Ended,
            5 => Self::Forgotten,
            _ => return None,
        })
    }
}

/// The keys and states of one block.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Block {
    pub(super) keys: Vec<Key>,
    pub(super) states: Vec<State>,
}

impl Block {
    /// How many requests are still needed.
    pub(super) fn needed(&self) -> usize {
        self.states.iter().filter(|state| state.code.needs_request()).count()
    }

    /// Where the request of that slot stands among the block's requests.
    pub(super) fn request_range(&self, slot: usize) -> std::ops::Range<usize> {
        let before: usize = self.keys[..slot].iter().map(|key| key.request_bytes as usize).sum();
        before..before + self.keys[slot].request_bytes as usize
    }

    /// The keys as they are stored.
    pub(super) fn key_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.keys.len() * KEY_BYTES);
        for key in &self.keys {
            bytes.extend_from_slice(&key.origin_no.to_le_bytes());
            bytes.extend_from_slice(&key.lane_no.to_le_bytes());
            bytes.extend_from_slice(&key.id.to_be_bytes());
            bytes.extend_from_slice(&key.received.millis().to_le_bytes());
            bytes.extend_from_slice(&key.expires.millis().to_le_bytes());
            bytes.extend_from_slice(&key.request_bytes.to_le_bytes());
        }
        bytes
    }

    /// The states as they are stored; always as long for the same block, so that the row is written over in place.
    pub(super) fn state_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.states.len() * STATE_BYTES);
        for state in &self.states {
            bytes.push(state.code.byte());
            bytes.extend_from_slice(&state.at.millis().to_le_bytes());
        }
        bytes
    }

    /// The block that was stored as these bytes.
    pub(super) fn read(keys: &[u8], states: &[u8]) -> rusqlite::Result<Self> {
        let (keys, keys_left) = keys.as_chunks::<KEY_BYTES>();
        let (states, states_left) = states.as_chunks::<STATE_BYTES>();
        let whole = keys_left.is_empty() && states_left.is_empty() && keys.len() == states.len();
        if !whole || keys.len() > SLOTS {
            return Err(columns::unknown(0));
        }
        let states = states.iter().map(read_state).collect::<Option<_>>().ok_or_else(|| columns::unknown(1))?;
        Ok(Self { keys: keys.iter().map(read_key).collect(), states })
    }
}

/// The keys alone of a block that was stored as these bytes.
pub(super) fn read_keys(keys: &[u8]) -> rusqlite::Result<impl Iterator<Item = Key>> {
    let (keys, left) = keys.as_chunks::<KEY_BYTES>();
    if left.is_empty() { Ok(keys.iter().map(read_key)) } else { Err(columns::unknown(0)) }
}

fn read_key(bytes: &[u8; KEY_BYTES]) -> Key {
    Key {
        origin_no: u32::from_le_bytes(part(bytes, 0)),
        lane_no: u32::from_le_bytes(part(bytes, 4)),
        id: u128::from_be_bytes(part(bytes, 8)),
        received: Timestamp::from_millis(u64::from_le_bytes(part(bytes, 24))),
        expires: Timestamp::from_millis(u64::from_le_bytes(part(bytes, 32))),
        request_bytes: u32::from_le_bytes(part(bytes, 40)),
    }
}

fn read_state(bytes: &[u8; STATE_BYTES]) -> Option<State> {
    Some(State { code: Code::of(bytes[0])?, at: Timestamp::from_millis(u64::from_le_bytes(part(bytes, 1))) })
}

/// `N` bytes from `start` on; callers stay within the array.
fn part<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[start..start + N]);
    part
}

const KEY_BYTES: usize = 44;
const STATE_BYTES: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(pushes: u32) -> Block {
        let at = Timestamp::from_millis;
        let codes = [Code::Accepted, Code::Ended, Code::Forgotten, Code::Late, Code::Open, Code::Sending];
        let keys = (0..pushes).map(|n| Key {
            origin_no: n,
            lane_no: u32::MAX - n,
            id: u128::MAX / (u128::from(n) + 1),
            received: at(u64::from(n) * 3),
            expires: at(u64::MAX),
            request_bytes: n * 10,
        });
        let states = (0..pushes).map(|n| State { code: codes[n as usize % 6], at: at(1 << (n % 60)) });
        Block { keys: keys.collect(), states: states.collect() }
    }

    #[test]
    fn a_block_reads_back_as_it_was_stored() {
        for pushes in [0, 1, 6, 64] {
            let block = block(pushes);
            assert_eq!(Block::read(&block.key_bytes(), &block.state_bytes()).unwrap(), block);
        }
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        let (keys, states) = (block(3).key_bytes(), block(3).state_bytes());
        assert!(Block::read(&keys[1..], &states).is_err());
        assert!(Block::read(&keys, &states[1..]).is_err());
        assert!(Block::read(&keys, &block(2).state_bytes()).is_err());
        assert!(Block::read(&block(65).key_bytes(), &block(65).state_bytes()).is_err());
        let mut unknown = states;
        unknown[0] = 9;
        assert!(Block::read(&keys, &unknown).is_err());
    }

    #[test]
    fn each_request_stands_behind_those_before_it() {
        let block = block(4);
        assert_eq!((0..4).map(|slot| block.request_range(slot)).collect::<Vec<_>>(), [0..0, 0..10, 10..30, 30..60]);
        assert_eq!(block.needed(), 0);
    }

    #[test]
    fn numbers_tell_their_place_and_grow_with_it() {
        for (block, slot) in [(1, 0), (1, 63), (2, 0), (1 << 50, 17)] {
            assert_eq!(place(seq(block, slot)), (block, slot));
        }
        assert!(seq(1, 63) < seq(2, 0));
    }
}
