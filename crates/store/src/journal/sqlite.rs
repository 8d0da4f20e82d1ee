//! The journal in a SQLite file.
//!
//! A push touches four small places in its life: its key (`known`) and its request (`open`) when it is taken, then the
//! request is deleted and its outcome (`done`) added. All but the key grow at their right edge, and keys are ordered
//! by time within their origin, so a batch of hundreds changes few pages. Names are kept once and stand elsewhere as
//! small numbers.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use reveille_core::delivery::PushState;
use reveille_core::{AppKey, LaneKey, PushId, SipDomain, Timestamp};

use super::{
    Appended, Completed, FeedbackId, FeedbackItem, Journal, JournalEntry, OpenEntry, OwedFeedback, Traced, outbox,
};
use crate::columns;
use crate::completion::Completion;
use crate::engine::{Engine, Layout, Limits, Memory};
use crate::error::StoreError;

/// The clearing house's journal in a SQLite file that one process has open. Clones share it.
#[derive(Clone)]
pub struct SqliteJournal {
    engine: Arc<Engine<Numbers>>,
}

impl SqliteJournal {
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

impl Journal for SqliteJournal {
    fn append(&self, entries: Vec<JournalEntry>, done: Completion<Vec<Appended>>) {
        let bytes = entries.iter().map(|entry| entry.request.len() + ROW_BYTES).sum();
        let records = entries.len();
        let work = move |desk: &mut Desk<'_>| entries.iter().map(|entry| desk.append(entry)).collect();
        self.engine.submit(records, bytes, work, done);
    }

    fn mark_sending(&self, seqs: Vec<u64>, at: Timestamp, done: Completion<()>) {
        let records = seqs.len();
        let work = move |desk: &mut Desk<'_>| {
            let mut mark = desk.db.prepare_cached("UPDATE push_open SET sending_since = ?2 WHERE seq = ?1")?;
            for &seq in &seqs {
                mark.execute((columns::number(seq), columns::instant(at)))?;
            }
            Ok(())
        };
        self.engine.submit(records, records * ROW_BYTES, work, done);
    }

    fn complete(&self, completed: Vec<Completed>, done: Completion<()>) {
        let bytes = completed.iter().map(|end| end.detail.len() + 2 * ROW_BYTES).sum();
        let records = completed.len();
        let work = move |desk: &mut Desk<'_>| completed.iter().try_for_each(|end| desk.complete(end));
        self.engine.submit(records, bytes, work, done);
    }

