//! The writer's side of the journal: what one batch changes.
//!
//! New pushes are gathered into blocks and ended ones are ticked off in them; what has changed is written once, when
//! the batch is settled. Only the key of each push is a row of its own, since it decides what is a duplicate.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{CachedStatement, Connection, OptionalExtension as _};

use reveille_core::delivery::PushState;
use reveille_core::{AppKey, LaneKey, SipDomain, Timestamp};

use super::block::{Block, Code, Key, SLOTS, State, place, seq};
use super::debt::Debts;
use super::{Appended, Completed, JournalEntry, outbox, verdicts, view};
use crate::columns;
use crate::engine::Memory;

/// What a batch works with.
pub(super) struct Desk<'a> {
    pub(super) db: &'a Connection,
    pub(super) numbers: &'a mut Numbers,
    key: Option<CachedStatement<'a>>,
    /// The block that new pushes are gathered in, and their requests.
    gathering: Block,
    requests: Vec<u8>,
    /// Blocks whose states are not written yet.
    touched: BTreeSet<u64>,
}

/// What the writer remembers between batches.
pub(super) struct Numbers {
    origins: HashMap<SipDomain, u32>,
    /// By lane the number for each domain that was asked.
    lanes: HashMap<LaneKey, Vec<(SipDomain, u32)>>,
    /// The number of the block that is gathered next.
    next_block: u64,
    next_feedback: u64,
    debts: Debts,
    /// Blocks as they are in the file, most of them with open pushes; at most [`BLOCKS_MAX`].
    blocks: HashMap<u64, Block>,
    /// Blocks of which a request is still needed: 8 bytes for each 64 open pushes.
    needed: BTreeSet<u64>,
    /// How far [`Desk::thin_out`] has come.
    thinned: u64,
}

impl Memory for Numbers {
    type Desk<'a> = Desk<'a>;

    fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut origins = db.prepare("SELECT no, name FROM origin")?;
        let origins = origins.query_map((), |row| Ok((columns::parsed_at(row, 1)?, row.get(0)?)))?;
        let mut known =
            db.prepare("SELECT no, provider, app, environment, channel, asked FROM lane WHERE asked <> ''")?;
        let known = known.query_map((), |row| Ok((view::lane(row, 1)?, columns::parsed_at(row, 5)?, row.get(0)?)))?;
        let mut lanes: HashMap<LaneKey, Vec<_>> = HashMap::new();
        for row in known {
            let (lane, asked, no) = row?;
            lanes.entry(lane).or_default().push((asked, no));
        }
        let mut needed = db.prepare("SELECT no FROM block_request")?;
        let needed = needed.query_map((), |row| columns::number_at(row, 0))?;
        let last = |sql: &str| db.query_row(sql, (), |row| columns::number_at(row, 0));
        Ok(Self {
            origins: origins.collect::<rusqlite::Result<_>>()?,
            lanes,
            next_block: last("SELECT coalesce(max(no), 0) FROM block")? + 1,
            next_feedback: last("SELECT coalesce(max(no), 0) FROM feedback")? + 1,
            debts: Debts::default(),
            blocks: HashMap::new(),
            needed: needed.collect::<rusqlite::Result<_>>()?,
            thinned: 0,
        })
    }

    fn desk<'a>(&'a mut self, db: &'a Connection) -> Desk<'a> {
        let (gathering, requests, touched) = (Block::default(), Vec::new(), BTreeSet::new());
        Desk { db, numbers: self, key: None, gathering, requests, touched }
    }

    fn settle(mut desk: Desk<'_>) -> rusqlite::Result<()> {
        desk.put_block()?;
        desk.put_states()?;
        desk.thin_out()?;
        desk.put_states()?;
        if desk.numbers.blocks.len() > BLOCKS_MAX {
            // Everything in it is in the file by now, and the few that are needed come back one by one.
            desk.numbers.blocks.clear();
        }
        Ok(())
    }
}

