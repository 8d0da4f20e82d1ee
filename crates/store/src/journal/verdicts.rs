//! Verdicts on tokens: which are dead for whom, and which of these verdicts are frozen because an app's tokens were
//! rejected in mass (DESIGN.md §7).
//!
//! A verdict is written in the commit that ends the push which brought it, so that no crash parts the two. It is kept
//! for as long as it can be taken back. The token itself is not kept, only its [`TokenMark`].

use std::fmt;

use rusqlite::{Connection, OptionalExtension as _, Row};

use reveille_core::{AppKey, IdentityId, PushId, SipDomain, Timestamp};

use super::desk::Desk;
use super::{FeedbackItem, census, outbox, view};
use crate::columns;
use crate::completion::Completion;
use crate::error::StoreError;

/// What a clearing house keeps about tokens and brakes.
pub trait Verdicts: Send + Sync + 'static {
    /// The tokens that are dead, oldest verdict first: those whose verdict is not frozen.
    fn dead(&self) -> Result<Vec<Dead>, StoreError>;

    /// The brakes that are on, each with how many verdicts it holds.
    fn brakes(&self) -> Result<Vec<Braked>, StoreError>;

    /// Puts a brake on, or keeps the one that is on.
    fn brake(&self, brake: Brake, done: Completion<()>);

    /// Freezes up to `limit` of the verdicts that the brake reaches and that have taken effect, and owes their homes
    /// `reversed` for each, in one commit. Answers whose; call again while they are `limit`.
    fn freeze(&self, scope: BrakeScope, at: Timestamp, limit: usize, done: Completion<Vec<TokenMark>>);

    /// Decides about up to `limit` of the verdicts that a brake holds. With `right` they take effect and their homes are
    /// owed `forget`; else they are forgotten. When none is left the brake is off. Answers those decided about; call
    /// again while they are `limit`.
    fn release(&self, scope: BrakeScope, right: bool, limit: usize, done: Completion<Vec<Dead>>);

    /// How many tokens of each app have died since then, by organisation: what a start knows of a storm that has begun
    /// before it. Nothing where more pushes came since than are counted in a moment.
    fn recent(&self, since: Timestamp) -> Result<Vec<Recent>, StoreError>;

    /// Forgets verdicts from before `before`, frozen or not, and the oldest beyond [`VERDICTS_MAX`]. Answers how many;
    /// call again while that is `limit`.
    fn verdicts_purge(&self, before: Timestamp, limit: usize, done: Completion<usize>);
}

/// How many verdicts are kept.
pub const VERDICTS_MAX: usize = 500_000;

/// What became of one organisation's pushes to one app of late.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recent {
    /// The app.
    pub app: AppKey,
    /// The organisation.
    pub origin: SipDomain,
    /// Verdicts that tokens are dead, frozen or not.
    pub rejected: u32,
    /// The organisation's pushes in all: some may have been for other apps.
    pub pushes: u32,
}

/// What stands for a token of one app as one origin uses it: a quick hash to look for, and a digest to be sure.
///
/// It has no key: tokens are long random strings that nobody guesses, and origin and app are in the digest, so that
/// nobody can make one that meets another's.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TokenMark {
    /// A hash of the token alone.
    pub quick: u64,
    /// A digest of origin, app and token.
    pub digest: [u8; 16],
}

/// A verdict on a token, kept with the end of the push that brought it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Death {
    /// Whose.
    pub token: TokenMark,
    /// Since when the token is dead, if the provider says.
    pub since: Option<Timestamp>,
    /// When the push was sent whose answer it was.
    pub sent: Timestamp,
    /// Whether it waits for somebody's decision instead of taking effect.
    pub frozen: bool,
}

/// A token that is dead for one origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dead {
    /// Which.
    pub token: TokenMark,
    /// Since when, if the provider says.
    pub since: Option<Timestamp>,
    /// When the push was sent whose answer it was.
    pub sent: Timestamp,
    /// When the verdict was kept.
    pub at: Timestamp,
}

