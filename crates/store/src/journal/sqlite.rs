//! The journal in a SQLite file.

use std::path::Path;
use std::sync::Arc;

use reveille_core::{Channel, PushId, SipDomain, Timestamp};

use super::desk::{Desk, Numbers};
use super::{
    Appended, Brake, BrakeScope, Braked, Completed, Counts, Dead, FeedbackEnd, FeedbackId, FeedbackItem, Journal,
    JournalEntry, OpenEntry, OpenStretch, OwedFeedback, Recent, Stretch, TokenMark, Traced, TracedPush, Verdicts,
    census, flows, outbox, verdicts, view,
};
use crate::completion::Completion;
use crate::engine::{Engine, Haste, Layout, Limits, Room};
use crate::error::StoreError;

/// The clearing house's journal in a SQLite file that one process has open. Clones share it.
#[derive(Clone)]
pub struct SqliteJournal {
    engine: Arc<Engine<Numbers>>,
    first_new: u64,
}

impl SqliteJournal {
    /// Opens or makes the file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Limits::default())
    }

    /// The same with other bounds.
    pub fn open_with(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let engine = Arc::new(Engine::open(path, &LAYOUT, limits)?);
        let first_new = engine.read(flows::first_new)?;
        Ok(Self { engine, first_new })
    }

    /// Writes a complete copy of the file as of now to `to`, which must not exist. Work goes on meanwhile.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.engine.backup(to)
    }

    fn append_in(&self, haste: Haste, entries: Vec<JournalEntry>, done: Completion<Vec<Appended>>) {
        let bytes = entries.iter().map(|entry| entry.request.len() + ROW_BYTES).sum();
        let records = entries.len();
        let work = move |desk: &mut Desk<'_>| entries.iter().map(|entry| desk.append(entry)).collect();
        self.engine.submit_as(haste, records, bytes, work, done);
    }

    /// Writes what has queued, tells everybody, and lets go of the file, for all clones.
    pub fn close(&self) {
        self.engine.close();
    }
}

impl Journal for SqliteJournal {
    fn append(&self, entries: Vec<JournalEntry>, done: Completion<Vec<Appended>>) {
        // Among messages a call goes in its turn with them: who sends both must not get his flood before others'.
        let calls = entries.iter().all(|entry| entry.lane.channel == Channel::Voip);
        self.append_in(if calls { Haste::Urgent } else { Haste::InTurn }, entries, done);
    }

    fn append_ahead(&self, entries: Vec<JournalEntry>, done: Completion<Vec<Appended>>) {
        self.append_in(Haste::Urgent, entries, done);
    }

    fn mark_sending(&self, seqs: Vec<u64>, at: Timestamp, done: Completion<()>) {
        let records = seqs.len();
        let work = move |desk: &mut Desk<'_>| seqs.iter().try_for_each(|&seq| desk.mark_sending(seq, at));
        self.engine.submit_as(Haste::Urgent, records, records * ROW_BYTES, work, done);
    }

    fn complete(&self, completed: Vec<Completed>, done: Completion<()>) {
        let bytes = completed.iter().map(|end| end.detail.len() + 2 * ROW_BYTES).sum();
        let records = completed.len();
        let work = move |desk: &mut Desk<'_>| completed.iter().try_for_each(|end| desk.complete(end));
        self.engine.submit(records, bytes, work, done);
    }

    fn reschedule(&self, seq: u64, due: Timestamp, attempt: u32, done: Completion<()>) {
        let work = move |desk: &mut Desk<'_>| desk.reschedule(seq, due, attempt);
        // As urgent as a mark: a call's next mark must not come before this and be undone by it.
        self.engine.submit_as(Haste::Urgent, 1, ROW_BYTES, work, done);
    }

    fn open(&self, after_seq: u64, limit: usize) -> Result<Vec<OpenEntry>, StoreError> {
        self.engine.read(|db| view::open(db, after_seq, limit))
    }

    fn first_new(&self) -> u64 {
        self.first_new
    }

    fn waiting(&self, after: u64, to: u64, blocks: usize) -> Result<(Vec<OpenStretch>, u64), StoreError> {
        self.engine.read(|db| flows::waiting(db, after, to, blocks))
    }

