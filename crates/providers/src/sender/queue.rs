//! Where connections take pushes from: what was offered, first come, first served, up to a bound; and behind it the
//! lane's supply, which is asked when a connection has room and not before. So no push stands in a row here while the
//! supply could still let another go first.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::notification::{Demand, Notification, Room, Supply};

/// A lane's queue. Connections that empty it leave their waker, and each offer wakes one of them.
pub(super) struct Queue {
    max: usize,
    inner: Mutex<Inner>,
    supply: OnceLock<Arc<dyn Supply>>,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Waiting>,
    idle: Vec<Idle>,
    open: bool,
}

/// A connection that has room, and found nobody to give it to.
#[derive(Debug)]
struct Idle {
    number: usize,
    waker: Waker,
    /// Whether all the room that it has is kept for organisations with little under way.
    is_kept: bool,
}

/// One push and since when it waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) push: Arc<Notification>,
    pub(super) since: Instant,
}

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        let inner = Inner { waiting: VecDeque::new(), idle: Vec::new(), open: true };
        Self { max, inner: Mutex::new(inner), supply: OnceLock::new() }
    }

    /// Where pushes are to be had besides those that are offered. The first call counts.
    pub(super) fn serve(&self, supply: Arc<dyn Supply>) {
        if self.supply.set(supply).is_ok() {
            self.wake(Demand::Quiet);
        }
    }

    /// Wakes one idle connection that has room for whoever waits in the supply.
    pub(super) fn wake(&self, demand: Demand) {
        let woken = self.inner.lock().idle_for(demand);
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    #[expect(clippy::result_large_err, reason = "giving the push back is the point, and it is moved, not copied")]
    pub(super) fn offer(&self, push: Notification, now: Instant) -> Result<(), Notification> {
        let mut inner = self.inner.lock();
        if !inner.open || inner.waiting.len() >= self.max {
            return Err(push);
        }
        inner.waiting.push_back(Waiting { push: Arc::new(push), since: now });
        let woken = inner.idle_for(Demand::Quiet);
        drop(inner);
        if let Some(waker) = woken {
            waker.wake();
        }
        Ok(())
    }

    /// Moves as many pushes into `into` as there is room for: what was offered first, then from the supply, whose last
    /// places are kept. If places are left, `waker` is kept under the number of its connection and woken when one comes for
    /// whom they are: a connection that waits for answers takes others meanwhile. Answers whether more wait.
    pub(super) fn take(&self, room: Room, into: &mut VecDeque<Waiting>, connection: usize, waker: &Waker) -> bool {
        // The supply is asked under this lock, and rings only after it has let go of its own: whoever finds nothing is
        // on the list before the ring can come.
        let mut inner = self.inner.lock();
        let (had, count) = (into.len(), room.places.min(inner.waiting.len()));
        into.extend(inner.waiting.drain(..count));
        let mut demand = if inner.waiting.is_empty() { Demand::None } else { Demand::Quiet };
        if count < room.places
            && inner.open
            && let Some(supply) = self.supply.get()
        {
            let since = Instant::now();
            let room = Room { places: room.places - count, kept: room.kept };
            demand = supply.take(room, &mut |push| into.push_back(Waiting { push, since }));
        }
        // A bell that rang for a connection which is at work, and may be full by now, would be lost.
        inner.idle.retain(|idle| idle.number != connection);
        // What one connection has no room for, another may have.
        let woken = inner.idle_for(demand);
        let left = Room { places: room.places.saturating_sub(into.len() - had), kept: room.kept };
        if left.places > 0 {
            inner.wait(connection, waker, left.is_kept());
        }
        drop(inner);
        if let Some(waker) = woken {
            waker.wake();
        }
        demand != Demand::None
    }

    /// Keeps `waker` without taking anything: the connection cannot send yet.
    pub(super) fn wait(&self, connection: usize, waker: &Waker) {
        self.inner.lock().wait(connection, waker, false);
    }

    /// Puts back what was taken and not written, in its old order, in front.
    pub(super) fn give_back(&self, taken: &mut VecDeque<Waiting>) {
        let mut inner = self.inner.lock();
        while let Some(waiting) = taken.pop_back() {
            inner.waiting.push_front(waiting);
        }
    }

    /// Wakes every idle connection but `gone`, whose waker is thrown away.
    pub(super) fn nudge(&self, gone: Option<usize>) {
        let idle = std::mem::take(&mut self.inner.lock().idle);
        for Idle { number, waker, .. } in idle {
            if Some(number) != gone {
                waker.wake();
            }
        }
    }

    /// Takes out the pushes at the front that have waited since before `limit`.
    pub(super) fn overdue(&self, limit: Instant) -> Vec<Waiting> {
        let mut inner = self.inner.lock();
        let count = inner.waiting.iter().take_while(|waiting| waiting.since <= limit).count();
        inner.waiting.drain(..count).collect()
    }

    /// Since when the first one waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.inner.lock().waiting.front().map(|waiting| waiting.since)
    }

    /// Takes no more from now on.
    pub(super) fn close(&self) {
        self.inner.lock().open = false;
    }

    pub(super) fn len(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    pub(super) fn room(&self) -> usize {
        let inner = self.inner.lock();
        if inner.open { self.max.saturating_sub(inner.waiting.len()) } else { 0 }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("max", &self.max).field("waiting", &self.len()).finish_non_exhaustive()
    }
}

