//! Where connections take pushes from: what was offered, first come, first served, up to a bound; and behind it the
//! lane's supply, which is asked when a connection has room and not before. So no push stands in a row here while the
//! supply could still let another go first.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::notification::{Notification, Supply};

/// A lane's queue. Connections that find it empty leave their waker, and each offer wakes one of them.
pub(super) struct Queue {
    max: usize,
    inner: Mutex<Inner>,
    supply: OnceLock<Arc<dyn Supply>>,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Waiting>,
    idle: Vec<(usize, Waker)>,
    open: bool,
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
            self.wake();
        }
    }

    /// Wakes one idle connection: the supply has something.
    pub(super) fn wake(&self) {
        let woken = self.inner.lock().idle.pop();
        if let Some((_, waker)) = woken {
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
        let woken = inner.idle.pop();
        drop(inner);
        if let Some((_, waker)) = woken {
            waker.wake();
        }
        Ok(())
    }

    /// Moves up to `room` pushes into `into`: what was offered first, then from the supply. If there is none, `waker`
    /// is kept under the number of its connection and woken when one comes.
    pub(super) fn take(&self, room: usize, into: &mut VecDeque<Waiting>, connection: usize, waker: &Waker) {
        // The supply is asked under this lock, and rings only after it has let go of its own: whoever finds nothing is
        // on the list before the ring can come.
        let mut inner = self.inner.lock();
        let count = room.min(inner.waiting.len());
        into.extend(inner.waiting.drain(..count));
        let mut more = !inner.waiting.is_empty();
        if count < room
            && inner.open
            && let Some(supply) = self.supply.get()
        {
            let since = Instant::now();
            more = supply.take(room - count, &mut |push| into.push_back(Waiting { push, since }));
        }
        // A bell that rang for a connection which is at work, and may be full by now, would be lost.
        inner.idle.retain(|(idle, _)| *idle != connection);
        // What one connection has no room for, another may have.
        let woken = if more { inner.idle.pop() } else { None };
        if into.is_empty() {
            inner.wait(connection, waker);
        }
        drop(inner);
        if let Some((_, waker)) = woken {
            waker.wake();
        }
    }

    /// Keeps `waker` without taking anything: the connection cannot send yet.
    pub(super) fn wait(&self, connection: usize, waker: &Waker) {
        self.inner.lock().wait(connection, waker);
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
        for (connection, waker) in idle {
            if Some(connection) != gone {
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
    fn wait(&mut self, connection: usize, waker: &Waker) {
        match self.idle.iter_mut().find(|(known, _)| *known == connection) {
            Some((_, kept)) => kept.clone_from(waker),
            None => self.idle.push((connection, waker.clone())),
        }
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
        queue.take(1, &mut taken, 0, Waker::noop());
        assert_eq!((queue.room(), queue.len()), (1, 1));
        queue.close();
        assert_eq!((queue.offer(push(3), Instant::now()).unwrap_err().key, queue.room()), (3, 0));
    }

    #[test]
    fn what_is_given_back_keeps_its_place_in_front() {
        let queue = Queue::new(9);
        (1..=4).for_each(|key| queue.offer(push(key), Instant::now()).unwrap());
        let mut taken = VecDeque::new();
        queue.take(3, &mut taken, 0, Waker::noop());
        taken.pop_front();
        queue.give_back(&mut taken);
        queue.take(9, &mut taken, 0, Waker::noop());
        assert_eq!(keys(taken), [2, 3, 4]);
    }

    #[test]
    fn each_offer_wakes_one_idle_connection_and_none_twice() {
        let queue = Queue::new(9);
        let ((first, first_waker), (second, second_waker)) = (bell(), bell());
        let mut none = VecDeque::new();
        queue.take(9, &mut none, 0, &first_waker);
        queue.take(9, &mut none, 0, &first_waker);
        queue.take(9, &mut none, 1, &second_waker);
        let rung = || first.0.load(Ordering::Relaxed) + second.0.load(Ordering::Relaxed);
        for (key, expected) in [(1, 1), (2, 2), (3, 2)] {
            queue.offer(push(key), Instant::now()).unwrap();
            assert_eq!(rung(), expected);
        }
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
        fn take(&self, room: usize, give: &mut dyn FnMut(Arc<Notification>)) -> bool {
            let mut numbers = self.0.lock();
            for key in numbers.by_ref().take(room) {
                give(Arc::new(push(key)));
            }
            !numbers.is_empty()
        }
    }

    #[test]
    fn a_connection_gets_what_was_offered_and_then_as_much_of_the_supply_as_it_has_room_for() {
        let queue = Queue::new(9);
        queue.serve(Arc::new(Numbers(Mutex::new(1..10))));
        queue.offer(push(100), Instant::now()).unwrap();
        let mut taken = VecDeque::new();
        queue.take(4, &mut taken, 0, Waker::noop());
        assert_eq!(keys(std::mem::take(&mut taken)), [100, 1, 2, 3]);
        queue.take(9, &mut taken, 0, Waker::noop());
        assert_eq!((keys(taken), queue.len()), (vec![4, 5, 6, 7, 8, 9], 0));
    }

    #[test]
    fn who_leaves_some_of_the_supply_wakes_another_and_who_finds_none_waits() {
        let queue = Queue::new(9);
        let ((first, first_waker), (second, second_waker)) = (bell(), bell());
        let mut taken = VecDeque::new();
        queue.take(9, &mut taken, 1, &second_waker);
        queue.serve(Arc::new(Numbers(Mutex::new(1..4))));
        assert_eq!(second.0.load(Ordering::Relaxed), 1, "whoever waits already is told of the supply");
        queue.take(0, &mut taken, 1, &second_waker);
        queue.take(2, &mut taken, 0, &first_waker);
        assert_eq!((taken.len(), second.0.load(Ordering::Relaxed)), (2, 2));
        queue.take(9, &mut taken, 1, &second_waker);
        assert_eq!(taken.len(), 3);
        taken.clear();
        queue.take(9, &mut taken, 0, &first_waker);
        queue.wake();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (1, 2));
    }

    #[test]
    fn a_closed_queue_takes_nothing_more_from_the_supply() {
        let queue = Queue::new(9);
        queue.serve(Arc::new(Numbers(Mutex::new(1..10))));
        queue.close();
        let mut taken = VecDeque::new();
        queue.take(9, &mut taken, 0, Waker::noop());
        assert_eq!(taken.len(), 0);
    }
}
