//! The file itself: made, locked, opened, brought up to date, copied.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::StoreError;

/// What a role's file holds, and how it came to its present form.
pub(crate) struct Layout {
    /// The word for it in sentences, metrics and thread names.
    pub(crate) name: &'static str,
    /// Four letters in the file's head that tell it from the other roles' files.
    pub(crate) mark: [u8; 4],
    /// The numbered steps from an empty file; a step that was ever released is never changed.
    pub(crate) migrations: &'static [&'static str],
    /// How large a page is: what each change in it costs to write, and each row that does not fit.
    pub(crate) page_bytes: u32,
    /// Whether one process at a time may have it open.
    pub(crate) one_process: bool,
}

/// The right of this process to a file that only one may have; given back when dropped, also by a crash.
#[derive(Debug)]
pub(super) struct RoleLock {
    _held: File,
}

impl RoleLock {
    /// Takes the lock file beside `path`; SQLite keeps locks of its own on the file itself.
    pub(super) fn take(path: &Path, file: &Arc<str>) -> Result<Self, StoreError> {
        let beside = beside(path, ".lock");
        let mut held = private(&beside).map_err(|failure| StoreError::from_io(file, &failure))?;
        match held.try_lock() {
            Ok(()) => {
                // For the sentence that the next one reads; a disk without room for five digits is no reason to stop.
                let _ = held.set_len(0).and_then(|()| write!(held, "{}", std::process::id()));
                Ok(Self { _held: held })
            }
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let owner = held.read_to_string(&mut owner).ok().and_then(|_| owner.trim().parse().ok());
                Err(StoreError::InUse { file: Arc::clone(file), owner })
            }
            Err(TryLockError::Error(failure)) => Err(StoreError::from_io(file, &failure)),
        }
    }
}

/// One of the processes that share a file. As long as any is there that has found the log safe, those that come need not
/// make it safe; whoever comes when there is none does.
#[derive(Debug)]
pub(super) struct Presence {
    held: File,
}

impl Presence {
    /// Comes in, and says whether nobody else is there; waits for whoever is making the log safe.
    pub(super) fn take(path: &Path, file: &Arc<str>) -> Result<(Self, bool), StoreError> {
        let failed = |failure: io::Error| StoreError::from_io(file, &failure);
        let held = private(&beside(path, ".lock")).map_err(failed)?;
        let first = match held.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(failure)) => return Err(failed(failure)),
        };
        if !first {
            held.lock_shared().map_err(failed)?;
        }
        Ok((Self { held }, first))
    }

    /// The first has made the log safe, or could not; whoever comes while it is not safe has to try as well.
    pub(super) fn settled(&self, safe: bool, file: &Arc<str>) -> Result<(), StoreError> {
        let changed = if safe { self.held.lock_shared() } else { self.held.unlock() };
        changed.map_err(|failure| StoreError::from_io(file, &failure))
    }
}

/// Opens the one connection that writes.
pub(super) fn open_writer(path: &Path, file: &Arc<str>, layout: &Layout) -> Result<Connection, StoreError> {
    make(path).map_err(|failure| StoreError::from_io(file, &failure))?;
    let failed = |failure: rusqlite::Error| StoreError::from_sqlite(file, &failure);
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    // SQLite is content with a file that it may only read, and would say so at the first commit.
    if db.is_readonly("main").map_err(failed)? {
        return Err(StoreError::ReadOnly { file: Arc::clone(file) });
    }
    let found = identify(&db, file, layout)?;
    if found > 0 {
        examine(&db, file)?;
    }
    // Heeded while the file is empty, and passed over afterwards.
    db.execute_batch(&format!("PRAGMA page_size = {}", layout.page_bytes)).map_err(failed)?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(StoreError::ReadOnly { file: Arc::clone(file) });
    }
    prepare(&db).map_err(failed)?;
    migrate(&db, file, layout, found)?;
    // SQLite makes the log and its index when it first reads, and both are looked at from here on.
    db.query_row("PRAGMA user_version", (), |row| row.get::<_, i64>(0)).map_err(failed)?;
    Ok(db)
}

