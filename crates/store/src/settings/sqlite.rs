//! Settings in a SQLite file that several processes may have open.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Row};
use tokio::sync::watch;

use reveille_core::Timestamp;
use reveille_core::settings::{Setting, SettingChange, SettingKey, SettingRow, Snapshot};

use super::lookout::{Latest, Lookout, data_version};
use super::{Changed, Edit, Past, Refused, SettingHistory, Settings};
use crate::columns;
use crate::completion::Completion;
use crate::engine::{Engine, Layout, Limits, Memory};
use crate::error::StoreError;

/// Settings in a SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteSettings {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine<Nothing>,
    latest: Arc<Latest>,
    lookout: Lookout,
}

impl SqliteSettings {
    /// Opens or makes the file, and begins to watch it for what other processes change.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let engine = Engine::open(path, &LAYOUT, Limits::default())?;
        let eye = engine.open_reader()?;
        let failed = |failure| StoreError::from_sqlite(engine.file(), &failure);
        // The version of the file is read before its rows: a change in between is seen again, not lost.
        let seen = data_version(&eye).map_err(failed)?;
        let snapshot = read_snapshot(&eye).map_err(failed)?;
        let latest = Arc::new(Latest::of(snapshot));
        let lookout = Lookout::start(eye, seen, Arc::clone(&latest), Arc::clone(engine.file()))?;
        Ok(Self { shared: Arc::new(Shared { engine, latest, lookout }) })
    }

    /// Writes a complete copy of the file as of now to `to`, which must not exist. Work goes on meanwhile.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.shared.engine.backup(to)
    }

    /// Writes what has queued, tells everybody, and lets go of the file, for all clones. The last snapshot stays.
    pub fn close(&self) {
        self.shared.lookout.stop();
        self.shared.engine.close();
    }
}

impl Settings for SqliteSettings {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.latest.newest()
    }

    fn fresh(&self) -> Result<Arc<Snapshot>, StoreError> {
        let known = self.snapshot();
        let newer = self.shared.engine.read(|db| match newest(db)? == known.version() {
            true => Ok(None),
            false => read_snapshot(db).map(Some),
        })?;
        let Some(newer) = newer.map(Arc::new) else { return Ok(known) };
        self.shared.latest.publish(Arc::clone(&newer));
        Ok(newer)
    }

    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.latest.follow()
    }

    fn apply(&self, author: &str, at: Timestamp, edits: Vec<Edit>, done: Completion<Result<u64, Refused>>) {
        let (author, records) = (author.to_owned(), edits.len());
        let shown = Arc::clone(&self.shared.latest);
        let work = move |&mut db: &mut &Connection| {
            // Asked here, under the file's write lock: another process may have changed them since the last look.
            let known = shown.newest();
            let mut snapshot = if newest(db)? == known.version() { (*known).clone() } else { read_snapshot(db)? };
            let mut steps = Vec::with_capacity(edits.len());
            for Edit { change, read } in &edits {
                let key = change.key();
                let before = snapshot.row(&key).cloned();
                if let Some(changed) = overtaken(db, &key, before.as_ref(), *read)? {
                    return Ok(Err(Refused::Changed(changed)));
                }
                if let Err(conflict) = snapshot.apply(change, &author, at) {
                    return Ok(Err(Refused::Conflict(conflict)));
                }
                steps.push(Step { key, before, change, version: snapshot.version() });
            }
            steps.iter().try_for_each(|step| write(db, step, &author, at))?;
            trim(db, snapshot.version())?;
            Ok(Ok(Arc::new(snapshot)))
        };
        let latest = Arc::clone(&self.shared.latest);
        let published: Completion<Result<Arc<Snapshot>, Refused>> = Box::new(move |outcome| {
            done(outcome.map(|applied| {
                applied.map(|snapshot| {
                    let version = snapshot.version();
                    latest.publish(snapshot);
                    version
                })
            }));
        });
        self.shared.engine.submit(records, records * 1024, work, published);
    }

    fn history(&self, past: &Past) -> Result<Vec<SettingHistory>, StoreError> {
        let identity = past.identity.as_ref().map(|identity| identity.to_ascii_lowercase());
        let since = past.since.map(columns::instant);
        self.shared.engine.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT version, author, at, kind, identity, value, before FROM setting_history
                 WHERE (?1 IS NULL OR kind = ?1 COLLATE NOCASE) AND (?2 IS NULL OR identity = ?2)
                     AND (?3 IS NULL OR author = ?3) AND (?4 IS NULL OR at >= ?4)
                 ORDER BY version DESC LIMIT ?5",
            )?;
            let wanted = (&past.kind, &identity, &past.author, since, columns::rows(past.limit));
            query.query_map(wanted, history_row)?.collect()
        })
    }
}

