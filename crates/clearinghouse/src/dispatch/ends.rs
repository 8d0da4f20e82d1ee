//! How pushes end: what an answer means, and that the end is on disk before a push leaves memory.

use reveille_core::delivery::PushState;
use reveille_core::{Alarm, Channel, IdentityId, PushId, Reason, SipDomain, Timestamp};
use reveille_federation::PushRequest;
use reveille_providers::{Notification, Outcome, Outcomes};
use reveille_store::{Completed, FeedbackItem, StoreError};
use tracing::{debug, error, warn};

use super::{Dispatch, Fresh};
use crate::court::{Case, Ruling, Sitting, feedback_for};
use crate::lane::{Entry, Fate, Lane, Over, lane_of};
use crate::outcome::Facts;

/// Outcomes with the keys of those that are in memory.
pub(super) type Ended = (Vec<u64>, Vec<Completed>);

impl Dispatch {
    /// Older pushes are over whose place newer ones have taken.
    pub(super) fn coalesce(&self, older: Vec<Over<()>>, now: Timestamp, ended: &mut Ended) {
        if !older.is_empty() {
            metrics::counter!("reveille_pushes_coalesced_total").increment(older.len() as u64);
        }
        for over in older {
            add(ended, over, Reason::Coalesced, now);
        }
    }

    /// Ends what was not given out since its token has died while it waited.
    pub(super) fn condemn(&self, lane: &Lane, ended: &mut Ended, now: Timestamp) {
        for over in lane.condemned() {
            ended.0.extend(over.key);
            ended.1.push(dead_meanwhile(over.seq, (over.push.push_id, over.push.identity), over.how, now));
        }
    }

    /// How a push ends that no lane takes.
    pub(crate) fn without_lane(&self, fresh: &Fresh) -> Completed {
        let now = self.clock.now();
        if fresh.request.to.is_none() {
            return probe_without_target(fresh.seq, &fresh.request, now);
        }
        let (state, detail) = (PushState::NotPushed(Reason::NoSuchApp), "the app has gone from the configuration");
        let feedback = feedback_for(state, fresh.request.id, fresh.request.identity, detail, None, now);
        completed(fresh.seq, state, detail, now, feedback)
    }

    /// Writes down how pushes ended; only when that is synced do they leave memory.
    pub(crate) fn end(&self, (keys, completed): Ended) {
        if completed.is_empty() {
            return;
        }
        let (this, again) = (self.me.clone(), completed.clone());
        let done = move |outcome: Result<(), StoreError>| {
            let Some(this) = this.upgrade() else { return };
            match outcome {
                Ok(()) => this.forget(&keys, &again),
                Err(reason) if reason.retry_helps() => {
                    warn!(%reason, pushes = again.len(), "outcomes could not be journaled; trying again");
                    let mut unwritten = this.unwritten.lock();
                    unwritten.0.extend(keys);
                    unwritten.1.extend(again);
                }
                // They stay open in the journal: after a restart a message is sent again under the same id, and a call
                // ends as outcome-unknown.
                Err(reason) => {
                    error!(alarm = Alarm::OutcomesUnwritten.as_str(), %reason, pushes = again.len(), "outcomes could not be journaled")
                }
            }
        };
        self.journal.complete(completed, Box::new(done));
    }

    /// Lets go of pushes whose end is on disk.
    pub(super) fn forget(&self, keys: &[u64], completed: &[Completed]) {
        let mut wanted = false;
        for keys in keys.chunk_by(|one, next| lane_of(*one) == lane_of(*next)) {
            if let Some(lane) = keys.first().and_then(|key| self.all().get(lane_of(*key))) {
                wanted |= lane.forget(keys.iter().copied());
            }
        }
        if completed.iter().any(|completed| completed.feedback.is_some()) {
            self.feedback.notify_one();
        }
        if wanted {
            self.work.notify_one();
        }
    }

    /// Whether outcomes wait to be written: then no more pushes are read back, or looked at on disk, so that there are
    /// never more of them than the windows hold and one reading.
    pub(crate) fn is_held_up(&self) -> bool {
        !self.unwritten.lock().1.is_empty()
    }

