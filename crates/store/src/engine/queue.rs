//! What waits to be written: bounded in records and in bytes, taken out in batches, what is urgent first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// How soon a job is to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Haste {
    /// In its turn.
    InTurn,
    /// Before all that are not urgent, behind those that are; a batch is not held open beside it. A phone rings for it.
    Urgent,
}

/// A job with what it counts for.
pub(super) type Weighed<M> = (Box<dyn Job<M>>, Size);

/// Jobs taken together, and what they amount to.
pub(super) struct Batch<M: Memory> {
    pub(super) jobs: Vec<Weighed<M>>,
    pub(super) size: Size,
    /// How many of its records are urgent; they go first.
    pub(super) urgent: usize,
}

/// The way from callers to the writer.
pub(super) struct Queue<M: Memory> {
    file: Arc<str>,
    limits: Limits,
    waiting: Mutex<Waiting<M>>,
    /// Whether anything urgent waits: looked at by the writer between two jobs.
    is_pressed: AtomicBool,
    wake: Condvar,
}

struct Waiting<M: Memory> {
    urgent: VecDeque<Weighed<M>>,
    jobs: VecDeque<Weighed<M>>,
    /// Of both.
    size: Size,
    /// From how many waiting records on the writer wants to be woken; `None` while it is at work.
    wake_at: Option<usize>,
    closed: bool,
}

impl<M: Memory> Queue<M> {
    pub(super) fn new(file: Arc<str>, limits: Limits) -> Self {
        let (urgent, jobs) = (VecDeque::new(), VecDeque::new());
        let waiting = Mutex::new(Waiting { urgent, jobs, size: Size::default(), wake_at: None, closed: false });
        Self { file, limits, waiting, is_pressed: AtomicBool::new(false), wake: Condvar::new() }
    }

    /// How much of what may wait does wait, in records or in bytes.
    pub(super) fn percent(&self) -> u8 {
        let Size { records, bytes } = self.waiting.lock().size;
        let share = |part: usize, whole: usize| part.saturating_mul(100) / whole.max(1);
        let most = share(records, self.limits.queue_records_max).max(share(bytes, self.limits.queue_bytes_max));
        u8::try_from(most).unwrap_or(u8::MAX)
    }

    /// Takes a job, or tells it at once why not.
    pub(super) fn push(&self, job: Box<dyn Job<M>>, size: Size, haste: Haste) {
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
        let urgent = haste == Haste::Urgent;
        if urgent {
            waiting.urgent.push_back((job, size));
            self.is_pressed.store(true, Ordering::Relaxed);
        } else {
            waiting.jobs.push_back((job, size));
        }
        waiting.size.add(size);
        let wake = waiting.wake_at.is_some_and(|least| urgent || waiting.size.records >= least);
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
        while waiting.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting.wake_at = Some(1);
            self.wake.wait(&mut waiting);
        }
        if hold {
            let (mut held, mut seen) = (Duration::ZERO, waiting.size.records);
            while held < self.limits.hold_max
                && seen < self.limits.batch_records_max
                && waiting.urgent.is_empty()
                && !waiting.closed
            {
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
        let mut batch = Batch { jobs: Vec::with_capacity(waiting.len().min(512)), size: Size::default(), urgent: 0 };
        self.take_urgent(&mut waiting, &mut batch);
        let most = self.limits.batch_records_max;
        let fits = |taken: Size, next: Size| match batch.urgent {
            0 => taken.records == 0 || taken.records + next.records <= most,
            // Whoever is in haste waits for those beside him, too. The first goes however large it is, so that calls
            // alone never hold messages up.
            _ => taken.records < self.beside_max(),
        };
        let others = take(&mut waiting.jobs, &mut batch.jobs, fits);
        batch.size.add(others);
        waiting.size.subtract(batch.size);
        Some(batch)
    }

    /// Run by the writer between two jobs of a batch of which `ran` jobs of `done` records have been run: if something
    /// urgent has come since, it goes with those, and the others wait for the next batch.
    pub(super) fn cut_short(&self, batch: &mut Batch<M>, ran: usize, done: usize) {
        if batch.urgent > 0 || done < self.beside_max() || !self.is_pressed.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.waiting.lock();
        for (job, size) in batch.jobs.drain(ran..).rev() {
            batch.size.subtract(size);
            waiting.size.add(size);
            waiting.jobs.push_front((job, size));
        }
        let before = batch.size;
        self.take_urgent(&mut waiting, batch);
        let taken = Size { records: batch.size.records - before.records, bytes: batch.size.bytes - before.bytes };
        waiting.size.subtract(taken);
    }

    fn take_urgent(&self, waiting: &mut Waiting<M>, batch: &mut Batch<M>) {
        let most = self.limits.batch_records_max;
        let fits = |taken: Size, next: Size| taken.records == 0 || taken.records + next.records <= most;
        let taken = take(&mut waiting.urgent, &mut batch.jobs, fits);
        batch.size.add(taken);
        batch.urgent += taken.records;
        self.is_pressed.store(!waiting.urgent.is_empty(), Ordering::Relaxed);
    }

    /// About how many records of what is not urgent go in a batch with what is.
    const fn beside_max(&self) -> usize {
        self.limits.batch_records_max / 8
    }

    /// How many records wait.
    pub(super) fn records(&self) -> usize {
        self.waiting.lock().size.records
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
        let jobs = (std::mem::take(&mut waiting.urgent), std::mem::take(&mut waiting.jobs));
        drop(waiting);
        drop(jobs);
    }
}

impl<M: Memory> Waiting<M> {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.urgent.len() + self.jobs.len()
    }
}