/// One change on its way into the file.
struct Step<'a> {
    key: SettingKey,
    before: Option<SettingRow>,
    change: &'a SettingChange,
    version: u64,
}

/// Who has changed the record since it was read as `read`, if somebody has.
fn overtaken(
    db: &Connection,
    key: &SettingKey,
    row: Option<&SettingRow>,
    read: Option<u64>,
) -> rusqlite::Result<Option<Changed>> {
    let version = row.map_or(0, |row| row.version);
    let Some(read) = read.filter(|read| *read != version) else { return Ok(None) };
    let changed = |by, at, version| Changed { key: key.clone(), by, at, version, exists: row.is_some(), read };
    if let Some(row) = row {
        return Ok(Some(changed(row.author.clone(), row.at, row.version)));
    }
    // Whoever removed it stands in the history only, and after ten thousand changes nowhere.
    let mut last = db.prepare_cached(
        "SELECT author, at, version FROM setting_history WHERE kind = ?1 AND identity = ?2 ORDER BY version DESC LIMIT 1",
    )?;
    let found = last.query_map((&key.kind, &key.identity), |row| {
        Ok((row.get(0)?, columns::instant_at(row, 1)?, columns::number_at(row, 2)?))
    })?;
    let (by, at, version) =
        found.last().transpose()?.unwrap_or_else(|| ("somebody".to_owned(), Timestamp::from_millis(0), 0));
    Ok(Some(changed(by, at, version)))
}

/// The writer remembers nothing: another process may change anything at any time.
struct Nothing;

impl Memory for Nothing {
    type Desk<'a> = &'a Connection;

    fn load(_: &Connection) -> rusqlite::Result<Self> {
        Ok(Self)
    }

    fn desk<'a>(&'a mut self, db: &'a Connection) -> &'a Connection {
        db
    }
}

/// The version of the settings. Every change has one and stands in the history, so who knows this one knows all records.
pub(super) fn newest(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT coalesce(max(version), 0) FROM setting_history")?
        .query_row((), |row| columns::number_at(row, 0))
}

pub(super) fn read_snapshot(db: &Connection) -> rusqlite::Result<Snapshot> {
    // One statement, so that rows and version are of one moment.
    let mut query = db.prepare_cached(
        "SELECT value, author, at, version, (SELECT coalesce(max(version), 0) FROM setting_history) FROM setting
         UNION ALL
         SELECT NULL, '', 0, 0, coalesce(max(version), 0) FROM setting_history",
    )?;
    let mut rows = query.query(())?;
    let (mut settings, mut version) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        version = columns::number_at(row, 4)?;
        if row.get_ref(0)?.as_str_or_null()?.is_some() {
            settings.push(setting_row(row)?);
        }
    }
    Ok(Snapshot::new(settings, version))
}

fn setting_row(row: &Row<'_>) -> rusqlite::Result<SettingRow> {
    Ok(SettingRow {
        setting: columns::json_at(row, 0)?,
        author: row.get(1)?,
        at: columns::instant_at(row, 2)?,
        version: columns::number_at(row, 3)?,
    })
}

