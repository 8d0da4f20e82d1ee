//! Home's store in a SQLite file.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use reveille_core::delivery::PushState;
use reveille_core::{Aor, DeviceToken, IdentityId, MessageId, PushId, Timestamp};

use super::{DeviceRecord, HomeChange, HomeStore, KnownPush, OwedPush, StoredMessage};
use crate::columns;
use crate::completion::Completion;
use crate::engine::{Engine, Layout, Limits, Memory};
use crate::error::StoreError;

/// Home's store in a SQLite file that one process has open. Clones share it.
#[derive(Clone)]
pub struct SqliteHome {
    engine: Arc<Engine<Purging>>,
}

impl SqliteHome {
    /// Opens or makes the file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Limits::default())
    }

    /// The same with other bounds.
    pub fn open_with(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        Ok(Self { engine: Arc::new(Engine::open(path, &LAYOUT, limits)?) })
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

impl HomeStore for SqliteHome {
    fn commit(&self, changes: Vec<HomeChange>, done: Completion<()>) {
        let (records, bytes) = (changes.len(), changes.iter().map(bytes_of).sum());
        let work = move |desk: &mut Desk<'_>| changes.iter().try_for_each(|change| apply(desk.db, change));
        self.engine.submit(records, bytes, work, done);
    }

    fn devices(&self) -> Result<Vec<DeviceRecord>, StoreError> {
        self.engine.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT aor, device, identity, dead_tokens, user_agent, last_registered, session_expires,
                        suspended_since, last_push, last_push_at, last_push_state, last_push_reason
                   FROM device ORDER BY aor, device",
            )?;
            query.query_map((), device)?.collect()
        })
    }

    fn open_pushes(&self, limit: usize, after: Option<(Timestamp, PushId)>) -> Result<Vec<OwedPush>, StoreError> {
        let (due, push) = after.map_or((-1, 0), |(due, push)| (columns::instant(due), push.to_u128()));
        self.engine.read(|db| {
            let sql = format!(
                "SELECT {PUSH_COLUMNS} FROM push
                  WHERE state IN ('owed', 'requested') AND (due, push) > (?1, ?2) ORDER BY due, push LIMIT ?3"
            );
            let mut query = db.prepare_cached(&sql)?;
            query.query_map((due, columns::id(push), columns::rows(limit)), |row| Ok(known_push(row)?.owed))?.collect()
        })
    }

    fn push(&self, push: PushId) -> Result<Option<KnownPush>, StoreError> {
        self.engine.read(|db| {
            let mut query = db.prepare_cached(&format!("SELECT {PUSH_COLUMNS} FROM push WHERE push = ?1"))?;
            query.query_row([columns::id(push.to_u128())], known_push).optional()
        })
    }

    fn latest_pushes(
        &self,
        user: Option<&Aor>,
        before: Option<PushId>,
        limit: usize,
    ) -> Result<Vec<KnownPush>, StoreError> {
        let before = columns::id(before.map_or(u128::MAX, PushId::to_u128));
        self.engine.read(|db| {
            let whose = if user.is_some() { "aor = ?3 AND" } else { "?3 IS NULL AND" };
            let sql = format!("SELECT {PUSH_COLUMNS} FROM push WHERE {whose} push < ?1 ORDER BY push DESC LIMIT ?2");
            let mut query = db.prepare_cached(&sql)?;
            query.query_map((before, columns::rows(limit), user.map(ToString::to_string)), known_push)?.collect()
        })
    }

    fn undelivered(&self, user: &Aor, now: Timestamp, limit: usize) -> Result<Vec<StoredMessage>, StoreError> {
        self.engine.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT id, to_aor, from_aor, content_type, conversation, taken, expires, body FROM message
                  WHERE to_aor = ?1 AND delivered IS NULL AND expires > ?2 ORDER BY id LIMIT ?3",
            )?;
            query.query_map((user.to_string(), columns::instant(now), columns::rows(limit)), message)?.collect()
        })
    }

    fn unread_count(&self, user: &Aor, now: Timestamp) -> Result<u64, StoreError> {
        self.engine.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT count(*) FROM message WHERE to_aor = ?1 AND delivered IS NULL AND expires > ?2",
            )?;
            query.query_row((user.to_string(), columns::instant(now)), |row| columns::number_at(row, 0))
        })
    }

    fn purge(&self, before: Timestamp, limit: usize, done: Completion<usize>) {
        let work = move |desk: &mut Desk<'_>| desk.purging.run(desk.db, before, limit);
        self.engine.submit(limit.min(PURGE_RECORDS), 0, work, done);
    }
}

