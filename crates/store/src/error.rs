//! What can go wrong with a store's file, in sentences.

use std::io;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why a store could not do what it was asked to. Nothing of the change in question was kept, unless it says `Io` or
/// `Unsynced`: then the disk has not said whether it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// Another process was writing for too long.
    #[error("{file} was held by another process for too long")]
    Busy {
        /// The file.
        file: Arc<str>,
    },
    /// The store has been closed.
    #[error("{file} has been closed")]
    Closed {
        /// The file.
        file: Arc<str>,
    },
    /// The file is damaged.
    #[error("{file} is damaged, and the last backup is needed: {detail}")]
    Corrupt {
        /// The file.
        file: Arc<str>,
        /// What SQLite said.
        detail: String,
    },
    /// There is no room left.
    #[error("the disk that holds {file} is full")]
    DiskFull {
        /// The file.
        file: Arc<str>,
    },
    /// More is waiting to be written than the store takes.
    #[error("{file} has {records} changes waiting to be written and takes no more for now")]
    Full {
        /// The file.
        file: Arc<str>,
        /// How many records wait.
        records: usize,
    },
    /// One process at a time.
    #[error("{file} is in use by another process{}, and only one may have it open", process(*.owner))]
    InUse {
        /// The file.
        file: Arc<str>,
        /// The process that has it, if it says.
        owner: Option<u32>,
    },
    /// The disk or the operating system failed.
    #[error("{file} could not be read or written: {detail}")]
    Io {
        /// The file.
        file: Arc<str>,
        /// What the system said.
        detail: String,
    },
    /// Some other program's file, or another role's.
    #[error("{file} is not a {wanted} file of Reveille")]
    NotOurs {
        /// The file.
        file: Arc<str>,
        /// What was expected to be in it.
        wanted: &'static str,
    },
    /// The file may not be written.
    #[error("{file} cannot be written: it, its folder or its disk is read-only for this user")]
    ReadOnly {
        /// The file.
        file: Arc<str>,
    },
    /// What we write to is not what has this name.
    #[error(
        "{file} was replaced or removed while it was in use, and what is taken now would be lost with it: put it back as it \
         was, or stop this process first"
    )]
    Replaced {
        /// The file, or the log beside it.
        file: Arc<str>,
    },
    /// A newer Reveille has made the file.
    #[error("{file} has layout {found}, and this version of Reveille knows layouts up to {known}")]
    Schema {
        /// The file.
        file: Arc<str>,
        /// The layout's number in the file.
        found: i64,
        /// The newest layout known here.
        known: i64,
    },
    /// A record does not read back.
    #[error("{file} holds a record that this version of Reveille cannot read: {detail}")]
    Unreadable {
        /// The file.
        file: Arc<str>,
        /// Where it is; never what it holds.
        detail: String,
    },
    /// The disk has not said that it has what was written.
    #[error("{file} was written and the disk failed to make it safe: {detail}")]
    Unsynced {
        /// The file.
        file: Arc<str>,
        /// What SQLite said.
        detail: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed a little later without anybody doing anything.
    pub const fn retry_helps(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Full { .. } | Self::Io { .. } | Self::Unsynced { .. } => true,
            // Rooms are made by people, by a log rotation, or by our own purge: trying again is right, but not soon.
            Self::DiskFull { .. } => true,
            Self::Closed { .. }
            | Self::Corrupt { .. }
            | Self::InUse { .. }
            | Self::NotOurs { .. }
            | Self::ReadOnly { .. }
            | Self::Replaced { .. }
            | Self::Schema { .. }
            | Self::Unreadable { .. } => false,
        }
    }

    /// The sentence for what SQLite said about `file`. Values never appear in it, only places.
    pub(crate) fn from_sqlite(file: &Arc<str>, error: &rusqlite::Error) -> Self {
        let file = Arc::clone(file);
        let Some(failure) = error.sqlite_error() else {
            return Self::Unreadable { file, detail: place(error) };
        };
        match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy { file },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt { file, detail: error.to_string() },
            ErrorCode::DiskFull => Self::DiskFull { file },
            // The shared-memory file beside the log could not grow; SQLite gives this its own number.
            ErrorCode::SystemIoFailure if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => {
                Self::DiskFull { file }
            }
            ErrorCode::ReadOnly => Self::ReadOnly { file },
            ErrorCode::SystemIoFailure if is_about_a_sync(failure.extended_code) => {
                Self::Unsynced { file, detail: error.to_string() }
            }
            _ => Self::Io { file, detail: error.to_string() },
        }
    }

    /// The sentence for what the operating system said about `file`.
    pub(crate) fn from_io(file: &Arc<str>, error: &io::Error) -> Self {
        let file = Arc::clone(file);
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { file },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { file },
            _ => Self::Io { file, detail: error.to_string() },
        }
    }
}

const fn is_about_a_sync(extended_code: i32) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    matches!(extended_code, SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC)
}

fn process(owner: Option<u32>) -> String {
    owner.map(|pid| format!(" ({pid})")).unwrap_or_default()
}

/// Where a value that does not read back stands. The conversion's own words may quote the value, so they are left out.
fn place(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::FromSqlConversionFailure(column, ..)
        | rusqlite::Error::IntegralValueOutOfRange(column, _)
        | rusqlite::Error::InvalidColumnType(column, ..) => format!("column {column} of a row has an unknown value"),
        rusqlite::Error::QueryReturnedNoRows => "a row that must exist is missing".into(),
        _ => "a row has an unknown form".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_sqlites_codes_that_matters_has_its_own_sentence() {
        let file: Arc<str> = "home.db".into();
        let said = |code: i32| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            StoreError::from_sqlite(&file, &error).to_string()
        };
        for (code, part) in [
            (rusqlite::ffi::SQLITE_BUSY, "another process"),
            (rusqlite::ffi::SQLITE_CORRUPT, "damaged"),
            (rusqlite::ffi::SQLITE_NOTADB, "damaged"),
            (rusqlite::ffi::SQLITE_FULL, "full"),
            (rusqlite::ffi::SQLITE_IOERR_SHMSIZE, "full"),
            (rusqlite::ffi::SQLITE_READONLY, "read-only"),
            (rusqlite::ffi::SQLITE_IOERR_FSYNC, "failed to make it safe"),
            (rusqlite::ffi::SQLITE_IOERR_WRITE, "could not be read or written"),
        ] {
            let sentence = said(code);
            assert!(sentence.contains(part) && sentence.contains("home.db"), "{code}: {sentence}");
        }
    }

    #[test]
    fn a_value_that_does_not_read_back_is_named_by_its_place_and_never_shown() {
        let source = serde_json::from_str::<u32>("\"secret-token\"").unwrap_err();
        let error = rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, Box::new(source));
        let sentence = StoreError::from_sqlite(&"home.db".into(), &error).to_string();
        assert!(sentence.contains("column 3") && !sentence.contains("secret"), "{sentence}");
    }
}