/// What a brake holds: the verdicts on one app's tokens, of all organisations or of one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BrakeScope {
    /// The app.
    pub app: AppKey,
    /// The organisation, if it is the only one whose tokens were rejected.
    pub origin: Option<SipDomain>,
}

impl fmt::Display for BrakeScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{} of {origin}", self.app),
            None => self.app.fmt(f),
        }
    }
}

/// A brake on an app's verdicts, and why it is on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Brake {
    /// What it holds.
    pub scope: BrakeScope,
    /// Since when it is on.
    pub since: Timestamp,
    /// From when on verdicts are frozen: those that came just before it are part of the same storm.
    pub reach: Timestamp,
    /// Answers that rejected a token, of `answers`.
    pub rejected: u32,
    /// All answers that were looked at.
    pub answers: u32,
    /// The provider's last word, or who put it on by hand.
    pub word: String,
}

/// A brake that is on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Braked {
    /// The brake.
    pub brake: Brake,
    /// How many verdicts it holds.
    pub frozen: u64,
}

/// Keeps a verdict; the newest of a token counts.
pub(super) fn keep(
    db: &Connection,
    (origin_no, lane_no): (u32, u32),
    death: &Death,
    item: &FeedbackItem,
    word: &str,
) -> rusqlite::Result<()> {
    let mut keep = db.prepare_cached(
        "INSERT OR REPLACE INTO verdict (token, lane_no, origin_no, push, identity, word, since, sent, at, frozen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    keep.execute((
        mark_bytes(&death.token),
        lane_no,
        origin_no,
        columns::id(item.push.to_u128()),
        columns::id(item.identity.to_u128()),
        columns::detail(word),
        death.since.map(columns::instant),
        columns::instant(death.sent),
        columns::instant(item.at),
        death.frozen,
    ))?;
    Ok(())
}

pub(super) fn dead(db: &Connection) -> rusqlite::Result<Vec<Dead>> {
    let mut query = db.prepare_cached("SELECT token, since, sent, at FROM verdict WHERE frozen = 0 ORDER BY at")?;
    query.query_map((), |row| dead_at(row, 0))?.collect()
}

pub(super) fn recent(db: &Connection, since: Timestamp) -> rusqlite::Result<Vec<Recent>> {
    let mut query = db.prepare_cached(
        "SELECT lane.provider, lane.app, lane.environment, lane.channel, origin.name, count(*)
           FROM verdict JOIN lane ON lane.no = verdict.lane_no JOIN origin ON origin.no = verdict.origin_no
          WHERE verdict.at >= ?1 GROUP BY lane.provider, lane.app, lane.environment, origin.name",
    )?;
    let died = query.query_map([columns::instant(since)], |row| {
        let (app, rejected) = (view::lane(row, 0)?.app, row.get(5)?);
        Ok(Recent { app, origin: columns::parsed_at(row, 4)?, rejected, pushes: rejected })
    })?;
    let mut died = died.collect::<rusqlite::Result<Vec<_>>>()?;
    if died.is_empty() {
        return Ok(died);
    }
    let (counts, more) = census::received_since(db, since, u64::MAX >> 1, COUNTED_BLOCKS)?;
    if more.is_some() {
        return Ok(Vec::new());
    }
    for recent in &mut died {
        let pushes = counts.iter().find(|(origin, _)| *origin == recent.origin).map_or(0, |(_, pushes)| *pushes);
        recent.pushes = recent.rejected.max(u32::try_from(pushes).unwrap_or(u32::MAX));
    }
    Ok(died)
}

/// So many blocks of pushes are counted at a start: about a quarter of a million, in some tens of milliseconds.
const COUNTED_BLOCKS: usize = 4096;

pub(super) fn brakes(db: &Connection) -> rusqlite::Result<Vec<Braked>> {
    let view = db.unchecked_transaction()?;
    let mut query = view.prepare_cached(
        "SELECT provider, app, environment, origin, since, reach, rejected, answers, word FROM brake
          ORDER BY app, provider, environment, origin",
    )?;
    let brakes = query.query_map((), brake_at)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut counted = Vec::with_capacity(brakes.len());
    let mut count = view.prepare_cached(&format!("SELECT count(*) FROM verdict WHERE {IN_SCOPE} AND frozen = 1"))?;
    for brake in brakes {
        let frozen = count.query_row(params(&brake.scope), |row| columns::number_at(row, 0))?;
        counted.push(Braked { brake, frozen });
    }
    Ok(counted)
}

