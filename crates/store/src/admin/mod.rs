//! Who administers, with what right to come in, and what they did: `admin.db`, beside the settings (DESIGN.md §9).
//!
//! Like the settings the file may be shared by several processes of one machine. Passwords are kept as the hash that the
//! caller made of them, tokens and sessions as the digest of a long random secret; none of them can be printed.

mod guesses;
mod layout;
mod retired;
mod sqlite;

use std::fmt;
use std::time::Duration;

use reveille_core::Timestamp;

use crate::completion::Completion;
use crate::error::StoreError;

pub use sqlite::SqliteAdmin;

/// Accounts of administrators, and the tokens and sessions that stand for them.
pub trait Accounts: Send + Sync + 'static {
    /// The account of that name.
    fn account(&self, name: &str) -> Result<Option<Account>, StoreError>;

    /// All accounts by name.
    fn accounts(&self) -> Result<Vec<Account>, StoreError>;

    /// The account that a client certificate of that SHA-256 fingerprint stands for.
    fn certified(&self, fingerprint: &[u8; 32]) -> Result<Option<Account>, StoreError>;

    /// Keeps an account, if it is as the caller has seen it: `seen` is the version that was read, 0 if there was none.
    /// Whoever was signed in as it must sign in again. Answers the new version.
    ///
    /// `given` names the roles that this gives it and that somebody may be removing at that moment.
    ///
    /// The outer result is the file's, the inner one says that somebody else was first, or that there are too many.
    fn put_account(&self, account: Account, seen: u64, given: Given, done: Completion<Result<u64, AccountConflict>>);

    /// Removes an account with all that stands for it, if it is as the caller has seen it.
    fn remove_account(&self, name: &str, seen: u64, done: Completion<Result<(), AccountConflict>>);

    /// The moment of now, for [`Given`]: grows with every change of any account.
    fn moment(&self) -> Result<u64, StoreError>;

    /// Begins the removal of a role: takes it from every account that has it, which ends their sessions, and lets nobody be
    /// given it until [`Self::end_retirement`]. Answers what was begun, and whose it was.
    fn retire_role(&self, role: RoleSeen, by: &str, at: Timestamp, done: Completion<(Retirement, Vec<String>)>);

    /// Notes that the role of that name is gone from the settings, or that it stays after all.
    fn end_retirement(&self, name: &str, moment: u64, done: Completion<()>);

    /// The removals of roles that were begun and did not end, the oldest first.
    fn open_retirements(&self) -> Result<Vec<Retirement>, StoreError>;

    /// The token or session of that id.
    fn pass(&self, id: &str) -> Result<Option<Pass>, StoreError>;

    /// All tokens, or all sessions, the newest first.
    fn passes(&self, kind: PassKind) -> Result<Vec<Pass>, StoreError>;

    /// Keeps a token or session. Those whose time is over at its `created` go; a session too many ends the account's
    /// oldest, a token too many is refused.
    fn put_pass(&self, pass: Pass, done: Completion<Result<(), AccountConflict>>);

    /// Notes that a token was used; noted at most once a minute by whoever calls this.
    fn touch_pass(&self, id: &str, at: Timestamp, done: Completion<()>);

    /// Ends a token or session. Answers whether there was one.
    fn remove_pass(&self, id: &str, done: Completion<bool>);
}

/// Wrong guesses at passwords of late, by a key of the caller's (an account, an address). All processes that have the file
/// count together.
pub trait Guesses: Send + Sync + 'static {
    /// What is known of a key.
    fn guessed(&self, key: &str) -> Result<Option<Guessed>, StoreError>;

    /// Counts one more wrong guess at each of the keys. After `forget` without one a key begins anew. The newest of those
    /// with the most guesses are remembered, [`GUESSES_MAX`] of them.
    fn guess(&self, keys: Vec<String>, at: Timestamp, forget: Duration, done: Completion<()>);

    /// Forgets a key.
    fn forget_guesses(&self, key: &str, done: Completion<()>);
}

/// What is known of a key that somebody guesses at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Guessed {
    /// How many were wrong.
    pub wrong: u32,
    /// When the last one was.
    pub last: Timestamp,
}

/// The record of what administrators did.
pub trait Audit: Send + Sync + 'static {
    /// Adds an entry and answers its number. The newest [`AUDIT_DONE_MAX`] and, apart from them, the newest
    /// [`AUDIT_REFUSED_MAX`] of what was refused are kept: who is refused often pushes nobody's deeds out.
    fn note(&self, entry: AuditEntry, done: Completion<u64>);

    /// Completes an entry whose outcome was not known.
    fn close_note(&self, number: u64, outcome: AuditOutcome, detail: &str, millis: u64, done: Completion<()>);

    /// The entries that fit, the newest first.
    fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError>;
}

/// An administrator who is known to this product and not to the machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The name, in lower case.
    pub name: String,
    /// The hash of the password, if there is one.
    pub password: Option<PasswordHash>,
    /// The SHA-256 fingerprint of the client certificate that stands for the account, if there is one.
    pub certificate: Option<[u8; 32]>,
    /// The names of the roles.
    pub roles: Vec<String>,
    /// Whether nobody may come in as it.
    pub disabled: bool,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was changed last.
    pub changed: Timestamp,
    /// By whom.
    pub changed_by: String,
    /// Grows with each change of any account; given by the store.
    pub version: u64,
}

