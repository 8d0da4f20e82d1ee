//! Calls between their turn and a connection.
//!
//! That a call is being sent is on disk before its first byte, so that nobody's phone rings twice. Where a connection waits
//! for one, a call is promised to it, and journaled as being sent when it is taken: one sync. What has to wait (no
//! connection, no room, a circuit that is open) is not marked before a connection has come for it, which costs a sync
//! more: after a restart it is sent, where a marked one ends as outcome-unknown.

use std::collections::VecDeque;

/// The calls of a lane that are marked, are being marked, or will be.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Marked, and waiting for a connection: places of the shelf with their tickets.
    ready: VecDeque<(u32, u32)>,
    /// How many are being marked.
    marking: usize,
    /// How many are being journaled as calls that are sent at once.
    promised: usize,
    /// How many more the connection that came last would have taken.
    wanted: usize,
}

impl Calls {
    /// Whether one more call may be journaled as being sent; nobody may be waiting for his turn. Taken back by
    /// [`Self::kept`].
    pub(super) fn promise(&mut self) -> bool {
        let given = self.ready.len() + self.marking + self.promised < self.wanted.min(PROMISES_MAX);
        self.promised += usize::from(given);
        given
    }

    /// So many promised calls have come, or will not.
    pub(super) const fn kept(&mut self, promises: usize) {
        self.promised = self.promised.saturating_sub(promises);
    }

    /// A marked call waits for a connection.
    pub(super) fn push(&mut self, place: (u32, u32)) {
        self.ready.push_back(place);
    }

    /// The marked call that is next.
    pub(super) fn pop(&mut self) -> Option<(u32, u32)> {
        self.ready.pop_front()
    }

    /// Whether marked calls wait.
    pub(super) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many calls are to be marked for a connection with room for so many more.
    pub(super) const fn markable(&self, room: usize) -> usize {
        room.saturating_sub(self.marking + self.promised)
    }

    /// So many are being marked from now on.
    pub(super) const fn mark(&mut self, count: usize) {
        self.marking += count;
    }

    /// So many are marked now, or could not be.
    pub(super) const fn marked(&mut self, count: usize) {
        self.marking = self.marking.saturating_sub(count);
    }

    /// A connection came and would have taken `wanted` more.
    pub(super) const fn came(&mut self, wanted: usize) {
        self.wanted = wanted;
    }
}

/// So many calls at most are marked for a connection that has died since it came: when the process dies as well before
/// another one takes them, they end as outcome-unknown.
const PROMISES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_promised_than_a_connection_has_asked_for() {
        let mut calls = Calls::default();
        assert!(!calls.promise(), "nobody has come yet");
        calls.came(3);
        calls.push((1, 1));
        calls.mark(1);
        assert_eq!([(); 3].map(|()| calls.promise()), [true, false, false]);
        calls.kept(1);
        assert!(calls.promise());
        calls.marked(1);
        assert_eq!((calls.pop(), calls.are_ready()), (Some((1, 1)), false));
        assert_eq!([(); 3].map(|()| calls.promise()), [true, true, false]);
        // With room for five, two more are marked beside those three.
        assert_eq!((calls.markable(5), calls.markable(2)), (2, 0));
    }

    #[test]
    fn however_much_room_there_is_few_are_promised() {
        let mut calls = Calls::default();
        calls.came(100_000);
        assert_eq!((0..1000).filter(|_| calls.promise()).count(), PROMISES_MAX);
    }
}
