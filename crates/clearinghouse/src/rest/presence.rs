//! What the listener knows of each connection: whether somebody is known on it, whether it does anything, and which ones
//! go first when there is no room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// One connection.
#[derive(Debug)]
pub(super) struct Presence {
    /// Whether the last one who asked for something was let in.
    known: AtomicBool,
    under_way: AtomicUsize,
    /// When the last request began or ended.
    last: Mutex<Instant>,
    /// Cancelled when its room is needed for others.
    gone: CancellationToken,
}

/// One request's time on its connection.
pub(super) struct Busy(Arc<Presence>);

impl Presence {
    fn new() -> Self {
        let (known, under_way) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { known, under_way, last: Mutex::new(Instant::now()), gone: CancellationToken::new() }
    }

    /// Whoever asks is somebody, or is not any more.
    pub(super) fn is_known(&self, known: bool) {
        self.known.store(known, Ordering::Relaxed);
    }

    /// A request begins; it ends when what is returned is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        *self.last.lock() = Instant::now();
        Busy(Arc::clone(self))
    }

    /// From when on nothing has been asked for so long, if nothing is asked until then.
    pub(super) fn idle_from(&self, pause: Duration) -> Instant {
        *self.last.lock() + pause
    }

    /// Whether nothing is under way, and nothing has been for so long.
    pub(super) fn is_idle(&self, pause: Duration) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0 && Instant::now() >= self.idle_from(pause)
    }

    /// Waits until the room is needed for others.
    pub(super) async fn turned_out(&self) {
        self.gone.cancelled().await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.last.lock() = Instant::now();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections that there are, in the order in which they came: as many as there are seats.
#[derive(Clone, Debug, Default)]
pub(super) struct Presences(Arc<Mutex<Present>>);

#[derive(Debug, Default)]
struct Present {
    next: u64,
    all: BTreeMap<u64, Arc<Presence>>,
}

/// A connection on the list; off it when dropped.
pub(super) struct Entry {
    presences: Presences,
    number: u64,
    pub(super) presence: Arc<Presence>,
}

impl Presences {
    /// One that has come.
    pub(super) fn enter(&self) -> Entry {
        let presence = Arc::new(Presence::new());
        let mut present = self.0.lock();
        let number = present.next;
        present.next += 1;
        present.all.insert(number, Arc::clone(&presence));
        drop(present);
        Entry { presences: self.clone(), number, presence }
    }

    /// Turns out the one that has been here longest without being known; whether there was one.
    pub(super) fn turn_out(&self) -> bool {
        let present = self.0.lock();
        let stranger = present.all.values().find(|one| !one.known.load(Ordering::Relaxed) && !one.gone.is_cancelled());
        stranger.inspect(|one| one.gone.cancel()).is_some()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.presences.0.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_known_makes_room_the_longest_here_first_and_who_is_known_never_does() {
        let presences = Presences::default();
        let entries: Vec<Entry> = (0..4).map(|_| presences.enter()).collect();
        entries[0].presence.is_known(true);
        entries[2].presence.is_known(true);
        entries[2].presence.is_known(false);
        let gone = || entries.iter().map(|entry| entry.presence.gone.is_cancelled()).collect::<Vec<_>>();
        assert!(presences.turn_out());
        assert_eq!(gone(), [false, true, false, false]);
        assert!(presences.turn_out() && presences.turn_out() && !presences.turn_out());
        assert_eq!(gone(), [false, true, true, true]);
        drop(entries);
        assert!(presences.0.lock().all.is_empty());
    }

    #[test]
    fn a_connection_is_idle_when_nothing_is_under_way_and_nothing_was_for_long_enough() {
        let presence = Arc::new(Presence::new());
        assert!(presence.is_idle(Duration::ZERO) && !presence.is_idle(Duration::from_secs(60)));
        let busy = [presence.busy(), presence.busy()];
        let [one, other] = busy;
        drop(one);
        assert!(!presence.is_idle(Duration::ZERO));
        drop(other);
        assert!(presence.is_idle(Duration::ZERO));
    }
}