pub(super) fn brake(db: &Connection, brake: &Brake) -> rusqlite::Result<()> {
    let mut put = db.prepare_cached(
        "INSERT INTO brake (provider, app, environment, origin, since, reach, rejected, answers, word)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO UPDATE SET reach = min(reach, excluded.reach)",
    )?;
    let (provider, app, environment, origin) = params(&brake.scope);
    put.execute((
        provider,
        app,
        environment,
        origin.unwrap_or_default(),
        columns::instant(brake.since),
        columns::instant(brake.reach),
        brake.rejected,
        brake.answers,
        columns::detail(&brake.word),
    ))?;
    Ok(())
}

/// A verdict as it is told home.
struct Kept {
    dead: Dead,
    lane_no: u32,
    origin_no: u32,
    push: PushId,
    identity: IdentityId,
    word: String,
}

fn kept_at(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        dead: dead_at(row, 0)?,
        lane_no: row.get(4)?,
        origin_no: row.get(5)?,
        push: PushId::from_u128(columns::id_at(row, 6)?),
        identity: IdentityId::from_u128(columns::id_at(row, 7)?),
        word: row.get(8)?,
    })
}

fn item(kept: &Kept, verdict: &str, provider_time: Option<Timestamp>, at: Timestamp) -> FeedbackItem {
    FeedbackItem {
        push: kept.push,
        identity: kept.identity,
        token_generation: 0,
        verdict: verdict.into(),
        reason: kept.word.clone(),
        provider_time,
        at,
    }
}

