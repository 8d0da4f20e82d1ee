//! The one thread that writes: batch in, transaction, sync, everybody told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode};

use super::Memory;
use super::file::{self, Layout, Place};
use super::keeper::Duty;
use super::queue::{Batch, Job, Queue, Weighed};
use crate::completion::Completion;
use crate::error::StoreError;

/// The owner of the file's only writing connection.
pub(super) struct Writer<M: Memory> {
    db: Connection,
    /// `None` after a batch was taken back, until it is loaded anew.
    memory: Option<M>,
    file: Arc<str>,
    path: PathBuf,
    name: &'static str,
    place: Place,
    /// A sync has failed, and nothing is taken until the log was written anew.
    in_doubt: bool,
    duty: Arc<Duty>,
}

impl<M: Memory> Writer<M> {
    pub(super) fn new(
        db: Connection,
        memory: M,
        file: Arc<str>,
        (path, layout): (&Path, &'static Layout),
        duty: Arc<Duty>,
    ) -> Self {
        let (place, path, name) = (Place::of(path), path.to_owned(), layout.name);
        Self { db, memory: Some(memory), file, path, name, place, in_doubt: false, duty }
    }

    /// Before the first batch: what the log holds is written anew, since a process that was killed may have left it there
    /// unsynced, and we would answer "known already" to it without writing anything. Where that cannot be done, on a full
    /// disk for instance, the store can be read, and takes nothing until it can. Whether it could.
    pub(super) fn settle_log(&mut self) -> bool {
        let write_anew = || file::write_anew(&self.db, &self.path, &self.file);
        let outcome = self.duty.move_all(write_anew, &self.file);
        if let Err(reason) = outcome {
            tracing::error!(store = self.name, %reason, "the log cannot be made safe, and nothing is taken until it is");
            self.in_doubt = true;
        }
        !self.in_doubt
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue<M>) {
        let _last = Abandon(queue);
        let mut hold = false;
        while let Some(batch) = queue.next_batch(hold) {
            // Holding a batch open is only worth anybody's time when several write at once.
            hold = batch.jobs.len() > 1;
            self.write(batch, queue);
            self.duty.after_batch(&self.db);
        }
        self.duty.before_close();
    }

    fn write(&mut self, mut batch: Batch<M>, queue: &Queue<M>) {
        let started = Instant::now();
        let outcome = self.attempt(&mut batch, Some(queue));
        metrics::histogram!("reveille_store_commit_seconds", "store" => self.name)
            .record(started.elapsed().as_secs_f64());
        let Batch { jobs, size, .. } = batch;
        metrics::histogram!("reveille_store_commit_records", "store" => self.name).record(size.records as f64);
        metrics::gauge!("reveille_store_queue_records", "store" => self.name).set(queue.records() as f64);
        metrics::counter!("reveille_store_commits_total", "store" => self.name).increment(1);
        self.duty.written(size);
        match outcome {
            Ok(()) => jobs.into_iter().for_each(|(job, _)| job.tell(Ok(()))),
            // One job must not take the others down with it: each gets a transaction of its own.
            Err(Failure { only_its_own: true, .. }) if jobs.len() > 1 => {
                jobs.into_iter().for_each(|job| self.write_alone(job));
            }
            Err(failure) => {
                self.report(Some(&failure.error));
                jobs.into_iter().for_each(|(job, _)| job.tell(Err(failure.error.clone())));
            }
        }
    }

    fn write_alone(&mut self, job: Weighed<M>) {
        let mut alone = Batch { size: job.1, jobs: vec![job], urgent: 0 };
        let outcome = self.attempt(&mut alone, None).map_err(|failure| failure.error);
        self.report(outcome.as_ref().err());
        alone.jobs.into_iter().for_each(|(job, _)| job.tell(outcome.clone()));
    }

    fn report(&self, failure: Option<&StoreError>) {
        if let Some(failure) = failure {
            metrics::counter!("reveille_store_failures_total", "store" => self.name).increment(1);
            let alarm = reveille_core::Alarm::StoreFailed.as_str();
            tracing::error!(alarm, store = self.name, reason = %failure, "a batch could not be written");
        }
    }

    /// Makes sure that what is written now will be found again.
    fn make_sure(&mut self) -> Result<(), StoreError> {
        if !self.place.still_holds() {
            return Err(StoreError::Replaced { file: Arc::clone(&self.file) });
        }
        if self.in_doubt {
            let open_anew = || file::open_writer_anew(&self.path, &self.file);
            self.db = self.duty.move_all(open_anew, &self.file)?;
            self.in_doubt = false;
            tracing::warn!(store = self.name, "the disk syncs again, and what it may have lost was written anew");
        }
        Ok(())
    }

    /// Runs the jobs in one transaction. On `Err` the file is as it was before. What is urgent and comes into the queue
    /// meanwhile may go with them, and some of them back into it.
    fn attempt(&mut self, batch: &mut Batch<M>, queue: Option<&Queue<M>>) -> Result<(), Failure> {
        self.make_sure().map_err(|error| Failure { error, only_its_own: false })?;
        let outcome = self.transact(batch, queue);
        if let Err(failure) = outcome {
            // What the memory learnt in this batch is not in the file.
            self.memory = None;
            // SQLite has already rolled back by itself after some failures.
            if !self.db.is_autocommit()
                && let Err(second) = self.db.execute_batch("ROLLBACK")
            {
                tracing::error!(store = self.name, reason = %second, "a batch could not be taken back");
            }
            let error = StoreError::from_sqlite(&self.file, &failure);
            self.in_doubt |= matches!(error, StoreError::Unsynced { .. });
            return Err(Failure {
                only_its_own: failure.sqlite_error_code().is_none_or(is_about_the_statement),
                error,
            });
        }
        Ok(())
    }

    fn transact(&mut self, batch: &mut Batch<M>, queue: Option<&Queue<M>>) -> rusqlite::Result<()> {
        // IMMEDIATE: a settings file may have another writer, and waiting is only possible before the first read.
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        let memory = match &mut self.memory {
            Some(memory) => memory,
            lost => lost.insert(M::load(&self.db)?),
        };
        let mut desk = memory.desk(&self.db);
        let (mut ran, mut done) = (0, 0);
        while let Some((job, size)) = batch.jobs.get_mut(ran) {
            job.run(&mut desk)?;
            (ran, done) = (ran + 1, done + size.records);
            if let Some(queue) = queue {
                queue.cut_short(batch, ran, done);
            }
        }
        M::settle(desk)?;
        self.db.prepare_cached("COMMIT")?.execute(())?;
        Ok(())
    }
}

/// Why a batch was taken back.
struct Failure {
    error: StoreError,
    /// Whether the fault lies in one job's statement, not in the disk or the file.
    only_its_own: bool,
}

fn is_about_the_statement(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::ApiMisuse
            | ErrorCode::Unknown
    )
}

