//! Wrong passwords, counted for all processes together: whoever may try at one would else try at each.

use std::time::Duration;

use reveille_core::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::{GUESSES_MAX, Guessed};
use crate::columns;

/// What is known of one key.
pub(super) fn of(db: &Connection, key: &str) -> rusqlite::Result<Option<Guessed>> {
    let mut query = db.prepare_cached("SELECT wrong, last FROM guess WHERE key = ?1")?;
    let read = |row: &rusqlite::Row<'_>| Ok(Guessed { wrong: row.get(0)?, last: columns::instant_at(row, 1)? });
    query.query_row([key], read).optional()
}

/// Counts one more at each of the keys; what is older than `forget` counts no more.
pub(super) fn count(db: &Connection, keys: &[String], at: Timestamp, forget: Duration) -> rusqlite::Result<()> {
    let now = columns::instant(at);
    let begin = now.saturating_sub(i64::try_from(forget.as_millis()).unwrap_or(i64::MAX));
    let mut add = db.prepare_cached(
        "INSERT INTO guess (key, wrong, last) VALUES (?1, 1, ?2) ON CONFLICT (key) DO UPDATE
         SET wrong = CASE WHEN last <= ?3 THEN 1 ELSE wrong + 1 END, last = excluded.last",
    )?;
    for key in keys {
        add.execute((key, now, begin))?;
    }
    let many: i64 = db.prepare_cached("SELECT count(*) FROM guess")?.query_row((), |row| row.get(0))?;
    if many > columns::rows(GUESSES_MAX) {
        db.prepare_cached("DELETE FROM guess WHERE last <= ?1")?.execute([begin])?;
        // Those with the fewest go: who guesses much is remembered. A tenth at once, so that this is not done each time.
        let mut trim = db.prepare_cached(
            "DELETE FROM guess WHERE key IN (SELECT key FROM guess ORDER BY wrong DESC, last DESC LIMIT -1 OFFSET ?1)",
        )?;
        trim.execute([columns::rows(GUESSES_MAX - GUESSES_MAX / 10)])?;
    }
    Ok(())
}

/// Forgets one key.
pub(super) fn forget(db: &Connection, key: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM guess WHERE key = ?1")?.execute([key]).map(drop)
}