/// Opens the writing connection anew, after the disk has failed to sync: nothing that the old one remembers is trusted.
pub(super) fn open_writer_anew(path: &Path, file: &Arc<str>) -> Result<Connection, StoreError> {
    let open = || {
        let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        prepare(&db)?;
        Ok(db)
    };
    let db = open().map_err(|failure: rusqlite::Error| StoreError::from_sqlite(file, &failure))?;
    write_anew(&db, path, file)?;
    Ok(db)
}

/// Writes anew what only the log has. What can be read from the log may never have reached the disk: a process was killed
/// between writing and syncing, or a sync has failed, after which pages count as clean (fsync(2), NOTES). A checkpoint copies
/// it into the file and syncs it there, and the log begins again from nothing; that, too, must be on the disk: a log that came
/// back without its end would put older pages over newer ones.
pub(super) fn write_anew(db: &Connection, path: &Path, file: &Arc<str>) -> Result<(), StoreError> {
    match db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, bool>(0)) {
        Ok(false) => make_safe(path).map_err(|failure| StoreError::from_io(file, &failure)),
        // Somebody reads for long, a backup for instance.
        Ok(true) => Err(StoreError::Busy { file: Arc::clone(file) }),
        Err(failure) => Err(StoreError::from_sqlite(file, &failure)),
    }
}

fn prepare(db: &Connection) -> rusqlite::Result<()> {
    // FULL syncs the log at each commit: what was acknowledged survives a power cut. When the log is moved into the file
    // is our own affair (keeper.rs): SQLite would trust what it has not synced.
    db.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;",
    )?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Looks through the file for damage, as far as a start may wait for it: all of a small file, the first part of a large
/// one. What is beyond is found when it is read, and `reveille backup` looks at everything.
fn examine(db: &Connection, file: &Arc<str>) -> Result<(), StoreError> {
    let interrupt = db.get_interrupt_handle();
    let (over, wait) = mpsc::channel::<()>();
    let guard = super::spawn("store-examine".into(), file, move || {
        // Whoever has finished drops its end.
        if wait.recv_timeout(EXAMINE_FOR) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    })?;
    let verdict = db.query_row("PRAGMA quick_check(1)", (), |row| row.get::<_, String>(0));
    drop(over);
    // Before anything else runs on this connection: a late interruption would hit that.
    let _ = guard.join();
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(detail) => Err(StoreError::Corrupt { file: Arc::clone(file), detail }),
        Err(failure) if failure.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(()),
        Err(failure) => Err(StoreError::from_sqlite(file, &failure)),
    }
}

/// Opens a connection that can only read.
pub(super) fn open_reader(path: &Path, file: &Arc<str>) -> Result<Connection, StoreError> {
    // Not `query_only` on top of it: a backup is written through such a connection.
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|failure| StoreError::from_sqlite(file, &failure))
}

/// Opens the connection that moves the log into the file.
pub(super) fn open_keeper(path: &Path, file: &Arc<str>) -> Result<Connection, StoreError> {
    let open = || {
        let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;")?;
        Ok(db)
    };
    open().map_err(|failure: rusqlite::Error| StoreError::from_sqlite(file, &failure))
}

/// The log after a checkpoint, in pages.
pub(super) struct Log {
    pub(super) pages: i64,
    /// How many of them stand in the file now; it was synced if that is all of them.
    pub(super) moved: i64,
}

/// Moves as much of the log into the file as nobody is reading, waiting for no one.
pub(super) fn checkpoint(db: &Connection) -> rusqlite::Result<Log> {
    // The row is: whether it was kept from it, pages in the log, pages of them moved.
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| Ok(Log { pages: row.get(1)?, moved: row.get(2)? }))
}