impl Desk<'_> {
    /// Takes a push in, unless its key is taken.
    pub(super) fn append(&mut self, entry: &JournalEntry) -> rusqlite::Result<Appended> {
        let origin_no = self.numbers.origin(self.db, &entry.origin)?;
        let seq = seq(self.numbers.next_block, self.gathering.keys.len());
        let key = match &mut self.key {
            Some(key) => key,
            none => none.insert(self.db.prepare_cached(
                "INSERT INTO push_known (id, origin_no, seq, fingerprint) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?),
        };
        let id = entry.id.to_u128();
        // The key decides, in the same transaction as the request is kept in.
        if key.execute((columns::id(id), origin_no, columns::number(seq), entry.fingerprint.cast_signed()))? == 0 {
            return self.duplicate(origin_no, entry);
        }
        let request_bytes = u32::try_from(entry.request.len())
            .map_err(|failure| rusqlite::Error::ToSqlConversionFailure(Box::new(failure)))?;
        self.gathering.keys.push(Key {
            origin_no,
            lane_no: self.numbers.lane(self.db, &entry.lane, &entry.asked)?,
            id,
            received: entry.received,
            expires: entry.expires,
            request_bytes,
        });
        let code = if entry.sending { Code::Sending } else { Code::Open };
        self.gathering.states.push(State { code, at: entry.received });
        self.requests.extend_from_slice(&entry.request);
        if self.gathering.keys.len() == SLOTS || self.requests.len() >= BLOCK_BYTES {
            self.put_block()?;
        }
        Ok(Appended::New { seq })
    }

    /// What became of the push that was here first.
    fn duplicate(&mut self, origin_no: u32, entry: &JournalEntry) -> rusqlite::Result<Appended> {
        let mut known =
            self.db.prepare_cached("SELECT seq, fingerprint FROM push_known WHERE id = ?1 AND origin_no = ?2")?;
        let (seq, fingerprint) = known.query_row((columns::id(entry.id.to_u128()), origin_no), |row| {
            Ok((columns::number_at(row, 0)?, row.get::<_, i64>(1)?.cast_unsigned()))
        })?;
        let same_request = fingerprint == entry.fingerprint;
        let (no, slot) = place(seq);
        let block = if no == self.numbers.next_block { Some(&mut self.gathering) } else { self.block(no)? };
        let state = block.and_then(|block| block.states.get(slot).copied());
        let state = state.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let end = view::end_of(self.db, seq, state)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        Ok(Appended::Duplicate { state: end.state, same_request })
    }

    /// Ends a push, if it is open.
    pub(super) fn complete(&mut self, end: &Completed) -> rusqlite::Result<()> {
        let plain = end.state == PushState::Accepted && end.detail.is_empty();
        let state = State { code: if plain { Code::Accepted } else { Code::Ended }, at: end.at };
        let Some((key, before)) = self.change(end.seq, |_| Some(state))? else { return Ok(()) };
        let seq = columns::number(end.seq);
        if before == Code::Late {
            self.db.prepare_cached("DELETE FROM push_late WHERE seq = ?1")?.execute([seq])?;
        }
        let owed = match &end.feedback {
            Some(item) if self.numbers.debts.keeps(self.db, key.origin_no, end.death.is_some())? => Some(item),
            Some(_) | None => None,
        };
        if !plain {
            let sql = "INSERT INTO push_end (seq, state, reason, detail, feedback_owed) VALUES (?1, ?2, ?3, ?4, ?5)";
            let (reason, detail) = (columns::reason(end.state), columns::detail(&end.detail));
            let owed = owed.map(|item| columns::instant(item.at));
            self.db.prepare_cached(sql)?.execute((seq, end.state.as_str(), reason, detail, owed))?;
        }
        if let Some(item) = owed {
            outbox::owe(self.db, key.origin_no, &outbox::Asked::Lane(key.lane_no), self.numbers.feedback(), item)?;
            if let Some(death) = &end.death {
                verdicts::keep(self.db, (key.origin_no, key.lane_no), death, item, &end.detail)?;
            }
        }
        Ok(())
    }

    /// Notes that a push is being sent, if it is open.
    pub(super) fn mark_sending(&mut self, seq: u64, at: Timestamp) -> rusqlite::Result<()> {
        let sending = |code: Code| code.needs_request().then_some(State { code: Code::Sending, at });
        if self.change(seq, sending)?.is_none() {
            // One that is over has no row there.
            let mut late = self.db.prepare_cached("UPDATE push_late SET sending_since = ?2 WHERE seq = ?1")?;
            late.execute((columns::number(seq), columns::instant(at)))?;
        }
        Ok(())
    }

    /// Puts a push back to be sent later, if it is open.
    pub(super) fn reschedule(&mut self, seq: u64, due: Timestamp, attempt: u32) -> rusqlite::Result<()> {
        if self.make_late(seq, due, attempt)?.is_none() {
            let sql = "UPDATE push_late SET due = ?2, attempt = ?3, sending_since = NULL WHERE seq = ?1";
            self.db.prepare_cached(sql)?.execute((columns::number(seq), columns::instant(due), attempt))?;
        }
        Ok(())
    }

    /// Forgets up to `limit` pushes that were received before `before` and are over.
    pub(super) fn purge(&mut self, before: Timestamp, limit: usize) -> rusqlite::Result<usize> {
        self.put_states()?;
        // From the left edge and block by block, so that a call costs what it removes: numbers are given in the order of
        // receipt, and to look a thousand blocks ahead is to read their pages.
        let db = self.db;
        let mut next = db.prepare_cached("SELECT no FROM block WHERE no > ?1 ORDER BY no LIMIT 1")?;
        let (mut gone, mut stuck, mut last) = (0, 0, 0);
        while gone < limit && stuck <= STUCK_BLOCKS_MAX {
            let found = next.query_row([columns::number(last)], |row| columns::number_at(row, 0)).optional()?;
            let Some(no) = found else { break };
            last = no;
            if self.numbers.blocks.len() >= BLOCKS_MAX {
                self.put_states()?;
                self.numbers.blocks.clear();
            }
            let Some(block) = self.block(no)? else { continue };
            if block.keys.first().is_none_or(|key| key.received >= before) {
                break;
            }
            let (keys, gone_before) = (block.keys.clone(), gone);
            for (slot, key) in keys.iter().enumerate().filter(|(_, key)| key.received < before) {
                if gone < limit && self.forget(no, slot, key)? {
                    gone += 1;
                }
            }
            stuck += usize::from(gone == gone_before);
            let empty =
                self.block(no)?.is_some_and(|block| block.states.iter().all(|state| state.code == Code::Forgotten));
            // The newest block stays: its number says which one is next.
            if empty && no + 1 < self.numbers.next_block {
                self.touched.remove(&no);
                self.numbers.blocks.remove(&no);
                for sql in ["DELETE FROM block WHERE no = ?1", "DELETE FROM block_state WHERE no = ?1"] {
                    self.db.prepare_cached(sql)?.execute([columns::number(no)])?;
                }
            }
        }
        Ok(gone)
    }

    /// Frees the key of a push, if it is over.
    fn forget(&mut self, no: u64, slot: usize, key: &Key) -> rusqlite::Result<bool> {
        let Some(state) = self.numbers.blocks.get_mut(&no).and_then(|block| block.states.get_mut(slot)) else {
            return Ok(false);
        };
        let told = match state.code {
            Code::Accepted => false,
            Code::Ended => true,
            Code::Forgotten | Code::Late | Code::Open | Code::Sending => return Ok(false),
        };
        state.code = Code::Forgotten;
        self.touched.insert(no);
        if told {
            let mut end = self.db.prepare_cached("DELETE FROM push_end WHERE seq = ?1")?;
            end.execute([columns::number(seq(no, slot))])?;
        }
        let mut known = self.db.prepare_cached("DELETE FROM push_known WHERE id = ?1 AND origin_no = ?2")?;
        known.execute((columns::id(key.id), key.origin_no))?;
        Ok(true)
    }

    /// Moves an open push's state. Answers its key and where it was before; none if it is not open or `next` says no.
    fn change(&mut self, seq: u64, next: impl FnOnce(Code) -> Option<State>) -> rusqlite::Result<Option<(Key, Code)>> {
        let (no, slot) = place(seq);
        let Some(block) = self.block(no)? else { return Ok(None) };
        let (Some(&key), Some(state)) = (block.keys.get(slot), block.states.get_mut(slot)) else { return Ok(None) };
        let before = state.code;
        let next = match before {
            Code::Late | Code::Open | Code::Sending => next(before),
            Code::Accepted | Code::Ended | Code::Forgotten => None,
        };
        let Some(next) = next else { return Ok(None) };
        *state = next;
        self.touched.insert(no);
        Ok(Some((key, before)))
    }

    /// Gives a push a row of its own. None if it has one, or is not open.
    fn make_late(&mut self, seq: u64, due: Timestamp, attempt: u32) -> rusqlite::Result<Option<()>> {
        let late = |code: Code| code.needs_request().then_some(State { code: Code::Late, at: due });
        if self.change(seq, late)?.is_none() {
            return Ok(None);
        }
        let (no, slot) = place(seq);
        let Some(range) = self.block(no)?.map(|block| block.request_range(slot)) else { return Ok(None) };
        // SQLite's substr of an empty blob is NULL: a block may hold nothing but empty requests.
        let mut copy = self.db.prepare_cached(
            "INSERT INTO push_late (seq, due, attempt, request)
             SELECT ?1, ?2, ?3, coalesce(substr(requests, ?4, ?5), x'') FROM block_request WHERE no = ?6",
        )?;
        copy.execute((
            columns::number(seq),
            columns::instant(due),
            attempt,
            columns::rows(range.start + 1),
            columns::rows(range.len()),
            columns::number(no),
        ))?;
        Ok(Some(()))
    }

    /// The block with that number, from memory or from the file.
    fn block(&mut self, no: u64) -> rusqlite::Result<Option<&mut Block>> {
        if !self.numbers.blocks.contains_key(&no) {
            let Some(block) = view::block(self.db, no)? else { return Ok(None) };
            self.numbers.blocks.insert(no, block);
        }
        Ok(self.numbers.blocks.get_mut(&no))
    }

    /// Writes the block that was gathered, and begins the next one.
    fn put_block(&mut self) -> rusqlite::Result<()> {
        if self.gathering.keys.is_empty() {
            return Ok(());
        }
        let (no, block) = (self.numbers.next_block, std::mem::take(&mut self.gathering));
        for (sql, bytes) in [
            ("INSERT INTO block (no, keys) VALUES (?1, ?2)", &block.key_bytes()),
            ("INSERT INTO block_state (no, states) VALUES (?1, ?2)", &block.state_bytes()),
            ("INSERT INTO block_request (no, requests) VALUES (?1, ?2)", &self.requests),
        ] {
            self.db.prepare_cached(sql)?.execute((columns::number(no), bytes))?;
        }
        self.requests.clear();
        self.numbers.next_block += 1;
        self.numbers.needed.insert(no);
        self.numbers.blocks.insert(no, block);
        Ok(())
    }

    /// Writes the states that have changed, and removes requests of which none is needed any more.
    fn put_states(&mut self) -> rusqlite::Result<()> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let mut put = self.db.prepare_cached("UPDATE block_state SET states = ?2 WHERE no = ?1")?;
        let mut remove = self.db.prepare_cached("DELETE FROM block_request WHERE no = ?1")?;
        for no in std::mem::take(&mut self.touched) {
            let Some(block) = self.numbers.blocks.get(&no) else { continue };
            put.execute((columns::number(no), block.state_bytes()))?;
            if block.needed() == 0 && self.numbers.needed.remove(&no) {
                remove.execute([columns::number(no)])?;
                self.numbers.blocks.remove(&no);
            }
        }
        Ok(())
    }

    /// Gives the last few open pushes of blocks that are no longer young a row of their own, so that a lane that
    /// stands still does not keep the requests of all others on disk.
    fn thin_out(&mut self) -> rusqlite::Result<()> {
        let Some(end) = self.numbers.next_block.checked_sub(YOUNG_BLOCKS) else { return Ok(()) };
        let looked_at = self.numbers.needed.range(self.numbers.thinned..end).take(THIN_OUT_MAX);
        let looked_at = looked_at.copied().collect::<Vec<_>>();
        // At the end of the row it begins anew: blocks that were full of open pushes may have few left.
        self.numbers.thinned = if looked_at.len() < THIN_OUT_MAX { 0 } else { looked_at.last().map_or(0, |no| no + 1) };
        for no in looked_at {
            let Some(block) = self.block(no)? else { continue };
            if block.needed() > SLOTS / 8 {
                continue;
            }
            let states = block.states.clone();
            let keys = block.keys.clone();
            for (slot, state) in states.iter().enumerate().filter(|(_, state)| state.code.needs_request()) {
                let number = seq(no, slot);
                self.make_late(number, keys[slot].received, 0)?;
                if state.code == Code::Sending {
                    self.mark_sending(number, state.at)?;
                }
            }
        }
        Ok(())
    }
}

