//! What the simulators remember: every push in order of arrival, bounded, and awaitable.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

/// What a recorder has to know about one provider's pushes.
pub trait Push: Clone + Send + 'static {
    /// The device's address, by which entries are looked up.
    fn token(&self) -> &str;
    /// About how many bytes the entry holds in memory.
    fn bytes(&self) -> usize;
    /// The status it was answered with, if it was.
    fn status(&self) -> Option<u16>;
    /// Whether it reached the simulated phone.
    fn delivered(&self) -> bool;
}

/// One remembered push.
#[derive(Clone, Debug, Serialize)]
pub struct Entry<P> {
    /// Rises by one with each request, from 1.
    pub seq: u64,
    /// When it came in, milliseconds since 1970 UTC by the simulator's clock.
    pub unix_ms: u64,
    #[serde(flatten)]
    pub push: P,
}

/// How much a recorder keeps. Counts are kept in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keep {
    /// Only counts: for benchmarks.
    CountOnly,
    /// The newest entries, bounded by number and by their bytes.
    Newest { entries_max: usize, bytes_max: usize },
}

impl Default for Keep {
    fn default() -> Self {
        Self::Newest { entries_max: 1_000_000, bytes_max: 512 << 20 }
    }
}

/// How many requests there were.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// All requests, accepted or not.
    pub received: u64,
    /// Those that reached the simulated phone.
    pub delivered: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
}

/// Which entries are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// Only entries with a greater sequence number.
    pub after: u64,
    /// Only entries of this token.
    pub token: Option<&'a str>,
    /// Only entries that reached the simulated phone.
    pub delivered: bool,
}

impl Query<'_> {
    fn matches<P: Push>(&self, entry: &Entry<P>) -> bool {
        entry.seq > self.after
            && self.token.is_none_or(|token| entry.push.token() == token)
            && (!self.delivered || entry.push.delivered())
    }
}

/// The memory of one simulator. In-process users await entries with [`Recorder::wait`].
pub struct Recorder<P> {
    keep: Keep,
    ring: Mutex<Ring<P>>,
    /// Rises with every change of the ring.
    changes: watch::Sender<u64>,
}

struct Ring<P> {
    /// Ascending and without gaps in `seq`.
    entries: VecDeque<Entry<P>>,
    bytes: usize,
    latest: u64,
    counts: Counts,
}

impl<P: Push> Recorder<P> {
    /// An empty recorder.
    pub fn new(keep: Keep) -> Self {
        let ring = Ring { entries: VecDeque::new(), bytes: 0, latest: 0, counts: Counts::default() };
        Self { keep, ring: Mutex::new(ring), changes: watch::Sender::new(0) }
    }

    /// The sequence number of the latest entry, 0 before the first.
    pub fn latest(&self) -> u64 {
        self.ring.lock().latest
    }

    /// How many requests there were.
    pub fn counts(&self) -> Counts {
        self.ring.lock().counts.clone()
    }

    /// The first `limit` entries that match, oldest first.
    pub fn entries(&self, query: Query<'_>, limit: usize) -> Vec<Entry<P>> {
        let ring = self.ring.lock();
        let start = ring.entries.partition_point(|entry| entry.seq <= query.after);
        ring.entries.range(start..).filter(|entry| query.matches(entry)).take(limit).cloned().collect()
    }

    /// The first entry that matches, as soon as there is one. Never with [`Keep::CountOnly`].
    pub async fn wait(&self, query: Query<'_>) -> Entry<P> {
        self.wait_until(|| self.entries(query, 1).pop()).await
    }

    /// Returns once so many pushes reached the simulated phone; works with [`Keep::CountOnly`] too.
    pub async fn wait_delivered(&self, pushes: u64) {
        self.wait_until(|| (self.ring.lock().counts.delivered >= pushes).then_some(())).await;
    }

    async fn wait_until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            // Marked as seen before looking, so that a change in between wakes us.
            changes.borrow_and_update();
            if let Some(found) = look() {
                return found;
            }
            // The sender is ours and lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    /// Remembers one push and answers its sequence number.
    pub(crate) fn append(&self, unix_ms: u64, push: P) -> u64 {
        let seq = {
            let mut guard = self.ring.lock();
            let ring = &mut *guard;
            ring.latest += 1;
            ring.counts.received += 1;
            ring.counts.settle(&push);
            if let Keep::Newest { entries_max, bytes_max } = self.keep {
                ring.bytes += push.bytes();
                ring.entries.push_back(Entry { seq: ring.latest, unix_ms, push });
                while ring.entries.len() > entries_max || ring.bytes > bytes_max {
                    let Some(oldest) = ring.entries.pop_front() else { break };
                    ring.bytes -= oldest.push.bytes();
                }
            }
            ring.latest
        };
        self.changes.send_modify(|changes| *changes += 1);
        seq
    }

