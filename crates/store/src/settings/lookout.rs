//! The newest settings that this process knows, and the thread that notices what other processes have changed.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use tokio::sync::watch;

use reveille_core::settings::Snapshot;

use super::sqlite::{newest, read_snapshot};
use crate::error::StoreError;

/// The newest snapshot, and who follows it.
pub(super) struct Latest {
    sender: watch::Sender<Arc<Snapshot>>,
}

impl Latest {
    pub(super) fn of(snapshot: Snapshot) -> Self {
        Self { sender: watch::Sender::new(Arc::new(snapshot)) }
    }

    pub(super) fn follow(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.sender.subscribe()
    }

    pub(super) fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.sender.borrow())
    }

    /// Shows `snapshot` to everybody, unless a newer one has overtaken it.
    pub(super) fn publish(&self, snapshot: Arc<Snapshot>) {
        self.sender.send_if_modified(|shown| {
            let newer = snapshot.version() > shown.version();
            if newer {
                *shown = snapshot;
            }
            newer
        });
    }
}

/// The thread that notices what other processes have changed.
pub(super) struct Lookout {
    bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Bell {
    stop: Mutex<bool>,
    rung: Condvar,
}

impl Lookout {
    pub(super) fn start(eye: Connection, seen: i64, latest: Arc<Latest>, file: Arc<str>) -> Result<Self, StoreError> {
        let bell = Arc::new(Bell::default());
        let work = Arc::clone(&bell);
        let name = Arc::clone(&file);
        let run = move || work.watch(&eye, seen, &latest, &name);
        let thread = thread::Builder::new().name("settings-watch".into()).spawn(run);
        let thread = thread.map_err(|failure| StoreError::from_io(&file, &failure))?;
        Ok(Self { bell, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn stop(&self) {
        *self.bell.stop.lock() = true;
        self.bell.rung.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the watch over the settings has panicked");
        }
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Bell {
    fn watch(&self, eye: &Connection, mut seen: i64, latest: &Latest, file: &Arc<str>) {
        let mut troubled = false;
        let mut stop = self.stop.lock();
        while !*stop {
            self.rung.wait_for(&mut stop, LOOK_EVERY);
            let looked = data_version(eye).and_then(|version| {
                if version != seen {
                    // What this process has changed itself is known already.
                    if newest(eye)? != latest.newest().version() {
                        latest.publish(Arc::new(read_snapshot(eye)?));
                    }
                    seen = version;
                }
                Ok(())
            });
            if let Err(failure) = &looked
                && !troubled
            {
                let reason = StoreError::from_sqlite(file, failure);
                tracing::error!(%reason, "the settings could not be read again");
            }
            troubled = looked.is_err();
        }
    }
}

/// A number that changes when another connection, of any process, has committed. Reading it touches no table.
pub(super) fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))
}

/// How often other processes' changes are looked for.
///
/// Each look costs a few microseconds, and what one process is told is asked of another a moment later.
const LOOK_EVERY: Duration = Duration::from_millis(50);