impl Size {
    const fn add(&mut self, more: Self) {
        self.records += more.records;
        self.bytes += more.bytes;
    }

    const fn subtract(&mut self, less: Self) {
        self.records -= less.records;
        self.bytes -= less.bytes;
    }
}

/// Moves jobs into a batch for as long as the next one `fits` to what was taken. Answers how much that is.
fn take<M: Memory>(
    line: &mut VecDeque<Weighed<M>>,
    batch: &mut Vec<Weighed<M>>,
    fits: impl Fn(Size, Size) -> bool,
) -> Size {
    let mut taken = Size::default();
    while line.front().is_some_and(|(_, next)| fits(taken, *next)) {
        let Some((job, size)) = line.pop_front() else { break };
        taken.add(size);
        batch.push((job, size));
    }
    taken
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
            queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records, bytes }, Haste::InTurn);
        }
        assert_eq!(*outcomes.lock(), [Err(StoreError::Full { file: "x.db".into(), records: 10 })]);
        assert_eq!(queue.next_batch(false).unwrap().jobs.len(), 2);
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 1, bytes: 90 }, Haste::InTurn);
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 1, bytes: 20 }, Haste::InTurn);
        assert_eq!(outcomes.lock().len(), 2);
    }

    #[test]
    fn one_job_larger_than_the_bounds_passes_when_nothing_waits() {
        let (queue, outcomes) = queue(10, 100, 5);
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 50, bytes: 5000 }, Haste::InTurn);
        assert!(outcomes.lock().is_empty());
        assert_eq!(queue.next_batch(true).unwrap().size.records, 50);
    }

    #[test]
    fn a_batch_ends_before_the_job_that_would_pass_its_bound() {
        let (queue, outcomes) = queue(100, 1000, 10);
        for records in [4, 4, 4] {
            queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records, bytes: 1 }, Haste::InTurn);
        }
        let batch = queue.next_batch(false).unwrap();
        assert_eq!((batch.size.records, queue.records()), (8, 4));
        assert_eq!(queue.next_batch(false).unwrap().size.records, 4);
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_has_and_refuses_the_rest() {
        let (queue, outcomes) = queue(100, 1000, 10);
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 1, bytes: 1 }, Haste::InTurn);
        queue.close();
        queue.push(Box::new(Note(Arc::clone(&outcomes))), Size { records: 1, bytes: 1 }, Haste::InTurn);
        assert_eq!(*outcomes.lock(), [Err(StoreError::Closed { file: "x.db".into() })]);
        assert!(queue.next_batch(true).is_some());
        assert!(queue.next_batch(true).is_none());
    }

    /// A queue with these jobs, each as its records and whether it is urgent.
    fn filled(jobs: &[(usize, bool)]) -> Queue<Nothing> {
        let (queue, outcomes) = queue(10_000, 10_000, 80);
        push(&queue, &outcomes, jobs);
        queue
    }

    fn push(queue: &Queue<Nothing>, outcomes: &Outcomes, jobs: &[(usize, bool)]) {
        for &(records, urgent) in jobs {
            let haste = if urgent { Haste::Urgent } else { Haste::InTurn };
            queue.push(Box::new(Note(Arc::clone(outcomes))), Size { records, bytes: records }, haste);
        }
    }

    /// The records of each job of the batch.
    fn records(batch: &Batch<Nothing>) -> Vec<usize> {
        assert_eq!(batch.size.records, batch.jobs.iter().map(|(_, size)| size.records).sum::<usize>());
        batch.jobs.iter().map(|(_, size)| size.records).collect()
    }

    #[test]
    fn what_is_urgent_goes_first_and_a_few_of_the_others_with_it() {
        let queue = filled(&[(6, false), (7, false), (50, false), (1, true), (2, true)]);
        let batch = queue.next_batch(true).unwrap();
        assert_eq!((records(&batch), batch.urgent), (vec![1, 2, 6, 7], 3));
        let batch = queue.next_batch(true).unwrap();
        assert_eq!((records(&batch), batch.urgent, queue.records()), (vec![50], 0, 0));
    }

    #[test]
    fn a_flood_of_urgent_jobs_takes_one_of_the_others_along_in_each_batch() {
        let queue = filled(&[vec![(60, false), (60, false)], vec![(40, true); 6]].concat());
        let batches = [(); 3].map(|()| records(&queue.next_batch(true).unwrap()));
        assert_eq!(batches, [vec![40, 40, 60], vec![40, 40, 60], vec![40, 40]]);
    }

    #[test]
    fn a_batch_is_cut_short_for_what_is_urgent_once_some_of_it_is_done() {
        let queue = filled(&[(6, false), (6, false), (60, false)]);
        let mut batch = queue.next_batch(false).unwrap();
        queue.cut_short(&mut batch, 2, 12);
        assert_eq!(records(&batch), [6, 6, 60], "nothing urgent has come");
        push(&queue, &Outcomes::default(), &[(5, false), (3, true)]);
        queue.cut_short(&mut batch, 1, 6);
        assert_eq!(records(&batch), [6, 6, 60], "too little is done");
        queue.cut_short(&mut batch, 2, 12);
        assert_eq!((records(&batch), batch.urgent, queue.records()), (vec![6, 6, 3], 3, 65));
        // It is not cut short a second time, and what had to wait is in front as it was.
        push(&queue, &Outcomes::default(), &[(2, true)]);
        queue.cut_short(&mut batch, 3, 15);
        assert_eq!(records(&batch), [6, 6, 3]);
        assert_eq!(records(&queue.next_batch(false).unwrap()), [2, 60]);
        assert_eq!((records(&queue.next_batch(false).unwrap()), queue.records()), (vec![5], 0));
    }

    #[test]
    fn a_writer_that_holds_a_batch_open_is_woken_by_what_is_urgent_at_once() {
        let queue = filled(&[]);
        queue.waiting.lock().wake_at = Some(80);
        push(&queue, &Outcomes::default(), &[(5, false)]);
        assert_eq!(queue.waiting.lock().wake_at, Some(80), "it waits for a full batch");
        push(&queue, &Outcomes::default(), &[(1, true)]);
        assert_eq!(queue.waiting.lock().wake_at, None, "it was woken");
    }
}
