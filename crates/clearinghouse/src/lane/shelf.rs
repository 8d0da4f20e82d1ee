//! The open pushes that a lane has in memory, each at a numbered place.

use std::sync::Arc;

use reveille_core::Timestamp;
use reveille_providers::Notification;

/// One open push in memory.
pub(crate) struct Entry {
    /// Its number in the journal.
    pub(crate) seq: u64,
    /// When its token was first given to home, cut to the time of receipt.
    pub(crate) registered: Timestamp,
    /// How often sending it has failed.
    pub(crate) attempt: u32,
    /// What goes to the provider.
    pub(crate) push: Arc<Notification>,
    /// Whose it is.
    pub(super) flow: u32,
    pub(super) place: Place,
    /// Its ticket in the line, and that of whoever takes its place there.
    pub(super) ticket: u32,
    /// Whether a newer one with the same collapse key has come: then this one is not sent again.
    pub(super) superseded: bool,
    /// When it is to be sent, if not as soon as its turn comes.
    pub(super) due: Option<Timestamp>,
    /// Whether it is a call that is on disk as being sent, and that no connection has had since.
    pub(super) marked: bool,
    /// What pushes to one device have in common.
    pub(super) device: u64,
    /// The pushes to the same device that go before and after it: only the first is sent, or waits for that. A call is among
    /// them only until a connection has it.
    pub(super) before: Option<u32>,
    pub(super) after: Option<u32>,
    /// What pushes that may replace each other have in common; 0 for those that nothing replaces.
    pub(super) likeness: u64,
}

impl Entry {
    /// Whether it stands in the line with that ticket.
    pub(super) fn waits_with(&self, ticket: u32) -> bool {
        self.place == Place::Waiting && self.ticket == ticket
    }
}

/// Where a push is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// It is over; that is being written down.
    Ending,
    /// It waits until an older one to the same device is over, or until a connection has that if they are calls: it must not
    /// overtake it.
    Behind,
    /// It waits for its next attempt at this time.
    Later(Timestamp),
    /// A call: that it is about to be sent, or sent again, is being written down.
    Marking,
    /// A connection has it.
    UnderWay,
    /// It waits for its turn.
    Waiting,
}

impl Place {
    /// Whether it is certain that nobody is sending it at the moment.
    pub(super) const fn is_queued(self) -> bool {
        matches!(self, Self::Behind | Self::Later(_) | Self::Waiting)
    }
}

/// Places for pushes. A key tells the lane, the place, and which of those that have lain there is meant.
pub(super) struct Shelf {
    lane: u16,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    /// Rises with each push that is put here.
    generation: u16,
    entry: Option<Entry>,
}

impl Shelf {
    pub(super) const fn new(lane: u16) -> Self {
        Self { lane, slots: Vec::new(), free: Vec::new() }
    }

    /// How many lie here.
    pub(super) const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts a push at a free place; `make` is told its key.
    pub(super) fn put(&mut self, make: impl FnOnce(u64) -> Entry) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry: None });
            u32::try_from(self.slots.len() - 1).expect("the window is smaller than this")
        });
        self.replace(slot, make);
        slot
    }

    /// Puts a push in the place of another, which is answered.
    pub(super) fn replace(&mut self, slot: u32, make: impl FnOnce(u64) -> Entry) -> Option<Entry> {
        let place = &mut self.slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        let key = key(self.lane, place.generation, slot);
        place.entry.replace(make(key))
    }

    pub(super) fn key(&self, slot: u32) -> u64 {
        key(self.lane, self.slots[slot as usize].generation, slot)
    }

    /// The place of the push with that key, if it is still there.
    pub(super) fn find(&self, key: u64) -> Option<u32> {
        let slot = key as u32;
        let found = self.slots.get(slot as usize)?;
        (found.entry.is_some() && self.key(slot) == key).then_some(slot)
    }

    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.entry.as_mut()
    }

    pub(super) fn look(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.entry.as_ref()
    }

    /// All that lie here.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref())
    }

    /// Takes a push away.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.slots.get_mut(slot as usize)?.entry.take()?;
        self.free.push(slot);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT {
            // A flood has made it grow; it shall not stay so. Keys of the past are not found in a smaller shelf.
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
        Some(entry)
    }
}

const fn key(lane: u16, generation: u16, slot: u32) -> u64 {
    (lane as u64) << 48 | (generation as u64) << 32 | slot as u64
}

/// The number of the lane that a key is of.
pub(crate) const fn lane_of(key: u64) -> usize {
    (key >> 48) as usize
}

/// An empty shelf may keep so many places.
const KEPT: usize = 4096;