fn history_row(row: &Row<'_>) -> rusqlite::Result<SettingHistory> {
    let setting_at = |column| match row.get_ref(column)?.as_str_or_null()? {
        Some(_) => columns::json_at::<Setting>(row, column).map(Some),
        None => Ok(None),
    };
    let change = match setting_at(5)? {
        Some(setting) => SettingChange::Put(setting),
        None => SettingChange::Remove(SettingKey { kind: row.get(3)?, identity: row.get(4)? }),
    };
    Ok(SettingHistory {
        version: columns::number_at(row, 0)?,
        author: row.get(1)?,
        at: columns::instant_at(row, 2)?,
        before: setting_at(6)?,
        change,
    })
}

fn write(db: &Connection, step: &Step<'_>, author: &str, at: Timestamp) -> rusqlite::Result<()> {
    let key = &step.key;
    let value = match step.change {
        SettingChange::Put(setting) => Some(columns::json(setting)?),
        SettingChange::Remove(_) => None,
    };
    let before = step.before.as_ref().map(|row| columns::json(&row.setting)).transpose()?;
    let (at, version) = (columns::instant(at), columns::number(step.version));
    if value.is_some() {
        let mut put = db.prepare_cached(
            "INSERT INTO setting (kind, identity, value, author, at, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (kind, identity) DO UPDATE SET value = excluded.value, author = excluded.author,
                 at = excluded.at, version = excluded.version",
        )?;
        put.execute((&key.kind, &key.identity, &value, author, at, version))?;
    } else {
        let mut remove = db.prepare_cached("DELETE FROM setting WHERE kind = ?1 AND identity = ?2")?;
        remove.execute((&key.kind, &key.identity))?;
    }
    let mut note = db.prepare_cached(
        "INSERT INTO setting_history (version, author, at, kind, identity, value, before)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    note.execute((version, author, at, &key.kind, &key.identity, &value, &before))?;
    Ok(())
}

/// Drops what is too old from the history, and now and then what is too much; the newest change always stays, since it
/// holds the version.
fn trim(db: &Connection, version: u64) -> rusqlite::Result<()> {
    let oldest = columns::number(version.saturating_sub(HISTORY_MAX));
    db.prepare_cached("DELETE FROM setting_history WHERE version <= ?1")?.execute([oldest])?;
    if !version.is_multiple_of(WEIGH_EVERY) {
        return Ok(());
    }
    let mut shed = db.prepare_cached(
        "DELETE FROM setting_history WHERE version <> ?2 AND version IN (SELECT version FROM
            (SELECT version, sum(octet_length(coalesce(value, '')) + octet_length(coalesce(before, '')))
                OVER (ORDER BY version DESC) AS bytes FROM setting_history)
         WHERE bytes > ?1)",
    )?;
    shed.execute((HISTORY_BYTES_MAX, columns::number(version))).map(drop)
}

/// How many bytes of records the history holds, before and after; weighed at every so many changes.
const HISTORY_BYTES_MAX: i64 = 32 << 20;
const WEIGH_EVERY: u64 = 64;

/// How many changes are remembered.
const HISTORY_MAX: u64 = 10_000;

const LAYOUT: Layout =
    Layout { name: "settings", mark: *b"RvlS", page_bytes: 4096, one_process: false, migrations: &[FIRST, SECOND] };

const FIRST: &str = "
    CREATE TABLE setting (
        kind TEXT NOT NULL, identity TEXT NOT NULL, value TEXT NOT NULL, author TEXT NOT NULL, at INTEGER NOT NULL,
        version INTEGER NOT NULL, PRIMARY KEY (kind, identity)
    );
    CREATE TABLE setting_history (
        version INTEGER PRIMARY KEY, author TEXT NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL,
        identity TEXT NOT NULL, value TEXT
    );
";

