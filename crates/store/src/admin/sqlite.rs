//! Accounts and their record in a SQLite file that several processes may have open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use reveille_core::Timestamp;

use super::layout::LAYOUT;
use super::{
    ACCOUNTS_MAX, AUDIT_DONE_MAX, AUDIT_PARAMETERS_MAX, AUDIT_REFUSED_MAX, Account, AccountConflict, Accounts, Audit,
    AuditEntry, AuditOutcome, AuditQuery, Given, Guessed, Guesses, Pass, PassKind, PasswordHash, Retirement, RoleSeen,
    SESSIONS_PER_ACCOUNT, TOKENS_MAX, guesses, retired,
};
use crate::columns;
use crate::completion::Completion;
use crate::engine::{Engine, Limits, Memory};
use crate::error::StoreError;

/// Accounts, tokens, sessions and the audit log in a SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteAdmin {
    engine: Arc<Engine<Nothing>>,
}

impl SqliteAdmin {
    /// Opens or makes the file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { engine: Arc::new(Engine::open(path, &LAYOUT, Limits::default())?) })
    }

    /// Writes a complete copy of the file as of now to `to`, which must not exist. Work goes on meanwhile.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.engine.backup(to)
    }

    /// Writes what has queued, tells everybody, and lets go of the file, for all clones.
    pub fn close(&self) {
        self.engine.close();
    }
}

impl Accounts for SqliteAdmin {
    fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        self.engine.read(|db| find(db, name))
    }

    fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.engine.read(all)
    }

    fn certified(&self, fingerprint: &[u8; 32]) -> Result<Option<Account>, StoreError> {
        self.engine.read(|db| {
            let mut query = db.prepare_cached(&format!("SELECT {ACCOUNT} FROM account WHERE certificate = ?1"))?;
            query.query_row([fingerprint], account_row).optional()
        })
    }

    fn put_account(&self, account: Account, seen: u64, given: Given, done: Completion<Result<u64, AccountConflict>>) {
        let work = move |&mut db: &mut &Connection| {
            if let Some(conflict) = conflict(db, &account, seen)? {
                return Ok(Err(conflict));
            }
            if let Some(gone) = retired::gone(db, &given)? {
                return Ok(Err(AccountConflict::RoleGone { name: account.name.clone(), role: gone.to_owned() }));
            }
            replace(db, &account).map(Ok)
        };
        self.engine.submit(1, 1024, work, done);
    }

    fn moment(&self) -> Result<u64, StoreError> {
        self.engine.read(|db| {
            let mut query = db.prepare_cached("SELECT latest FROM account_version")?;
            query.query_row((), |row| columns::number_at(row, 0))
        })
    }

    fn retire_role(&self, role: RoleSeen, by: &str, at: Timestamp, done: Completion<(Retirement, Vec<String>)>) {
        let by = by.to_owned();
        let work = move |&mut db: &mut &Connection| retired::begin(db, &role, &by, at);
        self.engine.submit(1, 1024, work, done);
    }

    fn end_retirement(&self, name: &str, moment: u64, done: Completion<()>) {
        let name = name.to_owned();
        self.engine.submit(1, 64, move |&mut db: &mut &Connection| retired::end(db, &name, moment), done);
    }

    fn open_retirements(&self) -> Result<Vec<Retirement>, StoreError> {
        self.engine.read(retired::open)
    }

    fn remove_account(&self, name: &str, seen: u64, done: Completion<Result<(), AccountConflict>>) {
        let name = name.to_ascii_lowercase();
        let work = move |&mut db: &mut &Connection| {
            let Some(known) = find(db, &name)? else { return Ok(Err(AccountConflict::Gone { name: name.clone() })) };
            if known.version != seen {
                return Ok(Err(changed(known)));
            }
            db.prepare_cached("DELETE FROM pass WHERE account = ?1")?.execute([&name])?;
            db.prepare_cached("DELETE FROM account WHERE name = ?1")?.execute([&name])?;
            Ok(Ok(()))
        };
        self.engine.submit(1, 256, work, done);
    }

    fn pass(&self, id: &str) -> Result<Option<Pass>, StoreError> {
        self.engine.read(|db| {
            let mut query = db.prepare_cached(&format!("SELECT {PASS} FROM pass WHERE id = ?1"))?;
            query.query_row([id], pass_row).optional()
        })
    }

    fn passes(&self, kind: PassKind) -> Result<Vec<Pass>, StoreError> {
        self.engine.read(|db| {
            let sql = format!("SELECT {PASS} FROM pass WHERE kind = ?1 ORDER BY created DESC, id");
            let mut query = db.prepare_cached(&sql)?;
            query.query_map([word(kind)], pass_row)?.collect()
        })
    }

    fn put_pass(&self, pass: Pass, done: Completion<Result<(), AccountConflict>>) {
        let work = move |&mut db: &mut &Connection| {
            if find(db, &pass.account)?.is_none() {
                return Ok(Err(AccountConflict::Gone { name: pass.account.clone() }));
            }
            db.prepare_cached("DELETE FROM pass WHERE expires <= ?1")?.execute([columns::instant(pass.created)])?;
            if let Some(full) = make_room(db, &pass)? {
                return Ok(Err(full));
            }
            let mut put = db.prepare_cached(&format!(
                "INSERT INTO pass ({PASS}) VALUES (:id, :kind, :digest, :account, :comment, :created, :created_by,
                 :expires, :used)"
            ))?;
            put.execute(named_params! {
                ":id": pass.id, ":kind": word(pass.kind), ":digest": pass.digest, ":account": pass.account,
                ":comment": pass.comment, ":created": columns::instant(pass.created), ":created_by": pass.created_by,
                ":expires": columns::instant(pass.expires), ":used": pass.used.map(columns::instant),
            })?;
            Ok(Ok(()))
        };
        self.engine.submit(1, 512, work, done);
    }

    fn touch_pass(&self, id: &str, at: Timestamp, done: Completion<()>) {
        let id = id.to_owned();
        let work = move |&mut db: &mut &Connection| {
            let mut touch = db.prepare_cached("UPDATE pass SET used = ?2 WHERE id = ?1")?;
            touch.execute((&id, columns::instant(at))).map(drop)
        };
        self.engine.submit(1, 64, work, done);
    }

    fn remove_pass(&self, id: &str, done: Completion<bool>) {
        let id = id.to_owned();
        let work = move |&mut db: &mut &Connection| {
            Ok(db.prepare_cached("DELETE FROM pass WHERE id = ?1")?.execute([&id])? > 0)
        };
        self.engine.submit(1, 64, work, done);
    }
}

