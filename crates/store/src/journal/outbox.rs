//! The feedback outbox's table: what each origin is still to be told, in order.

use rusqlite::{Connection, OptionalExtension as _, Row};

use reveille_core::{IdentityId, PushId, SipDomain, Timestamp};

use super::{FEEDBACK_MAX, FeedbackEnd, FeedbackId, FeedbackItem, OwedFeedback};
use crate::columns;

/// In whose name something is said.
pub(super) enum Asked<'a> {
    /// That domain's.
    Domain(&'a SipDomain),
    /// The one that is kept with that lane.
    Lane(u32),
}

/// Keeps what is owed for a push that has ended before: the last word about it.
pub(super) fn owe_again(
    db: &Connection,
    origin_no: u32,
    asked: &Asked<'_>,
    no: u64,
    item: &FeedbackItem,
) -> rusqlite::Result<()> {
    let mut note = db.prepare_cached(
        "UPDATE push_end SET feedback_owed = ?3, feedback_over = NULL
          WHERE seq = (SELECT seq FROM push_known WHERE id = ?1 AND origin_no = ?2)",
    )?;
    note.execute((columns::id(item.push.to_u128()), origin_no, columns::instant(item.at)))?;
    owe(db, origin_no, asked, no, item)
}

pub(super) fn owe(
    db: &Connection,
    origin_no: u32,
    asked: &Asked<'_>,
    no: u64,
    item: &FeedbackItem,
) -> rusqlite::Result<()> {
    let (domain, lane) = match asked {
        Asked::Domain(domain) => (Some(domain.as_str()), None),
        Asked::Lane(no) => (None, Some(*no)),
    };
    let mut owe = db.prepare_cached(
        "INSERT INTO feedback (origin_no, no, push, identity, token_generation, verdict, reason, provider_time, at, due,
                               attempt, asked)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, 0,
                 coalesce(?10, (SELECT asked FROM lane WHERE no = ?11), ''))",
    )?;
    owe.execute((
        origin_no,
        columns::number(no),
        columns::id(item.push.to_u128()),
        columns::id(item.identity.to_u128()),
        item.token_generation,
        &item.verdict,
        columns::detail(&item.reason),
        item.provider_time.map(columns::instant),
        columns::instant(item.at),
        domain,
        lane,
    ))?;
    Ok(())
}

pub(super) fn open(db: &Connection, limit: usize) -> rusqlite::Result<Vec<OwedFeedback>> {
    let origins = origins(db)?;
    let each = limit.min(FEEDBACK_MAX.div_ceil(origins.len().max(1)));
    let mut query = db.prepare_cached(
        "SELECT feedback.origin_no, feedback.no, origin.name, feedback.push, feedback.identity,
                feedback.token_generation, feedback.verdict, feedback.reason, feedback.provider_time, feedback.at,
                feedback.due, feedback.attempt, feedback.asked
           FROM feedback JOIN origin ON origin.no = feedback.origin_no
          WHERE feedback.origin_no = ?1 ORDER BY feedback.no LIMIT ?2",
    )?;
    let mut owed = Vec::new();
    for origin_no in origins {
        for item in query.query_map((origin_no, columns::rows(each)), owed_feedback)? {
            owed.push(item?);
        }
    }
    Ok(owed)
}

/// The origins that anything is owed to. One step down the tree for each, however much each is owed.
fn origins(db: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut next = db.prepare_cached("SELECT min(origin_no) FROM feedback WHERE origin_no > ?1")?;
    let mut origins = Vec::new();
    let mut last = 0;
    while let Some(origin_no) = next.query_row([last], |row| row.get::<_, Option<i64>>(0))? {
        origins.push(origin_no);
        last = origin_no;
    }
    Ok(origins)
}

fn owed_feedback(row: &Row<'_>) -> rusqlite::Result<OwedFeedback> {
    let item = FeedbackItem {
        push: PushId::from_u128(columns::id_at(row, 3)?),
        identity: IdentityId::from_u128(columns::id_at(row, 4)?),
        token_generation: row.get(5)?,
        verdict: row.get(6)?,
        reason: row.get(7)?,
        provider_time: columns::instant_or_none_at(row, 8)?,
        at: columns::instant_at(row, 9)?,
    };
    Ok(OwedFeedback {
        id: FeedbackId { origin_no: row.get(0)?, no: columns::number_at(row, 1)? },
        origin: columns::parsed_at(row, 2)?,
        asked: if row.get_ref(12)?.as_str()?.is_empty() { None } else { Some(columns::parsed_at(row, 12)?) },
        item,
        due: columns::instant_at(row, 10)?,
        attempt: row.get(11)?,
    })
}

/// Removes what has ended so, and notes that with its push, if that is still known.
pub(super) fn end(db: &Connection, ids: &[FeedbackId], end: FeedbackEnd) -> rusqlite::Result<()> {
    let (at, taken) = match end {
        FeedbackEnd::Delivered(at) => (at, true),
        FeedbackEnd::GivenUp(at) => (at, false),
    };
    let mut remove = db.prepare_cached("DELETE FROM feedback WHERE origin_no = ?1 AND no = ?2 RETURNING push")?;
    let mut note = db.prepare_cached(
        "UPDATE push_end SET feedback_over = ?3, feedback_taken = ?4
          WHERE seq = (SELECT seq FROM push_known WHERE id = ?1 AND origin_no = ?2)",
    )?;
    for id in ids {
        let key = (id.origin_no, columns::number(id.no));
        let push = remove.query_row(key, |row| columns::id_at(row, 0)).optional()?;
        if let Some(push) = push {
            note.execute((columns::id(push), id.origin_no, columns::instant(at), taken))?;
        }
    }
    Ok(())
}

pub(super) fn put_off(db: &Connection, ids: &[FeedbackId], due: Timestamp, attempt: u32) -> rusqlite::Result<()> {
    let mut put_off =
        db.prepare_cached("UPDATE feedback SET due = ?3, attempt = ?4 WHERE origin_no = ?1 AND no = ?2")?;
    for id in ids {
        put_off.execute((id.origin_no, columns::number(id.no), columns::instant(due), attempt))?;
    }
    Ok(())
}

pub(super) fn purge(db: &Connection, before: Timestamp, limit: usize) -> rusqlite::Result<usize> {
    let mut old = db.prepare_cached("SELECT origin_no, no FROM feedback WHERE at < ?1 LIMIT ?2")?;
    let ids = old
        .query_map((columns::instant(before), columns::rows(limit)), |row| {
            Ok(FeedbackId { origin_no: row.get(0)?, no: columns::number_at(row, 1)? })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut remove = db.prepare_cached("DELETE FROM feedback WHERE origin_no = ?1 AND no = ?2")?;
    for id in &ids {
        remove.execute((id.origin_no, columns::number(id.no)))?;
    }
    Ok(ids.len())
}