fn apply(db: &Connection, change: &HomeChange) -> rusqlite::Result<()> {
    match change {
        HomeChange::Delivered { id, to, at } => {
            let sql = "UPDATE message SET delivered = ?3 WHERE id = ?1 AND to_aor = ?2 AND delivered IS NULL";
            let key = columns::id(id.to_u128());
            db.prepare_cached(sql)?.execute((key, to.to_string(), columns::instant(*at)))?;
        }
        HomeChange::ForgetUser { user } => {
            let user = user.to_string();
            // By the two indices there are: those not delivered, and those that a push was owed for.
            for sql in [
                "DELETE FROM message WHERE to_aor = ?1 AND delivered IS NULL",
                "DELETE FROM message WHERE to_aor = ?1 AND id IN (SELECT message FROM push WHERE aor = ?1)",
                "DELETE FROM push WHERE aor = ?1",
                "DELETE FROM device WHERE aor = ?1",
            ] {
                db.prepare_cached(sql)?.execute([&user])?;
            }
        }
        HomeChange::KeepMessage(message) => keep_message(db, message)?,
        HomeChange::MovePush { push, state, at, due, attempt, detail } => {
            let mut move_push = db.prepare_cached(
                "UPDATE push SET state = ?2, reason = ?3, moved = ?4, due = ?5, attempt = ?6, detail = ?7
                  WHERE push = ?1",
            )?;
            move_push.execute((
                columns::id(push.to_u128()),
                state.as_str(),
                columns::reason(*state),
                columns::instant(*at),
                columns::instant(*due),
                attempt,
                columns::detail(detail),
            ))?;
        }
        HomeChange::OwePush(owed) => owe_push(db, owed)?,
        HomeChange::PutDevice(record) => put_device(db, record)?,
        HomeChange::RemoveDevice { user, device } => {
            let sql = "DELETE FROM device WHERE aor = ?1 AND device = ?2";
            db.prepare_cached(sql)?.execute((user.to_string(), device))?;
        }
    }
    Ok(())
}

fn keep_message(db: &Connection, message: &StoredMessage) -> rusqlite::Result<()> {
    let mut keep = db.prepare_cached(
        "INSERT INTO message (id, to_aor, from_aor, content_type, conversation, taken, expires, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
    )?;
    keep.execute((
        columns::id(message.id.to_u128()),
        message.to.to_string(),
        message.from.to_string(),
        &message.content_type,
        &message.conversation,
        columns::instant(message.taken),
        columns::instant(message.expires),
        &message.body,
    ))?;
    Ok(())
}

fn owe_push(db: &Connection, owed: &OwedPush) -> rusqlite::Result<()> {
    let mut owe = db.prepare_cached(
        "INSERT INTO push (push, aor, device, identity, generation, channel, event, message, clearing_house, created,
                           expires, due, attempt, state, reason, detail, moved)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, '', ?10) ON CONFLICT DO NOTHING",
    )?;
    owe.execute((
        columns::id(owed.push.to_u128()),
        owed.user.to_string(),
        &owed.device,
        columns::id(owed.identity.to_u128()),
        owed.generation,
        owed.channel.as_str(),
        columns::word(&owed.event),
        owed.message.map(|message| columns::id(message.to_u128())),
        owed.clearing_house.as_str(),
        columns::instant(owed.created),
        columns::instant(owed.expires),
        columns::instant(owed.due),
        owed.attempt,
        owed.state.as_str(),
        columns::reason(owed.state),
    ))?;
    Ok(())
}

fn put_device(db: &Connection, record: &DeviceRecord) -> rusqlite::Result<()> {
    let mut put = db.prepare_cached(
        "INSERT INTO device (aor, device, identity, dead_tokens, user_agent, last_registered, session_expires,
                             suspended_since, last_push, last_push_at, last_push_state, last_push_reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (aor, device) DO UPDATE SET
             identity = excluded.identity, dead_tokens = excluded.dead_tokens, user_agent = excluded.user_agent,
             last_registered = excluded.last_registered, session_expires = excluded.session_expires,
             suspended_since = excluded.suspended_since, last_push = excluded.last_push,
             last_push_at = excluded.last_push_at, last_push_state = excluded.last_push_state,
             last_push_reason = excluded.last_push_reason",
    )?;
    let surplus = record.dead_tokens.len().saturating_sub(DeviceRecord::DEAD_TOKENS_MAX);
    let last = record.last_push;
    put.execute((
        record.user.to_string(),
        &record.device,
        record.identity.as_ref().map(columns::json).transpose()?,
        columns::json(&&record.dead_tokens[surplus..])?,
        &record.user_agent,
        columns::instant(record.last_registered),
        columns::instant(record.session_expires),
        record.suspended_since.map(columns::instant),
        last.map(|(push, ..)| columns::id(push.to_u128())),
        last.map(|(_, _, at)| columns::instant(at)),
        last.map(|(_, state, _)| state.as_str()),
        last.and_then(|(_, state, _)| columns::reason(state)),
    ))?;
    Ok(())
}

