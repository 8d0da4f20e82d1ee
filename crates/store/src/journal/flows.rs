//! Reading back one flow alone: where its open pushes are, without their requests, and then some of them with.
//!
//! A block holds pushes of all flows that came in one batch. So a flow is known by stretches, each the places that it
//! has in one block, and only blocks in which it has one are read for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;

use reveille_core::{PushId, Timestamp};

use super::block::{Block, Code, SLOTS, place, seq};
use super::view::{self, Names};
use super::{OpenEntry, OpenStretch, Stretch};
use crate::columns;

/// The open pushes with numbers in `after + 1..=to`, by flows; at most `blocks` blocks are looked at. Answers up to which
/// number everything has been seen.
pub(super) fn waiting(
    db: &Connection,
    after: u64,
    to: u64,
    blocks: usize,
) -> rusqlite::Result<(Vec<OpenStretch>, u64)> {
    // One view of the file for all of it: a push that becomes late meanwhile would be missed.
    let view = db.unchecked_transaction()?;
    let numbers = blocks_with_open(&view, after, to, blocks)?;
    let seen = match numbers.last() {
        Some(&last) if numbers.len() >= blocks => seq(last, SLOTS - 1).min(to),
        _ => to,
    };
    let (mut names, mut found) = (Names::default(), Vec::new());
    for no in numbers {
        let block = view::block(&view, no)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        for (origin_no, lane_no, stretch) in stretches(no, &block, after, seen) {
            let (origin, lane) = (names.origin(&view, origin_no)?, names.lane(&view, lane_no)?);
            found.push(OpenStretch { origin, lane, stretch });
        }
    }
    Ok((found, seen))
}

/// The first blocks in that range that may have an open push.
fn blocks_with_open(db: &Connection, after: u64, to: u64, blocks: usize) -> rusqlite::Result<Vec<u64>> {
    let (first, last) = (place(after.saturating_add(1)).0, place(to).0);
    let range = (columns::number(first), columns::number(last), columns::rows(blocks));
    let mut numbers = BTreeSet::new();
    let mut whole =
        db.prepare_cached("SELECT no FROM block_request WHERE no >= ?1 AND no <= ?2 ORDER BY no LIMIT ?3")?;
    for no in whole.query_map(range, |row| columns::number_at(row, 0))? {
        numbers.insert(no?);
    }
    let mut late = db.prepare_cached("SELECT seq FROM push_late WHERE seq > ?1 AND seq <= ?2 ORDER BY seq")?;
    let mut late = late.query((columns::number(after), columns::number(to)))?;
    // Late ones beyond the last block that is taken are left to the next call.
    let (mut extra, full) = (0, numbers.len() >= blocks);
    while let Some(row) = late.next()? {
        let (no, _) = place(columns::number_at(row, 0)?);
        if (full && numbers.last().is_some_and(|last| no > *last)) || extra >= blocks {
            break;
        }
        extra += usize::from(numbers.insert(no));
    }
    Ok(numbers.into_iter().take(blocks).collect())
}

/// What each flow has open in a block, in the order in which the flows are met.
fn stretches(no: u64, block: &Block, after: u64, to: u64) -> Vec<(u32, u32, Stretch)> {
    let mut found: Vec<(u32, u32, Stretch)> = Vec::new();
    for (slot, (key, state)) in block.keys.iter().zip(&block.states).enumerate() {
        let number = seq(no, slot);
        if number <= after || number > to || !is_open(state.code) {
            continue;
        }
        let flow = found.iter_mut().find(|(origin, lane, _)| (*origin, *lane) == (key.origin_no, key.lane_no));
        match flow {
            Some((_, _, stretch)) => stretch.add(number, key.expires),
            None => found.push((key.origin_no, key.lane_no, Stretch::of(number, key.expires))),
        }
    }
    found
}

const fn is_open(code: Code) -> bool {
    code.needs_request() || matches!(code, Code::Late)
}

