//! The machine under every store: one file, one writer thread with group commit, a few read-only connections.
//!
//! A sync to disk costs as much as hundreds of changes, so the writer takes everything that has queued, makes it one
//! transaction, syncs once and then tells everybody. All that is peculiar to SQLite is in this folder.

mod copies;
mod file;
mod index;
mod keeper;
mod queue;
mod readers;
mod room;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

pub use self::copies::{Inspected, copy_store, inspect_store, rest_store};
pub(crate) use self::file::Layout;
use self::file::{Presence, RoleLock};
use self::keeper::{Duty, Keeper};
pub(crate) use self::queue::Haste;
use self::queue::{Queue, Size};
use self::readers::Readers;
pub use self::room::Room;
use self::writer::{Task, Writer};
use crate::completion::Completion;
use crate::error::StoreError;

/// How much a store lets queue, and how it forms its batches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Records of one transaction at most.
    pub batch_records_max: usize,
    /// How long a batch is held open for more at most, and only while more keeps coming.
    pub hold_max: Duration,
    /// Bytes that may wait to be written; more is refused with [`StoreError::Full`].
    pub queue_bytes_max: usize,
    /// Records that may wait to be written; more is refused with [`StoreError::Full`].
    pub queue_records_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_records_max: 2048,
            hold_max: Duration::from_millis(1),
            queue_bytes_max: 64 << 20,
            queue_records_max: 32_768,
        }
    }
}

/// What a store's writer keeps in memory between batches. After a batch that failed it is loaded anew, so it can never
/// disagree with the file.
pub(crate) trait Memory: Send + Sized + 'static {
    /// What the jobs of one batch work with: the file, this memory, and statements that are prepared once for all.
    type Desk<'a>;

    /// Reads from the file what there is to remember.
    fn load(db: &Connection) -> rusqlite::Result<Self>;

    /// Makes ready for one batch.
    fn desk<'a>(&'a mut self, db: &'a Connection) -> Self::Desk<'a>;

    /// Writes what the jobs of the batch have left on the desk; the commit follows.
    fn settle(desk: Self::Desk<'_>) -> rusqlite::Result<()> {
        drop(desk);
        Ok(())
    }
}

/// One open file with its threads.
pub(crate) struct Engine<M: Memory> {
    file: Arc<str>,
    path: PathBuf,
    queue: Arc<Queue<M>>,
    readers: Readers,
    writer: Mutex<Option<JoinHandle<()>>>,
    keeper: Option<Keeper>,
    duty: Arc<Duty>,
    lock: Mutex<Option<Lock>>,
}

/// What keeps other processes from the file, or tells them that we are there; given back when it is dropped.
enum Lock {
    Alone { _held: RoleLock },
    Shared { held: Presence },
}

impl<M: Memory> Engine<M> {
    /// Opens or makes the file and brings its layout up to date.
    pub(crate) fn open(path: &Path, layout: &'static Layout, limits: Limits) -> Result<Self, StoreError> {
        let file: Arc<str> = path.to_string_lossy().into();
        let (lock, first) = match layout.one_process {
            true => (Lock::Alone { _held: RoleLock::take(path, &file)? }, true),
            false => {
                let (presence, first) = Presence::take(path, &file)?;
                (Lock::Shared { held: presence }, first)
            }
        };
        let db = file::open_writer(path, &file, layout)?;
        let memory = M::load(&db).map_err(|failure| StoreError::from_sqlite(&file, &failure))?;
        let queue = Arc::new(Queue::new(Arc::clone(&file), limits));
        let keeper = layout.one_process.then(|| Keeper::start(path, &file, layout.name)).transpose()?;
        let duty = match &keeper {
            Some(keeper) => keeper.duty(),
            None => Duty::new(path, &file, layout.name, true)?,
        };
        let mut writer = Writer::new(db, memory, Arc::clone(&file), (path, layout), Arc::clone(&duty));
        if first {
            let safe = writer.settle_log();
            if let Lock::Shared { held: presence } = &lock {
                presence.settled(safe, &file)?;
            }
        }
        let tasks = Arc::clone(&queue);
        let writer = spawn(format!("{}-write", layout.name), &file, move || writer.run(&tasks))?;
        let readers = Readers::new(path.to_owned(), Arc::clone(&file));
        let (writer, lock) = (Mutex::new(Some(writer)), Mutex::new(Some(lock)));
        Ok(Self { file, path: path.to_owned(), queue, readers, writer, keeper, duty, lock })
    }

    /// Queues a change of `records` records and about `bytes` bytes. Never blocks for longer than a push to a list.
    ///
    /// `work` may run more than once: when another job of its batch fails, the batch is taken back and each of its jobs
    /// runs alone.
    pub(crate) fn submit<T, W>(&self, records: usize, bytes: usize, work: W, done: Completion<T>)
    where
        T: Send + 'static,
        W: FnMut(&mut M::Desk<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit_as(Haste::InTurn, records, bytes, work, done);
    }

    /// The same, and how soon. Jobs of one kind are written in the order in which they are handed over.
    pub(crate) fn submit_as<T, W>(&self, haste: Haste, records: usize, bytes: usize, work: W, done: Completion<T>)
    where
        T: Send + 'static,
        W: FnMut(&mut M::Desk<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let task = Task::new(work, done, Arc::clone(&self.file));
        self.queue.push(Box::new(task), Size { records: records.max(1), bytes }, haste);
    }

    /// Reads on the calling thread, from the state of the last commit.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.readers.read(query)
    }

    /// The file's name as sentences give it.
    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Another read-only connection, for somebody who keeps one.
    pub(crate) fn open_reader(&self) -> Result<Connection, StoreError> {
        file::open_reader(&self.path, &self.file)
    }

    /// Writes a complete copy of the file as of now to `to`, which must not exist. Work goes on meanwhile.
    pub(crate) fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.readers.read_or(|db| file::copy_whole(db, to, &self.file))
    }

    /// Writes what has queued, tells everybody, and lets go of the file. Later calls answer [`StoreError::Closed`].
    pub(crate) fn close(&self) {
        self.queue.close();
        let writer = self.writer.lock().take();
        // A completion may hold the last handle of its own store: then the thread ends by itself.
        if let Some(writer) = writer.filter(|writer| writer.thread().id() != thread::current().id())
            && writer.join().is_err()
        {
            tracing::error!(file = %self.file, "a store's writer has panicked");
        }
        if let Some(keeper) = &self.keeper {
            keeper.stop();
        }
        self.readers.close();
        self.duty.let_go();
        self.lock.lock().take();
    }
}

impl<M: Memory> Drop for Engine<M> {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: String, file: &Arc<str>, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new().name(name).spawn(run).map_err(|failure| StoreError::from_io(file, &failure))
}