impl Numbers {
    pub(super) fn origin(&mut self, db: &Connection, name: &SipDomain) -> rusqlite::Result<u32> {
        if let Some(&no) = self.origins.get(name) {
            return Ok(no);
        }
        let sql = "INSERT INTO origin (name) VALUES (?1) RETURNING no";
        let no = db.query_row(sql, [name.as_str()], |row| row.get(0))?;
        self.origins.insert(name.clone(), no);
        Ok(no)
    }

    /// The number of a lane and the domain that was asked: one row for each pair, of which there are few.
    fn lane(&mut self, db: &Connection, lane: &LaneKey, asked: &SipDomain) -> rusqlite::Result<u32> {
        let known = self.lanes.get(lane).and_then(|known| known.iter().find(|(domain, _)| domain == asked));
        if let Some(&(_, no)) = known {
            return Ok(no);
        }
        let sql =
            "INSERT INTO lane (provider, app, environment, channel, asked) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING no";
        let AppKey { provider, app, environment } = &lane.app;
        let names = (provider.as_str(), &**app, environment.as_str(), lane.channel.as_str(), asked.as_str());
        let no = db.query_row(sql, names, |row| row.get(0))?;
        self.lanes.entry(lane.clone()).or_default().push((asked.clone(), no));
        Ok(no)
    }

    pub(super) const fn feedback(&mut self) -> u64 {
        let no = self.next_feedback;
        self.next_feedback += 1;
        no
    }
}

/// From how many bytes of requests on a block is full.
const BLOCK_BYTES: usize = 128 << 10;

/// How many blocks are kept in memory: about five kilobytes each.
const BLOCKS_MAX: usize = 2048;

/// How many blocks are too young to be thinned out: most of their pushes are just on their way.
pub(super) const YOUNG_BLOCKS: u64 = 512;

/// How many blocks with a push that never ends a purge steps over to come to those behind them.
const STUCK_BLOCKS_MAX: usize = 4096;

/// How many blocks are looked at in one batch to be thinned out.
const THIN_OUT_MAX: usize = 4;
