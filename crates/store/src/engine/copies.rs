//! Files as a whole, from outside of whoever serves them: copied while they are written, looked through, put to rest.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::file::{copy_whole, open_reader};
use crate::error::StoreError;

/// What a store's file says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inspected {
    /// What tells the roles' files apart.
    pub mark: i64,
    /// The number of its layout; a later version brings an older one up to date.
    pub layout: i64,
}

/// Writes a complete copy of a store's file, as of one instant, to `to`, which must not exist. A process that serves the
/// file goes on meanwhile, and may be another one.
///
/// Not with SQLite's backup interface: that begins anew whenever another process commits, and would never end under load.
pub fn copy_store(from: &Path, to: &Path) -> Result<(), StoreError> {
    let file: Arc<str> = from.to_string_lossy().into();
    let db = open_reader(from, &file)?;
    copy_whole(&db, to, &file)
}

/// Looks through a store's file that nobody serves: every page, and what each says of the others.
pub fn inspect_store(path: &Path) -> Result<Inspected, StoreError> {
    let file: Arc<str> = path.to_string_lossy().into();
    let db = open_reader(path, &file)?;
    let failed = |failure: rusqlite::Error| StoreError::from_sqlite(&file, &failure);
    let verdict: String = db.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(StoreError::Corrupt { file, detail: verdict });
    }
    let number = |pragma: &str| db.query_row(pragma, (), |row| row.get(0)).map_err(failed);
    Ok(Inspected { mark: number("PRAGMA application_id")?, layout: number("PRAGMA user_version")? })
}

/// Moves everything that a store's log holds into its file, so that the file alone is the whole. Refused as
/// [`StoreError::InUse`] while anybody else has it open.
pub fn rest_store(path: &Path) -> Result<(), StoreError> {
    let file: Arc<str> = path.to_string_lossy().into();
    let rest = || {
        let rights = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, rights)?;
        db.busy_timeout(Duration::ZERO)?;
        // sqlite.org/wal.html §3: leaving WAL mode needs the file for oneself, and ends with a checkpoint.
        db.query_row("PRAGMA journal_mode = DELETE", (), |row| row.get::<_, String>(0))
    };
    match rest() {
        Ok(mode) if mode == "delete" => Ok(()),
        Ok(_) => Err(StoreError::InUse { file, owner: None }),
        Err(failure) => Err(match StoreError::from_sqlite(&file, &failure) {
            StoreError::Busy { file } => StoreError::InUse { file, owner: None },
            other => other,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings as _, SqliteSettings};

    #[test]
    fn a_file_in_use_is_copied_whole_and_not_put_to_rest() {
        let folder = std::env::temp_dir().join(format!("reveille-copies-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (from, to) = (folder.join("settings.db"), folder.join("copy.db"));
        let settings = SqliteSettings::open(&from).unwrap();
        assert!(matches!(rest_store(&from), Err(StoreError::InUse { .. })));
        copy_store(&from, &to).unwrap();
        let inspected = inspect_store(&to).unwrap();
        assert_eq!(inspected, inspect_store(&from).unwrap());
        assert!(inspected.layout > 0 && inspected.mark != 0);
        assert!(copy_store(&from, &to).is_err(), "a copy takes no other's place");
        // A copy is one file, and looking at it leaves it so.
        let beside = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(beside.filter(|name| name.to_string_lossy().starts_with("copy.db")).count(), 1);

        settings.close();
        rest_store(&from).unwrap();
        assert!(!folder.join("settings.db-wal").exists());
        let again = SqliteSettings::open(&from).unwrap();
        assert_eq!(again.snapshot().version(), settings.snapshot().version());
        again.close();

        let mut bytes = std::fs::read(&to).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0xa5);
        std::fs::write(&to, bytes).unwrap();
        assert!(matches!(inspect_store(&to), Err(StoreError::Corrupt { .. })));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
