//! Moves the write-ahead log into the file, beside the writer and not in its way.
//!
//! A checkpoint writes and syncs the main file, many milliseconds on a slow disk, so it has a thread of its own. While
//! the writer never rests, that thread alone never reaches the end of the log, and a log is only begun anew when all of
//! it has been moved: past a bound the writer therefore moves the short rest itself, between two batches.
//!
//! A file that several processes share is written rarely: whoever has written to a long log moves it, after its batch,
//! as the only one of all processes, and all of it or nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::file;
use super::index::Index;
use super::queue::Size;
use crate::error::StoreError;

/// The thread that checkpoints.
pub(super) struct Keeper {
    duty: Arc<Duty>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    pub(super) fn start(path: &Path, file: &Arc<str>, name: &'static str) -> Result<Self, StoreError> {
        let db = file::open_keeper(path, file)?;
        let duty = Duty::new(path, file, name, false)?;
        let work = Arc::clone(&duty);
        let thread = super::spawn(format!("{name}-keep"), file, move || work.run(&db))?;
        Ok(Self { duty, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn duty(&self) -> Arc<Duty> {
        Arc::clone(&self.duty)
    }

    pub(super) fn stop(&self) {
        self.duty.state.lock().stop = true;
        self.duty.wake.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!(store = self.duty.name, "a store's keeper has panicked");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the keeper has to do, as the writer tells it; or what the writer does itself.
pub(super) struct Duty {
    name: &'static str,
    /// Whether other processes move the log as well.
    shared: bool,
    state: Mutex<State>,
    wake: Condvar,
    log_is_long: AtomicBool,
    /// Whoever checkpoints has it. None when the store is closed.
    index: Mutex<Option<Arc<Index>>>,
}

struct State {
    /// About how many pages have been written since the last checkpoint; of a shared file: how many the log had then.
    pages: usize,
    stop: bool,
}

impl Duty {
    pub(super) fn new(path: &Path, file: &Arc<str>, name: &'static str, shared: bool) -> Result<Arc<Self>, StoreError> {
        Ok(Arc::new(Self {
            name,
            shared,
            state: Mutex::new(State { pages: 0, stop: false }),
            wake: Condvar::new(),
            log_is_long: AtomicBool::new(false),
            index: Mutex::new(Some(Index::open(path, file)?)),
        }))
    }

    /// Closes SQLite's index of the log, after all connections to the file.
    pub(super) fn let_go(&self) {
        self.index.lock().take();
    }

    /// The writer has written a batch.
    pub(super) fn written(&self, size: Size) {
        if self.shared {
            return;
        }
        let mut state = self.state.lock();
        let before = state.pages;
        // A guess on the high side is good enough: the checkpoint itself says how long the log really is.
        state.pages += 8 + size.bytes / 2048 + size.records / 16;
        if before < CHECKPOINT_PAGES && state.pages >= CHECKPOINT_PAGES {
            self.wake.notify_one();
        }
    }

    /// Run by the writer between two batches: the rest of a log that has grown too long.
    pub(super) fn after_batch(&self, db: &Connection) {
        if self.shared && self.is_long_enough() {
            self.checkpoint(db);
        }
        if self.log_is_long.swap(false, Ordering::Relaxed) {
            self.checkpoint(db);
        }
    }

    /// The writer of a shared file closes it. What SQLite would move with the last connection is all of the log.
    pub(super) fn before_close(&self) {
        if !self.shared {
            return;
        }
        let index = self.index.lock();
        let Some(Err(reason)) = index.as_ref().map(|index| index.nothing_was_moved()) else { return };
        tracing::error!(store = self.name, %reason, "SQLite's index of the log could not be written");
    }

    /// Whether the log of a shared file, to which all processes add, has grown enough since this one has last moved it.
    fn is_long_enough(&self) -> bool {
        let Some(Ok(pages)) = self.index.lock().as_ref().map(|index| index.pages()) else { return false };
        let (pages, mut state) = (pages as usize, self.state.lock());
        if pages < state.pages {
            state.pages = 0; // it has begun anew
        }
        let long = pages >= state.pages + SHARED_PAGES;
        if long {
            state.pages = pages;
        }
        long
    }

    fn run(&self, db: &Connection) {
        loop {
            let mut state = self.state.lock();
            while state.pages < CHECKPOINT_PAGES && !state.stop {
                self.wake.wait(&mut state);
            }
            if state.stop {
                return; // the last connection to close moves what is left
            }
            state.pages = 0;
            drop(state);
            self.checkpoint(db);
        }
    }

    /// Has the next checkpoint move all of the log again, and runs it, as the only one.
    pub(super) fn move_all<T>(
        &self,
        run: impl FnOnce() -> Result<T, StoreError>,
        file: &Arc<str>,
    ) -> Result<T, StoreError> {
        let index = self.index.lock();
        let index = index.as_ref().ok_or_else(|| StoreError::Closed { file: Arc::clone(file) })?;
        let alone = index.alone().map_err(|failure| StoreError::from_io(file, &failure))?;
        let _alone = alone.ok_or_else(|| StoreError::Busy { file: Arc::clone(file) })?;
        index.nothing_was_moved().map_err(|failure| StoreError::from_io(file, &failure))?;
        run()
    }

    fn checkpoint(&self, db: &Connection) {
        // Whoever else is at it does it as well.
        let Some(index) = self.index.try_lock() else { return };
        let Some(index) = index.as_ref() else { return };
        let Ok(Some(_alone)) = index.alone() else { return };
        let again = || {
            if let Err(reason) = index.nothing_was_moved() {
                tracing::error!(store = self.name, %reason, "SQLite's index of the log could not be written");
            }
        };
        // Of what another process has moved nobody knows whether it was synced.
        if self.shared {
            again();
        }
        match file::checkpoint(db) {
            Ok(log) => {
                if self.shared && log.moved < log.pages {
                    again();
                }
                metrics::gauge!("reveille_store_log_pages", "store" => self.name).set(log.pages as f64);
                self.log_is_long.store(log.pages >= LOG_PAGES_MAX, Ordering::Relaxed);
            }
            // The log stays as it is and grows; the next round tries again, and a full disk shows in the commits.
            Err(failure) => {
                tracing::warn!(store = self.name, reason = %failure, "the log could not be moved into the file");
                again();
            }
        }
    }
}

/// From how much log on a checkpoint is worth its sync.
const CHECKPOINT_PAGES: usize = 4096;

/// By how much the log of a shared file grows before it is worth a checkpoint: what SQLite would do by itself
/// (sqlite.org/pragma.html, wal_autocheckpoint).
const SHARED_PAGES: usize = 1000;

/// From how long a log on the writer itself moves the rest, so that the log can begin anew.
const LOG_PAGES_MAX: i64 = 8192;