impl Guesses for SqliteAdmin {
    fn guessed(&self, key: &str) -> Result<Option<Guessed>, StoreError> {
        self.engine.read(|db| guesses::of(db, key))
    }

    fn guess(&self, keys: Vec<String>, at: Timestamp, forget: Duration, done: Completion<()>) {
        let work = move |&mut db: &mut &Connection| guesses::count(db, &keys, at, forget);
        self.engine.submit(1, 256, work, done);
    }

    fn forget_guesses(&self, key: &str, done: Completion<()>) {
        let key = key.to_owned();
        self.engine.submit(1, 128, move |&mut db: &mut &Connection| guesses::forget(db, &key), done);
    }
}

impl Audit for SqliteAdmin {
    fn note(&self, entry: AuditEntry, done: Completion<u64>) {
        let bytes = entry.parameters.len() + entry.detail.len() + 256;
        let work = move |&mut db: &mut &Connection| {
            let refused = entry.outcome == AuditOutcome::Refused;
            let mut put = db.prepare_cached(
                "INSERT INTO audit (at, author, came_from, cmdlet, parameters, outcome, detail, millis, refused)
                 VALUES (:at, :author, :from, :cmdlet, :parameters, :outcome, :detail, :millis, :refused)",
            )?;
            put.execute(named_params! {
                ":at": columns::instant(entry.at), ":author": entry.author, ":from": entry.from,
                ":cmdlet": entry.cmdlet, ":parameters": cut(&entry.parameters, AUDIT_PARAMETERS_MAX),
                ":outcome": entry.outcome.as_str(), ":detail": columns::detail(&entry.detail),
                ":millis": columns::number(entry.millis), ":refused": refused,
            })?;
            let number = db.last_insert_rowid();
            let most = if refused { AUDIT_REFUSED_MAX } else { AUDIT_DONE_MAX };
            let mut trim = db.prepare_cached(
                "DELETE FROM audit WHERE refused = ?1 AND number <=
                 (SELECT number FROM audit WHERE refused = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
            )?;
            trim.execute((refused, columns::rows(most)))?;
            Ok(number.max(0).cast_unsigned())
        };
        self.engine.submit(1, bytes, work, done);
    }

    fn close_note(&self, number: u64, outcome: AuditOutcome, detail: &str, millis: u64, done: Completion<()>) {
        let detail = columns::detail(detail).to_owned();
        let work = move |&mut db: &mut &Connection| {
            let mut close = db.prepare_cached(
                "UPDATE audit SET outcome = ?2, detail = ?3, millis = ?4 WHERE number = ?1 AND outcome = 'Begun'",
            )?;
            close.execute((columns::number(number), outcome.as_str(), &detail, columns::number(millis))).map(drop)
        };
        self.engine.submit(1, 256, work, done);
    }

    fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        self.engine.read(|db| {
            let mut found = db.prepare_cached(
                "SELECT number, at, author, came_from, cmdlet, parameters, outcome, detail, millis FROM audit
                 WHERE (:author IS NULL OR author = :author COLLATE NOCASE)
                   AND (:cmdlet IS NULL OR cmdlet = :cmdlet COLLATE NOCASE)
                   AND (:outcome IS NULL OR outcome = :outcome)
                   AND (:since IS NULL OR at >= :since) AND (:until IS NULL OR at < :until)
                 ORDER BY number DESC LIMIT :limit",
            )?;
            let rows = found.query_map(
                named_params! {
                    ":author": query.author, ":cmdlet": query.cmdlet,
                    ":outcome": query.outcome.map(AuditOutcome::as_str), ":since": query.since.map(columns::instant),
                    ":until": query.until.map(columns::instant), ":limit": columns::rows(query.limit),
                },
                audit_row,
            )?;
            rows.collect()
        })
    }
}