/// However the writer ends, nobody is left waiting for it.
struct Abandon<'a, M: Memory>(&'a Queue<M>);

impl<M: Memory> Drop for Abandon<'_, M> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// A closure as a job.
pub(super) struct Task<T, W> {
    work: W,
    value: Option<T>,
    done: Option<Completion<T>>,
    file: Arc<str>,
}

impl<T, W> Task<T, W> {
    pub(super) fn new(work: W, done: Completion<T>, file: Arc<str>) -> Self {
        Self { work, value: None, done: Some(done), file }
    }
}

impl<M, T, W> Job<M> for Task<T, W>
where
    M: Memory,
    T: Send,
    W: FnMut(&mut M::Desk<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, desk: &mut M::Desk<'_>) -> rusqlite::Result<()> {
        self.value = Some((self.work)(desk)?);
        Ok(())
    }

    fn tell(mut self: Box<Self>, outcome: Result<(), StoreError>) {
        let (Some(done), value) = (self.done.take(), self.value.take()) else { return };
        done(outcome.and_then(|()| value.ok_or_else(|| StoreError::Closed { file: Arc::clone(&self.file) })));
    }
}

impl<T, W> Drop for Task<T, W> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(StoreError::Closed { file: Arc::clone(&self.file) }));
        }
    }
}
