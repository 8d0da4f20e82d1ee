//! The streams of a connection: numbers rise by two and most end in the order in which they began, so that a stream is
//! found by counting from the oldest.

use std::collections::VecDeque;

use super::Answer;

/// The open streams.
pub(super) struct Streams<T> {
    /// The number of the stream at the front of `places`.
    first: u32,
    /// By number: the slot of an open stream, or [`GONE`]. The front is never gone.
    places: VecDeque<u32>,
    slots: Vec<Option<Stream<T>>>,
    free: Vec<u32>,
}

/// A request under way.
pub(super) struct Stream<T> {
    pub(super) cargo: T,
    /// How much we may still send on it. Negative after the peer has made windows smaller (RFC 9113 §6.9.2).
    pub(super) send_window: i64,
    /// What of the body the windows hold back.
    pub(super) unsent: Vec<u8>,
    /// The answer as far as it has come. Its status is 0 before that.
    pub(super) answer: Answer,
    /// How long the answer says that its body is.
    pub(super) length: Option<u64>,
    /// What the peer has used of the stream's window.
    pub(super) used: i64,
    /// How many bytes of the connection stand before its first.
    pub(super) at: u64,
}

impl<T> Streams<T> {
    pub(super) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many more can be opened: numbers end (RFC 9113 §5.1.1), and one that is never answered must not let the list
    /// of those after it grow for ever.
    pub(super) fn room(&self) -> usize {
        let numbers = (NUMBER_MAX + 2).saturating_sub(self.next()) / 2;
        PLACES_MAX.saturating_sub(self.places.len()).min(numbers as usize)
    }

    pub(super) fn has_numbers(&self) -> bool {
        self.next() <= NUMBER_MAX
    }

    /// The number of the stream that is opened next. What is not below it is idle.
    pub(super) fn next(&self) -> u32 {
        self.first + 2 * self.places.len() as u32
    }

    /// Whether a stream of this number was never opened by us (RFC 9113 §5.1: idle). The peer opens none.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        id.is_multiple_of(2) || id >= self.next()
    }

    pub(super) fn open(&mut self, cargo: T, answer: Answer, send_window: i64, at: u64) -> u32 {
        let stream = Stream { cargo, send_window, unsent: Vec::new(), answer, length: None, used: 0, at };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
        };
        self.slots[slot as usize] = Some(stream);
        let id = self.next();
        self.places.push_back(slot);
        id
    }

    fn slot(&self, id: u32) -> Option<usize> {
        let at = id.checked_sub(self.first)? / 2;
        let slot = *self.places.get(at as usize).filter(|_| !id.is_multiple_of(2))?;
        (slot != GONE).then_some(slot as usize)
    }

    pub(super) fn at(&mut self, id: u32) -> Option<&mut Stream<T>> {
        let slot = self.slot(id)?;
        self.slots[slot].as_mut()
    }

    pub(super) fn close(&mut self, id: u32) -> Option<Stream<T>> {
        let slot = self.slot(id)?;
        let stream = self.slots[slot].take();
        self.free.push(slot as u32);
        self.places[((id - self.first) / 2) as usize] = GONE;
        while self.places.front() == Some(&GONE) {
            self.places.pop_front();
            self.first += 2;
        }
        stream
    }

    pub(super) fn oldest(&self) -> Option<&T> {
        let slot = *self.places.front()?;
        self.slots[slot as usize].as_ref().map(|stream| &stream.cargo)
    }

    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Stream<T>> {
        self.slots.iter_mut().flatten()
    }

    /// The numbers of the open streams above `last`.
    pub(super) fn above(&self, last: u32) -> Vec<u32> {
        self.ids().filter(|id| *id > last).collect()
    }

    fn ids(&self) -> impl Iterator<Item = u32> {
        (self.first..).step_by(2).zip(&self.places).filter(|(_, slot)| **slot != GONE).map(|(id, _)| id)
    }

    /// Closes those that `which` points at.
    pub(super) fn take_if(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<(u32, T)> {
        let ids: Vec<u32> = self.ids().collect();
        let mut taken = Vec::new();
        for id in ids {
            if self.at(id).is_some_and(|stream| which(&stream.cargo))
                && let Some(stream) = self.close(id)
            {
                taken.push((id, stream.cargo));
            }
        }
        taken
    }

    /// Closes all, in their order.
    pub(super) fn take_all(&mut self) -> Vec<Stream<T>> {
        let ids: Vec<u32> = self.ids().collect();
        ids.into_iter().filter_map(|id| self.close(id)).collect()
    }

    #[cfg(test)]
    pub(super) fn begin_at(first: u32) -> Self {
        Self { first, ..Self::default() }
    }
}