/// The writer remembers nothing: another process may change anything at any time.
pub(super) struct Nothing;

impl Memory for Nothing {
    type Desk<'a> = &'a Connection;

    fn load(_: &Connection) -> rusqlite::Result<Self> {
        Ok(Self)
    }

    fn desk<'a>(&'a mut self, db: &'a Connection) -> &'a Connection {
        db
    }
}

fn find(db: &Connection, name: &str) -> rusqlite::Result<Option<Account>> {
    let mut query = db.prepare_cached(&format!("SELECT {ACCOUNT} FROM account WHERE name = ?1"))?;
    query.query_row([name.to_ascii_lowercase()], account_row).optional()
}

/// All accounts by name.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Account>> {
    let mut query = db.prepare_cached(&format!("SELECT {ACCOUNT} FROM account ORDER BY name"))?;
    query.query_map((), account_row)?.collect()
}

/// Writes an account, and ends its sessions: who was signed in came in with a right, or a password, that may be no more.
/// Answers its new version.
pub(super) fn replace(db: &Connection, account: &Account) -> rusqlite::Result<u64> {
    let version = next_version(db)?;
    write(db, account, version)?;
    let mut end = db.prepare_cached("DELETE FROM pass WHERE account = ?1 AND kind = ?2")?;
    end.execute((&account.name, word(PassKind::Session)))?;
    Ok(version)
}

/// Why this account cannot be kept over what is there.
fn conflict(db: &Connection, account: &Account, seen: u64) -> rusqlite::Result<Option<AccountConflict>> {
    let name = account.name.clone();
    match (find(db, &name)?, seen) {
        (Some(_), 0) => return Ok(Some(AccountConflict::Exists { name })),
        (Some(known), seen) if known.version != seen => return Ok(Some(changed(known))),
        (None, 1..) => return Ok(Some(AccountConflict::Gone { name })),
        (None, 0) => {
            let many: isize = db.query_row("SELECT count(*) FROM account", (), |row| row.get(0))?;
            if many >= ACCOUNTS_MAX as isize {
                return Ok(Some(AccountConflict::TooMany { what: "accounts", most: ACCOUNTS_MAX }));
            }
        }
        (Some(_), _) => {}
    }
    let mut query = db.prepare_cached("SELECT name FROM account WHERE certificate = ?1 AND name <> ?2")?;
    let taken = query.query_row((account.certificate, &name), |row| row.get(0)).optional()?;
    Ok(taken.map(|name| AccountConflict::CertificateTaken { name }))
}

