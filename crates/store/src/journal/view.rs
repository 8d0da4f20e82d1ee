//! The reader's side of the journal: open pushes and traces, put together from blocks and from what stands beside them.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Row};

use reveille_core::delivery::PushState;
use reveille_core::{AppKey, LaneKey, PushId, SipDomain, Timestamp};

use super::block::{Block, Code, Key, State, place, seq};
use super::{FeedbackEnd, News, OpenEntry, TRACED_MAX, Traced, TracedPush};
use crate::columns;

/// The open pushes after `after_seq`, in order.
pub(super) fn open(db: &Connection, after_seq: u64, limit: usize) -> rusqlite::Result<Vec<OpenEntry>> {
    // One view of the file for all of it: a push that becomes late meanwhile would be read twice or not at all.
    let view = db.unchecked_transaction()?;
    let mut names = Names::default();
    let mut entries = in_blocks(&view, &mut names, after_seq, limit)?;
    entries.extend(late(&view, &mut names, after_seq, limit)?);
    entries.sort_unstable_by_key(|entry| entry.seq);
    entries.truncate(limit);
    Ok(entries)
}

fn in_blocks(db: &Connection, names: &mut Names, after: u64, limit: usize) -> rusqlite::Result<Vec<OpenEntry>> {
    let mut query = db.prepare_cached(
        "SELECT block.keys, block_state.states, block.no, block_request.requests
           FROM block_request
           JOIN block ON block.no = block_request.no
           JOIN block_state ON block_state.no = block_request.no
          WHERE block_request.no >= ?1 ORDER BY block_request.no",
    )?;
    let mut rows = query.query([columns::number(place(after).0)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let block = Block::read(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?)?;
        let (no, requests) = (columns::number_at(row, 2)?, row.get_ref(3)?.as_blob()?);
        for (slot, (key, state)) in block.keys.iter().zip(&block.states).enumerate() {
            let seq = seq(no, slot);
            if seq <= after || !state.code.needs_request() {
                continue;
            }
            if entries.len() == limit {
                return Ok(entries);
            }
            let request = requests.get(block.request_range(slot)).ok_or_else(|| columns::unknown(3))?;
            entries.push(OpenEntry {
                seq,
                origin: names.origin(db, key.origin_no)?,
                id: PushId::from_u128(key.id),
                lane: names.lane(db, key.lane_no)?,
                received: key.received,
                expires: key.expires,
                due: key.received,
                attempt: 0,
                sending: state.code == Code::Sending,
                request: request.into(),
            });
        }
    }
    Ok(entries)
}

fn late(db: &Connection, names: &mut Names, after: u64, limit: usize) -> rusqlite::Result<Vec<OpenEntry>> {
    let mut query = db.prepare_cached(
        "SELECT seq, due, attempt, sending_since, request FROM push_late WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = query.query((columns::number(after), columns::rows(limit)))?;
    let mut entries = Vec::new();
    let mut last: Option<(u64, Block)> = None;
    while let Some(row) = rows.next()? {
        let seq = columns::number_at(row, 0)?;
        let (no, slot) = place(seq);
        if last.as_ref().is_none_or(|(last, _)| *last != no) {
            last = Some((no, block(db, no)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?));
        }
        let key: Key = *last.as_ref().and_then(|(_, block)| block.keys.get(slot)).ok_or_else(|| columns::unknown(0))?;
        entries.push(OpenEntry {
            seq,
            origin: names.origin(db, key.origin_no)?,
            id: PushId::from_u128(key.id),
            lane: names.lane(db, key.lane_no)?,
            received: key.received,
            expires: key.expires,
            due: columns::instant_at(row, 1)?,
            attempt: row.get(2)?,
            sending: columns::instant_or_none_at(row, 3)?.is_some(),
            request: Arc::from(row.get_ref(4)?.as_blob()?),
        });
    }
    Ok(entries)
}

/// What is known of one push.
pub(super) fn trace(db: &Connection, origin: &SipDomain, id: PushId) -> rusqlite::Result<Option<Traced>> {
    Ok(traces(db, id, Some(origin))?.pop().map(|push| push.traced))
}

/// What is known of the pushes of one id: different origins may have chosen the same.
pub(super) fn traces(db: &Connection, id: PushId, origin: Option<&SipDomain>) -> rusqlite::Result<Vec<TracedPush>> {
    let view = db.unchecked_transaction()?;
    let mut known = view.prepare_cached(
        "SELECT push_known.seq FROM push_known JOIN origin ON origin.no = push_known.origin_no
          WHERE push_known.id = ?1 AND (?2 IS NULL OR origin.name = ?2) ORDER BY push_known.seq",
    )?;
    let key = (columns::id(id.to_u128()), origin.map(SipDomain::as_str));
    let seqs = known.query_map(key, |row| columns::number_at(row, 0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let (mut names, mut found) = (Names::default(), Vec::new());
    for seq in seqs {
        let (no, slot) = place(seq);
        if let Some(block) = block(&view, no)? {
            found.extend(traced(&view, &mut names, &block, (no, slot))?);
        }
    }
    Ok(found)
}

/// The newest pushes, newest first.
pub(super) fn latest(db: &Connection, origin: Option<&SipDomain>, limit: usize) -> rusqlite::Result<Vec<TracedPush>> {
    let view = db.unchecked_transaction()?;
    let mut query = view.prepare_cached(
        "SELECT block.keys, block_state.states, block.no FROM block JOIN block_state ON block_state.no = block.no
          ORDER BY block.no DESC",
    )?;
    let (mut names, mut found, mut looked_at) = (Names::default(), Vec::new(), 0);
    let mut rows = query.query(())?;
    while let Some(row) = rows.next()? {
        let block = Block::read(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?)?;
        let no = columns::number_at(row, 2)?;
        for slot in (0..block.keys.len()).rev() {
            if found.len() == limit {
                return Ok(found);
            }
            let whose = names.origin(&view, block.keys[slot].origin_no)?;
            if origin.is_none_or(|origin| *origin == whose) {
                found.extend(traced(&view, &mut names, &block, (no, slot))?);
            }
        }
        looked_at += block.keys.len();
        if looked_at >= TRACED_MAX {
            break;
        }
    }
    Ok(found)
}

/// The push at that place of that block; none for one that is forgotten.
fn traced(
    db: &Connection,
    names: &mut Names,
    block: &Block,
    (no, slot): (u64, usize),
) -> rusqlite::Result<Option<TracedPush>> {
    let (Some(key), Some(&state)) = (block.keys.get(slot), block.states.get(slot)) else { return Ok(None) };
    let seq = seq(no, slot);
    let Some(End { state, detail, at, attempt, news }) = end_of(db, seq, state)? else { return Ok(None) };
    let at = at.unwrap_or(key.received);
    Ok(Some(TracedPush {
        origin: names.origin(db, key.origin_no)?,
        id: PushId::from_u128(key.id),
        lane: names.lane(db, key.lane_no)?,
        expires: key.expires,
        traced: Traced { seq, received: key.received, state, detail, at, attempt, news },
    }))
}

/// What a push's state means, with what stands beside it.
pub(super) struct End {
    pub(super) state: PushState,
    detail: String,
    /// None while it waits.
    at: Option<Timestamp>,
    attempt: u32,
    news: Option<News>,
}

impl End {
    const fn plain(state: PushState, at: Option<Timestamp>) -> Self {
        Self { state, detail: String::new(), at, attempt: 0, news: None }
    }
}

/// Looks up what the state of a push leaves open; none for one that is forgotten.
pub(super) fn end_of(db: &Connection, seq: u64, State { code, at }: State) -> rusqlite::Result<Option<End>> {
    Ok(match code {
        Code::Open => Some(End::plain(PushState::Journaled, None)),
        Code::Sending => Some(End::plain(PushState::Sending, Some(at))),
        Code::Accepted => Some(End::plain(PushState::Accepted, Some(at))),
        Code::Forgotten => None,
        Code::Late => {
            let mut query = db.prepare_cached("SELECT sending_since, attempt FROM push_late WHERE seq = ?1")?;
            let late = |row: &Row<'_>| {
                let at = columns::instant_or_none_at(row, 0)?;
                let state = if at.is_some() { PushState::Sending } else { PushState::Journaled };
                Ok(End { attempt: row.get(1)?, ..End::plain(state, at) })
            };
            Some(query.query_row([columns::number(seq)], late)?)
        }
        Code::Ended => {
            let mut query = db.prepare_cached(
                "SELECT state, reason, detail, feedback_owed, feedback_over, feedback_taken FROM push_end WHERE seq = ?1",
            )?;
            let end = |row: &Row<'_>| {
                let news = news_at(row, 3)?;
                Ok(End { detail: row.get(2)?, news, ..End::plain(columns::state_at(row, 0)?, Some(at)) })
            };
            Some(query.query_row([columns::number(seq)], end)?)
        }
    })
}

/// Reads from three columns what became of the news of a push.
fn news_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<News>> {
    let Some(owed) = columns::instant_or_none_at(row, first)? else { return Ok(None) };
    let end = match (columns::instant_or_none_at(row, first + 1)?, row.get(first + 2)?) {
        (Some(at), true) => Some(FeedbackEnd::Delivered(at)),
        (Some(at), false) => Some(FeedbackEnd::GivenUp(at)),
        (None, _) => None,
    };
    Ok(Some(News { owed, end }))
}

/// The block with that number.
pub(super) fn block(db: &Connection, no: u64) -> rusqlite::Result<Option<Block>> {
    let mut query = db.prepare_cached(
        "SELECT block.keys, block_state.states FROM block JOIN block_state ON block_state.no = block.no
          WHERE block.no = ?1",
    )?;
    let mut rows = query.query([columns::number(no)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Block::read(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?).map(Some)
}

/// Names that have been looked up for one answer.
#[derive(Default)]
pub(super) struct Names {
    origins: HashMap<u32, SipDomain>,
    lanes: HashMap<u32, LaneKey>,
}

impl Names {
    pub(super) fn origin(&mut self, db: &Connection, no: u32) -> rusqlite::Result<SipDomain> {
        if let Some(name) = self.origins.get(&no) {
            return Ok(name.clone());
        }
        let mut query = db.prepare_cached("SELECT name FROM origin WHERE no = ?1")?;
        let name: SipDomain = query.query_row([no], |row| columns::parsed_at(row, 0))?;
        self.origins.insert(no, name.clone());
        Ok(name)
    }

    pub(super) fn lane(&mut self, db: &Connection, no: u32) -> rusqlite::Result<LaneKey> {
        if let Some(lane) = self.lanes.get(&no) {
            return Ok(lane.clone());
        }
        let mut query = db.prepare_cached("SELECT provider, app, environment, channel FROM lane WHERE no = ?1")?;
        let found = query.query_row([no], |row| lane(row, 0))?;
        self.lanes.insert(no, found.clone());
        Ok(found)
    }
}

/// Reads a lane from four columns.
pub(super) fn lane(row: &Row<'_>, first: usize) -> rusqlite::Result<LaneKey> {
    let app = AppKey {
        provider: columns::word_at(row, first)?,
        app: row.get_ref(first + 1)?.as_str()?.into(),
        environment: columns::word_at(row, first + 2)?,
    };
    Ok(LaneKey { app, channel: columns::word_at(row, first + 3)? })
}
