//! How a lane is, for status pages.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use reveille_core::Timestamp;

use super::gates::Broken;

/// How a lane is at this moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    /// In one word.
    pub state: State,
    /// Connections that take pushes.
    pub connections: usize,
    /// Pushes whose answer is awaited.
    pub in_flight: usize,
    /// Pushes that wait for a connection.
    pub queued: usize,
    /// What last went wrong with a connection or the credentials, as a sentence, and when.
    pub trouble: Option<(Timestamp, Box<str>)>,
    /// The provider's word for what it has against our credentials or the app's configuration, and since when, if it has
    /// accepted nothing since.
    pub refused: Option<(Timestamp, Box<str>)>,
    /// The circuit that keeps the lane from sending, if one is open.
    pub broken: Option<Broken>,
    /// By how much our clock differed from the provider's when they were last compared: more is ours ahead. Only a
    /// difference that matters.
    pub skew_secs: Option<i64>,
}

/// How a lane is, in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It takes no more, and waits for answers.
    Draining,
    /// It has at least one connection.
    Ready,
    /// It has not been connected yet.
    Starting,
    /// It has lost, or never got, all connections.
    Unreachable,
}

impl State {
    /// The stable lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Where the tasks of a lane write how they are.
#[derive(Debug, Default)]
pub(super) struct Board {
    connections: AtomicUsize,
    in_flight: AtomicUsize,
    tried: AtomicUsize,
    draining: AtomicUsize,
    trouble: Mutex<Option<(Timestamp, Box<str>)>>,
    refused: Mutex<Option<(Timestamp, Box<str>)>>,
    /// Whether `refused` holds anything, so that accepted pushes need not look.
    is_refused: AtomicBool,
    /// How far our clock is ahead of the provider's, if that matters; `NO_SKEW` if not.
    skew_secs: AtomicI64,
}

const NO_SKEW: i64 = 0;

impl Board {
    pub(super) fn health(&self, queued: usize) -> Health {
        let connections = self.connections.load(Ordering::Relaxed);
        let state = if self.draining.load(Ordering::Relaxed) > 0 {
            State::Draining
        } else if connections > 0 {
            State::Ready
        } else if self.tried.load(Ordering::Relaxed) > 0 {
            State::Unreachable
        } else {
            State::Starting
        };
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let (trouble, refused) = (self.trouble.lock().clone(), self.refused.lock().clone());
        let skew_secs = Some(self.skew_secs.load(Ordering::Relaxed)).filter(|secs| *secs != NO_SKEW);
        Health { state, connections, in_flight, queued, trouble, refused, broken: None, skew_secs }
    }

    /// What the comparison of clocks has shown. Answers whether it is news.
    pub(super) fn skewed(&self, secs: Option<i64>) -> bool {
        let secs = secs.unwrap_or(NO_SKEW);
        (self.skew_secs.swap(secs, Ordering::Relaxed) == NO_SKEW) != (secs == NO_SKEW)
    }

    /// One connection more that takes pushes.
    pub(super) fn opened(&self) {
        self.tried.store(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// One connection fewer.
    pub(super) fn retired(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// That many pushes were handed to a connection.
    pub(super) fn launched(&self, count: usize) -> usize {
        self.in_flight.fetch_add(count, Ordering::Relaxed) + count
    }

    /// That many have their outcome.
    pub(super) fn landed(&self, count: usize) -> usize {
        self.in_flight.fetch_sub(count, Ordering::Relaxed).saturating_sub(count)
    }

    pub(super) fn trouble(&self, now: Timestamp, sentence: impl Into<Box<str>>) {
        self.tried.store(1, Ordering::Relaxed);
        *self.trouble.lock() = Some((now, sentence.into()));
    }

    /// The provider refuses our credentials, or our topic. Since when it does is kept until it accepts a push. Answers whether
    /// that is news.
    pub(super) fn refused(&self, now: Timestamp, reason: &str) -> bool {
        let mut refused = self.refused.lock();
        let before = refused.replace((now, reason.into()));
        self.is_refused.store(true, Ordering::Release);
        let Some((since, _)) = before else { return true };
        *refused = Some((since, reason.into()));
        false
    }

    /// The provider has accepted a push, and so our credentials.
    pub(super) fn accepted(&self) {
        if self.is_refused.load(Ordering::Acquire) {
            *self.refused.lock() = None;
            self.is_refused.store(false, Ordering::Release);
        }
    }

    /// The sentence of the last trouble.
    pub(super) fn last_trouble(&self) -> Option<Box<str>> {
        self.trouble.lock().as_ref().map(|(_, sentence)| sentence.clone())
    }

    pub(super) fn draining(&self) {
        self.draining.store(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_the_connections() {
        let board = Board::default();
        let state = || board.health(0).state;
        assert_eq!(state(), State::Starting);
        board.opened();
        assert_eq!(state(), State::Ready);
        board.retired();
        assert_eq!(state(), State::Unreachable);
        board.draining();
        assert_eq!(state(), State::Draining);
    }

    #[test]
    fn a_refusal_of_the_credentials_stands_until_something_is_accepted() {
        let board = Board::default();
        board.accepted();
        assert!(board.refused(Timestamp::from_millis(5), "InvalidProviderToken"));
        assert!(!board.refused(Timestamp::from_millis(9), "TopicDisallowed"), "it was refused before");
        assert_eq!(board.health(0).refused, Some((Timestamp::from_millis(5), "TopicDisallowed".into())));
        board.accepted();
        assert_eq!(board.health(0).refused, None);
        assert!(board.refused(Timestamp::from_millis(10), "TopicDisallowed"));
    }

    #[test]
    fn the_last_trouble_is_remembered_with_its_time() {
        let board = Board::default();
        board.trouble(Timestamp::from_millis(5), "nobody answers");
        let health = board.health(3);
        assert_eq!((health.state, health.queued), (State::Unreachable, 3));
        assert_eq!(health.trouble, Some((Timestamp::from_millis(5), "nobody answers".into())));
    }
}