    fn reschedule(&self, seq: u64, due: Timestamp, attempt: u32, done: Completion<()>) {
        let work = move |desk: &mut Desk<'_>| {
            let sql = "UPDATE push_open SET due = ?2, attempt = ?3, sending_since = NULL WHERE seq = ?1";
            desk.db.prepare_cached(sql)?.execute((columns::number(seq), columns::instant(due), attempt))?;
            Ok(())
        };
        self.engine.submit(1, ROW_BYTES, work, done);
    }

    fn open(&self, after_seq: u64, limit: usize) -> Result<Vec<OpenEntry>, StoreError> {
        self.engine.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT push_open.seq, origin.name, push_open.id, lane.provider, lane.app, lane.environment,
                        lane.channel, push_open.received, push_open.expires, push_open.due, push_open.attempt,
                        push_open.sending_since, push_open.request
                   FROM push_open
                   JOIN origin ON origin.no = push_open.origin_no
                   JOIN lane ON lane.no = push_open.lane_no
                  WHERE push_open.seq > ?1 ORDER BY push_open.seq LIMIT ?2",
            )?;
            query.query_map((columns::number(after_seq), columns::rows(limit)), open_entry)?.collect()
        })
    }

    fn trace(&self, origin: &SipDomain, id: PushId) -> Result<Option<Traced>, StoreError> {
        self.engine.read(|db| {
            let mut known = db.prepare_cached(
                "SELECT push_known.seq FROM push_known JOIN origin ON origin.no = push_known.origin_no
                  WHERE origin.name = ?1 AND push_known.id = ?2",
            )?;
            let key = (origin.as_str(), columns::id(id.to_u128()));
            match known.query_row(key, |row| columns::number_at(row, 0)).optional()? {
                Some(seq) => look_up(db, seq),
                None => Ok(None),
            }
        })
    }

    fn purge(&self, before: Timestamp, limit: usize, done: Completion<usize>) {
        let work = move |desk: &mut Desk<'_>| {
            let db = desk.db;
            // From the left edge, so that a call costs what it removes: numbers are given in order of receipt.
            let mut oldest =
                db.prepare_cached("SELECT seq, origin_no, id, received FROM push_done ORDER BY seq LIMIT ?1")?;
            let mut forget_key = db.prepare_cached("DELETE FROM push_known WHERE origin_no = ?1 AND id = ?2")?;
            let mut forget = db.prepare_cached("DELETE FROM push_done WHERE seq = ?1")?;
            let old = oldest
                .query_map([columns::rows(limit)], |row| {
                    Ok((
                        columns::number_at(row, 0)?,
                        row.get(1)?,
                        columns::id_at(row, 2)?,
                        columns::instant_at(row, 3)?,
                    ))
                })?
                .collect::<rusqlite::Result<Vec<(u64, i64, u128, Timestamp)>>>()?;
            let mut gone = 0;
            for (seq, origin_no, id, _) in old.into_iter().filter(|(.., received)| *received < before) {
                forget_key.execute((origin_no, columns::id(id)))?;
                gone += forget.execute([columns::number(seq)])?;
            }
            Ok(gone)
        };
        self.engine.submit(limit.min(PURGE_RECORDS), 0, work, done);
    }

    fn owe_feedback(&self, origin: SipDomain, items: Vec<FeedbackItem>, done: Completion<()>) {
        let records = items.len();
        let work = move |desk: &mut Desk<'_>| {
            let origin_no = desk.numbers.origin(desk.db, &origin)?;
            items.iter().try_for_each(|item| outbox::owe(desk.db, origin_no, desk.numbers.feedback(), item))
        };
        self.engine.submit(records, records * ROW_BYTES, work, done);
    }

    fn feedback_open(&self, limit: usize) -> Result<Vec<OwedFeedback>, StoreError> {
        self.engine.read(|db| outbox::open(db, limit))
    }

    fn feedback_done(&self, ids: Vec<FeedbackId>, done: Completion<()>) {
        let records = ids.len();
        let work = move |desk: &mut Desk<'_>| outbox::remove(desk.db, &ids);
        self.engine.submit(records, records * ROW_BYTES, work, done);
    }

    fn feedback_retry(&self, ids: Vec<FeedbackId>, due: Timestamp, attempt: u32, done: Completion<()>) {
        let records = ids.len();
        let work = move |desk: &mut Desk<'_>| outbox::put_off(desk.db, &ids, due, attempt);
        self.engine.submit(records, records * ROW_BYTES, work, done);
    }

    fn feedback_purge(&self, before: Timestamp, limit: usize, done: Completion<usize>) {
        let work = move |desk: &mut Desk<'_>| outbox::purge(desk.db, before, limit);
        self.engine.submit(limit.min(PURGE_RECORDS), 0, work, done);
    }
}

/// What a batch works with.
struct Desk<'a> {
    db: &'a Connection,
    numbers: &'a mut Numbers,
    append: Option<Append<'a>>,
    complete: Option<Complete<'a>>,
}

/// The statements that take an entry in.
struct Append<'a> {
    key: CachedStatement<'a>,
    request: CachedStatement<'a>,
}

/// The statements that end a push.
struct Complete<'a> {
    outcome: CachedStatement<'a>,
    request: CachedStatement<'a>,
}

