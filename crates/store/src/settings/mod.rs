//! What the organisation wants, kept with author, time and version (DESIGN.md §9).
//!
//! The file may be shared by several processes of one machine: home and edge of one organisation see one another's
//! changes within a quarter of a second, and rules across records hold for all of them together.

mod sqlite;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use reveille_core::Timestamp;
use reveille_core::settings::{Conflict, SettingChange, Snapshot};
use tokio::sync::watch;

use crate::completion::{Completion, wait};
use crate::error::StoreError;

pub use sqlite::SqliteSettings;

/// Where settings are read, watched and changed.
pub trait Settings: Send + Sync + 'static {
    /// All settings as of now, without waiting.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Follows the settings; the value at the start is [`Self::snapshot`].
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>>;

    /// Makes all of these changes, each against the rules and the ones before it, or none. Answers the new version.
    ///
    /// The outer result is the file's, the inner one the rules'.
    fn apply(&self, author: &str, at: Timestamp, changes: Vec<SettingChange>, done: Completion<Result<u64, Conflict>>);

    /// [`Self::apply`] as a future, with one error for both questions. It is under way as soon as this returns.
    fn change(&self, author: &str, at: Timestamp, changes: Vec<SettingChange>) -> Changing {
        let applied = wait(|done| self.apply(author, at, changes, done));
        Box::pin(async { Ok(applied.await??) })
    }

    /// The newest changes, newest first; the newest 10,000 are kept.
    fn history(&self, limit: usize) -> Result<Vec<SettingHistory>, StoreError>;
}

/// Settings that are being changed; see [`Settings::change`].
pub type Changing = Pin<Box<dyn Future<Output = Result<u64, SettingsError>> + Send>>;

/// Why settings were not changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A rule across records forbids it.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The file did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SettingsError {
    /// Whether the same call may succeed a little later without anybody doing anything.
    pub const fn retry_helps(&self) -> bool {
        match self {
            Self::Conflict(_) => false,
            Self::Store(failure) => failure.retry_helps(),
        }
    }
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
    /// What was changed.
    pub change: SettingChange,
}