    /// Writes what could not be written before.
    pub(crate) fn rewrite(&self) {
        let ended = std::mem::take(&mut *self.unwritten.lock());
        self.end(ended);
    }
}

/// What the answer to one push means.
fn rule(
    sitting: &mut Sitting<'_>,
    channel: Channel,
    origin: &SipDomain,
    entry: &Entry,
    outcome: &Outcome,
    now: Timestamp,
) -> Fate<Completed> {
    let push = &entry.push;
    let facts = Facts {
        channel,
        attempt: entry.attempt,
        expires: push.expires,
        registered: entry.registered,
        sent: outcome.sent,
        now,
        unit: rand::random(),
    };
    debug!(push.id = %push.push_id, channel = channel.as_str(), verdict = outcome.verdict.as_str(), status = outcome.status, "answered");
    let case = Case {
        seq: entry.seq,
        push: push.push_id,
        identity: push.identity,
        origin,
        token: &push.token,
        answered: outcome.status != 0,
    };
    match sitting.rule(&outcome.verdict, &facts, &case) {
        Ruling::Again { at } => Fate::Again(at),
        Ruling::End(completed) => Fate::Over(completed),
    }
}

impl Outcomes for Dispatch {
    fn report(&self, batch: Vec<Outcome>) {
        let now = self.clock.now();
        // One connection is of one lane.
        let lane = batch.iter().find_map(|outcome| self.all().get(lane_of(outcome.key)));
        let Some(lane) = lane else { return };
        let mut sitting = self.court.sit(&lane.key, now);
        let channel = lane.key.channel;
        let settled =
            lane.settle(batch, |origin, entry, outcome| rule(&mut sitting, channel, origin, entry, outcome, now));
        drop(sitting);
        let mut ended = Ended::default();
        for over in settled.over {
            ended.0.extend(over.key);
            ended.1.push(over.how);
        }
        self.coalesce(settled.coalesced, now, &mut ended);
        self.condemn(lane, &mut ended, now);
        for (seq, at, attempt) in settled.again {
            // Whether this reaches the disk changes only how soon a restart tries again.
            self.journal.reschedule(seq, at, attempt, Box::new(drop));
        }
        let is_put_off = settled.is_put_off | lane.resume(settled.held, now);
        if is_put_off {
            self.work.notify_one();
        }
        self.end(ended);
    }
}

/// The end of a push whose token has died while it waited.
pub(super) fn dead_meanwhile(
    seq: u64,
    (push, identity): (PushId, IdentityId),
    died: Timestamp,
    now: Timestamp,
) -> Completed {
    let (state, detail) =
        (PushState::NotPushed(Reason::IdentityDead), "the token was declared dead while this push waited");
    completed(seq, state, detail, now, feedback_for(state, push, identity, detail, Some(Some(died)), now))
}

/// Adds the end of a push that never got an answer.
pub(super) fn add(ended: &mut Ended, over: Over<()>, reason: Reason, now: Timestamp) {
    let Notification { push_id, identity, .. } = *over.push;
    let state = PushState::NotPushed(reason);
    let feedback = feedback_for(state, push_id, identity, "", None, now);
    ended.0.extend(over.key);
    ended.1.push(completed(over.seq, state, reason.sentence(), now, feedback));
}

/// The end of a push that never got as far as memory.
pub(crate) fn ended(seq: u64, request: &PushRequest, reason: Reason, at: Timestamp) -> Completed {
    let state = PushState::NotPushed(reason);
    let feedback = feedback_for(state, request.id, request.identity, "", None, at);
    completed(seq, state, reason.sentence(), at, feedback)
}

/// A probe that names no device is answered, and goes nowhere.
pub(super) fn probe_without_target(seq: u64, request: &PushRequest, now: Timestamp) -> Completed {
    let (state, detail) = (PushState::Accepted, "a probe without a target");
    completed(seq, state, detail, now, feedback_for(state, request.id, request.identity, detail, None, now))
}

/// An end that kills no token.
pub(crate) fn completed(
    seq: u64,
    state: PushState,
    detail: &str,
    at: Timestamp,
    feedback: Option<FeedbackItem>,
) -> Completed {
    Completed { seq, state, detail: detail.to_owned(), at, feedback, death: None }
}