    fn read(&self, stretches: &[Stretch]) -> Result<Vec<OpenEntry>, StoreError> {
        self.engine.read(|db| flows::read(db, stretches))
    }

    fn received_since(
        &self,
        since: Timestamp,
        before: u64,
        blocks: usize,
    ) -> Result<(Counts, Option<u64>), StoreError> {
        self.engine.read(|db| census::received_since(db, since, before, blocks))
    }

    fn room(&self) -> Room {
        self.engine.room()
    }

    fn trace(&self, origin: &SipDomain, id: PushId) -> Result<Option<Traced>, StoreError> {
        self.engine.read(|db| view::trace(db, origin, id))
    }

    fn traces(&self, id: PushId, origin: Option<&SipDomain>) -> Result<Vec<TracedPush>, StoreError> {
        self.engine.read(|db| view::traces(db, id, origin))
    }

    fn latest(&self, origin: Option<&SipDomain>, limit: usize) -> Result<Vec<TracedPush>, StoreError> {
        self.engine.read(|db| view::latest(db, origin, limit))
    }

    fn purge(&self, before: Timestamp, limit: usize, done: Completion<usize>) {
        let work = move |desk: &mut Desk<'_>| desk.purge(before, limit);
        self.engine.submit(limit.min(PURGE_RECORDS), 0, work, done);
    }