impl Inner {
    fn wait(&mut self, number: usize, waker: &Waker, is_kept: bool) {
        match self.idle.iter_mut().find(|idle| idle.number == number) {
            Some(idle) => {
                idle.waker.clone_from(waker);
                idle.is_kept = is_kept;
            }
            None => self.idle.push(Idle { number, waker: waker.clone(), is_kept }),
        }
    }

    /// Takes out an idle connection that has room for whoever waits, the one with room for everybody first.
    fn idle_for(&mut self, demand: Demand) -> Option<Waker> {
        let free = || self.idle.iter().rposition(|idle| !idle.is_kept);
        let found = match demand {
            Demand::None => None,
            Demand::Crowd => free(),
            Demand::Quiet => free().or_else(|| self.idle.len().checked_sub(1)),
        };
        Some(self.idle.swap_remove(found?).waker)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;
    use crate::notification::samples::message;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn bell() -> (Arc<Bell>, Waker) {
        let bell = Arc::new(Bell::default());
        (Arc::clone(&bell), Waker::from(bell))
    }

    fn push(key: u64) -> Notification {
        Notification { key, ..message() }
    }

    fn keys(taken: impl IntoIterator<Item = Waiting>) -> Vec<u64> {
        taken.into_iter().map(|waiting| waiting.push.key).collect()
    }

    #[test]
    fn a_full_or_closed_queue_gives_the_push_back() {
        let queue = Queue::new(2);
        queue.offer(push(1), Instant::now()).unwrap();
        queue.offer(push(2), Instant::now()).unwrap();
        assert_eq!(queue.offer(push(3), Instant::now()).unwrap_err().key, 3);
        let mut taken = VecDeque::new();
        queue.take(Room::for_all(1), &mut taken, 0, Waker::noop());
        assert_eq!((queue.room(), queue.len()), (1, 1));
        queue.close();
        assert_eq!((queue.offer(push(3), Instant::now()).unwrap_err().key, queue.room()), (3, 0));
    }

    #[test]
    fn what_is_given_back_keeps_its_place_in_front() {
        let queue = Queue::new(9);
        (1..=4).for_each(|key| queue.offer(push(key), Instant::now()).unwrap());
        let mut taken = VecDeque::new();
        queue.take(Room::for_all(3), &mut taken, 0, Waker::noop());
        taken.pop_front();
        queue.give_back(&mut taken);
        queue.take(Room::for_all(9), &mut taken, 0, Waker::noop());
        assert_eq!(keys(taken), [2, 3, 4]);
    }

    #[test]
    fn each_offer_wakes_one_idle_connection_and_none_twice() {
        let queue = Queue::new(9);
        let ((first, first_waker), (second, second_waker)) = (bell(), bell());
        let mut none = VecDeque::new();
        queue.take(Room::for_all(9), &mut none, 0, &first_waker);
        queue.take(Room::for_all(9), &mut none, 0, &first_waker);
        queue.take(Room::for_all(9), &mut none, 1, &second_waker);
        let rung = || first.0.load(Ordering::Relaxed) + second.0.load(Ordering::Relaxed);
        for (key, expected) in [(1, 1), (2, 2), (3, 2)] {
            queue.offer(push(key), Instant::now()).unwrap();
            assert_eq!(rung(), expected);
        }
    }

    #[test]
    fn a_connection_that_has_taken_some_and_has_room_left_is_woken_for_the_next() {
        let queue = Queue::new(9);
        let (bell, waker) = bell();
        let rung = || bell.0.load(Ordering::Relaxed);
        queue.serve(Arc::new(Numbers(Mutex::new(1..4))));
        let mut taken = VecDeque::new();
        assert!(!queue.take(Room { places: 4, kept: 1 }, &mut taken, 0, &waker));
        assert_eq!(taken.len(), 3);
        queue.wake(Demand::Crowd);
        assert_eq!(rung(), 0, "its last place is kept");
        queue.wake(Demand::Quiet);
        assert_eq!(rung(), 1);
        queue.offer(push(9), Instant::now()).unwrap();
        queue.take(Room { places: 1, kept: 1 }, &mut taken, 0, &waker);
        queue.wake(Demand::Quiet);
        assert_eq!((taken.len(), rung()), (4, 1), "it has no place left");
    }

    #[test]
    fn a_connection_that_goes_rings_for_the_others() {
        let queue = Queue::new(9);
        let ((first, first_waker), (second, second_waker)) = (bell(), bell());
        queue.wait(0, &first_waker);
        queue.wait(1, &second_waker);
        queue.nudge(Some(0));
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn only_what_has_waited_too_long_is_taken_out() {
        let (queue, start) = (Queue::new(9), Instant::now());
        queue.offer(push(1), start).unwrap();
        queue.offer(push(2), start + Duration::from_secs(2)).unwrap();
        let limit = start + Duration::from_secs(1);
        assert_eq!(queue.oldest(), Some(start));
        assert_eq!(keys(queue.overdue(limit)), [1]);
        assert_eq!(keys(queue.overdue(limit)), [0; 0]);
        assert_eq!(queue.len(), 1);
    }

    /// Gives out numbers from 1 to its end.
    struct Numbers(Mutex<std::ops::Range<u64>>);

    impl Supply for Numbers {
        fn take(&self, room: Room, give: &mut dyn FnMut(Arc<Notification>)) -> Demand {
            let mut numbers = self.0.lock();
            for key in numbers.by_ref().take(room.places - room.kept) {
                give(Arc::new(push(key)));
            }
            if numbers.is_empty() { Demand::None } else { Demand::Crowd }
        }
    }

    #[test]
    fn a_connection_gets_what_was_offered_and_then_as_much_of_the_supply_as_it_has_room_for() {
        let queue = Queue::new(9);
        queue.serve(Arc::new(Numbers(Mutex::new(1..10))));
        queue.offer(push(100), Instant::now()).unwrap();
        let mut taken = VecDeque::new();
        queue.take(Room::for_all(4), &mut taken, 0, Waker::noop());
        assert_eq!(keys(std::mem::take(&mut taken)), [100, 1, 2, 3]);
        queue.take(Room::for_all(9), &mut taken, 0, Waker::noop());
        assert_eq!((keys(taken), queue.len()), (vec![4, 5, 6, 7, 8, 9], 0));
    }

    #[test]
    fn who_leaves_some_of_the_supply_wakes_another_and_who_finds_none_waits() {
        let queue = Queue::new(9);
        let ((first, first_waker), (second, second_waker)) = (bell(), bell());
        let mut taken = VecDeque::new();
        queue.take(Room::for_all(9), &mut taken, 1, &second_waker);
        queue.serve(Arc::new(Numbers(Mutex::new(1..4))));
        assert_eq!(second.0.load(Ordering::Relaxed), 1, "whoever waits already is told of the supply");
        queue.wait(1, &second_waker);
        queue.take(Room::for_all(2), &mut taken, 0, &first_waker);
        assert_eq!((taken.len(), second.0.load(Ordering::Relaxed)), (2, 2));
        queue.take(Room::for_all(9), &mut taken, 1, &second_waker);
        assert_eq!(taken.len(), 3);
        taken.clear();
        queue.take(Room::for_all(9), &mut taken, 0, &first_waker);
        queue.wake(Demand::Crowd);
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (1, 2));
    }

    #[test]
    fn a_closed_queue_takes_nothing_more_from_the_supply() {
        let queue = Queue::new(9);
        queue.serve(Arc::new(Numbers(Mutex::new(1..10))));
        queue.close();
        let mut taken = VecDeque::new();
        queue.take(Room::for_all(9), &mut taken, 0, Waker::noop());
        assert_eq!(taken.len(), 0);
    }

    #[test]
    fn a_connection_whose_room_is_kept_is_woken_for_the_quiet_and_for_nobody_else() {
        let queue = Queue::new(9);
        let ((first, first_waker), (second, second_waker)) = (bell(), bell());
        let rung = || (first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed));
        queue.serve(Arc::new(Numbers(Mutex::new(1..10))));
        let mut taken = VecDeque::new();
        assert!(queue.take(Room { places: 3, kept: 3 }, &mut taken, 0, &first_waker), "more wait");
        assert_eq!(taken.len(), 0);
        queue.wake(Demand::Crowd);
        assert_eq!(rung(), (0, 0));
        queue.wait(1, &second_waker);
        queue.wake(Demand::Quiet);
        assert_eq!(rung(), (0, 1), "whoever has room for everybody comes first");
        queue.wake(Demand::Quiet);
        assert_eq!(rung(), (1, 1));
    }
}