/// Names are the same whatever their case, and the history tells what was there before.
const SECOND: &str = "
    UPDATE OR REPLACE setting SET identity = lower(identity);
    UPDATE setting_history SET identity = lower(identity);
    ALTER TABLE setting_history ADD COLUMN before TEXT;
    CREATE INDEX setting_history_of ON setting_history (kind, identity, version);
    UPDATE setting_history SET before = (
        SELECT earlier.value FROM setting_history AS earlier
        WHERE earlier.kind = setting_history.kind AND earlier.identity = setting_history.identity
            AND earlier.version < setting_history.version
        ORDER BY earlier.version DESC LIMIT 1
    );
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::battery::{Folder, outcome};
    use reveille_core::settings::{AllowedDomain, BlockedDomain, Conflict};

    fn allowed() -> Setting {
        Setting::AllowedDomain(AllowedDomain::new("a.example".parse().unwrap()))
    }

    fn blocked() -> Setting {
        let identity = "a.example".parse().unwrap();
        Setting::BlockedDomain(BlockedDomain { identity, comment: String::new() })
    }

    fn put(settings: &SqliteSettings, setting: Setting) -> Result<u64, Refused> {
        let (at, change) = (Timestamp::from_millis(1), vec![SettingChange::Put(setting).into()]);
        outcome(|done| settings.apply("ann", at, change, done)).unwrap()
    }

    #[test]
    fn what_one_opening_changes_the_other_one_sees_and_is_held_to() {
        let folder = Folder::new();
        let path = folder.path().join("settings.db");
        let (home, edge) = (SqliteSettings::open(&path).unwrap(), SqliteSettings::open(&path).unwrap());
        let mut watch = edge.watch();
        assert_eq!(put(&home, allowed()), Ok(1));
        // Before the edge has seen it, too.
        assert_eq!(edge.fresh().unwrap(), home.snapshot());
        assert!(matches!(put(&edge, blocked()), Err(Refused::Conflict(Conflict::BothLists { .. }))));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(watch.wait_for(|snapshot| snapshot.version() == 1)).unwrap();
        assert_eq!(edge.snapshot(), home.snapshot());
        assert_eq!(put(&edge, allowed()), Ok(2));
        let mut watch = home.watch();
        runtime.block_on(watch.wait_for(|snapshot| snapshot.version() == 2)).unwrap();
    }

    #[test]
    fn a_history_of_large_records_is_bounded_in_bytes() {
        let folder = Folder::new();
        let settings = SqliteSettings::open(&folder.path().join("settings.db")).unwrap();
        let identity: reveille_core::SipDomain = "a.example".parse().unwrap();
        // Each weighs twice 200,000 in the history: before and after.
        for number in 0..256 {
            let comment = format!("{number}{}", "x".repeat(200_000));
            put(&settings, Setting::BlockedDomain(BlockedDomain { identity: identity.clone(), comment })).unwrap();
        }
        let past = settings.history(&Past { limit: 1000, ..Past::default() }).unwrap();
        let most = usize::try_from(HISTORY_BYTES_MAX).unwrap() / 400_000;
        assert!((most / 2..=most).contains(&past.len()) && past[0].version == 256, "{}", past.len());
        assert_eq!(settings.fresh().unwrap().version(), 256);
    }

    #[test]
    fn who_asks_for_what_has_not_changed_is_given_what_is_known_and_nothing_is_read_again() {
        let folder = Folder::new();
        let path = folder.path().join("settings.db");
        let (home, edge) = (SqliteSettings::open(&path).unwrap(), SqliteSettings::open(&path).unwrap());
        put(&home, allowed()).unwrap();
        let known = home.snapshot();
        assert!(Arc::ptr_eq(&home.fresh().unwrap(), &known));
        let seen = edge.fresh().unwrap();
        assert_eq!(seen, known);
        assert!(Arc::ptr_eq(&edge.fresh().unwrap(), &edge.snapshot()));
        let remove = vec![SettingChange::Remove(allowed().key()).into()];
        outcome(|done| edge.apply("ben", Timestamp::from_millis(2), remove, done)).unwrap().unwrap();
        assert_eq!(home.fresh().unwrap().rows().count(), 0, "a removal is a change as well");
    }

    #[test]
    fn a_file_of_the_first_version_keeps_its_records_and_its_history() {
        const BEFORE: Layout = Layout { migrations: &[FIRST], ..LAYOUT };
        let folder = Folder::new();
        let path = folder.path().join("settings.db");
        let old = Engine::<Nothing>::open(&path, &BEFORE, Limits::default()).unwrap();
        let row = r#"{"Kind":"HostingProvider","Identity":"LyncOnline","ProxyFqdn":"p.example","Enabled":true}"#;
        let write = move |&mut db: &mut &Connection| {
            db.execute("INSERT INTO setting VALUES ('HostingProvider', 'LyncOnline', ?1, 'ann', 5, 2)", [row])?;
            for version in [1, 2] {
                let note = "INSERT INTO setting_history VALUES (?1, 'ann', 5, 'HostingProvider', 'LyncOnline', ?2)";
                db.execute(note, (version, row))?;
            }
            Ok(())
        };
        outcome(|done| old.submit(1, 1, write, done)).unwrap();
        old.close();
        let settings = SqliteSettings::open(&path).unwrap();
        let key = SettingKey::new("HostingProvider", "lynconline");
        let kept = settings.snapshot().row(&key).cloned().unwrap();
        assert_eq!((kept.setting.identity().as_str(), kept.version), ("LyncOnline", 2));
        let history =
            settings.history(&Past { identity: Some("LyncOnline".into()), limit: 9, ..Past::default() }).unwrap();
        assert_eq!(history.iter().map(|entry| entry.before.is_some()).collect::<Vec<_>>(), [true, false]);
        let remove = vec![SettingChange::Remove(key).into()];
        assert_eq!(outcome(|done| settings.apply("ben", Timestamp::from_millis(6), remove, done)).unwrap(), Ok(3));
        assert_eq!(settings.snapshot().rows().count(), 0);
    }

    #[test]
    fn two_openings_that_count_in_one_record_lose_no_step() {
        fn count(settings: &SqliteSettings, author: &str) {
            let mut counted = 0;
            while counted < 25 {
                let key = allowed().key();
                let seen = settings.fresh().unwrap();
                let row = seen.row(&key);
                let mut record = AllowedDomain::new("a.example".parse().unwrap());
                let before = match row.map(|row| &row.setting) {
                    Some(Setting::AllowedDomain(kept)) => kept.comment.parse::<u32>().unwrap(),
                    _ => 0,
                };
                record.comment = (before + 1).to_string();
                let change = SettingChange::Put(Setting::AllowedDomain(record));
                let edits = vec![Edit { change, read: Some(row.map_or(0, |row| row.version)) }];
                match outcome(|done| settings.apply(author, Timestamp::from_millis(1), edits, done)).unwrap() {
                    Ok(_) => counted += 1,
                    Err(Refused::Changed(changed)) => assert_ne!(changed.by, author, "nobody overtakes himself"),
                    Err(Refused::Conflict(conflict)) => panic!("{conflict}"),
                }
            }
        }
        let folder = Folder::new();
        let path = folder.path().join("settings.db");
        let (one, other) = (SqliteSettings::open(&path).unwrap(), SqliteSettings::open(&path).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| count(&one, "ann"));
            scope.spawn(|| count(&other, "ben"));
        });
        let Some(Setting::AllowedDomain(end)) =
            one.fresh().unwrap().row(&allowed().key()).map(|row| row.setting.clone())
        else {
            panic!("the record is gone")
        };
        assert_eq!(end.comment, "50");
    }

    #[test]
    fn a_change_can_be_awaited() {
        let folder = Folder::new();
        let settings = SqliteSettings::open(&folder.path().join("settings.db")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let changing = settings.change("ann", Timestamp::from_millis(1), vec![SettingChange::Put(allowed())]);
        assert_eq!(runtime.block_on(changing), Ok(1));
    }
}