/// Roles that an account is given, which the caller has seen in the settings.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Given {
    /// Their names, in any case.
    pub roles: Vec<String>,
    /// [`Accounts::moment`], read before the settings were.
    pub as_of: u64,
}

/// A role as somebody has seen it in the settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoleSeen {
    /// Its name, in any case.
    pub name: String,
    /// The version of its record.
    pub version: u64,
}

/// The removal of a role, from the moment on at which no account has it any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Retirement {
    /// The role; its name in lower case.
    pub role: RoleSeen,
    /// Which of several removals of one name it is.
    pub moment: u64,
    /// Who removes it.
    pub by: String,
    /// When it was begun.
    pub at: Timestamp,
}

/// The hash of a password with its salt and costs, as text. `Debug` does not show it.
#[derive(Clone, Eq, PartialEq)]
pub struct PasswordHash(Box<str>);

impl PasswordHash {
    /// Takes the text form.
    pub fn new(phc: impl Into<Box<str>>) -> Self {
        Self(phc.into())
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// What stands for an account: a token that a program holds, or a session that began with a password.
#[derive(Clone, Eq, PartialEq)]
pub struct Pass {
    /// What it is called; no secret.
    pub id: String,
    /// Which of the two it is.
    pub kind: PassKind,
    /// The digest of its secret.
    pub digest: [u8; 32],
    /// The account.
    pub account: String,
    /// What it is for, or where the session was opened from.
    pub comment: String,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Until when it is good.
    pub expires: Timestamp,
    /// When it was used last, to a minute.
    pub used: Option<Timestamp>,
}

/// Shows no digest.
impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, account, expires, .. } = self;
        f.debug_struct("Pass")
            .field("id", id)
            .field("kind", kind)
            .field("account", account)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

/// What kind of pass it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PassKind {
    /// Begun with a password; ends with it.
    Session,
    /// Made for a program.
    Token,
}

/// Why an account, or a pass, was not kept.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AccountConflict {
    /// It is not as the caller has seen it.
    #[error("the account \"{name}\" was changed by {by} at {at} meanwhile")]
    Changed {
        /// Its name.
        name: String,
        /// Who changed it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// There is one of that name.
    #[error("there is an account \"{name}\" already")]
    Exists {
        /// Its name.
        name: String,
    },
    /// Another account has the same certificate.
    #[error("the certificate stands for the account \"{name}\" already")]
    CertificateTaken {
        /// That account.
        name: String,
    },
    /// There is none.
    #[error("there is no account \"{name}\"")]
    Gone {
        /// Its name.
        name: String,
    },
    /// A role that it was to be given is being removed, or was a moment ago.
    #[error("the role \"{role}\" is being removed, or was at this moment, so \"{name}\" was not given it")]
    RoleGone {
        /// The account.
        name: String,
        /// The role.
        role: String,
    },
    /// As many as there may be.
    #[error("there are {most} {what} already, and there may be no more")]
    TooMany {
        /// The word for them.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
}

/// One thing that an administrator did, or was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditEntry {
    /// Its number; given by the store.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// From where: `local`, or an address.
    pub from: String,
    /// The cmdlet, or `sign-in`.
    pub cmdlet: String,
    /// Its parameters as JSON, secrets masked.
    pub parameters: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The sentence if it went wrong.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// How something ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AuditOutcome {
    /// It has begun. Where this stays, the server ended before the cmdlet did.
    Begun,
    /// It was done.
    Done,
    /// It went wrong.
    Failed,
    /// The caller may not.
    Refused,
    /// Only what would be done was asked.
    WhatIf,
}

impl AuditOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Begun, Self::Done, Self::Failed, Self::Refused, Self::WhatIf];

    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "Begun",
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::Refused => "Refused",
            Self::WhatIf => "WhatIf",
        }
    }
}

/// Which entries are wanted; what is left out does not matter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuditQuery {
    /// Of this author, in any case.
    pub author: Option<String>,
    /// Of this cmdlet, in any case.
    pub cmdlet: Option<String>,
    /// With this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
}

/// Accounts that there may be.
pub const ACCOUNTS_MAX: usize = 1000;
/// Removed roles that are remembered.
pub const RETIRED_MAX: usize = 1000;
/// Accounts and addresses whose wrong guesses are remembered.
pub const GUESSES_MAX: usize = 10_000;
/// Tokens that there may be.
pub const TOKENS_MAX: usize = 1000;
/// Sessions of one account; the oldest ends when another begins.
pub const SESSIONS_PER_ACCOUNT: usize = 16;
/// Entries kept of what was done.
pub const AUDIT_DONE_MAX: usize = 20_000;
/// Entries kept of what was refused.
pub const AUDIT_REFUSED_MAX: usize = 5000;
/// The longest parameters kept of one entry, in characters.
pub const AUDIT_PARAMETERS_MAX: usize = 4096;