    /// Completes an entry whose answer was not known when it came in. `push` is the entry as it is now; with
    /// [`Keep::CountOnly`], or when the entry has been displaced, only the counts change.
    pub(crate) fn settle(&self, seq: u64, push: P) {
        {
            let mut guard = self.ring.lock();
            let ring = &mut *guard;
            ring.counts.settle(&push);
            let first = ring.entries.front().map_or(u64::MAX, |entry| entry.seq);
            if let Some(at) = seq.checked_sub(first)
                && let Some(entry) = usize::try_from(at).ok().and_then(|at| ring.entries.get_mut(at))
            {
                ring.bytes = ring.bytes + push.bytes() - entry.push.bytes();
                entry.push = push;
            }
        }
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl Counts {
    fn settle<P: Push>(&mut self, push: &P) {
        if let Some(status) = push.status() {
            *self.by_status.entry(status).or_default() += 1;
        }
        self.delivered += u64::from(push.delivered());
    }
}

impl<P> std::fmt::Debug for Recorder<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("keep", &self.keep).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Note(&'static str, Option<u16>);

    impl Push for Note {
        fn token(&self) -> &str {
            self.0
        }
        fn bytes(&self) -> usize {
            10
        }
        fn status(&self) -> Option<u16> {
            self.1
        }
        fn delivered(&self) -> bool {
            self.1 == Some(200)
        }
    }

    fn recorder(entries_max: usize) -> Recorder<Note> {
        Recorder::new(Keep::Newest { entries_max, bytes_max: 1000 })
    }

    #[test]
    fn entries_are_found_by_token_and_number() {
        let recorder = recorder(10);
        for token in ["a", "b", "a", "a"] {
            recorder.append(1, Note(token, Some(200)));
        }
        let found = |query, limit| recorder.entries(query, limit).iter().map(|entry| entry.seq).collect::<Vec<_>>();
        assert_eq!(found(Query::default(), 99), [1, 2, 3, 4]);
        assert_eq!(found(Query { token: Some("a"), after: 1, ..Query::default() }, 99), [3, 4]);
        assert_eq!(found(Query { token: Some("a"), ..Query::default() }, 2), [1, 3]);
        assert_eq!(found(Query { token: Some("c"), ..Query::default() }, 2), [0; 0]);
    }

    #[test]
    fn the_oldest_entries_make_room_by_number_and_by_bytes() {
        let few = recorder(2);
        let small = Recorder::new(Keep::Newest { entries_max: 99, bytes_max: 35 });
        for _ in 0..5 {
            few.append(1, Note("a", None));
            small.append(1, Note("a", None));
        }
        assert_eq!(few.entries(Query::default(), 9).iter().map(|entry| entry.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(small.entries(Query::default(), 9).iter().map(|entry| entry.seq).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn count_only_keeps_no_entry_but_counts() {
        let recorder = Recorder::new(Keep::CountOnly);
        recorder.append(1, Note("a", Some(200)));
        let held = recorder.append(1, Note("a", None));
        recorder.settle(held, Note("a", Some(410)));
        assert!(recorder.entries(Query::default(), 9).is_empty());
        let by_status = BTreeMap::from([(200, 1), (410, 1)]);
        assert_eq!(recorder.counts(), Counts { received: 2, delivered: 1, by_status });
        assert_eq!(recorder.latest(), 2);
    }

    #[test]
    fn a_settled_entry_shows_its_answer_and_a_displaced_one_is_left_alone() {
        let recorder = recorder(2);
        let first = recorder.append(1, Note("a", None));
        let second = recorder.append(1, Note("b", None));
        recorder.append(1, Note("c", None));
        recorder.settle(first, Note("a", Some(200)));
        recorder.settle(second, Note("b", Some(200)));
        let pushes: Vec<_> = recorder.entries(Query::default(), 9).into_iter().map(|entry| entry.push).collect();
        assert_eq!(pushes, [Note("b", Some(200)), Note("c", None)]);
    }

    #[tokio::test]
    async fn a_waiter_sees_what_is_there_and_what_comes() {
        let recorder = std::sync::Arc::new(recorder(10));
        recorder.append(1, Note("a", None));
        assert_eq!(recorder.wait(Query::default()).await.seq, 1);
        let waiting = tokio::spawn({
            let recorder = recorder.clone();
            async move { recorder.wait(Query { token: Some("b"), delivered: true, ..Query::default() }).await.seq }
        });
        tokio::task::yield_now().await;
        let held = recorder.append(1, Note("b", None));
        tokio::task::yield_now().await;
        recorder.settle(held, Note("b", Some(200)));
        assert_eq!(waiting.await.unwrap(), 2);
        recorder.wait_delivered(1).await;
    }
}