/// The pushes of these stretches that are still open, in order.
pub(super) fn read(db: &Connection, stretches: &[Stretch]) -> rusqlite::Result<Vec<OpenEntry>> {
    let view = db.unchecked_transaction()?;
    let mut query = view.prepare_cached(
        "SELECT block.keys, block_state.states, block_request.requests
           FROM block
           JOIN block_state ON block_state.no = block.no
           LEFT JOIN block_request ON block_request.no = block.no
          WHERE block.no = ?1",
    )?;
    let mut late = view.prepare_cached("SELECT due, attempt, sending_since, request FROM push_late WHERE seq = ?1")?;
    let (mut names, mut entries) = (Names::default(), Vec::new());
    for stretch in stretches {
        let (no, _) = place(stretch.first);
        let mut rows = query.query([columns::number(no)])?;
        let Some(row) = rows.next()? else { continue };
        let block = Block::read(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?)?;
        let requests = row.get_ref(2)?.as_blob_or_null()?.unwrap_or_default();
        for number in stretch.numbers() {
            let slot = place(number).1;
            let (Some(key), Some(state)) = (block.keys.get(slot), block.states.get(slot)) else { continue };
            if !is_open(state.code) {
                continue;
            }
            let mut entry = OpenEntry {
                seq: number,
                origin: names.origin(&view, key.origin_no)?,
                id: PushId::from_u128(key.id),
                lane: names.lane(&view, key.lane_no)?,
                received: key.received,
                expires: key.expires,
                due: key.received,
                attempt: 0,
                sending: state.code == Code::Sending,
                request: Arc::from([]),
            };
            if state.code == Code::Late {
                late.query_row([columns::number(number)], |row| {
                    entry.due = columns::instant_at(row, 0)?;
                    entry.attempt = row.get(1)?;
                    entry.sending = columns::instant_or_none_at(row, 2)?.is_some();
                    entry.request = Arc::from(row.get_ref(3)?.as_blob()?);
                    Ok(())
                })?;
            } else {
                let request = requests.get(block.request_range(slot)).ok_or_else(|| columns::unknown(2))?;
                entry.request = request.into();
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The number that the next push accepted will have at the least.
pub(super) fn first_new(db: &Connection) -> rusqlite::Result<u64> {
    let newest = db.query_row("SELECT coalesce(max(no), 0) FROM block", (), |row| columns::number_at(row, 0))?;
    Ok(seq(newest + 1, 0))
}

impl Stretch {
    /// The stretch of one push.
    pub const fn of(number: u64, expires: Timestamp) -> Self {
        let (block, slot) = place(number);
        Self { first: seq(block, 0), mask: 1 << slot, soonest: expires }
    }

    /// Whether a push with that number can be one of it.
    pub const fn reaches(&self, number: u64) -> bool {
        seq(place(number).0, 0) == self.first
    }

    /// Whether some of its 64 numbers are that one or greater.
    pub const fn reaches_to(&self, number: u64) -> bool {
        self.first + SLOTS as u64 > number
    }

    /// Takes in a push that it reaches.
    pub fn add(&mut self, number: u64, expires: Timestamp) {
        debug_assert!(self.reaches(number), "{number} lies in another block");
        self.mask |= 1 << place(number).1;
        self.soonest = self.soonest.min(expires);
    }

    /// How many pushes it holds.
    pub const fn len(&self) -> usize {
        self.mask.count_ones() as usize
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.mask == 0
    }

    /// Takes out the first `most` of them; fewer than it has.
    pub fn split(&mut self, most: usize) -> Self {
        let (mut mask, mut left) = (0, self.mask);
        for _ in 0..most {
            mask |= left & left.wrapping_neg();
            left &= left.wrapping_sub(1);
        }
        self.mask = left;
        Self { mask, ..*self }
    }

    /// Leaves out those with smaller numbers.
    pub const fn since(mut self, number: u64) -> Self {
        if number > self.first {
            let skipped = number - self.first;
            self.mask = if skipped >= SLOTS as u64 { 0 } else { self.mask >> skipped << skipped };
        }
        self
    }

    /// What it has in common with another of the same 64 numbers, with the other's end; `None` if nothing.
    pub const fn common(&self, other: &Self) -> Option<Self> {
        let mask = self.mask & other.mask;
        if mask == 0 || self.first != other.first { None } else { Some(Self { mask, ..*other }) }
    }

    /// Whether all its 64 numbers come before those of another.
    pub const fn is_before(&self, other: &Self) -> bool {
        self.first < other.first
    }

    /// Whether it is of the same 64 numbers.
    pub const fn is_same_place(&self, other: &Self) -> bool {
        self.first == other.first
    }

    /// Their numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let (first, mask) = (self.first, self.mask);
        (0..SLOTS as u64).filter(move |slot| mask >> slot & 1 == 1).map(move |slot| first + slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reveille_core::Timestamp;

    #[test]
    fn a_stretch_knows_its_numbers_and_which_ends_first() {
        let at = Timestamp::from_millis;
        let mut stretch = Stretch::of(64 + 63, at(9));
        assert!(stretch.reaches(64) && !stretch.reaches(63) && !stretch.reaches(128));
        stretch.add(64, at(5));
        stretch.add(70, at(7));
        assert_eq!((stretch.numbers().collect::<Vec<_>>(), stretch.len()), (vec![64, 70, 127], 3));
        assert_eq!((stretch.first, stretch.soonest, stretch.is_empty()), (64, at(5), false));
        assert_eq!(stretch.since(65).numbers().collect::<Vec<_>>(), [70, 127]);
        assert!(stretch.since(128).is_empty() && stretch.since(0) == stretch);
        let front = stretch.split(2);
        assert_eq!((front.len(), stretch.numbers().collect::<Vec<_>>()), (2, vec![127]));
        assert_eq!((front.common(&stretch), front.common(&front)), (None, Some(front)));
    }
}