fn changed(known: Account) -> AccountConflict {
    AccountConflict::Changed { name: known.name, by: known.changed_by, at: known.changed }
}

/// Versions are never given twice, also not to an account that was removed and made again.
pub(super) fn next_version(db: &Connection) -> rusqlite::Result<u64> {
    let mut next = db.prepare_cached("UPDATE account_version SET latest = latest + 1 RETURNING latest")?;
    next.query_row((), |row| columns::number_at(row, 0))
}

fn write(db: &Connection, account: &Account, version: u64) -> rusqlite::Result<()> {
    let mut put = db.prepare_cached(&format!(
        "INSERT OR REPLACE INTO account ({ACCOUNT}) VALUES (:name, :password, :certificate, :roles, :disabled,
         :created, :created_by, :changed, :changed_by, :version)"
    ))?;
    put.execute(named_params! {
        ":name": account.name, ":password": account.password.as_ref().map(PasswordHash::as_str),
        ":certificate": account.certificate, ":roles": columns::json(&account.roles)?, ":disabled": account.disabled,
        ":created": columns::instant(account.created), ":created_by": account.created_by,
        ":changed": columns::instant(account.changed), ":changed_by": account.changed_by,
        ":version": columns::number(version),
    })?;
    Ok(())
}

/// Makes room for a session by ending the account's oldest ones; for a token there is room or not.
fn make_room(db: &Connection, pass: &Pass) -> rusqlite::Result<Option<AccountConflict>> {
    match pass.kind {
        PassKind::Session => {
            let mut trim = db.prepare_cached(
                "DELETE FROM pass WHERE id IN (SELECT id FROM pass WHERE account = ?1 AND kind = ?2
                 ORDER BY created DESC, id LIMIT -1 OFFSET ?3)",
            )?;
            trim.execute((&pass.account, word(pass.kind), columns::rows(SESSIONS_PER_ACCOUNT - 1)))?;
            Ok(None)
        }
        PassKind::Token => {
            let mut count = db.prepare_cached("SELECT count(*) FROM pass WHERE kind = ?1")?;
            let many: isize = count.query_row([word(pass.kind)], |row| row.get(0))?;
            Ok((many >= TOKENS_MAX as isize).then_some(AccountConflict::TooMany { what: "tokens", most: TOKENS_MAX }))
        }
    }
}

fn account_row(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        name: row.get(0)?,
        password: row.get::<_, Option<String>>(1)?.map(PasswordHash::new),
        certificate: row.get(2)?,
        roles: columns::json_at(row, 3)?,
        disabled: row.get(4)?,
        created: columns::instant_at(row, 5)?,
        created_by: row.get(6)?,
        changed: columns::instant_at(row, 7)?,
        changed_by: row.get(8)?,
        version: columns::number_at(row, 9)?,
    })
}

fn pass_row(row: &Row<'_>) -> rusqlite::Result<Pass> {
    Ok(Pass {
        id: row.get(0)?,
        kind: match row.get_ref(1)?.as_str()? {
            "session" => PassKind::Session,
            "token" => PassKind::Token,
            _ => return Err(columns::unknown(1)),
        },
        digest: row.get(2)?,
        account: row.get(3)?,
        comment: row.get(4)?,
        created: columns::instant_at(row, 5)?,
        created_by: row.get(6)?,
        expires: columns::instant_at(row, 7)?,
        used: columns::instant_or_none_at(row, 8)?,
    })
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let word = row.get_ref(6)?.as_str()?;
    let outcome = AuditOutcome::ALL.into_iter().find(|known| known.as_str() == word);
    Ok(AuditEntry {
        number: columns::number_at(row, 0)?,
        at: columns::instant_at(row, 1)?,
        author: row.get(2)?,
        from: row.get(3)?,
        cmdlet: row.get(4)?,
        parameters: row.get(5)?,
        outcome: outcome.ok_or_else(|| columns::unknown(6))?,
        detail: row.get(7)?,
        millis: columns::number_at(row, 8)?,
    })
}

const fn word(kind: PassKind) -> &'static str {
    match kind {
        PassKind::Session => "session",
        PassKind::Token => "token",
    }
}

/// At most `most` characters of `text`.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

const ACCOUNT: &str = "name, password, certificate, roles, disabled, created, created_by, changed, changed_by, version";
const PASS: &str = "id, kind, digest, account, comment, created, created_by, expires, used";
