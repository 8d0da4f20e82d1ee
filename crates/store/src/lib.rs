//! What outlives a restart: traits, SQLite, and the battery every backend passes (DESIGN.md §8).
//!
//! Four stores, each with a trait and a SQLite file of its own:
//!
//! * [`Settings`] ([`SqliteSettings`], `settings.db`): what the organisation wants; several processes may share it.
//! * [`HomeStore`] ([`SqliteHome`], `home.db`): devices, kept messages and owed pushes; one process at a time.
//! * [`Journal`] ([`SqliteJournal`], `clearinghouse.db`): accepted push requests, outcomes, owed feedback; one process.
//! * [`Accounts`], [`Guesses`] and [`Audit`] ([`SqliteAdmin`], `admin.db`): administrators, who guesses at their passwords,
//!   and what they did; shared as settings are.
//!
//! Every write is handed over with a [`Completion`] which is called exactly once, after the change is synced to disk.
//! [`wait`] turns that into a future:
//!
//! ```
//! # use reveille_store::{wait, HomeStore, SqliteHome, StoreError};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("reveille-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let home = SqliteHome::open(&folder.join("home.db"))?;
//! let kept = wait(|done| home.commit(vec![], done));
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! kept.await?; // what was given is on disk from here on
//! # Ok::<(), StoreError>(())
//! # })?;
//! # home.close();
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! Reads are ordinary functions: they look into the file on the calling thread (microseconds when the page is in
//! memory, longer when it is not), so a task with many or large reads to make should make them where blocking is allowed.
#![warn(missing_docs)]

mod admin;
#[cfg(test)]
mod battery;
mod columns;
mod completion;
mod engine;
mod error;
mod home;
mod journal;
mod settings;

pub use admin::{
    ACCOUNTS_MAX, AUDIT_DONE_MAX, AUDIT_PARAMETERS_MAX, AUDIT_REFUSED_MAX, Account, AccountConflict, Accounts, Audit,
    AuditEntry, AuditOutcome, AuditQuery, GUESSES_MAX, Given, Guessed, Guesses, Pass, PassKind, PasswordHash,
    RETIRED_MAX, Retirement, RoleSeen, SESSIONS_PER_ACCOUNT, SqliteAdmin, TOKENS_MAX,
};
pub use completion::{Completion, Pending, wait};
pub use engine::{Inspected, Limits, Room, copy_store, inspect_store, rest_store};
pub use error::StoreError;
pub use home::{DeviceRecord, HomeChange, HomeStore, KnownPush, OwedPush, SqliteHome, StoredMessage};
pub use journal::{
    Appended, Brake, BrakeScope, Braked, Completed, Counts, Dead, Death, FEEDBACK_MAX, FeedbackEnd, FeedbackId,
    FeedbackItem, Journal, JournalEntry, News, OpenEntry, OpenStretch, OwedFeedback, Recent, SqliteJournal, Stretch,
    TRACED_MAX, TokenMark, Traced, TracedPush, VERDICTS_MAX, Verdicts, fingerprint,
};
pub use settings::{Changed, Changing, Edit, Past, Refused, SettingHistory, Settings, SettingsError, SqliteSettings};
