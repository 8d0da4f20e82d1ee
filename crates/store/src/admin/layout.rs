//! The tables of `admin.db`, and how they came to be.

use crate::engine::Layout;

pub(super) const LAYOUT: Layout =
    Layout { name: "admin", mark: *b"RvlA", page_bytes: 4096, one_process: false, migrations: &[FIRST, SECOND] };

const FIRST: &str = "
    CREATE TABLE account (
        name TEXT PRIMARY KEY, password TEXT, certificate BLOB UNIQUE, roles TEXT NOT NULL,
        disabled INTEGER NOT NULL, created INTEGER NOT NULL, created_by TEXT NOT NULL, changed INTEGER NOT NULL,
        changed_by TEXT NOT NULL, version INTEGER NOT NULL
    );
    CREATE TABLE account_version (latest INTEGER NOT NULL);
    INSERT INTO account_version VALUES (0);
    CREATE TABLE pass (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, digest BLOB NOT NULL, account TEXT NOT NULL, comment TEXT NOT NULL,
        created INTEGER NOT NULL, created_by TEXT NOT NULL, expires INTEGER NOT NULL, used INTEGER
    );
    CREATE INDEX pass_account ON pass (account, kind, created);
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, author TEXT NOT NULL,
        came_from TEXT NOT NULL, cmdlet TEXT NOT NULL, parameters TEXT NOT NULL, outcome TEXT NOT NULL,
        detail TEXT NOT NULL, millis INTEGER NOT NULL, refused INTEGER NOT NULL
    );
    CREATE INDEX audit_refused ON audit (refused, number);
";

/// A removal of a role begins with the accounts, and wrong guesses are counted by all processes together.
const SECOND: &str = "
    CREATE TABLE retired_role (
        name TEXT PRIMARY KEY, version INTEGER NOT NULL, moment INTEGER NOT NULL, author TEXT NOT NULL,
        at INTEGER NOT NULL, over INTEGER NOT NULL
    );
    CREATE TABLE guess (key TEXT PRIMARY KEY, wrong INTEGER NOT NULL, last INTEGER NOT NULL);
";

#[cfg(test)]
mod tests {
    use reveille_core::Timestamp;
    use rusqlite::Connection;

    use super::*;
    use crate::admin::{Accounts as _, Guesses as _, RoleSeen, SqliteAdmin, sqlite::Nothing};
    use crate::battery::{Folder, outcome};
    use crate::engine::{Engine, Limits};

    #[test]
    fn a_file_of_the_first_version_keeps_its_accounts_and_counts_guesses_from_then_on() {
        const BEFORE: Layout = Layout { migrations: &[FIRST], ..LAYOUT };
        let folder = Folder::new();
        let path = folder.path().join("admin.db");
        let old = Engine::<Nothing>::open(&path, &BEFORE, Limits::default()).unwrap();
        let write = |&mut db: &mut &Connection| {
            let account = "INSERT INTO account VALUES ('bob', NULL, NULL, '[\"Tmp\"]', 0, 1, 'ann', 1, 'ann', 7)";
            db.execute(account, ())?;
            db.execute("UPDATE account_version SET latest = 7", ())
        };
        outcome(|done| old.submit(1, 1, write, done)).unwrap();
        old.close();
        let admin = SqliteAdmin::open(&path).unwrap();
        assert_eq!((admin.account("bob").unwrap().unwrap().version, admin.moment().unwrap()), (7, 7));
        assert_eq!(admin.open_retirements().unwrap(), []);
        let role = RoleSeen { name: "Tmp".into(), version: 3 };
        let (begun, freed) = outcome(|done| admin.retire_role(role, "ann", Timestamp::from_millis(2), done)).unwrap();
        assert!(begun.moment > 7 && freed == ["bob"], "{begun:?}");
        assert_eq!(admin.guessed("account bob").unwrap(), None);
    }
}