    fn owe_feedback(&self, origin: SipDomain, asked: SipDomain, items: Vec<FeedbackItem>, done: Completion<()>) {
        let records = items.len();
        let work = move |desk: &mut Desk<'_>| {
            let origin_no = desk.numbers.origin(desk.db, &origin)?;
            let asked = outbox::Asked::Domain(&asked);
            items
                .iter()
                .try_for_each(|item| outbox::owe_again(desk.db, origin_no, &asked, desk.numbers.feedback(), item))
        };
        self.engine.submit(records, records * ROW_BYTES, work, done);
    }

    fn feedback_open(&self, limit: usize) -> Result<Vec<OwedFeedback>, StoreError> {
        self.engine.read(|db| outbox::open(db, limit))
    }

    fn feedback_done(&self, ids: Vec<FeedbackId>, end: FeedbackEnd, done: Completion<()>) {
        let records = ids.len();
        let work = move |desk: &mut Desk<'_>| outbox::end(desk.db, &ids, end);
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

impl Verdicts for SqliteJournal {
    fn dead(&self) -> Result<Vec<Dead>, StoreError> {
        self.engine.read(verdicts::dead)
    }

    fn brakes(&self) -> Result<Vec<Braked>, StoreError> {
        self.engine.read(verdicts::brakes)
    }

    fn brake(&self, brake: Brake, done: Completion<()>) {
        let work = move |desk: &mut Desk<'_>| verdicts::brake(desk.db, &brake);
        self.engine.submit(1, ROW_BYTES, work, done);
    }

    fn freeze(&self, scope: BrakeScope, at: Timestamp, limit: usize, done: Completion<Vec<TokenMark>>) {
        let work = move |desk: &mut Desk<'_>| verdicts::freeze(desk, &scope, at, limit);
        self.engine.submit(limit, 0, work, done);
    }

    fn release(&self, scope: BrakeScope, right: bool, limit: usize, done: Completion<Vec<Dead>>) {
        let work = move |desk: &mut Desk<'_>| verdicts::release(desk, &scope, right, limit);
        self.engine.submit(limit, 0, work, done);
    }

    fn recent(&self, since: Timestamp) -> Result<Vec<Recent>, StoreError> {
        self.engine.read(|db| verdicts::recent(db, since))
    }

    fn verdicts_purge(&self, before: Timestamp, limit: usize, done: Completion<usize>) {
        let work = move |desk: &mut Desk<'_>| verdicts::purge(desk.db, before, limit);
        self.engine.submit(limit.min(PURGE_RECORDS), 0, work, done);
    }
}

/// What a row costs beside its texts, for the queue's bound.
const ROW_BYTES: usize = 96;

/// What a purge counts for in a batch.
const PURGE_RECORDS: usize = 256;

const LAYOUT: Layout = Layout {
    name: "clearinghouse",
    mark: *b"RvlJ",
    page_bytes: 8192,
    one_process: true,
    migrations: &[
        "
        CREATE TABLE origin (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
        CREATE TABLE lane (
            no INTEGER PRIMARY KEY, provider TEXT NOT NULL, app TEXT NOT NULL, environment TEXT NOT NULL,
            channel TEXT NOT NULL, UNIQUE (app, provider, environment, channel)
        );
        -- Every push that duplicates are recognised of. Ids begin with their time, whoever made them, so that new ones
        -- of all origins meet at the right edge.
        CREATE TABLE push_known (
            id BLOB NOT NULL, origin_no INTEGER NOT NULL, seq INTEGER NOT NULL, fingerprint INTEGER NOT NULL,
            PRIMARY KEY (id, origin_no)
        ) WITHOUT ROWID;
        -- Pushes by blocks of up to 64: what never changes, what does, and the requests while one of them is needed.
        CREATE TABLE block (no INTEGER PRIMARY KEY, keys BLOB NOT NULL);
        CREATE TABLE block_state (no INTEGER PRIMARY KEY, states BLOB NOT NULL);
        CREATE TABLE block_request (no INTEGER PRIMARY KEY, requests BLOB NOT NULL);
        -- Open pushes that were rescheduled, or left over when the rest of their block was done.
        CREATE TABLE push_late (
            seq INTEGER PRIMARY KEY, due INTEGER NOT NULL, attempt INTEGER NOT NULL, sending_since INTEGER,
            request BLOB NOT NULL
        );
        -- How pushes have ended of which there is more to say than that they were accepted.
        CREATE TABLE push_end (seq INTEGER PRIMARY KEY, state TEXT NOT NULL, reason TEXT, detail TEXT NOT NULL);
        -- What homes are still to be told.
        CREATE TABLE feedback (
            origin_no INTEGER NOT NULL, no INTEGER NOT NULL, push BLOB NOT NULL, identity BLOB NOT NULL,
            token_generation INTEGER NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL, provider_time INTEGER,
            at INTEGER NOT NULL, due INTEGER NOT NULL, attempt INTEGER NOT NULL, PRIMARY KEY (origin_no, no)
        ) WITHOUT ROWID;
    ",
        "
        -- A lane has a number for each domain that was asked; '' is what an earlier version has not kept.
        CREATE TABLE lane_asked (
            no INTEGER PRIMARY KEY, provider TEXT NOT NULL, app TEXT NOT NULL, environment TEXT NOT NULL,
            channel TEXT NOT NULL, asked TEXT NOT NULL, UNIQUE (app, provider, environment, channel, asked)
        );
        INSERT INTO lane_asked SELECT no, provider, app, environment, channel, '' FROM lane;
        DROP TABLE lane;
        ALTER TABLE lane_asked RENAME TO lane;
        ALTER TABLE feedback ADD COLUMN asked TEXT NOT NULL DEFAULT '';
    ",
        "
        -- Verdicts on tokens, while they can be taken back; `token` is a hash of origin, app and token.
        CREATE TABLE verdict (
            token BLOB PRIMARY KEY, lane_no INTEGER NOT NULL, origin_no INTEGER NOT NULL, push BLOB NOT NULL,
            identity BLOB NOT NULL, word TEXT NOT NULL, since INTEGER, sent INTEGER NOT NULL, at INTEGER NOT NULL,
            frozen INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX verdict_by_lane ON verdict (lane_no, frozen, at);
        CREATE INDEX verdict_by_age ON verdict (at);
        -- Apps whose verdicts are frozen; '' as the origin is all of them.
        CREATE TABLE brake (
            provider TEXT NOT NULL, app TEXT NOT NULL, environment TEXT NOT NULL, origin TEXT NOT NULL,
            since INTEGER NOT NULL, reach INTEGER NOT NULL, rejected INTEGER NOT NULL, answers INTEGER NOT NULL,
            word TEXT NOT NULL, PRIMARY KEY (provider, app, environment, origin)
        ) WITHOUT ROWID;
    ",
        "
        -- For the trace: since when home is owed the news of it, when that was over, and whether home has taken it.
        ALTER TABLE push_end ADD COLUMN feedback_owed INTEGER;
        ALTER TABLE push_end ADD COLUMN feedback_over INTEGER;
        ALTER TABLE push_end ADD COLUMN feedback_taken INTEGER NOT NULL DEFAULT 0;
    ",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::battery::{Folder, outcome};
    use crate::journal::fingerprint;
    use reveille_core::delivery::PushState;
    use reveille_core::{AppKey, Environment, LaneKey, Provider};
    use rusqlite::Connection;

    fn entry(n: u64) -> JournalEntry {
        let app = AppKey { provider: Provider::Fcm, app: "project".into(), environment: Environment::Production };
        let request: Arc<[u8]> = format!("request {n}").into_bytes().into();
        JournalEntry {
            origin: "a.example".parse().unwrap(),
            asked: "push.example.net".parse().unwrap(),
            id: PushId::from_u128(n.into()),
            lane: LaneKey { app, channel: Channel::Message },
            received: Timestamp::from_millis(n),
            expires: Timestamp::from_millis(u64::MAX),
            fingerprint: fingerprint(&request),
            sending: false,
            request,
        }
    }

    fn taken(journal: &SqliteJournal, numbers: std::ops::Range<u64>) -> Vec<u64> {
        let answers = outcome(|done| journal.append(numbers.map(entry).collect(), done)).unwrap();
        let seq = |answer| match answer {
            Appended::New { seq } => seq,
            Appended::Duplicate { .. } => panic!("{answer:?}"),
        };
        answers.into_iter().map(seq).collect()
    }

    #[test]
    fn a_few_pushes_that_stay_do_not_keep_the_requests_of_their_block() {
        let folder = Folder::new();
        let path = folder.path().join("clearinghouse.db");
        let journal = SqliteJournal::open(&path).unwrap();
        let first = taken(&journal, 0..64);
        let stay = [first[3], first[40], first[63]];
        let at = Timestamp::from_millis(5000);
        outcome(|done| journal.mark_sending(vec![stay[1]], at, done)).unwrap();
        let over = first.iter().filter(|seq| !stay.contains(seq)).map(|&seq| Completed {
            seq,
            state: PushState::Accepted,
            detail: String::new(),
            at,
            feedback: None,
            death: None,
        });
        outcome(|done| journal.complete(over.collect(), done)).unwrap();
        let rows = |table: &str| -> (i64, i64) {
            let db = Connection::open(&path).unwrap();
            let sql = format!("SELECT count(*), min(rowid) FROM {table}");
            db.query_row(&sql, (), |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0)))).unwrap()
        };
        assert_eq!((rows("push_late").0, rows("block_request")), (0, (1, 1)));
        // Each call by itself is a block by itself.
        for n in 64..64 + super::super::desk::YOUNG_BLOCKS {
            taken(&journal, n..n + 1);
        }
        assert_eq!(rows("push_late").0, 3);
        assert_eq!(rows("block_request").1, 2, "the first block's requests are gone");
        journal.close();

        let journal = SqliteJournal::open(&path).unwrap();
        let open = journal.open(0, 4).unwrap();
        let told = open.iter().map(|entry| (entry.seq, entry.sending, entry.request.to_vec())).collect::<Vec<_>>();
        assert_eq!(
            told[..3],
            [
                (stay[0], false, b"request 3".to_vec()),
                (stay[1], true, b"request 40".to_vec()),
                (stay[2], false, b"request 63".to_vec()),
            ]
        );
        assert_eq!(open[3].request, entry(64).request);
        assert_eq!((open[0].due, open[0].attempt), (Timestamp::from_millis(3), 0));
    }

    #[test]
    fn an_empty_request_alone_in_its_block_is_rescheduled_like_any_other() {
        let folder = Folder::new();
        let journal = SqliteJournal::open(&folder.path().join("clearinghouse.db")).unwrap();
        let empty = JournalEntry { request: Arc::from([]), ..entry(1) };
        let answer = outcome(|done| journal.append(vec![empty], done)).unwrap()[0];
        let Appended::New { seq } = answer else { panic!("{answer:?}") };
        let due = Timestamp::from_millis(9000);
        outcome(|done| journal.reschedule(seq, due, 2, done)).unwrap();
        let open = journal.open(0, 9).unwrap();
        assert_eq!((open.len(), open[0].due, open[0].attempt, open[0].request.len()), (1, due, 2, 0));
    }
}