impl<'a> Desk<'a> {
    fn append(&mut self, entry: &JournalEntry) -> rusqlite::Result<Appended> {
        let append = match &mut self.append {
            Some(append) => append,
            none => none.insert(Append::prepare(self.db)?),
        };
        let origin_no = self.numbers.origin(self.db, &entry.origin)?;
        let (id, seq) = (columns::id(entry.id.to_u128()), self.numbers.next_seq);
        // The key decides, in the same transaction as the request is kept in.
        let key = (origin_no, id, columns::number(seq), entry.fingerprint.cast_signed());
        if append.key.execute(key)? == 0 {
            return duplicate(self.db, origin_no, entry);
        }
        let received = columns::instant(entry.received);
        append.request.execute((
            columns::number(seq),
            origin_no,
            id,
            self.numbers.lane(self.db, &entry.lane)?,
            received,
            columns::instant(entry.expires),
            &*entry.request,
        ))?;
        self.numbers.taken(Head { origin_no, id, received });
        Ok(Appended::New { seq })
    }

    fn complete(&mut self, end: &Completed) -> rusqlite::Result<()> {
        let head = match self.numbers.recent(end.seq) {
            Some(head) => head,
            None => match head_of(self.db, end.seq)? {
                Some(head) => head,
                None => return Ok(()), // it has ended before, and its feedback is owed already
            },
        };
        let complete = match &mut self.complete {
            Some(complete) => complete,
            none => none.insert(Complete::prepare(self.db)?),
        };
        let seq = columns::number(end.seq);
        complete.outcome.execute((
            seq,
            head.origin_no,
            head.id,
            head.received,
            end.state.as_str(),
            columns::reason(end.state),
            columns::detail(&end.detail),
            columns::instant(end.at),
        ))?;
        complete.request.execute([seq])?;
        if let Some(item) = &end.feedback {
            outbox::owe(self.db, head.origin_no, self.numbers.feedback(), item)?;
        }
        Ok(())
    }
}

