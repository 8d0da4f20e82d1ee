//! SQLite's index of the log, where it notes how much of the log has been moved into the file.
//!
//! A checkpoint that comes to the end of the log syncs the file; one that a writer or a reader keeps from it counts what it
//! has moved as moved and leaves the sync to a later one (wal.c, walCheckpoint). If that later sync fails, the pages of
//! both are lost, since they count as clean from then on (fsync(2), NOTES), and SQLite would move the second part again and
//! not the first. So the count goes back to nothing: the next checkpoint moves the whole log, which is on the disk until
//! it has.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::file::beside;
use crate::error::StoreError;

/// The index of one file's log, open for as long as any connection of this process: closing it would undo SQLite's locks
/// on it, whichever connection holds them (fcntl(2)). So all who use it here have one and the same.
pub(super) struct Index {
    shm: File,
    turn: Mutex<()>,
}

impl Index {
    /// The index, which the first connection has made.
    pub(super) fn open(path: &Path, file: &Arc<str>) -> Result<Arc<Self>, StoreError> {
        let failed = |failure: io::Error| StoreError::from_io(file, &failure);
        let path = beside(path, "-shm");
        let mut open = OPEN.lock();
        let open = open.get_or_insert_default();
        // Asked by name: opening it only to see whether it is open would end with closing it.
        let known = super::file::identity(&path).and_then(|identity| open.get(&identity)).and_then(Weak::upgrade);
        if let Some(known) = known {
            return Ok(known);
        }
        open.retain(|_, index| index.strong_count() > 0);
        let shm = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let is = shm.metadata().map_err(failed)?;
        let index = Arc::new(Self { shm, turn: Mutex::new(()) });
        open.insert((is.dev(), is.ino()), Arc::downgrade(&index));
        Ok(index)
    }

    /// Has the next checkpoint move all of the log again. No checkpoint may be running.
    pub(super) fn nothing_was_moved(&self) -> io::Result<()> {
        self.shm.write_all_at(&[0; 4], BACKFILLED)
    }

    /// How many pages the log has.
    pub(super) fn pages(&self) -> io::Result<u32> {
        let mut pages = [0; 4];
        self.shm.read_exact_at(&mut pages, FRAMES).map(|()| u32::from_ne_bytes(pages))
    }

    /// The right to checkpoint, before all processes that have the file open; none while another has it.
    pub(super) fn alone(&self) -> io::Result<Option<Alone<'_>>> {
        let Some(turn) = self.turn.try_lock() else { return Ok(None) };
        match self.shm.try_lock() {
            Ok(()) => Ok(Some(Alone { index: self, _turn: turn })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(failure)) => Err(failure),
        }
    }
}

/// Nobody else moves the log while this exists.
pub(super) struct Alone<'a> {
    index: &'a Index,
    _turn: MutexGuard<'a, ()>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        if let Err(reason) = self.index.shm.unlock() {
            tracing::error!(%reason, "the right to move a log into its file could not be given back");
        }
    }
}

/// The indices that are open in this process, by device and number; those of closed files go when the next is opened.
static OPEN: Mutex<Option<Known>> = Mutex::new(None);

/// Indices by the device and the number of their files.
type Known = HashMap<(u64, u64), Weak<Index>>;

/// Where the index says how many pages the log has (sqlite.org/walformat.html §2.1, mxFrame), in the machine's own order.
const FRAMES: u64 = 16;

/// Where it counts those that were moved (§2.2, nBackfill).
const BACKFILLED: u64 = 96;