fn device(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    let last_push = match columns::id_or_none_at(row, 8)? {
        Some(push) => Some((PushId::from_u128(push), columns::state_at(row, 10)?, columns::instant_at(row, 9)?)),
        None => None,
    };
    let identity = row.get_ref(2)?.as_str_or_null()?.is_some();
    Ok(DeviceRecord {
        user: columns::parsed_at(row, 0)?,
        device: row.get(1)?,
        identity: if identity { Some(columns::json_at(row, 2)?) } else { None },
        dead_tokens: columns::json_at::<Vec<DeviceToken>>(row, 3)?,
        user_agent: row.get(4)?,
        last_registered: columns::instant_at(row, 5)?,
        session_expires: columns::instant_at(row, 6)?,
        suspended_since: columns::instant_or_none_at(row, 7)?,
        last_push,
    })
}

fn known_push(row: &Row<'_>) -> rusqlite::Result<KnownPush> {
    let owed = OwedPush {
        push: PushId::from_u128(columns::id_at(row, 0)?),
        user: columns::parsed_at(row, 1)?,
        device: row.get(2)?,
        identity: IdentityId::from_u128(columns::id_at(row, 3)?),
        generation: row.get(4)?,
        channel: columns::word_at(row, 5)?,
        event: columns::word_at(row, 6)?,
        message: columns::id_or_none_at(row, 7)?.map(MessageId::from_u128),
        clearing_house: columns::parsed_at(row, 8)?,
        created: columns::instant_at(row, 9)?,
        expires: columns::instant_at(row, 10)?,
        due: columns::instant_at(row, 11)?,
        attempt: row.get(12)?,
        state: columns::state_at(row, 13)?,
    };
    Ok(KnownPush { owed, detail: row.get(15)?, moved: columns::instant_at(row, 16)? })
}

fn message(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage {
        id: MessageId::from_u128(columns::id_at(row, 0)?),
        to: columns::parsed_at(row, 1)?,
        from: columns::parsed_at(row, 2)?,
        content_type: row.get(3)?,
        conversation: row.get(4)?,
        taken: columns::instant_at(row, 5)?,
        expires: columns::instant_at(row, 6)?,
        body: row.get(7)?,
    })
}

/// Where the purge goes on. Old rows stand at the left edge, but ones that live long stand between them, so a window
/// wanders over the table and begins anew at its end.
#[derive(Default)]
struct Purging {
    message_after: u128,
    push_after: u128,
}

/// What a batch works with.
struct Desk<'a> {
    db: &'a Connection,
    purging: &'a mut Purging,
}

impl Memory for Purging {
    type Desk<'a> = Desk<'a>;

    fn load(_: &Connection) -> rusqlite::Result<Self> {
        Ok(Self::default())
    }

    fn desk<'a>(&'a mut self, db: &'a Connection) -> Desk<'a> {
        Desk { db, purging: self }
    }
}

impl Purging {
    fn run(&mut self, db: &Connection, before: Timestamp, limit: usize) -> rusqlite::Result<usize> {
        let messages = window(
            db,
            "SELECT id, expires, delivered FROM message WHERE id > ?1 ORDER BY id LIMIT ?2",
            "DELETE FROM message WHERE id = ?1",
            &mut self.message_after,
            limit,
            |row| Ok(columns::instant_at(row, 1)?.min(delivered(row)?) < before),
        )?;
        let pushes = window(
            db,
            "SELECT push, expires, moved, state, reason FROM push WHERE push > ?1 ORDER BY push LIMIT ?2",
            "DELETE FROM push WHERE push = ?1",
            &mut self.push_after,
            limit,
            |row| {
                let ended = match columns::state_at(row, 3)? {
                    PushState::Owed | PushState::Requested => false,
                    PushState::Journaled | PushState::Sending | PushState::Accepted | PushState::NotPushed(_) => true,
                };
                Ok(columns::instant_at(row, 1)? < before || (ended && columns::instant_at(row, 2)? < before))
            },
        )?;
        Ok(messages + pushes)
    }
}

