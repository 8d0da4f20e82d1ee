//! What waits to be written: bounded in records and in bytes, taken out in batches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Limits, Memory};
use crate::error::StoreError;

/// One caller's change: it runs inside the batch's transaction, and is told how that ended.
pub(super) trait Job<M: Memory>: Send {
    /// Makes the change. May be called again after the batch was taken back.
    fn run(&mut self, desk: &mut M::Desk<'_>) -> rusqlite::Result<()>;
    /// Tells the caller. The last call that is made.
    fn tell(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// What a job counts for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// Jobs taken together, and what they amount to.
pub(super) struct Batch<M: Memory> {
    pub(super) jobs: Vec<Box<dyn Job<M>>>,
    pub(super) size: Size,
    /// How many records stayed behind in the queue.
    pub(super) left_records: usize,
}

/// The way from callers to the writer.
pub(super) struct Queue<M: Memory> {
    file: Arc<str>,
    limits: Limits,
    waiting: Mutex<Waiting<M>>,
    wake: Condvar,
}

struct Waiting<M: Memory> {
    jobs: VecDeque<(Box<dyn Job<M>>, Size)>,
    size: Size,
    /// From how many waiting records on the writer wants to be woken; `None` while it is at work.
    wake_at: Option<usize>,
    closed: bool,
}

impl<M: Memory> Queue<M> {
    pub(super) fn new(file: Arc<str>, limits: Limits) -> Self {
        let waiting = Waiting { jobs: VecDeque::new(), size: Size::default(), wake_at: None, closed: false };
        Self { file, limits, waiting: Mutex::new(waiting), wake: Condvar::new() }
    }

    /// How much of what may wait does wait, in records or in bytes.
    pub(super) fn percent(&self) -> u8 {
        let Size { records, bytes } = self.waiting.lock().size;
        let share = |part: usize, whole: usize| part.saturating_mul(100) / whole.max(1);
        let most = share(records, self.limits.queue_records_max).max(share(bytes, self.limits.queue_bytes_max));
        u8::try_from(most).unwrap_or(u8::MAX)
    }

    /// Takes a job, or tells it at once why not.
    pub(super) fn push(&self, job: Box<dyn Job<M>>, size: Size) {
        let mut waiting = self.waiting.lock();
        let records = waiting.size.records;
        let refusal = if waiting.closed {
            Some(StoreError::Closed { file: Arc::clone(&self.file) })
        // A single job larger than the bounds passes when nothing else waits: it would never fit otherwise.
        } else if records > 0
            && (records + size.records > self.limits.queue_records_max
                || waiting.size.bytes + size.bytes > self.limits.queue_bytes_max)
        {
            Some(StoreError::Full { file: Arc::clone(&self.file), records })
        } else {
            None
        };
        if let Some(refusal) = refusal {
            drop(waiting);
            return job.tell(Err(refusal));
        }
        waiting.jobs.push_back((job, size));
        waiting.size.records += size.records;
        waiting.size.bytes += size.bytes;
        let wake = waiting.wake_at.is_some_and(|least| waiting.size.records >= least);
        if wake {
            waiting.wake_at = None;
        }
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Waits for work and takes a batch of it; `None` once the queue is closed and empty.
    ///
    /// With `hold`, the batch is kept open for a moment while more keeps coming: a record costs a quarter in a large
    /// batch of what it costs in a small one, and who comes while we sync has to wait for the next sync anyway.
    pub(super) fn next_batch(&self, hold: bool) -> Option<Batch<M>> {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting.wake_at = Some(1);
            self.wake.wait(&mut waiting);
        }
        if hold {
            let (mut held, mut seen) = (Duration::ZERO, waiting.size.records);
            while held < self.limits.hold_max && seen < self.limits.batch_records_max && !waiting.closed {
                waiting.wake_at = Some(self.limits.batch_records_max);
                self.wake.wait_for(&mut waiting, SLICE);
                held += SLICE;
                if waiting.size.records == seen {
                    break;
                }
                seen = waiting.size.records;
            }
        }
        waiting.wake_at = None;
        let mut batch =
            Batch { jobs: Vec::with_capacity(waiting.jobs.len().min(512)), size: Size::default(), left_records: 0 };
        while let Some((_, size)) = waiting.jobs.front() {
            if !batch.jobs.is_empty() && batch.size.records + size.records > self.limits.batch_records_max {
                break;
            }
            let Some((job, size)) = waiting.jobs.pop_front() else { break };
            batch.jobs.push(job);
            batch.size.records += size.records;
            batch.size.bytes += size.bytes;
        }
        waiting.size.records -= batch.size.records;
        waiting.size.bytes -= batch.size.bytes;
        batch.left_records = waiting.size.records;
        Some(batch)
    }

    /// Takes no more; what waits is still written.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.wake.notify_all();
    }

    /// Takes no more and drops what waits, which tells each caller that the store is closed.
    pub(super) fn abandon(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.size = Size::default();
        let jobs = std::mem::take(&mut waiting.jobs);
        drop(waiting);
        drop(jobs);
    }
}

/// How long the writer looks away between two looks at a queue that it holds open.
const SLICE: Duration = Duration::from_micros(200);

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    type Outcomes = Arc<Mutex<Vec<Result<(), StoreError>>>>;

    struct Nothing;

    impl Memory for Nothing {
        type Desk<'a> = ();

        fn load(_: &Connection) -> rusqlite::Result<Self> {
            Ok(Self)
        }

        fn desk<'a>(&'a mut self, _: &'a Connection) {}
    }

    struct Note(Outcomes);

    impl Job<Nothing> for Note {
        fn run(&mut self, (): &mut ()) -> rusqlite::Result<()> {
            Ok(())
        }

        fn tell(self: Box<Self>, outcome: Result<(), StoreError>) {
            self.0.lock().push(outcome);
        }
    }

    fn queue(records: usize, bytes: usize, batch: usize) -> (Queue<Nothing>, Outcomes) {
        let limits = Limits {
            batch_records_max: batch,
            hold_max: Duration::from_millis(1),
            queue_bytes_max: bytes,
            queue_records_max: records,
        };
        (Queue::new("x.db".into(), limits), Outcomes::default())
    }

    #[test]
    fn what_does_not_fit_is_refused_at_once_by_count_and_by_bytes() {
        let (queue, outcomes) = queue(10, 100, 100);
        for (records, bytes) in [(4, 40), (6, 10), (1, 1)] {
            queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records, bytes });
        }
        assert_eq!(*outcomes.lock(), [Err(StoreError::Full { file: "x.db".into(), records: 10 })]);
        assert_eq!(queue.next_batch(false).unwrap().jobs.len(), 2);
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 1, bytes: 90 });
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 1, bytes: 20 });
        assert_eq!(outcomes.lock().len(), 2);
    }

    #[test]
    fn one_job_larger_than_the_bounds_passes_when_nothing_waits() {
        let (queue, outcomes) = queue(10, 100, 5);
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 50, bytes: 5000 });
        assert!(outcomes.lock().is_empty());
        assert_eq!(queue.next_batch(true).unwrap().size.records, 50);
    }

    #[test]
    fn a_batch_ends_before_the_job_that_would_pass_its_bound() {
        let (queue, outcomes) = queue(100, 1000, 10);
        for records in [4, 4, 4] {
            queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records, bytes: 1 });
        }
        let batch = queue.next_batch(false).unwrap();
        assert_eq!((batch.size.records, batch.left_records), (8, 4));
        assert_eq!(queue.next_batch(false).unwrap().size.records, 4);
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_has_and_refuses_the_rest() {
        let (queue, outcomes) = queue(100, 1000, 10);
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 1, bytes: 1 });
        queue.close();
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 1, bytes: 1 });
        assert_eq!(*outcomes.lock(), [Err(StoreError::Closed { file: "x.db".into() })]);
        assert!(queue.next_batch(true).is_some());
        assert!(queue.next_batch(true).is_none());
    }
}
