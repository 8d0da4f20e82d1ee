//! Roles that are taken from every account, so that nobody keeps or is given one while it is removed.
//!
//! A role stands in the settings and who has it stands here: two files, and no commit for both. So a removal begins here,
//! with one commit that takes the role from all and says so, and ends here after the role itself is gone. Wherever the
//! process stops, nobody keeps a name that somebody else's role may have later, and what was begun can be ended.

use reveille_core::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::{Given, RETIRED_MAX, Retirement, RoleSeen};
use crate::columns;

/// Takes the role from every account and ends their sessions. Answers that, and whose it was.
pub(super) fn begin(
    db: &Connection,
    role: &RoleSeen,
    by: &str,
    at: Timestamp,
) -> rusqlite::Result<(Retirement, Vec<String>)> {
    let mut freed = Vec::new();
    for mut account in super::sqlite::all(db)? {
        let before = account.roles.len();
        account.roles.retain(|held| !held.eq_ignore_ascii_case(&role.name));
        if account.roles.len() < before {
            by.clone_into(&mut account.changed_by);
            account.changed = at;
            super::sqlite::replace(db, &account)?;
            freed.push(account.name);
        }
    }
    let role = RoleSeen { name: role.name.to_ascii_lowercase(), version: role.version };
    let begun = Retirement { moment: super::sqlite::next_version(db)?, role, by: by.to_owned(), at };
    let mut note = db.prepare_cached(
        "INSERT OR REPLACE INTO retired_role (name, version, moment, author, at, over) VALUES (?1, ?2, ?3, ?4, ?5, 0)",
    )?;
    let (version, moment) = (columns::number(begun.role.version), columns::number(begun.moment));
    note.execute((&begun.role.name, version, moment, by, columns::instant(at)))?;
    // Those that are over only matter to whoever was about to give them at that moment.
    let mut trim = db.prepare_cached(
        "DELETE FROM retired_role WHERE over AND name IN
         (SELECT name FROM retired_role ORDER BY moment DESC LIMIT -1 OFFSET ?1)",
    )?;
    trim.execute([columns::rows(RETIRED_MAX)])?;
    Ok((begun, freed))
}

/// Notes that the role itself is gone, or that it stays after all; unless its removal has begun anew since.
pub(super) fn end(db: &Connection, name: &str, moment: u64) -> rusqlite::Result<()> {
    let mut end = db.prepare_cached("UPDATE retired_role SET over = 1 WHERE name = ?1 AND moment = ?2")?;
    end.execute((name.to_ascii_lowercase(), columns::number(moment))).map(drop)
}

/// The first of these roles whose removal has begun since they were looked at, or is not over.
pub(super) fn gone<'a>(db: &Connection, given: &'a Given) -> rusqlite::Result<Option<&'a str>> {
    let mut query = db.prepare_cached("SELECT 1 FROM retired_role WHERE name = ?1 AND (NOT over OR moment > ?2)")?;
    for role in &given.roles {
        let found =
            query.query_row((role.to_ascii_lowercase(), columns::number(given.as_of)), |_| Ok(())).optional()?;
        if found.is_some() {
            return Ok(Some(role));
        }
    }
    Ok(None)
}

/// Those that are not over, the oldest first.
pub(super) fn open(db: &Connection) -> rusqlite::Result<Vec<Retirement>> {
    let mut query =
        db.prepare_cached("SELECT name, version, moment, author, at FROM retired_role WHERE NOT over ORDER BY moment")?;
    let rows = query.query_map((), |row| {
        let role = RoleSeen { name: row.get(0)?, version: columns::number_at(row, 1)? };
        let (moment, at) = (columns::number_at(row, 2)?, columns::instant_at(row, 4)?);
        Ok(Retirement { role, moment, by: row.get(3)?, at })
    })?;
    rows.collect()
}
