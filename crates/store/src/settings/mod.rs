//! What the organisation wants, kept with author, time and version (DESIGN.md §9).
//!
//! The file may be shared by several processes of one machine: home and edge of one organisation see one another's
//! changes within a twentieth of a second, and rules across records hold for all of them together.

mod lookout;
mod sqlite;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use reveille_core::Timestamp;
use reveille_core::settings::{Conflict, Setting, SettingChange, SettingKey, Snapshot};
use tokio::sync::watch;

use crate::completion::{Completion, wait};
use crate::error::StoreError;

pub use sqlite::SqliteSettings;

/// Where settings are read, watched and changed.
pub trait Settings: Send + Sync + 'static {
    /// All settings as this process knows them, without waiting: at most a twentieth of a second old. The local replica.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// All settings as they are on disk at this moment, whoever has changed them last. The central store.
    fn fresh(&self) -> Result<Arc<Snapshot>, StoreError>;

    /// Follows the settings; the value at the start is [`Self::snapshot`].
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>>;

    /// Makes all of these changes, each against the rules and the ones before it, or none. Answers the new version.
    ///
    /// The outer result is the file's, the inner one the rules'.
    fn apply(&self, author: &str, at: Timestamp, edits: Vec<Edit>, done: Completion<Result<u64, Refused>>);

    /// [`Self::apply`] as a future, with one error for all questions. It is under way as soon as this returns.
    fn edit(&self, author: &str, at: Timestamp, edits: Vec<Edit>) -> Changing {
        let applied = wait(|done| self.apply(author, at, edits, done));
        Box::pin(async { Ok(applied.await??) })
    }

    /// [`Self::edit`] whatever the records have been before.
    fn change(&self, author: &str, at: Timestamp, changes: Vec<SettingChange>) -> Changing {
        self.edit(author, at, changes.into_iter().map(Edit::from).collect())
    }

    /// Changes that were made, newest first; the newest 10,000 are kept.
    fn history(&self, past: &Past) -> Result<Vec<SettingHistory>, StoreError>;
}

/// Settings that are being changed; see [`Settings::edit`].
pub type Changing = Pin<Box<dyn Future<Output = Result<u64, SettingsError>> + Send>>;

/// One wish, and what the one who has it knows of the record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Edit {
    /// What is to be done.
    pub change: SettingChange,
    /// The record's version when it was read, 0 if there was none; none to change it whatever it is.
    pub read: Option<u64>,
}

impl From<SettingChange> for Edit {
    fn from(change: SettingChange) -> Self {
        Self { change, read: None }
    }
}

/// Why none of the wishes was granted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Somebody was faster.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// A rule forbids it.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// A record is no longer what it was when it was read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{key} was {} by {by} at {at}, after it was read: read it again and repeat the change", deed(*exists, *read))]
pub struct Changed {
    /// The record.
    pub key: SettingKey,
    /// Who changed it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The version that this made.
    pub version: u64,
    /// Whether it is there.
    pub exists: bool,
    /// The version that the second one had read; 0 for none.
    pub read: u64,
}

const fn deed(exists: bool, read: u64) -> &'static str {
    match (exists, read) {
        (false, _) => "removed",
        (true, 0) => "made",
        (true, _) => "changed",
    }
}

/// Why settings were not changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// Somebody was faster.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// A rule across records forbids it.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The file did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refused> for SettingsError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Changed(changed) => Self::Changed(changed),
            Refused::Conflict(conflict) => Self::Conflict(conflict),
        }
    }
}

impl SettingsError {
    /// Whether the same call may succeed a little later without anybody doing anything.
    pub const fn retry_helps(&self) -> bool {
        match self {
            Self::Changed(_) | Self::Conflict(_) => false,
            Self::Store(failure) => failure.retry_helps(),
        }
    }
}

/// Which changes of the past are asked for; what is not said is not looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Past {
    /// Of records of this kind.
    pub kind: Option<String>,
    /// Of records of this name or scope, in any case.
    pub identity: Option<String>,
    /// By this author.
    pub author: Option<String>,
    /// Made at this instant or later.
    pub since: Option<Timestamp>,
    /// The newest of them, so many.
    pub limit: usize,
}

/// One change that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SettingHistory {
    /// The version that it made.
    pub version: u64,
    /// Who made it.
    pub author: String,
    /// When.
    pub at: Timestamp,
    /// What was there before; none if there was no such record.
    pub before: Option<Setting>,
    /// What was changed.
    pub change: SettingChange,
}
