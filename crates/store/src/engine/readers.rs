//! A few read-only connections, lent to whoever reads.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::file;
use crate::error::StoreError;

/// Connections that can only read, at most [`READERS_MAX`] of them.
pub(super) struct Readers {
    path: PathBuf,
    file: Arc<str>,
    shelf: Mutex<Shelf>,
    returned: Condvar,
}

struct Shelf {
    idle: Vec<Connection>,
    lent: usize,
    closed: bool,
}

impl Readers {
    pub(super) fn new(path: PathBuf, file: Arc<str>) -> Self {
        let shelf = Shelf { idle: Vec::new(), lent: 0, closed: false };
        Self { path, file, shelf: Mutex::new(shelf), returned: Condvar::new() }
    }

    /// Runs `query` on one of the connections; waits when all are lent.
    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.read_or(|db| query(db).map_err(|failure| StoreError::from_sqlite(&self.file, &failure)))
    }

    /// The same for a query that words its own failures.
    pub(super) fn read_or<T>(&self, query: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let loan = self.borrow()?;
        let Some(db) = &loan.db else { return Err(self.closed()) };
        query(db)
    }

    /// Closes the idle connections now and each lent one when it comes back.
    pub(super) fn close(&self) {
        let mut shelf = self.shelf.lock();
        shelf.closed = true;
        shelf.idle.clear();
        self.returned.notify_all();
    }

    fn borrow(&self) -> Result<Loan<'_>, StoreError> {
        let mut shelf = self.shelf.lock();
        loop {
            if shelf.closed {
                return Err(self.closed());
            }
            if let Some(db) = shelf.idle.pop() {
                shelf.lent += 1;
                return Ok(Loan { readers: self, db: Some(db) });
            }
            if shelf.lent < READERS_MAX {
                shelf.lent += 1;
                drop(shelf);
                // The loan exists before the connection does, so that a failure to open gives the seat back.
                let mut loan = Loan { readers: self, db: None };
                loan.db = Some(file::open_reader(&self.path, &self.file)?);
                return Ok(loan);
            }
            self.returned.wait(&mut shelf);
        }
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { file: Arc::clone(&self.file) }
    }
}

/// A connection on loan; it goes back by itself.
struct Loan<'a> {
    readers: &'a Readers,
    db: Option<Connection>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut shelf = self.readers.shelf.lock();
        shelf.lent -= 1;
        if let Some(db) = self.db.take()
            && !shelf.closed
        {
            shelf.idle.push(db);
        }
        self.readers.returned.notify_one();
    }
}

/// Enough for the reads of a start and of an administrator; each costs a page cache.
const READERS_MAX: usize = 4;