impl<'a> Append<'a> {
    fn prepare(db: &'a Connection) -> rusqlite::Result<Self> {
        let key = db.prepare_cached(
            "INSERT INTO push_known (origin_no, id, seq, fingerprint) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?;
        let request = db.prepare_cached(
            "INSERT INTO push_open (seq, origin_no, id, lane_no, received, expires, due, attempt, request)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5, 0, ?7)",
        )?;
        Ok(Self { key, request })
    }
}

impl<'a> Complete<'a> {
    fn prepare(db: &'a Connection) -> rusqlite::Result<Self> {
        let outcome = db.prepare_cached(
            "INSERT INTO push_done (seq, origin_no, id, received, state, reason, detail, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let request = db.prepare_cached("DELETE FROM push_open WHERE seq = ?1")?;
        Ok(Self { outcome, request })
    }
}

/// What became of the entry that was here first.
fn duplicate(db: &Connection, origin_no: i64, entry: &JournalEntry) -> rusqlite::Result<Appended> {
    let mut known = db.prepare_cached("SELECT seq, fingerprint FROM push_known WHERE origin_no = ?1 AND id = ?2")?;
    let (seq, fingerprint) = known.query_row((origin_no, columns::id(entry.id.to_u128())), |row| {
        Ok((columns::number_at(row, 0)?, row.get::<_, i64>(1)?.cast_unsigned()))
    })?;
    let first = look_up(db, seq)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Appended::Duplicate { state: first.state, same_request: fingerprint == entry.fingerprint })
}

/// The small columns of an open push, as they stand in the file.
#[derive(Clone, Copy)]
struct Head {
    origin_no: i64,
    id: [u8; 16],
    received: i64,
}

fn head_of(db: &Connection, seq: u64) -> rusqlite::Result<Option<Head>> {
    let mut head = db.prepare_cached("SELECT origin_no, id, received FROM push_open WHERE seq = ?1")?;
    head.query_row([columns::number(seq)], |row| {
        Ok(Head { origin_no: row.get(0)?, id: row.get(1)?, received: row.get(2)? })
    })
    .optional()
}

/// What is known of the push with this number. A push that ends between the two looks is found by the second.
fn look_up(db: &Connection, seq: u64) -> rusqlite::Result<Option<Traced>> {
    let mut open = db.prepare_cached("SELECT received, sending_since, attempt FROM push_open WHERE seq = ?1")?;
    let waiting = open
        .query_row([columns::number(seq)], |row| {
            let received = columns::instant_at(row, 0)?;
            let (state, at) = match columns::instant_or_none_at(row, 1)? {
                Some(since) => (PushState::Sending, since),
                None => (PushState::Journaled, received),
            };
            Ok(Traced { seq, received, state, detail: String::new(), at, attempt: row.get(2)? })
        })
        .optional()?;
    if waiting.is_some() {
        return Ok(waiting);
    }
    let mut done = db.prepare_cached("SELECT received, state, reason, detail, at FROM push_done WHERE seq = ?1")?;
    done.query_row([columns::number(seq)], |row| {
        Ok(Traced {
            seq,
            received: columns::instant_at(row, 0)?,
            state: columns::state_at(row, 1)?,
            detail: row.get(3)?,
            at: columns::instant_at(row, 4)?,
            attempt: 0,
        })
    })
    .optional()
}

fn open_entry(row: &Row<'_>) -> rusqlite::Result<OpenEntry> {
    let received = columns::instant_at(row, 7)?;
    Ok(OpenEntry {
        seq: columns::number_at(row, 0)?,
        origin: columns::parsed_at(row, 1)?,
        id: PushId::from_u128(columns::id_at(row, 2)?),
        lane: lane(row, 3)?,
        received,
        expires: columns::instant_at(row, 8)?,
        due: columns::instant_at(row, 9)?,
        attempt: row.get(10)?,
        sending: columns::instant_or_none_at(row, 11)?.is_some(),
        request: Arc::from(row.get_ref(12)?.as_blob()?),
    })
}

fn lane(row: &Row<'_>, first: usize) -> rusqlite::Result<LaneKey> {
    let app = AppKey {
        provider: columns::word_at(row, first)?,
        app: row.get_ref(first + 1)?.as_str()?.into(),
        environment: columns::word_at(row, first + 2)?,
    };
    Ok(LaneKey { app, channel: columns::word_at(row, first + 3)? })
}

/// What the writer remembers: the numbers that stand for names in this file, those to be given next, and the heads of
/// the pushes taken last, most of which end while they are still here.
struct Numbers {
    origins: HashMap<SipDomain, i64>,
    lanes: HashMap<LaneKey, i64>,
    next_seq: u64,
    next_feedback: u64,
    /// The heads of the open pushes before `next_seq`; none for one that has ended.
    heads: VecDeque<Option<Head>>,
}

impl Memory for Numbers {
    type Desk<'a> = Desk<'a>;

    fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut origins = db.prepare("SELECT no, name FROM origin")?;
        let origins = origins.query_map((), |row| Ok((columns::parsed_at(row, 1)?, row.get(0)?)))?;
        let mut lanes = db.prepare("SELECT no, provider, app, environment, channel FROM lane")?;
        let lanes = lanes.query_map((), |row| Ok((lane(row, 1)?, row.get(0)?)))?;
        let last = |sql: &str| db.query_row(sql, (), |row| columns::number_at(row, 0));
        let seq = last("SELECT coalesce(max(seq), 0) FROM push_open")?
            .max(last("SELECT coalesce(max(seq), 0) FROM push_done")?);
        Ok(Self {
            origins: origins.collect::<rusqlite::Result<_>>()?,
            lanes: lanes.collect::<rusqlite::Result<_>>()?,
            next_seq: seq + 1,
            next_feedback: last("SELECT coalesce(max(no), 0) FROM feedback")? + 1,
            heads: VecDeque::new(),
        })
    }

    fn desk<'a>(&'a mut self, db: &'a Connection) -> Desk<'a> {
        Desk { db, numbers: self, append: None, complete: None }
    }
}

