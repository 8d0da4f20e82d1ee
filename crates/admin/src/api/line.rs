//! What is known of one connection while it lasts: who is at its other end, and whether he has shown it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Peer;

/// One connection, shared by its requests.
#[derive(Clone, Debug)]
pub(super) struct Line {
    peer: Peer,
    begun: Arc<AtomicBool>,
    known: Arc<AtomicBool>,
    /// The answer that is under way.
    sending: Arc<Mutex<Option<Sending>>>,
}

/// When an answer began to leave, and when something of it left last.
#[derive(Clone, Copy, Debug)]
struct Sending {
    begun: Instant,
    last: Instant,
}

impl Line {
    /// A connection without a request so far. A process of this machine is known from the beginning.
    pub(super) fn new(peer: Peer) -> Self {
        let known = matches!(peer, Peer::Local { .. });
        Self { peer, begun: Arc::default(), known: Arc::new(known.into()), sending: Arc::default() }
    }

    pub(super) const fn peer(&self) -> Peer {
        self.peer
    }

    /// The fields of a request have come.
    pub(super) fn begins(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Somebody has been let in over it.
    pub(super) fn knows(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Something of an answer leaves.
    pub(super) fn sends(&self) {
        let now = Instant::now();
        let mut sending = self.sending.lock();
        let begun = sending.map_or(now, |answer| answer.begun);
        *sending = Some(Sending { begun, last: now });
    }

    /// The answer has left, or nobody wants it any more.
    pub(super) fn has_sent(&self) {
        *self.sending.lock() = None;
    }

    /// For how long nothing of an answer that is under way has left.
    pub(super) fn stands_still(&self) -> Duration {
        self.sending.lock().map_or(Duration::ZERO, |answer| answer.last.elapsed())
    }

    /// For how long an answer has been under way.
    pub(super) fn has_been_sending(&self) -> Duration {
        self.sending.lock().map_or(Duration::ZERO, |answer| answer.begun.elapsed())
    }
}