pub(super) fn freeze(
    desk: &mut Desk<'_>,
    scope: &BrakeScope,
    at: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<TokenMark>> {
    let Some(reach) = reach(desk.db, scope)? else { return Ok(Vec::new()) };
    let mut query = desk.db.prepare_cached(&format!(
        "SELECT {KEPT} FROM verdict WHERE {IN_SCOPE} AND frozen = 0 AND at >= ?5 ORDER BY at LIMIT ?6"
    ))?;
    let (provider, app, environment, origin) = params(scope);
    let key = (provider, app, environment, origin, columns::instant(reach), columns::rows(limit));
    let found = query.query_map(key, kept_at)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut freeze = desk.db.prepare_cached("UPDATE verdict SET frozen = 1 WHERE token = ?1")?;
    for kept in &found {
        freeze.execute([mark_bytes(&kept.dead.token)])?;
        let asked = outbox::Asked::Lane(kept.lane_no);
        // Whether home has heard `forget` yet is not known for sure; it hears both, in this order.
        let reversed = item(kept, "reversed", None, at);
        outbox::owe_again(desk.db, kept.origin_no, &asked, desk.numbers.feedback(), &reversed)?;
    }
    Ok(found.iter().map(|kept| kept.dead.token).collect())
}

pub(super) fn release(
    desk: &mut Desk<'_>,
    scope: &BrakeScope,
    right: bool,
    limit: usize,
) -> rusqlite::Result<Vec<Dead>> {
    let mut query = desk
        .db
        .prepare_cached(&format!("SELECT {KEPT} FROM verdict WHERE {IN_SCOPE} AND frozen = 1 ORDER BY at LIMIT ?5"))?;
    let (provider, app, environment, origin) = params(scope);
    let key = (provider, app, environment, origin, columns::rows(limit));
    let found = query.query_map(key, kept_at)?.collect::<rusqlite::Result<Vec<_>>>()?;
    for kept in &found {
        let token = mark_bytes(&kept.dead.token);
        if right {
            desk.db.prepare_cached("UPDATE verdict SET frozen = 0 WHERE token = ?1")?.execute([token])?;
            let asked = outbox::Asked::Lane(kept.lane_no);
            // As of when the push was sent: a token that was registered since then lives.
            let forget = item(kept, "forget", kept.dead.since, kept.dead.sent);
            outbox::owe_again(desk.db, kept.origin_no, &asked, desk.numbers.feedback(), &forget)?;
        } else {
            desk.db.prepare_cached("DELETE FROM verdict WHERE token = ?1")?.execute([token])?;
        }
    }
    if found.len() < limit {
        let mut off = desk.db.prepare_cached(
            "DELETE FROM brake WHERE provider = ?1 AND app = ?2 AND environment = ?3 AND origin = coalesce(?4, '')",
        )?;
        off.execute((provider, app, environment, origin))?;
    }
    Ok(found.iter().map(|kept| kept.dead).collect())
}

pub(super) fn purge(db: &Connection, before: Timestamp, limit: usize) -> rusqlite::Result<usize> {
    let count = db.query_row("SELECT count(*) FROM verdict", (), |row| columns::number_at(row, 0))?;
    let surplus = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(VERDICTS_MAX);
    let mut gone = db
        .prepare_cached("DELETE FROM verdict WHERE token IN (SELECT token FROM verdict WHERE at < ?1 LIMIT ?2)")?
        .execute((columns::instant(before), columns::rows(limit)))?;
    if surplus > gone {
        let more = (surplus - gone).min(limit - gone);
        gone += db
            .prepare_cached("DELETE FROM verdict WHERE token IN (SELECT token FROM verdict ORDER BY at LIMIT ?1)")?
            .execute([columns::rows(more)])?;
    }
    Ok(gone)
}

fn reach(db: &Connection, scope: &BrakeScope) -> rusqlite::Result<Option<Timestamp>> {
    let mut query = db.prepare_cached(
        "SELECT reach FROM brake WHERE provider = ?1 AND app = ?2 AND environment = ?3 AND origin = coalesce(?4, '')",
    )?;
    query.query_row(params(scope), |row| columns::instant_at(row, 0)).optional()
}

/// A scope as the first four parameters of a query.
fn params(scope: &BrakeScope) -> (&'static str, &str, &'static str, Option<&str>) {
    let AppKey { provider, app, environment } = &scope.app;
    (provider.as_str(), app, environment.as_str(), scope.origin.as_ref().map(SipDomain::as_str))
}

fn mark_bytes(mark: &TokenMark) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&mark.quick.to_be_bytes());
    bytes[8..].copy_from_slice(&mark.digest);
    bytes
}

/// Reads what [`dead`] tells from four columns.
fn dead_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Dead> {
    let bytes: [u8; 24] = row.get(first)?;
    let (mut quick, mut digest) = ([0; 8], [0; 16]);
    quick.copy_from_slice(&bytes[..8]);
    digest.copy_from_slice(&bytes[8..]);
    Ok(Dead {
        token: TokenMark { quick: u64::from_be_bytes(quick), digest },
        since: columns::instant_or_none_at(row, first + 1)?,
        sent: columns::instant_at(row, first + 2)?,
        at: columns::instant_at(row, first + 3)?,
    })
}

fn brake_at(row: &Row<'_>) -> rusqlite::Result<Brake> {
    let app = AppKey {
        provider: columns::word_at(row, 0)?,
        app: row.get_ref(1)?.as_str()?.into(),
        environment: columns::word_at(row, 2)?,
    };
    let origin = if row.get_ref(3)?.as_str()?.is_empty() { None } else { Some(columns::parsed_at(row, 3)?) };
    Ok(Brake {
        scope: BrakeScope { app, origin },
        since: columns::instant_at(row, 4)?,
        reach: columns::instant_at(row, 5)?,
        rejected: row.get(6)?,
        answers: row.get(7)?,
        word: row.get(8)?,
    })
}

const KEPT: &str = "token, since, sent, at, lane_no, origin_no, push, identity, word";

/// The verdicts of a scope: of an app's lanes, in whatever name they were asked.
const IN_SCOPE: &str = "lane_no IN (SELECT no FROM lane WHERE provider = ?1 AND app = ?2 AND environment = ?3)
    AND (?4 IS NULL OR origin_no = (SELECT no FROM origin WHERE name = ?4))";