impl<T> Default for Streams<T> {
    fn default() -> Self {
        // RFC 9113 §5.1.1: a client's streams have odd numbers.
        Self { first: 1, places: VecDeque::new(), slots: Vec::new(), free: Vec::new() }
    }
}

/// In `places`: the stream has ended.
const GONE: u32 = u32::MAX;
/// RFC 9113 §5.1.1: the last number.
const NUMBER_MAX: u32 = 0x7fff_ffff;
/// From the oldest stream that is open to the newest, at most.
const PLACES_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn open(streams: &mut Streams<char>, cargo: char) -> u32 {
        streams.open(cargo, Answer::default(), 0, 0)
    }

    #[test]
    fn streams_are_found_by_their_number_whatever_ends_first() {
        let mut streams = Streams::default();
        let ids: Vec<u32> = ('a'..='e').map(|cargo| open(&mut streams, cargo)).collect();
        assert_eq!(ids, [1, 3, 5, 7, 9]);
        assert_eq!(streams.close(5).unwrap().cargo, 'c');
        assert_eq!(streams.close(1).unwrap().cargo, 'a');
        assert_eq!((streams.count(), streams.oldest()), (3, Some(&'b')));
        assert_eq!(streams.close(3).unwrap().cargo, 'b');
        assert_eq!(streams.oldest(), Some(&'d'), "what had ended before it is skipped");
        assert!(streams.close(5).is_none() && streams.at(1).is_none() && streams.at(4).is_none());
        assert_eq!(open(&mut streams, 'f'), 11);
        assert_eq!(streams.at(11).unwrap().cargo, 'f');
        assert_eq!(streams.above(7), [9, 11]);
        assert_eq!(streams.take_all().into_iter().map(|stream| stream.cargo).collect::<String>(), "def");
        assert_eq!((streams.count(), streams.oldest()), (0, None));
    }

    #[test]
    fn only_numbers_that_we_have_used_are_not_idle() {
        let mut streams = Streams::default();
        open(&mut streams, 'a');
        for (id, idle) in [(1, false), (2, true), (3, true), (0x7fff_ffff, true)] {
            assert_eq!(streams.is_idle(id), idle, "{id}");
        }
    }

    #[test]
    fn numbers_come_to_an_end_and_one_that_is_never_answered_holds_back_the_rest() {
        let mut streams = Streams::begin_at(NUMBER_MAX - 2);
        assert_eq!((streams.room(), streams.has_numbers()), (2, true));
        assert_eq!(open(&mut streams, 'a'), NUMBER_MAX - 2);
        assert_eq!(open(&mut streams, 'b'), NUMBER_MAX);
        assert_eq!((streams.room(), streams.has_numbers()), (0, false));

        let mut streams = Streams::default();
        open(&mut streams, 'a');
        for _ in 1..PLACES_MAX {
            let id = open(&mut streams, 'b');
            streams.close(id);
        }
        assert_eq!((streams.count(), streams.room()), (1, 0));
        streams.close(1);
        assert_eq!(streams.room(), PLACES_MAX);
        assert_eq!(streams.slots.len(), 2, "slots are used again");
    }
}