fn delivered(row: &Row<'_>) -> rusqlite::Result<Timestamp> {
    Ok(columns::instant_or_none_at(row, 2)?.unwrap_or(Timestamp::from_millis(u64::MAX)))
}

/// Removes up to `limit` rows that are `old`, looking from `after` on at up to [`LOOKED_AT`] times as many, and moves
/// `after` behind what it has looked at.
fn window(
    db: &Connection,
    select: &str,
    remove: &str,
    after: &mut u128,
    limit: usize,
    old: impl Fn(&Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<usize> {
    let (mut select, mut remove) = (db.prepare_cached(select)?, db.prepare_cached(remove)?);
    let mut gone = 0;
    for _ in 0..LOOKED_AT {
        let seen = select
            .query_map((columns::id(*after), columns::rows(limit)), |row| Ok((columns::id_at(row, 0)?, old(row)?)))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        for (id, _) in seen.iter().filter(|(_, old)| *old).take(limit - gone) {
            gone += remove.execute([columns::id(*id)])?;
            *after = *id;
        }
        if gone == limit {
            break;
        }
        let Some((last, _)) = seen.last().filter(|_| seen.len() == limit) else {
            *after = 0;
            break;
        };
        *after = *last;
    }
    Ok(gone)
}

/// How many times more rows are looked at than may be removed.
const LOOKED_AT: usize = 4;

/// About what a change costs in the queue.
fn bytes_of(change: &HomeChange) -> usize {
    ROW_BYTES
        + match change {
            HomeChange::Delivered { .. }
            | HomeChange::ForgetUser { .. }
            | HomeChange::OwePush(_)
            | HomeChange::RemoveDevice { .. } => 0,
            HomeChange::KeepMessage(message) => message.body.len() + message.conversation.len(),
            HomeChange::MovePush { detail, .. } => detail.len(),
            HomeChange::PutDevice(record) => {
                let tokens = record.dead_tokens.iter().map(|token| token.expose().len()).sum::<usize>();
                let own = |token: &reveille_core::identity::RegisteredToken| token.token.expose().len();
                let identity = record.identity.as_ref();
                tokens
                    + record.user_agent.len()
                    + identity.and_then(|identity| identity.message.as_ref()).map_or(0, own)
                    + identity.and_then(|identity| identity.voip.as_ref()).map_or(0, own)
            }
        }
}

const PUSH_COLUMNS: &str = "push, aor, device, identity, generation, channel, event, message, clearing_house, created, \
                            expires, due, attempt, state, reason, detail, moved";

/// What a row costs beside its texts, for the queue's bound.
const ROW_BYTES: usize = 256;

/// What a purge counts for in a batch.
const PURGE_RECORDS: usize = 256;

const LAYOUT: Layout = Layout {
    name: "home",
    mark: *b"RvlH",
    page_bytes: 4096,
    one_process: true,
    migrations: &["
        CREATE TABLE device (
            aor TEXT NOT NULL, device TEXT NOT NULL, identity TEXT, dead_tokens TEXT NOT NULL, user_agent TEXT NOT NULL,
            last_registered INTEGER NOT NULL, session_expires INTEGER NOT NULL, suspended_since INTEGER,
            last_push BLOB, last_push_at INTEGER, last_push_state TEXT, last_push_reason TEXT,
            PRIMARY KEY (aor, device)
        ) WITHOUT ROWID;
        CREATE TABLE message (
            id BLOB PRIMARY KEY, to_aor TEXT NOT NULL, from_aor TEXT NOT NULL, content_type TEXT NOT NULL,
            conversation TEXT NOT NULL, taken INTEGER NOT NULL, expires INTEGER NOT NULL, delivered INTEGER,
            body BLOB NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX message_waiting ON message (to_aor, id, expires) WHERE delivered IS NULL;
        CREATE TABLE push (
            push BLOB PRIMARY KEY, aor TEXT NOT NULL, device TEXT NOT NULL, identity BLOB NOT NULL,
            generation INTEGER NOT NULL, channel TEXT NOT NULL, event TEXT NOT NULL, message BLOB,
            clearing_house TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL, due INTEGER NOT NULL,
            attempt INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT, detail TEXT NOT NULL, moved INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX push_due ON push (due, push) WHERE state IN ('owed', 'requested');
        CREATE INDEX push_of ON push (aor, push);
    "],
};