/// Writes a complete, compact copy of what `db` sees to `to`, which must not exist. It appears there whole or not at all.
pub(super) fn copy_whole(db: &Connection, to: &Path, file: &Arc<str>) -> Result<(), StoreError> {
    let target: Arc<str> = to.to_string_lossy().into();
    let failed = |failure: io::Error| StoreError::from_io(&target, &failure);
    if to.try_exists().map_err(failed)? {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let partial = beside(to, ".partial");
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(failed)?;
    let copied = db
        .execute("VACUUM INTO ?1", [partial.to_string_lossy()])
        .map_err(|failure| StoreError::from_sqlite(file, &failure))
        .and_then(|_| made.sync_all().and_then(|()| std::fs::rename(&partial, to)).map_err(failed))
        .and_then(|()| sync_folder(to).map_err(failed));
    if copied.is_err() {
        // Half a copy is worse than none; if it cannot be removed either, its name says what it is.
        drop(std::fs::remove_file(&partial));
    }
    copied
}

fn connect(path: &Path, rights: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection stays with one thread at a time, so SQLite's own mutexes are not needed.
    let db = Connection::open_with_flags(path, rights | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_WAIT)?;
    Ok(db)
}

/// Reads the number of the file's layout, and makes sure that the file is ours to touch.
fn identify(db: &Connection, file: &Arc<str>, layout: &Layout) -> Result<i64, StoreError> {
    let failed = |failure: rusqlite::Error| StoreError::from_sqlite(file, &failure);
    let number = |pragma: &str| db.query_row(pragma, (), |row| row.get::<_, i64>(0)).map_err(failed);
    let (mark, found) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    let tables = number("SELECT count(*) FROM sqlite_master")?;
    let fresh = mark == 0 && found == 0 && tables == 0;
    if mark != i64::from(i32::from_be_bytes(layout.mark)) && !fresh {
        return Err(StoreError::NotOurs { file: Arc::clone(file), wanted: layout.name });
    }
    let known = layout.migrations.len() as i64;
    if found > known {
        return Err(StoreError::Schema { file: Arc::clone(file), found, known });
    }
    Ok(found)
}

/// Runs the steps that the file has not seen, all or none of them.
fn migrate(db: &Connection, file: &Arc<str>, layout: &Layout, found: i64) -> Result<(), StoreError> {
    let known = layout.migrations.len() as i64;
    if found == known {
        return Ok(());
    }
    let steps = || {
        db.execute_batch("BEGIN IMMEDIATE")?;
        // Another process may have been quicker with a shared file.
        let found: u32 = db.query_row("PRAGMA user_version", (), |row| row.get(0))?;
        for step in layout.migrations.iter().skip(found as usize) {
            db.execute_batch(step)?;
        }
        let mark = i32::from_be_bytes(layout.mark);
        db.execute_batch(&format!("PRAGMA user_version = {known}; PRAGMA application_id = {mark}; COMMIT"))
    };
    steps().map_err(|failure| StoreError::from_sqlite(file, &failure))
}

/// Makes the file, if there is none, before SQLite does: that would give everybody the right to read, and the file
/// holds tokens. The log and its index take their rights from it.
fn make(path: &Path) -> io::Result<()> {
    // An existing file is not opened here: closing it again would undo the locks that this process may hold on it
    // through SQLite (fcntl(2): "record locks are automatically released … if it closes any file descriptor").
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(made) => made.sync_all().and_then(|()| sync_folder(path)),
        Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Syncs the log that a process has left which was killed: its last transaction may stand there and not yet on the disk.
fn make_safe(path: &Path) -> io::Result<()> {
    // SQLite locks the file and its index, never the log: opening it here loses nobody's lock.
    match File::open(beside(path, LOG)) {
        Ok(log) => log.sync_all().and_then(|()| sync_folder(path)),
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Which files we have open under which names, to notice when somebody takes them away.
pub(super) struct Place {
    path: PathBuf,
    log: PathBuf,
    /// Device and number of the file, and of its log once there is one.
    of_file: Option<(u64, u64)>,
    of_log: Option<(u64, u64)>,
}

impl Place {
    /// As it is now.
    pub(super) fn of(path: &Path) -> Self {
        let log = beside(path, LOG);
        Self { of_file: identity(path), of_log: identity(&log), path: path.to_owned(), log }
    }

    /// Whether the names still lead to the files that are open: two calls of the system, once for each batch.
    pub(super) fn still_holds(&mut self) -> bool {
        self.of_log = self.of_log.or_else(|| identity(&self.log));
        self.of_file == identity(&self.path) && self.of_log == identity(&self.log)
    }
}

/// Device and number of a file.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|is| (is.dev(), is.ino()))
}

/// How the log beside a file ends (sqlite.org/wal.html).
const LOG: &str = "-wal";

/// How long a start may look for damage.
const EXAMINE_FOR: Duration = Duration::from_millis(400);

/// Opens or makes a file that only this user may read.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Makes the folder remember a file that was made or renamed in it.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// How long to wait for another process that writes the same file.
const BUSY_WAIT: Duration = Duration::from_secs(5);