impl Numbers {
    fn origin(&mut self, db: &Connection, name: &SipDomain) -> rusqlite::Result<i64> {
        if let Some(&no) = self.origins.get(name) {
            return Ok(no);
        }
        let sql = "INSERT INTO origin (name) VALUES (?1) RETURNING no";
        let no = db.query_row(sql, [name.as_str()], |row| row.get(0))?;
        self.origins.insert(name.clone(), no);
        Ok(no)
    }

    fn lane(&mut self, db: &Connection, lane: &LaneKey) -> rusqlite::Result<i64> {
        if let Some(&no) = self.lanes.get(lane) {
            return Ok(no);
        }
        let sql = "INSERT INTO lane (provider, app, environment, channel) VALUES (?1, ?2, ?3, ?4) RETURNING no";
        let AppKey { provider, app, environment } = &lane.app;
        let names = (provider.as_str(), &**app, environment.as_str(), lane.channel.as_str());
        let no = db.query_row(sql, names, |row| row.get(0))?;
        self.lanes.insert(lane.clone(), no);
        Ok(no)
    }

    /// Notes that `next_seq` was given to a push.
    fn taken(&mut self, head: Head) {
        if self.heads.len() == HEADS_MAX {
            self.heads.pop_front();
        }
        self.heads.push_back(Some(head));
        self.next_seq += 1;
    }

    /// The head of an open push that ends now, if it is still here. Only once: who asks again has to ask the file.
    fn recent(&mut self, seq: u64) -> Option<Head> {
        let back = usize::try_from(self.next_seq.checked_sub(seq)?).ok()?;
        let place = self.heads.len().checked_sub(back)?;
        self.heads.get_mut(place)?.take()
    }

    const fn feedback(&mut self) -> u64 {
        let no = self.next_feedback;
        self.next_feedback += 1;
        no
    }
}

/// How many heads are remembered: two and a half megabytes.
const HEADS_MAX: usize = 65_536;

/// What a row costs beside its texts, for the queue's bound.
const ROW_BYTES: usize = 96;

/// What a purge counts for in a batch.
const PURGE_RECORDS: usize = 256;

const LAYOUT: Layout = Layout {
    name: "clearinghouse",
    mark: *b"RvlJ",
    page_bytes: 8192,
    one_process: true,
    migrations: &["
        CREATE TABLE origin (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
        CREATE TABLE lane (
            no INTEGER PRIMARY KEY, provider TEXT NOT NULL, app TEXT NOT NULL, environment TEXT NOT NULL,
            channel TEXT NOT NULL, UNIQUE (app, provider, environment, channel)
        );
        -- Every push that duplicates are recognised of.
        CREATE TABLE push_known (
            origin_no INTEGER NOT NULL, id BLOB NOT NULL, seq INTEGER NOT NULL, fingerprint INTEGER NOT NULL,
            PRIMARY KEY (id, origin_no)
        ) WITHOUT ROWID;
        -- Pushes that have not ended. The request stands last: the columns before it are read without it.
        CREATE TABLE push_open (
            seq INTEGER PRIMARY KEY, origin_no INTEGER NOT NULL, id BLOB NOT NULL, lane_no INTEGER NOT NULL,
            received INTEGER NOT NULL, expires INTEGER NOT NULL, due INTEGER NOT NULL, attempt INTEGER NOT NULL,
            sending_since INTEGER, request BLOB NOT NULL
        );
        -- Pushes that have ended.
        CREATE TABLE push_done (
            seq INTEGER PRIMARY KEY, origin_no INTEGER NOT NULL, id BLOB NOT NULL, received INTEGER NOT NULL,
            state TEXT NOT NULL, reason TEXT, detail TEXT NOT NULL, at INTEGER NOT NULL
        );
        -- What homes are still to be told.
        CREATE TABLE feedback (
            origin_no INTEGER NOT NULL, no INTEGER NOT NULL, push BLOB NOT NULL, identity BLOB NOT NULL,
            token_generation INTEGER NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL, provider_time INTEGER,
            at INTEGER NOT NULL, due INTEGER NOT NULL, attempt INTEGER NOT NULL, PRIMARY KEY (origin_no, no)
        ) WITHOUT ROWID;
    "],
};
