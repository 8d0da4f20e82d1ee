//! The streams of one connection, and the memory of those that ended early.

use std::collections::{HashMap, VecDeque};

use super::stream::Stream;

/// RFC 9113 §5.1.1: clients open odd numbers, always rising.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: HashMap<u32, Stream>,
    highest: u32,
    /// Streams reset by either side: frames which were under way then are not held against the peer (§5.1).
    reset: VecDeque<u32>,
    /// Everything up to here may have been reset and been forgotten.
    reset_forgotten: u32,
}

/// What a number stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Never opened.
    Idle,
    Open,
    /// Ended early: late frames are ignored.
    Reset,
    /// Ended in the ordinary way: late frames are a fault.
    Closed,
}

impl Streams {
    pub(super) fn state(&self, id: u32) -> State {
        if self.open.contains_key(&id) {
            State::Open
        } else if id > self.highest {
            State::Idle
        } else if id <= self.reset_forgotten || self.reset.contains(&id) {
            State::Reset
        } else {
            State::Closed
        }
    }

    /// The number is used now, whatever becomes of the request.
    pub(super) fn use_up(&mut self, id: u32) {
        self.highest = id;
    }

    pub(super) fn open(&mut self, id: u32, stream: Stream) {
        self.open.insert(id, stream);
    }

    pub(super) fn at(&mut self, id: u32) -> Option<&mut Stream> {
        self.open.get_mut(&id)
    }

    /// Ends a stream in the ordinary way.
    pub(super) fn close(&mut self, id: u32) {
        self.open.remove(&id);
    }

    /// Ends a stream early; says whether it was open.
    pub(super) fn reset(&mut self, id: u32) -> bool {
        if self.reset.len() == RESETS_REMEMBERED {
            let forgotten = self.reset.pop_front().unwrap_or_default();
            self.reset_forgotten = self.reset_forgotten.max(forgotten);
        }
        self.reset.push_back(id);
        self.open.remove(&id).is_some()
    }

    /// Open and half-closed streams, which count against the cap (§5.1.2).
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn highest(&self) -> u32 {
        self.highest
    }

    pub(super) fn ids_above(&self, last: u32) -> Vec<u32> {
        let mut ids: Vec<u32> = self.open.keys().copied().filter(|&id| id > last).collect();
        ids.sort_unstable();
        ids
    }

    /// All open streams, in no order.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (&u32, &mut Stream)> {
        self.open.iter_mut()
    }
}

const RESETS_REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::Headers;
    use super::*;

    #[test]
    fn a_number_is_idle_then_open_then_closed_or_reset() {
        let mut streams = Streams::default();
        assert_eq!(streams.state(1), State::Idle);
        for id in [1, 3] {
            streams.use_up(id);
            streams.open(id, Stream::new(Headers::default(), None, 0, 0));
        }
        assert_eq!((streams.state(1), streams.count()), (State::Open, 2));
        streams.close(1);
        assert!(streams.reset(3));
        assert_eq!((streams.state(1), streams.state(3), streams.state(5)), (State::Closed, State::Reset, State::Idle));
    }

    #[test]
    fn forgotten_resets_are_forgiven_rather_than_punished() {
        let mut streams = Streams::default();
        for n in 0..=RESETS_REMEMBERED as u32 {
            streams.use_up(2 * n + 1);
            streams.reset(2 * n + 1);
        }
        assert_eq!(streams.reset.len(), RESETS_REMEMBERED);
        assert_eq!(streams.state(1), State::Reset);
    }
}
